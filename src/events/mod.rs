//! Every fact that Petit can report, and the bus on which they travel.
//!
//! A [`Fact`] is a finished thing: the journal stores it with a number in the same transaction as the change it reports,
//! and `history` is a projection of these rows. An [`Event`] is what is live: it is published after its commit, may be
//! lost by a slow listener, and is never the only record of anything.

mod bus;

pub use bus::{EventBus, Listener};
use serde::{Deserialize, Serialize};

use crate::core::{
    Timestamp,
    id::{JobId, RunId, TaskId},
    record::{
        AttemptRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord, SupersedeRecord, TaskRecord,
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
