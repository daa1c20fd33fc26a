//! What Live, Jobs, Job, Run, Sync and File say beyond their rows: fixtures for it, and what each says in which case.

use chrono::TimeDelta;
use crossterm::event::KeyCode;
use ratatui::{buffer::Buffer, layout::Rect};

use super::*;
use crate::{
    control::Live,
    events::Event,
    tui::{
        draw::draw,
        message::{Effect, Order},
    },
};

/// The latest twenty runs of a job, newest first.
pub(super) fn last_runs() -> Value {
    let status = |n: u32| match n {
        3 | 11 => "failed",
        5 => "running",
        9 => "cancelled",
        _ => "succeeded",
    };
    let run = |n: u32| {
        json!({
            "id": format!("01K0000000000000000000{n:04}"), "status": status(n),
            "created_at": format!("2026-11-23T11:{:02}:00Z", n + 30), "duration_ms": (n != 5).then_some(30_000 + n),
        })
    };
    json!((0..20).rev().map(run).collect::<Vec<_>>())
}

pub(super) fn grid() -> Value {
    let line = |task: &str, states: [&str; 5]| {
        let states = states.map(|state| if state.is_empty() { Value::Null } else { json!(state) });
        json!({"id": task, "states": states, "retried": u32::from(task == "load"), "p50_ms": 9_000, "p95_ms": 12_000})
    };
    let runs: Vec<Value> = last_runs().as_array().expect("a list")[14..19].to_vec();
    json!({
        "runs": runs,
        "tasks": [
            line("extract", ["running", "succeeded", "succeeded", "succeeded", "succeeded"]),
            line("load", ["pending", "succeeded", "failed", "succeeded", "succeeded"]),
            line("report", ["pending", "skipped", "upstream_failed", "", ""]),
        ],
    })
}

pub(super) fn running() -> Value {
    json!([{
        "job": "etl", "run": "01K00000000000000000000005", "task": "extract", "attempt": 1,
        "since": "2026-11-23T11:59:01Z", "pid": 4711, "pid_start": 1, "p50_ms": 9_000, "p95_ms": 12_000,
        "memory_bytes": 48 << 20, "memory_limit_bytes": 64 << 20, "memory_reserved_bytes": null,
    }])
}

pub(super) fn last_day() -> Value {
    let half = |n: i64| {
        let from: Timestamp = "2026-11-22T12:30:00Z".parse().expect("an instant");
        json!({
            "from": from + TimeDelta::minutes(30 * n), "succeeded": u32::from(n % 2 == 0), "failed": u32::from(n == 40),
            "cancelled": u32::from(n == 13), "going": u32::from(n == 47),
        })
    };
    json!((0..48).map(half).collect::<Vec<_>>())
}

pub(super) fn context() -> Value {
    let load = |kind: &str, text: &str| json!({"kind": kind, "task": "load", "text": text});
    json!({
        "previous": "01K00000000000000000000002", "next": "01K00000000000000000000004",
        "critical_path": ["extract", "load"], "last_good": "01K00000000000000000000002",
        "differences": [
            {"kind": "spec", "task": null, "text": "the job is abababab, was cdcdcdcd"},
            load("ending", "load: exit code 3 at try 2, was succeeded"),
            load("duration", "load took 11s, its p95 is 5s"),
        ],
    })
}

/// Who holds what another task waits for.
pub(super) fn holder() -> Value {
    json!({"job": "etl", "run": "01K00000000000000000000005", "task": "extract"})
}

fn lines(state: &State) -> Vec<String> {
    let area = Rect::new(0, 0, state.size.0, state.size.1);
    let mut buffer = Buffer::empty(area);
    draw(state, now(), area, &mut buffer);
    let line = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..area.height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn shows(state: &State, text: &str) -> bool {
    lines(state).iter().any(|line| line.contains(text))
}

const SIZE: (u16, u16) = (100, 60);

#[test]
fn live_tells_memory_against_its_limit_and_who_holds_a_slot() {
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    assert!(shows(&state, "48.0 MiB of 64.0 MiB"), "{:#?}", lines(&state));
    assert!(shows(&state, "! longer than usual"));
    assert!(shows(&state, "held by etl/extract of run"));
    let status = state.status.as_mut().expect("loaded");
    status.running[0].memory_bytes = Some(60 << 20);
    assert!(shows(&state, "! near its limit"));
    let status = state.status.as_mut().expect("loaded");
    (
        status.running[0].memory_limit_bytes,
        status.running[0].memory_reserved_bytes,
    ) = (None, Some(1 << 30));
    assert!(shows(&state, "60.0 MiB, 1.0 GiB set aside"));
    let status = state.status.as_mut().expect("loaded");
    status.running.clear();
    assert!(shows(&state, "between tasks"));
}

#[test]
fn memory_is_asked_for_again_only_while_something_runs_and_is_shown() {
    let mut state = loaded(Screen::Live, PLAIN, SIZE, false);
    let later = |seconds| now() + TimeDelta::seconds(seconds);
    let asked = [Effect::Load(Want::Status)];
    assert_eq!(
        update(&mut state, Message::Tick, later(0)),
        [],
        "it has just been loaded"
    );
    assert_eq!(update(&mut state, Message::Tick, later(2)), asked);
    let renew = |state: &mut State| {
        let fresh = Loaded::Status(of(status()));
        update(state, Message::Loaded(Want::Status, Ok(fresh)), now());
    };
    renew(&mut state);
    assert_eq!(update(&mut state, Message::Tick, later(3)), []);
    assert_eq!(update(&mut state, Message::Tick, later(4)), asked);
    renew(&mut state);
    update(&mut state, key(KeyCode::Char('5')), later(3));
    assert_eq!(
        update(&mut state, Message::Tick, later(9)),
        [],
        "another screen is shown"
    );
    let mut idle = loaded(Screen::Live, PLAIN, SIZE, true);
    assert_eq!(update(&mut idle, Message::Tick, later(9)), []);
}

#[test]
fn a_pause_is_taken_back_from_anywhere_and_once() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    let mut press = |keys: &str| -> Vec<Effect> {
        let keys = keys.chars();
        keys.flat_map(|c| update(&mut state, key(KeyCode::Char(c)), now()))
            .collect()
    };
    let job = |name: &str| name.parse().expect("a slug");
    assert_eq!(press("U"), []);
    assert_eq!(press("p"), [Effect::Order(Order::Pause(job("etl")))]);
    assert_eq!(press("jU"), [Effect::Order(Order::Resume(job("etl")))]);
    assert_eq!(press("U"), []);
    assert_eq!(press("p"), [Effect::Order(Order::Resume(job("hourly")))]);
    assert_eq!(press("U"), [Effect::Order(Order::Pause(job("hourly")))]);
}

#[test]
fn whether_a_job_is_paused_is_not_taken_from_an_older_look_at_it() {
    // The job was opened before it was paused, and the screens were left since.
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    state.job.as_mut().expect("loaded").0.job.paused = false;
    let pause = json!({"job": "etl", "since": "2026-11-23T11:00:00Z", "by": "ann", "reason": null});
    state.status.as_mut().expect("loaded").pauses.push(of(pause));
    let resume = Order::Resume("etl".parse().expect("a slug"));
    assert_eq!(
        update(&mut state, key(KeyCode::Char('p')), now()),
        [Effect::Order(resume)]
    );
}

#[test]
fn neighbours_are_those_that_the_journal_names() {
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    // The listed runs of all jobs no longer hold any of this one.
    state.runs = Some(Vec::new());
    let effects = update(&mut state, key(KeyCode::Char('[')), now());
    let before: crate::core::id::RunId = of(json!("01K00000000000000000000002"));
    assert_eq!(effects, [Effect::Load(Want::Run(before))]);
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    let context = state.run.as_mut().and_then(|run| run.context.as_mut()).expect("loaded");
    context.next = None;
    update(&mut state, key(KeyCode::Char(']')), now());
    let said = state.notice.as_ref().map(|notice| notice.text.as_str());
    assert_eq!(said, Some("this is the latest run of the job"));
}

#[test]
fn a_new_run_of_the_job_renews_the_one_that_was_the_last() {
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    let event = |job: &str| {
        Message::Live(Live::Event(Event::Run {
            at: now(),
            run: of(json!("01K00000000000000000000099")),
            job: of(json!(job)),
            status: crate::core::state::RunStatus::Queued,
        }))
    };
    let open = Effect::Load(Want::Run(state.open_run.expect("open")));
    update(&mut state, event("etl"), now());
    assert!(
        !update(&mut state, Message::Tick, now()).contains(&open),
        "it has a next one"
    );
    let context = state.run.as_mut().and_then(|run| run.context.as_mut()).expect("loaded");
    context.next = None;
    update(&mut state, event("other"), now());
    assert!(!update(&mut state, Message::Tick, now()).contains(&open));
    update(&mut state, event("etl"), now());
    assert!(update(&mut state, Message::Tick, now()).contains(&open));
}

#[test]
fn a_run_leads_to_the_last_good_one() {
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    // Four rows of the timeline stand before it.
    for _ in 0..4 {
        update(&mut state, key(KeyCode::Down), now());
    }
    update(&mut state, key(KeyCode::Enter), now());
    assert_eq!(state.open_run, Some(of(json!("01K00000000000000000000002"))));
    let mut state = loaded(Screen::Run, PLAIN, SIZE, false);
    let context = state.run.as_mut().and_then(|run| run.context.as_mut()).expect("loaded");
    (context.last_good, context.differences) = (None, Vec::new());
    assert!(shows(&state, "no run of the job succeeded before it"));
    let run = state.run.as_mut().expect("loaded");
    run.context = None;
    assert!(!shows(&state, "differences"), "an older daemon does not tell");
}

#[test]
fn a_file_stands_against_the_version_that_is_active() {
    let mut state = loaded(Screen::File, PLAIN, SIZE, false);
    let job: crate::core::id::JobId = of(json!("nightly"));
    assert!(
        shows(&state, "the file states no job that is known"),
        "{:#?}",
        lines(&state)
    );
    let known = json!({
        "job": "nightly", "file": "nightly.yaml", "sync": "invalid", "health": "degraded", "since": "2026-11-23T11:00:00Z",
        "spec_hash": "ab".repeat(32), "generation": 3,
    });
    state.status.as_mut().expect("loaded").sync.jobs.push(of(known));
    assert_eq!(
        update(&mut state, Message::Tick, now()),
        [Effect::Load(Want::Job(job.clone()))]
    );
    assert!(shows(&state, "loading"));
    let mut detail = super::job("nightly", "invalid", "degraded", false);
    detail["spec"] = Value::Null;
    detail["yaml"] = json!(YAML.replace("comand", "command"));
    detail["graph"] = json!([]);
    let arrived = |detail: &Value| {
        let loaded = Loaded::Job(of(detail.clone()), Vec::new());
        Message::Loaded(Want::Job(job.clone()), Ok(loaded))
    };
    update(&mut state, arrived(&detail), now());
    for text in [
        "difference in 2 lines: - is active, + is in the file",
        " -     command: [echo]",
        " +     comand: [echo]",
        "its last good version runs on",
    ] {
        assert!(shows(&state, text), "{text}: {:#?}", lines(&state));
    }
    insta::assert_snapshot!("file_against_active", lines(&state).join("\n"));
    detail["yaml"] = json!(YAML);
    update(&mut state, arrived(&detail), now());
    assert!(shows(&state, "letter by letter"));
    detail["yaml"] = Value::Null;
    update(&mut state, arrived(&detail), now());
    assert!(shows(&state, "no version of nightly is active"));
}

#[test]
fn every_strip_ends_at_the_same_column() {
    let mut state = loaded(Screen::Jobs, PLAIN, SIZE, false);
    let jobs = state.jobs.as_mut().expect("loaded");
    jobs[1].last_runs.truncate(3);
    let (rows, newest) = (lines(&state), "✓✓✓");
    let end = |job: &str| {
        let row = rows.iter().find(|row| row.contains(job)).expect("listed");
        let at = row.rfind(newest).expect("a strip");
        row[..at].chars().count()
    };
    assert_eq!(end("etl"), end("hourly"));
}
