//! The history with the real binary: fed by a daemon and by whoever asks, beside others who hold it, and killed at any
//! instant.

#![cfg(feature = "history")]

mod support;

use std::{
    fs,
    process::{Child, Stdio},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use petit::{
    core::{
        id::{JobId, SpecHash},
        record::SlotRecord,
        state::{SlotOutcome, SlotReason},
    },
    storage::{Change, Sqlite, Storage},
};
use support::{Place, wait_for};

const TICK: &str = r#"
id: tick
schedule: "* * * * * *"
tasks:
  flip:
    retry: {retries: 1, delay: 0s}
    command: '[ "$PETIT_ATTEMPT" = 2 ]'
"#;

#[test]
fn the_newest_run_is_in_every_answer_with_and_without_a_daemon() {
    let place = Place::new();
    let empty = place.run(&["history", "duration"]);
    assert!(
        empty.code == 0 && empty.stderr.contains("there is no history"),
        "{empty:?}"
    );
    assert!(!place.path().join(".petit/history.duckdb").exists());

    let daemon = place.daemon();
    place.save("tick.yaml", TICK);
    place.wait_synced("tick");
    let run = place.wait_run("tick", "succeeded", |run| run["status"] == "succeeded");
    let query = format!(
        "SELECT status FROM runs WHERE run_id = '{}'",
        run["id"].as_str().expect("an id")
    );
    assert_eq!(place.json(&["sql", &query])[0]["status"], "succeeded");
    for view in ["duration", "lateness"] {
        let rows = place.json(&["history", view, "job=t*", "since=1h"]);
        assert_eq!(rows[0]["job"], "tick", "{rows}");
    }
    assert_eq!(place.json(&["history", "flaky"])[0]["task"], "flip");
    // What nobody asks for the daemon takes in, at the latest when it stops. Then the journal is not needed any more.
    let newest: String = place.json(&["sql", "SELECT max(run_id) AS id FROM runs"])[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let next = place.wait_run("tick", "ended after that", |run| {
        run["ended_at"].is_string() && run["id"].as_str() > Some(&newest)
    });
    let next = next["id"].as_str().expect("an id").to_owned();
    assert_eq!(daemon.stop(), 0);
    let journal = place.path().join(".petit/journal.db");
    let aside = place.path().join("aside.db");
    fs::rename(&journal, &aside).expect("a rename within a folder");
    let there = place.json(&[
        "sql",
        &format!("SELECT count(*) AS n FROM runs WHERE run_id = '{next}'"),
    ]);
    assert_eq!(there[0]["n"], 1);
    fs::rename(&aside, &journal).expect("a rename within a folder");
    let text = place.run(&["history", "duration", "job=tick"]);
    assert!(text.stdout.contains("tick") && text.stdout.contains('█'), "{text:?}");
    let csv = place.run(&["history", "duration", "--format", "csv"]);
    assert!(csv.stdout.starts_with("job,runs,failed,p50_ms"), "{csv:?}");
}

#[test]
fn what_is_wrong_with_a_question_is_said() {
    let place = Place::new();
    for (args, code, says) in [
        (&["history", "durations"][..], 64, "did you mean `duration`?"),
        (&["history", "missed", "staus=failed"], 64, "did you mean `status`?"),
        (&["sql", "DROP TABLE runs"], 64, "`DROP` is not a query"),
        (&["sql", "SELECT 1; SELECT 2"], 64, "2 statements"),
        (&["sql", "SELECT nothing FROM runs"], 1, "nothing"),
        (&["list", "--format", "csv"], 64, "csv"),
    ] {
        let done = place.run(args);
        assert!(done.code == code && done.stderr.contains(says), "{done:?}");
    }
    let schema = place.run(&["sql", ".schema"]);
    assert!(
        schema.stdout.contains("attempts") && schema.stdout.contains("max_rss_bytes"),
        "{schema:?}"
    );
    let cut = place.run(&["sql", "SELECT * FROM range(5)", "--limit", "2", "-q"]);
    assert!(
        cut.stdout.lines().count() == 3 && cut.stderr.contains("first 2 rows"),
        "{cut:?}"
    );
}

/// Slots in a row, from `from` on.
fn fill(place: &Place, from: i64, count: i64) {
    let folder = place.path().join(".petit");
    fs::create_dir_all(&folder).expect("a writable folder");
    let journal = Sqlite::open(&folder.join("journal.db")).expect("a journal");
    let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("an instant");
    let slot = |n: i64| {
        Change::PutSlot(SlotRecord {
            job: JobId::new("a").expect("a name"),
            at: begin + TimeDelta::seconds(n),
            outcome: Some(SlotOutcome::Skipped),
            reason: Some(SlotReason::Overlap),
            detail: None,
            decided_at: Some(begin),
            run: None,
            spec_hash: SpecHash::of(b""),
        })
    };
    let slots = (from..from + count).map(slot).collect();
    journal.commit(slots).wait_blocking().expect("commits");
}

/// A question that holds the file for long.
struct Holder(Child);

impl Holder {
    fn new(place: &Place) -> Self {
        let endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range * b.range) % 7 = 3";
        let child = place
            .petit(&["sql", endless])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("the binary starts"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_holds_nobody_up_and_is_named() {
    let place = Place::new();
    fill(&place, 0, 10);
    let counted = |place: &Place| place.json(&["sql", "SELECT count(*) AS n FROM slots"])[0]["n"].as_i64();
    assert_eq!(counted(&place), Some(10));
    let holder = Holder::new(&place);
    let name = format!("pid {}", holder.0.id());
    let mut filled = 10;
    let answer = wait_for("an answer beside the reader", || {
        // Whoever asks before the reader is there takes the new slots in.
        fill(&place, filled, 1);
        filled += 1;
        let done = place.run(&["sql", "SELECT count(*) AS n FROM slots", "--format", "json"]);
        assert_eq!(done.code, 0, "{done:?}");
        done.stderr.contains(&name).then_some(done)
    });
    assert!(answer.stderr.contains("as of"), "{answer:?}");
    assert!(answer.json()[0]["n"].as_i64() < Some(filled), "{answer:?}");
    let missed = place.run(&["history", "missed"]);
    assert!(missed.code == 0 && missed.stderr.contains(&name), "{missed:?}");
    drop(holder);
    assert_eq!(counted(&place), Some(filled));
}

/// How often a catch-up is killed; `PETIT_KILLS` says otherwise for a long look.
fn kills() -> u64 {
    std::env::var("PETIT_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(10)
}

#[test]
fn each_fact_lands_once_whenever_a_catch_up_is_killed() {
    let place = Place::new();
    let (mut filled, mut interrupted) = (0, 0);
    for n in 0..kills() {
        fill(&place, filled, 2_000);
        filled += 2_000;
        let mut child = place
            .petit(&["sql", "SELECT 1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        // Spread over the time that a whole command takes, by a step that meets all of its parts.
        let pause = Duration::from_millis(10 + n * 37 % 400);
        let begun = std::time::Instant::now();
        while begun.elapsed() < pause && child.try_wait().expect("a child of ours").is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        interrupted += u32::from(child.try_wait().expect("a child of ours").is_none());
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
    }
    assert!(interrupted > 0, "no kill met a catch-up");
    let counts =
        "SELECT count(*) AS n, count(DISTINCT fact) AS different, min(fact) AS first, max(fact) AS last FROM slots";
    let counted = place.json(&["sql", counts]);
    for (name, expected) in [("n", filled), ("different", filled), ("first", 1), ("last", filled)] {
        assert_eq!(counted[0][name], expected, "{counted}");
    }
    let breaks = place.json(&["sql", "SELECT count(*) AS n FROM breaks"]);
    assert_eq!(breaks[0]["n"], 0, "{breaks}");
}
