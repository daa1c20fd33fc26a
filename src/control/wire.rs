//! What travels over the socket, apart from the views.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    core::{
        Timestamp,
        error_text::chain,
        id::{JobId, RunId, TaskId},
    },
    reconcile::SyncOutcome,
    scheduler::retry::Choice,
    storage::RunFilter,
    view::{AskedTime, Collected, Filter, PlanView, ViewError},
};

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunsQuery {
    /// Only of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Only those that fit, such as `status=failed since=2h`.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    pub filter: Filter,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl RunsQuery {
    /// The runs of the journal that are meant, as of now.
    pub fn of_runs(self, now: Timestamp) -> RunFilter {
        let Self { job, filter, limit } = self;
        RunFilter {
            job,
            limit,
            ..filter.of_runs(now)
        }
    }
}

/// Which fires to come to list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextQuery {
    /// Only of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// How many.
    pub count: usize,
    /// After this instant; by default now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
}

/// Which slot to explain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhyQuery {
    /// The job.
    pub job: JobId,
    /// The slot, by a time in the job's zone; by default the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<AskedTime>,
}

/// Asks for a run by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerRequest {
    /// The job.
    pub job: JobId,
    /// Its inputs, as texts; the job's declared types say how to read them.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Whether to start although a run of the job is going.
    #[serde(default)]
    pub ignore_overlap: bool,
    /// Who asks.
    pub by: String,
}

/// The run that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerReply {
    /// Its id.
    pub run: RunId,
    /// What the user should know: the job is paused, or the run has to wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Asks for a run that repeats one that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryRequest {
    /// The run to repeat.
    pub run: RunId,
    /// What of it runs again in any case: `whole`, `failed`, or `{"from": TASK}`.
    #[serde(default)]
    pub choice: Choice,
    /// Whether to start although a run of the job is going.
    #[serde(default)]
    pub ignore_overlap: bool,
    /// Whether only to say what it would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks.
    pub by: String,
}

/// What a retry does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryReply {
    /// The run that was made; `null` if only its effect was asked for.
    pub run: Option<RunId>,
    /// The run that it repeats.
    pub retry_of: RunId,
    /// The job.
    pub job: JobId,
    /// The tasks that run, in the order of the file.
    pub again: Vec<TaskAgain>,
    /// The tasks that do not, because nothing about them has changed.
    pub reused: Vec<TaskReused>,
    /// What the user should know: the job is paused, or the run has to wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A task that a retry runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskAgain {
    /// The task.
    pub task: TaskId,
    /// Why, in words.
    pub why: String,
}

/// A task that a retry reuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskReused {
    /// The task.
    pub task: TaskId,
    /// The run in which it did its work.
    pub reused_from: RunId,
}

/// Asks to cancel a run, or all runs of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelRequest {
    /// This run.
    Run(RunId),
    /// Every run of this job that has not ended.
    Job(JobId),
}

/// The runs that are being cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Their ids.
    pub runs: Vec<RunId>,
}

/// Asks to pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// The job; `null` for everything.
    pub job: Option<JobId>,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Asks to resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// The job; `null` for everything.
    pub job: Option<JobId>,
    /// Who asks.
    pub by: String,
}

/// Asks to look at the files now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// Whether to wait until what is there now is applied or refused.
    #[serde(default)]
    pub wait: bool,
    /// Which files to wait for, by their paths below the folder of jobs; all of them if none is named.
    #[serde(default)]
    pub files: Vec<String>,
    /// How long to wait at most, in milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The plan whose held removals may take place.
    #[serde(default)]
    pub approve: Option<String>,
    /// Who asks.
    #[serde(default)]
    pub by: Option<String>,
}

/// Asks to let go now of what is too old or not needed any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GcRequest {
    /// Whether only to say what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What went.
pub type GcReply = Collected;

/// What an edit would do.
pub type PlanReply = PlanView;

/// What came of looking at the files.
pub type SyncReply = SyncOutcome;

/// Why the daemon did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind, from which the HTTP status and the exit code follow.
    pub code: RefusalKind,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// There is no such job, run or path.
    NotFound,
    /// The request is not of the form.
    Invalid,
    /// It cannot be done as things stand: a run is in the way, a plan is stale.
    Conflict,
    /// Something in Petit or around it failed.
    Failed,
    /// The daemon is shutting down.
    ShuttingDown,
}

impl Refusal {
    /// A refusal without hints.
    pub fn new(code: RefusalKind, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The same with something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        match &error {
            ViewError::NoSuchJob { suggestion, .. } => {
                let hint = suggestion
                    .as_deref()
                    .unwrap_or("`petit list` shows the jobs that there are");
                Self::new(RefusalKind::NotFound, error.to_string()).hint(hint)
            }
            ViewError::NoSuchRun { .. } => {
                Self::new(RefusalKind::NotFound, error.to_string()).hint("`petit runs` shows the runs that there are")
            }
            ViewError::Storage(error) => Self::new(RefusalKind::Failed, chain(error)),
        }
    }
}

impl From<crate::storage::StorageError> for Refusal {
    fn from(error: crate::storage::StorageError) -> Self {
        Self::new(RefusalKind::Failed, chain(&error))
    }
}
