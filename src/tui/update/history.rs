//! What only the screens of the past do: choosing a question and asking it, moving its window of time, going from a row or a
//! point to its runs, asking in SQL, exporting rows, keeping views.

use super::{keys::type_in, loading::request, say, walk::go_in};
use crate::{
    core::Timestamp,
    tui::{
        command::PastCommand,
        message::{Effect, Want},
        past::{self, KeptView, Shift},
        state::{Overlay, QUESTIONS, Screen, State, Typing},
    },
};

impl State {
    /// The query whose rows the screen shows.
    pub(in crate::tui) fn shown_sql(&self) -> Option<&str> {
        match self.screen {
            Screen::History => self.answer.as_ref()?.sql.as_deref(),
            Screen::Runs => {
                let picked = self
                    .past
                    .runs
                    .as_ref()
                    .filter(|(filter, _)| *filter == self.past.runs_filter);
                picked.map(|(_, picked)| picked.sql.as_str())
            }
            Screen::Sql => self.past.rows.as_ref().map(|(sql, _)| sql.as_str()),
            Screen::Live | Screen::Jobs | Screen::Job | Screen::Run | Screen::Log | Screen::Sync | Screen::File => None,
        }
    }
}

/// Carries out one of History's own commands.
pub(super) fn on_command(state: &mut State, command: PastCommand, now: Timestamp) -> Vec<Effect> {
    match command {
        PastCommand::NextQuestion => {
            state.question = (state.question + 1) % QUESTIONS.len();
            ask(state)
        }
        PastCommand::PreviousQuestion => {
            state.question = (state.question + QUESTIONS.len() - 1) % QUESTIONS.len();
            ask(state)
        }
        PastCommand::Shift(by) => shift(state, by, now),
        PastCommand::NextPoint => {
            let last = past::instants(state.answer.as_ref()).len().saturating_sub(1);
            state.past.point = Some(state.past.point.map_or(0, |point| (point + 1).min(last)));
            Vec::new()
        }
        PastCommand::PreviousPoint => {
            let last = past::instants(state.answer.as_ref()).len().saturating_sub(1);
            state.past.point = Some(state.past.point.map_or(last, |point| point.saturating_sub(1)));
            Vec::new()
        }
        PastCommand::ShowSql => {
            let sql = state.shown_sql().unwrap_or_default().to_owned();
            show_sql(state, sql)
        }
        PastCommand::Sql => {
            let sql = state.past.sql.clone();
            let effects = show_sql(state, sql);
            type_in(state, Typing::Sql, state.past.sql.clone());
            effects
        }
        PastCommand::Export => {
            let name = match state.screen {
                Screen::History => QUESTIONS[state.question],
                _ => "rows",
            };
            type_in(state, Typing::Export, format!("petit-{name}.csv"));
            Vec::new()
        }
        PastCommand::Keep => {
            type_in(state, Typing::Keep, String::new());
            Vec::new()
        }
        PastCommand::Views => {
            state.overlay = Some(Overlay::Views { cursor: 0 });
            Vec::new()
        }
    }
}

/// Asks for the runs that a filter picks.
pub(super) fn filter(state: &mut State, text: String) -> Vec<Effect> {
    state.place_mut().filter = text;
    ask(state)
}

/// What is old of the other question must not be taken for its answer.
pub(super) fn ask(state: &mut State) -> Vec<Effect> {
    state.answer = None;
    state.past.point = None;
    state.place_mut().cursor = 0;
    let asked = state.asked();
    state.fresh.retain(|want| *want != asked);
    request(state)
}

fn shift(state: &mut State, by: Shift, now: Timestamp) -> Vec<Effect> {
    let on_runs = state.screen == Screen::Runs;
    let filter = if on_runs {
        &state.past.runs_filter
    } else {
        &state.place().filter
    };
    match past::shifted(filter, state.answer.as_ref(), now, by) {
        Ok(moved) if on_runs => {
            state.past.runs_filter = moved;
            state.place_mut().cursor = 0;
            request(state)
        }
        Ok(moved) => {
            state.place_mut().filter = moved;
            ask(state)
        }
        Err(problem) => {
            say(state, problem, true, now);
            Vec::new()
        }
    }
}

/// Goes to the runs of the point that is chosen, or else of a row.
pub(super) fn enter(state: &mut State, row: usize) -> Vec<Effect> {
    // Rows of SQL are about whatever the query is about.
    let Some(answer) = state.answer.as_ref().filter(|_| state.screen == Screen::History) else {
        return Vec::new();
    };
    let filter = &state.place().filter;
    let runs = match state.past.point {
        Some(point) => past::of_point(filter, answer, point),
        None => past::of_row(filter, answer, row),
    };
    let Some(runs) = runs else { return Vec::new() };
    state.past.runs_filter = runs;
    // The past has grown since the same runs were picked before.
    state.fresh.retain(|want| !matches!(want, Want::Picked(_)));
    go_in(state, Screen::Runs)
}

/// Shows a query, without asking it yet.
fn show_sql(state: &mut State, sql: String) -> Vec<Effect> {
    state.past.sql = sql;
    match state.screen {
        Screen::Sql => Vec::new(),
        _ => {
            state.past.asked = None;
            go_in(state, Screen::Sql)
        }
    }
}

/// Asks the query that was typed.
pub(super) fn ask_sql(state: &mut State, sql: String) -> Vec<Effect> {
    state.past.sql.clone_from(&sql);
    state.place_mut().cursor = 0;
    state.past.asked = Some(sql).filter(|sql| !sql.trim().is_empty());
    state.fresh.retain(|want| !matches!(want, Want::Rows(_)));
    state.problems.retain(|(want, _)| !matches!(want, Want::Rows(_)));
    request(state)
}

/// Writes what is shown into the file whose name was typed.
pub(super) fn export(state: &mut State, file: String, now: Timestamp) -> Vec<Effect> {
    if !(file.ends_with(".csv") || file.ends_with(".parquet")) {
        say(
            state,
            "nothing was written: the name has to end in .csv or .parquet",
            true,
            now,
        );
        return Vec::new();
    }
    let Some(sql) = state.shown_sql().map(str::to_owned) else {
        return Vec::new();
    };
    say(state, format!("writing {file}"), false, now);
    vec![Effect::Export { sql, file }]
}

/// Keeps what is asked under the name that was typed.
pub(super) fn keep(state: &mut State, name: &str, now: Timestamp) -> Vec<Effect> {
    let name = name.trim().to_owned();
    if name.is_empty() {
        say(state, "nothing was kept: a view needs a name", true, now);
        return Vec::new();
    }
    vec![Effect::Keep(KeptView {
        name,
        question: QUESTIONS[state.question].to_owned(),
        filter: state.place().filter.clone(),
    })]
}

/// Asks what a kept view asks.
pub(super) fn open_view(state: &mut State, at: usize, now: Timestamp) -> Vec<Effect> {
    let Some(view) = state.past.views.get(at).cloned() else {
        return Vec::new();
    };
    let Some(question) = QUESTIONS.iter().position(|question| *question == view.question) else {
        say(
            state,
            format!("this version has no question `{}`", view.question),
            true,
            now,
        );
        return Vec::new();
    };
    state.question = question;
    filter(state, view.filter)
}
