//! What can go wrong with the history, and how DuckDB's words are told apart.
//!
//! DuckDB gives an error as a text and no code that says whether a file is locked, damaged or of a newer version. The
//! texts are recognised here and nowhere else; one that is not known is passed on as it is, and nothing is moved aside
//! because of it.

use std::path::{Path, PathBuf};

use super::file::Holder;
use crate::storage::StorageError;

/// Why the history could not be opened, fed or asked.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Another process has the file open in a way that leaves no room for this one.
    #[error("the history {} is held by {holder}", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// Who holds it.
        holder: Holder,
    },
    /// The file was written by a newer version of Petit, or of DuckDB; it was left as it is.
    #[error("the history {} was written by a newer version: {found}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What was found, and what is known.
        found: String,
    },
    /// What the file holds cannot be read.
    #[error("the history {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What DuckDB said.
        #[source]
        source: duckdb::Error,
    },
    /// The system refused.
    #[error("could not {operation} the history {}", path.display())]
    System {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// DuckDB refused for another reason.
    #[error("could not {operation} the history {}", path.display())]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What DuckDB said.
        #[source]
        source: duckdb::Error,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] StorageError),
}

impl HistoryError {
    pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(duckdb::Error) -> Self {
        let path = path.to_owned();
        move |source| match Trouble::of(&source.to_string()) {
            Trouble::Held(holder) => Self::Held { path, holder },
            Trouble::Newer(found) => Self::Newer { path, found },
            Trouble::Damaged => Self::Damaged {
                path,
                source: without_trace(source),
            },
            Trouble::NoSpace | Trouble::Other => Self::Database {
                operation,
                path,
                source: without_trace(source),
            },
        }
    }

    /// Who is in the way, if that is all that is wrong. To one who only asks it is a process that writes, since readers go
    /// side by side.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Held { holder, .. } => Some(holder),
            Self::Newer { .. }
            | Self::Damaged { .. }
            | Self::System { .. }
            | Self::Database { .. }
            | Self::Journal(_) => None,
        }
    }

    /// Whether the disk is full, which says nothing about what is on it.
    pub(super) fn is_no_space(&self) -> bool {
        match self {
            Self::Database { source, .. } => Trouble::of(&source.to_string()) == Trouble::NoSpace,
            Self::System { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Self::Held { .. } | Self::Newer { .. } | Self::Damaged { .. } | Self::Journal(_) => false,
        }
    }
}

/// An error of DuckDB's without the trace of its own code that it adds to faults of its own, which says nothing to whoever
/// asked.
pub(super) fn without_trace(error: duckdb::Error) -> duckdb::Error {
    match error {
        duckdb::Error::DuckDBFailure(code, Some(text)) => {
            duckdb::Error::DuckDBFailure(code, Some(told_in_short(&text).to_owned()))
        }
        other => other,
    }
}

/// The part of DuckDB's words that is meant for people.
fn told_in_short(text: &str) -> &str {
    let is_fault = ["INTERNAL Error", "FATAL Error"].iter().any(|kind| text.contains(kind));
    let end = if is_fault {
        text.find('\n').unwrap_or(text.len())
    } else {
        text.find("\n\nStack Trace").unwrap_or(text.len())
    };
    text[..end].trim_end()
}

/// What a text of DuckDB's means for the file.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Held(Holder),
    Newer(String),
    /// There is no room for what was to be written.
    NoSpace,
    Damaged,
    Other,
}

/// Parts of the texts by which the system says, through DuckDB, that nothing more can be written.
const NO_SPACE: [&str; 3] = ["No space left", "Disk quota exceeded", "File too large"];

/// Parts of the texts by which DuckDB says that a file is not what it wrote.
const DAMAGED: [&str; 8] = [
    "not a valid DuckDB database file",
    "Corrupt",
    "checksum",
    "Could not read enough bytes",
    "Serialization Error",
    "Failure while replaying WAL",
    "INTERNAL Error",
    "database has been invalidated",
];

impl Trouble {
    fn of(text: &str) -> Self {
        if text.contains("Could not set lock on file") {
            Self::Held(Holder::of(text))
        } else if text.contains("database file with version number") {
            Self::Newer(text.lines().next().unwrap_or(text).to_owned())
        } else if NO_SPACE.iter().any(|part| text.contains(part)) {
            // Before damage: once a write has failed, DuckDB calls the database invalid, and quotes the cause.
            Self::NoSpace
        } else if DAMAGED.iter().any(|part| text.contains(part)) {
            Self::Damaged
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_duckdb_are_told_apart() {
        let held = "IO Error: Could not set lock on file \"/s/history.duckdb\": Conflicting lock is held in \
                    /usr/bin/python3.12 (PID 4711) by user ann. See also https://duckdb.org/docs/stable/connect/concurrency";
        let Trouble::Held(holder) = Trouble::of(held) else {
            panic!("held")
        };
        assert_eq!(holder.to_string(), "/usr/bin/python3.12 (pid 4711)");
        let nameless = Trouble::of("IO Error: Could not set lock on file \"/s/h\": Resource temporarily unavailable");
        let Trouble::Held(holder) = nameless else {
            panic!("held")
        };
        assert_eq!(holder.to_string(), "another process");
        for (text, expected) in [
            (
                "IO Error: The file \"h\" exists, but it is not a valid DuckDB database file!",
                Trouble::Damaged,
            ),
            (
                "IO Error: Could not read enough bytes from file \"h\"",
                Trouble::Damaged,
            ),
            (
                "FATAL Error: Failed: database has been invalidated because of a previous fatal error. Original error: \
                 \"IO Error: Could not write file \"h\": No space left on device\"",
                Trouble::NoSpace,
            ),
            ("IO Error: Cannot open file \"h\": Permission denied", Trouble::Other),
            ("Catalog Error: Table with name x does not exist!", Trouble::Other),
        ] {
            assert_eq!(Trouble::of(text), expected, "{text}");
        }
    }

    #[test]
    fn traces_are_left_to_those_who_mend_duckdb() {
        for (text, expected) in [
            (
                "INTERNAL Error: Attempted to dereference nullptr\n\nStack Trace:\n\nduckdb::Exception::ToJSON + 58",
                "INTERNAL Error: Attempted to dereference nullptr",
            ),
            (
                "Binder Error: no column x\n\nLINE 1: SELECT x\n               ^",
                "Binder Error: no column x\n\nLINE 1: SELECT x\n               ^",
            ),
            ("IO Error: it broke\n\nStack Trace:\n\n0x01", "IO Error: it broke"),
        ] {
            assert_eq!(told_in_short(text), expected);
        }
    }
}
