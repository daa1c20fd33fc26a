//! Makes the file small again: DuckDB uses the room of rows that were taken out for new ones, and never gives it back.
//!
//! What is alive is copied into a new file beside the old one, which then takes its name. Others may read all the while;
//! whoever would write waits as for any reader. A crash leaves the old file, and a copy that the next rewrite begins anew.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use duckdb::{AccessMode, Connection};

use super::{
    History, HistoryError,
    alone::Alone,
    file::{config, log_of, until},
};
use crate::core::beside::beside;

/// The share of dead blocks from which a rewrite is worth it.
const DEAD: f64 = 0.3;
/// A file of so few bytes is not worth it, whatever is dead in it.
const SMALL: u64 = 4 << 20;

/// How large a file was, and is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Rewrites the history at `path` if much of it is dead. Waits for others for `patience` at most. `None` if it is not worth
/// it, or if somebody wrote just then: there will be another time.
pub fn rewrite_if_worth_it(path: &Path, patience: Duration) -> Result<Option<Rewritten>, HistoryError> {
    let before = length(path);
    if before < SMALL {
        return Ok(None);
    }
    let history = History::open(path, patience)?;
    if history.held_by().is_some() || history.dead_share()? <= DEAD {
        return Ok(None);
    }
    drop(history);
    rewrite(path, patience)
}

/// Rewrites the history at `path`, whatever is dead in it.
pub(super) fn rewrite(path: &Path, patience: Duration) -> Result<Option<Rewritten>, HistoryError> {
    let before = length(path);
    let deadline = Instant::now() + patience;
    let _alone = super::file::wait_for(deadline, || Alone::claim(path)).ok_or_else(|| HistoryError::Held {
        path: path.to_owned(),
        holder: super::Holder {
            program: None,
            pid: Some(std::process::id()),
        },
    })?;
    let failed = || HistoryError::failed("rewrite", path);
    let copy = beside(path, ".rewritten");
    remove(&copy)?;
    // Both are attached to a database in memory: one that is opened for reading only could write no other.
    let connection = Connection::open_in_memory_with_flags(
        config(AccessMode::Automatic, Some(&copy)).map_err(HistoryError::failed("rewrite", path))?,
    )
    .map_err(failed())?;
    let attach = || {
        connection
            .execute_batch(&format!("ATTACH {} AS old (READ_ONLY)", quoted(path)))
            .map_err(failed())
    };
    until(deadline, attach)?;
    // Read-only, it keeps writers out and leaves the log to them. A log that is there belongs to the old file, and would be
    // taken for one of the new.
    if log_of(path).exists() {
        return Ok(None);
    }
    let write = || {
        connection.execute_batch(&format!(
            "ATTACH {} AS fresh; COPY FROM DATABASE old TO fresh; CHECKPOINT fresh; DETACH fresh",
            quoted(&copy)
        ))
    };
    write().map_err(failed())?;
    put_in_place(&copy, path)?;
    // Until here nobody could begin to write to the file that has just lost its name.
    drop(connection);
    Ok(Some(Rewritten {
        before,
        after: length(path),
    }))
}

impl History {
    /// The share of the file's blocks that hold nothing.
    fn dead_share(&self) -> Result<f64, HistoryError> {
        let ask = || {
            self.connection.execute_batch("CHECKPOINT")?;
            self.connection.query_row(
                "SELECT free_blocks / greatest(total_blocks, 1) FROM pragma_database_size() LIMIT 1",
                [],
                |row| row.get::<_, f64>(0),
            )
        };
        ask().map_err(self.failed("measure"))
    }
}

/// How large a history is, with its log.
pub fn length(path: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    length(path) + length(&log_of(path))
}

fn put_in_place(copy: &Path, path: &Path) -> Result<(), HistoryError> {
    let put = || {
        let file = File::open(copy)?;
        file.set_permissions(fs::metadata(path)?.permissions())?;
        file.sync_all()?;
        fs::rename(copy, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    put().map_err(|source| HistoryError::System {
        operation: "put the new copy in the place of",
        path: path.to_owned(),
        source,
    })
}

/// Removes what an earlier rewrite left.
fn remove(copy: &Path) -> Result<(), HistoryError> {
    for path in [copy.to_owned(), log_of(copy)] {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(HistoryError::System {
                    operation: "remove an old copy of",
                    path,
                    source,
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::{
            history_path,
            tests::{Journal, at},
            up_to_date,
        },
        *,
    };
    use crate::core::state::RunStatus;

    #[test]
    fn a_file_of_which_much_is_dead_is_made_small_and_nothing_alive_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = history_path(folder.path());
        let mut journal = Journal::default();
        let run = journal.run("a", 0, (1, 10), RunStatus::Succeeded, &[("load", 0, 5)]);
        let feed = || up_to_date(&path, Some(journal.storage.as_ref()), Duration::ZERO, at(9), || true);
        let history = feed().expect("feeds");
        history
            .connection
            .execute_batch(
                "INSERT INTO outputs BY NAME
                 SELECT 'x' AS run_id, 't' AS task, md5(n::VARCHAR) AS name, md5((n + 1)::VARCHAR) AS text,
                        TIMESTAMP '2026-01-01' AS published_at, 'j' AS journal, n AS fact
                 FROM range(300000) AS t(n)",
            )
            .expect("a good statement");
        drop(history);
        let full = length(&path);
        assert!(full > SMALL, "{full}");
        assert_eq!(
            rewrite_if_worth_it(&path, Duration::ZERO).expect("looks"),
            None,
            "all of it is alive"
        );
        let history = feed().expect("opens");
        history
            .connection
            .execute_batch("DELETE FROM outputs")
            .expect("a good statement");
        drop(history);

        let rewritten = rewrite_if_worth_it(&path, Duration::ZERO).expect("rewrites");
        let rewritten = rewritten.expect("much is dead");
        assert!(
            rewritten.after < full / 2 && rewritten.after == length(&path),
            "{rewritten:?}"
        );
        let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(left.len(), 1, "{left:?}");
        let history = feed().expect("opens");
        assert_eq!(
            history.caught_up().map(|last| last.facts),
            Some(0),
            "it knows how far it is"
        );
        assert!(history.run(run).expect("asks").is_some_and(|run| run.tasks.is_empty()));
        assert_eq!(history.count("SELECT * FROM attempts").expect("counts"), 1);
    }

    #[test]
    fn whoever_writes_is_not_in_its_way_for_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = history_path(folder.path());
        let writer = History::open(&path, Duration::ZERO).expect("opens");
        let error = rewrite(&path, Duration::ZERO).expect_err("held");
        assert!(matches!(error, HistoryError::Held { .. }), "{error}");
        drop(writer);
        // A log that somebody left is still part of the old file.
        fs::write(log_of(&path), "").expect("writes");
        assert!(matches!(rewrite(&path, Duration::ZERO), Ok(None)));
    }
}
