//! The questions, one file each: SQL that gives ranked rows, and lines over time for a chart.
//!
//! A question decides what to ask and how the columns are shown; asking, and what becomes of values, is here. Nothing in
//! here writes.

mod duration;
mod flaky;
mod lateness;
mod missed;
mod series;
#[cfg(test)]
mod tests;

use duckdb::params_from_iter;
use serde_json::Value;

use super::{History, HistoryError, values::json};
use crate::{
    core::Timestamp,
    view::{Answer, Column, ColumnKind, Filter, Question, Series},
};

impl History {
    /// Answers a question from what the history holds. `now` is what `since=30d` counts back from.
    pub fn ask(&self, question: Question, filter: &Filter, now: Timestamp) -> Result<Answer, HistoryError> {
        let found = match question {
            Question::Duration => duration::answer(self, filter, now)?,
            Question::Lateness => lateness::answer(self, filter, now)?,
            Question::Missed => missed::answer(self, filter, now)?,
            Question::Flaky => flaky::answer(self, filter, now)?,
        };
        let ignored = (!found.ignored.is_empty()).then(|| {
            let keys: Vec<_> = found.ignored.iter().map(|key| format!("`{key}`")).collect();
            format!(
                "{question} cannot be filtered by {}, which was left aside",
                keys.join(" and ")
            )
        });
        let notes: Vec<_> = self.notes().iter().cloned().chain(ignored).collect();
        Ok(Answer {
            view: question.name().to_owned(),
            columns: found.columns,
            rows: found.rows,
            series: found.series,
            as_of: self.as_of().unwrap_or(now),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        })
    }

    /// Asks for rows.
    fn rows(&self, sql: &str, values: &[duckdb::types::Value]) -> Result<Vec<Vec<Value>>, HistoryError> {
        let ask = || {
            let mut statement = self.connection.prepare(sql)?;
            let mut found = statement.query(params_from_iter(values))?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                let columns = row.as_ref().column_count();
                let values = (0..columns).map(|column| Ok(json(row.get_ref(column)?.to_owned())));
                rows.push(values.collect::<duckdb::Result<_>>()?);
            }
            Ok(rows)
        };
        ask().map_err(self.failed("ask"))
    }
}

/// What a question found.
struct Found {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    series: Vec<Series>,
    /// Keys of the filter that mean nothing here.
    ignored: Vec<&'static str>,
}

fn columns(named: &[(&str, ColumnKind)]) -> Vec<Column> {
    let column = |&(name, kind): &(&str, ColumnKind)| Column {
        name: name.to_owned(),
        kind,
    };
    named.iter().map(column).collect()
}
