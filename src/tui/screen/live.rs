//! Live: what runs, what waits and for what, what comes next, what failed last, how the files stand.

use chrono::TimeDelta;

use super::{Cell, Column, Row, Section, Target, pending};
use crate::{
    core::{Timestamp, state::RunStatus},
    tui::{
        look::{self, Sign, Tone},
        state::State,
        text,
    },
    view::{RunView, StatusView},
};

/// How many failures are shown.
const FAILURES: usize = 5;
/// How many cells the strip of the last day has.
const CELLS: usize = 48;

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let Some(status) = &state.status else {
        return vec![Section::new("live", &[], pending(state))];
    };
    vec![
        running(state, status, now),
        waiting(state, status, now),
        next(state, status, now),
        failures(state, now),
        day(state, now),
        sync(state, status),
    ]
}

fn running(state: &State, status: &StatusView, now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("job", 0),
        Column::new("run", 3),
        Column::new("trigger", 2),
        Column::new("for", 0).right(),
        Column::new("usually", 1).right(),
        Column::grows(""),
    ];
    let going = |run: &&RunView| run.status == RunStatus::Running;
    let rows: Vec<Row> = status
        .active_runs
        .iter()
        .filter(going)
        .map(|run| {
            let usual = text::percentile(state.runs_of(&run.job), 50);
            let elapsed = now - run.started_at.unwrap_or(run.created_at);
            let late = usual.is_some_and(|usual| elapsed.num_milliseconds() > 2 * usual.max(500));
            Row::new(
                Some(target(run)),
                [
                    Cell::sign(state, look::of_run(run.status)),
                    run.job.as_str().into(),
                    Cell::muted(run.id.to_string()),
                    Cell::muted(run.trigger.as_str()),
                    text::elapsed(elapsed).into(),
                    Cell::muted(usual.map_or_else(|| "-".to_owned(), text::millis)),
                    if late {
                        Cell::toned(Tone::Bad, "! longer than usual")
                    } else {
                        Cell::muted("")
                    },
                ],
            )
        })
        .collect();
    Section::new(format!("running {}", rows.len()), &columns, "nothing runs").with(rows)
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

/// Half an hour a cell: the worst that happened in it.
fn day(state: &State, now: Timestamp) -> Section {
    let mut cells = [None; CELLS];
    for run in state.runs.iter().flatten() {
        let age = now - run.created_at;
        let back = usize::try_from(age.num_minutes() / 30)
            .ok()
            .filter(|_| age >= TimeDelta::zero());
        let Some(cell) = back.and_then(|back| (CELLS - 1).checked_sub(back)) else {
            continue;
        };
        let (sign, tone) = look::of_run(run.status);
        let worst = cells[cell].is_none_or(|(_, before)| before != Tone::Bad);
        if worst {
            cells[cell] = Some((sign, tone));
        }
    }
    let spans = cells.map(|cell| {
        let (sign, tone) = cell.unwrap_or((Sign::None, Tone::Muted));
        (tone, state.look.sign(sign).to_owned())
    });
    Section::lines("last 24 hours, half an hour each", [Cell::Text(spans.to_vec())])
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
