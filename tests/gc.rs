//! What leaves journal, history and logs, with the real binary, and that it is found or missed as it should be.

mod support;

use std::{fs, path::PathBuf};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use petit::{
    core::{
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{AttemptRecord, RunRecord, SlotRecord, SpecRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, TaskState, Trigger},
    },
    execution::log_path,
    storage::{Change, RunFilter, Sqlite, Storage},
};
use support::Place;

/// So many hourly runs that begin so many days ago, each with a slot and a log; the oldest first.
fn fill(place: &Place, count: i64, days: i64) -> Vec<(RunId, DateTime<Utc>)> {
    let state = place.path().join(".petit");
    fs::create_dir_all(&state).expect("a writable folder");
    let journal = Sqlite::open(&state.join("journal.db")).expect("a journal");
    let (job, task): (JobId, TaskId) = ("etl".parse().expect("a slug"), "load".parse().expect("a slug"));
    let canonical = r#"{"id":"etl","schedule":"0 * * * *","tasks":{"load":{"command":["load"]}}}"#.to_owned();
    let hash = SpecHash::of(canonical.as_bytes());
    let now: DateTime<Utc> = DateTime::from_timestamp(Utc::now().timestamp() / 3_600 * 3_600, 0).expect("an instant");
    let mut changes = vec![Change::PutSpec(SpecRecord {
        hash: hash.clone(),
        job: job.clone(),
        canonical,
        yaml: String::new(),
        first_seen: now,
    })];
    let mut runs = Vec::new();
    for n in 0..count {
        let at = now - TimeDelta::days(days) + TimeDelta::hours(n);
        let id = RunId::from_parts(at, n.unsigned_abs().into());
        runs.push((id, at));
        changes.extend(one_run(&job, &task, &hash, id, at));
        let log = log_path(&state, id, &task, 1);
        fs::create_dir_all(log.parent().expect("a folder")).expect("a writable folder");
        let at = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        fs::write(log, format!("{at} stdout F row {n}\n")).expect("a writable folder");
    }
    journal.commit(changes).wait_blocking().expect("commits");
    runs
}

fn one_run(job: &JobId, task: &TaskId, hash: &SpecHash, id: RunId, at: DateTime<Utc>) -> Vec<Change> {
    let run = RunRecord {
        slot: Some(at),
        ..RunRecord::queued(id, job.clone(), hash.clone(), Trigger::Schedule, at)
    };
    let pending = TaskRecord {
        attempts: 1,
        ..TaskRecord::pending(id, task.clone())
    };
    let ended_at = at + TimeDelta::seconds(3);
    let attempt = AttemptRecord {
        started_at: Some(at),
        ended_at: Some(ended_at),
        ending: Some(Ending::Exited(0)),
        bytes_out: Some(6),
        ..AttemptRecord::granted(id, task.clone(), 1, at)
    };
    let done = TaskRecord {
        state: TaskState::Succeeded,
        ..pending.clone()
    };
    vec![
        Change::CreateRun {
            run,
            tasks: vec![pending],
        },
        Change::StartRun { run: id, at },
        Change::PutSlot(SlotRecord {
            job: job.clone(),
            at,
            outcome: Some(SlotOutcome::Ran),
            reason: None,
            detail: None,
            decided_at: Some(at),
            run: Some(id),
            spec_hash: hash.clone(),
        }),
        Change::EndAttempt(attempt),
        Change::SetTask(done),
        Change::EndRun {
            run: id,
            status: RunStatus::Succeeded,
            at: ended_at,
            reason: None,
        },
    ]
}

fn settings(place: &Place, text: &str) {
    fs::write(place.path().join("petit.yaml"), text).expect("a writable folder");
}

fn log(place: &Place, run: RunId) -> PathBuf {
    log_path(&place.path().join(".petit"), run, &"load".parse().expect("a slug"), 1)
}

#[test]
fn where_nothing_is_nothing_goes() {
    let place = Place::new();
    let done = place.run(&["gc"]);
    assert!(
        done.code == 0 && done.stdout.contains("nothing to let go of"),
        "{done:?}"
    );
    assert!(done.stderr.contains("there is no journal"), "{done:?}");
    assert!(!place.path().join(".petit").exists(), "asking makes nothing");
    let json = place.json(&["gc", "--dry-run"]);
    assert_eq!((&json["dry_run"], &json["journal"]["runs"]), (&true.into(), &0.into()));
}

#[cfg(feature = "history")]
#[test]
fn what_left_the_journal_is_shown_listed_explained_and_printed_as_before() {
    let place = Place::new();
    let runs = fill(&place, 40, 20);
    let would = place.json(&["gc", "--dry-run"]);
    assert_eq!(would["journal"]["runs"], 20, "{would}");
    assert_eq!(place.json(&["gc", "--dry-run"]), would, "nothing went");
    let (oldest, at) = runs[0];
    let slot = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let why = place.run(&["why", "etl", &slot]).stdout;
    assert!(why.contains(&oldest.to_string()), "{why}");
    let before = fs::metadata(place.path().join(".petit/journal.db"))
        .expect("a file")
        .len();

    let done = place.json(&["gc"]);
    for (what, count) in [("runs", 20), ("slots", 39)] {
        assert_eq!(done["journal"][what], count, "{done}");
    }
    assert_eq!(done["history"]["runs"], 0, "{done}");
    assert_eq!(done["logs"]["runs"], 0, "{done}");
    let after = fs::metadata(place.path().join(".petit/journal.db"))
        .expect("a file")
        .len();
    assert!(
        after < before && done["journal"]["freed_bytes"].as_u64() > Some(0),
        "{done}"
    );
    let again = place.run(&["gc"]);
    assert!(
        again.code == 0 && again.stdout.contains("nothing to let go of"),
        "{again:?}"
    );

    let path = place.path().join(".petit/journal.db");
    let in_journal = Sqlite::open_read_only(&path)
        .expect("opens")
        .runs(&RunFilter::default())
        .expect("reads");
    assert_eq!(in_journal.len(), 20);
    let id = oldest.to_string();
    for daemon in [None, Some(place.daemon())] {
        let shown = place.json(&["show", &id]);
        assert_eq!(
            (&shown["status"], &shown["duration_ms"]),
            (&"succeeded".into(), &3_000.into())
        );
        assert_eq!(shown["tasks"][0]["attempts"][0]["exit_code"], 0, "{shown}");
        assert_eq!(shown["context"]["next"], runs[1].0.to_string(), "{shown}");
        let listed = place.json(&["runs", "etl", "-n", "100"]);
        let listed: Vec<_> = listed
            .as_array()
            .expect("runs")
            .iter()
            .map(|run| run["id"].clone())
            .collect();
        assert_eq!(listed.len(), 40);
        assert_eq!(listed.last().and_then(|id| id.as_str()), Some(id.as_str()));
        let since = format!("until={slot}");
        assert_eq!(place.json(&["runs", "status=failed", &since]), serde_json::json!([]));
        let printed = place.run(&["logs", &id]);
        assert!(printed.stdout.contains("row 0"), "{printed:?}");
        let explained = place.run(&["why", "etl", &slot]);
        assert!(explained.stdout.contains(&id), "{explained:?}");
        if daemon.is_some() {
            let refused = place.run(&["retry", &id]);
            assert!(refused.code == 1 && refused.stderr.contains("too old"), "{refused:?}");
        }
    }
    let nobody = place.run(&["show", "01K00000000000000000000003"]);
    assert!(
        nobody.code == 1 && nobody.stderr.contains("there is no run"),
        "{nobody:?}"
    );
}

#[cfg(feature = "history")]
#[test]
fn retention_takes_rows_and_logs_together_and_a_daemon_does_it_when_asked() {
    let place = Place::new();
    let runs = fill(&place, 40, 20);
    settings(
        &place,
        "retention: {runs: {age: 90d, count: 30}, logs: {age: 90d, count: 25}}\n",
    );
    let daemon = place.daemon();
    let would = place.json(&["gc", "--dry-run"]);
    assert_eq!(
        (&would["history"]["runs"], &would["logs"]["runs"]),
        (&10.into(), &15.into()),
        "{would}"
    );
    let done = place.run(&["gc"]);
    assert_eq!(done.code, 0, "{done:?}");
    for says in ["history  10 runs", "logs     those of 15 runs", "the history has them"] {
        assert!(done.stdout.contains(says), "{done:?}");
    }
    let there = |n: usize| log(&place, runs[n].0).exists();
    assert_eq!(
        (0..40).filter(|&n| there(n)).collect::<Vec<_>>(),
        (15..40).collect::<Vec<_>>()
    );
    // The history has thirty, of which the journal has the latest twenty.
    assert_eq!(
        place.json(&["runs", "etl", "-n", "100"]).as_array().map(Vec::len),
        Some(30)
    );
    assert_eq!(place.run(&["show", &runs[9].0.to_string()]).code, 1);
    let gone = place.run(&["logs", &runs[12].0.to_string()]);
    assert!(
        gone.code == 1 && gone.stderr.contains("was removed: logs are kept 90d"),
        "{gone:?}"
    );
    let again = place.run(&["gc"]);
    assert!(again.stdout.contains("nothing to let go of"), "{again:?}");
    assert_eq!(daemon.stop(), 0);
}

#[cfg(not(feature = "history"))]
#[test]
fn without_a_history_the_journal_keeps_what_the_settings_say() {
    let place = Place::new();
    let runs = fill(&place, 40, 20);
    let none = place.run(&["gc"]);
    assert!(none.stdout.contains("nothing to let go of"), "{none:?}");
    settings(&place, "retention: {runs: 10d, logs: 5d}\n");
    let daemon = place.daemon();
    let done = place.json(&["gc"]);
    assert_eq!(
        (&done["journal"]["runs"], &done["logs"]["runs"]),
        (&20.into(), &40.into()),
        "{done}"
    );
    assert_eq!(done["history"], serde_json::Value::Null);
    assert_eq!(daemon.stop(), 0);
    assert!(!log(&place, runs[39].0).exists());
    assert_eq!(place.json(&["runs", "-n", "100"]).as_array().map(Vec::len), Some(20));
    let journal = Sqlite::open_read_only(&place.path().join(".petit/journal.db")).expect("opens");
    assert_eq!(journal.runs(&RunFilter::default()).expect("reads").len(), 20);
}
