//! The projection against journals of all kinds, and files in all kinds of states.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use super::{ExportError, ExportOptions, History, HistoryError, history_path, up_to_date};
use crate::{
    core::{
        Timestamp,
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{
            Actor, AttemptRecord, PoolsRecord, ReconcileRecord, ReconcileResult, RunRecord, SlotRecord, SpecRecord,
            StretchRecord, SupersedeRecord, TaskRecord,
        },
        state::{RunStatus, SlotOutcome, SlotReason, TaskState, Trigger},
    },
    storage::{Change, Memory, Storage},
    view::Question,
};

pub(super) fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
}

/// A journal that is filled with what happened.
pub(super) struct Journal {
    pub storage: Arc<dyn Storage>,
    pub(super) runs: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            storage: Arc::new(Memory::with_clock(Box::new(|| at(0)))),
            runs: 0,
        }
    }
}

impl Journal {
    pub fn commit(&self, changes: Vec<Change>) {
        self.storage.commit(changes).wait_blocking().unwrap();
    }

    pub fn spec(&self, job: &str, version: u32, second: i64) -> SpecHash {
        let canonical = format!(
            r#"{{"description":"{version}","id":"{job}","tasks":{{"extract":{{"command":["true"]}},"load":{{"command":["true"],"resources":{{"cpu":0.5,"memory":"64MiB","slots":{{"db":1}}}}}}}}}}"#
        );
        let hash = SpecHash::of(canonical.as_bytes());
        self.commit(vec![Change::PutSpec(SpecRecord {
            hash: hash.clone(),
            job: JobId::new(job).unwrap(),
            canonical,
            yaml: format!("# version {version}\n"),
            first_seen: at(second),
        })]);
        hash
    }

    /// A run of the slot at `second`, started so many milliseconds late and ended after so many, with attempts: the
    /// task, its exit code and how long it took.
    pub fn run(
        &mut self,
        job: &str,
        second: i64,
        (late, took): (i64, i64),
        status: RunStatus,
        attempts: &[(&str, i32, i64)],
    ) -> RunId {
        let started = at(second) + TimeDelta::milliseconds(late);
        let run = self.begin(job, second, Some(started));
        for (n, (task, exit_code, took)) in attempts.iter().enumerate() {
            let earlier = attempts[..n].iter().filter(|(other, _, _)| other == task).count();
            self.attempt(run, task, u32::try_from(earlier).unwrap() + 1, *exit_code, *took);
        }
        self.commit(vec![Change::EndRun {
            run,
            status,
            at: started + TimeDelta::milliseconds(took),
            reason: None,
        }]);
        run
    }

    /// A run that has not ended.
    fn begin(&mut self, job: &str, second: i64, started: Option<Timestamp>) -> RunId {
        let spec_hash = self.spec(job, 1, 0);
        self.runs += 1;
        let id = RunId::from_parts(at(second), self.runs.into());
        let run = RunRecord {
            slot: Some(at(second)),
            revision: Some("abc".into()),
            ..RunRecord::queued(id, JobId::new(job).unwrap(), spec_hash, Trigger::Schedule, at(second))
        };
        let tasks = vec![pending(id, "extract"), pending(id, "load")];
        self.commit(vec![Change::CreateRun { run, tasks }]);
        if let Some(at) = started {
            self.commit(vec![Change::StartRun { run: id, at }]);
        }
        id
    }

    fn attempt(&self, run: RunId, task: &str, attempt: u32, exit_code: i32, took: i64) {
        let begun = at(i64::from(attempt));
        self.commit(vec![Change::EndAttempt(AttemptRecord {
            started_at: Some(begun),
            ended_at: Some(begun + TimeDelta::milliseconds(took)),
            ending: Some(Ending::Exited(exit_code)),
            cpu_user_ms: Some(u64::MAX),
            cpu_system_ms: Some(1),
            bytes_out: Some(0),
            ..AttemptRecord::granted(run, TaskId::new(task).unwrap(), attempt, begun)
        })]);
    }

    pub fn slot(&self, job: &str, second: i64, outcome: SlotOutcome) {
        self.commit(vec![Change::PutSlot(SlotRecord {
            job: JobId::new(job).unwrap(),
            at: at(second),
            outcome: Some(outcome),
            reason: (outcome != SlotOutcome::Ran).then_some(SlotReason::Overlap),
            detail: (outcome != SlotOutcome::Ran).then(|| "a run was going".to_owned()),
            decided_at: Some(at(second)),
            run: None,
            spec_hash: SpecHash::of(b""),
        })]);
    }

    pub fn stretch(&self, job: &str, from: i64, to: i64, slots: u64) {
        self.commit(vec![Change::PutStretch(StretchRecord {
            job: JobId::new(job).unwrap(),
            from: at(from),
            to: at(to),
            slots,
            outcome: SlotOutcome::Missed,
            reason: SlotReason::Down,
            run: None,
            decided_at: at(to),
            spec_hash: SpecHash::of(b""),
        })]);
    }

    fn reconcile(&self) {
        self.commit(vec![Change::Reconcile(ReconcileRecord {
            at: at(0),
            actor: Actor::Watcher,
            by: None,
            plan_id: "p".into(),
            result: ReconcileResult::Applied,
            actions: vec!["add \"a\"".into()],
            files: Vec::new(),
            revision: Some("abc-dirty".into()),
            old_set: SpecHash::of(b"old"),
            new_set: SpecHash::of(b"new"),
            duration_ms: 3,
        })]);
    }

    /// A task of a run publishes something.
    fn publish(&mut self, job: &str, second: i64) {
        let run = self.begin(job, second, None);
        let outputs = [("rows", 42.into()), ("file", "x.csv".into()), ("ok", true.into())];
        self.commit(vec![Change::SetTask(TaskRecord {
            state: TaskState::Succeeded,
            outputs: outputs.map(|(name, value)| (name.to_owned(), value)).into(),
            ..pending(run, "load")
        })]);
    }

    fn facts(&self) -> i64 {
        let facts = self.storage.facts(0, u32::MAX).unwrap();
        facts.last().map_or(0, |fact| fact.number)
    }
}

fn pending(run: RunId, task: &str) -> TaskRecord {
    TaskRecord::pending(run, TaskId::new(task).unwrap())
}

/// A history in memory that has taken in a journal.
pub(super) fn fed(journal: &Journal) -> History {
    let mut history = History::of_nothing().unwrap();
    let caught_up = history.catch_up(journal.storage.as_ref(), at(0), || true).unwrap();
    assert!(caught_up.complete);
    history
}

/// Every fact has exactly one row in one of these; `outputs` has more of the same facts.
const FACTS: &str = "SELECT journal, fact FROM runs UNION ALL SELECT journal, fact FROM tasks
                     UNION ALL SELECT journal, fact FROM attempts UNION ALL SELECT journal, fact FROM slots
                     UNION ALL SELECT journal, fact FROM reconciles UNION ALL SELECT journal, fact FROM specs";

/// How many facts there are, and how many different ones.
fn count(history: &History) -> (i64, i64) {
    let sql = format!("SELECT count(*), count(DISTINCT (journal, fact)) FROM ({FACTS})");
    let row = history
        .connection
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    row.unwrap()
}

fn one<T: duckdb::types::FromSql>(history: &History, sql: &str) -> T {
    history.connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn open(folder: &TempDir) -> History {
    History::open(&history_path(folder.path()), Duration::ZERO).unwrap()
}

fn feed(path: &Path, journal: &Journal) -> Result<History, HistoryError> {
    up_to_date(path, Some(journal.storage.as_ref()), Duration::ZERO, at(99), || true)
}

fn some_journal() -> Journal {
    let mut journal = Journal::default();
    journal.run("a", 0, (1, 10), RunStatus::Succeeded, &[]);
    journal.slot("a", 0, SlotOutcome::Ran);
    journal.stretch("a", 1, 5, 5);
    journal.reconcile();
    journal.publish("a", 9);
    journal.run("a", 10, (1, 10), RunStatus::Succeeded, &[("load", 0, 5)]);
    journal
}

#[test]
fn what_is_recorded_arrives() {
    let journal = some_journal();
    let history = fed(&journal);
    assert_eq!(count(&history), (journal.facts(), journal.facts()));
    let text = |sql: &str| one::<String>(&history, sql);
    assert_eq!(
        text("SELECT string_agg(name || '=' || coalesce(number::VARCHAR, text), ' ' ORDER BY name) FROM outputs"),
        "file=x.csv ok=true rows=42.0"
    );
    assert_eq!(
        text(
            "SELECT job || ' ' || declared_cpu || ' ' || declared_memory_bytes || ' ' || declared_slots FROM attempts"
        ),
        r#"a 0.5 67108864 {"db":1}"#
    );
    assert_eq!(
        text("SELECT actor || ' ' || actions FROM reconciles"),
        r#"watcher ["add \"a\""]"#
    );
    assert_eq!(
        text("SELECT (last_slot - slot)::VARCHAR || ' ' || slots FROM slots WHERE reason = 'down'"),
        "00:00:04 5"
    );
    // The task's run has not ended, so its job came from the journal.
    assert_eq!(
        text("SELECT job || ' ' || task || ' ' || state FROM tasks"),
        "a load succeeded"
    );
    assert_eq!(one::<i64>(&history, "SELECT cpu_user_ms FROM attempts"), i64::MAX);
    // What attempts and outputs say of their run is what the run says, or will say.
    let of_run = "SELECT count(*) FROM attempts JOIN runs USING (run_id)
         WHERE (run_spec_hash, run_trigger, run_created_at) = (spec_hash, trigger, created_at)";
    assert_eq!(one::<i64>(&history, of_run), 1);
    assert_eq!(
        text("SELECT string_agg(DISTINCT epoch(run_created_at)::BIGINT::VARCHAR) FROM outputs"),
        at(9).timestamp().to_string()
    );
    assert_eq!(one::<i64>(&history, "SELECT count(*) FROM breaks"), 0);
    assert_eq!((history.as_of(), history.notes()), (Some(at(0)), &[] as &[String]));
}

#[test]
fn every_pool_has_its_size() {
    let journal = Journal::default();
    journal.commit(vec![Change::Pools(PoolsRecord {
        since: at(7),
        sizes: [("db".to_owned(), 3), ("api".to_owned(), 8)].into(),
    })]);
    let rows =
        "SELECT string_agg(pool || ' ' || size || ' ' || epoch(since)::BIGINT % 100, ', ' ORDER BY pool) FROM pools";
    let since = at(7).timestamp() % 100;
    assert_eq!(
        one::<String>(&fed(&journal), rows),
        format!("api 8 {since}, db 3 {since}")
    );
}

#[test]
fn what_a_clock_that_was_put_back_voids_is_gone() {
    let journal = Journal::default();
    for (job, second, outcome) in [
        ("a", 1, SlotOutcome::Skipped),
        ("a", 20, SlotOutcome::Skipped),
        ("a", 21, SlotOutcome::Ran),
        ("b", 20, SlotOutcome::Skipped),
    ] {
        journal.slot(job, second, outcome);
    }
    journal.stretch("a", 5, 30, 6);
    journal.commit(vec![Change::Supersede(SupersedeRecord {
        job: JobId::new("a").unwrap(),
        after: at(10),
    })]);
    journal.stretch("a", 5, 10, 2);
    journal.slot("a", 20, SlotOutcome::Ran);
    let rows =
        "SELECT string_agg(job || epoch(slot)::BIGINT % 100 || outcome, ' ' ORDER BY job, slot, fact) FROM slots";
    let start = at(0).timestamp() % 100;
    let expected: Vec<String> = [
        ("a", 1, "skipped"),
        ("a", 5, "missed"),
        ("a", 20, "ran"),
        ("a", 21, "ran"),
        ("b", 20, "skipped"),
    ]
    .map(|(job, second, outcome)| format!("{job}{}{outcome}", start + second))
    .into();
    assert_eq!(one::<String>(&fed(&journal), rows), expected.join(" "));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Whatever happens between catch-ups, and wherever one is cut off, every fact is there once at the end.
    #[test]
    fn every_fact_lands_exactly_once(steps in vec((0_u8..7, prop::bool::weighted(0.2)), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::default();
        let going = journal.begin("a", 0, None);
        for (n, (step, look)) in (1_i64..).zip(&steps) {
            match step {
                0 => drop(journal.run("b", n, (1, 1), RunStatus::Failed, &[("load", 1, 1)])),
                1 => journal.slot("a", n, SlotOutcome::Skipped),
                2 => journal.stretch("a", n, n + 1, 2),
                3 => journal.reconcile(),
                4 => journal.publish("a", n),
                5 => drop(journal.spec("c", u32::try_from(n).unwrap(), n)),
                _ => journal.attempt(going, "load", u32::try_from(n).unwrap(), 0, 1),
            }
            if *look {
                let mut history = open(&folder);
                if n % 2 == 0 {
                    // Cut off before the commit.
                    history.connection.execute_batch("BEGIN").unwrap();
                    let facts = journal.storage.facts(0, 5).unwrap();
                    let mut known = super::rows::Known::new(journal.storage.as_ref());
                    prop_assert!(super::rows::append(&history.connection, "x", &facts, &mut known).is_ok());
                } else {
                    history.catch_up(journal.storage.as_ref(), at(0), || false).unwrap();
                }
            }
        }
        let mut history = open(&folder);
        history.catch_up(journal.storage.as_ref(), at(0), || true).unwrap();
        prop_assert_eq!(count(&history), (journal.facts(), journal.facts()));
        let of_journal = journal.storage.facts(0, u32::MAX).unwrap();
        for (kind, table) in [("run", "runs"), ("task", "tasks"), ("attempt", "attempts"), ("reconcile", "reconciles"), ("spec", "specs")] {
            let expected = of_journal.iter().filter(|fact| fact.fact.kind() == kind).count();
            prop_assert_eq!(one::<i64>(&history, &format!("SELECT count(*) FROM {table}")), expected as i64);
        }
        prop_assert_eq!(one::<i64>(&history, "SELECT count(*) FROM breaks"), 0);
        let again = history.catch_up(journal.storage.as_ref(), at(0), || true).unwrap();
        prop_assert_eq!((again.facts, again.complete), (0, true));
    }
}

#[test]
fn a_deleted_history_begins_anew_and_a_new_journal_is_a_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = history_path(folder.path());
    let journal = some_journal();
    drop(feed(&path, &journal).unwrap());
    fs::remove_file(&path).unwrap();
    assert_eq!(count(&feed(&path, &journal).unwrap()).0, journal.facts());

    let replaced = some_journal();
    let history = feed(&path, &replaced).unwrap();
    let both = journal.facts() + replaced.facts();
    assert_eq!(count(&history), (both, both));
    let kinds: String = one(
        &history,
        "SELECT string_agg(kind || ' ' || after_fact || ' ' || next_fact) FROM breaks",
    );
    assert_eq!(kinds, "new_journal 0 1");
    drop(history);
    // The first one coming back goes on where it was.
    journal.reconcile();
    assert_eq!(count(&feed(&path, &journal).unwrap()), (both + 1, both + 1));
}

#[test]
fn one_opener_at_a_time_within_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&folder);
    let path = history_path(folder.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let Err(HistoryError::Held { holder, .. }) = History::open(&path, Duration::from_millis(50)) else {
        panic!("held")
    };
    assert_eq!(holder.pid, Some(std::process::id()));
    drop(first);
    assert!(History::open(&path, Duration::ZERO).is_ok());
}

#[test]
fn a_damaged_file_is_moved_aside_with_a_word() {
    let journal = some_journal();
    let good = {
        let folder = tempfile::tempdir().unwrap();
        drop(feed(&history_path(folder.path()), &journal).unwrap());
        fs::read(history_path(folder.path())).unwrap()
    };
    let damaged = [
        b"this is no database, but it is long enough to look like one".repeat(400),
        Vec::new(),
        good[..100].to_vec(),
        good[..good.len() / 2].to_vec(),
    ];
    for content in damaged {
        let folder = tempfile::tempdir().unwrap();
        let path = history_path(folder.path());
        fs::write(&path, &content).unwrap();
        let history = feed(&path, &journal).unwrap();
        assert_eq!(count(&history).0, journal.facts(), "{} bytes", content.len());
        assert!(
            history.notes().iter().any(|note| note.contains("damaged")),
            "{:?}",
            history.notes()
        );
        assert_eq!(
            fs::read(folder.path().join("history.duckdb.damaged-1")).unwrap(),
            content
        );
    }
}

#[test]
fn a_file_of_a_newer_version_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = history_path(folder.path());
    let history = open(&folder);
    history
        .connection
        .execute_batch("UPDATE petit_format SET version = 99; CHECKPOINT")
        .unwrap();
    drop(history);
    let before = fs::read(&path).unwrap();
    let Err(error) = feed(&path, &some_journal()) else {
        panic!("refused")
    };
    assert!(
        matches!(error, HistoryError::Newer { .. }) && error.to_string().contains("99"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn users_read_and_do_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = history_path(folder.path());
    let secret = folder.path().join("secret.csv");
    fs::write(&secret, "a\n1\n").unwrap();
    let reader = feed(&path, &some_journal())
        .unwrap()
        .into_reader(Duration::ZERO)
        .unwrap();
    let before = fs::read(&path).unwrap();

    let rows = reader
        .query("SELECT job, count(*) AS n FROM runs GROUP BY job; -- all", 10)
        .unwrap();
    assert_eq!(rows.columns, ["job", "n"]);
    assert_eq!(rows.rows, [[serde_json::json!("a"), serde_json::json!(2)]]);
    for query in [
        "WITH r AS (FROM runs) SELECT * FROM r ORDER BY run_id -- x",
        "FROM slots",
        "DESCRIBE runs",
        "SHOW TABLES",
        "SUMMARIZE runs",
        "EXPLAIN SELECT 1",
        "(SELECT 1)",
        "PIVOT slots ON outcome USING sum(slots)",
        "SELECT NULL, 1 AS a, 2 AS a",
        "VALUES (1), (2)",
    ] {
        let rows = reader
            .query(query, 100)
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(
            !rows.columns.is_empty() && !rows.rows.is_empty() && !rows.more,
            "{query}: {rows:?}"
        );
    }
    let some = reader.query("SELECT * FROM range(1000000000000) r(x)", 3).unwrap();
    assert_eq!((some.rows.len(), some.more), (3, true));
    // However it is asked for, and also when no limit can be put around it.
    for limit in [usize::MAX, i64::MAX as usize] {
        let all = reader.query("SELECT * FROM range(3)", limit).unwrap();
        assert_eq!((all.rows.len(), all.more), (3, false), "{limit}");
    }

    let secret = secret.display();
    for query in [
        "DELETE FROM runs".to_owned(),
        "WITH x AS (SELECT 1) DELETE FROM runs".to_owned(),
        "WITH x AS (SELECT 1 AS n) INSERT INTO cursors SELECT 'x', 1, now()::TIMESTAMP, now()::TIMESTAMP".to_owned(),
        "EXPLAIN ANALYZE DELETE FROM runs".to_owned(),
        "SELECT 1; DELETE FROM runs".to_owned(),
        "COPY runs TO '/tmp/x.csv'".to_owned(),
        "ATTACH 'x.db' AS x".to_owned(),
        "INSTALL httpfs".to_owned(),
        "LOAD httpfs".to_owned(),
        "PRAGMA database_list".to_owned(),
        "SET enable_external_access = true".to_owned(),
        format!("SELECT * FROM read_csv('{secret}')"),
        format!("SELECT * FROM '{secret}'"),
        format!("SELECT * FROM read_text('{secret}')"),
        "SELECT * FROM glob('/*')".to_owned(),
        "SELECT * FROM 'https://example.org/x.parquet'".to_owned(),
        "SELECT * FROM query('DELETE FROM runs')".to_owned(),
        "SELECT 1) UNION (SELECT 2".to_owned(),
        "EXPLAIN ANALYZE COPY runs TO '/tmp/x.csv'".to_owned(),
    ] {
        assert!(reader.query(&query, 10).is_err(), "{query}");
    }
    assert_eq!(reader.query("SELECT count(*) FROM runs", 1).unwrap().rows[0][0], 2);
    drop(reader);
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// In a zone that is not UTC, in a process of its own: the environment is the whole program's.
#[test]
fn now_is_now_in_every_zone() {
    const TOLD: &str = "PETIT_TEST_OF_ZONES";
    if std::env::var_os(TOLD).is_none() {
        let name = concat!(module_path!(), "::now_is_now_in_every_zone");
        let name = name.split_once("::").expect("a crate").1;
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact"])
            .env(TOLD, "1")
            .env("TZ", "America/New_York")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = history_path(folder.path());
    let asked = |connection: &duckdb::Connection, sql: &str| -> bool {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let written = feed(&path, &some_journal()).unwrap();
    let nothing = History::of_nothing().unwrap();
    // The way that every build knows, and two that take DuckDB's zones, which the sources of `bundled` lack.
    let now = chrono::Utc::now().timestamp_millis();
    let same_now = format!("SELECT abs(epoch_ms(now()::TIMESTAMP) - {now}) < 600000");
    let same_now = same_now.as_str();
    let with_zones = [
        "SELECT TIMESTAMP '2026-01-31 00:00:00' = TIMESTAMPTZ '2026-01-31 00:00:00+00'",
        "SELECT current_date = to_timestamp(epoch(now()))::TIMESTAMP::DATE",
    ];
    let zones = with_zones.iter().filter(|_| !cfg!(feature = "bundled"));
    for sql in zones.chain([&same_now]) {
        for history in [&written, &nothing] {
            assert!(asked(&history.connection, sql), "{sql}");
        }
    }
    let reader = written.into_reader(Duration::ZERO).unwrap();
    assert_eq!(reader.query(same_now, 1).unwrap().rows[0], [serde_json::json!(true)]);
    if !cfg!(feature = "bundled") {
        let zone = reader.query("SELECT current_setting('TimeZone')", 1).unwrap();
        assert_eq!(zone.rows[0], [serde_json::json!("UTC")]);
    }
}

#[test]
fn runs_are_picked_by_the_version_that_they_ran() {
    let mut journal = some_journal();
    let second = journal.spec("a", 2, 50);
    journal.run("b", 60, (1, 10), RunStatus::Succeeded, &[("load", 0, 5)]);
    let first = journal.spec("a", 1, 70);
    let history = fed(&journal);
    let count = |filter: &str| {
        let filter = filter.parse().unwrap();
        let picked = history.picked(&filter, at(99), 10).unwrap().runs.len();
        let waits = history.ask(Question::Waits, &filter, at(99)).unwrap();
        (picked, waits.rows.len())
    };
    // That a version is told of again makes it no newer.
    for (filter, expected) in [
        ("rev=last:1", (1, 1)),
        ("job=a rev=last:1", (0, 0)),
        ("rev=last:2", (3, 2)),
        (&format!("rev={}", &first.as_str()[..9]), (2, 1)),
        (&format!("rev={}", second.as_str()), (0, 0)),
        (&format!("rev={},last:1", &first.as_str()[..9]), (3, 2)),
    ] {
        assert_eq!(count(filter), expected, "{filter}");
    }
    let missed = history
        .ask(Question::Missed, &"rev=last:1".parse().unwrap(), at(99))
        .unwrap();
    assert!(missed.note.unwrap().contains("`rev`"));
}

#[test]
fn one_run_is_given_back_whole() {
    let mut journal = Journal::default();
    let id = journal.run(
        "etl",
        0,
        (5, 900),
        RunStatus::Failed,
        &[("load", 1, 250), ("load", 0, 250)],
    );
    journal.commit(vec![Change::SetTask(TaskRecord {
        state: TaskState::Succeeded,
        attempts: 2,
        outputs: [("rows".to_owned(), 42.into()), ("file".to_owned(), "x.csv".into())].into(),
        ..pending(id, "load")
    })]);
    let history = fed(&journal);
    let run = history.run(id).unwrap().expect("a run");
    assert_eq!(
        (run.id, run.status, run.duration_ms, run.tasks.len()),
        (id, RunStatus::Failed, Some(900), 1)
    );
    let load = &run.tasks[0];
    assert_eq!((load.id.as_str(), load.status), ("load", TaskState::Succeeded));
    assert_eq!(
        (&load.outputs["rows"], &load.outputs["file"]),
        (&serde_json::json!(42.0), &serde_json::json!("x.csv"))
    );
    let codes: Vec<_> = load
        .attempts
        .iter()
        .map(|attempt| (attempt.attempt, attempt.exit_code))
        .collect();
    assert_eq!(codes, [(1, Some(1)), (2, Some(0))]);
    assert_eq!(
        history.run("01K00000000000000000000003".parse().unwrap()).unwrap(),
        None
    );
}

#[test]
fn rows_are_exported_into_new_files_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = history_path(folder.path());
    drop(feed(&path, &some_journal()).unwrap());
    let export = |query: &str, name: &str| {
        let target = folder.path().join(name);
        History::export(&path, query, &target, Duration::ZERO).map_err(|error| error.to_string())
    };
    let query = "SELECT job, count(*) AS n, 'a;b' AS text FROM runs GROUP BY job -- all";
    assert_eq!(export(query, "it's.csv"), Ok(1));
    assert_eq!(
        fs::read_to_string(folder.path().join("it's.csv")).unwrap(),
        "job,n,text\na,2,a;b\n"
    );
    assert_eq!(export("FROM runs", "runs.parquet"), Ok(2));
    let read = format!(
        "SELECT count(*) FROM '{}'",
        folder.path().join("runs.parquet").display()
    );
    let count: i64 = duckdb::Connection::open_in_memory()
        .unwrap()
        .query_row(&read, [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
    let into = |name: &str| {
        let options = ExportOptions {
            patience: Duration::ZERO,
            replace: true,
            watch: &mut |_| {},
            go_on: &|| true,
        };
        History::export_as(&path, query, &folder.path().join(name), options)
    };
    for (link, leads_to) in [("old.csv", "it's.csv"), ("new.csv", "made.csv")] {
        std::os::unix::fs::symlink(leads_to, folder.path().join(link)).unwrap();
        assert_eq!(into(link).unwrap(), 1);
        assert!(fs::symlink_metadata(folder.path().join(link)).unwrap().is_symlink());
        assert!(
            fs::read_to_string(folder.path().join(leads_to))
                .unwrap()
                .ends_with("a;b\n")
        );
        fs::remove_file(folder.path().join(link)).unwrap();
    }
    fs::remove_file(folder.path().join("made.csv")).unwrap();
    let pipe = folder.path().join("pipe.csv");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert!(matches!(into("pipe.csv"), Err(ExportError::NotAFile(_))));
    assert!(!fs::metadata(&pipe).unwrap().is_file());
    fs::remove_file(&pipe).unwrap();
    for (query, name, says) in [
        ("FROM runs", "it's.csv", "is there already"),
        ("FROM runs", "history.duckdb", "does not end in"),
        ("FROM runs", "no/folder.csv", "could not write"),
        ("SELECT 1; SELECT 2", "two.csv", "2 statements"),
        ("DELETE FROM runs", "gone.csv", "not a query"),
        ("SELECT 1) TO '/tmp/petit-x.csv'; --", "out.csv", "Parser Error"),
        ("FROM nothing", "nothing.csv", "nothing"),
        (
            &format!("FROM read_csv('{}/secret.txt')", folder.path().display()),
            "read.csv",
            "disabled",
        ),
    ] {
        let error = export(query, name).expect_err(query);
        assert!(error.contains(says), "{query}: {error}");
    }
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["history.duckdb", "it's.csv", "runs.parquet"]);
}

#[test]
fn the_library_has_the_version_that_the_crate_was_generated_for() {
    assert_eq!(super::library_version().unwrap(), "v1.5.6");
}
