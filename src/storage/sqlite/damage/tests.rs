//! Journals are damaged in every way that a disk knows; what is saved is true, and nothing else is touched.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    core::{
        record::{SlotRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, TaskState},
    },
    storage::{Change, NumberedFact, RunFilter, suite::fixtures::*},
};

const PAGE: usize = 4096;
const JOBS: [&str; 2] = ["a", "b"];

/// A journal with some hundred rows in every large table, two of its runs unfinished.
fn journal(folder: &TempDir) -> PathBuf {
    static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        fill(&path);
        fs::read(path).expect("one file")
    });
    let path = folder.path().join("journal.db");
    fs::write(&path, &*WHOLE).expect("writes");
    path
}

fn fill(path: &Path) {
    let journal = Sqlite::open(path).expect("opens");
    for name in JOBS {
        done(&journal, vec![put_spec(name, 1), Change::SetActive(active(name, 1))]);
        let at = at(300);
        done(&journal, vec![Change::SetWatermark { job: job(name), at }]);
    }
    done(&journal, vec![Change::Pause(pause(Some("a"), 1))]);
    for n in 1..=200_u64 {
        let name = JOBS[usize::from(n % 2 == 0)];
        let slot = SlotRecord {
            outcome: Some(SlotOutcome::Ran),
            run: Some(run_id(n)),
            ..claim(name, i64::try_from(n).expect("small"))
        };
        let mut changes = vec![
            create(queued(n, name)),
            Change::PutSlot(slot),
            Change::EndAttempt(ended(n, "t", 1)),
        ];
        if n < 199 {
            changes.push(Change::SetTask(TaskRecord {
                state: TaskState::Succeeded,
                ..pending(n, "t")
            }));
            changes.push(end(n, RunStatus::Succeeded, 20));
        }
        done(&journal, changes);
    }
}

/// What the tables hold, each row as a text.
fn rows(path: &Path) -> Vec<(&'static str, Vec<String>)> {
    let journal = Sqlite::open_read_only(path).expect("opens");
    let texts = |rows: Vec<String>| rows;
    let listed = |runs: Vec<_>| -> Vec<_> {
        let detail = |run: crate::core::record::RunRecord| format!("{:?}", journal.run(run.id).expect("reads"));
        runs.into_iter().map(detail).collect()
    };
    let all = RunFilter::default();
    let slots = JOBS.iter().flat_map(|name| slots(&journal, name));
    let facts = journal.facts(0, u32::MAX).expect("reads");
    vec![
        ("runs", texts(listed(journal.runs(&all).expect("reads")))),
        ("slots", slots.map(|slot| format!("{slot:?}")).collect()),
        (
            "facts",
            facts.iter().map(|fact: &NumberedFact| format!("{fact:?}")).collect(),
        ),
        ("active", vec![format!("{:?}", journal.active().expect("reads"))]),
    ]
}

fn of<'a>(rows: &'a [(&'static str, Vec<String>)], table: &str) -> &'a [String] {
    &rows.iter().find(|(name, _)| *name == table).expect("a table").1
}

fn salvaged(path: &Path) -> Salvage {
    opened(path).expect("it was damaged")
}

/// Opens a journal, and looks whether it is good now.
fn opened(path: &Path) -> Option<Salvage> {
    let (journal, salvage) = Sqlite::open_or_salvage(path, at(500)).expect("goes on");
    done(&journal, vec![put_spec("new", 1)]);
    drop(journal);
    let (_, again) = Sqlite::open_or_salvage(path, at(501)).expect("opens");
    assert_eq!(again, None, "the new one is good");
    let sound: String = Connection::open(path)
        .and_then(|connection| {
            let broken: u32 =
                connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
            assert_eq!(broken, 0);
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
        })
        .expect("reads");
    assert_eq!(sound, "ok");
    salvage
}

fn saved(salvage: &Salvage, table: &str) -> SavedTable {
    *salvage
        .tables
        .iter()
        .find(|saved| saved.table == table)
        .expect("a table")
}

#[test]
fn what_lies_around_a_damaged_page_is_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal(&folder);
    let before = rows(&path);
    let id = Sqlite::open_read_only(&path).and_then(|journal| journal.journal_id());
    let mut bytes = fs::read(&path).expect("a file");
    // A leaf in the midst of the facts.
    let leaves = leaves_of(&path, "facts");
    let page = leaves[leaves.len() / 2];
    bytes[(page - 1) * PAGE..page * PAGE].fill(0xa5);
    fs::write(&path, &bytes).expect("writes");

    let salvage = salvaged(&path);
    assert_eq!(
        fs::read(&salvage.moved_to).expect("it is there"),
        bytes,
        "nothing was written to it"
    );
    let after = rows(&path);
    for table in ["runs", "slots", "active"] {
        assert_eq!(of(&after, table), of(&before, table));
        assert_eq!(
            salvage.tables.iter().find(|it| it.table == table).map(|it| it.lost),
            Some(Lost::Nothing)
        );
    }
    let facts = saved(&salvage, "facts");
    let (was, is) = (of(&before, "facts").len(), of(&after, "facts").len() - 1);
    assert_eq!(facts.saved, is as u64);
    assert!(
        is < was && was - is < 40,
        "{is} of {was} facts: those of one page are lost"
    );
    let words = salvage.to_string();
    for part in ["damaged-2026", "200 runs", "; lost are ", " facts"] {
        assert!(words.contains(part), "{words}");
    }
    let journal = Sqlite::open_read_only(&path).expect("opens");
    let id = id.expect("an id");
    assert_ne!(journal.journal_id().expect("an id"), id);
    let (former, last) = journal.continues().expect("reads")[0].clone();
    assert_eq!(
        (former, last),
        (id, was as i64),
        "the last fact was saved, and new ones come behind it"
    );
    assert_eq!(
        journal.unfinished().expect("reads").len(),
        2,
        "they are whole, and go on"
    );
}

/// The pages of a table that hold rows.
fn leaves_of(path: &Path, table: &str) -> Vec<usize> {
    let bytes = fs::read(path).expect("a file");
    let root: usize = Connection::open(path)
        .and_then(|it| {
            it.query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table], |row| {
                row.get(0)
            })
        })
        .map(|page: i64| usize::try_from(page).expect("a number"))
        .expect("a table");
    let page = |number: usize| &bytes[(number - 1) * PAGE..number * PAGE];
    let top = page(root);
    assert_eq!(top[0], 5, "an inner page");
    let cells = usize::from(u16::from_be_bytes([top[3], top[4]]));
    (0..cells)
        .map(|cell| {
            let at = 12 + 2 * cell;
            let cell = usize::from(u16::from_be_bytes([top[at], top[at + 1]]));
            u32::from_be_bytes(top[cell..cell + 4].try_into().expect("four bytes")) as usize
        })
        .collect()
}

#[test]
fn a_run_that_may_not_be_whole_is_ended_and_a_job_without_its_mark_begins_now() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal(&folder);
    let mut bytes = fs::read(&path).expect("a file");
    let marks: usize = Connection::open(&path)
        .and_then(|it| {
            let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'watermarks'";
            it.query_row(root, [], |row| row.get::<_, i64>(0))
        })
        .map(|page| usize::try_from(page).expect("a number"))
        .expect("a table");
    for page in [leaves_of(&path, "attempts")[0], marks] {
        bytes[(page - 1) * PAGE..page * PAGE].fill(0);
    }
    fs::write(&path, &bytes).expect("writes");
    let salvage = salvaged(&path);
    assert_ne!(saved(&salvage, "attempts").lost, Lost::Nothing);
    let journal = Sqlite::open_read_only(&path).expect("opens");
    assert_eq!(journal.unfinished().expect("reads"), []);
    let run = journal.run(run_id(200)).expect("reads").expect("it is kept");
    assert_eq!(run.run.status, RunStatus::Interrupted);
    assert!(run.tasks.iter().all(|task| task.state == TaskState::Interrupted));
    let marks = journal.watermarks().expect("reads");
    assert_eq!(marks, [(job("a"), at(500)), (job("b"), at(500))]);
}

#[test]
fn what_is_no_database_is_set_aside_and_a_new_one_begins() {
    for (text, cause) in [
        (String::new(), "empty"),
        (
            "no journal at all, but long enough to be asked. ".repeat(99),
            "not a database",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        fs::write(&path, &text).expect("writes");
        let salvage = salvaged(&path);
        assert!(salvage.cause.contains(cause), "{salvage}");
        assert!(salvage.to_string().contains("Nothing of it could be read"), "{salvage}");
        assert_eq!(fs::read_to_string(&salvage.moved_to).expect("it is there"), text);
    }
}

#[test]
fn a_file_that_was_cut_off_is_read_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal(&folder);
    let bytes = fs::read(&path).expect("a file");
    fs::write(&path, &bytes[..bytes.len() / 2 + 100]).expect("writes");
    let salvage = salvaged(&path);
    assert_eq!(saved(&salvage, "active").saved, 2, "{salvage}");
    let runs = saved(&salvage, "runs");
    assert!(
        (50..200).contains(&runs.saved) && runs.lost != Lost::Nothing,
        "{salvage}"
    );
}

#[test]
fn a_row_that_makes_no_sense_is_left_behind_with_what_refers_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal(&folder);
    Connection::open(&path)
        .and_then(|it| it.execute_batch("UPDATE runs SET status = 'odd' WHERE rowid > 198"))
        .expect("good SQL");
    assert!(Sqlite::open(&path).is_ok(), "nothing is wrong with the file");
    // Those rows are among the finished, so nothing that a start reads is wrong.
    let (_, salvage) = Sqlite::open_or_salvage(&path, at(500)).expect("opens");
    assert_eq!(salvage, None);
    Connection::open(&path)
        .and_then(|it| it.execute_batch("UPDATE runs SET trigger = 'whim', status = 'running' WHERE rowid > 198"))
        .expect("good SQL");
    let salvage = salvaged(&path);
    for table in ["runs", "tasks", "attempts"] {
        let expected = SavedTable {
            table,
            saved: 198,
            lost: Lost::Rows(2),
        };
        assert_eq!(saved(&salvage, table), expected, "{salvage}");
    }
}

#[test]
fn what_only_the_log_has_is_saved_and_a_torn_log_is_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = journal(&folder);
    let journal = Sqlite::open(&open).expect("opens");
    done(&journal, vec![put_spec("late", 1), put_spec("later", 1)]);
    // As a crash leaves it: the file, and the log beside it.
    let copied = |name: &str, cut: usize| {
        let path = folder.path().join(name);
        fs::copy(&open, &path).expect("a copy");
        let log = fs::read(beside(&open, "-wal")).expect("a log");
        fs::write(beside(&path, "-wal"), &log[..log.len() - cut]).expect("writes");
        path
    };
    let torn = copied("torn.db", 1_000);
    let (journal, salvage) = Sqlite::open_or_salvage(&torn, at(500)).expect("opens");
    assert_eq!(salvage, None, "the commit that was torn is none");
    assert_eq!(journal.spec(&spec("late", 1).hash).expect("reads"), None);

    let damaged = copied("damaged.db", 0);
    let mut bytes = fs::read(&damaged).expect("a file");
    let page = leaves_of(&open, "attempts")[1];
    bytes[(page - 1) * PAGE..page * PAGE].fill(0xa5);
    fs::write(&damaged, bytes).expect("writes");
    let salvage = salvaged(&damaged);
    assert!(beside(&salvage.moved_to, "-wal").exists(), "it lies beside its file");
    let journal = Sqlite::open_read_only(&damaged).expect("opens");
    assert!(journal.spec(&spec("later", 1).hash).expect("reads").is_some());
}

#[test]
fn a_start_that_was_cut_short_is_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal(&folder);
    let good = rows(&path);
    fs::rename(&path, beside(&path, SAVED)).expect("a rename within a folder");
    fs::write(&path, "damaged").expect("writes");
    let (_, salvage) = Sqlite::open_or_salvage(&path, at(500)).expect("opens");
    assert_eq!(salvage, None);
    assert_eq!(rows(&path), good);
    let aside = beside(&path, ".damaged-20260101T000820Z");
    assert_eq!(fs::read_to_string(aside).expect("it is there"), "damaged");
}

#[test]
fn what_cannot_be_opened_is_no_damage_and_stays_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    fs::create_dir(&path).expect("a folder");
    let error = Sqlite::open_or_salvage(&path, at(500)).expect_err("a folder is no file");
    assert!(!error.is_damage() && path.is_dir(), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

/// In its head the file says which versions of SQLite may read and write it, how its texts are encoded, and Petit's format.
#[test]
fn a_head_that_is_not_true_is_damage() {
    for (field, byte, cause) in [
        (18..19, 0x80, "may only be read"),
        (44..48, 0xff, "unsupported file format"),
        (47..48, 0x80, "unsupported file format"),
        (56..60, 0xff, "malformed"),
        (60..64, 0xff, "its format is -1"),
        (60..61, 0x80, "its format is -"),
        (60..64, 0, "already exists"),
        (63..64, 1, "duplicate column"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = journal(&folder);
        let mut bytes = fs::read(&path).expect("a file");
        bytes[field.clone()].fill(byte);
        fs::write(&path, &bytes).expect("writes");
        let salvage = salvaged(&path);
        assert!(salvage.cause.contains(cause), "{field:?} {salvage}");
        let moved = fs::read(&salvage.moved_to).expect("it is there");
        assert!(moved == bytes, "{field:?}: nothing was written to it");
    }
}

#[test]
fn a_journal_that_its_owner_has_protected_is_no_damage() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = journal(&folder);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("a file of ours");
    match Sqlite::open_or_salvage(&path, at(500)) {
        // For root nothing is protected.
        Ok((_, salvage)) => assert_eq!(salvage, None),
        Err(error) => assert!(!error.is_damage(), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_pages_are_damaged_what_is_saved_is_true(places in vec((0.0..1.0_f64, any::<u8>()), 1..9)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = journal(&folder);
        let before = rows(&path);
        let mut bytes = fs::read(&path).expect("a file");
        for (place, byte) in places {
            // The first page stays, so that it is a database.
            let page = 1 + ((bytes.len() / PAGE - 1) as f64 * place) as usize;
            bytes[page * PAGE..(page + 1) * PAGE].fill(byte);
        }
        fs::write(&path, &bytes).expect("writes");
        // A page that is not in use makes no difference.
        if let Some(salvage) = opened(&path) {
            prop_assert_eq!(fs::read(&salvage.moved_to).expect("it is there"), bytes);
        }
        let after = rows(&path);
        for fact in of(&after, "facts") {
            let is_new = fact.contains(salvage::LOST) || fact.contains(r#"JobId("new")"#);
            prop_assert!(is_new || of(&before, "facts").contains(fact), "{}", fact);
        }
        for slot in of(&after, "slots") {
            prop_assert!(of(&before, "slots").contains(slot), "{}", slot);
        }
    }

    /// A file of SQLite's has no checksums, so a few wrong bytes within a row can pass for true.
    #[test]
    fn whatever_bytes_are_damaged_a_good_journal_comes_of_it(
        places in vec((0.0..1.0_f64, 1_usize..6_000, any::<u8>()), 1..5),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = journal(&folder);
        let mut bytes = fs::read(&path).expect("a file");
        for (place, length, byte) in places {
            let from = ((bytes.len() - 1) as f64 * place) as usize;
            let to = (from + length).min(bytes.len());
            bytes[from..to].fill(byte);
        }
        fs::write(&path, &bytes).expect("writes");
        match Sqlite::open_or_salvage(&path, at(500)) {
            Ok((journal, _)) => done(&journal, vec![put_spec("new", 1)]),
            Err(error) => prop_assert!(matches!(error, StorageError::Newer { .. }), "{:?}", error),
        }
    }
}
