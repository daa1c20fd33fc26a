//! How a task fails: in words, with what trying again may bring.

use crate::core::ending::Ending;

/// Why an attempt of a Rust task failed.
///
/// It is *transient* when trying again may help: `retry: {when: transient}` tries those again and no others. It carries an
/// exit code where there is one, that of a program which the task ran.
///
/// ```
/// use petit::{Ending, TaskError};
///
/// // The text is what the run says of its failure; `?` makes errors of these of `std` and `serde_json`.
/// let busy = TaskError::transient("the warehouse is locked");
/// assert!(busy.is_transient());
/// let broken: TaskError = serde_json::from_str::<u32>("x").unwrap_err().into();
/// assert!(!broken.is_transient());
/// // What the kernel calls temporary is transient.
/// let slow: TaskError = std::io::Error::from(std::io::ErrorKind::TimedOut).into();
/// assert!(slow.is_transient());
/// // Code 75 is EX_TEMPFAIL.
/// let refused = TaskError::exited(75, "the mirror is being rebuilt");
/// assert_eq!((refused.exit_code(), refused.is_transient()), (Some(75), true));
/// assert_eq!(refused.ending(), Ending::Exited(75));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TaskError {
    message: String,
    ending: Ending,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl TaskError {
    /// A failure that trying again does not mend.
    pub fn new(message: impl Into<String>) -> Self {
        Self::ended(Ending::Failed, message)
    }

    /// A failure that may pass by itself: something was busy, away or too slow.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::ended(Ending::FailedForNow, message)
    }

    /// The failure of a program that exited with `code`. It is transient when the code is 75.
    pub fn exited(code: i32, message: impl Into<String>) -> Self {
        Self::ended(Ending::Exited(code), message)
    }

    /// A failure that is known by how something ended. A success is none: it counts as [`Self::new`].
    pub fn ended(ending: Ending, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ending: if ending.is_success() { Ending::Failed } else { ending },
            source: None,
        }
    }

    /// The same with what caused it, which is told after the text.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        self.ending.is_transient()
    }

    /// The exit code, where there is one.
    pub fn exit_code(&self) -> Option<i32> {
        self.ending.exit_code()
    }

    /// How the attempt ends.
    pub fn ending(&self) -> Ending {
        self.ending
    }
}

impl From<&str> for TaskError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for TaskError {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<serde_json::Error> for TaskError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// What the system says passes by itself is transient.
impl From<std::io::Error> for TaskError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let passing = [
            ErrorKind::TimedOut,
            ErrorKind::WouldBlock,
            ErrorKind::Interrupted,
            ErrorKind::ConnectionRefused,
            ErrorKind::ConnectionReset,
            ErrorKind::ConnectionAborted,
            ErrorKind::ResourceBusy,
        ];
        if passing.contains(&error.kind()) {
            Self::transient(error.to_string())
        } else {
            Self::new(error.to_string())
        }
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for TaskError {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::new(crate::core::error_text::chain(error.as_ref()))
    }
}
