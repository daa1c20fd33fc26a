//! From screen to screen and from row to row: going in, coming back to the same place, neighbours, the cursor.

use super::{history, keys, loading::request, log, say};
use crate::{
    core::{Timestamp, id::RunId},
    tui::{
        command::Step,
        message::{Effect, LogId, Want},
        screen::Target,
        state::{Place, Screen, State},
    },
};

pub(super) fn go(state: &mut State, screen: Screen) -> Vec<Effect> {
    state.screen = screen;
    state.input = None;
    // The past grows while one looks elsewhere, and no event says so.
    if screen == Screen::History {
        state.fresh.retain(|want| !matches!(want, Want::Answer { .. }));
    }
    let mut effects = request(state);
    if matches!(screen, Screen::Run | Screen::Log) {
        effects.extend(choose_run(state));
    }
    effects
}

/// Opens a screen from another one, to which `Esc` leads back.
pub(super) fn go_in(state: &mut State, screen: Screen) -> Vec<Effect> {
    state.trail.push(state.screen);
    state.places[screen as usize] = Place::default();
    go(state, screen)
}

pub(super) fn back(state: &mut State) -> Vec<Effect> {
    if state.screen == Screen::Log && state.log.searching.take().is_some() {
        return vec![Effect::StopSearch];
    }
    if let Some(screen) = state.trail.pop() {
        return go(state, screen);
    }
    if state.screen == Screen::History {
        if state.past.point.take().is_some() {
            return Vec::new();
        }
        if !state.place().filter.is_empty() {
            state.place_mut().filter.clear();
            return history::ask(state);
        }
    } else {
        keys::typed(state, "");
    }
    Vec::new()
}

pub(super) fn enter(state: &mut State, now: Timestamp) -> Vec<Effect> {
    match state.target() {
        Some(Target::Job(job)) => {
            state.job = state.job.take().filter(|(open, _)| open.job.id == job);
            state.open_job = Some(job);
            go_in(state, Screen::Job)
        }
        Some(Target::Run { run, .. }) => {
            open_run(state, run);
            go_in(state, Screen::Run)
        }
        Some(Target::Attempt(of)) => {
            let mut effects = Vec::new();
            let failed = failed(state, &of);
            if state.log.of.as_ref() != Some(&of) {
                effects = log::open(state, of);
            }
            // Who comes from the past to a failure wants to know what it was.
            let error_first = failed && state.trail.contains(&Screen::Runs);
            effects.extend(go_in(state, Screen::Log));
            if error_first {
                effects.extend(log::show_error(state, now));
            }
            effects
        }
        Some(Target::File(file)) => {
            state.open_file = Some(file);
            go_in(state, Screen::File)
        }
        Some(Target::Sync) => go_in(state, Screen::Sync),
        Some(Target::Ranked { row, .. }) => history::enter(state, row),
        Some(Target::Task(_)) | None => Vec::new(),
    }
}

/// Whether an attempt of the open run ended in any other way than well.
fn failed(state: &State, of: &LogId) -> bool {
    let tasks = state.run.iter().flat_map(|run| &run.tasks);
    let mut attempts = tasks.flat_map(|task| &task.attempts);
    attempts.any(|attempt| LogId::from(attempt) == *of && attempt.ending.is_some() && attempt.exit_code != Some(0))
}

/// What is open of another run is let go, so that it is never taken for this one's.
pub(super) fn open_run(state: &mut State, run: RunId) {
    if state.open_run != Some(run) {
        state.open_run = Some(run);
        state.run = None;
        state.log.close();
    }
}

/// On Run and Log without a choice: the latest run, and in it the attempt that somebody would look at first.
pub(super) fn choose_run(state: &mut State) -> Vec<Effect> {
    if state.open_run.is_none() {
        let Some(latest) = state.runs.iter().flatten().next().map(|run| run.id) else {
            return Vec::new();
        };
        state.open_run = Some(latest);
        return request(state);
    }
    if state.screen == Screen::Log
        && state.log.of.is_none()
        && let Some(run) = state.run.as_ref().filter(|run| Some(run.id) == state.open_run)
        && let Some(attempt) = log::foremost_attempt(run)
    {
        return log::open(state, attempt);
    }
    Vec::new()
}

pub(super) fn neighbour(state: &mut State, after: bool, now: Timestamp) -> Vec<Effect> {
    if state.screen == Screen::Log {
        return log::neighbour(state, after, now);
    }
    let open = state.run.as_ref().filter(|run| Some(run.id) == state.open_run);
    if let Some(context) = open.and_then(|run| run.context.as_ref()) {
        let beside = if after { context.next } else { context.previous };
        return match beside {
            Some(run) => {
                open_run(state, run);
                state.place_mut().cursor = 0;
                request(state)
            }
            None => {
                let which = if after { "the latest" } else { "the first" };
                say(state, format!("this is {which} run of the job"), false, now);
                Vec::new()
            }
        };
    }
    // Until the run itself has arrived, the listed runs say what stands beside it.
    let job = state.run.as_ref().map(|run| run.job.clone());
    let mut runs: Vec<RunId> = job
        .iter()
        .flat_map(|job| state.runs_of(job))
        .map(|run| run.id)
        .collect();
    runs.sort_unstable();
    match beside(runs, state.open_run.as_ref(), after) {
        Some(run) => {
            open_run(state, run);
            state.place_mut().cursor = 0;
            request(state)
        }
        None => {
            say(state, "no run of the job is known on this side", false, now);
            Vec::new()
        }
    }
}

pub(super) fn beside<T: PartialEq>(all: Vec<T>, current: Option<&T>, after: bool) -> Option<T> {
    let at = all.iter().position(|one| Some(one) == current)?;
    let at = if after { at.checked_add(1) } else { at.checked_sub(1) }?;
    all.into_iter().nth(at)
}

pub(super) fn move_cursor(state: &mut State, step: Step, now: Timestamp) -> Vec<Effect> {
    if state.screen == Screen::Log {
        return log::scroll(state, step, now);
    }
    let count: usize = state.sections(now).iter().map(|section| section.rows.len()).sum();
    let page = usize::from(state.size.1.saturating_sub(4)).max(1);
    let last = count.saturating_sub(1);
    let place = state.place_mut();
    place.cursor = match step {
        Step::Up => place.cursor.saturating_sub(1),
        Step::Down => place.cursor + 1,
        Step::PageUp => place.cursor.saturating_sub(page),
        Step::PageDown => place.cursor + page,
        Step::First => 0,
        Step::Last => last,
    }
    .min(last);
    Vec::new()
}
