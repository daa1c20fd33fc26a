//! The only place that changes the state: a message and the time go in, what to do next comes out.
//!
//! It asks nobody anything and waits for nothing. What the current screen shows is asked for when the screen is entered,
//! and again at the next tick after something happened that may have changed it; so a storm of events costs a few
//! requests a second at most. An answer that was on its way while something happened is shown, and asked for again.

use chrono::TimeDelta;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    command::{self, Command, Step},
    screen::Target,
    state::{
        Effect, Input, Link, Loaded, Loading, LogId, Message, Notice, Order, Overlay, Place, QUESTIONS, Screen, State,
        Want,
    },
};
use crate::{
    control::Live,
    core::{
        Timestamp,
        id::{JobId, RunId},
        state::TaskState,
    },
    events::Event,
    view::{AttemptView, RunView},
};

/// How long the last line says something.
const NOTICE: TimeDelta = TimeDelta::seconds(6);

/// Takes a message, and returns what is to be done.
pub fn update(state: &mut State, message: Message, now: Timestamp) -> Vec<Effect> {
    match message {
        Message::Key(key) => on_key(state, key, now),
        Message::Resize(columns, rows) => {
            state.size = (columns, rows);
            Vec::new()
        }
        Message::Tick => {
            if state.notice.as_ref().is_some_and(|notice| notice.until <= now) {
                state.notice = None;
            }
            request(state)
        }
        Message::Loaded(want, result) => on_loaded(state, want, result),
        Message::Connected => {
            state.link = Link::Up;
            state.fresh.clear();
            state.loading.iter_mut().for_each(|loading| loading.outdated = true);
            request(state)
        }
        Message::Lost(message) => {
            state.link = match &state.link {
                Link::Connecting => Link::Down {
                    message,
                    since: now,
                    lost: false,
                },
                Link::Up => Link::Down {
                    message,
                    since: now,
                    lost: true,
                },
                Link::Down { since, lost, .. } => Link::Down {
                    message,
                    since: *since,
                    lost: *lost,
                },
            };
            Vec::new()
        }
        Message::Live(live) => {
            outdate(state, &live);
            Vec::new()
        }
        Message::Log(of, lines) => {
            if state.log.of.as_ref() == Some(&of) {
                state.log.extend(lines);
            }
            Vec::new()
        }
        Message::LogFailed(of, problem) => {
            if state.log.of.as_ref() == Some(&of) {
                state.log.problem = Some(problem);
            }
            Vec::new()
        }
        Message::Obeyed(result) => {
            match result {
                Ok(text) => say(state, text, false, now),
                Err(text) => say(state, text, true, now),
            }
            // Not every command becomes an event: a pause does not.
            state
                .fresh
                .retain(|want| matches!(want, Want::Answer { .. } | Want::Source(_)));
            request(state)
        }
    }
}

/// Asks for what the screen shows and is neither there nor on its way.
fn request(state: &mut State) -> Vec<Effect> {
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

/// Marks what an event may have changed.
fn outdate(state: &mut State, live: &Live) {
    let touched = |want: &Want| match (want, live) {
        (Want::Answer { .. }, _) => false,
        (_, Live::Lagged(_)) => true,
        (Want::Status, Live::Event(_)) => true,
        (Want::Jobs, Live::Event(event)) => !matches!(event, Event::Task { .. }),
        (Want::Runs, Live::Event(event)) => matches!(event, Event::Run { .. }),
        (Want::Job(id), Live::Event(Event::Run { job, .. })) => id == job,
        (Want::Run(id), Live::Event(Event::Run { run, .. } | Event::Task { run, .. })) => id == run,
        (Want::Job(_) | Want::Source(_), Live::Event(Event::Reconcile(_))) => true,
        (Want::Job(_) | Want::Source(_) | Want::Run(_), Live::Event(_)) => false,
    };
    state.fresh.retain(|want| !touched(want));
    for loading in &mut state.loading {
        loading.outdated |= touched(&loading.want);
    }
}

fn on_loaded(state: &mut State, want: Want, result: Result<Loaded, String>) -> Vec<Effect> {
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
    }
    keep_cursor(state, target);
    match state.screen {
        Screen::Run | Screen::Log => choose_run(state),
        Screen::Live | Screen::Jobs | Screen::Job | Screen::Sync | Screen::File | Screen::History => Vec::new(),
    }
}

fn keep_cursor(state: &mut State, target: Option<Target>) {
    let sections = state.sections(Timestamp::UNIX_EPOCH);
    let mut rows = sections.iter().flat_map(|section| &section.rows);
    let count = rows.clone().count();
    let found = target.and_then(|target| rows.position(|row| row.target.as_ref() == Some(&target)));
    let place = state.place_mut();
    place.cursor = found.unwrap_or(place.cursor).min(count.saturating_sub(1));
}

/// On Run and Log without a choice: the latest run, and in it the attempt that somebody would look at first.
fn choose_run(state: &mut State) -> Vec<Effect> {
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
        && let Some(attempt) = foremost_attempt(run)
    {
        return open_log(state, attempt);
    }
    Vec::new()
}

/// The attempt of a failed task, else one that goes on, else the last.
fn foremost_attempt(run: &RunView) -> Option<LogId> {
    let of = |wanted: fn(TaskState) -> bool| run.tasks.iter().filter(move |task| wanted(task.status));
    let tasks = of(|state| state == TaskState::Failed)
        .chain(of(|state| state == TaskState::Running))
        .chain(run.tasks.iter().rev());
    tasks.filter_map(|task| task.attempts.last()).map(LogId::from).next()
}

fn open_log(state: &mut State, of: LogId) -> Vec<Effect> {
    state.log.open(of.clone());
    vec![Effect::Follow(of)]
}

fn say(state: &mut State, text: impl Into<String>, bad: bool, now: Timestamp) {
    state.notice = Some(Notice {
        text: text.into(),
        bad,
        until: now + NOTICE,
    });
}

fn on_key(state: &mut State, key: KeyEvent, now: Timestamp) -> Vec<Effect> {
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

fn on_overlay(state: &mut State, overlay: Overlay, key: KeyCode, now: Timestamp) -> Vec<Effect> {
    match overlay {
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

fn on_input(state: &mut State, mut input: Input, key: KeyCode, now: Timestamp) -> Vec<Effect> {
    match key {
        KeyCode::Esc => {
            typed(state, &input.before.clone());
            return Vec::new();
        }
        KeyCode::Enter => return accept(state, input.text, now),
        KeyCode::Char(c) => input.text.push(c),
        KeyCode::Backspace => {
            input.text.pop();
        }
        _ => {}
    }
    typed(state, &input.text);
    state.input = Some(input);
    Vec::new()
}

/// Rows narrow while one types; a question and a search wait for Enter, because each letter would cost work.
fn typed(state: &mut State, text: &str) {
    if !matches!(state.screen, Screen::History | Screen::Log) {
        let target = state.target();
        state.place_mut().filter = text.to_owned();
        keep_cursor(state, target);
    }
}

fn accept(state: &mut State, text: String, now: Timestamp) -> Vec<Effect> {
    match state.screen {
        Screen::Log => {
            state.log.search = text;
            state.log.found = None;
            if !state.log.search.is_empty() && !state.log.find(true, log_height(state, now)) {
                say(state, "no line contains it", true, now);
            }
            Vec::new()
        }
        Screen::History => {
            state.place_mut().filter = text;
            ask(state)
        }
        Screen::Live | Screen::Jobs | Screen::Job | Screen::Run | Screen::Sync | Screen::File => {
            typed(state, &text);
            Vec::new()
        }
    }
}

fn run_command(state: &mut State, command: Command, now: Timestamp) -> Vec<Effect> {
    if let Some(reason) = command::refusal(command, state) {
        let entry = command::COMMANDS.iter().find(|entry| entry.command == command);
        let name = entry.map_or("", |entry| entry.name);
        say(state, format!("cannot {name}: {reason}"), true, now);
        return Vec::new();
    }
    match command {
        Command::Show(screen) => {
            state.trail.clear();
            go(state, screen)
        }
        Command::Move(step) => {
            move_cursor(state, step, now);
            Vec::new()
        }
        Command::Sideways(side) => {
            state.log.sideways(side);
            Vec::new()
        }
        Command::Enter => enter(state),
        Command::Back => back(state),
        Command::Filter => {
            let before = match state.screen {
                Screen::Log => state.log.search.clone(),
                _ => state.place().filter.clone(),
            };
            state.input = Some(Input {
                text: before.clone(),
                before,
            });
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
        Command::Pause => {
            let paused = |job: &JobId| match (&state.job, state.listed_job(job)) {
                (Some((open, _)), _) if open.job.id == *job => open.job.paused,
                (_, Some(listed)) => listed.paused,
                _ => false,
            };
            let paused = state.job_in_view().is_some_and(|job| paused(&job));
            on_job(state, if paused { Order::Resume } else { Order::Pause })
        }
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
        Command::Previous => neighbour(state, false, now),
        Command::Next => neighbour(state, true, now),
        Command::Follow => {
            if state.log.paused {
                state.log.follow();
            } else {
                let top = state.log.first(log_height(state, now));
                state.log.pause_at(top);
            }
            Vec::new()
        }
        Command::Times => {
            state.log.times = !state.log.times;
            Vec::new()
        }
        Command::FirstError => {
            if !state.log.first_error(log_height(state, now)) {
                say(state, "no line looks like an error", false, now);
            }
            Vec::new()
        }
        Command::NextMatch | Command::PreviousMatch => {
            if !state.log.find(command == Command::NextMatch, log_height(state, now)) {
                say(state, "no line contains it", true, now);
            }
            Vec::new()
        }
        Command::NextQuestion => {
            state.question = (state.question + 1) % QUESTIONS.len();
            ask(state)
        }
        Command::PreviousQuestion => {
            state.question = (state.question + QUESTIONS.len() - 1) % QUESTIONS.len();
            ask(state)
        }
        Command::Reload => {
            let wants = state.wants();
            state.fresh.retain(|want| !wants.contains(want));
            request(state)
        }
        Command::Quit => quit(state),
    }
}

fn on_job(state: &State, order: impl FnOnce(JobId) -> Order) -> Vec<Effect> {
    state.job_in_view().map(order).map(Effect::Order).into_iter().collect()
}

fn confirm(state: &mut State, question: Vec<String>, then: Effect) {
    state.overlay = Some(Overlay::Confirm { question, then });
}

/// A daemon in the same process ends with its screens, which somebody may not expect.
fn quit(state: &mut State) -> Vec<Effect> {
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

/// What is old of the other question must not be taken for its answer.
fn ask(state: &mut State) -> Vec<Effect> {
    state.answer = None;
    state.place_mut().cursor = 0;
    let asked = state.asked();
    state.fresh.retain(|want| *want != asked);
    request(state)
}

fn go(state: &mut State, screen: Screen) -> Vec<Effect> {
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
fn go_in(state: &mut State, screen: Screen) -> Vec<Effect> {
    state.trail.push(state.screen);
    state.places[screen as usize] = Place::default();
    go(state, screen)
}

fn back(state: &mut State) -> Vec<Effect> {
    if let Some(screen) = state.trail.pop() {
        return go(state, screen);
    }
    if state.screen == Screen::History {
        if !state.place().filter.is_empty() {
            state.place_mut().filter.clear();
            return ask(state);
        }
    } else {
        typed(state, "");
    }
    Vec::new()
}

fn enter(state: &mut State) -> Vec<Effect> {
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
            if state.log.of.as_ref() != Some(&of) {
                effects = open_log(state, of);
            }
            effects.extend(go_in(state, Screen::Log));
            effects
        }
        Some(Target::File(file)) => {
            state.open_file = Some(file);
            go_in(state, Screen::File)
        }
        Some(Target::Sync) => go_in(state, Screen::Sync),
        Some(Target::Task(_)) | None => Vec::new(),
    }
}

/// What is open of another run is let go, so that it is never taken for this one's.
fn open_run(state: &mut State, run: RunId) {
    if state.open_run != Some(run) {
        state.open_run = Some(run);
        state.run = None;
        state.log.of = None;
        state.log.lines.clear();
    }
}

fn neighbour(state: &mut State, after: bool, now: Timestamp) -> Vec<Effect> {
    if state.screen == Screen::Log {
        let attempts = state
            .run
            .iter()
            .flat_map(|run| &run.tasks)
            .flat_map(|task| &task.attempts);
        let attempts: Vec<&AttemptView> = attempts.collect();
        let of = attempts.iter().map(|attempt| LogId::from(*attempt));
        return match beside(of.collect(), state.log.of.as_ref(), after) {
            Some(next) => open_log(state, next),
            None => {
                say(state, "the run has no further attempt on this side", false, now);
                Vec::new()
            }
        };
    }
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

fn beside<T: PartialEq>(all: Vec<T>, current: Option<&T>, after: bool) -> Option<T> {
    let at = all.iter().position(|one| Some(one) == current)?;
    let at = if after { at.checked_add(1) } else { at.checked_sub(1) }?;
    all.into_iter().nth(at)
}

fn move_cursor(state: &mut State, step: Step, now: Timestamp) {
    if state.screen == Screen::Log {
        let height = log_height(state, now);
        state.log.scroll(step, height);
        return;
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
}

/// How many lines of a log fit: the rest is its head, the titles, the banner and the hints.
fn log_height(state: &State, now: Timestamp) -> usize {
    let banner = u16::from(state.banner(now).is_some());
    usize::from(state.size.1.saturating_sub(3 + banner))
}
