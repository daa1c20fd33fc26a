//! What becomes of a journal that cannot be read: it is set aside, and a new one goes on with what could be saved.
//!
//! Nothing of the damaged file is written or deleted. What can be read of it is copied into a new journal first
//! ([`salvage`]), beside it and whole; only then do names change, so a full disk changes nothing, and a crash in between
//! leaves a finished copy that the next start puts in its place.
//!
//! Damage is what SQLite calls damage, and a row that the start needs and that does not read as what it should be. A file
//! that may not be read, a disk that fails or is full, and a file of a newer version are no damage.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use super::{
    super::{Storage, StorageError},
    Sqlite, salvage,
};
use crate::core::{Timestamp, beside::beside};

/// A damaged journal that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// The journal.
    pub path: PathBuf,
    /// Where the damaged file is now.
    pub moved_to: PathBuf,
    /// What was wrong with it.
    pub cause: String,
    /// What the new journal has of each table.
    pub tables: Vec<SavedTable>,
}

/// What was saved of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedTable {
    /// Its name.
    pub table: &'static str,
    /// How many rows are in the new journal.
    pub saved: u64,
    /// What is not.
    pub lost: Lost,
}

/// How much was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// So many rows.
    Rows(u64),
    /// The damage hides how many.
    Unknown,
}

impl Sqlite {
    /// Opens the journal at `path` as [`Self::open`] does, and sets one aside that is damaged.
    pub fn open_or_salvage(path: &Path, now: Timestamp) -> Result<(Self, Option<Salvage>), StorageError> {
        // A start that was cut short had saved everything already.
        if beside(path, SAVED).exists() {
            put_in_place(path, now)?;
        }
        let cause = match fs::metadata(path) {
            // SQLite would take it for a new one. Petit's own are never empty, not even while they are made.
            Ok(file) if file.is_file() && file.len() == 0 => "the file is empty".to_owned(),
            Ok(_) | Err(_) => match Self::open(path).and_then(|journal| readable(&journal).map(|()| journal)) {
                Ok(journal) => return Ok((journal, None)),
                Err(error) => cause_of(&error).ok_or(error)?,
            },
        };
        let making = beside(path, MAKING);
        remove(&making)?;
        let tables = salvage::copy(path, &making, now).inspect_err(|_| {
            // Half a copy is of no use, and a full disk needs its space.
            let _ = fs::remove_file(&making);
        })?;
        rename(&making, &beside(path, SAVED))?;
        let moved_to = put_in_place(path, now)?;
        let salvage = Salvage {
            path: path.to_owned(),
            moved_to,
            cause,
            tables,
        };
        Ok((Self::open(path)?, Some(salvage)))
    }
}

impl StorageError {
    /// Whether the journal's file is not what Petit wrote.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_damage(source),
            Self::Damaged { .. } => true,
            _ => false,
        }
    }
}

/// What is wrong with a damaged journal, in one line. `None` if it is something else.
fn cause_of(error: &StorageError) -> Option<String> {
    match error {
        StorageError::Database { source, .. } if is_damage(source) => {
            let text = source.to_string();
            // Of many findings the first: the others mostly follow from it. What stands above it names the database.
            let line = text.lines().find(|line| !line.starts_with("***"));
            Some(line.unwrap_or(&text).to_owned())
        }
        StorageError::Damaged { table, problem, .. } => Some(format!("a row of {table} makes no sense: {problem}")),
        _ => None,
    }
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// The copy while it is made.
const MAKING: &str = ".saving";
/// The copy when it is whole.
const SAVED: &str = ".saved";

/// Reads what a start needs.
fn readable(journal: &Sqlite) -> Result<(), StorageError> {
    journal.journal_id()?;
    journal.active()?;
    journal.removed()?;
    journal.held()?;
    journal.pauses()?;
    journal.watermarks()?;
    journal.unfinished()?;
    journal.claimed()?;
    Ok(())
}

/// Moves what stands at `path` aside, and the finished copy there. May be cut short anywhere and done again.
fn put_in_place(path: &Path, now: Timestamp) -> Result<PathBuf, StorageError> {
    let stamp = now.format("%Y%m%dT%H%M%SZ");
    let aside = (1_u32..)
        .map(|n| match n {
            1 => beside(path, &format!(".damaged-{stamp}")),
            n => beside(path, &format!(".damaged-{stamp}-{n}")),
        })
        .find(|name| !name.exists())
        .expect("there are more numbers than files");
    // The log goes first: were it left behind, the new file would take it for its own.
    for suffix in ["-wal", "-shm", ""] {
        let from = beside(path, suffix);
        if from.exists() {
            rename(&from, &beside(&aside, suffix))?;
        }
    }
    rename(&beside(path, SAVED), path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StorageError::system("set aside", path, source))?;
    Ok(aside)
}

fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(|source| StorageError::system("set aside", from, source))
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StorageError::system("replace", path, source)),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            moved_to,
            cause,
            tables,
        } = self;
        let (path, moved_to) = (path.display(), moved_to.display());
        write!(f, "the journal {path} was damaged and is now {moved_to} ({cause}). ")?;
        if tables.iter().all(|table| table.saved == 0) {
            return f.write_str("Nothing of it could be read: a new one begins, without past runs and without pauses");
        }
        let list = |parts: Vec<String>| parts.join(", ");
        let saved = tables.iter().filter(|table| table.saved > 0);
        let saved = saved.map(|table| format!("{} {}", table.saved, table.table)).collect();
        write!(f, "A new one goes on with {}", list(saved))?;
        let lost = tables.iter().filter_map(|table| match table.lost {
            Lost::Nothing => None,
            Lost::Rows(lost) => Some(format!("{lost} {}", table.table)),
            Lost::Unknown => Some(format!("an unknown number of {}", table.table)),
        });
        let lost: Vec<_> = lost.collect();
        if !lost.is_empty() {
            write!(f, "; lost are {}", list(lost))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
