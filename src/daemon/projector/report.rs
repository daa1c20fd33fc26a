//! What one catch-up came to, as a value that can travel between processes.
//!
//! The daemon says and decides the same whether its own thread or a child did the work, because it knows of either only
//! this. It does not know when a catch-up is due or who did it.

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    core::{Timestamp, error_text::chain},
    history::{self, CatchUp, HistoryError},
    storage::Storage,
};

/// How a catch-up ended. One line of JSON between processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The history has what there was, or a whole part of it if the catch-up was told to stop.
    CaughtUp {
        /// How many facts were taken in.
        facts: u64,
        /// As [`CatchUp::cursor`].
        cursor: i64,
        /// What keeps answers from being complete, in sentences.
        notes: Vec<String>,
    },
    /// Nothing was taken in, or not everything.
    Failed(Failure),
}

/// Why a catch-up failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What kind of reason it is, by which the daemon decides.
    pub kind: FailureKind,
    /// The reason and its causes, in words.
    pub message: String,
}

/// The kinds of reasons for which a catch-up fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// Somebody reads the history, or writes to it.
    Held,
    /// A newer version wrote it.
    Newer,
    /// It cannot be read, nor be moved out of the way.
    Damaged,
    /// The system or DuckDB refused.
    Refused,
    /// The journal could not be read.
    Journal,
    /// Whoever was to catch up could not be started, or ended without a word.
    Silent,
    /// The code that catches up has a mistake.
    Panicked,
}

/// How many notes are told one by one: a journal with many holes has one for each.
const MOST_NOTES: usize = 50;

/// Brings the history up to date, while `go_on` says so, and does not wait for anybody who holds it.
pub(super) fn catch_up(path: &Path, journal: &dyn Storage, now: Timestamp, go_on: impl Fn() -> bool) -> Report {
    let history = match history::up_to_date(path, Some(journal), Duration::ZERO, now, go_on) {
        Ok(history) => history,
        Err(error) => return Report::of(&error),
    };
    match history.held_by() {
        Some(holder) if history.is_behind() => Report::of(&HistoryError::Held {
            path: path.to_owned(),
            holder: holder.clone(),
        }),
        Some(_) | None => {
            let CatchUp { facts, cursor, .. } = history.caught_up().expect("it was given a journal");
            let mut notes = history.notes().to_vec();
            let more = notes.len().saturating_sub(MOST_NOTES);
            notes.truncate(MOST_NOTES);
            if more > 0 {
                notes.push(format!("{more} more gaps are in the table `breaks` of the history"));
            }
            Report::CaughtUp { facts, cursor, notes }
        }
    }
}

impl Report {
    /// A failure of a kind, for a reason.
    pub(super) fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            kind,
            message: message.into(),
        })
    }

    pub(super) fn of(error: &HistoryError) -> Self {
        let kind = match error {
            HistoryError::Held { .. } => FailureKind::Held,
            HistoryError::Newer { .. } => FailureKind::Newer,
            HistoryError::Damaged { .. } => FailureKind::Damaged,
            HistoryError::System { .. } | HistoryError::Database { .. } => FailureKind::Refused,
            HistoryError::Journal(_) => FailureKind::Journal,
        };
        Self::failed(kind, chain(error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        core::{id::SpecHash, record::SpecRecord},
        history::history_path,
        storage::{Change, Memory},
    };

    fn journal(versions: u64) -> Memory {
        let journal = Memory::default();
        let version = |n: u64| {
            Change::PutSpec(SpecRecord {
                hash: SpecHash::of(&n.to_le_bytes()),
                job: "a".parse().expect("a slug"),
                canonical: "{}".to_owned(),
                yaml: String::new(),
                first_seen: Timestamp::UNIX_EPOCH,
            })
        };
        let committed = journal.commit((0..versions).map(version).collect());
        committed.wait_blocking().expect("a journal in memory");
        journal
    }

    #[test]
    fn a_report_counts_what_came_in_and_names_how_far_the_history_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = history_path(folder.path());
        let report = |facts, cursor| Report::CaughtUp {
            facts,
            cursor,
            notes: Vec::new(),
        };
        let journal = journal(3);
        let catch_up = || catch_up(&path, &journal, Timestamp::UNIX_EPOCH, || true);
        assert_eq!(catch_up(), report(3, 3));
        assert_eq!(catch_up(), report(0, 3), "a second one finds nothing new");
    }

    #[test]
    fn a_failure_keeps_its_kind_and_its_causes_on_the_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = history_path(folder.path());
        fs::create_dir(&path).expect("a folder where the file should be");
        let report = catch_up(&path, &journal(1), Timestamp::UNIX_EPOCH, || true);
        let Report::Failed(Failure { kind, message }) = &report else {
            panic!("{report:?}")
        };
        assert_eq!(*kind, FailureKind::Refused, "{message}");
        assert!(message.contains("could not open the history"), "{message}");
        let line = serde_json::to_string(&report).expect("texts and numbers");
        assert_eq!(serde_json::from_str::<Report>(&line).expect("what was written"), report);
    }
}
