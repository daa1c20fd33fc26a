//! What a daemon survives, and how it goes when it cannot: kills at any instant and within what must not fall apart,
//! signals, a state folder that is taken away.

mod ledger;
mod processes;
#[path = "../support/mod.rs"]
mod support;
mod windows;

use std::{fs, time::Duration};

use support::{Place, wait_for};

/// Ignores SIGTERM, and leaves its session with a child that does too.
const STUBBORN: &str = "tasks:\n  a:\n    kill_grace: 10m\n    command: |\n      trap '' TERM\n      \
                        (setsid sleep 600 >/dev/null 2>&1 &)\n      echo on\n      sleep 600\n";

#[test]
fn further_signals_end_even_what_will_not_end() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("stubborn.yaml", STUBBORN);
    place.wait_synced("stubborn");
    let run = place.json(&["trigger", "stubborn"])["run"]
        .as_str()
        .expect("an id")
        .to_owned();
    wait_for("the task to be on", || {
        place.run(&["logs", &run]).stdout.contains("on").then_some(())
    });
    assert_ne!(processes::of_tasks(&place), []);
    daemon.signal("TERM");
    wait_for("the daemon to have heard", || {
        place.daemon_log().contains("stopping").then_some(())
    });
    daemon.signal("TERM");
    wait_for("the daemon to hurry", || {
        place.daemon_log().contains("at once").then_some(())
    });
    assert_eq!(
        daemon.stop(),
        0,
        "a third signal does not wait for the task's own grace"
    );
    assert_eq!(processes::of_tasks(&place), []);
    let runs = place.runs("stubborn");
    assert_eq!(runs[0]["status"], "interrupted", "{runs:?}");
}

#[test]
fn a_daemon_whose_state_folder_is_gone_says_so_and_ends() {
    let place = Place::new();
    let daemon = place.daemon();
    fs::write(place.path().join("petit.yaml"), "shutdown_grace: 1s\n").expect("a writable folder");
    place.save("sleep.yaml", "tasks: {a: {command: [sleep, '600'], kill_grace: 1s}}\n");
    place.wait_synced("sleep");
    // At once, whoever else makes files in it at the moment.
    let gone = place.path().join("gone");
    fs::rename(place.path().join(".petit"), &gone).expect("a rename within a folder");
    fs::remove_dir_all(&gone).expect("removable");
    assert_eq!(daemon.ended(), 4);
    assert!(
        place.daemon_log().contains("removed or replaced"),
        "{}",
        place.daemon_log()
    );
    assert_eq!(processes::of_tasks(&place), []);
    let _another = place.daemon();
}

/// Jobs of every kind are killed at instants spread over the daemon's life; whatever it was doing, the ledger is whole
/// afterwards, nothing was started twice, and nothing is left over.
#[test]
fn killed_at_any_instant_it_comes_back_whole() {
    const KILLS: u32 = 10;
    let place = Place::new();
    // So many at a time that none piles up behind the others, however slow the machine.
    fs::write(place.path().join("petit.yaml"), "max_concurrency: 64\n").expect("a writable folder");
    let job = |name: &str, text: &str| place.save(name, text);
    job(
        "tick.yaml",
        "schedule: '* * * * * *'\ntasks: {a: {command: [sleep, '0.2']}, b: {command: [echo], depends_on: [a]}}\n",
    );
    job(
        "both.yaml",
        "schedule: '* * * * * *'\noverlap: allow\ntasks: {a: {command: '[ $PETIT_ATTEMPT -ge 2 ]', retry: {retries: 9, delay: 1s}}}\n",
    );
    job(
        "next.yaml",
        "schedule: '* * * * * *'\noverlap: replace\ntasks: {a: {command: [sleep, '5'], kill_grace: 1s}}\n",
    );
    job(
        "queue.yaml",
        "schedule: '* * * * * *'\noverlap: queue\ntasks: {a: {command: [sleep, '1.3'], retry: {retries: 9, delay: 0s}}}\n",
    );
    job(
        "after.yaml",
        "depends_on: [{job: tick}]\ntasks: {a: {command: [echo]}}\n",
    );
    job(
        "escape.yaml",
        "schedule: '* * * * * *'\ntasks: {a: {kill_grace: 100ms, command: \"trap '' TERM; (setsid sleep 600 >/dev/null 2>&1 &); sleep 1\"}}\n",
    );
    let daemon = place.daemon();
    let scheduled = ["tick", "both", "next", "queue", "escape"];
    for name in scheduled {
        place.wait_synced(name);
    }
    daemon.kill();
    for kill in 0..KILLS {
        let daemon = place.daemon();
        // From the first instant after the start to one beyond the next slot, in steps that no second divides.
        std::thread::park_timeout(Duration::from_millis(u64::from(kill) * 137));
        place.save(
            "edit.yaml",
            &format!("schedule: '* * * * * *'\ntasks: {{a: {{command: [echo, '{kill}']}}}}\n"),
        );
        daemon.kill();
    }
    let daemon = place.daemon();
    ledger::is_whole(&place, daemon, &scheduled);
}
