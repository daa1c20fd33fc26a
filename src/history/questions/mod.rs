//! The questions, one file each: SQL that gives ranked rows, and lines over time for a chart.
//!
//! A question decides what to ask and how the columns are shown; asking, and what becomes of values, is here. Nothing in
//! here writes.

mod calendar;
mod changes;
mod contention;
mod duration;
mod flaky;
mod kept;
mod lateness;
mod missed;
mod outputs;
mod retries;
mod series;
mod sizing;
mod slower;
#[cfg(test)]
mod tests;
mod waits;

use duckdb::{params_from_iter, types::Value as Stored};
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
            Question::Slower => slower::answer(self, filter, now)?,
            Question::Calendar => calendar::answer(self, filter, now)?,
            Question::Waits => waits::answer(self, filter, now)?,
            Question::Contention => contention::answer(self, filter, now)?,
            Question::Sizing => sizing::answer(self, filter, now)?,
            Question::Lateness => lateness::answer(self, filter, now)?,
            Question::Missed => missed::answer(self, filter, now)?,
            Question::Flaky => flaky::answer(self, filter, now)?,
            Question::Retries => retries::answer(self, filter, now)?,
            Question::Outputs => outputs::answer(self, filter, now)?,
            Question::Changes => changes::answer(self, filter, now)?,
        };
        let ignored = (!found.ignored.is_empty()).then(|| {
            let keys: Vec<_> = found.ignored.iter().map(|key| format!("`{key}`")).collect();
            format!(
                "{question} cannot be filtered by {}, which was left aside",
                keys.join(" and ")
            )
        });
        let notes: Vec<_> = self.notes().iter().cloned().chain(ignored).collect();
        // Quoted, since a column may be called as a word of SQL, such as `at`.
        let names = found.columns.iter().map(|column| format!("\"{}\"", column.name));
        let names: Vec<_> = names.collect();
        let sql = format!("SELECT * FROM ({}) AS answer({})", found.ranked.sql, names.join(", "));
        Ok(Answer {
            view: question.name().to_owned(),
            columns: found.columns,
            rows: found.ranked.rows,
            series: found.series,
            as_of: self.as_of().unwrap_or(now),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            sql: Some(sql),
        })
    }

    /// Asks for rows, and keeps how it was asked.
    fn ranked(&self, sql: &str, values: &[Stored]) -> Result<Ranked, HistoryError> {
        let (_, rows) = self.named_rows(sql, values)?;
        Ok(Ranked {
            sql: as_text(sql, values),
            rows,
        })
    }

    /// Asks for rows; the names of their columns come with them.
    pub(super) fn named_rows(
        &self,
        sql: &str,
        values: &[Stored],
    ) -> Result<(Vec<String>, Vec<Vec<Value>>), HistoryError> {
        let ask = || {
            let mut statement = self.connection.prepare(sql)?;
            let mut found = statement.query(params_from_iter(values))?;
            let mut rows = Vec::new();
            while let Some(row) = found.next()? {
                let columns = row.as_ref().column_count();
                let values = (0..columns).map(|column| Ok(json(row.get_ref(column)?.to_owned())));
                rows.push(values.collect::<duckdb::Result<_>>()?);
            }
            drop(found);
            Ok((statement.column_names(), rows))
        };
        ask().map_err(self.failed("ask"))
    }
}

/// A query as somebody could have written it in one line: with its values in their places.
pub(super) fn as_text(sql: &str, values: &[Stored]) -> String {
    let mut values = values.iter().map(|value| match value {
        Stored::Text(text) => format!("'{}'", text.replace('\'', "''")),
        other => match json(other.clone()) {
            Value::String(text) => format!("TIMESTAMP '{}'", text.trim_end_matches('Z').replace('T', " ")),
            other => other.to_string(),
        },
    });
    // No query of Petit's own has a `?` that is not a parameter.
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(&values.next().unwrap_or_default());
        text.push_str(part);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Ranked rows, and the query that gave them.
struct Ranked {
    sql: String,
    rows: Vec<Vec<Value>>,
}

/// What a question found.
struct Found {
    columns: Vec<Column>,
    ranked: Ranked,
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
