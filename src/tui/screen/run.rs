//! One run: a timeline with a row for each attempt and the path that decided its end, what differs from the last run that
//! succeeded, what it is, what its tasks published.

use super::{Cell, Column, Row, Section, Stretch, Target, pending};
use crate::{
    core::Timestamp,
    tui::{
        look::{self, Sign, Tone},
        message::LogId,
        state::State,
        text,
    },
    view::{AttemptView, DifferenceKind, RunView, TaskView},
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
    let mut sections = vec![timeline(state, run, now)];
    sections.extend(differences(run));
    sections.extend([about(state, run, now), outputs(run)]);
    sections
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
    let path = run.context.iter().flat_map(|context| &context.critical_path);
    let path: Vec<&str> = path.map(|task| task.as_str()).collect();
    if !path.is_empty() {
        lines.push(Cell::field("decided by", path.join(" > ")));
    }
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

/// What differs from the last run before it that succeeded, which the first row leads to.
fn differences(run: &RunView) -> Option<Section> {
    let context = run.context.as_ref()?;
    let columns = [Column::grows("")];
    let Some(good) = context.last_good else {
        return Some(Section::new(
            "differences",
            &columns,
            "no run of the job succeeded before it",
        ));
    };
    let lead = Row::new(
        Some(Target::Run {
            run: good,
            job: run.job.clone(),
        }),
        [Cell::muted(format!("from the last good run {good}"))],
    );
    let found = context.differences.iter().map(|difference| {
        let tone = match difference.kind {
            DifferenceKind::Ending | DifferenceKind::Duration | DifferenceKind::Wait => Tone::Bad,
            DifferenceKind::Spec | DifferenceKind::Revision | DifferenceKind::Param => Tone::Plain,
        };
        Row::new(None, [Cell::toned(tone, difference.text.clone())])
    });
    let title = match context.differences.len() {
        0 => "differences: none".to_owned(),
        count => format!("differences {count}"),
    };
    Some(Section::new(title, &columns, "").with(std::iter::once(lead).chain(found)))
}

fn timeline(state: &State, run: &RunView, now: Timestamp) -> Section {
    let columns = [
        Column::new("", 0),
        Column::new("", 0),
        Column::new("task", 0),
        Column::new("try", 3).right(),
        Column::grows(legend(state)),
        Column::new("waited", 2).right(),
        Column::new("took", 1).right(),
        Column::new("ending", 1),
    ];
    let span = Span::of(run, now);
    let mut rows = Vec::new();
    for task in &run.tasks {
        if task.attempts.is_empty() {
            rows.push(untried(state, run, task));
        }
        let mut before = run.created_at;
        for attempt in &task.attempts {
            let last = task.attempts.last().is_some_and(|last| last.attempt == attempt.attempt);
            rows.push(tried(
                state,
                &Tried {
                    run,
                    task,
                    attempt,
                    last,
                    before,
                },
                &span,
                now,
            ));
            before = attempt.ended_at.unwrap_or(before);
        }
    }
    let decided = run
        .context
        .as_ref()
        .is_some_and(|context| !context.critical_path.is_empty());
    let decided = match decided {
        true if run.status.is_finished() => format!("  {} decided its end", state.look.sign(Sign::Critical)),
        true => format!("  {} decides its end so far", state.look.sign(Sign::Critical)),
        false => String::new(),
    };
    let title = format!("{} run {}{decided}", run.job, run.id);
    Section::new(title, &columns, "no task has begun").with(rows)
}

/// What the parts of a bar are drawn with.
fn legend(state: &State) -> String {
    let signs = [Sign::None, Sign::Thin, Sign::Bar].map(|sign| state.look.sign(sign));
    let [queued, waiting, running] = signs;
    format!("{queued} queued {waiting} waits {running} runs")
}

/// The mark of a task on the path that decided the run's end.
fn critical(state: &State, run: &RunView, task: &TaskView) -> Cell {
    let path = run.context.iter().flat_map(|context| &context.critical_path);
    let mark = match path.into_iter().any(|critical| *critical == task.id) {
        true => state.look.sign(Sign::Critical),
        false => "",
    };
    Cell::toned(Tone::Heading, mark)
}

fn untried(state: &State, run: &RunView, task: &TaskView) -> Row {
    Row::new(
        Some(Target::Task(task.id.clone())),
        [
            Cell::sign(state, look::of_task(task.status)),
            critical(state, run, task),
            task.id.as_str().into(),
            Cell::muted("-"),
            Cell::muted(task.reason.clone().unwrap_or_default()),
            Cell::muted("-"),
            Cell::muted("-"),
            Cell::muted(task.status.as_str()),
        ],
    )
}

/// An attempt with what stands around it.
struct Tried<'a> {
    run: &'a RunView,
    task: &'a TaskView,
    attempt: &'a AttemptView,
    /// Whether it is the last of its task.
    last: bool,
    /// From when it could not begin yet: the run's creation, or the end of the attempt before.
    before: Timestamp,
}

fn tried(state: &State, tried: &Tried<'_>, span: &Span, now: Timestamp) -> Row {
    let Tried {
        run,
        task,
        attempt,
        last,
        before,
    } = *tried;
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
            critical(state, run, task),
            task.id.as_str().into(),
            Cell::muted(attempt.attempt.to_string()),
            Cell::Bar(vec![
                stretch(before, attempt.queued_at.max(before), Sign::None, Tone::Muted),
                stretch(attempt.queued_at, began, Sign::Thin, Tone::Active),
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
    match &attempt.ending {
        Some(_) => attempt.ending_text(),
        None if last => task.status.as_str().to_owned(),
        None => "-".to_owned(),
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
