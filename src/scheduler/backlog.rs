//! What becomes of late slots: the misfire policy, as a function of values.
//!
//! In: a job's slots between what is recorded and what is due, and the policy. Out: which slot is to start, and what
//! became of the others, in as few rows as say it. Nothing here knows of runs: whether the slot that is to start can
//! start is the gate's question.

use crate::core::{
    Timestamp,
    spec::{MisfirePolicy, MisfireSpec},
    state::{SlotOutcome, SlotReason},
};

use super::series::Series;

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
    Missed,
    /// The slot that starts stands for it too; if that one cannot start after all, it is missed.
    Merged,
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
            Self::Missed => (SlotOutcome::Missed, SlotReason::Down),
            Self::Merged => (SlotOutcome::Merged, SlotReason::Down),
            Self::Skipped(reason) => (SlotOutcome::Skipped, reason),
        }
    }
}

/// What is to be done about the slots that are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The slot that is to start.
    pub start: Option<Timestamp>,
    /// The others, oldest first.
    pub passed: Vec<Passed>,
    /// The last of all of them: with it recorded, every slot up to here is.
    pub last: Timestamp,
}

/// Judges the slots in (after, last], of which `last` is one.
pub fn judge(series: &Series<'_>, after: Timestamp, last: Timestamp, now: Timestamp, misfire: &MisfireSpec) -> Due {
    let start = match late(series.start_of(last), last, now, misfire) {
        Late::OnTime => Some(last),
        Late::TooOld => None,
        Late::InWindow => match misfire.policy {
            MisfirePolicy::Skip => None,
            // Making up for each slot needs runs that wait for each other; until then `all` makes up for the latest.
            MisfirePolicy::Once | MisfirePolicy::All => Some(last),
        },
    };
    let fate = match (start, misfire.policy) {
        (None, _) | (Some(_), MisfirePolicy::Skip) => Fate::Missed,
        (Some(_), MisfirePolicy::Once | MisfirePolicy::All) => Fate::Merged,
    };
    let before = if start.is_some() { just_before(last) } else { last };
    let window_begins = just_before(now - misfire.window.to_delta()).clamp(after, before.max(after));
    let passed = [
        stretch(series, after, window_begins, Fate::TooOld),
        stretch(series, window_begins, before, fate),
    ];
    Due {
        start,
        passed: passed.into_iter().flatten().collect(),
        last,
    }
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
