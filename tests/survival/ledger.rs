//! What must hold of a journal whatever was done to the daemons that wrote it: each slot has one answer, each run one end,
//! and both are told once.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use petit::{
    core::{
        id::{JobId, RunId},
        state::SlotOutcome,
    },
    daemon::journal_path,
    events::Fact,
    storage::{NumberedFact, RunFilter, Sqlite, Storage, StorageError},
};

use crate::{
    processes,
    support::{Daemon, Place, wait_for},
};

/// Lets what goes on come to its end, stops the daemon, and looks at what is left. The jobs are due every second.
pub fn is_whole(place: &Place, daemon: Daemon<'_>, scheduled: &[&str]) {
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
    assert_eq!(processes::of_tasks(place), []);
    let journal = open(place).expect("a whole journal");
    for name in scheduled {
        each_slot_has_one_answer(&journal, name);
    }
    each_end_is_one_fact(place, &journal);
    if cfg!(feature = "history") {
        the_history_has_the_same(place, &journal);
    }
}

/// The journal as it is on disk now.
pub fn open(place: &Place) -> Result<Sqlite, StorageError> {
    Sqlite::open_read_only(&journal_path(&place.path().join(".petit")))
}

fn the_history_has_the_same(place: &Place, journal: &Sqlite) {
    let runs = journal.runs(&RunFilter::default()).expect("readable");
    let attempts: usize = runs
        .iter()
        .map(|run| {
            journal
                .run(run.id)
                .expect("readable")
                .expect("it was listed")
                .attempts
                .len()
        })
        .sum();
    for (table, expected) in [("runs", runs.len()), ("attempts", attempts)] {
        let counted = place.json(&[
            "sql",
            &format!("SELECT count(*) AS n, count(DISTINCT fact) AS once FROM {table}"),
        ]);
        assert_eq!(
            (&counted[0]["n"], &counted[0]["once"]),
            (&expected.into(), &expected.into()),
            "{table}"
        );
    }
}

/// The names of what the history knows the end of.
fn ends_in_the_history(place: &Place) -> Vec<String> {
    let names = "SELECT run_id AS name FROM runs UNION ALL SELECT concat_ws(' ', run_id, task) FROM tasks \
                 UNION ALL SELECT concat_ws(' ', run_id, task, attempt) FROM attempts";
    let rows = place.json(&["sql", names, "--limit", "1000000"]);
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect()
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
fn each_end_is_one_fact(place: &Place, journal: &Sqlite) {
    let facts = journal.facts(0, u32::MAX).expect("readable");
    let mut told = BTreeMap::<String, u32>::new();
    for NumberedFact { fact, .. } in facts {
        let name = match fact {
            Fact::Run(run) => run.id.to_string(),
            Fact::Attempt(attempt) => format!("{} {} {}", attempt.run, attempt.task, attempt.attempt),
            Fact::Slot(slot) => format!("{} {}", slot.job, slot.at),
            Fact::Task(task) => format!("{} {}", task.run, task.task),
            Fact::Spec(_) | Fact::Reconcile(_) | Fact::Stretch(_) | Fact::Supersede(_) | Fact::Pools(_) => continue,
        };
        *told.entry(name).or_default() += 1;
    }
    let twice: Vec<_> = told.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    if cfg!(feature = "history") {
        // A daemon that lives for a minute lets go of the facts that the history has.
        told.extend(ends_in_the_history(place).into_iter().map(|name| (name, 1)));
    }
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
