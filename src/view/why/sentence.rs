//! How it is said: from records to sentences that need no manual.
//!
//! Pure functions over values. Nothing here looks anything up.

use chrono::TimeDelta;
use chrono_tz::Tz;

use crate::{
    core::{
        Timestamp,
        active::ActiveJob,
        id::{JobId, RunId},
        record::{PauseRecord, RunRecord, SlotRecord, StretchRecord},
        spec::{JobCondition, JobDependency, Overlap},
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    reconcile::{JobStatus, SyncState},
    storage::LatestRuns,
    view::words::{length, list, local, who_paused},
};

/// A slot that has a row of its own. `run` is its run, or the one that it was merged into.
pub(super) fn of_slot(slot: &SlotRecord, run: Option<&RunRecord>, zone: Tz) -> String {
    let (job, when) = (&slot.job, local(slot.at, zone));
    let because = because(slot.reason, slot.detail.as_deref());
    match slot.outcome {
        None => waiting(slot, run, zone),
        Some(SlotOutcome::Ran) => {
            format!(
                "{job} ran at {when}{}.",
                run.map(|run| how(run, slot.at)).unwrap_or_default()
            )
        }
        Some(SlotOutcome::Skipped) => format!("{job} was skipped at {when}, {because}."),
        Some(SlotOutcome::Missed) => format!("{job} missed its slot at {when}, {because}."),
        Some(SlotOutcome::Merged) => {
            let into = into(slot.run, run, zone);
            format!("The slot of {job} at {when} was merged into a later one, {because}: {into}.")
        }
        Some(SlotOutcome::Refused) => format!("{job} could not run at {when}, {because}."),
    }
}

/// A slot that shares its row with its neighbours.
pub(super) fn of_stretch(stretch: &StretchRecord, at: Timestamp, run: Option<&RunRecord>, zone: Tz) -> String {
    let slot = SlotRecord {
        job: stretch.job.clone(),
        at,
        outcome: Some(stretch.outcome),
        reason: Some(stretch.reason),
        detail: None,
        decided_at: Some(stretch.decided_at),
        run: stretch.run,
        spec_hash: stretch.spec_hash.clone(),
    };
    let said = of_slot(&slot, run, zone);
    if stretch.slots <= 1 {
        return said;
    }
    format!(
        "{said} The same is true of all {} slots from {} to {}.",
        stretch.slots,
        local(stretch.from, zone),
        local(stretch.to, zone)
    )
}

/// A slot that is claimed, and whose run has not started.
fn waiting(slot: &SlotRecord, run: Option<&RunRecord>, zone: Tz) -> String {
    let waits = run
        .and_then(|run| run.reason.as_deref())
        .unwrap_or("it waits for its turn");
    let until = run.and_then(|run| run.wait_until);
    let until = until.map(|until| format!(" It is skipped if that is still so at {}.", local(until, zone)));
    let named = slot.run.map_or_else(|| "a run".to_owned(), |run| format!("run {run}"));
    format!(
        "The slot of {} at {} has {named}, which has not started yet: {waits}.{}",
        slot.job,
        local(slot.at, zone),
        until.unwrap_or_default()
    )
}

/// Why a slot did not run as scheduled. The detail of most reasons is a clause of its own that says more than the reason.
fn because(reason: Option<SlotReason>, detail: Option<&str>) -> String {
    let (general, more) = match reason {
        None => ("for a reason that the journal does not have", true),
        Some(SlotReason::Overlap) => ("because a run of it was still going", false),
        Some(SlotReason::Paused) => ("because it was paused", false),
        Some(SlotReason::Down) => ("because Petit was not running, or could not write its journal", false),
        Some(SlotReason::Dependency) => ("because a job it depends on had not met its condition", false),
        Some(SlotReason::Clock) => ("because the machine slept, or its clock was moved", true),
        Some(SlotReason::Limit) => (
            "because more slots were late than the job wants made up for (`misfire.limit`)",
            true,
        ),
        Some(SlotReason::Window) => (
            "because it was found too late to make up for it (`misfire.window`)",
            true,
        ),
        Some(SlotReason::Disabled) => ("because the job was disabled", false),
        Some(SlotReason::Removed) => ("because the job was removed, or its schedule changed", false),
        Some(SlotReason::Cancelled) => ("because it was cancelled before it started", true),
        Some(SlotReason::Invalid) => ("because its parameters could not be worked out", true),
    };
    match detail {
        None => general.to_owned(),
        Some(detail) if more => format!("{general}: {detail}"),
        Some(detail) => format!("because {detail}"),
    }
}

/// The run that stands for a slot that was merged.
fn into(id: Option<RunId>, run: Option<&RunRecord>, zone: Tz) -> String {
    let Some(id) = id else {
        return "the run of a later slot stands for it".to_owned();
    };
    let of = run
        .and_then(|run| run.slot)
        .map(|slot| format!(" of the slot at {}", local(slot, zone)))
        .unwrap_or_default();
    let ended = run.map(|run| format!(", and {}", ended(run))).unwrap_or_default();
    format!("run {id}{of} stands for it{ended}")
}

/// How a run of a slot went.
fn how(run: &RunRecord, slot: Timestamp) -> String {
    let late = run
        .started_at
        .map_or(String::new(), |start| format!(" {} late", lateness(start - slot)));
    format!(": run {} started{late} and {}", run.id, ended(run))
}

/// A run and how it went, as a part of a sentence.
pub(super) fn of_run(run: &RunRecord, zone: Tz) -> String {
    let made = match run.trigger {
        Trigger::Schedule => "made by its schedule",
        Trigger::Manual => "made by hand",
        Trigger::Dependency => "made by the success of the jobs it depends on",
        Trigger::Retry => "made by `petit retry`",
    };
    format!(
        "run {}, {made} at {}, which {}",
        run.id,
        local(run.created_at, zone),
        ended(run)
    )
}

/// A run that was going at a time that was asked about, or that is going now.
pub(super) fn about(run: &RunRecord, is_now: bool, zone: Tz) -> String {
    let there = if is_now {
        "Now there is"
    } else {
        "About that time there was"
    };
    format!("{there} {}.", of_run(run, zone))
}

/// What a run does, or how it ended, as a predicate.
fn ended(run: &RunRecord) -> String {
    let word = match run.status {
        RunStatus::Queued => "is queued",
        RunStatus::Running => "is running",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "was cancelled",
        RunStatus::Interrupted => "was interrupted",
        RunStatus::TimedOut => "timed out",
    };
    let took = run.started_at.zip(run.ended_at);
    let took = took.map(|(start, end)| format!(" after {}", length(end - start)));
    let reason = run.reason.as_ref().map(|reason| format!(" ({reason})"));
    format!("{word}{}{}", took.unwrap_or_default(), reason.unwrap_or_default())
}

fn lateness(late: TimeDelta) -> String {
    let millis = late.num_milliseconds().max(0);
    if millis < 1_000 {
        format!("{millis} ms")
    } else {
        length(late)
    }
}

/// A slot to come, and what is known that may hold it.
pub(super) struct ToCome<'a> {
    pub at: Timestamp,
    /// With its share of the jitter.
    pub starts: Timestamp,
    /// A run of the job that has not ended.
    pub unfinished: Option<RunRecord>,
    pub status: Option<&'a JobStatus>,
}

/// A slot to come, of a job that nothing holds now.
pub(super) fn of_slot_to_come(entry: &ActiveJob, fire: &ToCome<'_>, now: Timestamp, zone: Tz) -> String {
    let job = &entry.job.id;
    let delayed = if fire.starts > fire.at {
        format!("; its jitter delays the start to {}", local(fire.starts, zone))
    } else {
        String::new()
    };
    let mut said = vec![format!(
        "{job} will fire at {}, in {}{delayed}.",
        local(fire.at, zone),
        length(fire.at - now)
    )];
    said.extend(
        fire.unfinished
            .as_ref()
            .and_then(|run| in_its_way(run, entry.job.spec.overlap)),
    );
    let wanted = entry.job.spec.depends_on.iter().map(wanted);
    let wanted: Vec<String> = wanted.collect();
    if !wanted.is_empty() {
        said.push(format!("Before it starts, {}.", list(&wanted)));
    }
    said.extend(fire.status.and_then(|status| match status.standing.sync {
        SyncState::Blocked => {
            let message = status
                .standing
                .message
                .as_deref()
                .unwrap_or("a job it depends on is missing");
            Some(format!("As things stand it is blocked: {message}."))
        }
        SyncState::Held => Some("Its file is gone, and its removal waits for approval.".to_owned()),
        SyncState::Synced
        | SyncState::OutOfSync
        | SyncState::Invalid
        | SyncState::Conflict
        | SyncState::Paused
        | SyncState::Unknown => None,
    }));
    said.join(" ")
}

/// What a run that is going may do to a slot to come.
fn in_its_way(run: &RunRecord, overlap: Overlap) -> Option<String> {
    let then = match overlap {
        Overlap::Allow => return None,
        Overlap::Skip => "the slot is skipped",
        Overlap::Queue => "the slot waits for its end",
        Overlap::Replace => "that run is cancelled first",
    };
    Some(format!(
        "Run {} of it is {} now; if it still is by then, {then}.",
        run.id, run.status
    ))
}

/// What a dependency asks for.
fn wanted(dependency: &JobDependency) -> String {
    let job = &dependency.job;
    let what = match (dependency.condition, dependency.window) {
        (JobCondition::LastSuccess, _) => format!("the latest run of {job} must have succeeded"),
        (JobCondition::LastComplete, _) => format!("the latest run of {job} must have ended"),
        (JobCondition::WithinWindow, Some(window)) => format!("{job} must have succeeded in the {window} before"),
        (JobCondition::WithinWindow, None) => format!("{job} must have succeeded not long before"),
    };
    if dependency.wait.as_millis() == 0 {
        what
    } else {
        format!("{what} (it waits up to {} for that)", dependency.wait)
    }
}

/// A job that runs after others, and how each of them stands.
pub(super) fn of_dependency(job: &JobId, upstreams: &[String]) -> String {
    format!(
        "{job} has no schedule: it runs each time that all of the jobs it depends on have met their condition anew. So \
         far: {}.",
        upstreams.join("; ")
    )
}

/// How a job stands that another runs after.
pub(super) fn of_upstream(dependency: &JobDependency, latest: &LatestRuns, consumed: &[RunId], zone: Tz) -> String {
    let job = &dependency.job;
    let counts = match dependency.condition {
        JobCondition::LastSuccess | JobCondition::WithinWindow => latest.succeeded.as_ref(),
        JobCondition::LastComplete => latest.finished.as_ref(),
    };
    let verb = match dependency.condition {
        JobCondition::LastSuccess | JobCondition::WithinWindow => "succeeded",
        JobCondition::LastComplete => "ended",
    };
    let Some(run) = counts else {
        return format!("{job} has never {verb}");
    };
    let when = local(run.ended_at.unwrap_or(run.created_at), zone);
    if consumed.contains(&run.id) {
        return format!(
            "{job} has not {verb} again since run {} at {when}, which is used already",
            run.id
        );
    }
    match (dependency.condition, &latest.finished) {
        (JobCondition::LastSuccess, Some(finished)) if finished.id != run.id => {
            format!("the latest run of {job}, {}, {}", finished.id, ended(finished))
        }
        (JobCondition::LastSuccess | JobCondition::LastComplete | JobCondition::WithinWindow, _) => {
            format!("{job} has {verb} (run {} at {when})", run.id)
        }
    }
}

/// A pause that holds a job, as a clause.
pub(super) fn of_pause(pause: &PauseRecord, zone: Tz) -> String {
    let resume = match &pause.job {
        Some(job) => format!("petit resume {job}"),
        None => "petit resume".to_owned(),
    };
    format!("{}, and nothing fires until `{resume}`", who_paused(pause, zone))
}
