//! The history for whoever only wants to know: brought up to date if that can be done, and asked as it is if not.
//!
//! What keeps it from growing, such as a full disk or a fact of the journal that cannot be read, is no reason not to answer
//! from what is there; it is a note beside the answer. The daemon's projection wants to know of it instead, and uses
//! [`up_to_date`](super::up_to_date).

use std::{path::Path, time::Duration};

use super::{History, HistoryError, projection::up_to_date};
use crate::{
    core::{Timestamp, error_text::chain},
    storage::Storage,
};

/// Opens the history and brings it up to date as far as that goes. It fails only when there is nothing to read.
pub fn for_reading(
    path: &Path,
    journal: Option<&dyn Storage>,
    patience: Duration,
    now: Timestamp,
) -> Result<History, HistoryError> {
    let error = match up_to_date(path, journal, patience, now, || true) {
        Ok(history) => return Ok(history),
        Err(error) => error,
    };
    match error {
        HistoryError::System { .. } | HistoryError::Database { .. } | HistoryError::Journal(_) => {}
        // Neither can be read beside what is wrong with it; a damaged file has been moved aside once already.
        HistoryError::Held { .. } | HistoryError::Newer { .. } | HistoryError::Damaged { .. } => return Err(error),
    }
    // A connection whose write failed is of no more use, and was closed with the attempt. This one writes nothing at all.
    let Ok(mut history) = History::open_read_only(path, patience, None) else {
        return Err(error);
    };
    history
        .notes
        .push(format!("what happened since is not in the history: {}", chain(&error)));
    Ok(history)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        core::state::RunStatus,
        history::{
            history_path,
            tests::{Journal, at},
        },
        storage::Sqlite,
    };

    /// A journal in a file, one of whose facts is no longer what was written.
    fn with_a_broken_fact(path: &Path) -> Sqlite {
        let mut journal = Journal {
            storage: Arc::new(Sqlite::open(path).expect("opens")),
            ..Journal::default()
        };
        journal.run("a", 0, (1, 10), RunStatus::Succeeded, &[]);
        drop(journal);
        let broken = rusqlite::Connection::open(path).expect("opens");
        broken
            .execute(
                "UPDATE facts SET body = '{' WHERE number = (SELECT max(number) FROM facts)",
                [],
            )
            .expect("is broken");
        drop(broken);
        Sqlite::open_read_only(path).expect("opens")
    }

    #[test]
    fn what_is_there_is_read_though_nothing_can_be_added() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = history_path(folder.path());
        let mut before = Journal::default();
        before.run("a", 0, (1, 10), RunStatus::Succeeded, &[]);
        drop(up_to_date(&path, Some(before.storage.as_ref()), Duration::ZERO, at(9), || true).expect("is fed"));

        let broken = with_a_broken_fact(&folder.path().join("journal.db"));
        let feed = up_to_date(&path, Some(&broken), Duration::ZERO, at(9), || true);
        assert!(matches!(feed, Err(HistoryError::Journal(_))), "the projection is told");
        let history = for_reading(&path, Some(&broken), Duration::ZERO, at(9)).expect("is read");
        assert_eq!(history.count("FROM runs").expect("rows"), 1);
        assert_eq!(history.as_of(), Some(at(0)));
        assert!(
            history.notes()[0].contains("is not in the history"),
            "{:?}",
            history.notes()
        );
        let nothing = for_reading(&folder.path().join("no/history"), Some(&broken), Duration::ZERO, at(9));
        assert!(nothing.is_err());
    }
}
