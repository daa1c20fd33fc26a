//! Every fact that Petit can report, and the bus on which they travel.
//!
//! A [`Fact`] is a finished thing: the journal stores it with a number in the same transaction as the change it reports,
//! and `history` is a projection of these rows. An [`Event`] is what is live: it is published after its commit, may be
//! lost by a slow listener, and is never the only record of anything.

mod bus;
mod handler;

pub use bus::{EventBus, Listener};
pub use handler::{EventHandler, Subscription};
use serde::{Deserialize, Serialize};

use crate::core::{
    Timestamp,
    id::{JobId, RunId, TaskId},
    record::{
        AttemptRecord, PoolsRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord, SupersedeRecord,
        TaskRecord,
    },
    state::{RunStatus, TaskState},
};

/// A finished thing, as the journal keeps it for the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Fact {
    /// A version of a job was applied for the first time.
    Spec(SpecRecord),
    /// A reconcile changed or refused something.
    Reconcile(ReconcileRecord),
    /// A slot's outcome was decided.
    Slot(SlotRecord),
    /// A stretch of slots was decided.
    Stretch(StretchRecord),
    /// What was said of the slots after an instant is void, because the clock was put back.
    Supersede(SupersedeRecord),
    /// A run ended.
    Run(RunRecord),
    /// A task of a run ended, with what it published.
    Task(TaskRecord),
    /// An attempt ended.
    Attempt(AttemptRecord),
    /// Petit began with pools of these sizes.
    Pools(PoolsRecord),
}

impl Fact {
    /// The name under which the journal files it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Spec(_) => "spec",
            Self::Reconcile(_) => "reconcile",
            Self::Slot(_) => "slot",
            Self::Stretch(_) => "stretch",
            Self::Supersede(_) => "supersede",
            Self::Run(_) => "run",
            Self::Task(_) => "task",
            Self::Attempt(_) => "attempt",
            Self::Pools(_) => "pools",
        }
    }
}

/// Something that just happened and is already in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run moved to another status.
    Run {
        /// When.
        at: Timestamp,
        /// The run.
        run: RunId,
        /// Its job.
        job: JobId,
        /// What it is now.
        status: RunStatus,
    },
    /// A task of a run moved to another state.
    Task {
        /// When.
        at: Timestamp,
        /// The run.
        run: RunId,
        /// The run's job.
        job: JobId,
        /// The task.
        task: TaskId,
        /// What it is now.
        state: TaskState,
        /// How many attempts have begun.
        attempts: u32,
    },
    /// A slot was decided.
    Slot(SlotRecord),
    /// The active set changed, or something was refused.
    Reconcile(ReconcileRecord),
}

/// What most listeners want to know of an event, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Milestone {
    /// An attempt of a task begins.
    TaskStarted,
    /// A task succeeded.
    TaskCompleted,
    /// A task failed, and is not tried again.
    TaskFailed,
    /// An attempt of a task failed, and another follows.
    TaskRetrying,
    /// A task did not run: its condition did not come true, or a task above it failed.
    TaskSkipped,
    /// A task was stopped, or never started, because its run was.
    TaskCancelled,
    /// The first task of a run was granted.
    JobStarted,
    /// A run succeeded.
    JobCompleted,
    /// A run failed, was interrupted for good, or took too long.
    JobFailed,
    /// A run was stopped on request.
    JobCancelled,
}

impl Event {
    /// What it means in a word. `None` for what lies between, such as a task that waits, and for slots and reconciles.
    pub fn milestone(&self) -> Option<Milestone> {
        match self {
            Self::Task { state, .. } => match state {
                TaskState::Pending | TaskState::Waiting => None,
                TaskState::Running => Some(Milestone::TaskStarted),
                TaskState::Retrying => Some(Milestone::TaskRetrying),
                TaskState::Succeeded => Some(Milestone::TaskCompleted),
                TaskState::Failed | TaskState::Interrupted => Some(Milestone::TaskFailed),
                TaskState::Skipped | TaskState::UpstreamFailed => Some(Milestone::TaskSkipped),
                TaskState::Cancelled => Some(Milestone::TaskCancelled),
            },
            Self::Run { status, .. } => match status {
                RunStatus::Queued => None,
                RunStatus::Running => Some(Milestone::JobStarted),
                RunStatus::Succeeded => Some(Milestone::JobCompleted),
                RunStatus::Failed | RunStatus::Interrupted | RunStatus::TimedOut => Some(Milestone::JobFailed),
                RunStatus::Cancelled => Some(Milestone::JobCancelled),
            },
            Self::Slot(_) | Self::Reconcile(_) => None,
        }
    }
}
