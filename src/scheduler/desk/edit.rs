//! What a new active set, a pause or its end does to jobs: slots that waited are let go, and a stretch that was held is
//! recorded as one row.

use std::sync::Arc;

use super::{Batch, Desk, Entry, Order, Phase, hold};
use crate::{
    core::{
        Timestamp,
        active::ActiveSet,
        id::JobId,
        record::PauseRecord,
        state::{SlotOutcome, SlotReason},
    },
    scheduler::{backlog::Hold, due::Timeline},
    storage::Change,
};

impl Desk {
    /// What a new active set means for the jobs that it changes: a batch for each. The slots that were due until now must
    /// have been decided before ([`Desk::tick`]), because they are judged by the version that goes; afterwards comes
    /// [`Desk::swap`].
    pub fn edit(&self, new: &ActiveSet, now: Timestamp) -> Vec<Batch> {
        let mut batches = Vec::new();
        for (id, entry) in &self.jobs {
            let old = &entry.timeline;
            let mut batch = Batch::default();
            match new.get(id) {
                Some(same) if Arc::ptr_eq(same, &old.active) => continue,
                None => {
                    self.withdraw(&mut batch, id, Timestamp::MAX_UTC);
                    let_go(self, &mut batch, id, SlotReason::Removed, "the job was removed", now);
                    let reason = old.hold.map_or(SlotReason::Removed, Hold::reason);
                    skip_until(&mut batch, old, now, reason, now);
                }
                Some(newer) => {
                    self.withdraw(&mut batch, id, Timestamp::MAX_UTC);
                    let next = hold(newer, &self.pauses);
                    if next == Some(Hold::Disabled) {
                        let_go(self, &mut batch, id, SlotReason::Disabled, "the job was disabled", now);
                    }
                    let another_schedule = newer.record.scheduled_since > old.active.record.scheduled_since;
                    match old.hold {
                        Some(hold) if another_schedule || next != old.hold => {
                            skip_until(&mut batch, old, old.ends(new, now), hold.reason(), now);
                        }
                        // What is left of the old schedule are slots whose jitter has not passed.
                        None if another_schedule => {
                            skip_until(&mut batch, old, old.ends(new, now), SlotReason::Removed, now);
                        }
                        Some(_) | None => {}
                    }
                }
            }
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        batches
    }

    /// Puts a new active set in place of the old one. Jobs that it leaves alone are not touched.
    pub fn swap(&mut self, new: &ActiveSet) {
        let gone: Vec<JobId> = self.jobs.keys().filter(|id| !new.contains_key(*id)).cloned().collect();
        for id in gone {
            self.take_out(&id);
        }
        for (id, active) in new {
            if self
                .jobs
                .get(id)
                .is_some_and(|entry| Arc::ptr_eq(&entry.timeline.active, active))
            {
                continue;
            }
            self.take_out(id);
            for dependency in &active.job.spec.depends_on {
                self.dependents
                    .entry(dependency.job.clone())
                    .or_default()
                    .insert(id.clone());
            }
            let timeline = Timeline {
                active: Arc::clone(active),
                watermark: None,
                taken: Arc::default(),
                hold: None,
            };
            self.jobs.insert(id.clone(), Entry { timeline, next: None });
            self.reschedule(id);
            self.stirred.insert(id.clone());
            self.stir_dependents(id);
        }
    }

    /// Pauses a job, or everything.
    pub fn pause(&self, pause: PauseRecord) -> Batch {
        let mut batch = Batch::default();
        let by = &pause.by;
        let what = if pause.job.is_some() { "the job" } else { "everything" };
        let detail = match &pause.reason {
            Some(reason) => format!("{what} was paused by {by}: {reason}"),
            None => format!("{what} was paused by {by}"),
        };
        for id in self.affected(pause.job.as_ref()) {
            self.withdraw(&mut batch, &id, Timestamp::MAX_UTC);
            let_go(self, &mut batch, &id, SlotReason::Paused, &detail, pause.since);
        }
        batch.changes.push(Change::Pause(pause));
        batch
    }

    /// Ends a pause, if there is one. What it held back is recorded, and nothing of it starts.
    pub fn resume(&self, job: Option<&JobId>, now: Timestamp) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut left = self.pauses.clone();
        left.remove(&job.cloned())?;
        for id in self.affected(job) {
            if let Some(entry) = self.jobs.get(&id)
                && hold(&entry.timeline.active, &left) != entry.timeline.hold
            {
                let reason = entry.timeline.hold.map_or(SlotReason::Paused, Hold::reason);
                skip_until(&mut batch, &entry.timeline, now, reason, now);
            }
        }
        batch.changes.push(Change::Resume(job.cloned()));
        Some(batch)
    }

    fn take_out(&mut self, id: &JobId) {
        let Some(old) = self.jobs.remove(id) else { return };
        if let Some(next) = old.next {
            self.agenda.remove(&(next, id.clone()));
        }
        for dependency in &old.timeline.active.job.spec.depends_on {
            if let Some(dependents) = self.dependents.get_mut(&dependency.job) {
                dependents.remove(id);
            }
        }
        self.stir_dependents(id);
    }
}

/// Ends every run of a job that none of its tasks has started for. Runs by hand stay: a pause does not stop them, and
/// those of a job that is removed finish.
fn let_go(desk: &Desk, batch: &mut Batch, job: &JobId, reason: SlotReason, detail: &str, now: Timestamp) {
    for going in desk.runs.get(job).into_iter().flat_map(|runs| runs.values()) {
        if going.has_started() || going.record.trigger.is_by_hand() {
            continue;
        }
        match &going.phase {
            Phase::Waiting(bound) => {
                batch.end_waiting(
                    &going.record,
                    bound,
                    &going.reused,
                    (SlotOutcome::Skipped, reason),
                    detail,
                    now,
                );
            }
            Phase::Ordered | Phase::Running => batch.orders.push(Order::Cancel {
                run: going.record.id,
                reason: detail.to_owned(),
                unstarted: reason,
            }),
        }
    }
}

/// Records the slots that are left up to an instant as skipped, as one row. The watermark moves there even if there were
/// none, because what follows is counted from there: also what a job without a schedule is owed by others.
fn skip_until(batch: &mut Batch, timeline: &Timeline, until: Timestamp, reason: SlotReason, now: Timestamp) {
    let job = &timeline.active.job;
    if let Some(passed) = timeline.skipped_until(until, reason) {
        batch.pass(job, &passed, None, now);
    }
    batch.changes.push(Change::SetWatermark {
        job: job.id.clone(),
        at: until,
    });
}
