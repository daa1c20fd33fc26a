//! The fires of one job, before and after.

use std::{cmp::Ordering, iter::Peekable};

use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::Budget;
use crate::{
    core::{Timestamp, active::ActiveJob, schedule::Schedule},
    scheduler::series::Series,
};

/// So many instants are listed: a day of a job that fires every minute.
const MOST_LISTED: usize = 1_440;

/// Fires of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fires {
    /// How many there are.
    pub count: u64,
    /// The first of them, up to 1,440, with the offset of the job's zone.
    pub at: Vec<String>,
    /// The zone.
    pub timezone: Option<String>,
}

impl Fires {
    fn push(&mut self, at: Timestamp, zone: Tz) {
        self.count += 1;
        self.timezone.get_or_insert_with(|| zone.name().to_owned());
        if self.at.len() < MOST_LISTED {
            self.at.push(shown(at, zone));
        }
    }
}

/// An instant on the clock of a zone, with its offset.
pub(super) fn shown(at: Timestamp, zone: Tz) -> String {
    at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false)
}

/// The slots of a job that its schedule fires.
pub(super) fn firing(entry: &ActiveJob) -> Option<Series<'_>> {
    Series::of(entry).filter(|_| entry.job.spec.enabled)
}

/// The zone of a job's schedule.
pub(super) fn zone(entry: &ActiveJob) -> Tz {
    entry.job.schedule.as_ref().map_or(Tz::UTC, Schedule::zone)
}

/// The fires in (from, until] that only `new` has, and those that only `old` has.
pub(super) fn compared(
    old: Option<&ActiveJob>,
    new: Option<&ActiveJob>,
    (from, until): (Timestamp, Timestamp),
    budget: &mut Budget,
) -> (Fires, Fires) {
    let (mut gained, mut lost) = (Fires::default(), Fires::default());
    if let (Some(old), Some(new)) = (old, new)
        && fires_alike(old, new)
    {
        return (gained, lost);
    }
    let mut before = slots(old, (from, until)).peekable();
    let mut after = slots(new, (from, until)).peekable();
    let zone = |entry: Option<&ActiveJob>| entry.map_or(Tz::UTC, zone);
    let (old_zone, new_zone) = (zone(old), zone(new));
    while let Some((at, side)) = earlier(&mut before, &mut after) {
        if !budget.take() {
            break;
        }
        match side {
            Ordering::Less => lost.push(at, old_zone),
            Ordering::Greater => gained.push(at, new_zone),
            Ordering::Equal => {}
        }
    }
    (gained, lost)
}

fn slots(entry: Option<&ActiveJob>, (from, until): (Timestamp, Timestamp)) -> impl Iterator<Item = Timestamp> {
    let series = entry.and_then(firing);
    series.map(|series| series.slots_in(from, until)).into_iter().flatten()
}

/// The next instant of either side, and on which side it is: `Less` for the first alone, `Equal` for both.
fn earlier(
    first: &mut Peekable<impl Iterator<Item = Timestamp>>,
    second: &mut Peekable<impl Iterator<Item = Timestamp>>,
) -> Option<(Timestamp, Ordering)> {
    let side = match (first.peek(), second.peek()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(a), Some(b)) => a.cmp(b),
    };
    let at = match side {
        Ordering::Less => first.next(),
        Ordering::Greater => second.next(),
        Ordering::Equal => {
            second.next();
            first.next()
        }
    };
    at.map(|at| (at, side))
}

/// Whether two versions have the same slots, as far as that shows without computing any.
fn fires_alike(old: &ActiveJob, new: &ActiveJob) -> bool {
    let enabled = |entry: &ActiveJob| entry.job.spec.enabled;
    enabled(old) == enabled(new) && old.job.schedule == new.job.schedule && old.record.anchor == new.record.anchor
}

/// What is not as certain as it looks: periods that are new count from when they are applied.
pub(super) fn note(old: Option<&ActiveJob>, new: Option<&ActiveJob>) -> Option<String> {
    let new = new?;
    let every = new.job.spec.schedule.as_ref()?.every?;
    let anew = old.is_none_or(|old| old.record.anchor != new.record.anchor);
    anew.then(|| {
        format!("`every {every}` counts from when the change is applied: these fires are those of applying it now")
    })
}
