//! What a Petit that died left behind: slots that were claimed and whose run never started.
//!
//! Such a slot is recorded, so no tick will see it again; it is a late slot all the same, and is judged by the same policy as
//! those that nobody recorded. One that waited for its turn or for other jobs, and still has to, goes on waiting.

use std::collections::{BTreeMap, BTreeSet};

use super::{Around, Batch, Desk, Going, Phase, admit::newcomer};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
        job::Job,
        record::{SlotRecord, TaskRecord},
        spec::{MisfirePolicy, MisfireSpec},
        state::{RunStatus, SlotOutcome, SlotReason, TaskState, Trigger},
    },
    scheduler::{
        backlog::{Fate, Late, late},
        due::due,
        gate::{Verdict, gate},
        series::Series,
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
        for (job, runs) in &self.runs {
            let mut batch = Batch::default();
            self.recover_job(&mut batch, job, runs, around)?;
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    fn recover_job(
        &self,
        batch: &mut Batch,
        id: &JobId,
        runs: &BTreeMap<RunId, Going>,
        around: &Around<'_>,
    ) -> Result<(), StorageError> {
        let now = around.now;
        let mut free: Vec<(&Going, &Job)> = Vec::new();
        for going in runs.values().filter(|going| going.record.trigger != Trigger::Manual) {
            let Phase::Waiting(bound) = &going.phase else { continue };
            let mut end = |reason, detail| {
                batch.end_waiting(&going.record, bound, (SlotOutcome::Skipped, reason), detail, now);
            };
            match self.jobs.get(id).map(|entry| entry.timeline.hold) {
                None => end(SlotReason::Removed, "the job was removed"),
                Some(Some(hold)) => end(hold.reason(), "the job was paused or disabled before its run started"),
                Some(None) => {
                    let upstreams = self.upstreams(bound, &BTreeSet::new(), around)?;
                    let verdict = gate(
                        &bound.spec,
                        &newcomer(&going.record, true),
                        &self.ahead_of(&going.record),
                        &upstreams,
                        now,
                    );
                    match verdict {
                        Verdict::Wait { .. } | Verdict::Queue { .. } => {}
                        Verdict::Start | Verdict::Skip { .. } | Verdict::Replace { .. } => free.push((going, bound)),
                    }
                }
            }
        }
        free.retain(|(going, _)| going.record.slot.is_some());
        free.sort_by_key(|(going, _)| going.record.slot);
        let Some(entry) = self.jobs.get(id) else { return Ok(()) };
        let Some(series) = Series::of(&entry.timeline.active) else {
            return Ok(());
        };
        let misfire = entry
            .timeline
            .active
            .job
            .spec
            .schedule
            .as_ref()
            .map_or_else(MisfireSpec::default, |s| s.misfire);
        let newer = due(&entry.timeline, now, now).is_some_and(|due| due.start.is_some());
        let latest = free.len().checked_sub(1).filter(|_| !newer);
        for (position, (going, bound)) in free.into_iter().enumerate() {
            let Some(slot) = going.record.slot else { continue };
            let fate = match (late(series.start_of(slot), slot, now, &misfire), misfire.policy) {
                (Late::OnTime, _) if latest == Some(position) => continue,
                (Late::TooOld, _) => Fate::TooOld,
                (Late::OnTime | Late::InWindow, MisfirePolicy::Skip) => Fate::Missed,
                (Late::OnTime | Late::InWindow, MisfirePolicy::Once | MisfirePolicy::All) => {
                    if latest == Some(position) {
                        continue;
                    }
                    Fate::Merged
                }
            };
            let (outcome, reason) = fate.row();
            batch.end_waiting(&going.record, bound, (outcome, reason), CLAIMED_ONLY, now);
        }
        Ok(())
    }
}
