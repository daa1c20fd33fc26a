//! Jobs that a plan lets start on the same second, and whose tasks together want more of a pool than it has.
//!
//! `petit validate` warns of jobs that always meet, by their expressions (`config::contention`, which also says what a
//! job wants of a pool). Here the fires themselves are compared, so that an hourly and a daily job meet as well, and only
//! what is new counts: a meeting that there is without the plan is nobody's news. Jobs with jitter are left alone, as
//! they are there.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use chrono::TimeDelta;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{
    Budget, JobChange,
    fires::{firing, shown, zone},
};
use crate::{
    config::contention::wanted,
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        capacity::SystemResources,
        id::JobId,
    },
    scheduler::series::Series,
};

/// So many instants of one collision are listed.
const MOST_LISTED: usize = 60;
/// So many collisions are listed, those that happen most often.
const MOST_COLLISIONS: usize = 100;

/// Jobs that start together and want more of a pool than it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// The pool.
    pub pool: String,
    /// How many slots it has.
    pub slots: u32,
    /// How many the jobs want together.
    pub wanted: u64,
    /// The jobs.
    pub jobs: Vec<JobId>,
    /// How often they meet.
    pub count: u64,
    /// The first of these instants, with the offset of the zone of a job that changes.
    pub at: Vec<String>,
}

/// A job that wants slots of a pool and fires.
struct Guest<'a> {
    job: &'a JobId,
    series: Series<'a>,
    slots: u32,
}

/// The collisions in (from, until] that there are after a plan and not before.
pub(super) fn new(
    before: &ActiveSet,
    after: &ActiveSet,
    changes: &[JobChange],
    capacity: &SystemResources,
    (from, until): (Timestamp, Timestamp),
    budget: &mut Budget,
) -> Vec<Collision> {
    let changed: BTreeSet<&JobId> = changes.iter().map(|change| &change.job).collect();
    let mut found = Vec::new();
    for (pool, &slots) in &capacity.pools {
        let newcomers: Vec<&JobId> = changed
            .iter()
            .copied()
            .filter(|job| after.get(*job).is_some_and(|entry| wants(entry, pool) > 0))
            .collect();
        if newcomers.is_empty() {
            continue;
        }
        let guests: Vec<Guest<'_>> = after.values().filter_map(|entry| guest(entry, pool)).collect();
        let mut meetings: BTreeMap<Vec<&JobId>, Collision> = BTreeMap::new();
        meet(&guests, (from, until), budget, |at, here| {
            let together: u64 = here.iter().map(|guest| u64::from(guest.slots)).sum();
            if here.len() < 2 || together <= u64::from(slots) {
                return;
            }
            let is_new = |guest: &&&Guest<'_>| changed.contains(guest.job) && !was_there(before, guest, pool, at);
            let Some(newcomer) = here.iter().find(is_new) else {
                return;
            };
            let jobs: Vec<&JobId> = here.iter().map(|guest| guest.job).collect();
            let collision = meetings.entry(jobs).or_insert_with_key(|jobs| Collision {
                pool: pool.clone(),
                slots,
                wanted: together,
                jobs: jobs.iter().map(|job| (*job).clone()).collect(),
                count: 0,
                at: Vec::new(),
            });
            collision.count += 1;
            if collision.at.len() < MOST_LISTED {
                let zone = after.get(newcomer.job).map_or(Tz::UTC, |entry| zone(entry));
                collision.at.push(shown(at, zone));
            }
        });
        found.extend(meetings.into_values());
    }
    found.sort_by(|a, b| (Reverse(a.count), &a.pool, &a.jobs).cmp(&(Reverse(b.count), &b.pool, &b.jobs)));
    found.truncate(MOST_COLLISIONS);
    found
}

/// Visits every instant at which somebody fires, in order, with all who do.
fn meet<'g, 'a>(
    guests: &'g [Guest<'a>],
    (from, until): (Timestamp, Timestamp),
    budget: &mut Budget,
    mut each: impl FnMut(Timestamp, &[&'g Guest<'a>]),
) {
    let following = |index: usize, after: Timestamp| {
        let slot = guests[index].series.next_after(after)?;
        (slot <= until).then_some(Reverse((slot, index)))
    };
    let mut heads: BinaryHeap<_> = (0..guests.len()).filter_map(|index| following(index, from)).collect();
    let mut here = Vec::new();
    while let Some(Reverse((at, index))) = heads.pop() {
        if !budget.take() {
            return;
        }
        here.push(&guests[index]);
        heads.extend(following(index, at));
        if heads.peek().is_none_or(|Reverse((next, _))| *next != at) {
            each(at, &here);
            here.clear();
        }
    }
}

fn guest<'a>(entry: &'a ActiveJob, pool: &str) -> Option<Guest<'a>> {
    let slots = wants(entry, pool);
    let series = firing(entry).filter(|series| series.jitter().is_zero() && slots > 0)?;
    Some(Guest {
        job: &entry.job.id,
        series,
        slots,
    })
}

fn wants(entry: &ActiveJob, pool: &str) -> u32 {
    wanted(&entry.job).get(pool).copied().unwrap_or(0)
}

/// Whether a job started at this instant without the plan, wanting as much.
fn was_there(before: &ActiveSet, guest: &Guest<'_>, pool: &str, at: Timestamp) -> bool {
    let old = before.get(guest.job).and_then(|entry| self::guest(entry, pool));
    old.is_some_and(|old| {
        old.slots >= guest.slots && old.series.next_after(at - TimeDelta::milliseconds(1)) == Some(at)
    })
}
