//! The rows of a query into a file, CSV or Parquet: written by DuckDB itself, which never holds them all.
//!
//! The fences are those of [`super::sql`], with one gap: the connection may touch one file beside the history, which has a
//! name of its own until it is whole. A file that is there is never written over unless that is asked for, also not one that
//! came meanwhile.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use super::{
    History, HistoryError,
    file::Holder,
    sql::SqlError,
    statement::{NotOneQuery, only_query},
};

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Its name does not say what it is to hold.
    #[error("{} does not end in .csv or .parquet", .0.display())]
    UnknownForm(PathBuf),
    /// There is one already.
    #[error("{} is there already: choose another name, or remove it first", .0.display())]
    Exists(PathBuf),
    /// Something is there under its name that is not a file.
    #[error("{} is not a file, and rows are written into files only: choose another name", .0.display())]
    NotAFile(PathBuf),
    /// The query has no rows to write.
    #[error(transparent)]
    Query(#[from] SqlError),
    /// The history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The file cannot be written.
    #[error("could not write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ExportError {
    /// Who keeps the history from being read, if that is all that is wrong.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::History(error) => error.holder(),
            Self::UnknownForm(_) | Self::Exists(_) | Self::NotAFile(_) | Self::Query(_) | Self::Write { .. } => None,
        }
    }
}

impl From<NotOneQuery> for ExportError {
    fn from(error: NotOneQuery) -> Self {
        Self::Query(error.into())
    }
}

/// How an export is carried out.
pub struct ExportOptions<'a> {
    /// How long it waits for others who write to the history.
    pub patience: Duration,
    /// Whether a file that is there gives way to the new one, once that is whole.
    pub replace: bool,
    /// Told now and then how many bytes are written.
    pub watch: &'a mut dyn FnMut(u64),
    /// Asked now and then; the export ends with an error, and without a file, when it says no.
    pub go_on: &'a dyn Fn() -> bool,
}

/// How often the growing file is looked at.
const GLANCE: Duration = Duration::from_millis(20);

impl History {
    /// Writes all rows of a query into a new file, and says how many there are. The history at `history` is read; while
    /// others write it waits, for `patience` at most.
    pub fn export(history: &Path, text: &str, target: &Path, patience: Duration) -> Result<u64, ExportError> {
        let options = ExportOptions {
            patience,
            replace: false,
            watch: &mut |_| {},
            go_on: &|| true,
        };
        Self::export_as(history, text, target, options)
    }

    /// The same with a say in how.
    pub fn export_as(
        history: &Path,
        text: &str,
        target: &Path,
        options: ExportOptions<'_>,
    ) -> Result<u64, ExportError> {
        let form = match target.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => "FORMAT csv, HEADER true",
            Some("parquet") => "FORMAT parquet",
            _ => return Err(ExportError::UnknownForm(target.to_owned())),
        };
        let query = only_query(text)?;
        let named = target;
        let failed = |source| ExportError::Write {
            path: named.to_owned(),
            source,
        };
        if !options.replace && fs::symlink_metadata(named).is_ok() {
            return Err(ExportError::Exists(named.to_owned()));
        }
        // A link stays one: it is what it leads to that gives way.
        let target = &destination(named).map_err(failed)?;
        match fs::metadata(target) {
            Ok(there) if !there.is_file() => return Err(ExportError::NotAFile(named.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // DuckDB compares whole paths, and the part must lie beside the file for it to be moved there.
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(failed)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let part = folder.join(format!(".{name}.{}.part", std::process::id()));
        let ExportOptions {
            patience,
            replace,
            watch,
            go_on,
        } = options;
        let mut glance = |stop: Option<&Stop>| {
            watch(fs::metadata(&part).map_or(0, |file| file.len()));
            if let Some(stop) = stop.filter(|_| !go_on()) {
                stop();
            }
        };
        let written = watched(&mut glance, |opened| {
            write(history, query, &part, form, patience, opened)
        });
        let written = written.and_then(|rows| {
            if replace {
                fs::rename(&part, target).map_err(failed)?;
            } else {
                // Unlike a rename, a link never takes the place of a file.
                fs::hard_link(&part, target).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => ExportError::Exists(target.to_owned()),
                    _ => failed(error),
                })?;
            }
            Ok(rows)
        });
        // It may not have been begun.
        let _ = fs::remove_file(&part);
        written
    }
}

/// Where links lead from a path; what they lead to need not be there.
fn destination(path: &Path) -> io::Result<PathBuf> {
    // As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(io::Error::other("too many links lead from one to the next"))
}

/// Stops what a connection does.
type Stop = Box<dyn Fn() + Send>;

/// Does some work on a thread, and glances at it until it has ended. The work says what stops it, once there is something.
fn watched<T: Send>(glance: &mut dyn FnMut(Option<&Stop>), work: impl FnOnce(Sender<Stop>) -> T + Send) -> T {
    thread::scope(|scope| {
        let (opened, stops) = mpsc::channel::<Stop>();
        // The channel closes when the work has ended, also by a panic.
        let worker = scope.spawn(move || work(opened));
        let mut stop = None;
        loop {
            match stops.recv_timeout(GLANCE) {
                Ok(opened) => stop = Some(opened),
                Err(RecvTimeoutError::Timeout) => glance(stop.as_ref()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn write(
    history: &Path,
    query: &str,
    part: &Path,
    form: &str,
    patience: Duration,
    opened: Sender<Stop>,
) -> Result<u64, ExportError> {
    let history = History::open_read_only(history, patience, Some(part))?;
    // Kept to the end: that it is dropped says that the work has ended. Whoever glances is there as long.
    let _ = opened.send(Box::new(history.stopper()));
    let connection = &history.connection;
    let refused = |error| ExportError::Query(SqlError::refused(error));
    connection
        .execute_batch("SET lock_configuration = true; BEGIN TRANSACTION READ ONLY")
        .map_err(refused)?;
    // As in `petit sql`: what goes between the parentheses is known to be one whole query.
    drop(connection.prepare(query).map_err(refused)?);
    let path = part.display().to_string().replace('\'', "''");
    let copy = format!("COPY (\n{query}\n) TO '{path}' ({form}, USE_TMP_FILE false)");
    let rows = connection.execute(&copy, []).map_err(refused)?;
    Ok(rows as u64)
}
