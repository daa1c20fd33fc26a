//! What goes into a run's machine and what comes out.

use crate::{
    core::{Timestamp, dag::TaskIndex, state::SlotReason},
    execution::engine::{self, AttemptEnd, ProcessMark},
    storage::Change,
};

/// What happens to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The task got its resources.
    Granted(TaskIndex),
    /// The task can never get its resources.
    Refused {
        /// The task.
        task: TaskIndex,
        /// Why.
        reason: String,
    },
    /// An attempt runs.
    Started {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
        /// When it started.
        at: Timestamp,
        /// Its process, if it is one of its own.
        process: Option<ProcessMark>,
    },
    /// An attempt is over.
    Ended {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
        /// How it ended.
        end: AttemptEnd,
    },
    /// A timer fired.
    Due(Timer),
    /// Somebody wants the run to stop.
    Cancel {
        /// Who and why, in words.
        reason: String,
        /// Why its slot did not run, should no task of it have started.
        unstarted: SlotReason,
    },
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The wait before a task's next attempt is over.
    Retry {
        /// The task.
        task: TaskIndex,
        /// How many attempts it had when the timer was armed: an older timer means nothing.
        attempts: u32,
    },
    /// The run has taken as long as it may.
    Timeout,
}

/// What has to happen next.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most effects are changes of the journal, and each lives for one step"
)]
pub enum Effect {
    /// The journal changes; before any other effect of the same step is carried out.
    Journal(Change),
    /// The task asks for its resources, waiting since then.
    Request {
        /// The task.
        task: TaskIndex,
        /// Since when.
        since: Timestamp,
    },
    /// The task asks no longer.
    Withdraw(TaskIndex),
    /// The task gives back its resources.
    Release(TaskIndex),
    /// An attempt starts.
    Launch {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
    },
    /// An attempt is to end.
    Kill {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
        /// Why.
        why: engine::Stop,
    },
    /// A timer is to fire.
    Arm {
        /// When.
        at: Timestamp,
        /// What for.
        timer: Timer,
    },
    /// The run has ended; no effect follows.
    Finish,
}
