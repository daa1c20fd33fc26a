//! The one thread that writes.
//!
//! It takes whatever has queued up and commits it as one transaction, so that one wait for the disk serves everyone who was
//! waiting: the longer a write takes, the more the next one carries. Those who were just answered often come back at once
//! with their next commit, so it waits a moment for them, and meanwhile applies what is there; else they and those who came
//! meanwhile would take turns for ever, in transactions of half the size. An answer is given only after the disk has
//! everything.
//!
//! A refused commit leaves the others alone. Hardly any is refused, and a savepoint for each would copy every page that it
//! touches; so all are applied without, and only after a refusal the transaction is begun again with savepoints.
//!
//! Moving the log into the file (a checkpoint) takes several waits for the disk. It is done in a lull, where SQLite by itself
//! would do it within the commit that happens to fill the log, and with it hold up a slot.
//!
//! If the transaction as a whole fails (a full disk, say), every commit in it gets that error and nothing has changed; the
//! thread lives on, and the next batch may succeed.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    super::{Ack, Change, Clock, StorageError, apply},
    tables::Tables,
};
use crate::core::Timestamp;

/// The most commits in one transaction: enough that the disk is no longer what limits, few enough that the first of them
/// does not wait long for the last.
const BATCH: usize = 512;

/// Whoever was answered and has more to commit comes back within this time. Nobody else notices so short a wait.
const COMING_BACK: Duration = Duration::from_micros(200);

/// After so many transactions the log is worth a checkpoint in the next lull.
const WORTH_MOVING: u32 = 100;
/// Nobody has come for so long: the burst that follows an instant is over.
const LULL: Duration = Duration::from_millis(30);

/// A handle on the thread. Dropping it commits what is queued, and waits for that.
#[derive(Debug)]
pub(super) struct Writer {
    /// Without a bound, because a commit must not block its caller. Callers bound it themselves by waiting for their answers.
    queue: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Request {
    changes: Vec<Change>,
    answer: oneshot::Sender<Result<(), StorageError>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: PathBuf, clock: Clock) -> Result<Self, StorageError> {
        let (queue, requests) = mpsc::channel();
        let owned = path.clone();
        let thread = thread::Builder::new()
            .name("journal".into())
            .spawn(move || write(&requests, &connection, &owned, &clock))
            .map_err(|source| StorageError::system("start the writer of", &path, source))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) fn commit(&self, changes: Vec<Change>) -> Ack {
        let (answer, ack) = Ack::new();
        if let Some(queue) = &self.queue {
            // If the thread is gone, the request is dropped with its answer, which reads as Closed.
            let _ = queue.send(Request { changes, answer });
        }
        ack
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Without a sender the thread ends, once the queue is empty.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to return, and a panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn write(requests: &Receiver<Request>, connection: &Connection, path: &Path, clock: &Clock) {
    let mut unmoved = 0;
    let mut waiting: Vec<Request> = Vec::new();
    let mut expected = Expected::nobody();
    loop {
        if waiting.is_empty() {
            match next(requests, unmoved >= WORTH_MOVING) {
                Next::Request(request) => waiting.push(request),
                Next::Lull => {
                    // A reader that holds the log back, or a full disk, is no harm: it is moved in a later lull.
                    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                    unmoved = 0;
                    continue;
                }
                Next::Over => break,
            }
        }
        unmoved += 1;
        let (mut lists, mut answers): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|request| (request.changes, request.answer))
            .unzip();
        let come = |count| {
            let Request { changes, answer } = another(requests, &expected, count)?;
            answers.push(answer);
            Some(changes)
        };
        let results = commit_all(connection, path, &mut lists, come, clock());
        waiting.extend(requests.try_iter().take(BATCH));
        expected = Expected {
            commits: waiting.len() + answers.len(),
            until: Instant::now() + COMING_BACK,
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // Whoever dropped the Ack did not want the answer.
            let _ = answer.send(result);
        }
    }
    // Leaves one whole file behind for backups. The next start does the same with what remains, so failing is harmless.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

/// How large the next transaction may become if one waits for it.
struct Expected {
    /// Those who were answered, and those who came while the disk wrote.
    commits: usize,
    /// When the answered ones will have come, if they have anything to commit.
    until: Instant,
}

impl Expected {
    fn nobody() -> Self {
        Self {
            commits: 0,
            until: Instant::now(),
        }
    }
}

/// Another commit for a transaction of `count`: one that has queued up, or else one that is expected and waited for.
fn another(requests: &Receiver<Request>, expected: &Expected, count: usize) -> Option<Request> {
    if count >= BATCH {
        return None;
    }
    if let Ok(request) = requests.try_recv() {
        return Some(request);
    }
    let left = expected.until.saturating_duration_since(Instant::now());
    if count >= expected.commits || left.is_zero() {
        return None;
    }
    requests.recv_timeout(left).ok()
}

enum Next {
    Request(Request),
    /// Nobody came for a while.
    Lull,
    /// Nobody can come any more, and all who came have been served.
    Over,
}

fn next(requests: &Receiver<Request>, lull_matters: bool) -> Next {
    if !lull_matters {
        return requests.recv().map_or(Next::Over, Next::Request);
    }
    match requests.recv_timeout(LULL) {
        Ok(request) => Next::Request(request),
        Err(RecvTimeoutError::Timeout) => Next::Lull,
        Err(RecvTimeoutError::Disconnected) => Next::Over,
    }
}

/// Commits each list, all in one transaction, and says for each whether it is on disk. When all are applied, `come` is asked
/// for one more, and told how many there are.
fn commit_all(
    connection: &Connection,
    path: &Path,
    lists: &mut Vec<Vec<Change>>,
    come: impl FnMut(usize) -> Option<Vec<Change>>,
    now: Timestamp,
) -> Vec<Result<(), StorageError>> {
    let tables = Tables::new(connection, path);
    let results = match together(tables, lists, come, now) {
        Ok(()) => Ok(vec![Ok(()); lists.len()]),
        Err(Failure::Apply(_)) if lists.len() > 1 => {
            roll_back(connection);
            one_by_one(tables, lists, now)
        }
        Err(Failure::Apply(error) | Failure::Commit(error)) => Err(error),
    };
    results.unwrap_or_else(|error| {
        roll_back(connection);
        vec![Err(error); lists.len()]
    })
}

/// Why a transaction without savepoints came to nothing.
enum Failure {
    /// One of its lists was refused, or could not be written.
    Apply(StorageError),
    /// It could not be begun or ended.
    Commit(StorageError),
}

/// Applies all lists, and those that come meanwhile, as if they were one.
fn together(
    mut tables: Tables<'_>,
    lists: &mut Vec<Vec<Change>>,
    mut come: impl FnMut(usize) -> Option<Vec<Change>>,
    now: Timestamp,
) -> Result<(), Failure> {
    begin(&tables).map_err(Failure::Commit)?;
    let mut applied = 0;
    loop {
        for changes in &lists[applied..] {
            apply::commit(&mut tables, changes, now).map_err(Failure::Apply)?;
        }
        applied = lists.len();
        match come(applied) {
            Some(changes) => lists.push(changes),
            None => break,
        }
    }
    tables.write("COMMIT", params![]).map_err(Failure::Commit)?;
    Ok(())
}

/// Applies each list in a savepoint of its own. The outer error is that of the whole transaction.
fn one_by_one(
    mut tables: Tables<'_>,
    lists: &[Vec<Change>],
    now: Timestamp,
) -> Result<Vec<Result<(), StorageError>>, StorageError> {
    begin(&tables)?;
    let mut results = Vec::with_capacity(lists.len());
    for changes in lists {
        tables.write("SAVEPOINT one", params![])?;
        let result = apply::commit(&mut tables, changes, now);
        if let Err(error) = &result {
            // Some errors, such as a full disk, make SQLite roll back everything by itself.
            if tables.is_over() {
                return Err(error.clone());
            }
            tables.write("ROLLBACK TO one", params![])?;
        }
        tables.write("RELEASE one", params![])?;
        results.push(result);
    }
    tables.write("COMMIT", params![])?;
    Ok(results)
}

fn begin(tables: &Tables<'_>) -> Result<(), StorageError> {
    // Immediate, so that a wait for another process happens here and not in the middle.
    tables.write("BEGIN IMMEDIATE", params![]).map(drop)
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit() {
        // If even this fails, the next BEGIN does too, and says so to whoever commits next.
        let _ = connection.execute_batch("ROLLBACK");
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use rusqlite::ErrorCode;

    use super::{
        super::{
            super::suite::{alike::change, fixtures::*},
            schema,
        },
        *,
    };

    fn open(folder: &tempfile::TempDir) -> (Connection, PathBuf) {
        let path = folder.path().join("journal.db");
        (schema::open_for_writing(&path).expect("opens"), path)
    }

    fn committed(
        connection: &Connection,
        path: &Path,
        lists: impl IntoIterator<Item = Vec<Change>>,
    ) -> Vec<Result<(), StorageError>> {
        commit_all(connection, path, &mut lists.into_iter().collect(), |_| None, at(0))
    }

    fn rows(connection: &Connection, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).expect("counts")
    }

    #[test]
    fn a_refused_commit_does_not_hurt_its_neighbours() {
        let folder = tempfile::tempdir().expect("a folder");
        let (connection, path) = open(&folder);
        let slot = |second| {
            vec![
                Change::Reconcile(reconcile(second)),
                Change::PutSlot(claim("a", second)),
            ]
        };
        let results = committed(&connection, &path, [slot(1), slot(1), slot(2)]);
        assert!(
            matches!(&results[..], [Ok(()), Err(StorageError::SlotTaken { .. }), Ok(())]),
            "{results:?}"
        );
        assert_eq!((rows(&connection, "slots"), rows(&connection, "facts")), (2, 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn a_batch_comes_to_the_same_as_its_commits_one_after_the_other(lists in vec(vec(change(), 1..4), 1..20)) {
            let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
            let journals = folders.each_ref().map(open);
            let basis = [vec![put_spec("a", 1), put_spec("b", 1), create(queued(1, "a"))]];
            for (connection, path) in &journals {
                committed(connection, path, basis.clone());
            }
            let [(together, path), (alone, other)] = &journals;
            let texts = |results: Vec<Result<(), StorageError>>| -> Vec<_> {
                results.into_iter().map(|result| result.map_err(|error| error.to_string())).collect()
            };
            let of_batch = texts(committed(together, path, lists.clone()));
            let each = lists.iter().flat_map(|list| committed(alone, other, [list.clone()]));
            prop_assert_eq!(of_batch, texts(each.collect()));
            let rows = [path, other].map(|path| everything(&super::super::Sqlite::open_read_only(path).expect("opens")));
            prop_assert_eq!(&rows[0], &rows[1]);
        }
    }

    #[test]
    fn those_who_come_back_are_waited_for_and_nobody_else_is() {
        let (queue, requests) = mpsc::channel();
        let come = || {
            let (answer, _) = Ack::new();
            let changes = Vec::new();
            queue.send(Request { changes, answer }).expect("a queue");
        };
        let gathered = |expected: &Expected| {
            let mut count = 0;
            while another(&requests, expected, count).is_some() {
                count += 1;
            }
            count
        };
        come();
        come();
        assert_eq!(gathered(&Expected::nobody()), 2, "who is there is taken");
        let far = Instant::now() + Duration::from_secs(600);
        let both = Expected { commits: 2, until: far };
        let counted = thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                come();
                come();
            });
            let counted = gathered(&both);
            waiting.join().expect("it sends");
            counted
        });
        assert_eq!(counted, 2, "no more are expected, so nothing is waited for");
        come();
        let late = Expected {
            commits: 2,
            until: Instant::now(),
        };
        assert_eq!(gathered(&late), 1, "the other has nothing to commit");
    }

    #[test]
    fn a_commit_that_fails_as_a_whole_changes_nothing_and_the_next_succeeds() {
        let folder = tempfile::tempdir().expect("a folder");
        let (connection, path) = open(&folder);
        // A deferred foreign key lets every change pass and fails the COMMIT.
        connection
            .execute_batch(
                "CREATE TABLE trap (x REFERENCES specs (hash) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER spring AFTER INSERT ON slots BEGIN INSERT INTO trap VALUES ('nothing'); END;",
            )
            .expect("good SQL");
        let lists = || vec![vec![put_spec("a", 1)], vec![Change::PutSlot(claim("a", 1))]];
        let results = committed(&connection, &path, lists());
        assert!(matches!(
            &results[..],
            [Err(StorageError::Database { .. }), Err(StorageError::Database { .. })]
        ));
        assert_eq!(
            (
                rows(&connection, "specs"),
                rows(&connection, "slots"),
                rows(&connection, "facts")
            ),
            (0, 0, 0)
        );

        connection.execute_batch("DROP TRIGGER spring").expect("good SQL");
        let results = committed(&connection, &path, lists());
        assert!(matches!(&results[..], [Ok(()), Ok(())]), "{results:?}");
    }

    #[test]
    fn the_log_is_moved_into_the_file_when_nobody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let (connection, path) = open(&folder);
        let writer = Writer::start(connection, path.clone(), Box::new(|| at(0))).expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        for second in 0..i64::from(WORTH_MOVING) {
            let ack = writer.commit(vec![Change::PutSlot(claim("a", second))]);
            runtime.block_on(ack.wait()).expect("a commit");
        }
        let copy = folder.path().join("copy.db");
        let deadline = Instant::now() + Duration::from_secs(300);
        let moved = || {
            std::fs::copy(&path, &copy).expect("a copy without the log");
            let slots =
                Connection::open(&copy).and_then(|it| it.query_row("SELECT count(*) FROM slots", [], |row| row.get(0)));
            slots.unwrap_or(0_u32)
        };
        while moved() < WORTH_MOVING {
            assert!(Instant::now() < deadline, "{} of {WORTH_MOVING} were moved", moved());
            thread::sleep(LULL);
        }
    }

    #[test]
    fn a_full_disk_is_passing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (connection, path) = open(&folder);
        let limit = |pages: i64| {
            connection
                .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
                .expect("a limit");
        };
        let large = || {
            let mut spec = spec("a", 1);
            spec.yaml = "#".repeat(1 << 20);
            vec![vec![Change::PutSpec(spec)]]
        };
        limit(1);
        let results = committed(&connection, &path, large());
        match &results[..] {
            [Err(error @ StorageError::Database { source, .. })] => {
                assert_eq!(source.sqlite_error_code(), Some(ErrorCode::DiskFull));
                assert!(error.is_passing());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(rows(&connection, "specs"), 0);
        limit(1 << 20);
        assert!(matches!(&committed(&connection, &path, large())[..], [Ok(())]));
    }
}
