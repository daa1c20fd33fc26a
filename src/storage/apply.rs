//! What each change does to the rows, and which fact it is: the one place that says so, for every backend.
//!
//! [`commit`] walks a list of changes over the [`Rows`] of a backend. It stops at the first that is refused; undoing what came
//! before is the backend's part, which alone knows how. Nothing here knows SQL or locks, and time comes in as an argument.

use super::{Change, StorageError, precision};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{
            ActiveRecord, AttemptRecord, PauseRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord,
            StretchRecord, SupersedeRecord, TaskRecord,
        },
        state::RunStatus,
    },
    events::Fact,
};

/// Applies `changes` in their order, and appends the facts they are, dated `now`. They are borrowed, so that a backend can
/// undo and apply them again.
pub(super) fn commit(rows: &mut impl Rows, changes: &[Change], now: Timestamp) -> Result<(), StorageError> {
    let now = precision::to_micros(now);
    for change in changes {
        let mut change = change.clone();
        precision::cut(&mut change);
        if let Some(fact) = apply(rows, change, now)? {
            rows.append_fact(now, &fact)?;
        }
    }
    Ok(())
}

/// The rows of a backend, inside a transaction that is still open.
///
/// The inserting methods that answer with a `bool` say whether the row is new; one that is there already stays as it is. The
/// updating ones are called only for rows that were read before in the same transaction.
pub(super) trait Rows {
    fn insert_spec(&mut self, spec: &SpecRecord) -> Result<bool, StorageError>;
    fn has_spec(&mut self, hash: &SpecHash) -> Result<bool, StorageError>;

    /// Inserts or replaces; the job is not among the removed any more.
    fn put_active(&mut self, active: &ActiveRecord) -> Result<(), StorageError>;
    /// Moves the row, if there is one, to the removed.
    fn remove_active(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError>;
    /// Replaces all.
    fn set_held(&mut self, jobs: &[JobId]) -> Result<(), StorageError>;
    fn insert_reconcile(&mut self, reconcile: &ReconcileRecord) -> Result<(), StorageError>;

    fn insert_slot(&mut self, slot: &SlotRecord) -> Result<bool, StorageError>;
    fn slot(&mut self, job: &JobId, at: Timestamp) -> Result<Option<SlotRecord>, StorageError>;
    /// Writes what a decision changes: outcome, reason, detail, decided_at.
    fn update_slot(&mut self, slot: &SlotRecord) -> Result<(), StorageError>;
    fn remove_slot(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError>;
    fn insert_stretch(&mut self, stretch: &StretchRecord) -> Result<(), StorageError>;
    /// Removes the decided slots after an instant that did not run.
    fn remove_slots(&mut self, job: &JobId, after: Timestamp) -> Result<(), StorageError>;
    /// Removes the stretches that reach beyond an instant.
    fn remove_stretches(&mut self, job: &JobId, after: Timestamp) -> Result<(), StorageError>;
    /// Moves back, if it is there and lies beyond.
    fn lower_watermark(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError>;
    /// Inserts, or moves forward; never back.
    fn raise_watermark(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError>;

    fn insert_run(&mut self, run: &RunRecord) -> Result<bool, StorageError>;
    fn run(&mut self, run: RunId) -> Result<Option<RunRecord>, StorageError>;
    /// Removes a run with its tasks.
    fn remove_run(&mut self, run: RunId) -> Result<(), StorageError>;
    /// Writes what happens to a run: status, started_at, ended_at, reason.
    fn update_run(&mut self, run: &RunRecord) -> Result<(), StorageError>;

    /// Inserts behind the run's tasks that are there.
    fn insert_task(&mut self, position: usize, task: &TaskRecord) -> Result<bool, StorageError>;
    fn task(&mut self, run: RunId, task: &TaskId) -> Result<Option<TaskRecord>, StorageError>;
    fn update_task(&mut self, task: &TaskRecord) -> Result<(), StorageError>;

    fn insert_attempt(&mut self, attempt: &AttemptRecord) -> Result<bool, StorageError>;
    fn attempt(&mut self, run: RunId, task: &TaskId, attempt: u32) -> Result<Option<AttemptRecord>, StorageError>;
    fn update_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), StorageError>;

    /// Inserts or replaces.
    fn put_pause(&mut self, pause: &PauseRecord) -> Result<(), StorageError>;
    fn remove_pause(&mut self, job: Option<&JobId>) -> Result<(), StorageError>;

    /// Gives the fact the number after the last one.
    fn append_fact(&mut self, at: Timestamp, fact: &Fact) -> Result<(), StorageError>;
}

fn apply(rows: &mut impl Rows, change: Change, now: Timestamp) -> Result<Option<Fact>, StorageError> {
    match change {
        Change::PutSpec(spec) => Ok(rows.insert_spec(&spec)?.then_some(Fact::Spec(spec))),
        Change::SetActive(active) => {
            require_spec(rows, &active.spec_hash)?;
            rows.put_active(&active)?;
            Ok(None)
        }
        Change::RemoveActive(job) => {
            rows.remove_active(&job, now)?;
            Ok(None)
        }
        Change::SetHeld(jobs) => {
            rows.set_held(&jobs)?;
            Ok(None)
        }
        Change::Reconcile(reconcile) => {
            rows.insert_reconcile(&reconcile)?;
            Ok(Some(Fact::Reconcile(reconcile)))
        }
        Change::PutSlot(slot) => {
            if !rows.insert_slot(&slot)? {
                return Err(StorageError::SlotTaken {
                    job: slot.job,
                    at: slot.at,
                });
            }
            Ok(slot.outcome.is_some().then_some(Fact::Slot(slot)))
        }
        Change::Unclaim { job, at } => {
            let claimed = rows.slot(&job, at)?.filter(|slot| slot.outcome.is_none());
            let claimed = claimed.ok_or_else(|| missing(format!("an undecided slot of `{job}` at {at}")))?;
            if let Some(run) = claimed.run {
                let queued = rows.run(run)?.filter(|run| run.status == RunStatus::Queued);
                queued.ok_or_else(|| missing(format!("a queued run {run}")))?;
                rows.remove_run(run)?;
            }
            rows.remove_slot(&job, at)?;
            Ok(None)
        }
        Change::DecideSlot {
            job,
            at,
            outcome,
            reason,
            detail,
            decided_at,
        } => {
            let claimed = rows.slot(&job, at)?.filter(|slot| slot.outcome.is_none());
            let claimed = claimed.ok_or_else(|| missing(format!("an undecided slot of `{job}` at {at}")))?;
            let slot = SlotRecord {
                outcome: Some(outcome),
                reason,
                detail,
                decided_at: Some(decided_at),
                ..claimed
            };
            rows.update_slot(&slot)?;
            Ok(Some(Fact::Slot(slot)))
        }
        Change::PutStretch(stretch) => {
            rows.insert_stretch(&stretch)?;
            Ok(Some(Fact::Stretch(stretch)))
        }
        Change::SetWatermark { job, at } => {
            rows.raise_watermark(&job, at)?;
            Ok(None)
        }
        Change::Supersede(superseded) => {
            let SupersedeRecord { job, after } = &superseded;
            rows.remove_slots(job, *after)?;
            rows.remove_stretches(job, *after)?;
            rows.lower_watermark(job, *after)?;
            Ok(Some(Fact::Supersede(superseded)))
        }
        Change::CreateRun { run, tasks } => {
            require_spec(rows, &run.spec_hash)?;
            create_run(rows, &run, &tasks)?;
            Ok(None)
        }
        Change::StartRun { run, at } => {
            let run = unfinished_run(rows, run)?;
            let started_at = Some(run.started_at.unwrap_or(at));
            rows.update_run(&RunRecord {
                status: RunStatus::Running,
                started_at,
                reason: None,
                ..run
            })?;
            Ok(None)
        }
        Change::NoteRun { run, reason } => {
            let run = unfinished_run(rows, run)?;
            rows.update_run(&RunRecord { reason, ..run })?;
            Ok(None)
        }
        Change::EndRun {
            run,
            status,
            at,
            reason,
        } => {
            let run = unfinished_run(rows, run)?;
            let run = RunRecord {
                status,
                ended_at: Some(at),
                reason,
                ..run
            };
            rows.update_run(&run)?;
            Ok(Some(Fact::Run(run)))
        }
        Change::SetTask(task) => {
            let was = rows.task(task.run, &task.task)?.filter(|was| !was.state.is_finished());
            was.ok_or_else(|| missing(format!("an unfinished task `{}` of run {}", task.task, task.run)))?;
            rows.update_task(&task)?;
            Ok(task.state.is_finished().then_some(Fact::Task(task)))
        }
        Change::LaunchAttempt(attempt) => {
            insert_attempt(rows, &attempt)?;
            Ok(None)
        }
        Change::StartAttempt {
            run,
            task,
            attempt,
            at,
            pid,
            pid_start,
        } => {
            let launched = rows.attempt(run, &task, attempt)?.filter(|row| row.ended_at.is_none());
            let launched = launched
                .ok_or_else(|| missing(format!("an unfinished attempt {attempt} of task `{task}` of run {run}")))?;
            rows.update_attempt(&AttemptRecord {
                started_at: Some(at),
                pid,
                pid_start,
                ..launched
            })?;
            Ok(None)
        }
        Change::EndAttempt(attempt) => {
            match rows.attempt(attempt.run, &attempt.task, attempt.attempt)? {
                None => insert_attempt(rows, &attempt)?,
                Some(row) if row.ended_at.is_none() => rows.update_attempt(&attempt)?,
                Some(_) => return Err(missing(format!("an unfinished {}", attempt_name(&attempt)))),
            }
            Ok(Some(Fact::Attempt(attempt)))
        }
        Change::Pause(pause) => {
            rows.put_pause(&pause)?;
            Ok(None)
        }
        Change::Resume(job) => {
            rows.remove_pause(job.as_ref())?;
            Ok(None)
        }
    }
}

/// A run and the active set hold on to their version, so that a restart can go on with it.
fn require_spec(rows: &mut impl Rows, hash: &SpecHash) -> Result<(), StorageError> {
    if rows.has_spec(hash)? {
        Ok(())
    } else {
        Err(missing(format!("the spec {hash}")))
    }
}

fn create_run(rows: &mut impl Rows, run: &RunRecord, tasks: &[TaskRecord]) -> Result<(), StorageError> {
    if !rows.insert_run(run)? {
        return Err(StorageError::Exists {
            what: format!("run {}", run.id),
        });
    }
    for (position, task) in tasks.iter().enumerate() {
        if task.run != run.id {
            return Err(missing(format!(
                "run {} of task `{}`, in its own list of tasks,",
                task.run, task.task
            )));
        }
        if !rows.insert_task(position, task)? {
            return Err(StorageError::Exists {
                what: format!("task `{}` of run {}", task.task, run.id),
            });
        }
    }
    Ok(())
}

fn insert_attempt(rows: &mut impl Rows, attempt: &AttemptRecord) -> Result<(), StorageError> {
    if rows.task(attempt.run, &attempt.task)?.is_none() {
        return Err(missing(format!("task `{}` of run {}", attempt.task, attempt.run)));
    }
    if rows.insert_attempt(attempt)? {
        Ok(())
    } else {
        Err(StorageError::Exists {
            what: attempt_name(attempt),
        })
    }
}

fn unfinished_run(rows: &mut impl Rows, id: RunId) -> Result<RunRecord, StorageError> {
    let run = rows.run(id)?.filter(|run| !run.status.is_finished());
    run.ok_or_else(|| missing(format!("an unfinished run {id}")))
}

fn attempt_name(attempt: &AttemptRecord) -> String {
    format!(
        "attempt {} of task `{}` of run {}",
        attempt.attempt, attempt.task, attempt.run
    )
}

fn missing(what: String) -> StorageError {
    StorageError::Missing { what }
}
