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
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{AttemptRecord, RunRecord, SpecRecord, TaskRecord},
        state::{RunStatus, Trigger},
    },
    storage::{Change, Sqlite, Storage},
};
use support::{Place, Small, wait_for};

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
    let mut daemon = Some(daemon);
    wait_for("a daemon that takes the last run in", || {
        let daemon = daemon.take().unwrap_or_else(|| place.daemon());
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
        fs::rename(&aside, &journal).expect("a rename within a folder");
        // A daemon that stops waits for it for some seconds only, which a busy machine may need for less.
        (there[0]["n"] == 1).then_some(())
    });
    let text = place.run(&["history", "duration", "job=tick"]);
    assert!(text.stdout.contains("tick") && text.stdout.contains('█'), "{text:?}");
    let csv = place.run(&["history", "duration", "--format", "csv"]);
    assert!(csv.stdout.starts_with("job,runs,failed,p50_ms"), "{csv:?}");
}

#[test]
fn the_use_of_a_pool_is_held_against_the_size_that_it_had() {
    let place = Place::new();
    for (size, ran) in [(3, 1), (5, 2)] {
        fs::write(
            place.path().join("petit.yaml"),
            format!("resources: {{pools: {{db: {size}}}}}\n"),
        )
        .expect("a writable folder");
        let daemon = place.daemon();
        place.save(
            "load.yaml",
            "tasks: {main: {command: ['true'], resources: {slots: {db: 1}}}}\n",
        );
        place.wait_synced("load");
        let asked = place.run(&["trigger", "load", "--wait"]);
        assert_eq!(asked.code, 0, "{asked:?}");
        let row = &place.json(&["history", "contention"])[0];
        assert_eq!(
            (&row["pool"], &row["attempts"], &row["pool_size"]),
            (&"db".into(), &ran.into(), &size.into()),
            "{row}"
        );
        assert_eq!(daemon.stop(), 0);
    }
    let sizes = place.json(&["sql", "SELECT size FROM pools ORDER BY since"]);
    assert_eq!(sizes, serde_json::json!([{"size": 3}, {"size": 5}]));
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

#[test]
fn all_rows_of_a_query_are_written_into_a_file_that_gives_way_only_when_asked() {
    let place = Place::new();
    place.put_slots(0..2_000);
    let write = |args: &[&str]| place.run(&[&["sql", "SELECT job, slot FROM slots ORDER BY slot"], args].concat());
    let done = write(&["--output", "slots.csv"]);
    assert!(done.code == 0 && done.stdout.contains("all 2000 rows"), "{done:?}");
    let written = fs::read_to_string(place.path().join("slots.csv")).expect("a file");
    assert_eq!(written.lines().count(), 2_001);
    let again = write(&["--output", "slots.csv"]);
    assert!(again.code == 1 && again.stderr.contains("--force"), "{again:?}");
    assert_eq!(write(&["--output", "slots.csv", "--force"]).code, 0);
    let limited = write(&["--output", "slots.parquet", "--limit", "5"]);
    assert!(limited.code == 64 && limited.stderr.contains("--limit"), "{limited:?}");
    let refused = place.run(&["sql", "DELETE FROM slots", "--output", "slots.parquet"]);
    assert_eq!(refused.code, 64, "{refused:?}");

    // A query may also come from standard input, and what is said of it for programs keeps its order.
    let mut asked = place.petit(&["sql", "-", "--output", "last.parquet", "--format", "json"]);
    let query = fs::File::create_new(place.path().join("query.sql")).and_then(|mut file| {
        std::io::Write::write_all(&mut file, b"SELECT count(*) FROM slots -- all\n")?;
        fs::File::open(place.path().join("query.sql"))
    });
    let asked = asked.stdin(query.expect("a file")).output().expect("the binary starts");
    assert!(asked.status.success(), "{asked:?}");
    assert!(
        String::from_utf8_lossy(&asked.stdout).contains(r#""rows": 1"#),
        "{asked:?}"
    );
    let ordered = place.run(&["sql", "SELECT 1 AS z, 2 AS a, 3 AS m", "--format", "json"]);
    let at = |name: &str| ordered.stdout.find(name).expect(name);
    assert!(at("\"z\"") < at("\"a\"") && at("\"a\"") < at("\"m\""), "{ordered:?}");
}

#[test]
fn on_a_full_disk_what_is_there_can_be_asked_and_nothing_is_called_damaged() {
    let place = Place::new();
    let state = place.path().join(".petit");
    fs::create_dir(&state).expect("a folder");
    let small = match Small::mount(&state) {
        Ok(small) => small,
        Err(reason) => {
            println!("skipped: nothing can be mounted here: {reason}");
            return;
        }
    };
    let counted = || place.run(&["sql", "SELECT count(*) AS n FROM slots", "--format", "csv"]);
    let left = || {
        let names = fs::read_dir(&state).expect("a folder").flatten();
        let mut names: Vec<_> = names
            .map(|entry| entry.file_name().into_string().expect("UTF-8"))
            .collect();
        names.retain(|name| name.starts_with("history"));
        names
    };
    place.put_slots(0..10);
    // As a daemon does, whose journal others read beside it.
    let open = || Sqlite::open(&state.join("journal.db")).expect("a journal");
    let held = open();
    let filler = small.fill();
    for _ in 0..2 {
        let nothing = counted();
        assert!(
            nothing.code == 4 && nothing.stderr.contains("No space left"),
            "{nothing:?}"
        );
        assert_eq!(left(), [""; 0], "what could not be begun is not left");
    }
    fs::remove_file(filler).expect("a file");
    drop(held);
    let all = counted();
    assert!(all.stdout.contains("10") && all.stderr.is_empty(), "{all:?}");

    place.put_slots(10..5_010);
    let held = open();
    let filler = small.fill();
    for args in [
        &["sql", "SELECT count(*) AS n FROM slots", "--format", "csv"][..],
        &["history", "missed"],
    ] {
        let some = place.run(args);
        assert!(
            some.code == 0 && some.stdout.contains("10") && some.stderr.contains("as of"),
            "{some:?}"
        );
        assert!(
            some.stderr.contains("No space left") && !some.stderr.contains("damaged"),
            "{some:?}"
        );
    }
    drop(held);
    let alone = counted();
    assert!(
        alone.code == 0 && alone.stdout.contains("10"),
        "without a journal that can be read: {alone:?}"
    );
    fs::remove_file(filler).expect("a file");
    let all = counted();
    assert!(all.stdout.contains("5010") && all.stderr.is_empty(), "{all:?}");
    assert_eq!(left(), ["history.duckdb"]);
}

/// A question that holds the file for long.
struct Holder(Child);

impl Holder {
    fn new(place: &Place) -> Self {
        // It keeps nothing, so that neither memory nor disk ends it.
        let endless = "SELECT max(hash(range)) FROM range(1000000000000)";
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
    place.put_slots(0..10);
    let counted = |place: &Place| place.json(&["sql", "SELECT count(*) AS n FROM slots"])[0]["n"].as_i64();
    assert_eq!(counted(&place), Some(10));
    let holder = Holder::new(&place);
    let name = format!("pid {}", holder.0.id());
    let mut filled = 10;
    let (answer, missed) = wait_for("two answers beside the reader", || {
        // Whoever asks before the reader is there takes the new slots in. And the reader takes them in
        // itself at first: until it has opened the file anew, to read, the file may be had in between.
        place.put_slots(filled..filled + 1);
        filled += 1;
        let both = [
            &["sql", "SELECT count(*) AS n FROM slots", "--format", "json"][..],
            &["history", "missed"],
        ]
        .map(|args| place.run(args));
        assert!(both.iter().all(|done| done.code == 0), "{both:?}");
        let beside = both.iter().all(|done| done.stderr.contains(&name));
        let [answer, missed] = both;
        (beside && answer.json()[0]["n"].as_i64() < Some(filled)).then_some((answer, missed))
    });
    for done in [answer, missed] {
        assert!(done.stderr.contains("as of"), "{done:?}");
    }
    drop(holder);
    assert_eq!(counted(&place), Some(filled));
}

#[test]
fn a_writer_is_waited_for_until_it_is_done_or_ctrl_c_is_pressed() {
    let place = Place::new();
    place.put_slots(0..10);
    let count = ["sql", "SELECT count(*) AS n FROM slots", "--format", "csv"];
    assert_eq!(place.run(&count).code, 0);
    let history = place.path().join(".petit/history.duckdb");
    let writer = duckdb::Connection::open(&history).expect("it is closed");
    let asked = [&count[..], &["history", "missed"], &count].map(|args| place.start(args));
    let named = format!("(pid {}), which writes", std::process::id());
    for going in &asked {
        going.says(&named);
    }
    let [first, second, third] = asked;
    third.signal("INT");
    let stopped = third.ended();
    assert!(
        stopped.code == 130 && stopped.stderr.ends_with("error: interrupted\n"),
        "{stopped:?}"
    );
    drop(writer);
    let (first, second) = (first.ended(), second.ended());
    assert!(first.code == 0 && first.stdout.contains("10"), "{first:?}");
    assert_eq!(second.code, 0, "{second:?}");
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
        place.put_slots(filled..filled + 2_000);
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

#[test]
fn a_daemon_has_a_child_catch_up_which_ends_soon_after_a_daemon_that_was_killed() {
    let place = Place::new();
    let (many, batch) = (40_000, 10_000);
    place.put_slots(0..many);
    let daemon = place.daemon();
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let child = wait_for("a child that catches up", || {
        let mut children = daemon.children().into_iter();
        children.find(|pid| name(*pid).trim_end() == "petit-catch-up")
    });
    daemon.kill();
    wait_for("it to end", || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        // Whoever adopted it may take a moment to collect it.
        let is_gone = !stat.contains("(petit-catch-up)") || stat.contains(") Z ");
        is_gone.then_some(())
    });
    let journal = place.path().join(".petit/journal.db");
    let aside = place.path().join("aside.db");
    let count = "SELECT count(*) AS n, count(DISTINCT fact) AS different FROM slots";
    fs::rename(&journal, &aside).expect("a rename within a folder");
    let counted = place.json(&["sql", count]);
    let there = counted[0]["n"].as_i64().expect("a number");
    assert!(there > 0 && there % batch == 0, "it stops behind a batch: {counted}");
    fs::rename(&aside, &journal).expect("a rename within a folder");
    let counted = place.json(&["sql", count]);
    assert_eq!(counted[0]["n"], many, "{counted}");
    assert_eq!(counted[0]["different"], many, "{counted}");
    let hidden = place.run(&["--help"]);
    assert!(!hidden.stdout.contains("catch-up"), "{hidden:?}");
}

/// A journal of `jobs` jobs, `runs` runs each, all of which were edited halfway. Runs take from 1 to 100 s, by the job, and a
/// tenth more or less; but the edit of `slowed` made its `load` slower by two fifths.
fn edited(place: &Place, jobs: u32, runs: i64, slowed: &str) {
    let folder = place.path().join(".petit");
    fs::create_dir_all(&folder).expect("a writable folder");
    let journal = Sqlite::open(&folder.join("journal.db")).expect("a journal");
    let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("an instant");
    let mut chance = 1_u64;
    for n in 0..jobs {
        let job = JobId::new(format!("job-{n:03}")).expect("a name");
        let mut changes = Vec::new();
        for at in 0..runs {
            let is_new = at >= runs / 2;
            let canonical = format!(
                r#"{{"id":"{job}","tasks":{{"load":{{"command":["load","{}"]}}}}}}"#,
                if is_new { "--all" } else { "--some" }
            );
            let hash = SpecHash::of(canonical.as_bytes());
            let created = begin + TimeDelta::minutes(at * 5);
            if at == 0 || at == runs / 2 {
                changes.push(Change::PutSpec(SpecRecord {
                    hash: hash.clone(),
                    job: job.clone(),
                    yaml: format!(
                        "tasks:\n  load:\n    command: load {}\n",
                        if is_new { "--all" } else { "--some" }
                    ),
                    canonical,
                    first_seen: created,
                }));
            }
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = i64::try_from((chance >> 33) % 201).expect("small") - 100;
            let usual = 1_000 + i64::from(n * 37 % 100) * 1_000;
            let factor = if is_new && job.as_str() == slowed { 1_400 } else { 1_000 };
            let took = usual * factor / 1_000 * (1_000 + noise) / 1_000;
            changes.extend(one_run(&job, &hash, created, created + TimeDelta::milliseconds(took)));
        }
        journal.commit(changes).wait_blocking().expect("commits");
    }
}

/// What is recorded of a run of one task that went well.
fn one_run(job: &JobId, spec_hash: &SpecHash, begun: DateTime<Utc>, ended: DateTime<Utc>) -> Vec<Change> {
    let number = job.as_str()[4..].parse::<u128>().expect("a number");
    let (id, load) = (RunId::from_parts(begun, number), TaskId::new("load").expect("a name"));
    let run = RunRecord {
        slot: Some(begun),
        ..RunRecord::queued(id, job.clone(), spec_hash.clone(), Trigger::Schedule, begun)
    };
    let task = TaskRecord::pending(id, load.clone());
    let attempt = AttemptRecord {
        started_at: Some(begun),
        ended_at: Some(ended),
        ending: Some(Ending::Exited(0)),
        ..AttemptRecord::granted(id, load, 1, begun)
    };
    vec![
        Change::CreateRun { run, tasks: vec![task] },
        Change::StartRun { run: id, at: begun },
        Change::EndAttempt(attempt),
        Change::EndRun {
            run: id,
            status: RunStatus::Succeeded,
            at: ended,
            reason: None,
        },
    ]
}

#[test]
fn of_five_hundred_edits_the_one_that_slowed_a_task_comes_first_with_its_diff() {
    let place = Place::new();
    edited(&place, 500, 44, "job-123");
    let rows = place.json(&["history", "slower"]);
    let first = &rows[0];
    assert_eq!(
        (&first["job"], &first["task"]),
        (&"job-123".into(), &"load".into()),
        "{rows:#}"
    );
    let slower = first["slower"].as_f64().expect("a ratio");
    assert!((0.3..0.5).contains(&slower), "{first}");
    // What chance made of the other 499 is hardly ever worth a row.
    let others = rows
        .as_array()
        .expect("rows")
        .iter()
        .filter(|row| row["job"] != "job-123");
    assert!(others.count() < 5, "{rows:#}");
    let command = first["diff"].as_str().expect("a command");
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let diff = place.run(&words);
    assert_eq!(diff.code, 0, "{diff:?}");
    for line in ["-    command: load --some", "+    command: load --all"] {
        assert!(diff.stdout.lines().any(|found| found == line), "{diff:?}");
    }
    assert_eq!(place.run(&["diff", "job-123"]).stdout, diff.stdout);
    assert_eq!(place.json(&["diff", "job-123"])["job"], "job-123");
}

#[test]
fn tables_are_exported_whole_or_filtered_and_nothing_is_lost_to_it() {
    let place = Place::new();
    let none = place.run(&["history", "export", "out"]);
    assert!(
        none.code == 1 && none.stderr.contains("there is no history"),
        "{none:?}"
    );
    edited(&place, 2, 6, "job-001");
    let done = place.json(&["history", "export", "out"]);
    let rows = |table: &str| {
        let found = done
            .as_array()
            .expect("tables")
            .iter()
            .find(|row| row["table"] == table);
        found.expect(table)["rows"].as_u64()
    };
    assert_eq!(
        (rows("runs"), rows("attempts"), rows("specs"), rows("slots")),
        (Some(12), Some(12), Some(4), Some(0))
    );
    let parquet = fs::read(place.path().join("out/runs.parquet")).expect("a file");
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let again = place.run(&["history", "export", "out"]);
    assert!(again.code == 1 && again.stderr.contains("--force"), "{again:?}");
    assert_eq!(place.run(&["history", "export", "out", "--force"]).code, 0);
    let one = [
        "history",
        "export",
        "--table",
        "attempts",
        "a.csv",
        "job=job-001",
        "since=2026-01-01T00:10:00Z",
    ];
    assert_eq!(place.run(&one).code, 0);
    let csv = fs::read_to_string(place.path().join("a.csv")).expect("a file");
    assert!(csv.starts_with("run_id,job,task,attempt"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 4, "{csv}");
    for (args, code, says) in [
        (
            &["history", "export", "--table", "attempt", "b.csv"][..],
            64,
            "did you mean `attempts`?",
        ),
        (
            &["history", "export", "--table", "runs", "b.json"],
            64,
            "does not end in",
        ),
        (&["history", "export"], 64, "TARGET"),
        (&["history"], 64, "VIEW"),
    ] {
        let refused = place.run(args);
        assert!(refused.code == code && refused.stderr.contains(says), "{refused:?}");
    }
    let left: Vec<_> = fs::read_dir(place.path().join("out")).expect("a folder").collect();
    assert_eq!(left.len(), 8, "{left:?}");
}
