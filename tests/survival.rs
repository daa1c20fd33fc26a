//! What a daemon survives, and how it goes when it cannot: kills at any instant, signals, a state folder that is taken away.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use petit::{
    core::{
        id::{JobId, RunId},
        state::SlotOutcome,
    },
    daemon::journal_path,
    events::Fact,
    storage::{NumberedFact, RunFilter, Sqlite, Storage},
};
use support::{Place, wait_for};

/// Ignores SIGTERM, and leaves its session with a child that does too.
const STUBBORN: &str = "tasks:\n  a:\n    kill_grace: 10m\n    command: |\n      trap '' TERM\n      \
                        (setsid sleep 600 >/dev/null 2>&1 &)\n      echo on\n      sleep 600\n";

/// The processes of tasks of this place, by their environment.
fn processes(place: &Place) -> Vec<String> {
    let home = format!("HOME={}", place.path().display());
    let environment = |folder: &Path| {
        let bytes = fs::read(folder.join("environ")).ok()?;
        let variables: BTreeSet<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        let run = variables
            .iter()
            .find(|variable| variable.starts_with(b"PETIT_RUN_ID="))?;
        let name = fs::read_to_string(folder.join("comm")).ok()?;
        variables
            .contains(home.as_bytes())
            .then(|| format!("{} {}", name.trim(), String::from_utf8_lossy(run)))
    };
    let entries = fs::read_dir("/proc").expect("a kernel with /proc");
    entries
        .flatten()
        .filter_map(|entry| environment(&entry.path()))
        .collect()
}

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
    assert!(!processes(&place).is_empty());
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
    assert_eq!(processes(&place), [""; 0]);
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
    fs::remove_dir_all(place.path().join(".petit")).expect("removable");
    assert_eq!(daemon.ended(), 4);
    assert!(
        place.daemon_log().contains("removed or replaced"),
        "{}",
        place.daemon_log()
    );
    assert_eq!(processes(&place), [""; 0]);
    let _another = place.daemon();
}

/// Jobs of every kind are killed at instants spread over the daemon's life; whatever it was doing, the ledger is whole
/// afterwards, nothing was started twice, and nothing is left over.
#[test]
fn killed_at_any_instant_it_comes_back_whole() {
    const KILLS: u32 = 10;
    let place = Place::new();
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
    place.json(&["pause"]);
    wait_for("every run to end", || {
        let status = place.json(&["status"]);
        status["active_runs"]
            .as_array()
            .expect("a listing")
            .is_empty()
            .then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    assert_eq!(processes(&place), [""; 0]);
    let journal = Sqlite::open_read_only(&journal_path(&place.path().join(".petit"))).expect("a whole journal");
    for name in scheduled {
        each_slot_has_one_answer(&journal, name);
    }
    each_end_is_one_fact(&journal);
}

/// Holds the ledger of a job that is due every second against the clock, from its first slot to its last.
fn each_slot_has_one_answer(journal: &Sqlite, job: &str) {
    let job: JobId = job.parse().expect("a slug");
    let watermarks = journal.watermarks().expect("readable");
    let last = watermarks.iter().find(|(of, _)| *of == job).expect("it fired").1;
    let slots = journal.slots(&job, DateTime::UNIX_EPOCH, last).expect("readable");
    let stretches = journal.stretches(&job, DateTime::UNIX_EPOCH, last).expect("readable");
    let runs = journal.runs(&RunFilter {
        job: Some(job.clone()),
        ..RunFilter::default()
    });
    let mut started: BTreeMap<DateTime<Utc>, Vec<RunId>> = BTreeMap::new();
    for run in runs.expect("readable") {
        assert!(run.status.is_finished(), "{run:?}");
        if let (Some(slot), Some(_)) = (run.slot, run.started_at) {
            started.entry(slot).or_default().push(run.id);
        }
    }
    let mut answers: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
    for slot in &slots {
        let outcome = slot.outcome.unwrap_or_else(|| panic!("undecided: {slot:?}"));
        let ran: Vec<RunId> = slot.run.filter(|_| outcome == SlotOutcome::Ran).into_iter().collect();
        assert_eq!(&ran, started.get(&slot.at).unwrap_or(&Vec::new()), "{slot:?}");
        answers.entry(slot.at).or_default().push(outcome.to_string());
    }
    for stretch in &stretches {
        let mut at = stretch.from;
        let mut covered = 0;
        while at <= stretch.to {
            answers.entry(at).or_default().push(stretch.outcome.to_string());
            at += TimeDelta::seconds(1);
            covered += 1;
        }
        assert_eq!(covered, stretch.slots, "{stretch:?}");
    }
    let mut at = *answers.keys().next().expect("it fired");
    while at <= last {
        assert_eq!(
            answers.remove(&at).map_or(0, |given| given.len()),
            1,
            "answers for {job} at {at}"
        );
        at += TimeDelta::seconds(1);
    }
    assert!(answers.is_empty(), "answers for what is no slot: {answers:?}");
}

/// Every run and attempt that ended is one fact, and no other is.
fn each_end_is_one_fact(journal: &Sqlite) {
    let facts = journal.facts(0, u32::MAX).expect("readable");
    let mut told = BTreeMap::<String, u32>::new();
    for NumberedFact { fact, .. } in facts {
        let name = match fact {
            Fact::Run(run) => run.id.to_string(),
            Fact::Attempt(attempt) => format!("{} {} {}", attempt.run, attempt.task, attempt.attempt),
            Fact::Slot(slot) => format!("{} {}", slot.job, slot.at),
            Fact::Task(task) => format!("{} {}", task.run, task.task),
            Fact::Spec(_) | Fact::Reconcile(_) | Fact::Stretch(_) | Fact::Supersede(_) => continue,
        };
        *told.entry(name).or_default() += 1;
    }
    let twice: Vec<_> = told.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for run in journal.runs(&RunFilter::default()).expect("readable") {
        let detail = journal.run(run.id).expect("readable").expect("it was listed");
        assert!(told.contains_key(&run.id.to_string()), "{run:?}");
        for attempt in &detail.attempts {
            assert!(attempt.ending.is_some(), "{attempt:?}");
            let name = format!("{} {} {}", attempt.run, attempt.task, attempt.attempt);
            assert!(told.contains_key(&name), "{attempt:?}");
        }
        for task in &detail.tasks {
            assert!(task.state.is_finished(), "{task:?}");
            assert!(told.contains_key(&format!("{} {}", task.run, task.task)), "{task:?}");
        }
    }
}
