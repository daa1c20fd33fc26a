//! Live: what runs, what waits and for what, what comes next, what failed last, how the files stand.

use super::{Cell, Column, Row, Section, Target, pending};
use crate::{
    core::{Timestamp, state::RunStatus},
    tui::{
        look::{self, Sign, Tone},
        state::State,
        text,
    },
    view::{HalfHour, RunView, RunningTask, StatusView},
};

/// How many failures are shown.
const FAILURES: usize = 5;

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let Some(status) = &state.status else {
        return vec![Section::new("live", &[], pending(state))];
    };
    vec![
        running(state, status, now),
        waiting(state, status, now),
        next(state, status, now),
        failures(state, now),
        day(state, status, now),
        sync(state, status),
    ]
}

fn running(state: &State, status: &StatusView, now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("task", 0),
        Column::new("run", 4),
        Column::new("for", 0).right(),
        Column::new("p50", 1).right(),
        Column::new("memory", 2).right(),
        Column::grows(""),
    ];
    let tasks = status.running.iter().map(|task| of_task(state, task, now));
    // A run between two tasks, or before a retry, has none that runs.
    let between = status
        .active_runs
        .iter()
        .filter(|run| run.status == RunStatus::Running && !status.running.iter().any(|task| task.run == run.id));
    let between = between.map(|run| {
        Row::new(
            Some(target(run)),
            [
                Cell::sign(state, look::of_run(run.status)),
                run.job.as_str().into(),
                Cell::muted(run.id.to_string()),
                text::elapsed(now - run.started_at.unwrap_or(run.created_at)).into(),
                Cell::muted("-"),
                Cell::muted("-"),
                Cell::muted(match status.waiting.iter().any(|waiting| waiting.task.run == run.id) {
                    true => "waits",
                    false => "between tasks",
                }),
            ],
        )
    });
    let rows: Vec<Row> = tasks.chain(between).collect();
    Section::new(format!("running {}", rows.len()), &columns, "nothing runs").with(rows)
}

fn of_task(state: &State, task: &RunningTask, now: Timestamp) -> Row {
    let elapsed = now - task.since;
    let usual = task.usual.p50_ms;
    let late = usual.is_some_and(|usual| elapsed.num_milliseconds() > 2 * usual.max(500));
    let (memory, full) = memory(task);
    let note = match (full, late) {
        (true, _) => "! near its limit",
        (false, true) => "! longer than usual",
        (false, false) => "",
    };
    Row::new(
        Some(Target::Run {
            run: task.run,
            job: task.job.clone(),
        }),
        [
            Cell::sign(state, look::of_run(RunStatus::Running)),
            match task.attempt {
                1 => format!("{}/{}", task.job, task.task),
                number => format!("{}/{} try {number}", task.job, task.task),
            }
            .into(),
            Cell::muted(task.run.to_string()),
            text::elapsed(elapsed).into(),
            Cell::muted(text::millis_or_dash(usual)),
            if full {
                Cell::toned(Tone::Bad, memory)
            } else {
                memory.into()
            },
            Cell::toned(Tone::Bad, note),
        ],
    )
}

/// What a task holds against its limit, else against what is set aside for it; and whether it is about to be ended for it.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn memory(task: &RunningTask) -> (String, bool) {
    let bytes = |count: u64| text::bytes(count as f64);
    let held = task.memory_bytes.map_or_else(|| "-".to_owned(), bytes);
    match (task.memory_limit_bytes, task.memory_reserved_bytes) {
        (Some(limit), _) => {
            let full = task.memory_bytes.is_some_and(|held| held >= limit / 10 * 9);
            (format!("{held} of {}", bytes(limit)), full)
        }
        (None, Some(reserved)) => (format!("{held}, {} set aside", bytes(reserved)), false),
        (None, None) => (held, false),
    }
}

fn waiting(state: &State, status: &StatusView, now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("what", 0),
        Column::new("for", 1).right(),
        Column::grows("why"),
    ];
    let row = |target, what: String, since, why: String| {
        Row::new(
            Some(target),
            [
                Cell::toned(Tone::Muted, state.look.sign(Sign::Waiting)),
                what.into(),
                text::elapsed(now - since).into(),
                Cell::from(why),
            ],
        )
    };
    let queued = |run: &&RunView| run.status == RunStatus::Queued;
    let of_run = |run: &RunView| {
        let why = run.reason.clone().unwrap_or_else(|| "about to start".to_owned());
        row(target(run), run.job.as_str().to_owned(), run.created_at, why)
    };
    let runs = status.active_runs.iter().filter(queued).filter(|run| {
        // A queued run whose task waits is told once, by the task, which knows what it lacks.
        !status.waiting.iter().any(|waiting| waiting.task.run == run.id)
    });
    let tasks = status.waiting.iter().map(|waiting| {
        let name = &waiting.task;
        let target = Target::Run {
            run: name.run,
            job: name.job.clone(),
        };
        row(
            target,
            format!("{}/{}", name.job, name.task),
            waiting.since,
            waiting.reason(),
        )
    });
    let rows: Vec<Row> = runs.map(of_run).chain(tasks).collect();
    Section::new(format!("waiting {}", rows.len()), &columns, "nothing waits").with(rows)
}

fn next(state: &State, status: &StatusView, now: Timestamp) -> Section {
    let columns = [
        Column::new("UTC", 0),
        Column::new("job", 0),
        Column::grows("in its zone"),
    ];
    let rows = status.next.iter().map(|fire| {
        Row::new(
            Some(Target::Job(fire.job.clone())),
            [
                text::clock(fire.at_utc, now).into(),
                fire.job.as_str().into(),
                Cell::muted(if fire.timezone == "UTC" {
                    String::new()
                } else {
                    format!("{} {}", fire.at, fire.timezone)
                }),
            ],
        )
    });
    let empty = if state.jobs.as_ref().is_some_and(Vec::is_empty) {
        format!("there are no jobs: put a YAML file into {}", status.sync.jobs_dir)
    } else {
        "no job fires by itself".to_owned()
    };
    Section::new("next fires", &columns, empty).with(rows)
}

fn failures(state: &State, now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("job", 0),
        Column::new("ended", 1),
        Column::new("took", 2).right(),
        Column::grows("why"),
    ];
    let failed = |run: &&RunView| match run.status {
        RunStatus::Failed | RunStatus::TimedOut | RunStatus::Interrupted => true,
        RunStatus::Queued | RunStatus::Running | RunStatus::Succeeded | RunStatus::Cancelled => false,
    };
    let runs = state.runs.as_deref().unwrap_or_default();
    let rows = runs.iter().filter(failed).take(FAILURES).map(|run| {
        Row::new(
            Some(target(run)),
            [
                Cell::sign(state, look::of_run(run.status)),
                run.job.as_str().into(),
                run.ended_at
                    .map_or_else(|| "-".to_owned(), |at| text::clock(at, now))
                    .into(),
                run.duration_ms.map_or_else(|| "-".to_owned(), text::millis).into(),
                run.reason
                    .clone()
                    .unwrap_or_else(|| run.status.as_str().to_owned())
                    .into(),
            ],
        )
    });
    let empty = match runs.len() {
        0 => "no job has run yet".to_owned(),
        count => format!("none among the last {count} runs"),
    };
    Section::new("last failures", &columns, empty).with(rows)
}

/// Half an hour a cell: the worst that became of a run that was created in it.
fn day(state: &State, status: &StatusView, now: Timestamp) -> Section {
    let spans = status.last_day.iter().map(|half| {
        let (sign, tone) = match half {
            HalfHour { failed: 1.., .. } => look::of_run(RunStatus::Failed),
            HalfHour { going: 1.., .. } => look::of_run(RunStatus::Running),
            HalfHour { cancelled: 1.., .. } => look::of_run(RunStatus::Cancelled),
            HalfHour { succeeded: 1.., .. } => look::of_run(RunStatus::Succeeded),
            HalfHour { .. } => (Sign::None, Tone::Muted),
        };
        (tone, state.look.sign(sign).to_owned())
    });
    let mut line: Vec<(Tone, String)> = spans.collect();
    if let Some(first) = status.last_day.first() {
        line.insert(0, (Tone::Muted, format!("{} ", text::clock(first.from, now))));
        line.push((Tone::Muted, " now".to_owned()));
    }
    let sum = |count: fn(&HalfHour) -> u64| status.last_day.iter().map(count).sum::<u64>();
    let runs = sum(|half| half.succeeded + half.failed + half.cancelled + half.going);
    let title = format!(
        "last 24 hours, half an hour each: {runs} runs, {} failed",
        sum(|half| half.failed)
    );
    let lines = (!line.is_empty()).then_some(Cell::Text(line));
    Section {
        empty: "the daemon does not count them".to_owned(),
        ..Section::lines(title, lines)
    }
}

fn sync(state: &State, status: &StatusView) -> Section {
    let sync = &status.sync;
    let active = sync.jobs.iter().filter(|job| job.generation.is_some()).count();
    let odd = sync
        .files
        .iter()
        .filter(|file| file.standing.sync != crate::reconcile::SyncState::Synced)
        .count();
    let (sign, tone, text) = if sync.is_synced() {
        (
            Sign::Done,
            Tone::Good,
            format!("{active} jobs active, all files in sync"),
        )
    } else if sync.looked_at.is_none() {
        (
            Sign::Waiting,
            Tone::Muted,
            format!("{active} jobs active, the files were not looked at yet"),
        )
    } else {
        (
            Sign::Attention,
            Tone::Bad,
            format!("{active} jobs active, {odd} of {} files not in sync", sync.files.len()),
        )
    };
    let cell = Cell::toned(tone, format!("{} {text}", state.look.sign(sign)));
    Section::new("sync", &[Column::grows("")], "").with([Row::new(Some(Target::Sync), [cell])])
}

fn target(run: &RunView) -> Target {
    Target::Run {
        run: run.id,
        job: run.job.clone(),
    }
}
