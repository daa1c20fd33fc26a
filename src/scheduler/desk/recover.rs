//! What a Petit that died left behind: slots that were claimed and whose run never started.
//!
//! Such a slot is recorded, so no tick will see it again; it is a late slot all the same, and is judged by the same policy as
//! those that nobody recorded. One that waited for its turn or for other jobs, and still has to, goes on waiting.
//!
//! That a run which was left turns out to make up for a late slot is not recorded. Another crash asks the question again, and if
//! by then something is in the run's way it waits like any other, so that a newer slot may take its place.

use std::collections::BTreeMap;

use super::{Around, Batch, Desk, Entry, Going, admit::newcomer};
use crate::{
    core::{
        Timestamp,
        id::JobId,
        job::Job,
        record::{SlotRecord, TaskRecord},
        spec::MisfirePolicy,
        state::{RunStatus, SlotOutcome, SlotReason, TaskState},
    },
    scheduler::{
        backlog::{Fate, Late, late},
        due::due,
        gate::{Verdict, gate},
        presence::Absence,
        series::start_of,
    },
    storage::{Change, RunDetail, StorageError},
};

const CLAIMED_ONLY: &str = "Petit stopped after claiming the slot and before its run started";

/// Ends a run that was queued and whose version of the job cannot be made any more, by a newer Petit for example.
pub fn give_up(detail: &RunDetail, now: Timestamp) -> Batch {
    const WHY: &str = "the version of the job that the run is bound to cannot be read by this version of Petit";
    let mut batch = Batch::default();
    for task in detail.tasks.iter().filter(|task| !task.state.is_finished()) {
        batch.changes.push(Change::SetTask(TaskRecord {
            state: TaskState::Cancelled,
            reason: Some(WHY.to_owned()),
            ..task.clone()
        }));
    }
    batch.changes.extend(detail.run.slot.map(|at| Change::DecideSlot {
        job: detail.run.job.clone(),
        at,
        outcome: SlotOutcome::Refused,
        reason: Some(SlotReason::Invalid),
        detail: Some(WHY.to_owned()),
        decided_at: now,
    }));
    batch.end_run(&detail.run, RunStatus::Failed, WHY, now);
    batch
}

impl Desk {
    /// Decides every claimed slot whose run cannot simply go on. To be carried out before the first [`Desk::tick`].
    pub fn recover(&self, claimed: &[SlotRecord], around: &Around<'_>) -> Result<Vec<Batch>, StorageError> {
        let mut batches = Vec::new();
        let known = |slot: &SlotRecord| {
            let run = slot.run?;
            self.runs.get(&slot.job)?.get(&run)
        };
        for slot in claimed {
            if self.claims.contains_key(&(slot.job.clone(), slot.at)) {
                let comes = |entry: &Entry| entry.timeline.hold.is_none() && entry.timeline.is_to_come(slot.at);
                // One that no tick will come upon: its job is held, or has another schedule by now.
                if !self.jobs.get(&slot.job).is_some_and(comes) {
                    let mut batch = Batch::default();
                    batch.changes.push(Change::Unclaim {
                        job: slot.job.clone(),
                        at: slot.at,
                    });
                    batches.push(batch);
                }
                continue;
            }
            // A start decides the slot in the same transaction, so neither of these should exist; a row without an
            // outcome must not stay even so.
            let (outcome, reason) = match known(slot) {
                Some(going) if going.has_started() => (SlotOutcome::Ran, None),
                Some(_) => continue,
                None => (SlotOutcome::Missed, Some(SlotReason::Down)),
            };
            let mut batch = Batch::default();
            batch.changes.push(Change::DecideSlot {
                job: slot.job.clone(),
                at: slot.at,
                outcome,
                reason,
                detail: reason.map(|_| CLAIMED_ONLY.to_owned()),
                decided_at: around.now,
            });
            batches.push(batch);
        }
        for job in self.runs.keys() {
            let mut batch = Batch::default();
            self.recover_job(&mut batch, job, around)?;
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    fn recover_job(&self, batch: &mut Batch, id: &JobId, around: &Around<'_>) -> Result<(), StorageError> {
        let now = around.now;
        let mut free: Vec<(&Going, &Job)> = Vec::new();
        let (waiting, mut ahead) = self.waiting_and_going(id);
        for (going, bound) in waiting {
            if going.record.trigger.is_by_hand() {
                ahead.push(going.ahead());
                continue;
            }
            let mut end = |reason, detail| {
                batch.end_waiting(
                    &going.record,
                    bound,
                    &going.reused,
                    (SlotOutcome::Skipped, reason),
                    detail,
                    now,
                );
            };
            match self.jobs.get(id).map(|entry| entry.timeline.hold) {
                None => end(SlotReason::Removed, "the job was removed"),
                Some(Some(hold)) => end(hold.reason(), "the job was paused or disabled before its run started"),
                Some(None) => {
                    let upstreams = self.upstreams(bound, &BTreeMap::new(), around)?;
                    let newcomer = newcomer(&going.record, true);
                    match gate(&bound.spec, &newcomer, &ahead, &upstreams, now) {
                        // Something else than what was left with it is in its way.
                        Verdict::Wait { .. } | Verdict::Queue { .. } => ahead.push(going.ahead()),
                        Verdict::Start | Verdict::Skip { .. } | Verdict::Replace { .. } => free.push((going, bound)),
                    }
                }
            }
        }
        free.retain(|(going, _)| going.record.slot.is_some());
        free.sort_by_key(|(going, _)| going.record.slot);
        let Some(timeline) = self.jobs.get(id).map(|entry| &entry.timeline) else {
            return Ok(());
        };
        let newly_due = due(timeline, now, now, &around.presence, self.slots_waiting(id));
        let newer = newly_due.is_some_and(|due| !due.starts.is_empty());
        let latest = free.len().checked_sub(1).filter(|_| !newer);
        for (position, (going, bound)) in free.into_iter().enumerate() {
            let Some(slot) = going.record.slot else { continue };
            let misfire = bound
                .spec
                .schedule
                .as_ref()
                .map(|schedule| schedule.misfire)
                .unwrap_or_default();
            let is_latest = latest == Some(position);
            let fate = match (late(start_of(bound, slot), slot, now, &misfire), misfire.policy) {
                (Late::TooOld, _) => Fate::TooOld,
                // Each goes on, and takes its turn.
                (Late::InWindow, MisfirePolicy::All) => {
                    batch.made_up.insert((id.clone(), going.record.id));
                    continue;
                }
                (Late::OnTime, MisfirePolicy::All) => continue,
                (Late::OnTime, MisfirePolicy::Skip | MisfirePolicy::Once) | (Late::InWindow, MisfirePolicy::Once)
                    if is_latest =>
                {
                    continue;
                }
                (Late::OnTime | Late::InWindow, MisfirePolicy::Skip) => Fate::Missed(Absence::Down),
                (Late::OnTime | Late::InWindow, MisfirePolicy::Once) => Fate::Merged(Absence::Down),
            };
            let (outcome, reason) = fate.row();
            batch.end_waiting(
                &going.record,
                bound,
                &going.reused,
                (outcome, reason),
                CLAIMED_ONLY,
                now,
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        core::{active::ActiveJob, record::RunRecord, state::Trigger},
        scheduler::{
            desk::{Past, admit::claim_of},
            fixtures::{active, at, finished, set},
            presence::Presence,
        },
    };

    fn left(job: &ActiveJob, number: u128, slot: &str, created: &str, status: RunStatus) -> RunDetail {
        let run = RunRecord {
            trigger: Trigger::Schedule,
            slot: Some(at(slot)),
            spec_hash: job.job.hash.clone(),
            started_at: None,
            ended_at: None,
            ..finished("job", number, status, at(created))
        };
        RunDetail {
            run,
            tasks: Vec::new(),
            attempts: Vec::new(),
        }
    }

    fn desk(job: &Arc<ActiveJob>, watermark: &str, beyond: &[&str], unfinished: Vec<RunDetail>) -> Desk {
        let id = job.job.id.clone();
        let past = Past {
            watermarks: vec![(id.clone(), at(watermark))],
            beyond_watermark: beyond.iter().map(|slot| (id.clone(), at(slot))).collect(),
            unfinished,
            bound: [(job.job.hash.clone(), Arc::clone(&job.job))].into(),
            ..Past::default()
        };
        Desk::new(&set(std::slice::from_ref(job)), past)
    }

    fn ask<T>(now: Timestamp, question: impl FnOnce(&mut Around<'_>) -> T) -> T {
        question(&mut Around {
            now,
            presence: Presence::since(now),
            random: &mut || 0,
            latest: &|_| Ok(crate::storage::LatestRuns::default()),
            revision: None,
            tells_secret: &|_, _| false,
        })
    }

    #[test]
    fn a_claim_that_is_no_slot_of_the_schedule_any_more_is_taken_back() {
        let job = active("job", "schedule: '*/5 * * * *'", "2026-01-10T10:00:00Z");
        let slots = ["2026-01-10T10:32:31Z", "2026-01-10T10:35:00Z"];
        let runs = slots.map(|slot| left(&job, 1, slot, "2026-01-10T10:30:00Z", RunStatus::Queued));
        let claimed: Vec<SlotRecord> = runs
            .iter()
            .map(|detail| claim_of(&detail.run, detail.run.slot.expect("of a slot"), &job.job))
            .collect();
        let desk = desk(&job, "2026-01-10T10:30:00Z", &slots, runs.into());
        let batches = ask(at("2026-01-10T10:31:00Z"), |around| desk.recover(&claimed, around));
        let batches = batches.expect("nothing is read");
        let changes: Vec<&Change> = batches.iter().flat_map(|batch| &batch.changes).collect();
        assert!(
            matches!(&changes[..], [Change::Unclaim { at: slot, .. }] if *slot == at(slots[0])),
            "{changes:?}"
        );
    }

    #[test]
    fn nothing_is_replaced_while_late_slots_wait_even_if_the_clock_was_put_back_behind_them() {
        let yaml = "overlap: replace\nschedule: {cron: '*/5 * * * *', misfire: {policy: all, grace: 1s}}";
        let job = active("job", yaml, "2026-01-10T10:00:00Z");
        let unfinished = vec![
            left(
                &job,
                1,
                "2026-01-10T14:05:00Z",
                "2026-01-10T14:05:00Z",
                RunStatus::Running,
            ),
            left(
                &job,
                2,
                "2026-01-10T13:15:00Z",
                "2026-01-10T17:02:44Z",
                RunStatus::Queued,
            ),
            left(
                &job,
                3,
                "2026-01-10T14:10:00Z",
                "2026-01-10T14:10:00Z",
                RunStatus::Queued,
            ),
        ];
        let desk = desk(&job, "2026-01-10T14:10:00Z", &[], unfinished);
        let looked = ask(at("2026-01-10T14:11:00Z"), |around| desk.look_at(&job.job.id, around));
        let batch = looked.expect("nothing is read").expect("both say what they wait for");
        assert_eq!(batch.orders, []);
    }
}
