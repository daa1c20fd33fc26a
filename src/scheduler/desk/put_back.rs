//! What a clock that was put back far means: a job's slots begin again from now.
//!
//! After a small step back nothing needs to be decided: the watermark lies ahead of the clock, and nothing fires until the
//! clock has passed it. Waiting longer than [`LONGEST_WAIT`] would be worse than starting again. Then what the ledger says
//! of slots that are still to come is void, except of those that ran: they stay, and are no slots any more
//! ([`Timeline::taken`](crate::scheduler::due::Timeline)).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{SubsecRound, TimeDelta};

use super::{Batch, Desk, Phase};
use crate::{
    core::{
        Timestamp,
        id::{JobId, SpecHash},
        job::Job,
        record::{SlotRecord, StretchRecord, SupersedeRecord},
        schedule::Timing,
        state::{SlotOutcome, SlotReason},
    },
    storage::Change,
};

/// How far ahead of the clock the last slot may lie for its job to wait until the clock has passed it: no change to winter
/// time, and no correction of a clock that is roughly right, is larger.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::hours(3);

const DETAIL: &str = "the machine's clock was put back before its run started";

/// What the ledger says of a job beyond now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beyond {
    /// The stretches that reach beyond now.
    pub stretches: Vec<StretchRecord>,
    /// The slots that have rows of their own, from the beginning of the first of those stretches on.
    pub slots: Vec<SlotRecord>,
    /// The versions by which those stretches were judged, as far as they can be read.
    pub versions: BTreeMap<SpecHash, Arc<Job>>,
}

impl Desk {
    /// The clock was put back: a run that waits for other jobs waits no longer from now than it might have from the beginning.
    /// This is not recorded: after a restart, what is recorded is cut in the same way. And slots that were due are still to
    /// come, so that nobody waits for them any more.
    pub fn put_back(&mut self, now: Timestamp) {
        self.stirred.extend(self.jobs.keys().chain(self.runs.keys()).cloned());
        for (job, runs) in &mut self.runs {
            for going in runs.values_mut() {
                let (Phase::Waiting(bound), Some(until)) = (&going.phase, going.record.wait_until) else {
                    continue;
                };
                let longest = bound
                    .spec
                    .depends_on
                    .iter()
                    .map(|dependency| dependency.wait.to_delta())
                    .max();
                let latest = now + longest.unwrap_or_default();
                if until > latest {
                    going.record.wait_until = Some(latest);
                    self.deadlines.insert((latest, job.clone()));
                }
            }
        }
    }

    /// The jobs, also those that are gone, whose slots are recorded too far ahead of the clock to wait for it.
    pub fn far_ahead(&self, now: Timestamp) -> Vec<JobId> {
        let far = self.watermarks.iter().filter(|(_, at)| **at > now + LONGEST_WAIT);
        far.map(|(job, _)| job.clone()).collect()
    }

    /// Has a job start again from now.
    pub fn start_again(&self, job: &JobId, beyond: &Beyond, now: Timestamp) -> Batch {
        let mut batch = Batch::default();
        self.withdraw(&mut batch, job, Timestamp::MAX_UTC);
        let mut ended: Vec<Timestamp> = self.claims_of(job).map(|(slot, _)| slot).collect();
        for going in self.runs.get(job).into_iter().flat_map(|runs| runs.values()) {
            if let (Phase::Waiting(bound), Some(slot)) = (&going.phase, going.record.slot.filter(|slot| *slot > now)) {
                let skipped = (SlotOutcome::Skipped, SlotReason::Clock);
                batch.end_waiting(&going.record, bound, &going.reused, skipped, DETAIL, now);
                ended.push(slot);
            }
        }
        batch.changes.push(Change::Supersede(SupersedeRecord {
            job: job.clone(),
            after: now,
        }));
        let begun = beyond.stretches.iter().filter(|stretch| stretch.from <= now);
        batch
            .changes
            .extend(begun.map(|stretch| Change::PutStretch(cut(stretch, beyond, now))));
        let stay = beyond.slots.iter().filter(|slot| match slot.outcome {
            // A claim whose run was handed on may still start.
            None => !ended.contains(&slot.at),
            Some(SlotOutcome::Ran) => true,
            Some(SlotOutcome::Skipped | SlotOutcome::Missed | SlotOutcome::Merged | SlotOutcome::Refused) => false,
        });
        let stay = stay.map(|slot| slot.at).filter(|at| *at > now).collect();
        batch.taken.insert(job.clone(), stay);
        batch
    }
}

/// What is left of a stretch up to now: of the slots of the schedule by which it was judged, those without rows of their own.
/// Only if that version cannot be read any more, the part is taken to be as dense as the whole.
fn cut(stretch: &StretchRecord, beyond: &Beyond, now: Timestamp) -> StretchRecord {
    let version = beyond.versions.get(&stretch.spec_hash);
    let (to, slots) = match version.and_then(|job| job.schedule.as_ref()) {
        Some(schedule) => {
            let own: BTreeSet<Timestamp> = beyond.slots.iter().map(|slot| slot.at).collect();
            let period = schedule.timings().iter().find_map(|timing| match timing {
                Timing::Every(every) => Some(every.period().to_delta()),
                Timing::Cron(_) => None,
            });
            // The first slot stands for the anchor, of which it is a whole number of periods away.
            let anchor = stretch.from - period.unwrap_or_default();
            let before = stretch.from - TimeDelta::milliseconds(1);
            let left = schedule
                .slots_in(before, now, anchor)
                .filter(|slot| !own.contains(slot));
            let (last, count) = left.fold((stretch.from, 0), |(_, count), slot| (slot, count + 1));
            (last, u64::min(count, stretch.slots))
        }
        None => {
            let millis =
                |from: Timestamp, to: Timestamp| u128::from((to - from).num_milliseconds().max(0).unsigned_abs());
            let whole = millis(stretch.from, stretch.to).max(1);
            let part = u128::from(stretch.slots) * millis(stretch.from, now) / whole;
            (
                now.trunc_subsecs(0),
                u64::try_from(part).unwrap_or(stretch.slots).max(1),
            )
        }
    };
    StretchRecord {
        to,
        slots,
        ..stretch.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{
        desk::{LEAD, Past},
        fixtures::{active, at, set},
    };

    #[test]
    fn a_stretch_across_now_keeps_what_lies_behind() {
        let version = |yaml| Arc::clone(&active("job", yaml, "2026-01-01T00:00:00Z").job);
        let (hourly, often) = (version("schedule: '0 * * * *'"), version("schedule: {every: 7m}"));
        let stretch = |to, slots, version: &Job| StretchRecord {
            job: version.id.clone(),
            from: at("2026-01-10T01:00:00Z"),
            to: at(to),
            slots,
            outcome: SlotOutcome::Missed,
            reason: SlotReason::Down,
            run: None,
            decided_at: at(to),
            spec_hash: version.hash.clone(),
        };
        let day = stretch("2026-01-11T00:00:00Z", 23, &hourly);
        let ran = SlotRecord {
            job: day.job.clone(),
            at: at("2026-01-10T06:00:00Z"),
            outcome: Some(SlotOutcome::Ran),
            reason: None,
            detail: None,
            decided_at: Some(day.to),
            run: None,
            spec_hash: hourly.hash.clone(),
        };
        let mut beyond = Beyond {
            slots: vec![ran],
            versions: [&hourly, &often].map(|job| (job.hash.clone(), Arc::clone(job))).into(),
            ..Beyond::default()
        };
        let now = at("2026-01-10T06:30:00Z");
        let left = cut(&day, &beyond, now);
        assert_eq!(
            (left.from, left.to, left.slots),
            (day.from, at("2026-01-10T05:00:00Z"), 5)
        );
        let left = cut(&stretch("2026-01-10T23:59:00Z", 198, &often), &beyond, now);
        assert_eq!((left.to, left.slots), (at("2026-01-10T06:29:00Z"), 48));

        // Nobody knows any more when its slots were.
        beyond.versions.clear();
        let left = cut(&day, &beyond, now);
        assert_eq!((left.to, left.slots), (now, 5));
    }

    #[test]
    fn what_waited_for_slots_that_were_due_is_looked_at_again() {
        let begin = "2026-01-01T00:00:00Z";
        let jobs = [
            active("up", "schedule: {cron: '0 * * * *', jitter: 10m}", begin),
            active("join", "depends_on: [{job: up}]", begin),
        ];
        let mut desk = Desk::new(&set(&jobs), Past::default());
        let now = at("2026-01-10T08:59:59Z");
        for job in desk.stirred(now) {
            desk.settled(&job);
        }
        desk.put_back(now);
        let names: Vec<String> = desk.stirred(now).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["join", "up"]);
    }

    #[test]
    fn only_what_lies_more_than_three_hours_ahead_starts_again() {
        let job = active("job", "schedule: '0 * * * *'", "2026-01-01T00:00:00Z");
        let id = job.job.id.clone();
        let past = Past {
            watermarks: vec![(id.clone(), at("2026-01-10T12:00:00Z"))],
            ..Past::default()
        };
        let mut desk = Desk::new(&set(&[job]), past);
        assert_eq!(desk.far_ahead(at("2026-01-10T09:00:00Z")), []);
        assert_eq!(
            desk.next_wake(at("2026-01-10T09:00:00Z")),
            Some(at("2026-01-10T13:00:00Z") - LEAD)
        );
        let now = at("2026-01-10T08:59:59Z");
        assert_eq!(desk.far_ahead(now), std::slice::from_ref(&id));
        let batch = desk.start_again(&id, &Beyond::default(), now);
        desk.apply(&batch);
        assert_eq!(desk.far_ahead(now), []);
        assert_eq!(desk.next_wake(now - LEAD), Some(at("2026-01-10T09:00:00Z") - LEAD));
    }
}
