//! A user's own question, in SQL: one query, on a connection that can do nothing but read this file.
//!
//! Three fences, each enough by itself for most mischief: the text is one query ([`super::statement`]); the file is open
//! for reading only, within a read-only transaction; and DuckDB may touch no other file, network or extension, which the
//! query cannot change back because the settings are locked.

use std::{path::Path, time::Duration};

use duckdb::Connection;
use serde_json::Value;

use super::{
    History, HistoryError,
    error::without_trace,
    room,
    statement::{NotOneQuery, only_query},
    values::json,
};

/// A history on which users' queries run.
pub struct Reader(History);

/// What a query gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
    /// Whether rows beyond the limit were left out.
    pub more: bool,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// It is not one query.
    #[error(transparent)]
    NotOneQuery(#[from] NotOneQuery),
    /// DuckDB refused it. Its text names the place.
    #[error("{0}")]
    Refused(duckdb::Error),
    /// It needs more memory, and more of the disk, than a query may take.
    #[error("{0}")]
    TooLarge(String),
}

impl History {
    /// Gives up writing, and lets users ask. While others write it waits, for `patience` at most.
    pub fn into_reader(self, patience: Duration) -> Result<Reader, HistoryError> {
        let reads_only = self.held_by.is_some() || self.path == Path::new(":memory:");
        let history = if reads_only {
            self
        } else {
            let Self {
                connection,
                path,
                held_by: _,
                as_of,
                caught_up,
                notes,
                _alone,
            } = self;
            // Closed before it is opened again: DuckDB would refuse the second.
            drop(connection);
            drop(_alone);
            Self {
                as_of,
                caught_up,
                notes,
                ..Self::open_read_only(&path, patience, None)?
            }
        };
        history
            .connection
            .execute_batch("SET lock_configuration = true")
            .map_err(history.failed("open"))?;
        Ok(Reader(history))
    }
}

impl Reader {
    /// The history that is asked.
    pub fn history(&self) -> &History {
        &self.0
    }

    /// Runs one query, and gives at most `limit` of its rows.
    pub fn query(&self, text: &str, limit: usize) -> Result<Rows, SqlError> {
        let query = only_query(text)?;
        answer(&self.0.connection, query, limit).map_err(SqlError::refused)
    }
}

impl SqlError {
    /// What DuckDB said, as far as it is meant for whoever asked.
    pub(super) fn refused(error: duckdb::Error) -> Self {
        let error = without_trace(error);
        match room::told(&error.to_string()) {
            Some(text) => Self::TooLarge(text),
            None => Self::Refused(error),
        }
    }
}

fn answer(connection: &Connection, query: &str, limit: usize) -> duckdb::Result<Rows> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let limited = format!("SELECT * FROM (\n{query}\n) LIMIT {most}");
    let can_be_limited = reading(connection, || {
        // Prepared as it was written first, so that errors speak of that, and so that what is put between the parentheses
        // is known to be one whole query.
        drop(connection.prepare(query)?);
        Ok(connection.prepare(&limited).is_ok())
    })?;
    // Not in the transaction of the attempt, which an error may have ended.
    let sql = if can_be_limited { &limited } else { query };
    reading(connection, || rows(connection, sql, limit))
}

/// Does something within a transaction that only reads.
fn reading<T>(connection: &Connection, what: impl FnOnce() -> duckdb::Result<T>) -> duckdb::Result<T> {
    connection.execute_batch("BEGIN TRANSACTION READ ONLY")?;
    let done = what();
    // Of what was only read there is nothing to keep, and nothing that could fail to be undone.
    let _ = connection.execute_batch("ROLLBACK");
    done
}

fn rows(connection: &Connection, sql: &str, limit: usize) -> duckdb::Result<Rows> {
    let mut statement = connection.prepare(sql)?;
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    let mut more = false;
    while let Some(row) = found.next()? {
        if rows.len() == limit {
            more = true;
            break;
        }
        let columns = row.as_ref().column_count();
        let values = (0..columns).map(|column| Ok(json(row.get_ref(column)?.to_owned())));
        rows.push(values.collect::<duckdb::Result<_>>()?);
    }
    drop(found);
    Ok(Rows {
        columns: statement.column_names(),
        rows,
        more,
    })
}
