//! Keys become commands, and commands become changes and effects; what is typed goes where it was begun.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    history,
    loading::{keep_cursor, request},
    log, out, pause, retry, say, walk,
};
use crate::{
    core::{Timestamp, id::JobId},
    tui::{
        command::{self, Command},
        message::{Effect, Order},
        refusal::refusal,
        state::{Input, Overlay, Screen, State, Typing},
    },
};

pub(super) fn on_key(state: &mut State, key: KeyEvent, now: Timestamp) -> Vec<Effect> {
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        if key.code != KeyCode::Char('c') {
            return Vec::new();
        }
        if state.interrupted {
            return vec![Effect::Quit];
        }
        state.interrupted = true;
        say(state, "Ctrl-C again leaves, as `q` does", false, now);
        return Vec::new();
    }
    state.interrupted = false;
    state.retrying = None;
    if let Some(overlay) = state.overlay.take() {
        return on_overlay(state, overlay, key.code, now);
    }
    if let Some(input) = state.input.take() {
        return on_input(state, input, key.code, now);
    }
    state.notice = None;
    match command::of_key(key.code, state.screen) {
        Some(command) => run_command(state, command, now),
        None => Vec::new(),
    }
}

pub(super) fn on_overlay(state: &mut State, overlay: Overlay, key: KeyCode, now: Timestamp) -> Vec<Effect> {
    match overlay {
        Overlay::Views { mut cursor } => {
            match key {
                KeyCode::Esc => return Vec::new(),
                KeyCode::Enter => return history::open_view(state, cursor, now),
                KeyCode::Up | KeyCode::Char('k') => cursor = cursor.saturating_sub(1),
                KeyCode::Down | KeyCode::Char('j') => {
                    cursor = (cursor + 1).min(state.past.views.len().saturating_sub(1));
                }
                _ => {}
            }
            state.overlay = Some(Overlay::Views { cursor });
            Vec::new()
        }
        Overlay::Confirm { then, .. } => {
            if key == KeyCode::Char('y') {
                return vec![then];
            }
            say(state, "nothing was done", false, now);
            Vec::new()
        }
        Overlay::Commands { mut text, mut cursor } => {
            let found = command::find(&text, state.screen);
            match key {
                KeyCode::Esc => return Vec::new(),
                KeyCode::Enter => {
                    return match found.get(cursor) {
                        Some(entry) => run_command(state, entry.command, now),
                        None => Vec::new(),
                    };
                }
                KeyCode::Up => cursor = cursor.saturating_sub(1),
                KeyCode::Down => cursor = (cursor + 1).min(found.len().saturating_sub(1)),
                KeyCode::Char(c) => {
                    text.push(c);
                    cursor = 0;
                }
                KeyCode::Backspace => {
                    text.pop();
                    cursor = 0;
                }
                _ => {}
            }
            state.overlay = Some(Overlay::Commands { text, cursor });
            Vec::new()
        }
    }
}

pub(super) fn on_input(state: &mut State, mut input: Input, key: KeyCode, now: Timestamp) -> Vec<Effect> {
    match key {
        KeyCode::Esc => {
            if input.typing == Typing::Filter {
                typed(state, &input.before);
            }
            return Vec::new();
        }
        KeyCode::Enter => {
            return match input.typing {
                Typing::Filter => accept(state, input.text, now),
                Typing::Sql => history::ask_sql(state, input.text),
                Typing::Export => history::export(state, input.text, now),
                Typing::Keep => history::keep(state, &input.text, now),
            };
        }
        KeyCode::Char(c) => input.text.push(c),
        KeyCode::Backspace => {
            input.text.pop();
        }
        _ => {}
    }
    if input.typing == Typing::Filter {
        typed(state, &input.text);
    }
    state.input = Some(input);
    Vec::new()
}

/// Begins a line that is typed.
pub(super) fn type_in(state: &mut State, typing: Typing, text: String) {
    state.input = Some(Input {
        typing,
        before: text.clone(),
        text,
    });
}

/// Rows narrow while one types; a question and a search wait for Enter, because each letter would cost work.
pub(super) fn typed(state: &mut State, text: &str) {
    if !matches!(state.screen, Screen::History | Screen::Log) {
        let target = state.target();
        state.place_mut().filter = text.to_owned();
        keep_cursor(state, target);
    }
}

pub(super) fn accept(state: &mut State, text: String, now: Timestamp) -> Vec<Effect> {
    match state.screen {
        Screen::Log => log::search(state, text, now),
        Screen::History => history::filter(state, text),
        Screen::Live
        | Screen::Jobs
        | Screen::Job
        | Screen::Run
        | Screen::Sync
        | Screen::File
        | Screen::Runs
        | Screen::Sql => {
            typed(state, &text);
            Vec::new()
        }
    }
}

pub(super) fn run_command(state: &mut State, command: Command, now: Timestamp) -> Vec<Effect> {
    if let Some(reason) = refusal(command, state) {
        let entry = command::COMMANDS.iter().find(|entry| entry.command == command);
        let name = entry.map_or("", |entry| entry.name);
        say(state, format!("cannot {name}: {reason}"), true, now);
        return Vec::new();
    }
    match command {
        Command::Show(screen) => {
            state.trail.clear();
            walk::go(state, screen)
        }
        Command::Move(step) => walk::move_cursor(state, step, now),
        Command::Enter => walk::enter(state, now),
        Command::Back => walk::back(state),
        Command::Filter => {
            let before = match state.screen {
                Screen::Log => state.log.search.clone(),
                _ => state.place().filter.clone(),
            };
            type_in(state, Typing::Filter, before);
            Vec::new()
        }
        Command::Help => {
            state.overlay = Some(Overlay::Commands {
                text: String::new(),
                cursor: 0,
            });
            Vec::new()
        }
        Command::Trigger => on_job(state, Order::Trigger),
        Command::Pause => pause::toggle(state),
        Command::Undo => pause::undo(state),
        Command::Cancel => {
            if let (Some(run), Some(job)) = (state.run_in_view(), state.job_in_view()) {
                let question = vec![
                    format!("Cancel run {run} of {job}?"),
                    "Its tasks that run are ended, those that wait never start.".to_owned(),
                ];
                confirm(state, question, Effect::Order(Order::Cancel(run)));
            }
            Vec::new()
        }
        Command::Retry => retry::on_command(state, now),
        Command::Approve => {
            if let Some(plan) = state.waiting_plan() {
                let held = state.status.iter().flat_map(|status| &status.sync.jobs);
                let held = held.filter(|job| job.standing.sync == crate::reconcile::SyncState::Held);
                let mut question = vec![format!("Carry out plan {plan}? These jobs stop being active:")];
                question.extend(held.map(|job| format!("  {} ({})", job.job, job.file)));
                confirm(state, question, Effect::Order(Order::Approve(plan)));
            }
            Vec::new()
        }
        Command::Sync => vec![Effect::Order(Order::Sync)],
        Command::Previous => walk::neighbour(state, false, now),
        Command::Next => walk::neighbour(state, true, now),
        Command::Log(command) => log::on_command(state, command, now),
        Command::Past(command) => history::on_command(state, command, now),
        Command::Reload => {
            let wants = state.wants();
            state.fresh.retain(|want| !wants.contains(want));
            request(state)
        }
        Command::Copy => {
            let effects = out::copy(state, now);
            if let [Effect::Copy(text)] = effects.as_slice() {
                say(state, format!("copied: {text}"), false, now);
            }
            effects
        }
        Command::Edit => out::edit(state),
        Command::Page => out::page(state, now),
        Command::Quit => quit(state),
    }
}

pub(super) fn on_job(state: &State, order: impl FnOnce(JobId) -> Order) -> Vec<Effect> {
    state.job_in_view().map(order).map(Effect::Order).into_iter().collect()
}

pub(super) fn confirm(state: &mut State, question: Vec<String>, then: Effect) {
    state.overlay = Some(Overlay::Confirm { question, then });
}

/// A daemon in the same process ends with its screens, which somebody may not expect.
pub(super) fn quit(state: &mut State) -> Vec<Effect> {
    let going = state.status.as_ref().map_or(0, |status| status.active_runs.len());
    if state.embedded && going > 0 {
        let question = vec![
            "Leave? The daemon runs in this terminal and stops too.".to_owned(),
            format!("Runs that are going: {going}. They get the time of `shutdown_grace` to end."),
        ];
        confirm(state, question, Effect::Quit);
        return Vec::new();
    }
    vec![Effect::Quit]
}
