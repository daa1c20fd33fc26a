//! What each message does: tables of keys and effects.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::{
    control::Live,
    core::{id::RunId, state::RunStatus},
    events::Event,
    tui::message::{Effect, Order},
    tui::state::{Notice, Overlay},
};

const SIZE: (u16, u16) = (80, 24);

fn press(state: &mut State, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            c => KeyCode::Char(c),
        };
        effects.extend(update(state, key(code), now()));
    }
    effects
}

fn said(state: &State) -> &str {
    state.notice.as_ref().map_or("", |notice| &notice.text)
}

#[test]
fn digits_show_screens_and_ask_for_what_they_show() {
    let mut state = State::new(PLAIN, SIZE, false);
    let cases = [
        ('2', Screen::Jobs, vec![Want::Status, Want::Jobs]),
        ('5', Screen::Sync, vec![]),
        ('1', Screen::Live, vec![Want::Runs]),
        (
            '6',
            Screen::History,
            vec![
                Want::Answer {
                    question: "duration",
                    filter: String::new(),
                },
                Want::Views,
            ],
        ),
    ];
    for (digit, screen, wants) in cases {
        let effects = press(&mut state, &digit.to_string());
        assert_eq!(state.screen, screen);
        let loads: Vec<Effect> = wants.into_iter().map(Effect::Load).collect();
        // What is on its way already is not asked for twice.
        assert_eq!(effects, loads, "{digit}");
    }
}

#[test]
fn going_back_leads_to_the_same_row_and_filter() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    press(&mut state, "/ly\n");
    assert_eq!(state.place().filter, "ly");
    press(&mut state, "j");
    assert_eq!(state.job_in_view().map(String::from).as_deref(), Some("nightly"));
    press(&mut state, "\n");
    assert_eq!((state.screen, state.place().cursor), (Screen::Job, 0));
    press(&mut state, "\x1b");
    assert_eq!(
        (state.screen, state.place().cursor, state.place().filter.as_str()),
        (Screen::Jobs, 1, "ly")
    );
    press(&mut state, "\x1b");
    assert_eq!(state.place().filter, "");
    assert_eq!(state.job_in_view().map(String::from).as_deref(), Some("nightly"));
}

#[test]
fn a_run_leads_to_its_attempts_log_and_to_its_neighbours() {
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    press(&mut state, "j");
    let effects = press(&mut state, "\n");
    assert_eq!(state.screen, Screen::Log);
    assert!(
        matches!(&effects[0], Effect::Follow(of) if of.task.as_str() == "load" && of.attempt == 1),
        "{effects:?}"
    );
    let effects = press(&mut state, "]");
    assert!(
        matches!(&effects[0], Effect::Follow(of) if of.attempt == 2),
        "{effects:?}"
    );
    press(&mut state, "]");
    assert!(said(&state).contains("no further attempt"), "{}", said(&state));
    press(&mut state, "\x1b[");
    assert_eq!(
        state.open_run.map(|run| run.to_string()).as_deref(),
        Some("01K00000000000000000000002")
    );
    assert_eq!(state.log.of, None);
}

#[test]
fn a_log_without_a_choice_is_the_failed_attempts() {
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    state.log.of = None;
    let effects = press(&mut state, "4");
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Follow(of) if of.task.as_str() == "load" && of.attempt == 2)),
        "{effects:?}"
    );
}

#[test]
fn commands_run_or_say_why_they_cannot() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    let etl = || of(json!("etl"));
    assert_eq!(press(&mut state, "t"), [Effect::Order(Order::Trigger(etl()))]);
    assert_eq!(press(&mut state, "p"), [Effect::Order(Order::Pause(etl()))]);
    assert_eq!(
        press(&mut state, "jp"),
        [Effect::Order(Order::Resume(of(json!("hourly"))))]
    );
    state.link = Link::Down {
        message: "no daemon runs".to_owned(),
        since: now(),
        lost: true,
    };
    assert_eq!(press(&mut state, "t"), []);
    assert_eq!(said(&state), "cannot trigger: no daemon runs");
}

#[test]
fn cancelling_wants_a_y() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    assert_eq!(press(&mut state, "x"), []);
    let Some(Overlay::Confirm { question, .. }) = &state.overlay else {
        panic!("no question: {:?}", state.overlay)
    };
    assert!(question[0].contains("of etl"), "{question:?}");
    assert_eq!(press(&mut state, "\n"), []);
    assert_eq!((state.overlay.is_none(), said(&state)), (true, "nothing was done"));
    let run = of(json!("01K00000000000000000000005"));
    assert_eq!(press(&mut state, "xy"), [Effect::Order(Order::Cancel(run))]);
    // Run 3 has failed long ago.
    state.screen = Screen::Run;
    press(&mut state, "x");
    assert_eq!(said(&state), "cannot cancel: the run has ended");
}

#[test]
fn a_retry_shows_what_it_would_run_and_wants_a_y() {
    let run: RunId = of(json!("01K00000000000000000000003"));
    let answer = |again: &[&str]| -> Message {
        let again: Vec<Value> = again
            .iter()
            .map(|task| json!({"task": task, "why": "ended failed"}))
            .collect();
        let reply = json!({
            "run": null, "retry_of": run, "job": "etl", "again": again, "notes": ["the job is paused by me"],
            "reused": [{"task": "extract", "reused_from": run}],
        });
        Message::RetryPlanned(run, Ok(of(reply)))
    };
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    assert_eq!(press(&mut state, "r"), [Effect::PlanRetry(run)]);
    assert_eq!(update(&mut state, answer(&["load", "report"]), now()), []);
    let Some(Overlay::Confirm { question, .. }) = &state.overlay else {
        panic!("no question: {:?}", state.overlay)
    };
    assert_eq!(
        question[..],
        [
            "Retry run 01K00000000000000000000003 of etl, as the job is today?",
            "These tasks run again:",
            "  load: ended failed",
            "  report: ended failed",
            "These do not, their outputs are reused:",
            "  extract",
            "the job is paused by me",
        ]
    );
    assert_eq!(press(&mut state, "\n"), []);
    assert_eq!((state.overlay.is_none(), said(&state)), (true, "nothing was done"));
    press(&mut state, "r");
    update(&mut state, answer(&["a", "b", "c", "d", "e"]), now());
    let Some(Overlay::Confirm { question, .. }) = &state.overlay else {
        panic!("no question: {:?}", state.overlay)
    };
    assert_eq!(question[4..6], ["  c: ended failed", "  and 2 more"]);
    assert_eq!(press(&mut state, "y"), [Effect::Order(Order::Retry(run))]);

    // Whoever went on typing is not asked any more.
    press(&mut state, "r/");
    update(&mut state, answer(&["load"]), now());
    assert_eq!((state.overlay.is_none(), press(&mut state, "y")), (true, vec![]));
    press(&mut state, "\x1br");
    let refused = Message::RetryPlanned(run, Err("run 5 is in the way".to_owned()));
    update(&mut state, refused, now());
    assert_eq!(said(&state), "cannot retry: run 5 is in the way");
}

#[test]
fn a_retry_is_of_the_run_in_view_and_only_where_something_failed() {
    let failed: RunId = of(json!("01K00000000000000000000003"));
    // The latest run of etl is going.
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    assert_eq!(press(&mut state, "r"), []);
    assert_eq!(said(&state), "cannot retry: the run is still going");
    press(&mut state, "jjr");
    assert_eq!(
        said(&state),
        "cannot retry: the cursor is on no run, nor on a job that has run"
    );
    for screen in [Screen::Run, Screen::Log] {
        let mut state = loaded(screen, PLAIN, SIZE, false);
        assert_eq!(press(&mut state, "r"), [Effect::PlanRetry(failed)], "{screen:?}");
    }
    // On a job the cursor is on one of its runs: the newest is going, the next succeeded, the third failed.
    let mut state = loaded(Screen::Job, PLAIN, SIZE, false);
    let mut told = Vec::new();
    let mut planned = Vec::new();
    for _ in 0..30 {
        planned.extend(press(&mut state, "r"));
        told.extend(state.notice.as_ref().map(|notice| notice.text.clone()));
        press(&mut state, "j");
    }
    assert!(planned.contains(&Effect::PlanRetry(failed)), "{planned:?}");
    assert!(
        told.contains(&"cannot retry: the run succeeded: `t` runs the job anew".to_owned()),
        "{told:?}"
    );
    state.link = Link::Down {
        message: "no daemon runs".to_owned(),
        since: now(),
        lost: true,
    };
    press(&mut state, "r");
    assert_eq!(said(&state), "cannot retry: no daemon runs");
}

#[test]
fn held_removals_are_approved_by_name() {
    let mut state = loaded(Screen::Sync, PLAIN, SIZE, false);
    press(&mut state, "a");
    let Some(Overlay::Confirm { question, .. }) = &state.overlay else {
        panic!("no question: {:?}", state.overlay)
    };
    assert!(question[1].contains("old (old.yaml)"), "{question:?}");
    assert_eq!(
        press(&mut state, "y"),
        [Effect::Order(Order::Approve("c0ffee".to_owned()))]
    );
}

#[test]
fn the_list_of_commands_finds_and_runs() {
    let mut state = loaded(Screen::Sync, PLAIN, SIZE, false);
    let effects = press(&mut state, "?look at files\n");
    assert_eq!(
        (effects, state.overlay.is_none()),
        (vec![Effect::Order(Order::Sync)], true)
    );
    // One of another screen says where it belongs.
    press(&mut state, ":first error\n");
    assert_eq!(said(&state), "cannot first error: it belongs to Log");
}

#[test]
fn events_are_answered_at_the_next_tick_and_only_for_what_is_shown() {
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    assert_eq!(update(&mut state, Message::Tick, now()), []);
    let run = Event::Run {
        at: now(),
        run: of(json!("01K00000000000000000000005")),
        job: of(json!("etl")),
        status: RunStatus::Succeeded,
    };
    for _ in 0..1_000 {
        assert_eq!(update(&mut state, Message::Live(Live::Event(run.clone())), now()), []);
    }
    let effects = update(&mut state, Message::Tick, now());
    assert_eq!(effects, [Want::Status, Want::Runs, Want::Jobs].map(Effect::Load));
    // While one answer is on its way nothing is asked again; what arrives is already old, and asked for once more.
    update(&mut state, Message::Live(Live::Lagged(3)), now());
    assert_eq!(update(&mut state, Message::Tick, now()), []);
    let old = Loaded::Status(of(status()));
    assert_eq!(update(&mut state, Message::Loaded(Want::Status, Ok(old)), now()), []);
    assert_eq!(update(&mut state, Message::Tick, now()), [Effect::Load(Want::Status)]);
}

#[test]
fn the_cursor_stays_on_its_job_when_others_come_and_go() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    press(&mut state, "jj");
    let jobs = [
        job("a", "synced", "ok", false),
        job("b", "synced", "ok", false),
        job("nightly", "synced", "ok", false),
    ];
    let more = |jobs: Value| Message::Loaded(Want::Jobs, Ok(Loaded::Jobs(of(jobs))));
    update(&mut state, more(json!([jobs[0], jobs[2], jobs[1]])), now());
    assert_eq!(state.place().cursor, 1);
    update(&mut state, more(json!([jobs[0]])), now());
    assert_eq!(state.place().cursor, 0);
    update(&mut state, more(json!([])), now());
    assert_eq!(press(&mut state, "jkG\n"), []);
}

#[test]
fn an_answer_to_an_earlier_question_is_not_shown() {
    let mut state = loaded(Screen::History, PLAIN, SIZE, false);
    let effects = press(&mut state, "\t");
    assert!(
        matches!(&effects[..], [Effect::Load(Want::Answer { question: "slower", .. })]),
        "{effects:?}"
    );
    let late = Want::Answer {
        question: "duration",
        filter: String::new(),
    };
    update(
        &mut state,
        Message::Loaded(late, Ok(Loaded::Answer(of(answer())))),
        now(),
    );
    assert_eq!(state.answer, None);
    let effects = press(&mut state, "/job=a\n");
    assert!(
        matches!(&effects[..], [Effect::Load(Want::Answer { question: "slower", filter })] if filter == "job=a"),
        "{effects:?}"
    );
}

#[test]
fn a_lost_daemon_leaves_the_data_and_its_return_renews_it() {
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    update(&mut state, Message::Lost("gone".to_owned()), now());
    assert!(matches!(&state.link, Link::Down { lost: true, since, .. } if *since == now()));
    assert!(state.status.is_some());
    let effects = update(&mut state, Message::Connected, now());
    assert_eq!(effects, [Want::Status, Want::Runs, Want::Jobs].map(Effect::Load));
}

#[test]
fn a_run_that_was_shown_before_is_asked_for_again() {
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    let first = state.open_run.unwrap();
    let ids = |effects: &[Effect]| -> Vec<Want> {
        let loads = effects.iter().filter_map(|effect| match effect {
            Effect::Load(want) => Some(want.clone()),
            _ => None,
        });
        loads.collect()
    };
    let second = of(json!("01K00000000000000000000004"));
    assert_eq!(ids(&press(&mut state, "]")), [Want::Run(second)]);
    let arrived = Loaded::Run(Box::new(of(run("etl", 4, "succeeded", json!([])))));
    update(&mut state, Message::Loaded(Want::Run(second), Ok(arrived)), now());
    assert_eq!(ids(&press(&mut state, "[")), [Want::Run(first)]);
}

#[test]
fn what_cannot_be_renewed_stays_and_says_so() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    let failed = Err("the disk is full".to_owned());
    update(&mut state, Message::Loaded(Want::Jobs, failed), now());
    assert_eq!(
        state.banner(now()).as_deref(),
        Some("! not renewed: the disk is full; `u` asks again")
    );
    assert_eq!(press(&mut state, "u").len(), 2);
    update(
        &mut state,
        Message::Loaded(Want::Jobs, Ok(Loaded::Jobs(Vec::new()))),
        now(),
    );
    assert_eq!(state.banner(now()), None);
}

#[test]
fn leaving_takes_q_or_ctrl_c_twice_and_a_y_where_runs_would_end() {
    let ctrl_c = || Message::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    assert_eq!(update(&mut state, ctrl_c(), now()), []);
    press(&mut state, "j");
    assert_eq!(update(&mut state, ctrl_c(), now()), []);
    assert_eq!(update(&mut state, ctrl_c(), now()), [Effect::Quit]);
    assert_eq!(press(&mut state, "q"), [Effect::Quit]);
    state.embedded = true;
    assert_eq!(press(&mut state, "q"), []);
    assert_eq!(press(&mut state, "y"), [Effect::Quit]);
}

#[test]
fn a_notice_goes_after_a_while() {
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    update(&mut state, Message::Obeyed(Err("no".to_owned())), now());
    assert!(matches!(&state.notice, Some(Notice { bad: true, .. })));
    update(&mut state, Message::Tick, now() + chrono::TimeDelta::minutes(1));
    assert_eq!(state.notice, None);
}
