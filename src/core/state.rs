//! The states that runs, tasks and slots are in, and what may come after each.
//!
//! Only the names and their meaning: the machine that moves between them is in `execution`, the rules for slots in
//! `scheduler`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! named_states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of its meaning.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name used in JSON, SQL, the command line and on screens.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { name: text.to_owned(), expected: &[$($text),+] }),
                }
            }
        }
    };
}

/// A text that names none of the states it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not known: expected one of {}", expected.join(", "))]
pub struct UnknownName {
    /// What was given.
    pub name: String,
    /// What would have been right.
    pub expected: &'static [&'static str],
}

named_states! {
    /// How far a run is.
    RunStatus {
        /// Created; waits for its turn, for other jobs, or for its first task's resources. Next: running, cancelled, or failed.
        Queued = "queued",
        /// A task has been granted. Next: any of the endings.
        Running = "running",
        /// Every task ended, none failed.
        Succeeded = "succeeded",
        /// A task failed after its retries.
        Failed = "failed",
        /// Stopped on request.
        Cancelled = "cancelled",
        /// Petit died, and nothing may be tried again.
        Interrupted = "interrupted",
        /// Took longer than the job's timeout.
        TimedOut = "timed_out",
    }
}

impl RunStatus {
    /// Whether nothing comes after this status.
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Interrupted | Self::TimedOut => true,
        }
    }
}

named_states! {
    /// How far a task of a run is.
    TaskState {
        /// Waits for tasks above it. Next: waiting, skipped, upstream_failed, cancelled.
        Pending = "pending",
        /// Ready; waits for its resources. Next: running, cancelled, or failed if there will never be enough.
        Waiting = "waiting",
        /// An attempt is going. Next: succeeded, failed, retrying, cancelled, interrupted.
        Running = "running",
        /// An attempt failed and another will follow. Next: waiting, cancelled.
        Retrying = "retrying",
        /// The last attempt succeeded.
        Succeeded = "succeeded",
        /// The last attempt failed, and no other may follow.
        Failed = "failed",
        /// Its condition did not come true.
        Skipped = "skipped",
        /// A task above it failed.
        UpstreamFailed = "upstream_failed",
        /// Stopped, or never started, because the run was cancelled or timed out.
        Cancelled = "cancelled",
        /// Petit died during the last attempt, and no other may follow.
        Interrupted = "interrupted",
    }
}

impl TaskState {
    /// Whether nothing comes after this state.
    pub const fn is_finished(self) -> bool {
        match self {
            Self::Pending | Self::Waiting | Self::Running | Self::Retrying => false,
            Self::Succeeded
            | Self::Failed
            | Self::Skipped
            | Self::UpstreamFailed
            | Self::Cancelled
            | Self::Interrupted => true,
        }
    }
}

named_states! {
    /// What made a run.
    Trigger {
        /// A slot of the job's schedule.
        Schedule = "schedule",
        /// A person or a program, through `petit trigger`.
        Manual = "manual",
        /// The success of all the jobs that the job depends on.
        Dependency = "dependency",
        /// `petit retry`.
        Retry = "retry",
    }
}

impl Trigger {
    /// Whether somebody asked for the run: a pause, a disabled or a removed job do not keep it from starting, and other
    /// jobs do not wait for it.
    pub const fn is_by_hand(self) -> bool {
        match self {
            Self::Manual | Self::Retry => true,
            Self::Schedule | Self::Dependency => false,
        }
    }
}

named_states! {
    /// What became of a slot.
    SlotOutcome {
        /// A run of it started.
        Ran = "ran",
        /// A rule of the job kept it from running.
        Skipped = "skipped",
        /// Nobody was there to run it.
        Missed = "missed",
        /// A later slot ran in its place.
        Merged = "merged",
        /// It could not be run.
        Refused = "refused",
    }
}

named_states! {
    /// Why a slot did not run as scheduled.
    SlotReason {
        /// A run of the job was still going.
        Overlap = "overlap",
        /// The job, or everything, was paused.
        Paused = "paused",
        /// Petit was not running, or ran and could not act: its journal could not be written, say.
        Down = "down",
        /// A job that it depends on had not met its condition.
        Dependency = "dependency",
        /// The machine's clock was moved while Petit ran, or the machine slept.
        Clock = "clock",
        /// More late slots than the job's limit.
        Limit = "limit",
        /// Older than the job's window for late slots.
        Window = "window",
        /// The job is disabled.
        Disabled = "disabled",
        /// The job was removed.
        Removed = "removed",
        /// It was cancelled before it started.
        Cancelled = "cancelled",
        /// The job's parameters or templates could not be rendered.
        Invalid = "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_agree_with_json() {
        for status in RunStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
            assert_eq!(serde_json::to_value(status).expect("a string"), status.as_str());
        }
        let error = "done".parse::<RunStatus>().expect_err("no such status");
        assert!(error.to_string().contains("succeeded"), "{error}");
    }
}
