//! Tests of the screens as a whole: messages in, effects and cells out, with a fixed clock and no terminal.

mod drawing;
mod logs;
mod past;
mod screens;
mod updating;

use serde_json::{Value, json};

use super::{
    log::{LogLine, LogNews, LogPage},
    look::Look,
    message::{Loaded, LogId, Message, Want},
    past::KeptView,
    state::{Link, Screen, State},
    update::update,
};
use crate::{
    core::Timestamp,
    execution::output::{FileKey, Stream},
    view::{Answer, PickedRuns},
};

const PLAIN: Look = Look {
    ascii: false,
    color: true,
};

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("an instant")
}

fn key(code: crossterm::event::KeyCode) -> Message {
    Message::Key(code.into())
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a view")
}

/// A run of `job` whose id ends in `n`.
fn run(job: &str, n: u32, status: &str, tasks: Value) -> Value {
    let ended = !matches!(status, "running" | "queued");
    json!({
        "id": format!("01K0000000000000000000{n:04}"), "job": job, "status": status, "trigger": "schedule",
        "slot": "2026-11-23T11:59:00Z", "spec_hash": "ab".repeat(32), "revision": null,
        "created_at": "2026-11-23T11:59:00Z", "started_at": "2026-11-23T11:59:01Z",
        "ended_at": ended.then_some("2026-11-23T11:59:31Z"), "duration_ms": ended.then_some(30_000 + n),
        "params": {"day": "monday"}, "reason": (status == "failed").then_some("load failed: exit code 3"),
        "retry_of": null, "tasks": tasks,
    })
}

fn attempt(task: &str, number: u32, began: u32, ended: Option<u32>, code: Option<i32>) -> Value {
    let at = |second: u32| format!("2026-11-23T11:59:{second:02}Z");
    json!({
        "run": "01K00000000000000000000003", "task": task, "attempt": number,
        "ending": code.map(|_| "exited"), "exit_code": code, "signal": null,
        "queued_at": at(1), "granted_at": at(began), "started_at": at(began), "ended_at": ended.map(at),
        "cpu_user_ms": null, "cpu_system_ms": null, "max_rss_bytes": null, "bytes_out": null, "error": null,
    })
}

fn tasks() -> Value {
    json!([
        {"id": "extract", "status": "succeeded", "reason": null, "outputs": {"rows": 42},
         "attempts": [attempt("extract", 1, 2, Some(9), Some(0))]},
        {"id": "load", "status": "failed", "reason": "exit code 3", "outputs": {},
         "attempts": [attempt("load", 1, 10, Some(15), Some(3)), attempt("load", 2, 20, Some(31), Some(3))]},
        {"id": "report", "status": "upstream_failed", "reason": "load failed", "outputs": {}, "attempts": []},
    ])
}

fn job(id: &str, sync: &str, health: &str, paused: bool) -> Value {
    json!({
        "id": id, "name": id, "tags": [], "file": format!("{id}.yaml"), "enabled": true, "paused": paused,
        "sync": sync, "health": health, "conditions": [], "spec_hash": "ab".repeat(32), "generation": 3,
        "schedule": ["0 3 * * *"], "timezone": "Europe/Paris", "next": "2026-11-24T03:00:00+01:00", "last_run": null,
        "last_runs": if sync == "synced" { screens::last_runs() } else { json!([]) },
        "p50_ms": (sync == "synced").then_some(30_000), "p95_ms": (sync == "synced").then_some(61_000),
    })
}

fn status() -> Value {
    let file = |name: &str, sync: &str, message: Value, diagnostics: Value| {
        json!({
            "file": format!("{name}.yaml"), "job": name, "sync": sync,
            "health": if sync == "invalid" { "degraded" } else { "ok" }, "message": message,
            "hint": (sync == "invalid").then_some("`petit validate` shows all errors"),
            "line": (sync == "invalid").then_some(5), "column": (sync == "invalid").then_some(5),
            "since": "2026-11-23T11:00:00Z", "file_hash": null, "diagnostics": diagnostics,
        })
    };
    let mistake = json!([{
        "file": "nightly.yaml", "line": 5, "column": 5, "end_line": 5, "end_column": 11, "severity": "error",
        "kind": "file", "code": "unknown-key", "message": "`comand` is not a key of a task",
        "expected": "one of `command`, `condition`", "hint": "did you mean `command`?", "span": {"start": 50, "end": 56},
    }]);
    let standing = |job: &str, sync: &str, message: Value| {
        json!({
            "job": job, "file": format!("{job}.yaml"), "sync": sync, "health": "ok", "message": message,
            "since": "2026-11-23T11:00:00Z", "spec_hash": "ab".repeat(32), "generation": 3,
        })
    };
    json!({
        "daemon": {"pid": 1, "version": "0.1.0", "started_at": "2026-11-23T11:00:00Z", "state_dir": "/srv/.petit"},
        "active_runs": [run("etl", 5, "running", json!([])), run("hourly", 6, "queued", json!([]))],
        "waiting": [{
            "job": "hourly", "run": "01K00000000000000000000006", "task": "make", "since": "2026-11-23T11:59:40Z",
            "lacks": [{"resource": "slots", "need": "1", "free": "0", "held_by": [screens::holder()]}],
            "leaves_room_for": [],
        }],
        "next": [{"job": "nightly", "at": "2026-11-24T03:00:00+01:00", "at_utc": "2026-11-24T02:00:00Z",
                  "starts_at": "2026-11-24T02:00:00Z", "timezone": "Europe/Paris", "note": null}],
        "pauses": [{"job": "hourly", "since": "2026-11-23T11:00:00Z", "by": "ann", "reason": null}], "conditions": [],
        "running": screens::running(), "last_day": screens::last_day(),
        "sync": {
            "jobs_dir": "/srv/jobs.d", "source": {"state": "ok"}, "watching": {"mode": "native"}, "conditions": [],
            "files": [
                file("etl", "synced", Value::Null, json!([])),
                file("nightly", "invalid", json!("`comand` is not a key of a task"), mistake),
            ],
            "jobs": [
                standing("etl", "synced", Value::Null),
                standing("old", "held", json!("`prune: hold`; approve the plan, or put the file back")),
            ],
            "waiting_plan": "c0ffee", "settling": [], "last_reconcile": null, "active_set_hash": "cd".repeat(32),
            "looked_at": "2026-11-23T11:59:59Z",
        },
    })
}

/// What the stores of a new folder say.
fn nothing() -> Value {
    json!({
        "daemon": null, "active_runs": [], "waiting": [], "next": [], "pauses": [], "conditions": [],
        "sync": {
            "jobs_dir": "/srv/jobs.d", "source": {"state": "ok"}, "watching": {"mode": "native"}, "conditions": [],
            "files": [], "jobs": [], "waiting_plan": null, "settling": [], "last_reconcile": null,
            "active_set_hash": "cd".repeat(32), "looked_at": "2026-11-23T11:59:59Z",
        },
    })
}

fn answer() -> Value {
    let points = |from: u32| -> Vec<Value> {
        let at = |hour: u32| format!("2026-11-23T{hour:02}:00:00Z");
        (0..12)
            .map(|hour| json!([at(hour), f64::from(from * (hour + 1))]))
            .collect()
    };
    json!({
        "view": "duration",
        "columns": [{"name": "job", "kind": "text"}, {"name": "runs", "kind": "count"},
                    {"name": "p50_ms", "kind": "millis"}, {"name": "failed", "kind": "ratio"},
                    {"name": "latest", "kind": "time"}],
        "rows": [["etl", 120, 61_000, 0.25, "2026-11-23T11:00:00Z"], ["nightly", 3, 900, 0.0, null]],
        "series": [{"label": "p50", "points": points(1_000)}, {"label": "p95", "points": points(2_500)}],
        "as_of": "2026-11-23T11:59:50Z", "note": null, "sql": "SELECT * FROM (SELECT 1) AS answer(job)",
    })
}

/// The runs behind a row of the answer.
fn picked() -> PickedRuns {
    let runs = [run("etl", 3, "failed", json!([])), run("etl", 2, "failed", json!([]))];
    of(json!({"runs": runs, "more": false, "sql": "SELECT 3", "as_of": "2026-11-23T11:59:50Z"}))
}

/// The rows of a query.
fn rows() -> Answer {
    of(json!({
        "view": "sql", "columns": [{"name": "job", "kind": "text"}, {"name": "runs", "kind": "text"}],
        "rows": [["etl", 120], ["nightly", 3]], "series": [], "as_of": "2026-11-23T11:59:50Z", "note": null,
    }))
}

const YAML: &str = "id: nightly\nschedule: '0 3 * * *'\ntasks:\n  m:\n    comand: [echo]\n";

/// A state as it stands after everything was loaded; `what` changes the views before.
fn loaded(screen: Screen, look: Look, size: (u16, u16), nothing_yet: bool) -> State {
    let mut state = State::new(look, size, false);
    state.link = Link::Up;
    state.screen = screen;
    let jobs = [
        job("etl", "synced", "ok", false),
        job("hourly", "synced", "ok", true),
        job("nightly", "invalid", "degraded", false),
    ];
    let runs = [
        run("etl", 5, "running", json!([])),
        run("etl", 4, "succeeded", json!([])),
        run("etl", 3, "failed", json!([])),
        run("etl", 2, "succeeded", json!([])),
        run("etl", 1, "succeeded", json!([])),
    ];
    let (status, jobs, runs) = match nothing_yet {
        true => (nothing(), json!([]), json!([])),
        false => (status(), json!(jobs), json!(runs)),
    };
    let mut take = |want, loaded| {
        update(&mut state, Message::Loaded(want, Ok(loaded)), now());
    };
    take(Want::Status, Loaded::Status(of(status)));
    take(Want::Jobs, Loaded::Jobs(of(jobs)));
    take(Want::Runs, Loaded::Runs(of(runs.clone())));
    if nothing_yet {
        return state;
    }
    let mut detail = job("etl", "synced", "ok", false);
    detail["spec"] = Value::Null;
    detail["yaml"] = json!(YAML);
    detail["graph"] = json!([
        {"id": "extract", "depends_on": []}, {"id": "load", "depends_on": ["extract"]},
        {"id": "report", "depends_on": ["load"]},
    ]);
    detail["grid"] = screens::grid();
    state.open_job = "etl".parse().ok();
    state.open_run = "01K00000000000000000000003".parse().ok();
    state.open_file = Some("nightly.yaml".to_owned());
    let mut take = |want, loaded| {
        update(&mut state, Message::Loaded(want, Ok(loaded)), now());
    };
    take(Want::Job(of(json!("etl"))), Loaded::Job(of(detail), of(runs)));
    let mut whole = run("etl", 3, "failed", tasks());
    whole["context"] = screens::context();
    let whole: crate::view::RunView = of(whole);
    take(Want::Run(whole.id), Loaded::Run(Box::new(whole.clone())));
    take(Want::Source("nightly.yaml".to_owned()), Loaded::Source(YAML.to_owned()));
    take(
        Want::Answer {
            question: "duration",
            filter: String::new(),
        },
        Loaded::Answer(of(answer())),
    );
    let kept = KeptView {
        name: "nightly".to_owned(),
        question: "lateness".to_owned(),
        filter: "job=nightly since=7d".to_owned(),
    };
    take(Want::Views, Loaded::Views(vec![kept]));
    let filter = "job=etl status=failed".to_owned();
    take(Want::Picked(filter.clone()), Loaded::Picked(picked()));
    state.past.runs_filter = filter;
    let sql = "SELECT job, count(*) AS runs FROM runs GROUP BY job ORDER BY runs DESC".to_owned();
    let mut take = |want, loaded| {
        update(&mut state, Message::Loaded(want, Ok(loaded)), now());
    };
    take(Want::Rows(sql.clone()), Loaded::Rows(rows()));
    (state.past.sql, state.past.asked) = (sql.clone(), Some(sql));
    let of_load = LogId::from(&whole.tasks[1].attempts[1]);
    state.log.open(of_load.clone());
    update(
        &mut state,
        Message::Log(of_load, LogNews::Grown(log_page(0..40), 40)),
        now(),
    );
    state
}

/// So many bytes every line of a log is taken to be long.
const LINE: u64 = 100;

/// Some lines of a log that has many.
fn log_page(numbers: std::ops::Range<u64>) -> LogPage {
    let line = |n: u64| LogLine {
        begin: n * LINE,
        at: now() + chrono::TimeDelta::milliseconds(i64::try_from(n).expect("a small number")),
        stream: if n % 10 == 9 { Stream::Stderr } else { Stream::Stdout },
        partial: false,
        text: format!("line {n} of what load said"),
    };
    LogPage {
        file: FileKey::default(),
        span: numbers.start * LINE..numbers.end * LINE,
        lines: numbers.map(line).collect(),
    }
}
