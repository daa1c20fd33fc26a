//! What a decision comes to: changes for the journal, and what may happen once they are committed.
//!
//! The rows of slots that do not run, and of runs that end before they started, are written here and nowhere else in this
//! room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::claim::Claim;
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, TaskId},
        job::Job,
        record::{RunRecord, SlotRecord, StretchRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, SlotReason, TaskState},
    },
    events::Event,
    scheduler::backlog::{Fate, Passed},
    storage::Change,
};

/// What the executor is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Start a run that the journal has as queued.
    Start {
        /// The run.
        run: Box<RunRecord>,
        /// The version of the job that it is bound to.
        job: Arc<Job>,
        /// Its tasks that ended in an earlier run, of which it is a retry; none of any other run.
        reused: Vec<TaskRecord>,
    },
    /// End a run.
    Cancel {
        /// The run.
        run: RunId,
        /// Why, in words.
        reason: String,
        /// Why its slot did not run, should none of its tasks have started yet; somebody's wish has no name of its own.
        unstarted: SlotReason,
    },
}

/// Decisions that belong together: one transaction, then the orders.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// For the journal.
    pub changes: Vec<Change>,
    /// For the executor, once the changes are committed.
    pub orders: Vec<Order>,
    /// For whoever listens, likewise.
    pub events: Vec<Event>,
    /// The version that each run which is made here is bound to; the journal has its hash only.
    pub bound: BTreeMap<RunId, Arc<Job>>,
    /// Slots that are claimed here ahead of their instant.
    pub(super) claims: BTreeMap<(JobId, Timestamp), Claim>,
    /// Whether all that must be recorded before the orders go out is so already: they need not wait for the changes, and the
    /// batch takes effect even if these fail.
    pub recorded: bool,
    /// Of jobs that start again because the clock was put back, or that lose a slot before its instant: their slots ahead
    /// that are decided already.
    pub taken: BTreeMap<JobId, BTreeSet<Timestamp>>,
    /// Runs that were left unstarted and turn out to make up for late slots.
    pub(super) made_up: BTreeSet<(JobId, RunId)>,
    /// Until when runs may wait that have waited for their turn and now wait for other jobs. Not recorded, since a restart
    /// finds the same.
    pub(super) waits: BTreeMap<(JobId, RunId), Timestamp>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.orders.is_empty() && self.made_up.is_empty() && self.waits.is_empty()
    }

    /// Leaves out a slot that turned out to be recorded already, and the run that was to be started for it.
    pub fn leave_out(&mut self, job: &JobId, at: Timestamp) {
        let mut run = None;
        self.changes.retain(|change| match change {
            Change::PutSlot(slot) if slot.job == *job && slot.at == at => {
                run = slot.run;
                false
            }
            _ => true,
        });
        let Some(run) = run else { return };
        self.changes
            .retain(|change| !matches!(change, Change::CreateRun { run: made, .. } if made.id == run));
        self.orders
            .retain(|order| !matches!(order, Order::Start { run: started, .. } if started.id == run));
        self.claims.retain(|_, claim| claim.run.id != run);
        self.events.clear();
        for change in &mut self.changes {
            if let Change::PutStretch(StretchRecord { run: into, .. }) | Change::PutSlot(SlotRecord { run: into, .. }) =
                change
                && *into == Some(run)
            {
                *into = None;
            }
        }
    }

    /// Records slots that do not run: a stretch is one row, a single slot is a slot's row. `run` is what stands for slots
    /// that are merged.
    pub(super) fn pass(&mut self, job: &Job, passed: &Passed, run: Option<RunId>, now: Timestamp) {
        let (fate, run) = match (passed.fate, run) {
            (Fate::Merged(absence), None) => (Fate::Missed(absence), None),
            (Fate::Merged(_), Some(run)) => (passed.fate, Some(run)),
            (Fate::TooOld | Fate::Missed(_) | Fate::OverLimit | Fate::Skipped(_), _) => (passed.fate, None),
        };
        let (outcome, reason) = fate.row();
        if passed.slots == 1 {
            self.put_slot(SlotRecord {
                job: job.id.clone(),
                at: passed.from,
                outcome: Some(outcome),
                reason: Some(reason),
                detail: None,
                decided_at: Some(now),
                run,
                spec_hash: job.hash.clone(),
            });
        } else {
            self.changes.push(Change::PutStretch(StretchRecord {
                job: job.id.clone(),
                from: passed.from,
                to: passed.to,
                slots: passed.slots,
                outcome,
                reason,
                run,
                decided_at: now,
                spec_hash: job.hash.clone(),
            }));
        }
    }

    pub(super) fn put_slot(&mut self, slot: SlotRecord) {
        if slot.outcome.is_some() {
            self.events.push(Event::Slot(slot.clone()));
        }
        self.changes.push(Change::PutSlot(slot));
    }

    /// Ends a run that never started, and decides its slot if it has one.
    pub(super) fn end_waiting(
        &mut self,
        run: &RunRecord,
        bound: &Job,
        reused: &[TaskRecord],
        (outcome, reason): (SlotOutcome, SlotReason),
        detail: &str,
        now: Timestamp,
    ) {
        let tasks = tasks_of(bound, run.id, reused).into_iter();
        for mut task in tasks.filter(|task| !task.state.is_finished()) {
            task.state = TaskState::Cancelled;
            task.reason = Some(detail.to_owned());
            self.changes.push(Change::SetTask(task));
        }
        if let Some(at) = run.slot {
            let slot = SlotRecord {
                job: run.job.clone(),
                at,
                outcome: Some(outcome),
                reason: Some(reason),
                detail: Some(detail.to_owned()),
                decided_at: Some(now),
                run: Some(run.id),
                spec_hash: run.spec_hash.clone(),
            };
            self.changes.push(Change::DecideSlot {
                job: slot.job.clone(),
                at,
                outcome,
                reason: slot.reason,
                detail: slot.detail.clone(),
                decided_at: now,
            });
            self.events.push(Event::Slot(slot));
        }
        self.end_run(run, RunStatus::Cancelled, detail, now);
    }

    pub(super) fn end_run(&mut self, run: &RunRecord, status: RunStatus, detail: &str, now: Timestamp) {
        self.changes.push(Change::EndRun {
            run: run.id,
            status,
            at: now,
            reason: Some(detail.to_owned()),
        });
        self.events.push(Event::Run {
            at: now,
            run: run.id,
            job: run.job.clone(),
            status,
        });
    }
}

/// The tasks of a run as they stand when it is created, in the order of the job's file.
pub(super) fn tasks_of(job: &Job, run: RunId, reused: &[TaskRecord]) -> Vec<TaskRecord> {
    let mut reused: HashMap<&TaskId, &TaskRecord> = reused.iter().map(|task| (&task.task, task)).collect();
    let tasks = TaskRecord::of_new_run(job, run).into_iter();
    tasks
        .map(|new| reused.remove(&new.task).cloned().unwrap_or(new))
        .collect()
}
