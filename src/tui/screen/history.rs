//! History: the ranked rows of the answer; its chart is drawn above them.

use super::{Column, Row, Section, Target};
use crate::{
    core::Timestamp,
    tui::{state::State, text},
    view::{Answer, ColumnKind},
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    match &state.answer {
        Some(answer) => vec![ranked(answer, now)],
        None => {
            let empty = match state.problem() {
                Some(problem) => problem.to_owned(),
                None => "asking".to_owned(),
            };
            vec![Section::new("", &[], empty)]
        }
    }
}

fn ranked(answer: &Answer, now: Timestamp) -> Section {
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
    let at = |name: &str| answer.columns.iter().position(|column| column.name == name);
    let (job_at, run_at) = (at("job"), at("run").or_else(|| at("run_id")));
    let rows = answer.rows.iter().map(|row| {
        let text = |at: Option<usize>| row.get(at?)?.as_str();
        let job = text(job_at).and_then(|job| job.parse().ok());
        let run = text(run_at).and_then(|run| run.parse().ok());
        let target = match (run, job) {
            (Some(run), Some(job)) => Some(Target::Run { run, job }),
            (None, Some(job)) => Some(Target::Job(job)),
            (_, None) => None,
        };
        let cells = row
            .iter()
            .zip(&answer.columns)
            .map(|(value, column)| text::value(value, column.kind, now).into());
        Row::new(target, cells)
    });
    Section::new(format!("ranked {}", answer.rows.len()), &columns, "nothing matches").with(rows)
}

/// A column's name without its unit, which each value carries.
fn head(name: &str) -> String {
    let name = name
        .strip_suffix("_ms")
        .or_else(|| name.strip_suffix("_bytes"))
        .unwrap_or(name);
    name.replace('_', " ")
}
