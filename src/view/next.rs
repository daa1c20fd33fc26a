//! Fires to come.

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};

use crate::core::{
    Timestamp,
    active::{ActiveJob, ActiveSet},
    id::JobId,
};

/// A fire to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextFire {
    /// The job.
    pub job: JobId,
    /// The instant, with the offset of the job's zone.
    pub at: String,
    /// The same instant in UTC.
    pub at_utc: Timestamp,
    /// The job's zone.
    pub timezone: String,
}

/// The next `count` fires after `now`, of one job or of all together, soonest first. Disabled jobs do not fire; `paused`
/// says which others do not.
pub fn next_fires(
    active: &ActiveSet,
    only: Option<&JobId>,
    paused: impl Fn(&JobId) -> bool,
    now: Timestamp,
    count: usize,
) -> Vec<NextFire> {
    let mut fires: Vec<NextFire> = active
        .iter()
        .filter(|(id, entry)| only.is_none_or(|only| only == *id) && entry.job.spec.enabled && !paused(id))
        .flat_map(|(_, entry)| fires_of(entry, now, count))
        .collect();
    fires.sort_by(|a, b| (a.at_utc, &a.job).cmp(&(b.at_utc, &b.job)));
    fires.truncate(count);
    fires
}

fn fires_of(entry: &ActiveJob, now: Timestamp, count: usize) -> Vec<NextFire> {
    let Some(schedule) = &entry.job.schedule else {
        return Vec::new();
    };
    let zone = schedule.zone();
    let following = |after: Timestamp| schedule.next_after(after, entry.record.anchor);
    std::iter::successors(following(now), |&slot| following(slot))
        .take(count)
        .map(|slot| NextFire {
            job: entry.job.id.clone(),
            at: slot.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false),
            at_utc: slot,
            timezone: zone.name().to_owned(),
        })
        .collect()
}
