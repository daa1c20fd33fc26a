//! One run: what it is, a timeline with a row for each attempt, what its tasks published.

use super::{Cell, Column, Row, Section, Stretch, Target, pending};
use crate::{
    core::{Timestamp, state::RunStatus},
    tui::{
        look::{self, Sign, Tone},
        state::{LogId, State},
        text,
    },
    view::{AttemptView, RunView, TaskView},
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let Some(id) = state.open_run else {
        let empty = match &state.runs {
            Some(runs) if runs.is_empty() => "no job has run yet: `t` on a job of 2 Jobs runs it".to_owned(),
            Some(_) | None => pending(state),
        };
        return vec![Section::new("run", &[], empty)];
    };
    let Some(run) = state.run.as_ref().filter(|run| run.id == id) else {
        return vec![Section::new(format!("run {id}"), &[], pending(state))];
    };
    vec![timeline(state, run, now), about(state, run, now), outputs(run)]
}

fn about(state: &State, run: &RunView, now: Timestamp) -> Section {
    let slot = run
        .slot
        .map(|slot| format!(" for {}", text::clock(slot, now)))
        .unwrap_or_default();
    let (sign, tone) = look::of_run(run.status);
    let mut lines = vec![
        Cell::Text(vec![
            (Tone::Muted, format!("{:<10} ", "status")),
            (tone, format!("{} {}", state.look.sign(sign), run.status)),
        ]),
        Cell::field(
            "made by",
            format!("{}{slot}, created {}", run.trigger, text::clock(run.created_at, now)),
        ),
    ];
    lines.extend(run.duration_ms.map(|took| Cell::field("took", text::millis(took))));
    lines.extend(run.reason.clone().map(|reason| Cell::field("reason", reason)));
    lines.extend(run.retry_of.map(|before| Cell::field("repeats", before.to_string())));
    lines.extend(
        run.params
            .iter()
            .map(|(key, value)| Cell::field("param", format!("{key}={value}"))),
    );
    lines.push(Cell::field("revision", revision(run)));
    lines.extend(since_good(state, run).map(|text| Cell::field("differs", text)));
    Section::lines("about", lines)
}

fn revision(run: &RunView) -> String {
    let commit = run
        .revision
        .as_ref()
        .map(|commit| format!(", commit {commit}"))
        .unwrap_or_default();
    format!("{}{commit}", run.spec_hash.short())
}

/// What is different from the last run before it that succeeded.
fn since_good(state: &State, run: &RunView) -> Option<String> {
    let before = |other: &&RunView| other.id < run.id && other.status == RunStatus::Succeeded;
    let good = state.runs_of(&run.job).find(before)?;
    let mut differences = Vec::new();
    if good.spec_hash != run.spec_hash {
        differences.push(format!("the job was {}", good.spec_hash.short()));
    }
    if good.params != run.params {
        differences.push("other parameters".to_owned());
    }
    if let (Some(then), Some(now)) = (good.duration_ms, run.duration_ms) {
        differences.push(format!("took {} then, {} now", text::millis(then), text::millis(now)));
    }
    (!differences.is_empty()).then(|| format!("from the last good run: {}", differences.join("; ")))
}

fn timeline(state: &State, run: &RunView, now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("task", 0),
        Column::new("try", 3).right(),
        Column::grows("waits, then runs"),
        Column::new("waited", 2).right(),
        Column::new("took", 1).right(),
        Column::new("ending", 1),
    ];
    let span = Span::of(run, now);
    let mut rows = Vec::new();
    for task in &run.tasks {
        if task.attempts.is_empty() {
            rows.push(untried(state, task));
        }
        for attempt in &task.attempts {
            let last = task.attempts.last().is_some_and(|last| last.attempt == attempt.attempt);
            rows.push(tried(state, task, attempt, last, &span, now));
        }
    }
    let title = format!("{} run {}", run.job, run.id);
    Section::new(title, &columns, "no task has begun").with(rows)
}

fn untried(state: &State, task: &TaskView) -> Row {
    Row::new(
        Some(Target::Task(task.id.clone())),
        [
            Cell::sign(state, look::of_task(task.status)),
            task.id.as_str().into(),
            Cell::muted("-"),
            Cell::muted(task.reason.clone().unwrap_or_default()),
            Cell::muted("-"),
            Cell::muted("-"),
            Cell::muted(task.status.as_str()),
        ],
    )
}

fn tried(state: &State, task: &TaskView, attempt: &AttemptView, last: bool, span: &Span, now: Timestamp) -> Row {
    let running = attempt.ended_at.is_none() && !task.status.is_finished();
    let began = attempt.started_at.unwrap_or(attempt.granted_at);
    let ended = attempt.ended_at.unwrap_or(if running { now } else { began });
    let looks = match attempt.ending.as_deref() {
        _ if last => look::of_task(task.status),
        Some("exited") if attempt.exit_code == Some(0) => (Sign::Done, Tone::Good),
        Some(_) => (Sign::Failed, Tone::Bad),
        None => (Sign::Running, Tone::Active),
    };
    let took = if running {
        text::elapsed(now - began)
    } else {
        text::duration(ended - began)
    };
    let stretch = |from, to, sign, tone| Stretch {
        from: span.part(from),
        to: span.part(to),
        sign,
        tone,
    };
    Row::new(
        Some(Target::Attempt(LogId::from(attempt))),
        [
            Cell::sign(state, looks),
            task.id.as_str().into(),
            Cell::muted(attempt.attempt.to_string()),
            Cell::Bar(vec![
                stretch(attempt.queued_at, began, Sign::Thin, Tone::Muted),
                stretch(began, ended, Sign::Bar, looks.1),
            ]),
            Cell::muted(text::duration(attempt.granted_at - attempt.queued_at)),
            took.into(),
            Cell::toned(
                if looks.1 == Tone::Bad { Tone::Bad } else { Tone::Muted },
                ending(attempt, task, last),
            ),
        ],
    )
}

fn ending(attempt: &AttemptView, task: &TaskView, last: bool) -> String {
    match (&attempt.ending, attempt.exit_code, attempt.signal) {
        (Some(_), Some(code), _) => format!("exit code {code}"),
        (Some(_), None, Some(signal)) => format!("signal {signal}"),
        (Some(ending), None, None) => ending.clone(),
        (None, _, _) if last => task.status.as_str().to_owned(),
        (None, _, _) => "-".to_owned(),
    }
}

fn outputs(run: &RunView) -> Section {
    let published = |task: &TaskView| {
        let name = task.id.clone();
        let pairs = task.outputs.clone().into_iter();
        pairs
            .map(move |(key, value)| {
                Cell::Text(vec![
                    (Tone::Muted, format!("{name}.")),
                    (Tone::Plain, format!("{key} = {value}")),
                ])
            })
            .collect::<Vec<_>>()
    };
    Section {
        empty: "no task has published anything".to_owned(),
        ..Section::lines("outputs", run.tasks.iter().flat_map(published))
    }
}

/// The time that the bars stand for.
struct Span {
    from: Timestamp,
    millis: f64,
}

impl Span {
    fn of(run: &RunView, now: Timestamp) -> Self {
        let attempts = run.tasks.iter().flat_map(|task| &task.attempts);
        let ends = attempts.filter_map(|attempt| attempt.ended_at).chain(run.ended_at);
        let going = (!run.status.is_finished()).then_some(now);
        let to = ends.chain(going).max().unwrap_or(run.created_at);
        Self {
            from: run.created_at,
            millis: (to - run.created_at).num_milliseconds().max(1) as f64,
        }
    }

    fn part(&self, at: Timestamp) -> f64 {
        ((at - self.from).num_milliseconds() as f64 / self.millis).clamp(0.0, 1.0)
    }
}
