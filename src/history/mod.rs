//! The DuckDB projection of the journal, and the questions it answers.
//!
//! The room takes facts from the journal and gives rows to whoever asks; it does not know how a run is made, only what
//! was recorded of it, and it never writes to the journal. DuckDB lets one process write or many read, never both, so
//! nobody keeps the file open: a caller opens ([`History::open`]), brings it up to date ([`History::catch_up`]), asks
//! ([`History::ask`], [`Reader`]) and closes by dropping. [`up_to_date`] is the first two in one.
//!
//! Each fact lands exactly once: its rows and the cursor that says so are one transaction of DuckDB, so a crash leaves
//! both or neither. Whoever comes next begins where the cursor stands, whichever process that is.
//!
//! Reading order: [`schema`] says what is kept, [`file`] how the file is opened beside others, [`projection`] how facts
//! arrive, [`rows`] what each becomes. [`reading`] is for those who only ask, and [`room`] bounds what an answer may take;
//! [`questions`] and [`sql`] are two ways to ask, [`picked`] gives runs back, [`archive`] in one with those of the journal,
//! [`versions`] jobs, and [`export`] writes rows into a file. [`keep`] takes out what is too old, and [`rewrite`] makes the
//! file small again.

mod alone;
mod archive;
mod conditions;
mod error;
mod export;
mod file;
mod keep;
mod picked;
mod projection;
mod questions;
mod reading;
mod rewrite;
mod room;
mod rows;
mod schema;
mod sql;
mod statement;
mod tables;
#[cfg(test)]
mod tests;
mod values;
mod versions;

use std::path::{Path, PathBuf};

pub use archive::Archive;
pub use error::HistoryError;
pub use export::{ExportError, ExportOptions};
pub use file::{Damage, Holder};
pub use keep::{Others, RUNS_AT_ONCE};
pub use projection::{CatchUp, up_to_date};
pub use reading::for_reading;
pub use rewrite::{Rewritten, length, rewrite_if_worth_it};
pub use schema::{Column, TABLES, Table};
pub use sql::{Reader, Rows, SqlError};
pub use tables::TableQuery;
pub use versions::Version;

use self::{alone::Alone, file::Opened};
use crate::core::Timestamp;

/// Where the history of a state folder is.
pub fn history_path(state_dir: &Path) -> PathBuf {
    state_dir.join("history.duckdb")
}

/// An open history. Others wait while it is open, so it is dropped as soon as the answer is there.
pub struct History {
    connection: duckdb::Connection,
    path: PathBuf,
    /// Who keeps this one from writing, if somebody does.
    held_by: Option<Holder>,
    /// Up to when it knows everything; `None` while it has never been fed.
    as_of: Option<Timestamp>,
    /// What the last catch-up came to, if there was one.
    caught_up: Option<CatchUp>,
    /// What keeps answers from being complete, in sentences.
    notes: Vec<String>,
    /// Dropped after the connection.
    _alone: Option<Alone>,
}

impl History {
    /// Who keeps this process from adding to the history, if somebody does.
    pub fn held_by(&self) -> Option<&Holder> {
        self.held_by.as_ref()
    }

    /// Up to when everything is known; `None` if nothing ever was.
    pub fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// Whether the journal had more to tell when it was last looked at.
    pub fn is_behind(&self) -> bool {
        self.caught_up.is_some_and(|last| !last.complete)
    }

    /// What the last catch-up came to; `None` if nothing was asked of a journal.
    pub fn caught_up(&self) -> Option<CatchUp> {
        self.caught_up
    }

    /// What keeps answers from being complete, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What stops a question from another thread, with an error. A question that begins just then does not hear it.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + use<> {
        let handle = self.connection.interrupt_handle();
        move || handle.interrupt()
    }

    /// How many rows a query of Petit's own gives.
    pub fn count(&self, query: &str) -> Result<u64, HistoryError> {
        self.connection
            .query_row(&format!("SELECT count(*) FROM ({query})"), [], |row| row.get(0))
            .map_err(self.failed("ask"))
    }

    /// What a query gives, row by row.
    fn asked<T>(
        &self,
        sql: &str,
        values: &[duckdb::types::Value],
        read: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, HistoryError> {
        let ask = || {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map(duckdb::params_from_iter(values), read)?;
            rows.collect::<duckdb::Result<Vec<T>>>()
        };
        ask().map_err(self.failed("ask"))
    }

    fn begin(opened: Opened, path: &Path, alone: Option<Alone>) -> Result<Self, HistoryError> {
        let Opened {
            connection,
            held_by,
            damage,
        } = opened;
        let mut history = Self {
            connection,
            path: path.to_owned(),
            held_by,
            as_of: None,
            caught_up: None,
            notes: damage.iter().map(Damage::to_string).collect(),
            _alone: alone,
        };
        history.as_of = history.last_fed()?;
        Ok(history)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(duckdb::Error) -> HistoryError {
        HistoryError::failed(operation, &self.path)
    }
}

/// The version of the DuckDB library that this program really runs with, such as `v1.5.6`: a linked library is found when
/// the program starts, and need not be the one that it was built with.
pub fn library_version() -> Result<String, HistoryError> {
    let nowhere = Path::new(":memory:");
    let connection = duckdb::Connection::open_in_memory().map_err(HistoryError::failed("open", nowhere))?;
    connection
        .query_row("SELECT version()", [], |row| row.get(0))
        .map_err(HistoryError::failed("ask for its version", nowhere))
}
