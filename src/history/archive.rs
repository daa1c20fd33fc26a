//! A journal with what the history has beyond it, to read as one.
//!
//! The journal lets finished runs and old slots go; whoever looks at one of them does so through the same views, which ask a
//! [`Storage`]. Here what the journal does not have any more comes from the history: runs, slots, stretches, and a run's
//! neighbours. Everything else is the journal's. Of an old run some things are gone for good: why and how long it waited,
//! its processes, and the runs that made it.
//!
//! What goes wrong with the history is kept aside ([`Archive::trouble`]), and the answer is then the journal's alone.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use duckdb::types::Value as Stored;
use serde_json::{Map, Value};

use super::{History, HistoryError, values::At};
use crate::{
    core::{
        Timestamp,
        ending::Ending,
        id::{JobId, RunId, SpecHash},
        pattern::Pattern,
        record::{
            ActiveRecord, AttemptRecord, PauseRecord, ReconcileRecord, RemovedRecord, RunRecord, SlotRecord,
            SpecRecord, StretchRecord, TaskRecord,
        },
    },
    storage::{
        Ack, Beside, Change, LatestRuns, NumberedFact, RunDetail, RunFilter, RunGlance, Storage, StorageError, Tally,
        TaskGlance,
    },
    view::{AttemptView, Filter, RunView, TaskView, filter::Moment},
};

/// The most rows of the ledger that one look takes: views look for the latest one.
const MOST_SLOTS: usize = 10_000;

/// A journal and its history as one. Only for reading: a commit is answered with [`StorageError::Closed`].
pub struct Archive<'a> {
    journal: &'a dyn Storage,
    history: Mutex<History>,
    trouble: Mutex<Option<HistoryError>>,
    now: Timestamp,
}

impl<'a> Archive<'a> {
    /// Joins a journal and its history, which is as up to date as it is.
    pub fn new(journal: &'a dyn Storage, history: History, now: Timestamp) -> Self {
        Self {
            journal,
            history: Mutex::new(history),
            trouble: Mutex::default(),
            now,
        }
    }

    /// What went wrong with the history, if something did.
    pub fn trouble(self) -> Option<HistoryError> {
        self.trouble.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the history says; nothing if it cannot.
    fn ask<T: Default>(&self, ask: impl FnOnce(&History) -> Result<T, HistoryError>) -> T {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&history).unwrap_or_else(|error| {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            T::default()
        })
    }

    /// Rows of the ledger as records.
    fn ledger<T: serde::de::DeserializeOwned>(
        &self,
        columns: &str,
        condition: &str,
        job: &JobId,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<T> {
        let sql = format!(
            "SELECT {columns}, job, outcome, reason, detail, decided_at, run_id AS run, spec_hash FROM slots
             WHERE job = ? AND slot <= ? AND last_slot >= ? AND {condition} ORDER BY slot DESC LIMIT {MOST_SLOTS}"
        );
        let values = [Stored::Text(job.to_string()), At(to).stored(), At(from).stored()];
        let rows = self.ask(|history| history.objects(&sql, &values));
        // What this version cannot read is as good as gone.
        let read = |row: Map<String, Value>| serde_json::from_value(Value::Object(row)).ok();
        rows.into_iter().rev().filter_map(read).collect()
    }
}

impl Storage for Archive<'_> {
    fn commit(&self, _: Vec<Change>) -> Ack {
        Ack::new().1
    }

    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StorageError> {
        Ok(match self.journal.run(run)? {
            Some(detail) => Some(detail),
            None => self.ask(|history| history.run(run)).map(detail),
        })
    }

    fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StorageError> {
        let mut runs = self.journal.runs(filter)?;
        let limit = filter.limit.map_or(1 << 40, |limit| limit as usize);
        let known: std::collections::HashSet<RunId> = runs.iter().map(|run| run.id).collect();
        // Of the newest so many none can be missing that is not among the history's newest so many.
        let older = match filter.retry_of {
            Some(repeated) => self.ask(|history| history.retries_of(repeated)),
            None => self.ask(|history| Ok(history.picked(&picks(filter), self.now, limit)?.runs)),
        };
        let fits = |run: &RunView| filter.job.as_ref().is_none_or(|job| run.job == *job) && !known.contains(&run.id);
        runs.extend(older.into_iter().filter(fits).map(record));
        runs.sort_by_key(|run| std::cmp::Reverse((run.created_at, run.id)));
        runs.truncate(limit);
        Ok(runs)
    }

    fn beside(&self, run: &RunRecord) -> Result<Beside, StorageError> {
        let there = self.journal.beside(run)?;
        let older = self.ask(|history| history.beside(run));
        // The history has every run that has ended, the journal those that go on.
        Ok(Beside {
            previous: older.previous.or(there.previous),
            next: older.next.or(there.next),
            last_good: older.last_good.or(there.last_good),
        })
    }

    fn slots(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<SlotRecord>, StorageError> {
        let mut slots = self.journal.slots(job, from, to)?;
        let known: std::collections::HashSet<Timestamp> = slots.iter().map(|slot| slot.at).collect();
        let older = self.ledger::<SlotRecord>("slot AS at", "slot = last_slot", job, from, to);
        slots.extend(older.into_iter().filter(|slot| !known.contains(&slot.at)));
        slots.sort_by_key(|slot| slot.at);
        Ok(slots)
    }

    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError> {
        let mut stretches = self.journal.stretches(job, from, to)?;
        let columns = "slot AS \"from\", last_slot AS \"to\", slots";
        let older = self.ledger::<StretchRecord>(columns, "slot < last_slot", job, from, to);
        let known = stretches.clone();
        let is_known = |row: &StretchRecord| known.iter().any(|other| (other.from, other.to) == (row.from, row.to));
        stretches.extend(older.into_iter().filter(|row| !is_known(row)));
        stretches.sort_by_key(|row| (row.from, row.to));
        Ok(stretches)
    }

    fn journal_id(&self) -> Result<String, StorageError> {
        self.journal.journal_id()
    }
    fn active(&self) -> Result<Vec<ActiveRecord>, StorageError> {
        self.journal.active()
    }
    fn removed(&self) -> Result<Vec<RemovedRecord>, StorageError> {
        self.journal.removed()
    }
    fn held(&self) -> Result<Vec<JobId>, StorageError> {
        self.journal.held()
    }
    fn spec(&self, hash: &SpecHash) -> Result<Option<SpecRecord>, StorageError> {
        self.journal.spec(hash)
    }
    fn pauses(&self) -> Result<Vec<PauseRecord>, StorageError> {
        self.journal.pauses()
    }
    fn watermarks(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.journal.watermarks()
    }
    fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError> {
        self.journal.latest_of_each(jobs, most)
    }
    fn latest_tasks(&self, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError> {
        self.journal.latest_tasks(job, most)
    }
    fn tally(&self, since: Timestamp, stretch: TimeDelta) -> Result<Vec<Tally>, StorageError> {
        self.journal.tally(since, stretch)
    }
    fn unfinished(&self) -> Result<Vec<RunDetail>, StorageError> {
        self.journal.unfinished()
    }
    fn latest(&self, job: &JobId) -> Result<LatestRuns, StorageError> {
        self.journal.latest(job)
    }
    fn claimed(&self) -> Result<Vec<SlotRecord>, StorageError> {
        self.journal.claimed()
    }
    fn beyond_watermark(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.journal.beyond_watermark()
    }
    fn reconciles(&self, limit: u32) -> Result<Vec<ReconcileRecord>, StorageError> {
        self.journal.reconciles(limit)
    }
    fn facts(&self, after: i64, limit: u32) -> Result<Vec<NumberedFact>, StorageError> {
        self.journal.facts(after, limit)
    }
}

/// What a filter of the journal picks, in the words of the history.
fn picks(filter: &RunFilter) -> Filter {
    let job = filter.job.as_ref().and_then(|job| Pattern::new(job.as_str()));
    Filter {
        jobs: job.map_or_else(|| filter.jobs.clone(), |job| vec![job]),
        tasks: filter.tasks.clone(),
        statuses: filter.statuses.clone(),
        triggers: filter.triggers.clone(),
        revisions: filter.revisions.clone(),
        since: filter.since.map(Moment::At),
        until: filter.until.map(Moment::At),
    }
}

fn record(run: RunView) -> RunRecord {
    RunRecord {
        id: run.id,
        job: run.job,
        status: run.status,
        trigger: run.trigger,
        slot: run.slot,
        scheduled_at: run.slot.unwrap_or(run.created_at),
        spec_hash: run.spec_hash,
        revision: run.revision,
        created_at: run.created_at,
        started_at: run.started_at,
        ended_at: run.ended_at,
        params: run.params,
        consumed: Vec::new(),
        retry_of: run.retry_of,
        wait_until: None,
        reason: run.reason,
    }
}

fn detail(mut run: RunView) -> RunDetail {
    let (id, tasks) = (run.id, std::mem::take(&mut run.tasks));
    let attempts = tasks.iter().flat_map(|task| &task.attempts).map(attempt).collect();
    RunDetail {
        tasks: tasks.into_iter().map(|view| task(id, view)).collect(),
        attempts,
        run: record(run),
    }
}

fn task(run: RunId, task: TaskView) -> TaskRecord {
    TaskRecord {
        run,
        task: task.id,
        state: task.status,
        attempts: u32::try_from(task.attempts.len()).unwrap_or(u32::MAX),
        retry_at: None,
        outputs: task.outputs.into_iter().collect(),
        reason: task.reason,
        reused_from: task.reused_from,
    }
}

fn attempt(attempt: &AttemptView) -> AttemptRecord {
    let ending = attempt.ending.as_deref();
    AttemptRecord {
        run: attempt.run,
        task: attempt.task.clone(),
        attempt: attempt.attempt,
        queued_at: attempt.queued_at,
        granted_at: attempt.granted_at,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        ending: ending.and_then(|name| Ending::from_parts(name, attempt.exit_code, attempt.signal)),
        pid: None,
        pid_start: None,
        cpu_user_ms: attempt.cpu_user_ms,
        cpu_system_ms: attempt.cpu_system_ms,
        max_rss_bytes: attempt.max_rss_bytes,
        bytes_out: attempt.bytes_out,
        error: attempt.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Journal, at, fed},
        *,
    };
    use crate::{
        core::{
            keep::Keep,
            state::{RunStatus, SlotOutcome},
        },
        storage::{Elsewhere, PruneRule},
    };

    #[test]
    fn what_left_the_journal_is_found_as_if_it_were_there() {
        let mut journal = Journal::default();
        let runs: Vec<RunId> = (0..30)
            .map(|n| journal.run("a", n * 60, (5, 900), RunStatus::Succeeded, &[("load", 0, 250)]))
            .collect();
        for n in 0..30 {
            journal.slot("a", n * 60, SlotOutcome::Ran);
        }
        journal.stretch("a", 5_000, 5_060, 2);
        journal.stretch("a", 6_000, 6_060, 2);
        let storage = journal.storage.as_ref();
        let job = JobId::new("a").expect("a name");
        let filter = |limit| RunFilter {
            job: Some(job.clone()),
            limit,
            ..RunFilter::default()
        };
        let history = fed(&journal);
        let before = (
            storage.runs(&filter(None)).expect("reads"),
            storage.slots(&job, at(0), at(9_999)).expect("reads"),
            storage.stretches(&job, at(0), at(9_999)).expect("reads"),
            storage.run(runs[3]).expect("reads"),
        );
        let rule = PruneRule {
            now: at(30 * 86_400),
            elsewhere: Elsewhere::History(history.caught_up().expect("fed").cursor),
            keep: Keep::days(90),
        };
        for step in storage.prunable(&rule).expect("looks").steps() {
            storage.commit(vec![step]).wait_blocking().expect("commits");
        }
        assert_eq!(storage.run(runs[3]).expect("reads"), None);
        assert_eq!(storage.runs(&filter(None)).expect("reads").len(), 20);

        let archive = Archive::new(storage, history, at(30 * 86_400));
        let (all, slots, stretches, run) = before;
        assert_eq!(archive.runs(&filter(None)).expect("reads"), all);
        assert_eq!(archive.runs(&filter(Some(25))).expect("reads"), all[..25]);
        assert_eq!(archive.slots(&job, at(0), at(9_999)).expect("reads"), slots);
        assert_eq!(archive.stretches(&job, at(0), at(9_999)).expect("reads"), stretches);
        let (found, was) = (
            archive.run(runs[3]).expect("reads").expect("a run"),
            run.expect("a run"),
        );
        assert_eq!(found.run, was.run);
        let beside = archive.beside(&found.run).expect("reads");
        let expected = Beside {
            previous: Some(runs[2]),
            next: Some(runs[4]),
            last_good: Some(runs[2]),
        };
        assert_eq!(beside, expected);
        assert!(archive.trouble().is_none());
    }
}
