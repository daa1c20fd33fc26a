//! What the history costs a daemon that keeps it: the same tasks as in `execution`, in a real daemon and with their
//! catch-up; a catch-up by itself; and how late a daemon is while one goes on.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use duckdb::{Connection, params};
use petit::{
    core::{
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{AttemptRecord, RunRecord, SpecRecord, TaskRecord},
        state::{RunStatus, Trigger},
    },
    daemon::journal_path,
    history::history_path,
    storage::{Change, RunFilter, Sqlite, Storage},
};

use crate::{
    daemon::{since_epoch, stamp_each_second, stamps},
    execution::{AT_A_TIME, ROUNDS, TASKS, seconds_of_bare_loop},
    paired::{Row, Spread, Unit, in_turn, percentile},
    place::{self, Daemon, PETIT},
};

/// The name of the daemon's child that catches up.
const CATCHES_UP: &str = "petit-catch-up";

/// So many facts are caught up.
const FACTS: usize = 100_000;
/// How often `catch-up` is measured.
const CATCH_UPS: usize = 5;
/// How often runs and children are looked for: often enough, and in nobody's way.
const LOOK: Duration = Duration::from_millis(10);
/// `lateness` goes on for so long without a catch-up, then for as long with one, and so on.
const WINDOW: Duration = Duration::from_secs(5);

pub fn throughput() -> Vec<Row> {
    let folder = place::folder();
    fs::write(
        folder.path().join("petit.yaml"),
        format!("max_concurrency: {AT_A_TIME}\n"),
    )
    .expect("a writable folder");
    let jobs_dir = folder.path().join("jobs.d");
    fs::create_dir(&jobs_dir).expect("a new folder");
    let tasks: String = (0..TASKS)
        .map(|number| format!("  t{number}: {{command: [/bin/true]}}\n"))
        .collect();
    fs::write(jobs_dir.join("wide.yaml"), format!("tasks:\n{tasks}")).expect("a writable folder");
    let daemon = Daemon::start(folder.path(), 1);
    let journal = journal_path(&folder.path().join(".petit"));
    let journal = Sqlite::open_read_only(&journal).expect("the daemon's journal");

    let (mut runs, mut children) = (0, Vec::new());
    let pair = in_turn(
        ROUNDS,
        || {
            let asked = place::command(PETIT, folder.path()).args(["trigger", "wide"]).status();
            assert!(asked.expect("the binary starts").success());
            runs += 1;
            let run = await_end(&journal, runs);
            assert_eq!(run.status, RunStatus::Succeeded);
            let ended = run.ended_at.expect("it ended");
            let took = (ended - run.created_at).to_std().expect("a clock that goes on");
            let child = CatchUp::follow(daemon.pid());
            children.push(child.most_memory);
            // The pause in which the daemon gathers facts is nobody's work.
            TASKS as f64 / (took + child.took).as_secs_f64()
        },
        || TASKS as f64 / seconds_of_bare_loop(),
    );
    let most = place::memory(daemon.pid(), "VmHWM");
    drop(daemon);
    let query = "SELECT count(*) FROM attempts WHERE ending = 'exited' AND exit_code = 0";
    let history = Connection::open(history_path(&folder.path().join(".petit"))).expect("the daemon has ended");
    let counted: usize = history.query_row(query, [], |row| row.get(0)).expect("a table");
    assert_eq!(counted, runs * TASKS, "the history has every attempt");
    let of_child = Spread::of(children).written(|value| Unit::Bytes.written(value));
    vec![
        pair.row(
            "spawn-history",
            format!("{TASKS} tasks, {AT_A_TIME} at a time, in a daemon, and their catch-up; bare spawns"),
            Unit::PerSecond,
            "0.85 (0.6)",
        ),
        Row::alone(
            "spawn-history",
            format!("peak memory of the daemon, {runs} times that"),
            Unit::Bytes.written(most),
            "under 60 MB",
        ),
        Row::alone(
            "spawn-history",
            "peak memory of the child that catches up",
            of_child,
            "–",
        ),
    ]
}

/// The newest of so many runs, once it has ended.
fn await_end(journal: &Sqlite, runs: usize) -> RunRecord {
    let newest = RunFilter {
        limit: Some(u32::try_from(runs).expect("few")),
        ..RunFilter::default()
    };
    let mut found = None;
    place::wait_until("the run to end", || {
        thread::sleep(LOOK);
        let listed = journal.runs(&newest).expect("a journal that can be read");
        found = (listed.len() == runs && listed[0].status.is_finished()).then(|| listed[0].clone());
        found.is_some()
    });
    found.expect("waited for")
}

/// One catch-up of a daemon, as it looks from outside.
struct CatchUp {
    took: Duration,
    most_memory: f64,
}

impl CatchUp {
    /// Waits for the next one that begins from now on, and for its end.
    fn follow(daemon: u32) -> Self {
        let child = || place::child_called(daemon, CATCHES_UP);
        if let Some(early) = child() {
            // It may have begun before the last of the facts.
            place::wait_until("an early catch-up to end", || child() != Some(early));
        }
        let mut seen = None;
        place::wait_until("a catch-up to begin", || {
            seen = child();
            seen.is_some()
        });
        let (begun, pid) = (Instant::now(), seen.expect("waited for"));
        let mut most_memory = 0.0;
        // Without a size it has ended, and waits to be collected.
        while let Some(now) = place::memory_of(pid, "VmHWM") {
            most_memory = now;
            thread::sleep(Duration::from_millis(1));
        }
        Self {
            took: begun.elapsed(),
            most_memory,
        }
    }
}

pub fn catch_up() -> Vec<Row> {
    let folder = place::folder();
    fill(folder.path());
    let beside = folder.path().join("appended.duckdb");
    let pair = in_turn(
        CATCH_UPS,
        || {
            remove(&history_path(folder.path()));
            let begun = Instant::now();
            catch_up_in(folder.path());
            begun.elapsed().as_secs_f64()
        },
        || {
            remove(&beside);
            let begun = Instant::now();
            append(&beside).expect("DuckDB takes rows");
            begun.elapsed().as_secs_f64()
        },
    );
    let what = format!("{FACTS} facts, process and opening included; as many rows by the appender");
    vec![pair.row("catch-up", what, Unit::Seconds, "2 (under 2 s)")]
}

pub fn lateness(span: Duration) -> Vec<Row> {
    let folder = place::folder();
    let ours = folder.path().join("ours");
    stamp_each_second(folder.path(), &ours);
    let state_dir = folder.path().join(".petit");
    fs::create_dir(&state_dir).expect("a new folder");
    fill(&state_dir);
    // The daemon's own catch-ups rest in between, and it lets facts go that its history has. So a copy of its journal is
    // caught up into another history, again and again.
    let other = folder.path().join("other");
    fs::create_dir(&other).expect("a new folder");
    fs::copy(journal_path(&state_dir), journal_path(&other)).expect("a copy");
    let daemon = Daemon::start(folder.path(), 1);
    // Its own first catch-up is not of interest, and those behind it are of a few facts.
    CatchUp::follow(daemon.pid());

    let mut busy: Vec<(Duration, Duration)> = Vec::new();
    let begun = since_epoch();
    let end = begun + span * 2;
    let mut catch_ups = 0;
    while since_epoch() < end {
        thread::sleep(WINDOW);
        let from = since_epoch();
        let until = from + WINDOW;
        while since_epoch() < until {
            remove(&history_path(&other));
            catch_up_in(&other);
            catch_ups += 1;
        }
        busy.push((from, since_epoch()));
    }
    drop(daemon);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for stamp in stamps(&ours).into_iter().filter(|stamp| *stamp >= begun) {
        let second = Duration::from_secs(stamp.as_secs());
        let late = (stamp - second).as_secs_f64();
        let is_busy = busy.iter().any(|(from, until)| (*from..*until).contains(&second));
        if is_busy { &mut with } else { &mut without }.push(late);
    }
    with.sort_by(f64::total_cmp);
    without.sort_by(f64::total_cmp);
    [50, 99]
        .map(|hundredths| {
            let [subject, reference] = [&with, &without].map(|sorted| percentile(sorted, hundredths));
            Row {
                name: "lateness-catch-up",
                what: format!(
                    "p{hundredths} of {} starts during {catch_ups} catch-ups of {FACTS} facts; of {} without",
                    with.len(),
                    without.len()
                ),
                subject: Unit::Seconds.written(subject),
                reference: Unit::Seconds.written(reference),
                ratio: format!("{:+.2} ms", (subject - reference) * 1e3),
                goal: "within noise",
            }
        })
        .into()
}

/// What the daemon has a child do.
fn catch_up_in(state_dir: &Path) {
    let mut command = Command::new(PETIT);
    command
        .arg("catch-up")
        .arg(state_dir)
        .current_dir(state_dir)
        .env_clear();
    // Its input stays open: closed, it would stop behind the first batch.
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the binary starts");
    let input = child.stdin.take();
    let output = child.wait_with_output().expect("a child of ours");
    drop(input);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    let facts = report["facts"].as_u64();
    assert!(facts >= Some(FACTS as u64), "{said}");
}

fn remove(history: &Path) {
    for file in [history.to_owned(), history.with_extension("duckdb.wal")] {
        // It need not be there.
        let _ = fs::remove_file(file);
    }
}

/// A journal with so many facts: runs of one task each, and the version that they ran.
fn fill(state_dir: &Path) {
    const AT_ONCE: usize = 2_000;
    let journal = Sqlite::open(&journal_path(state_dir)).expect("a new journal");
    let job: JobId = "made".parse().expect("a slug");
    let hash = SpecHash::of(b"made");
    let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("an instant");
    let spec = Change::PutSpec(SpecRecord {
        hash: hash.clone(),
        job: job.clone(),
        canonical: "{}".to_owned(),
        yaml: String::new(),
        first_seen: begin,
    });
    journal
        .commit(vec![spec])
        .wait_blocking()
        .expect("a journal that takes it");
    let numbers: Vec<usize> = (0..FACTS).collect();
    let mut facts = 0;
    for numbers in numbers.chunks(AT_ONCE) {
        let runs = numbers.iter().flat_map(|number| {
            let at = begin + TimeDelta::minutes(i64::try_from(*number).expect("small"));
            one_run(&job, &hash, *number, at)
        });
        journal
            .commit(runs.collect())
            .wait_blocking()
            .expect("a journal that takes it");
        let found = journal.facts(facts, u32::MAX).expect("a journal that can be read");
        facts = found.last().expect("runs are facts").number;
        if facts >= FACTS as i64 {
            return;
        }
    }
    unreachable!("each run is a fact or more");
}

/// What is recorded of a run of one task that went well.
fn one_run(job: &JobId, hash: &SpecHash, number: usize, begun: DateTime<Utc>) -> Vec<Change> {
    let id = RunId::from_parts(begun, number as u128);
    let task: TaskId = "load".parse().expect("a slug");
    let ended = begun + TimeDelta::seconds(7);
    let run = RunRecord::queued(id, job.clone(), hash.clone(), Trigger::Manual, begun);
    let record = TaskRecord::pending(id, task.clone());
    let attempt = AttemptRecord {
        started_at: Some(begun),
        ended_at: Some(ended),
        ending: Some(Ending::Exited(0)),
        pid: Some(4_711),
        pid_start: Some(1),
        cpu_user_ms: Some(5),
        cpu_system_ms: Some(2),
        max_rss_bytes: Some(3_000_000),
        bytes_out: Some(100),
        ..AttemptRecord::granted(id, task, 1, begun)
    };
    vec![
        Change::CreateRun {
            run,
            tasks: vec![record],
        },
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

/// As many rows as there are facts, of about as many columns, into a new file and onto the disk.
fn append(file: &Path) -> duckdb::Result<()> {
    let connection = Connection::open(file)?;
    connection.execute_batch(
        "CREATE TABLE attempts (run_id VARCHAR, job VARCHAR, task VARCHAR, attempt INTEGER, ending VARCHAR,
             exit_code INTEGER, queued_at BIGINT, granted_at BIGINT, started_at BIGINT, ended_at BIGINT,
             cpu_user_ms BIGINT, cpu_system_ms BIGINT, max_rss_bytes BIGINT, bytes_out BIGINT, journal VARCHAR, fact BIGINT);
         BEGIN",
    )?;
    let mut appender = connection.appender("attempts")?;
    for fact in 0..FACTS as i64 {
        let (run, at) = (format!("{fact:026}"), 1_767_225_600_000_000 + fact * 60_000_000);
        appender.append_row(params![
            run,
            "made",
            "load",
            1,
            "exited",
            0,
            at,
            at,
            at,
            at + 7_000_000,
            5_i64,
            2_i64,
            3_000_000_i64,
            100_i64,
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            fact
        ])?;
    }
    appender.flush()?;
    drop(appender);
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)
}
