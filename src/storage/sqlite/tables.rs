//! Records as rows: how each table is written, and how any of them is asked.
//!
//! What a change means is not known here; see `apply`, to which these are the [`Rows`].

use std::path::Path;

use rusqlite::{Connection, Error, OptionalExtension, Params, Row, named_params, params};

use super::{
    super::{StorageError, apply::Rows, ending_parts},
    rows,
    values::{Count, Json, Micros},
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{
            ActiveRecord, AttemptRecord, PauseRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord,
            StretchRecord, TaskRecord,
        },
        state::SlotOutcome,
    },
    events::Fact,
};

/// The tables of an open file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl<'a> Tables<'a> {
    pub(super) fn new(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path }
    }

    /// Whether no transaction is open any more.
    pub(super) fn is_over(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Carries out a statement and says how many rows it changed.
    pub(super) fn write(&self, sql: &str, params: impl Params) -> Result<usize, StorageError> {
        let run = || self.connection.prepare_cached(sql)?.execute(params);
        run().map_err(|source| StorageError::database("write to", self.path, source))
    }

    /// The first row of a query over `table`.
    pub(super) fn first<T>(
        &self,
        table: &'static str,
        sql: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StorageError> {
        let run = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        run().map_err(|source| self.unread(table, source))
    }

    /// Every row of a query over `table`.
    pub(super) fn all<T>(
        &self,
        table: &'static str,
        sql: &str,
        params: impl Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StorageError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(params, read)?.collect::<rusqlite::Result<_>>()
        };
        run().map_err(|source| self.unread(table, source))
    }

    /// Tells a row that is not what it should be from a database that could not be asked.
    fn unread(&self, table: &'static str, source: Error) -> StorageError {
        let is_row = matches!(
            source,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
                | Error::InvalidColumnName(_)
                | Error::Utf8Error(..)
        );
        if is_row {
            StorageError::Damaged {
                path: self.path.to_owned(),
                table,
                problem: source.to_string(),
            }
        } else {
            StorageError::database("read", self.path, source)
        }
    }
}

impl Rows for Tables<'_> {
    fn insert_spec(&mut self, spec: &SpecRecord) -> Result<bool, StorageError> {
        let SpecRecord {
            hash,
            job,
            canonical,
            yaml,
            first_seen,
        } = spec;
        let inserted = self.write(
            "INSERT INTO specs (hash, job, canonical, yaml, first_seen) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            params![hash, job, canonical, yaml, Micros(*first_seen)],
        )?;
        Ok(inserted == 1)
    }

    fn has_spec(&mut self, hash: &SpecHash) -> Result<bool, StorageError> {
        Ok(self
            .first("specs", "SELECT 1 FROM specs WHERE hash = ?", [hash], |_| Ok(()))?
            .is_some())
    }

    fn put_active(&mut self, active: &ActiveRecord) -> Result<(), StorageError> {
        let ActiveRecord {
            job,
            file,
            spec_hash,
            generation,
            applied_at,
            anchor,
            scheduled_since,
        } = active;
        self.write(
            "INSERT OR REPLACE INTO active (job, file, spec_hash, generation, applied_at, anchor, scheduled_since)
             VALUES (:job, :file, :spec_hash, :generation, :applied_at, :anchor, :scheduled_since)",
            named_params! {
                ":job": job,
                ":file": file,
                ":spec_hash": spec_hash,
                ":generation": Count(*generation),
                ":applied_at": Micros(*applied_at),
                ":anchor": Micros(*anchor),
                ":scheduled_since": Micros(*scheduled_since),
            },
        )?;
        self.write("DELETE FROM removed WHERE job = ?", [job])?;
        Ok(())
    }

    fn remove_active(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        self.write(
            "INSERT OR REPLACE INTO removed
                 (job, file, spec_hash, generation, applied_at, anchor, scheduled_since, removed_at)
             SELECT job, file, spec_hash, generation, applied_at, anchor, scheduled_since, :at FROM active WHERE job = :job",
            named_params! { ":job": job, ":at": Micros(at) },
        )?;
        self.write("DELETE FROM active WHERE job = ?", [job])?;
        Ok(())
    }

    fn set_held(&mut self, jobs: &[JobId]) -> Result<(), StorageError> {
        self.write("DELETE FROM held", [])?;
        for job in jobs {
            self.write("INSERT OR IGNORE INTO held (job) VALUES (?)", [job])?;
        }
        Ok(())
    }

    fn insert_reconcile(&mut self, reconcile: &ReconcileRecord) -> Result<(), StorageError> {
        let ReconcileRecord {
            at,
            actor,
            by,
            plan_id,
            result,
            actions,
            files,
            revision,
            old_set,
            new_set,
            duration_ms,
        } = reconcile;
        self.write(
            "INSERT INTO reconciles (at, actor, asked_by, plan_id, result, actions, files, revision, old_set, new_set,
                                     duration_ms)
             VALUES (:at, :actor, :asked_by, :plan_id, :result, :actions, :files, :revision, :old_set, :new_set,
                     :duration_ms)",
            named_params! {
                ":at": Micros(*at),
                ":actor": actor,
                ":asked_by": by,
                ":plan_id": plan_id,
                ":result": result,
                ":actions": Json(actions),
                ":files": Json(files),
                ":revision": revision,
                ":old_set": old_set,
                ":new_set": new_set,
                ":duration_ms": Count(*duration_ms),
            },
        )?;
        Ok(())
    }

    fn insert_slot(&mut self, slot: &SlotRecord) -> Result<bool, StorageError> {
        let SlotRecord {
            job,
            at,
            outcome,
            reason,
            detail,
            decided_at,
            run,
            spec_hash,
        } = slot;
        let inserted = self.write(
            "INSERT INTO slots (job, at, outcome, reason, detail, decided_at, run, spec_hash)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            params![
                job,
                Micros(*at),
                outcome,
                reason,
                detail,
                decided_at.map(Micros),
                run,
                spec_hash
            ],
        )?;
        Ok(inserted == 1)
    }

    fn slot(&mut self, job: &JobId, at: Timestamp) -> Result<Option<SlotRecord>, StorageError> {
        self.first(
            "slots",
            "SELECT * FROM slots WHERE job = ? AND at = ?",
            params![job, Micros(at)],
            rows::slot,
        )
    }

    fn update_slot(&mut self, slot: &SlotRecord) -> Result<(), StorageError> {
        let SlotRecord {
            job,
            at,
            outcome,
            reason,
            detail,
            decided_at,
            ..
        } = slot;
        self.write(
            "UPDATE slots SET outcome = ?, reason = ?, detail = ?, decided_at = ? WHERE job = ? AND at = ?",
            params![outcome, reason, detail, decided_at.map(Micros), job, Micros(*at)],
        )?;
        Ok(())
    }

    fn remove_slot(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        self.write("DELETE FROM slots WHERE job = ? AND at = ?", params![job, Micros(at)])?;
        Ok(())
    }

    fn insert_stretch(&mut self, stretch: &StretchRecord) -> Result<(), StorageError> {
        let StretchRecord {
            job,
            from,
            to,
            slots,
            outcome,
            reason,
            run,
            decided_at,
            spec_hash,
        } = stretch;
        self.write(
            "INSERT INTO stretches (job, first_at, last_at, slots, outcome, reason, run, decided_at, spec_hash)
             VALUES (:job, :first_at, :last_at, :slots, :outcome, :reason, :run, :decided_at, :spec_hash)",
            named_params! {
                ":job": job,
                ":first_at": Micros(*from),
                ":last_at": Micros(*to),
                ":slots": Count(*slots),
                ":outcome": outcome,
                ":reason": reason,
                ":run": run,
                ":decided_at": Micros(*decided_at),
                ":spec_hash": spec_hash,
            },
        )?;
        Ok(())
    }

    fn remove_slots(&mut self, job: &JobId, after: Timestamp) -> Result<(), StorageError> {
        self.write(
            "DELETE FROM slots WHERE job = ? AND at > ? AND outcome <> ?",
            params![job, Micros(after), SlotOutcome::Ran],
        )?;
        Ok(())
    }

    fn remove_stretches(&mut self, job: &JobId, after: Timestamp) -> Result<(), StorageError> {
        self.write(
            "DELETE FROM stretches WHERE job = ? AND last_at > ?",
            params![job, Micros(after)],
        )?;
        Ok(())
    }

    fn lower_watermark(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        self.write(
            "UPDATE watermarks SET at = ?2 WHERE job = ?1 AND at > ?2",
            params![job, Micros(at)],
        )?;
        Ok(())
    }

    fn raise_watermark(&mut self, job: &JobId, at: Timestamp) -> Result<(), StorageError> {
        self.write(
            "INSERT INTO watermarks (job, at) VALUES (?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            params![job, Micros(at)],
        )?;
        Ok(())
    }

    fn insert_run(&mut self, run: &RunRecord) -> Result<bool, StorageError> {
        let inserted = self.write(
            "INSERT INTO runs (id, job, status, trigger, slot, scheduled_at, spec_hash, revision, created_at, started_at,
                               ended_at, params, consumed, retry_of, wait_until, reason)
             VALUES (:id, :job, :status, :trigger, :slot, :scheduled_at, :spec_hash, :revision, :created_at, :started_at,
                     :ended_at, :params, :consumed, :retry_of, :wait_until, :reason) ON CONFLICT DO NOTHING",
            named_params! {
                ":id": run.id,
                ":job": run.job,
                ":status": run.status,
                ":trigger": run.trigger,
                ":slot": run.slot.map(Micros),
                ":scheduled_at": Micros(run.scheduled_at),
                ":spec_hash": run.spec_hash,
                ":revision": run.revision,
                ":created_at": Micros(run.created_at),
                ":started_at": run.started_at.map(Micros),
                ":ended_at": run.ended_at.map(Micros),
                ":params": Json(&run.params),
                ":consumed": Json(&run.consumed),
                ":retry_of": run.retry_of,
                ":wait_until": run.wait_until.map(Micros),
                ":reason": run.reason,
            },
        )?;
        Ok(inserted == 1)
    }

    fn run(&mut self, id: RunId) -> Result<Option<RunRecord>, StorageError> {
        self.first("runs", "SELECT * FROM runs WHERE id = ?", [id], rows::run)
    }

    fn remove_run(&mut self, run: RunId) -> Result<(), StorageError> {
        self.write("DELETE FROM runs WHERE id = ?", [run])?;
        Ok(())
    }

    fn update_run(&mut self, run: &RunRecord) -> Result<(), StorageError> {
        let RunRecord {
            id,
            status,
            started_at,
            ended_at,
            reason,
            ..
        } = run;
        self.write(
            "UPDATE runs SET status = ?, started_at = ?, ended_at = ?, reason = ? WHERE id = ?",
            params![status, started_at.map(Micros), ended_at.map(Micros), reason, id],
        )?;
        Ok(())
    }

    fn insert_task(&mut self, position: usize, task: &TaskRecord) -> Result<bool, StorageError> {
        let TaskRecord {
            run,
            task,
            state,
            attempts,
            retry_at,
            outputs,
            reason,
            reused_from,
        } = task;
        let inserted = self.write(
            "INSERT INTO tasks (run, task, position, state, attempts, retry_at, outputs, reason, reused_from)
             VALUES (:run, :task, :position, :state, :attempts, :retry_at, :outputs, :reason, :reused_from)
             ON CONFLICT DO NOTHING",
            named_params! {
                ":run": run,
                ":task": task,
                ":position": Count(position as u64),
                ":state": state,
                ":attempts": attempts,
                ":retry_at": retry_at.map(Micros),
                ":outputs": Json(outputs),
                ":reason": reason,
                ":reused_from": reused_from,
            },
        )?;
        Ok(inserted == 1)
    }

    fn task(&mut self, run: RunId, id: &TaskId) -> Result<Option<TaskRecord>, StorageError> {
        self.first(
            "tasks",
            "SELECT * FROM tasks WHERE run = ? AND task = ?",
            params![run, id],
            rows::task,
        )
    }

    fn update_task(&mut self, task: &TaskRecord) -> Result<(), StorageError> {
        let TaskRecord {
            run,
            task,
            state,
            attempts,
            retry_at,
            outputs,
            reason,
            reused_from,
        } = task;
        self.write(
            "UPDATE tasks SET state = :state, attempts = :attempts, retry_at = :retry_at, outputs = :outputs,
                              reason = :reason, reused_from = :reused_from
             WHERE run = :run AND task = :task",
            named_params! {
                ":state": state,
                ":attempts": attempts,
                ":retry_at": retry_at.map(Micros),
                ":outputs": Json(outputs),
                ":reason": reason,
                ":reused_from": reused_from,
                ":run": run,
                ":task": task,
            },
        )?;
        Ok(())
    }

    fn insert_attempt(&mut self, attempt: &AttemptRecord) -> Result<bool, StorageError> {
        let inserted = self.write_attempt(
            "INSERT INTO attempts (run, task, attempt, queued_at, granted_at, started_at, ended_at, ending, exit_code, signal,
                                   pid, pid_start, cpu_user_ms, cpu_system_ms, max_rss_bytes, bytes_out, error)
             VALUES (:run, :task, :attempt, :queued_at, :granted_at, :started_at, :ended_at, :ending, :exit_code, :signal,
                     :pid, :pid_start, :cpu_user_ms, :cpu_system_ms, :max_rss_bytes, :bytes_out, :error)
             ON CONFLICT DO NOTHING",
            attempt,
        )?;
        Ok(inserted == 1)
    }

    fn attempt(&mut self, run: RunId, task: &TaskId, number: u32) -> Result<Option<AttemptRecord>, StorageError> {
        self.first(
            "attempts",
            "SELECT * FROM attempts WHERE run = ? AND task = ? AND attempt = ?",
            params![run, task, number],
            rows::attempt,
        )
    }

    fn update_attempt(&mut self, attempt: &AttemptRecord) -> Result<(), StorageError> {
        self.write_attempt(
            "UPDATE attempts SET queued_at = :queued_at, granted_at = :granted_at, started_at = :started_at,
                 ended_at = :ended_at, ending = :ending, exit_code = :exit_code, signal = :signal, pid = :pid,
                 pid_start = :pid_start, cpu_user_ms = :cpu_user_ms, cpu_system_ms = :cpu_system_ms,
                 max_rss_bytes = :max_rss_bytes, bytes_out = :bytes_out, error = :error
             WHERE run = :run AND task = :task AND attempt = :attempt",
            attempt,
        )?;
        Ok(())
    }

    fn put_pause(&mut self, pause: &PauseRecord) -> Result<(), StorageError> {
        let PauseRecord { job, since, by, reason } = pause;
        self.remove_pause(job.as_ref())?;
        self.write(
            "INSERT INTO pauses (job, since, paused_by, reason) VALUES (?, ?, ?, ?)",
            params![job, Micros(*since), by, reason],
        )?;
        Ok(())
    }

    fn remove_pause(&mut self, job: Option<&JobId>) -> Result<(), StorageError> {
        self.write("DELETE FROM pauses WHERE job IS ?", [job])?;
        Ok(())
    }

    fn append_fact(&mut self, at: Timestamp, fact: &Fact) -> Result<(), StorageError> {
        const INSERT: &str = "INSERT INTO facts (at, kind, body) VALUES (?, ?, ?)";
        let (at, kind) = (Micros(at), fact.kind());
        match fact {
            Fact::Spec(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Reconcile(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Slot(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Stretch(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Supersede(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Run(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Task(body) => self.write(INSERT, params![at, kind, Json(body)]),
            Fact::Attempt(body) => self.write(INSERT, params![at, kind, Json(body)]),
        }?;
        Ok(())
    }
}

impl Tables<'_> {
    fn write_attempt(&self, sql: &str, attempt: &AttemptRecord) -> Result<usize, StorageError> {
        let (ending, exit_code, signal) = ending_parts(attempt.ending);
        self.write(
            sql,
            named_params! {
                ":run": attempt.run,
                ":task": attempt.task,
                ":attempt": attempt.attempt,
                ":queued_at": Micros(attempt.queued_at),
                ":granted_at": Micros(attempt.granted_at),
                ":started_at": attempt.started_at.map(Micros),
                ":ended_at": attempt.ended_at.map(Micros),
                ":ending": ending,
                ":exit_code": exit_code,
                ":signal": signal,
                ":pid": attempt.pid,
                ":pid_start": attempt.pid_start.map(Count),
                ":cpu_user_ms": attempt.cpu_user_ms.map(Count),
                ":cpu_system_ms": attempt.cpu_system_ms.map(Count),
                ":max_rss_bytes": attempt.max_rss_bytes.map(Count),
                ":bytes_out": attempt.bytes_out.map(Count),
                ":error": attempt.error,
            },
        )
    }
}
