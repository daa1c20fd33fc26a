//! Samples that are dear to find and few once they are found: asked for once, and kept while one question is answered.
//!
//! What a question shows of its query stays whole all the same: the text says how the samples are found.

use duckdb::{params_from_iter, types::Value};

use super::{Ranked, as_text, series};
use crate::{
    history::{History, HistoryError},
    view::Series,
};

/// Samples in a temporary table, which is in memory and no part of the file.
pub(super) struct Kept<'a> {
    history: &'a History,
    query: String,
    values: Vec<Value>,
}

/// Where the samples are found meanwhile.
const TABLE: &str = "FROM kept_samples";

impl<'a> Kept<'a> {
    /// Asks for samples, which are those of the next [`Self::new`] from then on.
    pub fn new(history: &'a History, query: String, values: Vec<Value>) -> Result<Self, HistoryError> {
        let keep = format!("CREATE OR REPLACE TEMP TABLE kept_samples AS {query}");
        history
            .connection
            .execute(&keep, params_from_iter(&values))
            .map_err(history.failed("ask"))?;
        Ok(Self { history, query, values })
    }

    /// Asks for rows with a query over the samples, which it names once, before any parameters of its own.
    pub fn ranked(&self, query: impl Fn(&str) -> String, more: &[Value]) -> Result<Ranked, HistoryError> {
        let (_, rows) = self.history.named_rows(&query(TABLE), more)?;
        let values: Vec<_> = self.values.iter().chain(more).cloned().collect();
        Ok(Ranked {
            sql: as_text(&query(&self.query), &values),
            rows,
        })
    }

    /// [`series::over_time`] of the samples.
    pub fn over_time(&self, lines: &[(&str, &str)]) -> Result<Vec<Series>, HistoryError> {
        series::over_time(self.history, TABLE, &[], lines)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // Only memory until the history is closed or asked again, so that nothing is lost when it fails.
        let _ = self
            .history
            .connection
            .execute_batch("DROP TABLE IF EXISTS temp.kept_samples");
    }
}
