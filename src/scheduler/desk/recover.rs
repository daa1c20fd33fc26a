//! What a Petit that died left behind: slots that were claimed and whose run never started.
//!
//! Such a slot is recorded, so no tick will see it again; it is a late slot all the same, and is judged by the same policy as
//! those that nobody recorded. One that waited for its turn or for other jobs, and still has to, goes on waiting.

use std::collections::BTreeMap;

use super::{Around, Batch, Desk, Going, admit::newcomer};
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
            // A claim ahead of its instant that no tick will come upon.
            if self.claims.contains_key(&(slot.job.clone(), slot.at)) {
                let held = self
                    .jobs
                    .get(&slot.job)
                    .is_none_or(|entry| entry.timeline.hold.is_some());
                if held {
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
        let newer = due(timeline, now, now, &around.presence).is_some_and(|due| !due.starts.is_empty());
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
