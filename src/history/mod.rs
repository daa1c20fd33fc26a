//! The DuckDB projection of the journal, and the questions it answers.
//!
//! The room takes facts from the journal and gives rows to whoever asks; it does not know how a run is made, only what
//! was recorded of it. DuckDB lets one process write or many read, never both, so nobody keeps it open: a caller opens,
//! asks and closes.

/// Why the history could not answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The library would not start.
    #[error("cannot open a DuckDB database in memory")]
    Open(#[source] duckdb::Error),
    /// It started and did not answer.
    #[error("cannot ask DuckDB for its version")]
    Version(#[source] duckdb::Error),
}

/// The version of the DuckDB library that this program really runs with, such as `v1.5.6`: a linked library is found when
/// the program starts, and need not be the one that it was built with.
pub fn library_version() -> Result<String, HistoryError> {
    let connection = duckdb::Connection::open_in_memory().map_err(HistoryError::Open)?;
    connection
        .query_row("SELECT version()", [], |row| row.get(0))
        .map_err(HistoryError::Version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_has_the_version_that_the_crate_was_generated_for() {
        assert_eq!(library_version().unwrap(), "v1.5.6");
    }
}
