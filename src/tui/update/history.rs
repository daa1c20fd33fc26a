//! What only History does: choosing a question and asking it.

use super::loading::request;
use crate::tui::{
    command::PastCommand,
    state::{Effect, QUESTIONS, State},
};

/// Carries out one of History's own commands.
pub(super) fn on_command(state: &mut State, command: PastCommand) -> Vec<Effect> {
    match command {
        PastCommand::NextQuestion => state.question = (state.question + 1) % QUESTIONS.len(),
        PastCommand::PreviousQuestion => state.question = (state.question + QUESTIONS.len() - 1) % QUESTIONS.len(),
    }
    ask(state)
}

/// Asks for the runs that a filter picks.
pub(super) fn filter(state: &mut State, text: String) -> Vec<Effect> {
    state.place_mut().filter = text;
    ask(state)
}

/// What is old of the other question must not be taken for its answer.
pub(super) fn ask(state: &mut State) -> Vec<Effect> {
    state.answer = None;
    state.place_mut().cursor = 0;
    let asked = state.asked();
    state.fresh.retain(|want| *want != asked);
    request(state)
}
