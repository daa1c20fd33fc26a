//! Stores that are damaged, replaced or of another version, with the real binary: the daemon goes on and says what it lost,
//! commands that only read change nothing, and the history hears each fact once.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use support::{Done, Place, Small};

const JOB: &str = "tasks: {a: {command: [echo, hello]}}\n";

fn journal(place: &Place) -> PathBuf {
    place.path().join(".petit/journal.db")
}

/// A place in which a job ran some times, and whose daemon has stopped.
fn lived_in() -> Place {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("a.yaml", JOB);
    place.save("b.yaml", JOB);
    place.wait_synced("a");
    place.wait_synced("b");
    for _ in 0..5 {
        assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    }
    assert_eq!(place.run(&["pause", "b", "--reason", "a holiday"]).code, 0);
    assert_eq!(daemon.stop(), 0);
    place
}

/// Overwrites the page from which a table is reached.
fn damage(journal: &Path, table: &str) {
    const PAGE: usize = 4096;
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?";
    let page = Connection::open(journal).and_then(|it| it.query_row(root, [table], |row| row.get::<_, i64>(0)));
    let page = usize::try_from(page.expect("a table")).expect("a number");
    let mut bytes = fs::read(journal).expect("a file");
    bytes[(page - 1) * PAGE..page * PAGE].fill(0xa5);
    fs::write(journal, bytes).expect("writes");
}

/// Where damaged journals are now.
fn aside(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path().join(".petit")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.display().to_string().contains("journal.db.damaged-"))
        .filter(|path| {
            !["-wal", "-shm"]
                .iter()
                .any(|end| path.display().to_string().ends_with(end))
        })
        .collect()
}

/// What the daemon says of its journal as long as it runs.
fn condition(place: &Place) -> String {
    place.json(&["status"])["conditions"].to_string()
}

/// Starts a daemon that must refuse.
fn refused(place: &Place) -> Done {
    let done = place.run(&["run"]);
    assert_eq!(done.code, 4, "{done:?}");
    done
}

#[test]
fn a_damaged_journal_is_set_aside_and_everything_goes_on() {
    let place = lived_in();
    // A run that the history has not heard of.
    let daemon = place.daemon();
    assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    // Were the journal still open somewhere, its log would stay and cover what is damaged.
    daemon.kill_and_wait();
    damage(&journal(&place), "runs");
    let bytes = fs::read(journal(&place)).expect("a file");

    let looked = place.run(&["runs"]);
    assert!(
        looked.code == 4 && looked.stderr.contains("`petit run` sets it aside"),
        "{looked:?}"
    );
    assert_eq!(
        fs::read(journal(&place)).expect("a file"),
        bytes,
        "who only reads changes nothing"
    );

    let daemon = place.daemon();
    let said = condition(&place);
    for part in [
        ".damaged-",
        "goes on with 2 specs, 2 active, 1 pauses",
        "lost are 6 runs, 6 tasks, 6 attempts",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(place.daemon_log().contains(".damaged-"), "{}", place.daemon_log());
    let [moved] = &aside(&place)[..] else {
        panic!("one file was set aside: {:?}", aside(&place));
    };
    assert_eq!(fs::read(moved).expect("a file"), bytes);
    assert_eq!(place.job("b").expect("it is active")["paused"], true);
    assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    if cfg!(feature = "history") {
        each_run_is_told_once(&place, 7);
    }
    assert_eq!(daemon.stop(), 0);

    let daemon = place.daemon();
    assert_eq!(condition(&place), "[]", "the new journal is good");
    assert_eq!(aside(&place).len(), 1);
    assert_eq!(daemon.stop(), 0);
}

fn each_run_is_told_once(place: &Place, runs: u64) {
    let counts = "SELECT count(*) AS n, count(DISTINCT run_id) AS different FROM runs";
    let counted = place.json(&["sql", counts]);
    assert_eq!(
        (&counted[0]["n"], &counted[0]["different"]),
        (&runs.into(), &runs.into()),
        "{counted}"
    );
    let attempts = "SELECT count(*) AS n FROM attempts";
    assert_eq!(place.json(&["sql", attempts])[0]["n"], runs);
}

#[test]
fn what_is_no_journal_at_all_is_set_aside_too() {
    let place = lived_in();
    let whole = fs::read(journal(&place)).expect("a file");
    let noise: Vec<u8> = (0..20_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for (text, cause) in [
        (noise.as_slice(), "not a database"),
        (&[], "the file is empty"),
        (&whole[..whole.len() / 3], "malformed"),
    ] {
        fs::write(journal(&place), text).expect("writes");
        let daemon = place.daemon();
        let said = condition(&place);
        assert!(said.contains(cause) && said.contains(".damaged-"), "{said}");
        place.wait_synced("a");
        assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
        assert_eq!(daemon.stop(), 0);
    }
    assert_eq!(aside(&place).len(), 3);
}

#[test]
fn a_torn_log_is_no_damage() {
    let place = lived_in();
    let daemon = place.daemon();
    assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    daemon.kill_and_wait();
    let log = place.path().join(".petit/journal.db-wal");
    let bytes = fs::read(&log).expect("a killed daemon leaves it");
    fs::write(&log, &bytes[..bytes.len() - 1_000]).expect("writes");
    let daemon = place.daemon();
    assert_eq!(condition(&place), "[]");
    assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    assert_eq!(daemon.stop(), 0);
    assert!(aside(&place).is_empty());
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_left_as_it_is() {
    let place = lived_in();
    Connection::open(journal(&place))
        .and_then(|it| it.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99"))
        .expect("good SQL");
    let bytes = fs::read(journal(&place)).expect("a file");
    for done in [refused(&place), place.run(&["list"])] {
        assert!(
            done.code == 4
                && done.stderr.contains("has format 99")
                && done.stderr.contains("the version of Petit that wrote it"),
            "{done:?}"
        );
    }
    assert_eq!(fs::read(journal(&place)).expect("a file"), bytes);
    assert!(aside(&place).is_empty());
}

#[test]
fn what_cannot_be_opened_is_no_damage() {
    let place = lived_in();
    let whole = place.path().join("journal.db");
    fs::rename(journal(&place), &whole).expect("a rename within a folder");
    fs::create_dir(journal(&place)).expect("a folder");
    let done = refused(&place);
    assert!(done.stderr.contains("could not open the journal"), "{done:?}");
    assert!(journal(&place).is_dir() && aside(&place).is_empty());
}

#[test]
fn a_damaged_journal_on_a_full_disk_waits_for_space() {
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
    let old = lived_in();
    damage(&journal(&old), "runs");
    fs::copy(journal(&old), journal(&place)).expect("a copy");
    let bytes = fs::read(journal(&place)).expect("a file");
    fs::write(state.join("petit.lock"), "").expect("writes");
    let names = || -> Vec<_> {
        let entries = fs::read_dir(&state).expect("a folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let filler = small.fill();
    let before = names();
    let done = refused(&place);
    assert!(
        done.stderr.contains("full") || done.stderr.contains("No space"),
        "{done:?}"
    );
    assert_eq!((fs::read(journal(&place)).expect("a file"), names()), (bytes, before));
    fs::remove_file(filler).expect("removable");
    let daemon = place.daemon();
    assert!(condition(&place).contains(".damaged-"));
    assert_eq!(daemon.stop(), 0);
}

/// What the history says of itself: its rows, and where it knows of missing ones.
#[cfg(feature = "history")]
fn told(place: &Place) -> (u64, String) {
    let runs = place.json(&[
        "sql",
        "SELECT count(*) AS n, count(DISTINCT run_id) AS different FROM runs",
    ]);
    assert_eq!(runs[0]["n"], runs[0]["different"], "{runs}");
    let breaks = place.json(&["sql", "SELECT kind FROM breaks ORDER BY kind"]);
    let kinds: Vec<_> = breaks
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["kind"].as_str())
        .collect();
    (runs[0]["n"].as_u64().expect("a number"), kinds.join(" "))
}

#[cfg(feature = "history")]
#[test]
fn a_history_is_deleted_cut_off_and_fed_by_another_journal() {
    let place = lived_in();
    let history = place.path().join(".petit/history.duckdb");
    assert_eq!(told(&place), (5, String::new()));

    // Deleted: it begins again with what the journal has.
    fs::remove_file(&history).expect("removable");
    assert_eq!(told(&place), (5, String::new()));

    // Cut off: moved aside, with a word, and begun again.
    let bytes = fs::read(&history).expect("a file");
    fs::write(&history, &bytes[..bytes.len() / 3]).expect("writes");
    let done = place.run(&["history", "duration"]);
    assert!(
        done.code == 0 && done.stderr.contains("the history was damaged"),
        "{done:?}"
    );
    assert!(place.path().join(".petit/history.duckdb.damaged-1").exists());
    assert_eq!(told(&place), (5, String::new()));

    // Another journal: said as such, and nothing is skipped or told twice.
    let other = lived_in();
    fs::copy(journal(&other), journal(&place)).expect("a copy");
    assert_eq!(told(&place), (10, "new_journal".to_owned()));
    let daemon = place.daemon();
    assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    assert_eq!(told(&place), (11, "new_journal".to_owned()));
    assert_eq!(daemon.stop(), 0);
    assert_eq!(told(&place), (11, "new_journal".to_owned()));
}

#[cfg(feature = "history")]
#[test]
fn a_history_of_a_newer_version_is_left_untouched_and_scheduling_goes_on() {
    let place = lived_in();
    assert_eq!(told(&place), (5, String::new()));
    let history = place.path().join(".petit/history.duckdb");
    duckdb::Connection::open(&history)
        .and_then(|it| it.execute_batch("UPDATE petit_format SET version = 99; CHECKPOINT"))
        .expect("good SQL");
    let bytes = fs::read(&history).expect("a file");
    let done = place.run(&["history", "duration"]);
    assert!(
        done.code == 4 && done.stderr.contains("was written by a newer version"),
        "{done:?}"
    );
    let daemon = place.daemon();
    assert_eq!(place.run(&["trigger", "a", "--wait"]).code, 0);
    support::wait_for("the daemon to say so", || {
        place.daemon_log().contains("newer version").then_some(())
    });
    assert_eq!(daemon.stop(), 0);
    assert_eq!(fs::read(&history).expect("a file"), bytes);
    let beside = fs::read_dir(place.path().join(".petit")).expect("a folder");
    let beside = beside.map(|entry| entry.expect("an entry").file_name());
    assert_eq!(
        beside.filter(|name| name.to_string_lossy().contains("history")).count(),
        1
    );
}
