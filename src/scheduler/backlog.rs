//! What becomes of late slots: the misfire policy, as a function of values.
//!
//! In: a job's slots between what is recorded and what is due, the policy, and what Petit was there for. Out: which slots
//! are to start, and what became of the others, in as few rows as say it. Nothing here knows of runs: whether a slot that
//! is to start can start is the gate's question.

use crate::core::{
    Timestamp,
    spec::{MisfirePolicy, MisfireSpec},
    state::{SlotOutcome, SlotReason},
};

use super::{
    presence::{Absence, Presence},
    series::Series,
};

/// Slots in a row that will not run, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The first of them.
    pub from: Timestamp,
    /// The last of them.
    pub to: Timestamp,
    /// How many they are.
    pub slots: u64,
    /// What became of them.
    pub fate: Fate,
}

/// What becomes of a slot that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Older than the window for late slots.
    TooOld,
    /// Late, and not to be made up for.
    Missed(Absence),
    /// The slot that starts stands for it too; if that one cannot start after all, it is missed.
    Merged(Absence),
    /// More late slots than are made up for.
    OverLimit,
    /// Its job was held, or went, before it could start.
    Skipped(SlotReason),
}

/// Why a job's schedule does not start anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The file says `enabled: false`.
    Disabled,
    /// The job, or everything, is paused.
    Paused,
}

impl Hold {
    /// The reason as the ledger names it.
    pub const fn reason(self) -> SlotReason {
        match self {
            Self::Disabled => SlotReason::Disabled,
            Self::Paused => SlotReason::Paused,
        }
    }
}

impl Fate {
    /// What the ledger says of it.
    pub const fn row(self) -> (SlotOutcome, SlotReason) {
        match self {
            Self::TooOld => (SlotOutcome::Missed, SlotReason::Window),
            Self::Missed(absence) => (SlotOutcome::Missed, absence.reason()),
            Self::Merged(absence) => (SlotOutcome::Merged, absence.reason()),
            Self::OverLimit => (SlotOutcome::Missed, SlotReason::Limit),
            Self::Skipped(reason) => (SlotOutcome::Skipped, reason),
        }
    }
}

/// What is to be done about the slots that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The slots that are to start, oldest first: at most one, unless late ones are made up for one by one.
    pub starts: Vec<Timestamp>,
    /// The others, oldest first.
    pub passed: Vec<Passed>,
    /// The last of all of them: with it recorded, every slot up to here is.
    pub last: Timestamp,
}

/// Judges the slots in (after, last], of which `last` is one. The newest runs as normal when it is within the grace; the
/// policy decides about the others, and about the newest too when it is later than that. `waiting` is how many slots wait in
/// the job's line already: they count against the limit, or a job that is slower than its slots become late (because of a
/// jitter longer than their distance, or of one outage after another) would have a line that only grows.
pub fn judge(
    series: &Series<'_>,
    after: Timestamp,
    last: Timestamp,
    now: Timestamp,
    misfire: &MisfireSpec,
    presence: &Presence,
    waiting: usize,
) -> Due {
    let newest = late(series.start_of(last), last, now, misfire);
    // Of the slots that the policy decides about, those up to here are beyond the window.
    let too_old_until = match newest {
        Late::OnTime => just_before(now - misfire.window.to_delta()).clamp(after, just_before(last).max(after)),
        Late::InWindow => just_before(now - misfire.window.to_delta()).max(after),
        Late::TooOld => last,
    };
    let normal = (newest == Late::OnTime).then_some(last);
    let policy_until = normal.map_or(last, just_before);
    let mut passed: Vec<Passed> = stretch(series, after, too_old_until, Fate::TooOld)
        .into_iter()
        .collect();
    let starts = match misfire.policy {
        MisfirePolicy::Skip => {
            passed.extend(absent(series, too_old_until, policy_until, presence, Fate::Missed));
            normal.into_iter().collect()
        }
        MisfirePolicy::Once => {
            let start = match newest {
                Late::OnTime | Late::InWindow => Some(last),
                Late::TooOld => None,
            };
            let merged_until = start.map_or(policy_until, just_before);
            passed.extend(absent(series, too_old_until, merged_until, presence, Fate::Merged));
            start.into_iter().collect()
        }
        MisfirePolicy::All => {
            let limit = usize::try_from(misfire.limit).unwrap_or(usize::MAX);
            let limit = limit.saturating_sub(waiting);
            let mut starts: Vec<Timestamp> = series.slots_in(too_old_until, policy_until).take(limit).collect();
            let made_up_until = starts.last().copied().unwrap_or(too_old_until);
            passed.extend(stretch(series, made_up_until, policy_until, Fate::OverLimit));
            starts.extend(normal);
            starts
        }
    };
    Due { starts, passed, last }
}

/// The slots in (after, until] that nobody looked at in time, as a row for each reason.
fn absent(
    series: &Series<'_>,
    after: Timestamp,
    until: Timestamp,
    presence: &Presence,
    fate: fn(Absence) -> Fate,
) -> Vec<Passed> {
    let mut rows: Vec<Passed> = Vec::new();
    for (from, to, absence) in presence.absences(after, until, series.jitter()) {
        let Some(row) = stretch(series, from, to, fate(absence)) else {
            continue;
        };
        match rows.last_mut().filter(|last| last.fate == row.fate) {
            Some(last) => (last.to, last.slots) = (row.to, last.slots + row.slots),
            None => rows.push(row),
        }
    }
    rows
}

/// How late a slot is, in the terms of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// Within the grace: it runs as normal.
    OnTime,
    /// The policy decides.
    InWindow,
    /// Beyond the window.
    TooOld,
}

/// How late a slot is that should have started at `start`: its instant and its jitter, which is not held against it.
pub fn late(start: Timestamp, slot: Timestamp, now: Timestamp, misfire: &MisfireSpec) -> Late {
    if now - start <= misfire.grace.to_delta() {
        Late::OnTime
    } else if slot >= now - misfire.window.to_delta() {
        Late::InWindow
    } else {
        Late::TooOld
    }
}

/// The slots in (after, until] as one row, if there are any.
pub fn stretch(series: &Series<'_>, after: Timestamp, until: Timestamp, fate: Fate) -> Option<Passed> {
    let to = series.last_in(after, until)?;
    let from = series.next_after(after)?;
    Some(Passed {
        from,
        to,
        slots: series.count_in(after, until),
        fate,
    })
}

/// The latest instant before another: slots are whole seconds, so that a millisecond is fine enough.
fn just_before(instant: Timestamp) -> Timestamp {
    instant - chrono::TimeDelta::milliseconds(1)
}
