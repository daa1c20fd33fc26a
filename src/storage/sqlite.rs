//! The journal in a SQLite file: what the daemon uses.
//!
//! One thread writes ([`writer`]); reads have a connection of their own, which sees every commit that was acknowledged and
//! never waits for the writer (WAL). What changes mean is in `apply`, the tables and their migrations in
//! [`schema`], the text of each read here. A file that cannot be read is for [`damage`].

mod damage;
mod glance;
mod prune;
mod rows;
mod salvage;
mod schema;
mod tables;
mod values;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use chrono::{TimeDelta, Utc};
use rusqlite::{Connection, ToSql, params};

pub use self::damage::{Lost, Salvage, SavedTable};
use self::{tables::Tables, values::Micros, writer::Writer};
use super::{
    Ack, Beside, Change, Clock, JournalSize, LatestRuns, NumberedFact, Prunable, PruneRule, PrunedTo, RunDetail,
    RunFilter, RunGlance, Storage, StorageError, Tally, TaskGlance, apply::Rows,
};
use crate::core::{
    Timestamp,
    id::{JobId, RunId, SpecHash},
    pattern::Pattern,
    record::{
        ActiveRecord, PauseRecord, ReconcileRecord, RemovedRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord,
    },
    revision::RevisionPick,
};

/// A journal in a file. Dropping it commits what was handed in, and waits for that.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Stands before `writer` and so is closed before it: the last to close tidies up, which a reader may not.
    reader: Mutex<Connection>,
    writer: Option<Writer>,
}

impl Sqlite {
    /// Opens the journal at `path` to write it. Makes the file, for its owner only, if there is none; brings an older one up
    /// to date; refuses a newer one and leaves it as it is. The folder must exist, and no other process may do the same.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        Self::open_with_clock(path, Box::new(Utc::now))
    }

    /// As [`Self::open`], with facts dated by `clock`.
    pub fn open_with_clock(path: &Path, clock: Clock) -> Result<Self, StorageError> {
        let connection = schema::open_for_writing(path)?;
        let reader = schema::open_for_reading(path)?;
        let writer = Writer::start(connection, path.to_owned(), clock)?;
        Ok(Self {
            path: path.to_owned(),
            reader: Mutex::new(reader),
            writer: Some(writer),
        })
    }

    /// Opens the journal at `path` to read it, beside a daemon or without one. Commits are answered with
    /// [`StorageError::Closed`].
    pub fn open_read_only(path: &Path) -> Result<Self, StorageError> {
        let reader = schema::open_for_reading(path)?;
        Ok(Self {
            path: path.to_owned(),
            reader: Mutex::new(reader),
            writer: None,
        })
    }

    /// Writes the file at `path` anew without the room that pruning has freed, which takes about as much room again while it
    /// goes on. Nobody may write to it meanwhile.
    pub fn shrink(path: &Path) -> Result<(), StorageError> {
        let connection = schema::open_for_writing(path)?;
        prune::vacuum(&connection).map_err(|source| StorageError::database("shrink", path, source))
    }

    /// Asks within one read transaction, so that several queries see the same state.
    fn read<T>(&self, ask: impl FnOnce(Tables<'_>) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection
            .transaction()
            .map_err(|source| StorageError::database("read", &self.path, source))?;
        ask(Tables::new(&transaction, &self.path))
    }
}

impl Storage for Sqlite {
    fn commit(&self, changes: Vec<Change>) -> Ack {
        match &self.writer {
            Some(writer) => writer.commit(changes),
            // Without anyone to answer, the answer is Closed.
            None => Ack::new().1,
        }
    }

    fn journal_id(&self) -> Result<String, StorageError> {
        let id = self.read(|tables| {
            tables.first("meta", "SELECT value FROM meta WHERE name = 'journal_id'", [], |row| {
                row.get("value")
            })
        })?;
        id.ok_or_else(|| StorageError::Damaged {
            path: self.path.clone(),
            table: "meta",
            problem: "there is no `journal_id`".into(),
        })
    }

    fn continues(&self) -> Result<Vec<(String, i64)>, StorageError> {
        let sql =
            "SELECT substr(name, 11) AS id, CAST(value AS INTEGER) AS number FROM meta WHERE name GLOB 'continues.*'";
        self.read(|tables| tables.all("meta", sql, [], |row| Ok((row.get("id")?, row.get("number")?))))
    }

    fn active(&self) -> Result<Vec<ActiveRecord>, StorageError> {
        self.read(|tables| tables.all("active", "SELECT * FROM active ORDER BY job", [], rows::active))
    }

    fn removed(&self) -> Result<Vec<RemovedRecord>, StorageError> {
        self.read(|tables| tables.all("removed", "SELECT * FROM removed ORDER BY job", [], rows::removed))
    }

    fn held(&self) -> Result<Vec<JobId>, StorageError> {
        self.read(|tables| tables.all("held", "SELECT job FROM held ORDER BY job", [], |row| row.get("job")))
    }

    fn spec(&self, hash: &SpecHash) -> Result<Option<SpecRecord>, StorageError> {
        self.read(|tables| tables.first("specs", "SELECT * FROM specs WHERE hash = ?", [hash], rows::spec))
    }

    fn pauses(&self) -> Result<Vec<PauseRecord>, StorageError> {
        self.read(|tables| {
            tables.all(
                "pauses",
                "SELECT * FROM pauses ORDER BY ifnull(job, '')",
                [],
                rows::pause,
            )
        })
    }

    fn watermarks(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.read(|tables| {
            tables.all(
                "watermarks",
                "SELECT * FROM watermarks ORDER BY job",
                [],
                rows::watermark,
            )
        })
    }

    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StorageError> {
        self.read(|mut tables| tables.run(run)?.map(|run| detail(tables, run)).transpose())
    }

    fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StorageError> {
        let RunFilter {
            job,
            jobs,
            tasks,
            statuses,
            triggers,
            revisions,
            since,
            until,
            retry_of,
            limit,
        } = filter;
        // Only the conditions that are asked for: with `? IS NULL OR …` SQLite could not use its indexes.
        let (mut conditions, mut values) = (vec!["true".to_owned()], Vec::<&dyn ToSql>::new());
        let (since, until) = (since.map(Micros), until.map(Micros));
        let [jobs, tasks] = [jobs, tasks].map(|patterns| patterns.iter().map(Pattern::as_str).collect::<Vec<_>>());
        if let Some(job) = job {
            conditions.push("job = ?".into());
            values.push(job);
        }
        let any = |condition: &str, count: usize| vec![condition; count].join(" OR ");
        if !jobs.is_empty() {
            conditions.push(format!("({})", any("job GLOB ?", jobs.len())));
            values.extend(jobs.iter().map(|job| job as &dyn ToSql));
        }
        if !tasks.is_empty() {
            let named = any("task GLOB ?", tasks.len());
            conditions.push(format!(
                "EXISTS (SELECT 1 FROM tasks WHERE run = runs.id AND ({named}))"
            ));
            values.extend(tasks.iter().map(|task| task as &dyn ToSql));
        }
        if !statuses.is_empty() {
            conditions.push(format!("status IN ({})", vec!["?"; statuses.len()].join(", ")));
            values.extend(statuses.iter().map(|status| status as &dyn ToSql));
        }
        if !triggers.is_empty() {
            conditions.push(format!("trigger IN ({})", vec!["?"; triggers.len()].join(", ")));
            values.extend(triggers.iter().map(|trigger| trigger as &dyn ToSql));
        }
        let revisions: Vec<_> = revisions.iter().map(revision).collect();
        if !revisions.is_empty() {
            let any: Vec<_> = revisions.iter().map(|(condition, _)| *condition).collect();
            conditions.push(format!("({})", any.join(" OR ")));
            values.extend(
                revisions
                    .iter()
                    .flat_map(|(_, values)| values)
                    .map(|value| value as &dyn ToSql),
            );
        }
        for (condition, moment) in [("created_at >= ?", &since), ("created_at < ?", &until)] {
            if let Some(moment) = moment {
                conditions.push(condition.into());
                values.push(moment);
            }
        }
        if let Some(retry_of) = retry_of {
            conditions.push("retry_of = ?".into());
            values.push(retry_of);
        }
        // To SQLite a negative limit is none.
        let limit = limit.map_or(-1, i64::from);
        values.push(&limit);
        let conditions = conditions.join(" AND ");
        let sql = format!("SELECT * FROM runs WHERE {conditions} ORDER BY created_at DESC, id DESC LIMIT ?");
        self.read(|tables| tables.all("runs", &sql, values.as_slice(), rows::run))
    }

    fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError> {
        self.read(|tables| glance::latest_of_each(tables, jobs, most))
    }

    fn latest_tasks(&self, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError> {
        self.read(|tables| glance::latest_tasks(tables, job, most))
    }

    fn beside(&self, run: &RunRecord) -> Result<Beside, StorageError> {
        self.read(|tables| glance::beside(tables, run))
    }

    fn tally(&self, since: Timestamp, stretch: TimeDelta) -> Result<Vec<Tally>, StorageError> {
        self.read(|tables| glance::tally(tables, since, stretch))
    }

    fn unfinished(&self) -> Result<Vec<RunDetail>, StorageError> {
        self.read(|tables| {
            let runs = tables.all("runs", UNFINISHED, [], rows::run)?;
            runs.into_iter().map(|run| detail(tables, run)).collect()
        })
    }

    fn latest(&self, job: &JobId) -> Result<LatestRuns, StorageError> {
        self.read(|tables| {
            Ok(LatestRuns {
                finished: tables.first("runs", LATEST_FINISHED, [job], rows::run)?,
                succeeded: tables.first("runs", LATEST_SUCCEEDED, [job], rows::run)?,
                by_dependency: tables.first("runs", LATEST_BY_DEPENDENCY, [job], rows::run)?,
            })
        })
    }

    fn slots(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<SlotRecord>, StorageError> {
        let sql = "SELECT * FROM slots WHERE job = ? AND at BETWEEN ? AND ? ORDER BY at";
        self.read(|tables| tables.all("slots", sql, params![job, Micros(from), Micros(to)], rows::slot))
    }

    fn claimed(&self) -> Result<Vec<SlotRecord>, StorageError> {
        self.read(|tables| tables.all("slots", CLAIMED, [], rows::slot))
    }

    fn beyond_watermark(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        // A cross join is read in the order in which it is written: each slot is met once. The other way round, every job
        // that stands still would have all later slots read again.
        let sql = "SELECT slots.job, slots.at FROM slots CROSS JOIN watermarks
                   ON watermarks.job = slots.job AND watermarks.at < slots.at
                   WHERE slots.at > (SELECT min(at) FROM watermarks) ORDER BY slots.job, slots.at";
        self.read(|tables| tables.all("slots", sql, [], rows::watermark))
    }

    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError> {
        let sql = "SELECT * FROM stretches WHERE job = ? AND first_at <= ? AND last_at >= ?
                   ORDER BY first_at, last_at, id";
        self.read(|tables| tables.all("stretches", sql, params![job, Micros(to), Micros(from)], rows::stretch))
    }

    fn reconciles(&self, limit: u32) -> Result<Vec<ReconcileRecord>, StorageError> {
        let sql = "SELECT * FROM reconciles ORDER BY id DESC LIMIT ?";
        self.read(|tables| tables.all("reconciles", sql, [limit], rows::reconcile))
    }

    fn facts(&self, after: i64, limit: u32) -> Result<Vec<NumberedFact>, StorageError> {
        let sql = "SELECT * FROM facts WHERE number > ? ORDER BY number LIMIT ?";
        self.read(|tables| tables.all("facts", sql, params![after, limit], rows::fact))
    }

    fn prunable(&self, rule: &PruneRule) -> Result<Prunable, StorageError> {
        // Not on the reader that all others share: they would wait for the end of the look.
        let mut connection = schema::open_for_reading(&self.path)?;
        let transaction = connection
            .transaction()
            .map_err(|source| StorageError::database("read", &self.path, source))?;
        prune::find(Tables::new(&transaction, &self.path), &rule.bounds())
    }

    fn pruned_to(&self) -> Result<PrunedTo, StorageError> {
        self.read(prune::pruned_to)
    }

    fn size(&self) -> Result<JournalSize, StorageError> {
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        prune::size(&connection, &self.path).map_err(|source| StorageError::database("measure", &self.path, source))
    }
}

// The conditions of these are, word for word, those of the partial indexes that answer them.
const CLAIMED: &str = "SELECT * FROM slots WHERE outcome IS NULL ORDER BY at, job";
const UNFINISHED: &str = "SELECT * FROM runs WHERE status IN ('queued', 'running') ORDER BY created_at, id";
const LATEST_FINISHED: &str = "SELECT * FROM runs WHERE job = ? AND status NOT IN ('queued', 'running')
                               ORDER BY ended_at DESC, id DESC LIMIT 1";
const LATEST_SUCCEEDED: &str = "SELECT * FROM runs WHERE job = ? AND status = 'succeeded'
                                ORDER BY ended_at DESC, id DESC LIMIT 1";
const LATEST_BY_DEPENDENCY: &str = "SELECT * FROM runs WHERE job = ? AND trigger = 'dependency'
                                    ORDER BY rowid DESC LIMIT 1";

/// The condition that a run is of the versions that are meant, with its values. A hash belongs to one job.
fn revision(pick: &RevisionPick) -> (&'static str, Vec<Box<dyn ToSql>>) {
    match pick {
        RevisionPick::Last(count) => (
            "spec_hash IN (SELECT hash FROM (
                 SELECT hash, row_number() OVER (PARTITION BY job ORDER BY first_seen DESC, hash DESC) AS nth FROM specs
             ) WHERE nth <= ?)",
            vec![Box::new(count.get())],
        ),
        RevisionPick::Named(digits) => {
            let begins = format!("{digits}*");
            let values: [Box<dyn ToSql>; 2] = [Box::new(begins.clone()), Box::new(begins)];
            ("spec_hash GLOB ? OR coalesce(revision GLOB ?, false)", values.into())
        }
    }
}

fn detail(tables: Tables<'_>, run: RunRecord) -> Result<RunDetail, StorageError> {
    let tasks = "SELECT * FROM tasks WHERE run = ? ORDER BY position";
    let attempts = "SELECT * FROM attempts WHERE run = ? ORDER BY id";
    Ok(RunDetail {
        tasks: tables.all("tasks", tasks, [run.id], rows::task)?,
        attempts: tables.all("attempts", attempts, [run.id], rows::attempt)?,
        run,
    })
}
