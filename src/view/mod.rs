//! Read models: what the command line, the socket and the screens show, in one shape for all of them.
//!
//! A view is made of the journal, the active set and the sync status by [`Sources`], whether the daemon makes it for its
//! socket or a command makes it from the stores because no daemon runs. Views are plain serde types; their field names
//! are the interface that `--format json` prints, and they only ever gain fields. Nothing here commands anything.

mod answer;
mod asked;
mod collected;
pub mod consequences;
mod context;
mod critical;
pub mod filter;
mod job;
mod next;
mod question;
mod recent;
mod run;
mod running;
mod status;
mod why;
mod words;

pub use answer::{Answer, Column, ColumnKind, PickedRuns, Series};
pub use asked::{AskedTime, NotATime};
pub use collected::{Collected, FromHistory, FromJournal, FromLogs};
pub use consequences::PlanView;
pub use context::{Difference, DifferenceKind, RunContext};
pub use filter::{Filter, FilterError};
pub use job::{GraphNode, JobCondition, JobDetail, JobView};
pub use next::{NextFire, NextView, Silence, SilentJob};
pub use question::{Question, UnknownQuestion};
pub use recent::{LATEST, RunMark, TaskGrid, TaskLine, Usual};
pub use run::{AttemptView, RunView, TaskView};
pub use running::RunningTask;
pub use status::{DaemonInfo, HalfHour, StatusView};
pub use why::Why;

use std::sync::Arc;

use crate::{
    core::{
        Timestamp,
        active::ActiveSet,
        id::{JobId, RunId, SpecHash, TaskId},
        job::Job,
        record::PauseRecord,
        state::RunStatus,
        suggest::did_you_mean,
    },
    reconcile::{JobStatus, SyncStatus},
    storage::{RunFilter, Storage, StorageError},
};

/// What views are made of, at one moment.
pub struct Sources<'a> {
    /// The journal.
    pub storage: &'a dyn Storage,
    /// The jobs that fire.
    pub active: &'a ActiveSet,
    /// How the files stand against them.
    pub sync: &'a SyncStatus,
    /// The pauses in the journal.
    pub pauses: Vec<PauseRecord>,
    /// The moment.
    pub now: Timestamp,
}

/// Why there is no view.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ViewError {
    /// There is no such job.
    #[error("there is no job `{id}`")]
    NoSuchJob {
        /// What was asked for.
        id: JobId,
        /// A sentence that names the job that was probably meant.
        suggestion: Option<String>,
    },
    /// There is no such run.
    #[error("there is no run `{id}`")]
    NoSuchRun {
        /// What was asked for.
        id: RunId,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// How many of the next fires the status shows.
const FIRES_AT_A_GLANCE: usize = 5;

impl Sources<'_> {
    /// All jobs: those that are active, and those that only a file states.
    pub fn jobs(&self) -> Result<Vec<JobView>, ViewError> {
        let around = self.around();
        let ids: Vec<JobId> = self.sync.jobs.iter().map(|status| status.job.clone()).collect();
        let mut latest = recent::latest_of_each(self.storage, &ids)?;
        Ok(self
            .sync
            .jobs
            .iter()
            .map(|status| around.job(status, latest.remove(&status.job).unwrap_or_default()))
            .collect::<Result<_, _>>()?)
    }

    /// One job, whole.
    pub fn job(&self, id: &JobId) -> Result<JobDetail, ViewError> {
        Ok(self.around().detail(self.status_of(id)?)?)
    }

    /// The runs that match, newest first, without their tasks.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunView>, ViewError> {
        if let Some(job) = &filter.job {
            self.status_of(job).map(|_| ()).or_else(|unknown| {
                // A job that is gone has left its runs.
                let of_job = RunFilter {
                    job: Some(job.clone()),
                    limit: Some(1),
                    ..RunFilter::default()
                };
                if self.storage.runs(&of_job)?.is_empty() {
                    Err(unknown)
                } else {
                    Ok(())
                }
            })?;
        }
        Ok(self.storage.runs(filter)?.into_iter().map(RunView::from).collect())
    }

    /// One run, whole, among the other runs of its job.
    pub fn run(&self, id: RunId) -> Result<RunView, ViewError> {
        let detail = self.storage.run(id)?.ok_or(ViewError::NoSuchRun { id })?;
        let beside = self.storage.beside(&detail.run)?;
        let retries = RunFilter {
            retry_of: Some(id),
            ..RunFilter::default()
        };
        let retries = self.storage.runs(&retries)?;
        let mut run = RunView {
            retried_as: retries.iter().rev().map(|run| run.id).collect(),
            ..RunView::from(detail)
        };
        let good = match beside.last_good {
            Some(good) => self.storage.run(good)?.map(RunView::from),
            None => None,
        };
        let differences = match &good {
            Some(good) => context::differences(&run, good, &self.usually(&run)?),
            None => Vec::new(),
        };
        let job = self.version(&run.job, &run.spec_hash)?;
        run.context = Some(RunContext {
            previous: beside.previous,
            next: beside.next,
            critical_path: job.map(|job| context::path_of(&run, &job.dag)).unwrap_or_default(),
            last_good: beside.last_good,
            differences,
        });
        Ok(run)
    }

    /// How long the latest runs of the job of a run took, and their tasks; this run is left out.
    fn usually(&self, run: &RunView) -> Result<context::Usually, ViewError> {
        let mut runs = recent::latest_of_each(self.storage, std::slice::from_ref(&run.job))?;
        let mut runs = runs.remove(&run.job).unwrap_or_default();
        runs.retain(|other| other.id != run.id);
        let tasks = self.storage.latest_tasks(&run.job, LATEST)?;
        let usual = |id: &TaskId| Usual::of_tasks(&tasks, |task| task.task == *id && task.run != run.id);
        Ok(context::Usually {
            run: Usual::of_runs(&runs),
            tasks: run
                .tasks
                .iter()
                .map(|task| (task.id.clone(), usual(&task.id)))
                .collect(),
        })
    }

    /// A version of a job, active or not; none if this Petit cannot read it any more.
    fn version(&self, id: &JobId, hash: &SpecHash) -> Result<Option<Arc<Job>>, ViewError> {
        if let Some(entry) = self.active.get(id).filter(|entry| entry.record.spec_hash == *hash) {
            return Ok(Some(Arc::clone(&entry.job)));
        }
        let spec = self.storage.spec(hash)?;
        Ok(spec
            .and_then(|spec| Job::from_canonical(&spec.canonical).ok())
            .map(Arc::new))
    }

    /// The `count` fires after an instant, of one job or of all together, and which of them have none.
    pub fn next(&self, only: Option<&JobId>, after: Timestamp, count: usize) -> Result<NextView, ViewError> {
        let jobs = match only {
            Some(id) => vec![self.status_of(id)?],
            None => self.sync.jobs.iter().collect(),
        };
        Ok(next::next(&next::Question {
            active: self.active,
            jobs,
            pauses: &self.pauses,
            after,
            count,
        }))
    }

    /// What became of a slot; without a time, of the latest. A job that is gone is answered from what it left.
    pub fn why(&self, id: &JobId, at: Option<AskedTime>) -> Result<Why, ViewError> {
        let question = why::Question {
            storage: self.storage,
            job: id,
            entry: self.active.get(id).map(AsRef::as_ref),
            status: self.sync.job(id),
            pause: self.pauses.iter().find(|pause| pause.covers(id)),
            now: self.now,
        };
        if question.status.is_none() && !question.has_past()? {
            self.status_of(id)?;
        }
        Ok(why::why(&question, at)?)
    }

    /// Everything at a glance; `daemon` is left out where none runs.
    pub fn status(&self, daemon: Option<DaemonInfo>) -> Result<StatusView, ViewError> {
        let unfinished = RunFilter {
            statuses: vec![RunStatus::Queued, RunStatus::Running],
            ..RunFilter::default()
        };
        let mut active_runs = self.runs(&unfinished)?;
        active_runs.reverse();
        let running = self.running(&active_runs)?;
        Ok(StatusView {
            daemon,
            active_runs,
            running,
            waiting: Vec::new(),
            next: self.next(None, self.now, FIRES_AT_A_GLANCE)?.fires,
            pauses: self.pauses.clone(),
            sync: self.sync.clone(),
            revision: None,
            conditions: Vec::new(),
            last_day: status::last_day(self.storage, self.now)?,
        })
    }

    fn around(&self) -> job::Around<'_> {
        job::Around {
            storage: self.storage,
            active: self.active,
            pauses: &self.pauses,
            now: self.now,
        }
    }

    fn status_of(&self, id: &JobId) -> Result<&JobStatus, ViewError> {
        self.sync.job(id).ok_or_else(|| ViewError::NoSuchJob {
            id: id.clone(),
            suggestion: did_you_mean(id.as_str(), self.sync.jobs.iter().map(|status| status.job.as_str())),
        })
    }
}

#[cfg(test)]
mod tests;
