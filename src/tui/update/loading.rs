//! What is asked for and what arrives: each want is on its way once, and what an event may have changed is asked for again.

use chrono::TimeDelta;

use super::walk;
use crate::{
    control::Live,
    core::{Timestamp, id::JobId},
    events::Event,
    tui::{
        message::{Effect, Loaded, Want},
        screen::Target,
        state::{Link, Loading, Screen, State},
    },
    view::RunView,
};

/// Asks for what the screen shows and is neither there nor on its way.
pub(super) fn request(state: &mut State) -> Vec<Effect> {
    let mut effects = Vec::new();
    for want in state.wants() {
        if !state.fresh.contains(&want) && !state.loading.iter().any(|loading| loading.want == want) {
            state.loading.push(Loading {
                want: want.clone(),
                outdated: false,
            });
            effects.push(Effect::Load(want));
        }
    }
    effects
}

/// How often the memory of running tasks is looked at while it is shown: no event tells of it.
const WEIGH_EVERY: TimeDelta = TimeDelta::seconds(2);

/// Has what changes without an event asked for again from time to time.
pub(super) fn weigh(state: &mut State, now: Timestamp) {
    let shown = state.screen == Screen::Live && state.link == Link::Up;
    let running = state.status.as_ref().is_some_and(|status| !status.running.is_empty());
    if !(shown && running) {
        return;
    }
    // What has just been loaded needs no second look at once.
    let last = *state.weighed.get_or_insert(now);
    if now - last >= WEIGH_EVERY {
        state.weighed = Some(now);
        state.fresh.retain(|want| *want != Want::Status);
    }
}

/// Marks what an event may have changed.
pub(super) fn outdate(state: &mut State, live: &Live) {
    // The last run of a job becomes the last but one when there is another.
    let in_line = |of: &JobId| {
        let context = |run: &RunView| run.context.as_ref().is_none_or(|context| context.next.is_none());
        state.run.as_ref().is_some_and(|run| run.job == *of && context(run))
    };
    let touched = |want: &Want| match (want, live) {
        (Want::Answer { .. } | Want::Picked(_) | Want::Rows(_) | Want::Views, _) => false,
        (_, Live::Lagged(_)) => true,
        (Want::Status, Live::Event(_)) => true,
        (Want::Jobs, Live::Event(event)) => !matches!(event, Event::Task { .. }),
        (Want::Runs, Live::Event(event)) => matches!(event, Event::Run { .. }),
        (Want::Job(id), Live::Event(Event::Run { job, .. } | Event::Task { job, .. })) => id == job,
        (Want::Run(id), Live::Event(Event::Run { run, job, .. })) => id == run || in_line(job),
        (Want::Run(id), Live::Event(Event::Task { run, .. })) => id == run,
        (Want::Job(_) | Want::Source(_), Live::Event(Event::Reconcile(_))) => true,
        (Want::Job(_) | Want::Source(_) | Want::Run(_), Live::Event(_)) => false,
    };
    state.fresh.retain(|want| !touched(want));
    for loading in &mut state.loading {
        loading.outdated |= touched(&loading.want);
    }
}

pub(super) fn on_loaded(state: &mut State, want: Want, result: Result<Loaded, String>) -> Vec<Effect> {
    let outdated = state
        .loading
        .iter()
        .any(|loading| loading.want == want && loading.outdated);
    state.loading.retain(|loading| loading.want != want);
    state.problems.retain(|(failed, _)| *failed != want);
    // Of each kind only the last one is held: one job, one run, one file, one answer.
    state
        .fresh
        .retain(|held| std::mem::discriminant(held) != std::mem::discriminant(&want));
    if !outdated {
        state.fresh.push(want.clone());
    }
    let loaded = match result {
        Ok(loaded) => loaded,
        Err(problem) => {
            state.problems.push((want, problem));
            return Vec::new();
        }
    };
    // The cursor stays on its row, wherever the new rows put it.
    let target = state.target();
    match loaded {
        Loaded::Status(status) => state.status = Some(*status),
        Loaded::Jobs(jobs) => state.jobs = Some(jobs),
        Loaded::Runs(runs) => state.runs = Some(runs),
        Loaded::Job(job, runs) => state.job = Some((*job, runs)),
        Loaded::Run(run) => state.run = Some(*run),
        Loaded::Source(text) => {
            if let Want::Source(file) = want {
                state.source = Some((file, text));
            }
        }
        // The answer to an earlier question must not stand below the present one.
        Loaded::Answer(answer) if want == state.asked() => state.answer = Some(answer),
        Loaded::Answer(_) => {}
        Loaded::Picked(runs) => {
            if let Want::Picked(filter) = want {
                state.past.runs = Some((filter, runs));
            }
        }
        Loaded::Rows(answer) => {
            if let Want::Rows(sql) = want {
                state.past.rows = Some((sql, answer));
            }
        }
        Loaded::Views(views) => state.past.views = views,
    }
    keep_cursor(state, target);
    match state.screen {
        Screen::Run | Screen::Log => walk::choose_run(state),
        Screen::Live
        | Screen::Jobs
        | Screen::Job
        | Screen::Sync
        | Screen::File
        | Screen::History
        | Screen::Runs
        | Screen::Sql => Vec::new(),
    }
}

pub(super) fn keep_cursor(state: &mut State, target: Option<Target>) {
    let sections = state.sections(Timestamp::UNIX_EPOCH);
    let mut rows = sections.iter().flat_map(|section| &section.rows);
    let count = rows.clone().count();
    let found = target.and_then(|target| rows.position(|row| row.target.as_ref() == Some(&target)));
    let place = state.place_mut();
    place.cursor = found.unwrap_or(place.cursor).min(count.saturating_sub(1));
}
