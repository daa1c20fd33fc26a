//! What each fact becomes: one row of the table of its kind, of a task one more for each output, and one for each pool.
//!
//! Facts of attempts and tasks name only their run. Their job, and what the task had asked for, come from the fact of the
//! run when it is at hand, else from the journal, which keeps a run until its facts have been taken in.

use std::{collections::HashMap, sync::Arc};

use duckdb::{Appender, Connection, params};
use serde_json::Value;

use super::{
    schema::TABLES,
    values::{At, big},
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash, TaskId},
        job::Job,
        record::{
            AttemptRecord, PoolsRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord,
            SupersedeRecord, TaskRecord,
        },
        spec::ResourceRequirements,
        state::{SlotOutcome, Trigger},
    },
    events::Fact,
    storage::{NumberedFact, Storage, StorageError, ending_parts},
};

/// What rows of attempts, tasks and outputs say of their run.
#[derive(Clone)]
struct OfRun {
    job: JobId,
    spec_hash: SpecHash,
    trigger: Trigger,
    created_at: Timestamp,
}

impl OfRun {
    fn of(run: &RunRecord) -> Self {
        Self {
            job: run.job.clone(),
            spec_hash: run.spec_hash.clone(),
            trigger: run.trigger,
            created_at: run.created_at,
        }
    }
}

/// What is known of runs and versions beside the facts themselves, remembered for one catch-up.
pub(super) struct Known<'a> {
    journal: &'a dyn Storage,
    runs: HashMap<RunId, Option<OfRun>>,
    jobs: HashMap<SpecHash, Option<Arc<Job>>>,
}

impl<'a> Known<'a> {
    pub fn new(journal: &'a dyn Storage) -> Self {
        Self {
            journal,
            runs: HashMap::new(),
            jobs: HashMap::new(),
        }
    }

    /// Learns of the runs whose facts are at hand, so that the journal need not be asked for them. Runs of earlier facts
    /// have ended and are forgotten.
    pub fn learn(&mut self, facts: &[NumberedFact]) {
        self.runs.clear();
        for fact in facts {
            if let Fact::Run(run) = &fact.fact {
                self.runs.insert(run.id, Some(OfRun::of(run)));
            }
        }
    }

    /// `None` if the journal has lost the run: the row is worth more than the columns.
    fn run(&mut self, run: RunId) -> Result<Option<OfRun>, StorageError> {
        if let Some(known) = self.runs.get(&run) {
            return Ok(known.clone());
        }
        let found = self.journal.run(run)?.map(|detail| OfRun::of(&detail.run));
        self.runs.insert(run, found.clone());
        Ok(found)
    }

    fn resources(&mut self, hash: &SpecHash, task: &TaskId) -> Result<Option<ResourceRequirements>, StorageError> {
        if !self.jobs.contains_key(hash) {
            let spec = self.journal.spec(hash)?;
            // A version that this Petit cannot read any more has still been run; only what it declared stays unknown.
            let job = spec.and_then(|spec| Job::from_canonical(&spec.canonical).ok());
            self.jobs.insert(hash.clone(), job.map(Arc::new));
        }
        let job = self.jobs.get(hash).and_then(Option::as_ref);
        Ok(job.and_then(|job| Some(job.spec.tasks.get(task)?.resources.clone())))
    }
}

/// Why rows could not be appended.
pub(super) enum AppendError {
    Journal(StorageError),
    Database(duckdb::Error),
}

impl From<StorageError> for AppendError {
    fn from(error: StorageError) -> Self {
        Self::Journal(error)
    }
}

impl From<duckdb::Error> for AppendError {
    fn from(error: duckdb::Error) -> Self {
        Self::Database(error)
    }
}

/// Appends the rows of facts, within the transaction that is open on the connection.
pub(super) fn append(
    connection: &Connection,
    journal: &str,
    facts: &[NumberedFact],
    known: &mut Known<'_>,
) -> Result<(), AppendError> {
    let mut tables = Tables::new(connection, journal)?;
    for NumberedFact { number, at, fact } in facts {
        match fact {
            Fact::Spec(spec) => tables.spec(*number, spec)?,
            Fact::Reconcile(reconcile) => tables.reconcile(*number, reconcile)?,
            Fact::Slot(slot) => tables.slot(*number, slot)?,
            Fact::Stretch(stretch) => tables.stretch(*number, stretch)?,
            Fact::Supersede(_) => {}
            Fact::Run(run) => tables.run(*number, run)?,
            Fact::Task(task) => tables.task(*number, *at, task, known)?,
            Fact::Attempt(attempt) => tables.attempt(*number, attempt, known)?,
            Fact::Pools(pools) => tables.pools(*number, pools)?,
        }
    }
    tables.flush()?;
    // Afterwards, because a row that is void may be among those that were just appended.
    for NumberedFact { number, fact, .. } in facts {
        if let Fact::Supersede(SupersedeRecord { job, after }) = fact {
            connection.execute(
                "DELETE FROM slots WHERE journal = ? AND fact < ? AND job = ? AND last_slot > ? AND outcome <> ?",
                params![journal, number, job.as_str(), At(*after), SlotOutcome::Ran.as_str()],
            )?;
        }
    }
    Ok(())
}

/// An appender for each table, which take their rows in the order of [`TABLES`]' columns.
struct Tables<'a> {
    journal: &'a str,
    runs: Appender<'a>,
    tasks: Appender<'a>,
    attempts: Appender<'a>,
    slots: Appender<'a>,
    reconciles: Appender<'a>,
    specs: Appender<'a>,
    outputs: Appender<'a>,
    pools: Appender<'a>,
}

impl<'a> Tables<'a> {
    fn new(connection: &'a Connection, journal: &'a str) -> duckdb::Result<Self> {
        // Named columns: one that a later format adds has a default for rows of this one.
        let appender = |name: &str| {
            let table = TABLES.iter().find(|table| table.name == name);
            let columns: Vec<_> = table
                .iter()
                .flat_map(|table| table.columns)
                .map(|column| column.name)
                .collect();
            connection.appender_with_columns(name, &columns)
        };
        Ok(Self {
            journal,
            runs: appender("runs")?,
            tasks: appender("tasks")?,
            attempts: appender("attempts")?,
            slots: appender("slots")?,
            reconciles: appender("reconciles")?,
            specs: appender("specs")?,
            outputs: appender("outputs")?,
            pools: appender("pools")?,
        })
    }

    /// Errors of rows that were only buffered come to light here.
    fn flush(self) -> duckdb::Result<()> {
        let Self {
            journal: _,
            runs,
            tasks,
            attempts,
            slots,
            reconciles,
            specs,
            outputs,
            pools,
        } = self;
        for mut appender in [runs, tasks, attempts, slots, reconciles, specs, outputs, pools] {
            appender.flush()?;
        }
        Ok(())
    }

    fn run(&mut self, fact: i64, run: &RunRecord) -> duckdb::Result<()> {
        self.runs.append_row(params![
            run.id.to_string(),
            run.job.as_str(),
            run.trigger.as_str(),
            run.slot.map(At),
            run.spec_hash.as_str(),
            run.revision,
            run.status.as_str(),
            At(run.created_at),
            run.started_at.map(At),
            run.ended_at.map(At),
            text_of(&run.params),
            run.retry_of.map(|id| id.to_string()),
            run.reason,
            self.journal,
            fact,
        ])
    }

    fn task(&mut self, fact: i64, at: Timestamp, task: &TaskRecord, known: &mut Known<'_>) -> Result<(), AppendError> {
        let (run_id, run) = (task.run.to_string(), known.run(task.run)?);
        let job = run.as_ref().map(|run| run.job.as_str());
        self.tasks.append_row(params![
            run_id,
            job,
            task.task.as_str(),
            task.state.as_str(),
            task.attempts,
            task.reason,
            self.journal,
            fact,
        ])?;
        for (name, value) in &task.outputs {
            let (number, text) = match value {
                Value::Number(number) => (number.as_f64(), None),
                Value::String(text) => (None, Some(text.clone())),
                other => (None, Some(other.to_string())),
            };
            self.outputs.append_row(params![
                run_id,
                job,
                task.task.as_str(),
                name,
                number,
                text,
                At(at),
                self.journal,
                fact,
                run.as_ref().map(|run| At(run.created_at)),
            ])?;
        }
        Ok(())
    }

    fn attempt(&mut self, fact: i64, attempt: &AttemptRecord, known: &mut Known<'_>) -> Result<(), AppendError> {
        let run = known.run(attempt.run)?;
        let declared = match &run {
            Some(run) => known.resources(&run.spec_hash, &attempt.task)?,
            None => None,
        };
        let declared = declared.unwrap_or_default();
        let (ending, exit_code, signal) = ending_parts(attempt.ending);
        self.attempts.append_row(params![
            attempt.run.to_string(),
            run.as_ref().map(|run| run.job.as_str()),
            attempt.task.as_str(),
            attempt.attempt,
            ending,
            exit_code,
            signal,
            At(attempt.queued_at),
            At(attempt.granted_at),
            attempt.started_at.map(At),
            attempt.ended_at.map(At),
            attempt.cpu_user_ms.map(big),
            attempt.cpu_system_ms.map(big),
            attempt.max_rss_bytes.map(big),
            declared.cpu,
            declared.memory.map(|memory| big(memory.as_bytes())),
            (!declared.slots.is_empty()).then(|| text_of(&declared.slots)),
            attempt.bytes_out.map(big),
            attempt.error,
            self.journal,
            fact,
            run.as_ref().map(|run| run.spec_hash.as_str()),
            run.as_ref().map(|run| run.trigger.as_str()),
            run.as_ref().map(|run| At(run.created_at)),
        ])?;
        Ok(())
    }

    fn slot(&mut self, fact: i64, slot: &SlotRecord) -> duckdb::Result<()> {
        self.slots.append_row(params![
            slot.job.as_str(),
            At(slot.at),
            At(slot.at),
            1_i64,
            slot.outcome.map(|outcome| outcome.as_str()),
            slot.reason.map(|reason| reason.as_str()),
            slot.detail,
            slot.decided_at.map(At),
            slot.run.map(|run| run.to_string()),
            slot.spec_hash.as_str(),
            self.journal,
            fact,
        ])
    }

    fn stretch(&mut self, fact: i64, stretch: &StretchRecord) -> duckdb::Result<()> {
        self.slots.append_row(params![
            stretch.job.as_str(),
            At(stretch.from),
            At(stretch.to),
            big(stretch.slots),
            stretch.outcome.as_str(),
            stretch.reason.as_str(),
            None::<String>,
            At(stretch.decided_at),
            stretch.run.map(|run| run.to_string()),
            stretch.spec_hash.as_str(),
            self.journal,
            fact,
        ])
    }

    fn reconcile(&mut self, fact: i64, reconcile: &ReconcileRecord) -> duckdb::Result<()> {
        self.reconciles.append_row(params![
            At(reconcile.at),
            text_of(&reconcile.actor).trim_matches('"'),
            reconcile.plan_id,
            text_of(&reconcile.actions),
            reconcile.old_set.as_str(),
            reconcile.new_set.as_str(),
            big(reconcile.duration_ms),
            self.journal,
            fact,
            reconcile.by,
            reconcile.result.as_str(),
            text_of(&reconcile.files),
            reconcile.revision,
        ])
    }

    fn pools(&mut self, fact: i64, pools: &PoolsRecord) -> duckdb::Result<()> {
        for (pool, size) in &pools.sizes {
            self.pools
                .append_row(params![pool, i64::from(*size), At(pools.since), self.journal, fact])?;
        }
        Ok(())
    }

    fn spec(&mut self, fact: i64, spec: &SpecRecord) -> duckdb::Result<()> {
        self.specs.append_row(params![
            spec.hash.as_str(),
            spec.job.as_str(),
            spec.yaml,
            At(spec.first_seen),
            self.journal,
            fact,
        ])
    }
}

fn text_of(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps with text for keys, lists and texts can be written")
}
