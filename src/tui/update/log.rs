//! What only the log's screen does: opening an attempt's log, moving in it, searching it.

use super::{say, walk::beside};
use crate::{
    core::{Timestamp, state::TaskState},
    tui::{
        command::Command,
        state::{Effect, LogId, State},
    },
    view::{AttemptView, RunView},
};

/// Carries out one of the log's own commands.
pub(super) fn on_command(state: &mut State, command: Command, now: Timestamp) -> Vec<Effect> {
    match command {
        Command::Sideways(side) => state.log.sideways(side),
        Command::Follow if state.log.paused => state.log.follow(),
        Command::Follow => {
            let top = state.log.first(height(state, now));
            state.log.pause_at(top);
        }
        Command::Times => state.log.times = !state.log.times,
        Command::FirstError => {
            if !state.log.first_error(height(state, now)) {
                say(state, "no line looks like an error", false, now);
            }
        }
        Command::NextMatch | Command::PreviousMatch => {
            if !state.log.find(command == Command::NextMatch, height(state, now)) {
                say(state, "no line contains it", true, now);
            }
        }
        _ => {}
    }
    Vec::new()
}

/// Begins a search.
pub(super) fn search(state: &mut State, text: String, now: Timestamp) -> Vec<Effect> {
    state.log.search = text;
    state.log.found = None;
    if !state.log.search.is_empty() && !state.log.find(true, height(state, now)) {
        say(state, "no line contains it", true, now);
    }
    Vec::new()
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

/// How many lines of a log fit: the rest is its head, the titles, the banner and the hints.
pub(super) fn height(state: &State, now: Timestamp) -> usize {
    let banner = u16::from(state.banner(now).is_some());
    usize::from(state.size.1.saturating_sub(3 + banner))
}
