//! History: the ranked rows of the answer; its chart is drawn above them.

use super::{Column, Row, Section, Target};
use crate::{
    core::Timestamp,
    tui::{state::State, text},
    view::{Answer, ColumnKind},
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    match &state.answer {
        Some(answer) => {
            let title = format!("ranked {}: Enter shows the runs of a row", answer.rows.len());
            let filter = &state.place().filter;
            let empty = match filter.is_empty() {
                true => "the history holds nothing of this kind yet".to_owned(),
                false => format!("nothing matches {filter}: Esc drops the filter"),
            };
            vec![ranked(title, answer, empty, now)]
        }
        None => {
            let empty = match state.problem() {
                Some(problem) => problem.to_owned(),
                None => "asking".to_owned(),
            };
            vec![Section::new("", &[], empty)]
        }
    }
}

/// An answer as a table.
pub(super) fn ranked(title: String, answer: &Answer, empty: String, now: Timestamp) -> Section {
    let columns: Vec<Column> = answer
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let right = !matches!(column.kind, ColumnKind::Text | ColumnKind::Time);
            // The first columns say what a row is about.
            Column {
                name: head(&column.name).into(),
                rank: u8::try_from(at).unwrap_or(u8::MAX),
                right,
                grows: false,
            }
        })
        .collect();
    let job_at = answer.columns.iter().position(|column| column.name == "job");
    let rows = answer.rows.iter().enumerate().map(|(row, values)| {
        let job = job_at.and_then(|at| values.get(at)?.as_str()?.parse().ok());
        let cells = values
            .iter()
            .zip(&answer.columns)
            .map(|(value, column)| text::value(value, column.kind, now).into());
        Row::new(Some(Target::Ranked { row, job }), cells)
    });
    Section::new(title, &columns, empty).with(rows)
}

/// A column's name without its unit, which each value carries.
fn head(name: &str) -> String {
    let name = name
        .strip_suffix("_ms")
        .or_else(|| name.strip_suffix("_bytes"))
        .unwrap_or(name);
    name.replace('_', " ")
}
