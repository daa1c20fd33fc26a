//! How an attempt ended. Every ending has its own name; none is folded into another's exit code.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The process exited by itself with this code.
    Exited(i32),
    /// A signal that Petit did not send killed the process.
    Signalled(i32),
    /// It ran longer than the task's timeout, or than its run's, and was ended.
    TimedOut,
    /// Its processes held more memory than its limit allows, and were ended.
    OverMemory,
    /// It was ended on request.
    Cancelled,
    /// There is no such program.
    NotFound,
    /// The program or the working folder may not be used.
    NotPermitted,
    /// The system could not start another process.
    CouldNotSpawn,
    /// Petit died, or was stopped, while it ran.
    Interrupted,
    /// The process exited, but a descendant kept its output open and had to be ended.
    OutputHeldOpen,
    /// The process succeeded, but what it published could not be taken (too large, or not of the form).
    BadOutput,
    /// A template of the task asked for something that does not exist, so nothing was started.
    BadInput,
    /// A secret could not be read, or not be kept secret, so nothing was started.
    BadSecret,
    /// A Rust task returned an error.
    Failed,
    /// A Rust task returned an error that may pass by itself.
    FailedForNow,
    /// A Rust task panicked.
    Panicked,
}

/// sysexits.h: "temporary failure; the user is invited to retry".
const EX_TEMPFAIL: i32 = 75;

impl Ending {
    /// Whether the task has done its work.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// Whether trying again may help: what `retry.when: transient` asks.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::TimedOut | Self::Signalled(_) | Self::CouldNotSpawn | Self::Interrupted | Self::FailedForNow => true,
            Self::Exited(code) => code == EX_TEMPFAIL,
            Self::OverMemory
            | Self::Cancelled
            | Self::NotFound
            | Self::NotPermitted
            | Self::OutputHeldOpen
            | Self::BadOutput
            | Self::BadInput
            | Self::BadSecret
            | Self::Failed
            | Self::Panicked => false,
        }
    }

    /// The name used in JSON, SQL and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signalled(_) => "signalled",
            Self::TimedOut => "timed_out",
            Self::OverMemory => "over_memory",
            Self::Cancelled => "cancelled",
            Self::NotFound => "not_found",
            Self::NotPermitted => "not_permitted",
            Self::CouldNotSpawn => "could_not_spawn",
            Self::Interrupted => "interrupted",
            Self::OutputHeldOpen => "output_held_open",
            Self::BadOutput => "bad_output",
            Self::BadInput => "bad_input",
            Self::BadSecret => "bad_secret",
            Self::Failed => "failed",
            Self::FailedForNow => "failed_for_now",
            Self::Panicked => "panicked",
        }
    }

    /// The exit code, if there was one.
    pub const fn exit_code(self) -> Option<i32> {
        if let Self::Exited(code) = self {
            Some(code)
        } else {
            None
        }
    }

    /// The signal, if one that Petit did not send ended it.
    pub const fn signal(self) -> Option<i32> {
        if let Self::Signalled(signal) = self {
            Some(signal)
        } else {
            None
        }
    }

    /// The ending with a stored name; `None` for a name of another version.
    pub fn from_parts(name: &str, exit_code: Option<i32>, signal: Option<i32>) -> Option<Self> {
        Some(match name {
            "exited" => Self::Exited(exit_code?),
            "signalled" => Self::Signalled(signal?),
            "timed_out" => Self::TimedOut,
            "over_memory" => Self::OverMemory,
            "cancelled" => Self::Cancelled,
            "not_found" => Self::NotFound,
            "not_permitted" => Self::NotPermitted,
            "could_not_spawn" => Self::CouldNotSpawn,
            "interrupted" => Self::Interrupted,
            "output_held_open" => Self::OutputHeldOpen,
            "bad_output" => Self::BadOutput,
            "bad_input" => Self::BadInput,
            "bad_secret" => Self::BadSecret,
            "failed" => Self::Failed,
            "failed_for_now" => Self::FailedForNow,
            "panicked" => Self::Panicked,
            _ => return None,
        })
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("succeeded"),
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::OverMemory => f.write_str("over its memory limit"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::NotFound => f.write_str("program not found"),
            Self::NotPermitted => f.write_str("not permitted"),
            Self::CouldNotSpawn => f.write_str("could not be started"),
            Self::Interrupted => f.write_str("interrupted: Petit ended while it ran"),
            Self::OutputHeldOpen => f.write_str("a descendant kept its output open"),
            Self::BadOutput => f.write_str("its outputs could not be taken"),
            Self::BadInput => f.write_str("an expression could not be rendered"),
            Self::BadSecret => f.write_str("a secret could not be used"),
            Self::Failed => f.write_str("failed"),
            Self::FailedForNow => f.write_str("failed for now"),
            Self::Panicked => f.write_str("panicked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_survive_their_stored_form() {
        for ending in [
            Ending::Exited(3),
            Ending::Signalled(9),
            Ending::TimedOut,
            Ending::OverMemory,
            Ending::OutputHeldOpen,
            Ending::BadSecret,
            Ending::Failed,
            Ending::FailedForNow,
            Ending::Panicked,
        ] {
            assert_eq!(
                Ending::from_parts(ending.name(), ending.exit_code(), ending.signal()),
                Some(ending)
            );
        }
        assert_eq!(Ending::from_parts("exited", None, None), None);
    }

    #[test]
    fn transient_endings_are_those_of_the_environment() {
        assert!(Ending::Exited(75).is_transient() && Ending::Interrupted.is_transient());
        assert!(
            Ending::FailedForNow.is_transient() && !Ending::Failed.is_transient() && !Ending::Panicked.is_transient()
        );
        assert!(!Ending::Exited(1).is_transient() && !Ending::Cancelled.is_transient());
    }
}
