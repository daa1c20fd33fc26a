//! The screens of the past: from an answer to its runs and back, the window of time, SQL, exports and kept views.

use crossterm::event::KeyCode;

use super::*;
use crate::tui::{lend::Errand, log::Sought, message::Effect};

const SIZE: (u16, u16) = (80, 24);

fn press(state: &mut State, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            c => KeyCode::Char(c),
        };
        effects.extend(update(state, key(code), now()));
    }
    effects
}

fn history() -> State {
    loaded(Screen::History, PLAIN, SIZE, false)
}

fn said(state: &State) -> &str {
    state.notice.as_ref().map_or("", |notice| &notice.text)
}

#[test]
fn a_row_leads_to_its_runs_to_the_run_to_the_attempt_and_to_its_first_error_and_back() {
    let mut state = history();
    press(&mut state, "/status=failed\n");
    let want = state.asked();
    update(
        &mut state,
        Message::Loaded(want, Ok(Loaded::Answer(of(answer())))),
        now(),
    );
    let effects = press(&mut state, "j\n");
    let filter = "job=nightly status=failed".to_owned();
    assert_eq!(
        (state.screen, effects),
        (Screen::Runs, vec![Effect::Load(Want::Picked(filter.clone()))])
    );
    update(
        &mut state,
        Message::Loaded(Want::Picked(filter), Ok(Loaded::Picked(picked()))),
        now(),
    );
    press(&mut state, "\n");
    assert_eq!(state.screen, Screen::Run);
    state.log.close();
    let effects = press(&mut state, "j\n");
    let Some(Effect::Follow(id)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!((id.task.as_str(), id.attempt, state.screen), ("load", 1, Screen::Log));
    let news = Message::Log(id.clone(), LogNews::Grown(log_page(0..40), 40));
    let effects = update(&mut state, news, now());
    assert!(
        matches!(&effects[..], [Effect::SearchLog(_, search)] if search.sought == Sought::Error),
        "{effects:?}"
    );
    // Four steps back: the search ends first.
    press(&mut state, "\x1b\x1b\x1b");
    assert_eq!(state.screen, Screen::Runs);
    press(&mut state, "\x1b");
    assert_eq!((state.screen, state.place().cursor), (Screen::History, 1));
    assert_eq!(state.place().filter, "status=failed");
}

#[test]
fn a_point_leads_to_the_runs_of_its_time() {
    let mut state = history();
    press(&mut state, "]]]");
    assert_eq!(state.past.point, Some(2));
    press(&mut state, "[\n");
    assert_eq!(
        state.past.runs_filter,
        "since=2026-11-23T01:00:00Z until=2026-11-23T02:00:00Z"
    );
    assert_eq!(state.screen, Screen::Runs);
    press(&mut state, "\x1b");
    assert_eq!((state.screen, state.past.point), (Screen::History, Some(1)));
    press(&mut state, "\x1b");
    assert_eq!((state.screen, state.past.point), (Screen::History, None));
    press(&mut state, "[");
    assert_eq!(state.past.point, Some(11));
}

#[test]
fn the_window_of_time_moves_in_the_filter() {
    let mut state = history();
    let effects = press(&mut state, ",");
    let filter = "since=2026-11-22T18:00:00Z until=2026-11-23T06:00:00Z";
    assert!(
        matches!(&effects[..], [Effect::Load(Want::Answer { filter: asked, .. })] if asked == filter),
        "{effects:?}"
    );
    assert_eq!(state.place().filter, filter);
    press(&mut state, "+");
    assert_eq!(
        state.place().filter,
        "since=2026-11-22T21:00:00Z until=2026-11-23T03:00:00Z"
    );
    state.screen = Screen::Runs;
    state.past.runs_filter = "since=2026-11-20 until=2026-11-22".to_owned();
    let effects = press(&mut state, ".");
    assert_eq!(
        effects,
        [Effect::Load(Want::Picked(
            "since=2026-11-21 until=2026-11-23".to_owned()
        ))]
    );
    state.past.runs_filter = "job=".to_owned();
    assert_eq!(press(&mut state, "-"), []);
    assert!(said(&state).contains("is not the name of a job"), "{}", said(&state));
}

#[test]
fn the_query_of_an_answer_is_shown_changed_and_asked() {
    let mut state = history();
    assert_eq!(press(&mut state, "S"), []);
    assert_eq!((state.screen, state.past.asked.as_deref()), (Screen::Sql, None));
    assert!(state.past.sql.contains("AS answer(job)"), "{}", state.past.sql);
    state.past.sql = "FROM runs".to_owned();
    let effects = press(&mut state, "; LIMIT 5\n");
    let want = Want::Rows("FROM runs LIMIT 5".to_owned());
    assert_eq!(effects, [Effect::Load(want.clone())]);
    // `q` is a letter while one types, and typing that is given up changes nothing.
    assert_eq!(press(&mut state, ";q\x1b"), []);
    assert_eq!(
        (state.screen, state.past.sql.as_str()),
        (Screen::Sql, "FROM runs LIMIT 5")
    );
    update(&mut state, Message::Loaded(want, Ok(Loaded::Rows(rows()))), now());
    let Some(Errand::Page(text)) = state.paged(now()) else {
        panic!("nothing to page through")
    };
    assert!(text.contains("nightly 3"), "{text}");
    press(&mut state, "\x1b");
    assert_eq!(state.screen, Screen::History);
}

#[test]
fn rows_are_exported_under_a_name_that_says_the_form() {
    let mut state = history();
    assert_eq!(press(&mut state, "E\x08\x08\x08txt\n"), []);
    assert!(said(&state).contains(".csv or .parquet"), "{}", said(&state));
    let effects = press(&mut state, "E\x08\x08\x08parquet\n");
    let export = Effect::Export {
        sql: "SELECT * FROM (SELECT 1) AS answer(job)".to_owned(),
        file: "petit-duration.parquet".to_owned(),
    };
    assert_eq!(effects, [export]);
    state.screen = Screen::Runs;
    let effects = press(&mut state, "E\n");
    assert!(
        matches!(&effects[..], [Effect::Export { sql, .. }] if sql == "SELECT 3"),
        "{effects:?}"
    );
    state.past.runs = None;
    press(&mut state, "E");
    assert_eq!(said(&state), "cannot export: there is no answer yet");
}

#[test]
fn views_are_kept_and_chosen() {
    let mut state = history();
    state.place_mut().filter = "job=etl".to_owned();
    let effects = press(&mut state, "mmine\n");
    let view = KeptView {
        name: "mine".to_owned(),
        question: "duration".to_owned(),
        filter: "job=etl".to_owned(),
    };
    assert_eq!(effects, [Effect::Keep(view)]);
    assert_eq!(press(&mut state, "m \n"), []);
    let effects = press(&mut state, "M\n");
    let want = Want::Answer {
        question: "lateness",
        filter: "job=nightly since=7d".to_owned(),
    };
    assert_eq!(effects, [Effect::Load(want)]);
    state.past.views.clear();
    press(&mut state, "M");
    assert_eq!(said(&state), "cannot views: no view was kept: `m` keeps one");
}

#[test]
fn what_names_a_row_is_copied_and_its_file_is_edited() {
    let copied = |screen, keys: &str| {
        let mut state = loaded(screen, PLAIN, SIZE, false);
        press(&mut state, keys);
        press(&mut state, "y")
    };
    let copy = |text: &str| vec![Effect::Copy(text.to_owned())];
    assert_eq!(copied(Screen::Jobs, "j"), copy("hourly"));
    assert_eq!(copied(Screen::Runs, ""), copy("01K00000000000000000000003"));
    assert_eq!(copied(Screen::Log, "gj"), copy("line 1 of what load said"));
    assert_eq!(copied(Screen::History, "j"), copy("nightly"));
    let edited = |screen, keys: &str| {
        let mut state = loaded(screen, PLAIN, SIZE, false);
        press(&mut state, keys);
        match press(&mut state, "e").pop() {
            Some(Effect::Lend(Errand::Edit { path, line })) => (path.display().to_string(), line),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(edited(Screen::Jobs, ""), ("/srv/jobs.d/etl.yaml".to_owned(), 1));
    // The line of the mistake, or the one that the cursor is on.
    assert_eq!(edited(Screen::Jobs, "jj"), ("/srv/jobs.d/nightly.yaml".to_owned(), 5));
    assert_eq!(edited(Screen::File, "Gk"), ("/srv/jobs.d/nightly.yaml".to_owned(), 4));
    let mut state = loaded(Screen::Log, PLAIN, SIZE, false);
    let of = state.log.of.clone().expect("an open log");
    assert_eq!(press(&mut state, "o"), [Effect::Lend(Errand::PageLog(of))]);
    update(
        &mut state,
        Message::Returned(Err("less ended with 1".to_owned())),
        now(),
    );
    assert_eq!(said(&state), "less ended with 1");
}
