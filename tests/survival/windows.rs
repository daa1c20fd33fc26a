//! Kills within what must not fall apart: between the claim of a slot and its process, between a process and the record of
//! it, between its end and the commit of that, in the projection, and in the application of an edit.
//!
//! Such a window is open for a millisecond or less, so the daemon is stopped in its tracks every few hundred microseconds,
//! and what can be seen from outside says whether a window is open: then it is killed, else it goes on.
//!
//! `PETIT_KILLS` says how often in each window.

use std::{
    thread::park_timeout,
    time::{Duration, Instant},
};

use petit::{
    core::record::AttemptRecord,
    storage::{RunDetail, Storage},
};

use crate::{
    ledger, processes,
    support::{DEADLINE, Daemon, Place, stop, wait_for},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    ClaimToSpawn,
    SpawnToRecord,
    EndToCommit,
    Projection,
    Apply,
}

const WINDOWS: [Window; 5] = [
    Window::ClaimToSpawn,
    Window::SpawnToRecord,
    Window::EndToCommit,
    Window::Projection,
    Window::Apply,
];

fn kills() -> u32 {
    let said = std::env::var("PETIT_KILLS").ok();
    said.and_then(|kills| kills.parse().ok()).unwrap_or(2)
}

/// Jobs of every kind, due every second.
const JOBS: [(&str, &str); 5] = [
    (
        "fan",
        "tasks: {a: {command: [sleep, '0.1']}, b: {command: [sleep, '0.2']}, c: {command: [echo]}, \
         d: {command: [echo], depends_on: [a, b, c]}}\n",
    ),
    (
        "again",
        "overlap: allow\ntasks: {a: {command: '[ $PETIT_ATTEMPT -ge 2 ]', retry: {retries: 9, delay: 100ms}}}\n",
    ),
    (
        "next",
        "overlap: replace\ntasks: {a: {command: [sleep, '5'], kill_grace: 100ms}}\n",
    ),
    (
        "queue",
        "overlap: queue\ntasks: {a: {command: [sleep, '1.3'], retry: {retries: 9, delay: 0s}}}\n",
    ),
    (
        "escape",
        "tasks: {a: {kill_grace: 100ms, command: \"trap '' TERM; (setsid sleep 600 >/dev/null 2>&1 &); sleep 0.4\"}}\n",
    ),
];

#[test]
fn killed_within_each_window_it_comes_back_whole() {
    let place = Place::new();
    for (name, rest) in JOBS {
        place.save(&format!("{name}.yaml"), &format!("schedule: '* * * * * *'\n{rest}"));
    }
    let mut edits = 0;
    edit(&place, &mut edits);
    let names = JOBS.map(|(name, _)| name);
    let mut daemon = place.daemon();
    for name in names {
        place.wait_synced(name);
    }
    place.wait_synced("edit");
    let mut met = WINDOWS.map(|window| (window, 0));
    for (window, kills_met) in &mut met {
        if *window == Window::Projection && !cfg!(feature = "history") {
            println!("no kill in the projection: this build has no history");
            continue;
        }
        while *kills_met < kills() {
            await_window(*window, *kills_met, &place, &daemon, &mut edits);
            daemon.kill();
            daemon = place.daemon();
            nothing_is_left_over(&place, &daemon);
            *kills_met += 1;
        }
    }
    println!("killed and whole: {met:?}");
    ledger::is_whole(&place, daemon, &names);
}

/// Gives a job that nobody else touches another version.
fn edit(place: &Place, edits: &mut u32) {
    *edits += 1;
    place.save("edit.yaml", &format!("tasks: {{a: {{command: [echo, '{edits}']}}}}\n"));
}

/// Returns with the daemon stopped and the window open. `which` spreads the kills over what is open for long.
fn await_window(window: Window, which: u32, place: &Place, daemon: &Daemon<'_>, edits: &mut u32) {
    let deadline = Instant::now() + DEADLINE;
    let mut passes = which * 3 % 10;
    let mut before = None;
    for step in 0.. {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {window:?}");
        // Primes, so that no rhythm of the daemon's is followed.
        park_timeout(Duration::from_micros([211, 503, 1_009, 97][step % 4]));
        if window == Window::Apply && before.is_none() {
            before = version(place);
            edit(place, edits);
            // What is before the end of the wait for further writes is not of interest.
            park_timeout(Duration::from_millis(120));
        }
        stop(daemon.pid());
        let open = match window {
            Window::ClaimToSpawn => unfinished(place).iter().any(is_claimed),
            Window::SpawnToRecord => is_unrecorded(place, daemon),
            Window::EndToCommit => going(place).iter().any(has_ended),
            Window::Projection => daemon.has_open(&place.path().join(".petit/history")),
            Window::Apply => match version(place) {
                // Where the daemon stands in the middle of a commit, nobody can say.
                None => false,
                now if now == before => true,
                Some(_) => {
                    before = None;
                    false
                }
            },
        };
        let long = matches!(window, Window::Projection | Window::Apply);
        if open && (!long || passes == 0) {
            return;
        }
        passes = passes.saturating_sub(u32::from(open));
        daemon.signal("CONT");
    }
}

/// A run was made for a slot, and nothing of it runs or has run.
fn is_claimed(detail: &RunDetail) -> bool {
    detail.run.slot.is_some() && detail.run.started_at.is_none() && detail.attempts.iter().all(|it| it.pid.is_none())
}

/// The runs without an end. None while the daemon stands at a point at which SQLite lets nobody in: then it goes on, and
/// a later look sees what this one would have.
fn unfinished(place: &Place) -> Vec<RunDetail> {
    let journal = ledger::open(place);
    journal.and_then(|journal| journal.unfinished()).unwrap_or_default()
}

/// The attempts without an end.
fn going(place: &Place) -> Vec<AttemptRecord> {
    let attempts = unfinished(place).into_iter().flat_map(|detail| detail.attempts);
    attempts.filter(|attempt| attempt.ending.is_none()).collect()
}

/// A child runs whose attempt does not name it.
fn is_unrecorded(place: &Place, daemon: &Daemon<'_>) -> bool {
    let nameless: Vec<(String, String, String)> = going(place)
        .iter()
        .filter(|attempt| attempt.pid.is_none())
        .map(|attempt| {
            (
                attempt.run.to_string(),
                attempt.task.to_string(),
                attempt.attempt.to_string(),
            )
        })
        .collect();
    let mut children = daemon
        .children()
        .into_iter()
        .filter_map(|pid| processes::of_task(pid, place.path()));
    !nameless.is_empty() && children.any(|child| nameless.contains(&child.of))
}

/// Its process is no more, or waits to be collected.
fn has_ended(attempt: &AttemptRecord) -> bool {
    let state = |pid| processes::about(pid).map(|(state, _)| state);
    attempt.pid.is_some_and(|pid| matches!(state(pid), None | Some('Z')))
}

/// How often the edited job has changed, if that can be seen.
fn version(place: &Place) -> Option<u64> {
    let journal = ledger::open(place).ok()?;
    let active = journal.active().ok()?;
    let edited = active.iter().find(|record| record.job.as_str() == "edit");
    Some(edited.expect("it was active once").generation)
}

/// What an earlier daemon started is gone soon after the next one answers.
fn nothing_is_left_over(place: &Place, daemon: &Daemon<'_>) {
    let (_, began) = processes::about(daemon.pid()).expect("it answers");
    wait_for("what the killed one left to be gone", || {
        let older = processes::of_tasks(place)
            .into_iter()
            .filter(|process| process.began < began);
        (older.count() == 0).then_some(())
    });
}
