//! The log's screen: windows into a file of any size, following, wrapping, searching.

use crossterm::event::KeyCode;

use super::*;
use crate::{
    execution::output::Direction,
    tui::{
        log::{Part, Search, Sought},
        message::Effect,
    },
};

/// 20 lines fit.
const SIZE: (u16, u16) = (80, 23);
/// A file of so many lines, of which the last ones are in the window.
const LINES: u64 = 10_000;

fn press(state: &mut State, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            c => KeyCode::Char(c),
        };
        effects.extend(update(state, key(code), now()));
    }
    effects
}

fn of(state: &State) -> LogId {
    state.log.of.clone().expect("an open log")
}

fn tell(state: &mut State, news: LogNews) -> Vec<Effect> {
    let message = Message::Log(of(state), news);
    update(state, message, now())
}

/// A long log, as it stands when it was opened.
fn open() -> State {
    let mut state = loaded(Screen::Log, PLAIN, SIZE, false);
    let id = of(&state);
    state.log.open(id);
    tell(&mut state, LogNews::Grown(log_page(LINES - 500..LINES), 500));
    state
}

/// The numbers of the first and the last line on the screen.
fn shown(state: &State) -> (u64, u64) {
    let room = state.log_room(now());
    let top = state.log.spot(room).line;
    let lines: Vec<u64> = state
        .log
        .lines
        .iter()
        .skip(top)
        .take(room.height)
        .map(|line| line.begin / LINE)
        .collect();
    (*lines.first().expect("a line"), *lines.last().expect("a line"))
}

fn read(state: &State, part: Part) -> Vec<Effect> {
    vec![Effect::ReadLog(of(state), part)]
}

#[test]
fn a_log_opens_at_its_end_and_follows() {
    let mut state = open();
    assert_eq!(shown(&state), (LINES - 20, LINES - 1));
    assert_eq!(tell(&mut state, LogNews::Grown(log_page(LINES..LINES + 5), 5)), []);
    assert_eq!(shown(&state), (LINES - 15, LINES + 4));
    // So much came at once that only its end was read.
    assert_eq!(
        tell(&mut state, LogNews::Grown(log_page(LINES + 900..LINES + 1_000), 995)),
        []
    );
    assert_eq!(shown(&state), (LINES + 980, LINES + 999));
}

#[test]
fn scrolling_pauses_and_counts_what_comes() {
    let mut state = open();
    press(&mut state, "k");
    tell(&mut state, LogNews::Grown(log_page(LINES..LINES + 7), 7));
    assert_eq!((shown(&state).0, state.log.unseen), (LINES - 21, 7));
    assert_eq!(press(&mut state, "G"), []);
    assert_eq!((shown(&state).1, state.log.unseen), (LINES + 6, 0));
    // Lines that are far behind the window are counted, and read when somebody goes there.
    press(&mut state, "k");
    tell(
        &mut state,
        LogNews::Grown(log_page(LINES + 2_000..LINES + 2_100), 2_093),
    );
    assert_eq!((shown(&state).0, state.log.unseen), (LINES - 14, 2_093));
    assert_eq!(press(&mut state, "G"), read(&state, Part::End));
}

#[test]
fn what_comes_into_view_is_asked_for_once() {
    let mut state = open();
    let first = LINES - 500;
    let mut asked = Vec::new();
    while asked.is_empty() {
        asked = press(&mut state, "k");
    }
    assert_eq!(shown(&state).0, first + 39, "two screens before the edge");
    assert_eq!(asked, read(&state, Part::Before(first * LINE)));
    assert_eq!(press(&mut state, "k"), []);
    assert_eq!(
        tell(
            &mut state,
            LogNews::Part(Part::Before(first * LINE), log_page(first - 500..first))
        ),
        []
    );
    assert_eq!(shown(&state).0, first + 38, "the screen stays where it was");
    press(&mut state, &"k".repeat(60));
    assert_eq!(shown(&state).0, first - 22);
}

#[test]
fn the_beginning_is_there_at_once_and_the_window_stays_small() {
    let mut state = open();
    tell(&mut state, LogNews::Grown(log_page(99_900..100_000), 90_000));
    assert_eq!(press(&mut state, "g"), read(&state, Part::Begin));
    assert_eq!(tell(&mut state, LogNews::Part(Part::Begin, log_page(0..100))), []);
    assert_eq!(shown(&state), (0, 19));
    let mut from = 100;
    for _ in 0..400 {
        for effect in press(&mut state, "    ") {
            let Effect::ReadLog(_, part @ Part::After(at)) = effect else {
                panic!("{effect:?}")
            };
            assert_eq!(at, from * LINE);
            tell(&mut state, LogNews::Part(part, log_page(from..from + 5_000)));
            from += 5_000;
        }
    }
    assert!(shown(&state).0 > 20_000, "{:?}", shown(&state));
    assert!(state.log.lines.len() <= 15_000, "{}", state.log.lines.len());
}

#[test]
fn a_part_that_nobody_waits_for_is_let_go() {
    let mut state = open();
    press(&mut state, "g");
    assert_eq!(press(&mut state, "G"), []);
    let late = LogNews::Part(Part::Before(7), log_page(0..100));
    tell(&mut state, late);
    assert_eq!(shown(&state).1, LINES - 1);
    let other = LogId {
        attempt: 9,
        ..of(&state)
    };
    update(
        &mut state,
        Message::Log(other, LogNews::Grown(log_page(0..1), 1)),
        now(),
    );
    assert_eq!(shown(&state).1, LINES - 1);
}

#[test]
fn wrapped_lines_take_rows_and_are_scrolled_by_rows() {
    let mut state = open();
    let mut page = log_page(LINES..LINES + 1);
    page.lines[0].text = "x".repeat(78 * 30);
    tell(&mut state, LogNews::Grown(page, 1));
    press(&mut state, "w");
    let room = state.log_room(now());
    let spot = |state: &State| {
        let spot = state.log.spot(room);
        (state.log.lines[spot.line].begin / LINE, spot.row)
    };
    assert_eq!(spot(&state), (LINES, 10));
    press(&mut state, "k");
    assert_eq!(spot(&state), (LINES, 9));
    press(&mut state, &"k".repeat(10));
    assert_eq!(spot(&state), (LINES - 1, 0));
    press(&mut state, "l");
    assert!(state.notice.as_ref().expect("a refusal").text.contains("`w` cuts them"));
    press(&mut state, "wl");
    assert_eq!(state.log.left, 16);
}

#[test]
fn a_search_goes_through_the_file_and_around_its_end() {
    let mut state = open();
    let search = |from, direction| Search {
        sought: Sought::Text("x 7".to_owned()),
        from,
        direction,
    };
    let first = search((LINES - 20) * LINE, Direction::Forward);
    assert_eq!(
        press(&mut state, "/x 7\n"),
        [Effect::SearchLog(of(&state), first.clone())]
    );
    tell(&mut state, LogNews::Searching(first.clone(), 30, 90));
    assert_eq!(
        state.log.searching.as_ref().map(|searching| searching.percent),
        Some(33)
    );
    let effects = tell(
        &mut state,
        LogNews::Found(first, Some((300 * LINE, log_page(200..400)))),
    );
    assert_eq!((state.log.found, shown(&state)), (Some(300 * LINE), (290, 309)));
    assert_eq!(effects, []);
    let next = search(300 * LINE + 1, Direction::Forward);
    assert_eq!(press(&mut state, "n"), [Effect::SearchLog(of(&state), next.clone())]);
    let before = search(300 * LINE, Direction::Backward);
    assert_eq!(press(&mut state, "N"), [Effect::SearchLog(of(&state), before.clone())]);
    // The answer to what was given up moves nothing.
    tell(&mut state, LogNews::Found(next, Some((7 * LINE, log_page(0..100)))));
    assert_eq!(state.log.found, Some(300 * LINE));
    // A line of the window is gone to without another window.
    tell(
        &mut state,
        LogNews::Found(before, Some((250 * LINE, log_page(240..260)))),
    );
    assert_eq!((state.log.found, shown(&state)), (Some(250 * LINE), (240, 259)));
    assert_eq!(state.log.lines.len(), 200);
}

#[test]
fn a_search_ends_with_esc_and_says_when_nothing_is_there() {
    let mut state = open();
    press(&mut state, "/zzz\n");
    assert_eq!(press(&mut state, "\x1b"), [Effect::StopSearch]);
    assert_eq!((state.screen, state.log.searching.is_none()), (Screen::Log, true));
    let effects = press(&mut state, "!");
    let Some(Effect::SearchLog(_, search)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert_eq!((search.from, &search.sought), (0, &Sought::Error));
    tell(&mut state, LogNews::Found(search.clone(), None));
    assert_eq!(
        state.notice.as_ref().expect("a word").text,
        "no line looks like an error"
    );
}

#[test]
fn a_rewritten_log_is_found_again_by_its_instant() {
    let mut state = open();
    press(&mut state, "kkkkk");
    let at = state.log.lines[usize::try_from(shown(&state).0 - (LINES - 500)).expect("a place")].at;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("log"), "").expect("a file");
    let other = crate::execution::output::LogPages::open(&folder.path().join("log"))
        .expect("a file")
        .expect("a file");
    let rewritten = |numbers| LogPage {
        file: other.key(),
        ..log_page(numbers)
    };
    let effects = tell(&mut state, LogNews::Grown(rewritten(500..600), 1));
    assert_eq!(effects, read(&state, Part::Around(at)));
    let mut page = rewritten(400..600);
    for (n, line) in (0..).zip(&mut page.lines) {
        line.at = at + chrono::TimeDelta::milliseconds(n - 50);
    }
    tell(&mut state, LogNews::Part(Part::Around(at), page));
    assert_eq!(shown(&state).0, 450);
}
