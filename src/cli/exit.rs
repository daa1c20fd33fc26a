//! How a command ends: its exit code, and the error that it prints.

use std::fmt;

use serde::Serialize;

use crate::{
    control::{ClientError, Refusal, RefusalKind},
    core::error_text::chain,
    storage::StorageError,
    view::ViewError,
};

/// The exit codes of `petit`, an interface that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The thing asked about failed or is not so: an invalid file, a failed run, not synced, no such job.
    Negative = 1,
    /// `plan` found changes.
    Changes = 2,
    /// A daemon is needed, and none runs.
    NoDaemon = 3,
    /// Something inside Petit or around it failed: a file that cannot be read, a full disk.
    Failed = 4,
    /// The command line is wrong.
    Usage = 64,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error on its way to the user: what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CliError {
    /// A stable name of the kind of error.
    pub code: &'static str,
    /// What is wrong, with its causes.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
    /// The exit code that it calls for.
    #[serde(skip)]
    pub exit: Exit,
    /// How people see it, where that is more than the message and the hints: with the text that is wrong, and an arrow.
    #[serde(skip)]
    pub shown: Option<String>,
}

impl CliError {
    /// An error without hints.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hints: Vec::new(),
            exit,
            shown: None,
        }
    }

    /// Something failed: `attempt` says what was tried, `error` and its causes why it did not work.
    pub fn failed(attempt: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(Exit::Failed, "failed", format!("{attempt}: {}", chain(error)))
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// The same with something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        let (exit, code) = match refusal.code {
            RefusalKind::NotFound => (Exit::Negative, "not_found"),
            RefusalKind::Invalid => (Exit::Usage, "invalid"),
            RefusalKind::Conflict => (Exit::Negative, "conflict"),
            RefusalKind::Failed => (Exit::Failed, "failed"),
            RefusalKind::ShuttingDown => (Exit::NoDaemon, "shutting_down"),
        };
        Self {
            code,
            message: refusal.message,
            hints: refusal.hints,
            exit,
            shown: None,
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoDaemon { .. } => Self::new(Exit::NoDaemon, "no_daemon", error.to_string())
                .hint("start one with `petit run`, or name its state folder with `--state-dir`"),
            ClientError::Refused(refusal) => refusal.into(),
            ClientError::Connect { .. } => Self::new(Exit::Failed, "connect", chain(&error)),
            ClientError::Broken { .. } => Self::new(Exit::Failed, "hung_up", chain(&error))
                .hint("`petit status` says whether the daemon still runs"),
            ClientError::Foreign { .. } => Self::new(Exit::Failed, "foreign", chain(&error))
                .hint("the daemon may be of another version: restart it"),
        }
    }
}

impl From<StorageError> for CliError {
    fn from(error: StorageError) -> Self {
        let this = Self::new(Exit::Failed, "journal", chain(&error));
        if matches!(error, StorageError::Newer { .. }) {
            this.hint("use the version of Petit that wrote it, or a newer one; the file was left as it is")
        } else if error.is_damage() {
            this.hint("`petit run` sets it aside and goes on with what can be saved of it; nothing was changed yet")
        } else {
            this
        }
    }
}

impl From<ViewError> for CliError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Storage(error) => error.into(),
            ViewError::NoSuchJob { .. } | ViewError::NoSuchRun { .. } => Refusal::from(error).into(),
        }
    }
}
