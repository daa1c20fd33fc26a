//! What only a journal in a file has to do: outlive its process, be read beside its writer, refuse what is damaged or of
//! another version. What both backends do is in [`crate::storage::suite`].

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::{super::suite::fixtures::*, *};
use crate::core::state::{RunStatus, SlotOutcome};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    (folder, path)
}

fn shell(path: &Path, sql: &str) {
    Connection::open(path)
        .and_then(|connection| connection.execute_batch(sql))
        .expect("good SQL");
}

#[test]
fn a_journal_survives_its_process() {
    let (_folder, path) = folder();
    let journal = Sqlite::open(&path).expect("opens");
    let id = journal.journal_id().expect("an id");
    done(
        &journal,
        vec![
            put_spec("a", 1),
            Change::SetActive(active("a", 1)),
            create(queued(1, "a")),
        ],
    );
    done(
        &journal,
        vec![
            Change::PutSlot(claim("a", 1)),
            Change::Pause(pause(None, 1)),
            end(1, RunStatus::Failed, 20),
        ],
    );
    // Not waited for: dropping commits what is queued.
    drop(journal.commit(vec![Change::LaunchAttempt(launched(1, "t", 1))]));
    drop(journal);

    let journal = Sqlite::open(&path).expect("opens again");
    assert_eq!(journal.journal_id().expect("an id"), id);
    assert_eq!(journal.active().expect("reads"), [active("a", 1)]);
    assert_eq!(journal.claimed().expect("reads"), [claim("a", 1)]);
    assert_eq!(
        journal.run(run_id(1)).expect("reads").expect("a run").attempts,
        [launched(1, "t", 1)]
    );
    let before = everything(&journal);
    drop(journal);
    assert_eq!(everything(&Sqlite::open(&path).expect("opens")), before);
}

#[test]
fn numbers_of_facts_go_on_after_pruning_and_reopening() {
    let (_folder, path) = folder();
    done(
        &Sqlite::open(&path).expect("opens"),
        vec![Change::Reconcile(reconcile(1)), Change::Reconcile(reconcile(2))],
    );
    shell(&path, "DELETE FROM facts");
    let journal = Sqlite::open(&path).expect("opens");
    done(&journal, vec![Change::Reconcile(reconcile(3))]);
    assert_eq!(journal.facts(0, 9).expect("reads")[0].number, 3);
}

#[test]
fn closing_leaves_one_file_for_its_owner_only() {
    let (folder, path) = folder();
    let journal = Sqlite::open(&path).expect("opens");
    done(&journal, vec![put_spec("a", 1)]);
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    for file in fs::read_dir(folder.path()).expect("a folder") {
        let file = file.expect("an entry").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(journal);
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        1,
        "the log is in the file"
    );
}

#[test]
fn a_reader_reads_beside_the_writer_and_without_it() {
    let (_folder, path) = folder();
    let error = Sqlite::open_read_only(&path).expect_err("there is none");
    assert!(matches!(error, StorageError::Database { .. }), "{error}");
    assert!(!path.exists(), "reading makes no file");

    let journal = Sqlite::open(&path).expect("opens");
    let reader = Sqlite::open_read_only(&path).expect("opens beside it");
    done(&journal, vec![put_spec("a", 1)]);
    assert!(reader.spec(&spec("a", 1).hash).expect("reads").is_some());
    assert!(matches!(
        commit(&reader, vec![put_spec("a", 2)]),
        Err(StorageError::Closed)
    ));
    drop(reader);
    drop(journal);
    let reader = Sqlite::open_read_only(&path).expect("opens without it");
    assert_eq!(facts(&reader).len(), 1);
}

#[test]
fn a_newer_journal_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).expect("opens"));
    shell(&path, "PRAGMA user_version = 99; PRAGMA journal_mode = DELETE");
    let before = fs::read(&path).expect("a file");
    for error in [Sqlite::open(&path), Sqlite::open_read_only(&path)].map(|open| open.expect_err("refused")) {
        assert!(matches!(error, StorageError::Newer { found: 99, .. }), "{error}");
        assert!(error.to_string().contains("format 99"), "{error}");
    }
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[test]
fn an_older_journal_is_not_read_but_brought_up_to_date() {
    let (_folder, path) = folder();
    fs::write(&path, "").expect("writes");
    let error = Sqlite::open_read_only(&path).expect_err("nothing in it yet");
    assert!(matches!(error, StorageError::Older { found: 0, .. }), "{error}");
    drop(Sqlite::open(&path).expect("opens"));
    Sqlite::open_read_only(&path).expect("opens");
}

#[test]
fn what_is_no_journal_is_an_error_that_names_it() {
    let (folder, path) = folder();
    let error = Sqlite::open(&folder.path().join("no/such/folder/journal.db")).expect_err("no folder");
    assert!(matches!(error, StorageError::System { .. }), "{error}");

    fs::write(&path, "not a database, but long enough to be asked. ".repeat(100)).expect("writes");
    let error = Sqlite::open(&path).expect_err("refused");
    assert!(
        matches!(error, StorageError::Database { operation: "open", .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("journal.db") && !error.is_passing(),
        "{error}"
    );
}

#[test]
fn a_damaged_file_is_refused_at_the_start() {
    let (_folder, path) = folder();
    let journal = Sqlite::open(&path).expect("opens");
    for version in 0..50 {
        done(&journal, vec![put_spec("a", version)]);
    }
    drop(journal);
    let mut bytes = fs::read(&path).expect("a file");
    // Page 1 stays, so that the header still says what this is.
    bytes[4096..].fill(0xa5);
    fs::write(&path, bytes).expect("writes");
    let error = Sqlite::open(&path).expect_err("refused");
    assert!(
        matches!(error, StorageError::Database { .. }) && !error.is_passing(),
        "{error}"
    );
}

#[test]
fn a_row_of_another_version_is_an_error_of_its_table() {
    let (_folder, path) = folder();
    let journal = Sqlite::open(&path).expect("opens");
    done(
        &journal,
        vec![
            put_spec("a", 1),
            create(queued(1, "a")),
            Change::EndAttempt(ended(1, "t", 1)),
        ],
    );
    let slot = SlotRecord {
        outcome: Some(SlotOutcome::Ran),
        ..claim("a", 1)
    };
    done(
        &journal,
        vec![
            Change::PutSlot(slot),
            Change::Reconcile(reconcile(1)),
            Change::Pause(pause(Some("a"), 1)),
        ],
    );

    let problem = |sql: &str, read: &dyn Fn() -> Result<(), StorageError>| {
        shell(&path, sql);
        match read().expect_err(sql) {
            StorageError::Damaged { table, problem, .. } => (table, problem),
            other => panic!("{sql}: {other}"),
        }
    };
    let whole = || journal.run(run_id(1)).map(drop);
    let (table, words) = problem("UPDATE attempts SET ending = 'abducted'", &whole);
    assert!(table == "attempts" && words.contains("abducted"), "{table}: {words}");
    let (table, _) = problem("UPDATE attempts SET ending = 'exited', exit_code = NULL", &whole);
    assert_eq!(table, "attempts");
    let (table, words) = problem("UPDATE tasks SET outputs = '{'", &whole);
    assert_eq!(table, "tasks", "{words}");
    let (table, words) = problem("UPDATE runs SET status = 'odd'", &whole);
    assert!(
        table == "runs" && words.contains("`odd` is not known"),
        "{table}: {words}"
    );
    let (table, _) = problem("UPDATE slots SET job = 'No Slug'", &|| {
        shell(&path, "UPDATE slots SET outcome = NULL");
        journal.claimed().map(drop)
    });
    assert_eq!(table, "slots");
    let (table, _) = problem("UPDATE reconciles SET duration_ms = -1", &|| {
        journal.reconciles(1).map(drop)
    });
    assert_eq!(table, "reconciles");
    let (table, _) = problem("UPDATE pauses SET since = 9223372036854775807", &|| {
        journal.pauses().map(drop)
    });
    assert_eq!(table, "pauses");
    let (table, words) = problem("UPDATE facts SET kind = 'rumour'", &|| journal.facts(0, 9).map(drop));
    assert!(table == "facts" && words.contains("rumour"), "{table}: {words}");

    // The writer meets the same row and lives on.
    let error = commit(&journal, vec![end(1, RunStatus::Failed, 9)]).expect_err("cannot be read");
    assert!(matches!(error, StorageError::Damaged { table: "runs", .. }), "{error}");
    done(&journal, vec![put_spec("b", 1)]);
}

#[test]
fn the_reads_that_a_start_and_a_tick_make_use_indexes() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).expect("opens"));
    let connection = Connection::open(&path).expect("opens");
    for (sql, index) in [
        (CLAIMED, "slots_claimed"),
        (UNFINISHED, "runs_unfinished"),
        (LATEST_FINISHED, "runs_finished"),
        (LATEST_SUCCEEDED, "runs_succeeded"),
        (LATEST_BY_DEPENDENCY, "runs_by_dependency"),
        (glance::PREVIOUS, "runs_by_job"),
        (glance::NEXT, "runs_by_job"),
        (glance::LAST_GOOD, "runs_by_job"),
    ] {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .expect("good SQL");
        let mut steps = statement.raw_query();
        let mut plan = String::new();
        while let Some(step) = steps.next().expect("a plan") {
            plan += &step.get::<_, String>("detail").expect("a text");
        }
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}

#[test]
fn an_acknowledged_commit_has_reached_the_disk() {
    let (_folder, path) = folder();
    let connection = schema::open_for_writing(&path).expect("opens");
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .expect("a setting")
    };
    assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (2, 1), "FULL, ON");
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .expect("a mode");
    assert_eq!(mode, "wal");
}
