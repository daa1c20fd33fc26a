//! `petit sql` and its neighbours with the real binary: they read the history and nothing else, and Ctrl-C stops them.

#![cfg(feature = "history")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::park_timeout,
    time::{Duration, Instant},
};

use support::{DEADLINE, Place};

/// A history of so many slots.
fn history(slots: i64) -> Place {
    let place = Place::new();
    place.put_slots(0..slots);
    let counted = place.json(&["sql", "SELECT count(*) AS n FROM slots"]);
    assert_eq!(counted[0]["n"], slots);
    place
}

/// The names of everything below the place's folder.
fn names(place: &Place) -> BTreeSet<String> {
    let folders = [place.path().to_owned(), place.path().join(".petit")];
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    entries
        .map(|entry| entry.expect("an entry").path().display().to_string())
        // SQLite keeps these beside a journal that is read.
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect()
}

#[test]
fn what_is_more_than_a_question_is_refused_and_does_nothing() {
    let place = history(3);
    fs::write(place.path().join("secret.csv"), "word\nswordfish\n").expect("writes");
    fs::write(place.path().join("secret.json"), "[{\"word\": \"swordfish\"}]").expect("writes");
    let before = names(&place);
    let not_a_query = [
        "INSERT INTO slots SELECT * FROM slots",
        "UPDATE slots SET job = 'b'",
        "DELETE FROM slots",
        "TRUNCATE slots",
        "CREATE TABLE t (x INTEGER)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "DROP TABLE slots",
        "ALTER TABLE slots ADD COLUMN x INTEGER",
        "COPY slots TO 'out.csv'",
        "COPY slots FROM 'secret.csv'",
        "EXPORT DATABASE 'out'",
        "IMPORT DATABASE 'out'",
        "ATTACH 'out.db' AS other",
        "DETACH history",
        "USE history",
        "INSTALL httpfs",
        "FORCE INSTALL httpfs FROM 'http://localhost:1'",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "CALL pragma_version()",
        "CHECKPOINT",
        "VACUUM",
        "BEGIN",
        "PREPARE p AS DELETE FROM slots",
        "EXECUTE p",
    ];
    for query in not_a_query {
        let done = place.run(&["sql", query]);
        let word = query.split(' ').next().expect("a word");
        let says = format!("`{word}` is not a query: expected one that begins with SELECT");
        assert!(done.code == 64 && done.stderr.contains(&says), "{done:?}");
        assert_eq!(done.stdout, "", "{done:?}");
    }
    let refused = [
        // Several statements.
        ("SELECT 1; SELECT 2", 64, "2 statements"),
        ("SELECT 1; DROP TABLE slots", 64, "2 statements"),
        ("", 64, "no statement"),
        // A query with a change within.
        (
            "WITH gone AS (DELETE FROM slots RETURNING *) SELECT * FROM gone",
            1,
            "CTE needs a SELECT",
        ),
        ("EXPLAIN ANALYZE DELETE FROM slots", 1, "read-only"),
        // Files.
        ("SELECT * FROM 'secret.csv'", 1, "disabled"),
        ("FROM read_csv('secret.csv')", 1, "disabled"),
        ("FROM read_json('secret.json')", 1, "disabled"),
        ("FROM read_text('secret.csv')", 1, "disabled"),
        ("FROM read_blob('/etc/passwd')", 1, "disabled"),
        ("FROM read_parquet('secret.csv')", 1, "disabled"),
        ("FROM glob('/etc/*')", 1, "disabled"),
        ("FROM sniff_csv('secret.csv')", 1, "disabled"),
        ("FROM query('SELECT * FROM read_text(''secret.csv'')')", 1, "disabled"),
        // The network.
        ("FROM 'http://127.0.0.1:1/x.csv'", 1, "disabled"),
        ("FROM read_csv('https://127.0.0.1:1/x.csv')", 1, "disabled"),
        ("FROM 's3://bucket/x.parquet'", 1, "disabled"),
    ];
    for (query, code, says) in refused {
        let done = place.run(&["sql", query]);
        assert!(done.code == code && done.stderr.contains(says), "{done:?}");
        assert!(!done.stderr.contains("swordfish") && done.stdout.is_empty(), "{done:?}");
    }
    assert_eq!(names(&place), before, "no file came or went");
    assert_eq!(place.json(&["sql", "SELECT count(*) AS n FROM slots"])[0]["n"], 3);
}

/// A command under way; killed when dropped.
struct Going(Child);

impl Going {
    fn new(place: &Place, args: &[&str]) -> Self {
        let child = place.petit(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Self(child.expect("the binary starts"))
    }

    fn signal(&self, name: &str) {
        let status = Command::new("/bin/kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(status.expect("kill is everywhere").success());
    }

    fn has_open(&self, file: &Path) -> bool {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.0.id())).into_iter().flatten();
        let mut open = descriptors.flatten().filter_map(|it| fs::read_link(it.path()).ok());
        open.any(|open| open == file)
    }

    /// Its time in user mode, in ticks.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().expect("one part at least").split_whitespace();
        fields
            .map(str::to_owned)
            .nth(11)
            .and_then(|ticks| ticks.parse().ok())
            .unwrap_or(0)
    }

    /// Waits until it is at a point, and says whether it came there before its end.
    fn comes_to(&mut self, at: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if at(self) {
                return true;
            }
            if self.0.try_wait().expect("a child of ours").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "it neither came to the point nor to its end");
            park_timeout(Duration::from_micros(300));
        }
    }

    /// How long it took to end, and how it ended.
    fn ended(mut self) -> (Duration, Option<i32>, String) {
        let begun = Instant::now();
        let status = self.0.wait().expect("a child of ours");
        let took = begun.elapsed();
        let mut said = String::new();
        let stderr = self.0.stderr.take().expect("it is piped");
        let _ = { stderr }.read_to_string(&mut said);
        // Before it listens, the signal ends it as it does any program.
        assert!(matches!(status.signal(), None | Some(1 | 2 | 15)), "{status}");
        (took, status.code(), said)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal, as Ctrl-C does, at a point of a command, again with a new one until some were still there to hear it. The
/// shortest of the times that they took to end is about what it takes on a machine that does nothing else.
fn signalled(place: &Place, signal: &str, args: &[&str], at: impl Fn(&Going) -> bool, after: impl Fn()) -> Duration {
    let deadline = Instant::now() + DEADLINE * 2;
    let mut times = Vec::new();
    while times.len() < 3 {
        assert!(Instant::now() < deadline, "{args:?} did not hear it, but {times:?}");
        let mut going = Going::new(place, args);
        if going.comes_to(&at) {
            // Stopped, so that it cannot end by itself meanwhile.
            going.signal("STOP");
            going.signal(signal);
            going.signal("CONT");
            if let (took, Some(130), said) = going.ended() {
                assert_eq!(said, "error: interrupted\n");
                times.push(took);
            }
        }
        after();
    }
    times.into_iter().min().expect("three at least")
}

#[test]
fn every_build_knows_what_now_is_and_says_what_it_does_not_know() {
    let place = history(3);
    let asked = |now: &str| {
        let query = format!("SELECT count(*) AS n FROM slots WHERE last_slot < {now} - INTERVAL 1 HOUR");
        place.run(&["sql", &query, "--format", "json"])
    };
    let found = asked("now()::TIMESTAMP");
    assert!(found.code == 0 && found.stdout.contains(r#""n": 3"#), "{found:?}");
    let with_a_zone = asked("now()");
    if cfg!(feature = "bundled") {
        let hint = with_a_zone.stderr.contains("`now()::TIMESTAMP`");
        assert!(with_a_zone.code == 1 && hint, "{with_a_zone:?}");
    } else {
        assert_eq!(with_a_zone.stdout, found.stdout, "{with_a_zone:?}");
    }
}

#[test]
fn ctrl_c_stops_a_question_at_once() {
    let place = history(1);
    let endless = [
        "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE (a.range * b.range) % 7 = 3",
        "SELECT * FROM range(10000000000) ORDER BY hash(range) LIMIT 5",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    ];
    let file = place
        .path()
        .join(".petit/history.duckdb")
        .canonicalize()
        .expect("a path");
    for query in endless {
        // Half a second of work is past everything that comes before the query.
        let took = signalled(
            &place,
            "INT",
            &["sql", query],
            |it| it.has_open(&file) && it.ticks() > 50,
            || {},
        );
        println!("a runaway query ended {took:?} after Ctrl-C");
    }
    let took = signalled(&place, "INT", &["history", "missed"], |it| it.has_open(&file), || {});
    println!("a view ended {took:?} after Ctrl-C");
}

#[test]
fn a_signal_in_an_export_leaves_no_file() {
    let place = history(30_000);
    let before = names(&place);
    // SIGTERM comes from service managers and `timeout`, SIGHUP from a terminal that is closed.
    for (name, signal) in [
        ("x.csv", "INT"),
        ("x.parquet", "INT"),
        ("x.csv", "TERM"),
        ("x.parquet", "HUP"),
    ] {
        let part = |going: &Going| place.path().join(format!(".{name}.{}.part", going.0.id()));
        let whole = place.path().join(name);
        let args = ["history", "export", "--table", "slots", name];
        let took = signalled(
            &place,
            signal,
            &args,
            |it| part(it).exists(),
            || {
                // One that was done before the signal came.
                let _ = fs::remove_file(&whole);
                assert_eq!(names(&place), before, "nothing is left behind");
            },
        );
        println!("an export into {name} ended {took:?} after SIG{signal}");
    }
}
