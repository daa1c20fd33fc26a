//! What only the log's screen does: opening an attempt's log, moving in it, asking for what comes into view, searching it.

use super::{say, walk::beside};
use crate::{
    core::{Timestamp, state::TaskState},
    execution::output::Direction,
    tui::{
        command::{LogCommand, Step},
        log::{LogNews, Part, Search, Sought},
        message::{Effect, LogId},
        state::{Screen, State},
    },
    view::{AttemptView, RunView},
};

/// Carries out one of the log's own commands.
pub(super) fn on_command(state: &mut State, command: LogCommand, now: Timestamp) -> Vec<Effect> {
    let room = state.log_room(now);
    let log = &mut state.log;
    match command {
        LogCommand::Sideways(side) => log.sideways(side),
        LogCommand::Follow if log.paused => {
            let part = log.follow();
            return read(state, part, now);
        }
        LogCommand::Follow => log.pause_at(log.spot(room)),
        LogCommand::Times => log.times = !log.times,
        LogCommand::Wrap => {
            log.wrap = !log.wrap;
            (log.left, log.top.row) = (0, 0);
        }
        LogCommand::FirstError => {
            let search = Search {
                sought: Sought::Error,
                from: 0,
                direction: Direction::Forward,
            };
            return begin_search(state, search);
        }
        LogCommand::NextMatch => {
            let search = log.search(Direction::Forward, room);
            return begin_search(state, search);
        }
        LogCommand::PreviousMatch => {
            let search = log.search(Direction::Backward, room);
            return begin_search(state, search);
        }
    }
    fill(state, now)
}

/// Goes to the first error, as soon as there is anything.
pub(super) fn show_error(state: &mut State, now: Timestamp) -> Vec<Effect> {
    state.log.error_first = state.log.lines.is_empty();
    if state.log.error_first {
        return Vec::new();
    }
    on_command(state, LogCommand::FirstError, now)
}

/// Begins a search for what was typed; nothing ends one.
pub(super) fn search(state: &mut State, text: String, now: Timestamp) -> Vec<Effect> {
    state.log.search = text;
    state.log.found = None;
    if state.log.search.is_empty() {
        state.log.searching = None;
        return vec![Effect::StopSearch];
    }
    let search = state.log.search(Direction::Forward, state.log_room(now));
    begin_search(state, search)
}

/// The feed searches, since the window is only a small part of the file.
fn begin_search(state: &mut State, search: Search) -> Vec<Effect> {
    let Some(of) = state.log.of.clone() else {
        return Vec::new();
    };
    state.log.begin_search(search.clone());
    vec![Effect::SearchLog(of, search)]
}

/// Takes what is told of the open log.
pub(super) fn on_news(state: &mut State, news: LogNews, now: Timestamp) -> Vec<Effect> {
    let room = state.log_room(now);
    let mut effects = Vec::new();
    match news {
        LogNews::Part(part, page) => state.log.take(part, page, room),
        LogNews::Grown(page, count) => {
            let first = state.log.lines.is_empty();
            state.log.grow(page, count, room);
            if first && std::mem::take(&mut state.log.error_first) {
                effects = on_command(state, LogCommand::FirstError, now);
            }
        }
        LogNews::Searching(search, looked, all) => state.log.progress(&search, looked, all),
        LogNews::Found(search, found) => {
            if state.log.take_found(&search, found, room) == Some(false) {
                match search.sought {
                    Sought::Text(_) => say(state, "no line contains it", true, now),
                    Sought::Error => say(state, "no line looks like an error", false, now),
                }
            }
        }
    }
    effects.extend(fill(state, now));
    effects
}

/// Scrolls.
pub(super) fn scroll(state: &mut State, step: Step, now: Timestamp) -> Vec<Effect> {
    let room = state.log_room(now);
    let part = state.log.scroll(step, room);
    read(state, part, now)
}

/// Asks for what the screen comes near to.
pub(super) fn fill(state: &mut State, now: Timestamp) -> Vec<Effect> {
    if state.screen != Screen::Log {
        return Vec::new();
    }
    let room = state.log_room(now);
    let part = state.log.needs(room);
    let of = state.log.of.clone();
    part.zip(of)
        .map(|(part, of)| Effect::ReadLog(of, part))
        .into_iter()
        .collect()
}

fn read(state: &mut State, part: Option<Part>, now: Timestamp) -> Vec<Effect> {
    match (part, state.log.of.clone()) {
        (Some(part), Some(of)) => vec![Effect::ReadLog(of, part)],
        (_, _) => fill(state, now),
    }
}

/// The attempt before or after in the run.
pub(super) fn neighbour(state: &mut State, after: bool, now: Timestamp) -> Vec<Effect> {
    let attempts = state
        .run
        .iter()
        .flat_map(|run| &run.tasks)
        .flat_map(|task| &task.attempts);
    let attempts: Vec<&AttemptView> = attempts.collect();
    let of = attempts.iter().map(|attempt| LogId::from(*attempt));
    match beside(of.collect(), state.log.of.as_ref(), after) {
        Some(next) => open(state, next),
        None => {
            say(state, "the run has no further attempt on this side", false, now);
            Vec::new()
        }
    }
}

/// The attempt of a failed task, else one that goes on, else the last.
pub(super) fn foremost_attempt(run: &RunView) -> Option<LogId> {
    let of = |wanted: fn(TaskState) -> bool| run.tasks.iter().filter(move |task| wanted(task.status));
    let tasks = of(|state| state == TaskState::Failed)
        .chain(of(|state| state == TaskState::Running))
        .chain(run.tasks.iter().rev());
    tasks.filter_map(|task| task.attempts.last()).map(LogId::from).next()
}

pub(super) fn open(state: &mut State, of: LogId) -> Vec<Effect> {
    state.log.open(of.clone());
    vec![Effect::Follow(of)]
}
