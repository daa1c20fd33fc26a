//! What each screen looks like: pictures of every one at each supported size, and what holds of any picture.

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, style::Color};

use super::*;
use crate::tui::draw::draw;

fn picture(state: &State) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).expect("a terminal in memory");
    terminal
        .draw(|frame| draw(state, now(), frame.area(), frame.buffer_mut()))
        .expect("memory takes every frame");
    terminal
}

fn cells(state: &State) -> Buffer {
    picture(state).backend().buffer().clone()
}

const ASCII: Look = Look {
    ascii: true,
    color: false,
};

/// One file for each screen: the supported sizes, then without anything to show, then without colour and signs.
#[test]
fn every_screen_at_every_size() {
    for screen in Screen::ALL {
        let mut pictures = String::new();
        let cases = [
            ("100x30", (100, 30), PLAIN, false),
            ("80x24", (80, 24), PLAIN, false),
            ("60x15", (60, 15), PLAIN, false),
            ("80x24, nothing yet", (80, 24), PLAIN, true),
            ("80x24, monochrome and ASCII", (80, 24), ASCII, false),
        ];
        for (name, size, look, nothing_yet) in cases {
            let state = loaded(screen, look, size, nothing_yet);
            pictures.push_str(&format!("{name}\n{}\n", picture(&state).backend()));
        }
        insta::assert_snapshot!(screen.title().to_lowercase(), pictures);
    }
}

#[test]
fn overlays_and_the_states_of_the_daemon() {
    let mut pictures = String::new();
    let mut add = |name: &str, state: &State| pictures.push_str(&format!("{name}\n{}\n", picture(state).backend()));
    let live = || loaded(Screen::Live, PLAIN, (60, 15), false);
    add("loading", &State::new(PLAIN, (60, 15), false));
    let mut state = State::new(PLAIN, (60, 15), false);
    let failed = Err("the journal is newer than this Petit".to_owned());
    update(&mut state, Message::Loaded(Want::Status, failed), now());
    add("an error", &state);
    let mut state = loaded(Screen::Live, PLAIN, (60, 15), true);
    state.link = Link::Connecting;
    update(&mut state, Message::Lost("no daemon runs on /srv".to_owned()), now());
    add("without a daemon", &state);
    let mut state = live();
    update(&mut state, Message::Lost("the daemon has ended".to_owned()), now());
    add("a daemon that ended", &state);
    for (name, keys) in [
        ("commands", "?can"),
        ("a question", "x"),
        ("typing a filter", "/zzz"),
        ("a refusal", "2/x\n"),
    ] {
        let mut state = live();
        for c in keys.chars() {
            let code = match c {
                '\n' => crossterm::event::KeyCode::Enter,
                c => crossterm::event::KeyCode::Char(c),
            };
            update(&mut state, key(code), now());
        }
        add(name, &state);
    }
    for (name, screen, keys) in [
        ("a point of the chart", Screen::History, "]]"),
        ("kept views", Screen::History, "M"),
        ("the name of a view", Screen::History, "mnightly runs"),
        ("the name of an export", Screen::Runs, "E"),
        ("SQL that is typed", Screen::Sql, "; LIMIT 5"),
        ("a wrapped log", Screen::Log, "wgT"),
        ("a search that goes on", Screen::Log, "/zzz\n"),
    ] {
        let mut state = loaded(screen, PLAIN, (60, 20), false);
        state.log.lines[0].text = "a line that is longer than the screen is wide, and that goes on below it".to_owned();
        for c in keys.chars() {
            let code = match c {
                '\n' => crossterm::event::KeyCode::Enter,
                c => crossterm::event::KeyCode::Char(c),
            };
            update(&mut state, key(code), now());
        }
        add(name, &state);
    }
    let mut state = loaded(Screen::Sql, PLAIN, (60, 15), false);
    state.past.asked = Some("FROM nothing".to_owned());
    let refused = "Catalog Error: Table with name nothing does not exist!\nLINE 1: FROM nothing\n             ^";
    update(
        &mut state,
        Message::Loaded(Want::Rows("FROM nothing".to_owned()), Err(refused.to_owned())),
        now(),
    );
    add("SQL that is refused", &state);
    let mut state = live();
    state.size = (50, 4);
    add("too small", &state);
    insta::assert_snapshot!("overlays", pictures);
}

#[test]
fn without_colour_no_cell_has_any_and_ascii_is_ascii() {
    for screen in Screen::ALL {
        let state = loaded(screen, ASCII, (100, 30), false);
        for cell in cells(&state).content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset), "{screen:?}");
            assert!(cell.symbol().is_ascii(), "{screen:?}: {:?}", cell.symbol());
        }
    }
}

#[test]
fn what_is_wrong_is_told_by_a_sign_and_by_a_tone() {
    let state = loaded(Screen::Jobs, PLAIN, (80, 24), false);
    let buffer = cells(&state);
    let row = (0..24).find(|&y| {
        (0..20)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
            .contains("nightly")
    });
    let sign = &buffer[(1, row.expect("the job is listed"))];
    assert_eq!((sign.symbol(), sign.fg), ("!", Color::Red));
}

#[test]
fn time_alone_changes_nothing_on_an_idle_screen() {
    let mut state = loaded(Screen::Live, PLAIN, (80, 24), true);
    state.link = Link::Up;
    let mut frames = (0..3).map(|second| {
        let area = ratatui::layout::Rect::new(0, 0, 80, 24);
        let mut buffer = Buffer::empty(area);
        draw(&state, now() + chrono::TimeDelta::seconds(second), area, &mut buffer);
        buffer
    });
    let first = frames.next();
    assert!(frames.all(|frame| Some(&frame) == first.as_ref()));
}

/// Puts a text wherever a text of a stranger stands.
fn poison(state: &mut State, text: &str) {
    for run in state.runs.iter_mut().flatten().chain(&mut state.run) {
        run.reason = Some(text.to_owned());
        run.params.insert(text.to_owned(), json!(text));
        for task in &mut run.tasks {
            task.reason = Some(text.to_owned());
            task.outputs.insert(text.to_owned(), json!(text));
        }
    }
    for job in state.jobs.iter_mut().flatten() {
        job.schedule = vec![text.to_owned()];
        job.next = Some(text.to_owned());
    }
    if let Some((detail, _)) = &mut state.job {
        detail.job.name = text.to_owned();
        detail.yaml = Some(text.to_owned());
    }
    if let Some(status) = &mut state.status {
        status.conditions = vec![text.to_owned()];
        status.sync.jobs_dir = text.to_owned();
        for file in &mut status.sync.files {
            file.file = text.to_owned();
            file.standing.message = Some(text.to_owned());
            for found in &mut file.diagnostics {
                found.message = text.to_owned();
                found.hint = Some(text.to_owned());
            }
        }
        state.open_file = Some(text.to_owned());
        state.source = Some((text.to_owned(), text.to_owned()));
    }
    if let Some(answer) = &mut state.answer {
        answer.note = Some(text.to_owned());
        answer.columns[0].name = text.to_owned();
        answer.rows.push(vec![json!(text); 5]);
        answer.series[0].label = text.to_owned();
        answer.series[1].points.push((now(), f64::NAN));
    }
    state.past.runs_filter = text.to_owned();
    if let Some((filter, picked)) = &mut state.past.runs {
        *filter = text.to_owned();
        picked.runs[0].reason = Some(text.to_owned());
    }
    state.past.sql = text.to_owned();
    state.past.asked = Some(text.to_owned());
    if let Some((sql, rows)) = &mut state.past.rows {
        *sql = text.to_owned();
        rows.columns[0].name = text.to_owned();
        rows.rows.push(vec![json!(text), json!([text])]);
    }
    for view in &mut state.past.views {
        (view.name, view.filter) = (text.to_owned(), text.to_owned());
    }
    for line in &mut state.log.lines {
        line.text = text.to_owned();
    }
    state.place_mut().filter = text.to_owned();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_size_and_any_bytes_make_a_picture_without_control_characters(
        size in (0_u16..130, 0_u16..40),
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        hostile in "[\\x00-\\x1f\\x7f\u{9b}\u{202e}\u{200b}a日\u{301}🦀]{0,40}",
        keys in "[1-6jkghlGtpxqTfensua/?wyo!;SEmM,.+\\-\\[\\]]{0,12}",
    ) {
        for text in [String::from_utf8_lossy(&bytes).into_owned(), hostile] {
            for screen in Screen::ALL {
                let mut state = loaded(screen, PLAIN, size, false);
                poison(&mut state, &text);
                for c in keys.chars() {
                    update(&mut state, key(crossterm::event::KeyCode::Char(c)), now());
                }
                let area = ratatui::layout::Rect::new(0, 0, size.0, size.1);
                let mut buffer = Buffer::empty(area);
                draw(&state, now(), area, &mut buffer);
                for cell in buffer.content() {
                    prop_assert!(!cell.symbol().contains(|c: char| c.is_control()), "{:?}", cell.symbol());
                    prop_assert!(!cell.symbol().contains('\u{202e}'), "{:?}", cell.symbol());
                }
            }
        }
    }
}
