//! Runs: those behind a row or a point of an answer, out of the history.

use super::{Cell, Column, Row, Section, Target, pending};
use crate::{
    core::Timestamp,
    tui::{look, state::State, text},
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let filter = &state.past.runs_filter;
    let chips: String = filter.split_whitespace().map(|part| format!(" <{part}>")).collect();
    let Some((_, picked)) = state.past.runs.as_ref().filter(|(picked, _)| picked == filter) else {
        return vec![Section::new(format!("runs{chips}"), &[], pending(state))];
    };
    let columns = [
        Column::new("", 0),
        Column::new("job", 0),
        Column::new("due", 0),
        Column::new("took", 1).right(),
        Column::new("trigger", 3),
        Column::new("run", 2),
        Column::grows("reason"),
    ];
    let rows = picked.runs.iter().map(|run| {
        Row::new(
            Some(Target::Run {
                run: run.id,
                job: run.job.clone(),
            }),
            [
                Cell::sign(state, look::of_run(run.status)),
                run.job.as_str().into(),
                text::clock(run.due_at(), now).into(),
                run.duration_ms.map_or_else(|| "-".to_owned(), text::millis).into(),
                Cell::muted(run.trigger.as_str()),
                Cell::muted(run.id.to_string()),
                Cell::muted(run.reason.clone().unwrap_or_default()),
            ],
        )
    });
    let count = picked.runs.len();
    let title = match picked.more {
        true => format!("the newest {count} runs{chips}; `E` exports all"),
        false => format!("runs {count}{chips}"),
    };
    let empty = format!("no run that has ended matches {filter}");
    vec![Section::new(title, &columns, empty).with(rows)]
}
