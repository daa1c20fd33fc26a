//! Opening the file beside other processes: waiting for them, reading what is there when they stay, and moving a damaged
//! file out of the way.
//!
//! Knows nothing of facts and questions. A file that cannot be read is never deleted and never written to: it is renamed,
//! with its write-ahead log, and a new one begins in its place.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use duckdb::{AccessMode, Config, Connection};

use super::{History, HistoryError, alone::Alone, room, schema};
use crate::core::beside::beside;

/// Who has the file open, as far as DuckDB could find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its program.
    pub program: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
}

/// A file that could not be read, and was moved out of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it is now.
    pub moved_to: PathBuf,
    /// What DuckDB said of it.
    pub cause: String,
}

/// How often a held file is tried again.
const AGAIN: Duration = Duration::from_millis(40);

/// The oldest DuckDB that reads a file which begins now. Left to itself DuckDB writes for the first of all, without the
/// compression of texts that came since; the ids of runs are most of a large file.
const STORAGE: &str = "v1.3.0";

/// What opening came to.
pub(super) struct Opened {
    pub connection: Connection,
    /// Set when the connection only reads, because of them.
    pub held_by: Option<Holder>,
    pub damage: Option<Damage>,
}

impl History {
    /// Opens the history at `path`, making it if there is none. While others hold the file it waits, for `patience` at
    /// most; then it opens the file for reading only ([`Self::held_by`]), or fails if they write.
    pub fn open(path: &Path, patience: Duration) -> Result<Self, HistoryError> {
        let deadline = Instant::now() + patience;
        let alone = wait_for(deadline, || Alone::claim(path)).ok_or_else(|| HistoryError::Held {
            path: path.to_owned(),
            holder: Holder {
                program: None,
                pid: Some(std::process::id()),
            },
        })?;
        let opened = open_or_begin_anew(path, deadline)?;
        Self::begin(opened, path, Some(alone))
    }

    /// Opens the history at `path` for reading only, beside others who do the same. One other file may be written.
    pub(super) fn open_read_only(path: &Path, patience: Duration, writes: Option<&Path>) -> Result<Self, HistoryError> {
        let deadline = Instant::now() + patience;
        let alone = wait_for(deadline, || Alone::claim(path));
        let connection = until(deadline, || connect(path, AccessMode::ReadOnly, writes))?;
        let opened = Opened {
            connection,
            held_by: None,
            damage: None,
        };
        Self::begin(opened, path, alone)
    }

    /// A history of nothing, for a state folder in which nothing ever happened: no file is made for a question.
    pub fn of_nothing() -> Result<Self, HistoryError> {
        let nowhere = Path::new(":memory:");
        let open = || -> duckdb::Result<Connection> {
            let connection = Connection::open_in_memory_with_flags(config(AccessMode::Automatic, None)?)?;
            // It has no folder of its own to put anything aside in.
            connection.execute_batch("SET max_temp_directory_size = '0B'")?;
            let mut connection = in_utc(connection)?;
            schema::migrate(&mut connection)?;
            Ok(connection)
        };
        let opened = Opened {
            connection: open().map_err(HistoryError::failed("open", nowhere))?,
            held_by: None,
            damage: None,
        };
        Self::begin(opened, nowhere, None)
    }
}

/// Moves a damaged file aside, with its write-ahead log. `None` if it has been done already.
pub(super) fn move_aside(path: &Path, cause: &duckdb::Error) -> Result<Option<Damage>, HistoryError> {
    let failed = |source| HistoryError::System {
        operation: "move aside",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Two processes may find the same damage. The second waits here and then sees another file under the name, which may
    // be a good one. DuckDB's locks are of another kind and do not meet with this one.
    file.lock().map_err(failed)?;
    let mine = file.metadata().map_err(failed)?;
    match fs::metadata(path) {
        Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => {}
        Ok(_) | Err(_) => return Ok(None),
    }
    let moved_to = (1_u32..)
        .map(|n| beside(path, &format!(".damaged-{n}")))
        .find(|name| !name.exists())
        .expect("there are more numbers than files");
    // The log goes first: were it left behind, the new file would take it for its own.
    match fs::rename(log_of(path), log_of(&moved_to)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    fs::rename(path, &moved_to).map_err(failed)?;
    Ok(Some(Damage {
        moved_to,
        cause: cause.to_string(),
    }))
}

fn open_or_begin_anew(path: &Path, deadline: Instant) -> Result<Opened, HistoryError> {
    let mut damage = None;
    for last in [false, true] {
        match open_writing_or_reading(path, deadline) {
            Err(HistoryError::Damaged { source, .. }) if !last => damage = move_aside(path, &source)?,
            Ok(opened) => return Ok(Opened { damage, ..opened }),
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last round returns")
}

fn open_writing_or_reading(path: &Path, deadline: Instant) -> Result<Opened, HistoryError> {
    let held_by = match until(deadline, || connect(path, AccessMode::ReadWrite, None)) {
        Ok(connection) => {
            return Ok(Opened {
                connection,
                held_by: None,
                damage: None,
            });
        }
        Err(HistoryError::Held { holder, .. }) => holder,
        Err(error) => return Err(error),
    };
    Ok(Opened {
        connection: connect(path, AccessMode::ReadOnly, None)?,
        held_by: Some(held_by),
        damage: None,
    })
}

fn connect(path: &Path, mode: AccessMode, other: Option<&Path>) -> Result<Connection, HistoryError> {
    let writes = mode == AccessMode::ReadWrite;
    let is_new = writes && !path.exists();
    // What a log holds is counted in blocks that the file gets only with the next checkpoint.
    let is_whole = !log_of(path).exists();
    let opened = config(mode, other)
        .and_then(|config| Connection::open_with_flags(path, config))
        .and_then(in_utc)
        .and_then(|connection| room::bound(connection, path))
        .and_then(|connection| narrow(connection, other))
        .map_err(HistoryError::failed("open", path));
    if let Err(error) = &opened
        && is_new
        && error.is_no_space()
    {
        // What was begun in vain would be taken for damage later. Another process cannot have made it meanwhile, since the
        // file would be held then.
        let _ = fs::remove_file(path);
    }
    let mut connection = opened?;
    if is_new {
        // DuckDB makes it readable by everyone and does not take an empty file that was made for it.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|source| HistoryError::System {
            operation: "keep to its owner",
            path: path.to_owned(),
            source,
        })?;
    }
    if is_whole && is_cut_off(&connection, path).map_err(HistoryError::failed("open", path))? {
        return Err(HistoryError::Damaged {
            path: path.to_owned(),
            source: duckdb::Error::DuckDBFailure(
                duckdb::ffi::Error::new(duckdb::ffi::duckdb_state_DuckDBError),
                Some("the file ends before its last block".to_owned()),
            ),
        });
    }
    let found = schema::format(&connection).map_err(HistoryError::failed("open", path))?;
    if found > schema::FORMAT {
        return Err(HistoryError::Newer {
            path: path.to_owned(),
            found: format!(
                "its format is {found}, this version of Petit knows up to {}",
                schema::FORMAT
            ),
        });
    }
    if writes {
        schema::migrate(&mut connection).map_err(HistoryError::failed("bring up to date", path))?;
    } else if found < schema::FORMAT {
        // Only met while somebody reads a file that Petit has just made or not yet brought up to date.
        return Err(HistoryError::Held {
            path: path.to_owned(),
            holder: Holder {
                program: None,
                pid: None,
            },
        });
    }
    Ok(connection)
}

/// The write-ahead log of a history.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, ".wal")
}

/// Whether the file is shorter than DuckDB believes. DuckDB itself would notice only when a question came to what is missing.
fn is_cut_off(connection: &Connection, path: &Path) -> duckdb::Result<bool> {
    // Three headers, and blocks. Free ones at the end may be gone, because DuckDB cuts them off when it has moved its log.
    let length = "SELECT (3 * 4096 + used_blocks * block_size)::UBIGINT FROM pragma_database_size()";
    let length: u64 = connection.query_row(length, [], |row| row.get(0))?;
    // A file that cannot be looked at is not known to be short.
    Ok(fs::metadata(path).is_ok_and(|file| file.len() < length))
}

/// Every connection is as narrow as the history needs it: no other files, no network, no extensions, and not all of the
/// machine's memory and processors, on which tasks run. One that may write another file is narrowed by [`narrow`].
pub(super) fn config(mode: AccessMode, other: Option<&Path>) -> duckdb::Result<Config> {
    Config::default()
        .access_mode(mode)?
        .enable_autoload_extension(false)?
        .enable_external_access(other.is_some())?
        .max_memory("1GB")?
        .with("storage_compatibility_version", STORAGE)?
        .threads(2)
}

/// Lets a connection count days and hours in UTC, as everything here is stored. DuckDB takes the zone of the environment
/// otherwise, in which `now() - INTERVAL 5 MINUTES` lies hours beside every instant of a table. A build without time zones
/// has no such setting, and needs none.
fn in_utc(connection: Connection) -> duckdb::Result<Connection> {
    let known = "SELECT count(*) > 0 FROM duckdb_settings() WHERE lower(name) = 'timezone'";
    if connection.query_row(known, [], |row| row.get(0))? {
        connection.execute_batch("SET TimeZone = 'UTC'")?;
    }
    Ok(connection)
}

/// Shuts a connection off from all files but the one, and from the network, for good: DuckDB does not open up again, and
/// takes the list of what is left open only before.
fn narrow(connection: Connection, other: Option<&Path>) -> duckdb::Result<Connection> {
    if let Some(path) = other {
        let path = path.display().to_string().replace('\'', "''");
        connection.execute_batch(&format!(
            "SET allowed_paths = ['{path}']; SET enable_external_access = false"
        ))?;
    }
    Ok(connection)
}

/// Tries again while the file is held, until the deadline.
pub(super) fn until<T>(deadline: Instant, open: impl Fn() -> Result<T, HistoryError>) -> Result<T, HistoryError> {
    loop {
        match open() {
            Err(HistoryError::Held { .. }) if Instant::now() < deadline => std::thread::sleep(AGAIN),
            ended => return ended,
        }
    }
}

pub(super) fn wait_for<T>(deadline: Instant, ask: impl Fn() -> Option<T>) -> Option<T> {
    loop {
        match ask() {
            None if Instant::now() < deadline => std::thread::sleep(AGAIN),
            answer => return answer,
        }
    }
}

impl Holder {
    /// Reads the holder out of DuckDB's words: `Conflicting lock is held in PROGRAM (PID 4711) by user …`.
    pub(super) fn of(text: &str) -> Self {
        let named = text
            .split_once("lock is held in ")
            .and_then(|(_, rest)| rest.split_once(" (PID "));
        Self {
            program: named.map(|(program, _)| program.to_owned()),
            pid: named.and_then(|(_, rest)| rest.split(')').next()?.parse().ok()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program.as_deref().unwrap_or("another process"))?;
        self.pid.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the history was damaged ({}); it is now {}, and a new one begins with what the journal still has",
            self.cause.lines().next().unwrap_or_default(),
            self.moved_to.display()
        )
    }
}
