//! The file of the journal: how it is opened, and the tables in it.
//!
//! The format of a file is SQLite's `user_version`, the number of migrations that were carried out on it. [`MIGRATIONS`] only
//! ever grows at its end; one that was released is never edited, since files exist that have been through it.
//!
//! Tables are STRICT, with a column for each field. Instants are whole microseconds since 1970 in UTC: they sort and compare
//! as numbers, and nothing is rounded. JSON is used only for what has no columns of its own: params, outputs, lists, facts.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, TransactionBehavior, ffi};

use super::super::StorageError;
use crate::core::beside::beside;

/// How many pages the log may have before a commit moves it into the file: far more than gather until the writer's next lull,
/// in which that costs nobody anything.
const LONGEST_LOG: u32 = 8_000;

/// So many bytes of the log's file stay when its content has moved; what a burst needed beyond is given back.
const USUAL_LOG: i64 = 4 << 20;

/// Each entry takes a file from the format of its index to the next.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO meta (name, value) VALUES ('journal_id', lower(hex(randomblob(16))));

    CREATE TABLE specs (
        hash       TEXT PRIMARY KEY,
        job        TEXT NOT NULL,
        canonical  TEXT NOT NULL,
        yaml       TEXT NOT NULL,
        first_seen INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE active (
        job             TEXT PRIMARY KEY,
        file            TEXT NOT NULL,
        spec_hash       TEXT NOT NULL REFERENCES specs (hash),
        generation      INTEGER NOT NULL,
        applied_at      INTEGER NOT NULL,
        anchor          INTEGER NOT NULL,
        scheduled_since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE reconciles (
        id          INTEGER PRIMARY KEY,
        at          INTEGER NOT NULL,
        actor       TEXT NOT NULL,
        plan_id     TEXT NOT NULL,
        actions     TEXT NOT NULL, -- JSON: a list of lines
        old_set     TEXT NOT NULL,
        new_set     TEXT NOT NULL,
        duration_ms INTEGER NOT NULL
    ) STRICT;

    -- A slot names its run before the run exists, and outlives it: hence no foreign key.
    CREATE TABLE slots (
        job        TEXT NOT NULL,
        at         INTEGER NOT NULL,
        outcome    TEXT,
        reason     TEXT,
        detail     TEXT,
        decided_at INTEGER,
        run        TEXT,
        spec_hash  TEXT NOT NULL,
        PRIMARY KEY (job, at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX slots_claimed ON slots (at, job) WHERE outcome IS NULL;

    CREATE TABLE stretches (
        id         INTEGER PRIMARY KEY,
        job        TEXT NOT NULL,
        first_at   INTEGER NOT NULL,
        last_at    INTEGER NOT NULL,
        slots      INTEGER NOT NULL,
        outcome    TEXT NOT NULL,
        reason     TEXT NOT NULL,
        run        TEXT,
        decided_at INTEGER NOT NULL,
        spec_hash  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX stretches_by_job ON stretches (job, first_at, last_at);

    CREATE TABLE watermarks (
        job TEXT PRIMARY KEY,
        at  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE runs (
        id           TEXT PRIMARY KEY,
        job          TEXT NOT NULL,
        status       TEXT NOT NULL,
        trigger      TEXT NOT NULL,
        slot         INTEGER,
        scheduled_at INTEGER NOT NULL,
        spec_hash    TEXT NOT NULL REFERENCES specs (hash),
        revision     TEXT,
        created_at   INTEGER NOT NULL,
        started_at   INTEGER,
        ended_at     INTEGER,
        params       TEXT NOT NULL, -- JSON: an object
        consumed     TEXT NOT NULL, -- JSON: a list of runs
        retry_of     TEXT,
        wait_until   INTEGER,
        reason       TEXT
    ) STRICT;
    CREATE INDEX runs_by_creation ON runs (created_at, id);
    CREATE INDEX runs_by_job ON runs (job, created_at, id);
    CREATE INDEX runs_by_spec ON runs (spec_hash);
    CREATE INDEX runs_unfinished ON runs (created_at, id) WHERE status IN ('queued', 'running');
    CREATE INDEX runs_finished ON runs (job, ended_at, id) WHERE status NOT IN ('queued', 'running');
    CREATE INDEX runs_succeeded ON runs (job, ended_at, id) WHERE status = 'succeeded';
    CREATE INDEX runs_by_dependency ON runs (job, created_at, id) WHERE trigger = 'dependency';

    CREATE TABLE tasks (
        run      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        task     TEXT NOT NULL,
        position INTEGER NOT NULL, -- in the job's file
        state    TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        retry_at INTEGER,
        outputs  TEXT NOT NULL, -- JSON: an object
        reason   TEXT,
        PRIMARY KEY (run, task)
    ) STRICT;

    CREATE TABLE attempts (
        id            INTEGER PRIMARY KEY, -- in the order in which they began
        run           TEXT NOT NULL,
        task          TEXT NOT NULL,
        attempt       INTEGER NOT NULL,
        queued_at     INTEGER NOT NULL,
        granted_at    INTEGER NOT NULL,
        started_at    INTEGER,
        ended_at      INTEGER,
        ending        TEXT,
        exit_code     INTEGER,
        signal        INTEGER,
        pid           INTEGER,
        pid_start     INTEGER,
        cpu_user_ms   INTEGER,
        cpu_system_ms INTEGER,
        max_rss_bytes INTEGER,
        bytes_out     INTEGER,
        error         TEXT,
        UNIQUE (run, task, attempt),
        FOREIGN KEY (run, task) REFERENCES tasks (run, task) ON DELETE CASCADE
    ) STRICT;

    CREATE TABLE pauses (
        id        INTEGER PRIMARY KEY,
        job       TEXT, -- NULL: everything
        since     INTEGER NOT NULL,
        paused_by TEXT NOT NULL,
        reason    TEXT
    ) STRICT;
    -- NULLs differ from each other in a plain unique index; no job is called ''.
    CREATE UNIQUE INDEX pauses_by_job ON pauses (ifnull(job, ''));

    -- AUTOINCREMENT, because the number of a fact that was pruned must not come back.
    CREATE TABLE facts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at     INTEGER NOT NULL,
        kind   TEXT NOT NULL,
        body   TEXT NOT NULL -- JSON: the record
    ) STRICT;
",
    "
    ALTER TABLE tasks ADD COLUMN reused_from TEXT;
    CREATE INDEX runs_by_retry ON runs (retry_of, created_at, id) WHERE retry_of IS NOT NULL;
",
    "
    -- No foreign key: the version of a job that is gone may be pruned, and its generation still counts.
    CREATE TABLE removed (
        job             TEXT PRIMARY KEY,
        file            TEXT NOT NULL,
        spec_hash       TEXT NOT NULL,
        generation      INTEGER NOT NULL,
        applied_at      INTEGER NOT NULL,
        anchor          INTEGER NOT NULL,
        scheduled_since INTEGER NOT NULL,
        removed_at      INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE held (
        job TEXT PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE reconciles ADD COLUMN asked_by TEXT;
    ALTER TABLE reconciles ADD COLUMN result TEXT NOT NULL DEFAULT 'applied';
    ALTER TABLE reconciles ADD COLUMN files TEXT NOT NULL DEFAULT '[]'; -- JSON: a list of changes
    ALTER TABLE reconciles ADD COLUMN revision TEXT;
",
    "
    -- The rows of an index stand in the order of the table where its columns are equal: here that in which they were recorded.
    DROP INDEX runs_by_dependency;
    CREATE INDEX runs_by_dependency ON runs (job) WHERE trigger = 'dependency';
",
    "
    -- By time first: what is claimed together stands together, so a transaction writes a few pages and not one for each job.
    ALTER TABLE slots RENAME TO slots_by_job;
    CREATE TABLE slots (
        job        TEXT NOT NULL,
        at         INTEGER NOT NULL,
        outcome    TEXT,
        reason     TEXT,
        detail     TEXT,
        decided_at INTEGER,
        run        TEXT,
        spec_hash  TEXT NOT NULL,
        PRIMARY KEY (at, job)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO slots SELECT job, at, outcome, reason, detail, decided_at, run, spec_hash FROM slots_by_job;
    DROP TABLE slots_by_job;
    CREATE INDEX slots_claimed ON slots (at, job) WHERE outcome IS NULL;
",
    "
    -- How many runs left the journal before they were a day old, by the minute in which they were created.
    CREATE TABLE tallies (
        minute INTEGER NOT NULL,
        status TEXT NOT NULL,
        runs   INTEGER NOT NULL,
        PRIMARY KEY (minute, status)
    ) STRICT, WITHOUT ROWID;
",
];

/// The format that this version writes.
const FORMAT: i64 = MIGRATIONS.len() as i64;

/// How long to wait for another process that holds the file, such as a backup or a `sqlite3` shell.
const BUSY: Duration = Duration::from_secs(5);

/// Up to this size the whole file is checked when it is opened, at about a millisecond for each megabyte. A larger one is
/// taken on trust, so that a start stays quick; damage then shows as an error of the read that meets it.
const CHECKED_SIZE: u64 = 64 << 20;

/// Opens the file for the one who writes it: makes it if there is none, readable by its owner only, and brings it up to date.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, StorageError> {
    if !path.exists() {
        begin(path)?;
    }
    let open = || {
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let format = format(&connection)?;
        // Checked before anything is written: a newer file is left as it is.
        if format > FORMAT {
            return Ok(Err(format));
        }
        check(&connection, path).map_err(misfit)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Before anything else is written: where it does not fit, the file stays as it is.
        migrate(&mut connection).map_err(misfit)?;
        // FULL: an acknowledged commit survives a power cut, not only a crash of Petit.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LONGEST_LOG)?;
        connection.pragma_update(None, "journal_size_limit", USUAL_LOG)?;
        Ok(Ok(connection))
    };
    open()
        .map_err(|source| StorageError::database("open", path, source))?
        .map_err(|found| StorageError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        })
}

/// Makes a journal where there is none. It is whole before it has its name: an empty file would look like damage.
fn begin(path: &Path) -> Result<(), StorageError> {
    let new = beside(path, ".new");
    let failed = |source| StorageError::system("make", path, source);
    drop(make(&new)?);
    for of_another in ["-wal", "-shm"] {
        // Of a journal that was taken away: the new one would take it for its own.
        match fs::remove_file(beside(path, of_another)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(source)),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(&new, path).map_err(failed)
}

/// Makes a file with all tables at `path`, in place of one that was left there half made. Not in WAL mode, so it is one file
/// when it is closed.
pub(super) fn make(path: &Path) -> Result<Connection, StorageError> {
    // Made here and not by SQLite, which would make it readable by everyone. Its other files take over the mode.
    let created = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    created.map_err(|source| StorageError::system("open", path, source))?;
    let open = || {
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut connection)?;
        Ok(connection)
    };
    open().map_err(|source| StorageError::database("make", path, source))
}

/// Opens a damaged file to read whatever can be read.
pub(super) fn open_damaged(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // With this SQLite reads a file that is shorter than it should be, and goes on when its catalogue has a bad entry.
    // If not even this can be asked, nothing can, and that shows table by table.
    for setting in ["writable_schema", "cell_size_check"] {
        let _ = connection.pragma_update(None, setting, true);
    }
    Ok(connection)
}

/// Opens a file that is up to date, for reading beside its writer or without one.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, StorageError> {
    let open = || {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let format = format(&connection)?;
        Ok((connection, format))
    };
    let (connection, found) = open().map_err(|source| StorageError::database("open", path, source))?;
    if found > FORMAT {
        return Err(StorageError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    if found < FORMAT {
        return Err(StorageError::Older {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // Each connection is used by one thread at a time, so SQLite's own locks would be for nothing.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // More than there are statements, so that each is prepared once.
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

fn format(connection: &Connection) -> rusqlite::Result<i64> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0));
    match found.map_err(misfit)? {
        found if found < 0 => Err(corrupt(format!("its format is {found}"))),
        found => Ok(found),
    }
}

/// An error of a journal's file: what SQLite calls an error of the statement is damage where the statement is one of ours
/// that every sound journal understands. The file's head says of itself then what is not so.
fn misfit(error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(error, said) if error.extended_code == ffi::SQLITE_ERROR => {
            corrupt(said.unwrap_or_else(|| error.to_string()))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } if error.extended_code == ffi::SQLITE_ERROR => corrupt(msg),
        other => other,
    }
}

fn corrupt(said: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error {
            code: ErrorCode::DatabaseCorrupt,
            extended_code: ffi::SQLITE_CORRUPT,
        },
        Some(said),
    )
}

fn check(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    // One whose head names a version of SQLite's that nobody knows is opened for reading only, and so is one that its owner
    // has protected.
    if connection.is_readonly(MAIN_DB)? && OpenOptions::new().write(true).open(path).is_ok() {
        return Err(corrupt("its head says that it may only be read".to_owned()));
    }
    if fs::metadata(path).is_ok_and(|file| file.len() > CHECKED_SIZE) {
        return Ok(());
    }
    let verdict: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(corrupt(verdict))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // Immediate: the format is read under the lock by which it is changed.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(format(&transaction)?).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{super::Storage, Sqlite},
        *,
    };
    use crate::storage::suite::fixtures::{claim, slots};

    #[test]
    fn slots_are_kept_when_their_table_is_put_in_another_order() {
        const BY_JOB: usize = 5;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        let old = Connection::open(&path).expect("opens");
        for migration in &MIGRATIONS[..BY_JOB] {
            old.execute_batch(migration).expect("good SQL");
        }
        old.pragma_update(None, "user_version", BY_JOB as i64)
            .expect("a number");
        let one = claim("a", 1);
        old.execute(
            "INSERT INTO slots (job, at, run, spec_hash) VALUES ('a', ?, ?, ?)",
            rusqlite::params![one.at.timestamp_micros(), one.run, one.spec_hash],
        )
        .expect("a row");
        drop(old);
        let journal = Sqlite::open(&path).expect("opens");
        assert_eq!(slots(&journal, "a"), std::slice::from_ref(&one));
        assert_eq!(journal.claimed().expect("reads"), [one]);
    }
}
