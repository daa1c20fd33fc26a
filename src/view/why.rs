//! What became of a slot, in a sentence: the answer of `petit why`.
//!
//! Reads the ledger and says what it finds; it never guesses. A time that is no slot is answered with its neighbours.

use chrono::{SecondsFormat, TimeDelta};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    core::{
        Timestamp,
        active::ActiveJob,
        id::JobId,
        record::{PauseRecord, RunRecord, SlotRecord, StretchRecord},
        schedule::Schedule,
        state::{RunStatus, SlotOutcome, SlotReason},
        units::HumanDuration,
    },
    scheduler::neighbours,
    storage::{Storage, StorageError},
};

/// The answer to "what became of it?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The job.
    pub job: JobId,
    /// The time that was asked about.
    pub at: Timestamp,
    /// The answer, in a sentence.
    pub answer: String,
    /// The slot, if the time is one and it has its own row.
    pub slot: Option<SlotRecord>,
    /// The slot before the time.
    pub previous: Option<Timestamp>,
    /// The slot after the time.
    pub next: Option<Timestamp>,
}

/// How far back the latest slot is looked for.
const LOOK_BACK: TimeDelta = TimeDelta::days(366);

/// Explains the slot of `job` at `at`, or without `at` the latest that is in the ledger. `entry` is the job as it is active,
/// if it is.
pub(super) fn why(
    storage: &dyn Storage,
    job: &JobId,
    entry: Option<&ActiveJob>,
    pauses: &[PauseRecord],
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Why, StorageError> {
    let asked = match at {
        Some(at) => Some(at),
        None => latest_slot(storage, job, now)?,
    };
    let at = asked.unwrap_or(now);
    let slot = storage.slots(job, at, at)?.into_iter().next();
    let stretch = storage.stretches(job, at, at)?.into_iter().next();
    let run = match slot.as_ref().and_then(|slot| slot.run) {
        Some(run) => storage.run(run)?.map(|detail| detail.run),
        None => None,
    };
    let around = Around::of(entry, at);
    let paused = pauses.iter().find(|pause| pause.covers(job));
    let zone = entry
        .and_then(|entry| entry.job.schedule.as_ref())
        .map_or(Tz::UTC, Schedule::zone);
    let answer = match (&slot, &stretch, entry) {
        (Some(slot), _, _) => of_slot(slot, run.as_ref(), zone),
        (None, Some(stretch), _) if around.is_slot => of_stretch(stretch, at, zone),
        (None, _, Some(entry)) if asked.is_none() => of_no_slot_yet(entry, paused, &around, now, zone),
        (None, _, Some(entry)) => of_no_row(entry, paused, &around, at, now, zone),
        (None, _, None) => format!("{job} is not active: no good version of its file was ever applied."),
    };
    Ok(Why {
        job: job.clone(),
        at,
        answer,
        slot,
        previous: around.previous,
        next: around.next,
    })
}

/// The slots about a time.
struct Around {
    is_slot: bool,
    previous: Option<Timestamp>,
    next: Option<Timestamp>,
}

impl Around {
    fn of(entry: Option<&ActiveJob>, at: Timestamp) -> Self {
        let Some((entry, schedule)) = entry.and_then(|entry| Some((entry, entry.job.schedule.as_ref()?))) else {
            return Self {
                is_slot: false,
                previous: None,
                next: None,
            };
        };
        let anchor = entry.record.anchor;
        let (previous, next) = neighbours(schedule, at, anchor);
        let is_slot = schedule.next_after(at - TimeDelta::milliseconds(1), anchor) == Some(at);
        Self {
            is_slot,
            previous,
            next,
        }
    }
}

fn latest_slot(storage: &dyn Storage, job: &JobId, now: Timestamp) -> Result<Option<Timestamp>, StorageError> {
    let from = now - LOOK_BACK;
    let slot = storage.slots(job, from, now)?.last().map(|slot| slot.at);
    let stretch = storage.stretches(job, from, now)?.last().map(|stretch| stretch.to);
    Ok(slot.max(stretch))
}

fn of_slot(slot: &SlotRecord, run: Option<&RunRecord>, zone: Tz) -> String {
    let (job, when) = (&slot.job, local(slot.at, zone));
    let detail = slot
        .detail
        .as_ref()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let run_id = slot.run.map_or_else(|| "a run".to_owned(), |run| format!("run {run}"));
    match slot.outcome {
        None => {
            let waits = run
                .and_then(|run| run.reason.as_deref())
                .unwrap_or("it waits for its turn");
            format!("The slot of {job} at {when} is claimed, and {run_id} has not started yet: {waits}.")
        }
        Some(SlotOutcome::Ran) => format!(
            "{job} ran at {when}{}.",
            run.map(|run| how(run, slot.at)).unwrap_or_default()
        ),
        Some(SlotOutcome::Skipped) => {
            format!("{job} was skipped at {when}, {}{detail}.", because(slot.reason))
        }
        Some(SlotOutcome::Missed) => format!("{job} missed its slot at {when}, {}{detail}.", because(slot.reason)),
        Some(SlotOutcome::Merged) => {
            format!(
                "The slot of {job} at {when} was merged into {run_id}, {}{detail}.",
                because(slot.reason)
            )
        }
        Some(SlotOutcome::Refused) => format!("{job} could not run at {when}, {}{detail}.", because(slot.reason)),
    }
}

fn how(run: &RunRecord, slot: Timestamp) -> String {
    let late = run
        .started_at
        .map_or(String::new(), |start| format!(" {} late", lateness(start - slot)));
    let ended = match (run.status, run.started_at.zip(run.ended_at)) {
        (RunStatus::Queued | RunStatus::Running, _) | (_, None) => format!(" and is {}", run.status),
        (status, Some((start, end))) => {
            format!(
                " and {} after {}",
                past(status),
                seconds((end - start).num_milliseconds())
            )
        }
    };
    let reason = run
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!(": run {} started{late}{ended}{reason}", run.id)
}

fn lateness(late: TimeDelta) -> String {
    let millis = late.num_milliseconds().max(0);
    if millis < 1_000 {
        format!("{millis} ms")
    } else {
        seconds(millis)
    }
}

const fn past(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "is queued",
        RunStatus::Running => "is running",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "was cancelled",
        RunStatus::Interrupted => "was interrupted",
        RunStatus::TimedOut => "timed out",
    }
}

fn because(reason: Option<SlotReason>) -> &'static str {
    match reason {
        None => "for no recorded reason",
        Some(SlotReason::Overlap) => "because a run of it was still going",
        Some(SlotReason::Paused) => "because it was paused",
        Some(SlotReason::Down) => "because Petit was not running",
        Some(SlotReason::Dependency) => "because a job it depends on had not met its condition",
        Some(SlotReason::Clock) => "because the machine's clock was moved",
        Some(SlotReason::Limit) => "because there were more late slots than its limit",
        Some(SlotReason::Window) => "because it was older than the window for late slots",
        Some(SlotReason::Disabled) => "because the job was disabled",
        Some(SlotReason::Removed) => "because the job was removed",
        Some(SlotReason::Cancelled) => "because it was cancelled before it started",
        Some(SlotReason::Invalid) => "because its parameters could not be rendered",
    }
}

fn of_stretch(stretch: &StretchRecord, at: Timestamp, zone: Tz) -> String {
    let (job, when) = (&stretch.job, local(at, zone));
    let among = format!(
        "one of {} such slots from {} to {}",
        stretch.slots,
        local(stretch.from, zone),
        local(stretch.to, zone)
    );
    match (stretch.outcome, stretch.run) {
        (SlotOutcome::Merged, Some(run)) => {
            format!(
                "The slot of {job} at {when} was merged into run {run}, {}; {among}.",
                because(Some(stretch.reason))
            )
        }
        (outcome, _) => format!(
            "The slot of {job} at {when} was {outcome}, {}; {among}.",
            because(Some(stretch.reason))
        ),
    }
}

fn of_no_row(
    entry: &ActiveJob,
    paused: Option<&PauseRecord>,
    around: &Around,
    at: Timestamp,
    now: Timestamp,
    zone: Tz,
) -> String {
    let job = &entry.job.id;
    let when = local(at, zone);
    let Some(_) = &entry.job.schedule else {
        return if entry.job.spec.depends_on.is_empty() {
            format!("{job} has no schedule: it runs only when `petit trigger {job}` asks for it.")
        } else {
            let upstream: Vec<&str> = entry.job.spec.depends_on.iter().map(|dep| dep.job.as_str()).collect();
            format!(
                "{job} has no schedule: it runs each time that all of these have newly succeeded: {}.",
                upstream.join(", ")
            )
        };
    };
    if !around.is_slot {
        let name = |slot: Option<Timestamp>| slot.map_or_else(|| "none".to_owned(), |slot| local(slot, zone));
        return format!(
            "{when} is no slot of {job}: the one before it is {}, the one after it {}.",
            name(around.previous),
            name(around.next)
        );
    }
    if at > now {
        return if !entry.job.spec.enabled {
            format!(
                "{job} will not fire at {when}: the job is disabled in {}.",
                entry.record.file
            )
        } else if let Some(pause) = paused {
            format!(
                "{job} will not fire at {when} unless it is resumed: {}.",
                who_paused(pause, zone)
            )
        } else {
            format!(
                "{job} will fire at {when}, in {}.",
                seconds((at - now).num_milliseconds())
            )
        };
    }
    if at <= entry.record.scheduled_since {
        return format!(
            "{job} had no slot at {when} yet: its present schedule counts from {}.",
            local(entry.record.scheduled_since, zone)
        );
    }
    // A pause is one row, which is written when it ends.
    if !entry.job.spec.enabled {
        return format!(
            "{job} was skipped at {when}, because the job is disabled in {}.",
            entry.record.file
        );
    }
    if let Some(pause) = paused.filter(|pause| pause.since <= at) {
        return format!(
            "{job} was skipped at {when}, because it is paused: {}.",
            who_paused(pause, zone)
        );
    }
    format!(
        "The slot of {job} at {when} has no row in the journal yet: it is due and not decided, or Petit is not running."
    )
}

fn who_paused(pause: &PauseRecord, zone: Tz) -> String {
    let reason = pause
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!("{} paused it at {}{reason}", pause.by, local(pause.since, zone))
}

/// Nothing was asked about but the job itself, and none of its slots came yet: the first one is what there is to tell.
fn of_no_slot_yet(
    entry: &ActiveJob,
    paused: Option<&PauseRecord>,
    around: &Around,
    now: Timestamp,
    zone: Tz,
) -> String {
    match around.next {
        None => of_no_row(entry, paused, around, now, now, zone),
        Some(first) => {
            let first = of_no_row(entry, paused, &Around::of(Some(entry), first), first, now, zone);
            format!("The journal has no slot of {} yet. {first}", entry.job.id)
        }
    }
}

/// A time as people of the job's zone read it.
fn local(at: Timestamp, zone: Tz) -> String {
    let local = at.with_timezone(&zone);
    if zone == Tz::UTC {
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    } else {
        local.format("%F %T %Z").to_string()
    }
}

fn seconds(millis: i64) -> String {
    HumanDuration::elapsed(millis).to_string()
}

#[cfg(test)]
mod tests;
