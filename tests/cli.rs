//! The command line as a user and a script meet it: exit codes, errors, JSON, interrupted and broken pipes.

mod support;

use std::{fs, io::Write, process::Stdio};

use serde_json::Value;
use support::Place;

const GOOD: &str = "schedule: '* * * * *'\ntasks: {main: {command: [echo, hello]}}\n";
const BAD: &str = "tasks:\n  main:\n    comand: [echo]\n";

/// A job whose run lasts until it is cancelled.
const ENDLESS: &str = "tasks: {main: {command: 'echo begun; while :; do sleep 0.1; done'}}\n";

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
fn has(value: &Value, wanted: &[&str]) {
    let keys = keys(value);
    let missing: Vec<_> = wanted.iter().filter(|key| !keys.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in {value:#}");
}

/// Every string in it that is an instant is in UTC, with `Z`.
fn check_times(value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let instant = name == "at" || name.ends_with("_at") || name == "since" || name == "slot";
                if let Some(text) = field.as_str().filter(|text| instant && text.contains('T')) {
                    assert!(text.ends_with('Z'), "{name}: {text}");
                }
                check_times(field);
            }
        }
        Value::Array(items) => items.iter().for_each(check_times),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn feed(place: &Place, args: &[&str], input: &str) -> (i32, String) {
    let mut child = place
        .petit(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("a reader");
    drop(stdin);
    let output = child.wait_with_output().expect("a child of ours");
    (
        output.status.code().expect("an exit code"),
        String::from_utf8(output.stdout).expect("UTF-8"),
    )
}

#[test]
fn without_a_daemon_each_command_ends_as_documented() {
    let place = Place::new();
    for (code, args) in [
        (0, &["list"][..]),
        (0, &["runs"]),
        (0, &["next"]),
        (0, &["plan"]),
        (0, &["validate"]),
        (0, &["--version"]),
        (0, &["runs", "--help"]),
        (3, &["status"]),
        (3, &["sync"]),
        (3, &["trigger", "job"]),
        (3, &["retry", "01K00000000000000000000001"]),
        (64, &["retry", "job"]),
        (
            64,
            &["retry", "01K00000000000000000000001", "--failed", "--from", "task"],
        ),
        (3, &["pause"]),
        (1, &["show", "job"]),
        (1, &["why", "job"]),
        (1, &["logs", "job"]),
        (1, &["runs", "job"]),
        (4, &["validate", "missing.yaml"]),
        (4, &["--config", "missing.yaml", "list"]),
        (64, &[]),
        (64, &["lsit"]),
        (64, &["show", "Not An Id"]),
        (64, &["runs", "status=odd"]),
        (64, &["list", "--format", "sarif"]),
        (64, &["next", "--cron", "@daily", "a-job"]),
    ] {
        let done = place.run(args);
        assert_eq!(done.code, code, "{done:?}");
        assert!(!done.stderr.contains("panicked"), "{done:?}");
        assert!(!done.stdout.is_empty() || !done.stderr.is_empty(), "{done:?}");
    }
}

#[test]
fn an_error_is_one_object_for_programs_and_has_a_hint() {
    let place = Place::new();
    place.save("nightly.yaml", GOOD);
    for (code, args) in [
        ("not_found", &["show", "nightyl"][..]),
        ("no_daemon", &["trigger", "nightly"]),
        ("usage", &["lsit"]),
        ("usage", &["cancel", "Not An Id"]),
        ("invalid_schedule", &["next", "--cron", "61 * * * *"]),
        (
            "invalid_schedule",
            &["next", "--cron", "* * * * *", "--timezone", "Europe/Berln"],
        ),
    ] {
        let done = place.run(&[args, &["--format", "json"]].concat());
        assert_eq!(done.stdout, "", "{done:?}");
        let error: Value = serde_json::from_str(&done.stderr).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        assert_eq!(keys(&error), ["code", "hints", "message"]);
        assert_eq!(error["code"], code, "{error}");
        assert!(!error["hints"].as_array().expect("a list").is_empty(), "{error}");
    }
    let done = place.run(&["show", "nightyl"]);
    assert!(done.stderr.contains("did you mean `nightly`?"), "{done:?}");
}

#[test]
fn a_wrong_expression_is_pointed_into() {
    let place = Place::new();
    let done = place.run(&["next", "--cron", "0 0 24 * * *"]);
    assert_eq!(done.code, 1);
    for part in [
        "0 0 24 * * *\n",
        "^^ expected a number from 0 to 23",
        "help: midnight is hour 0",
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    let zone = place.run(&["next", "--cron", "@daily", "--timezone", "Europe/Berln"]);
    assert!(zone.stderr.contains("did you mean `Europe/Berlin`?"), "{zone:?}");
    let never = place.run(&["next", "--cron", "0 0 30 2 *"]);
    assert!(never.code == 1 && never.stderr.contains("February"), "{never:?}");
    let args = ["next", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin"];
    let fires = place.json(&[&args[..], &["--after", "2026-03-28T00:00:00Z", "-n", "3"]].concat());
    assert_eq!(
        fires["next"],
        serde_json::json!([
            "2026-03-28T02:00:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-30T02:00:00+02:00"
        ])
    );
}

#[test]
fn validate_takes_files_folders_and_standard_input() {
    let place = Place::new();
    let nothing = place.run(&["validate"]);
    assert!(
        nothing.code == 0 && nothing.stderr.contains("no job files"),
        "{nothing:?}"
    );

    place.save("good.yaml", GOOD);
    place.save("bad.yaml", BAD);
    let folder = place.run(&["validate"]);
    assert_eq!(folder.code, 1);
    for part in [
        "jobs.d/bad.yaml:3:5",
        "comand: [echo]",
        "did you mean `command`?",
        "2 files, 1 error",
    ] {
        assert!(folder.stdout.contains(part), "{part}: {}", folder.stdout);
    }
    assert_eq!(place.run(&["validate", "jobs.d/good.yaml"]).code, 0);
    assert_eq!(place.run(&["validate", "jobs.d/good.yaml", "jobs.d/bad.yaml"]).code, 1);
    assert_eq!(
        place.run(&["validate", "jobs.d", "jobs.d/good.yaml"]).stdout,
        folder.stdout
    );

    let missing = place.run(&["validate", "missing.yaml", "jobs.d/bad.yaml"]);
    assert_eq!(missing.code, 4, "{missing:?}");
    assert!(missing.stderr.contains("missing.yaml"), "{missing:?}");
    assert!(
        missing.stdout.contains("comand"),
        "what can be read is checked all the same: {missing:?}"
    );

    assert_eq!(feed(&place, &["validate", "-"], GOOD).0, 0);
    let (code, printed) = feed(&place, &["validate", "-", "--format", "json"], BAD);
    assert_eq!(code, 1);
    let diagnostics: Value = serde_json::from_str(&printed).expect("JSON");
    has(
        &diagnostics[0],
        &[
            "file",
            "line",
            "column",
            "end_line",
            "end_column",
            "severity",
            "code",
            "message",
            "expected",
            "hint",
        ],
    );
    for format in ["sarif", "github"] {
        let done = place.run(&["validate", "--format", format]);
        assert!(done.code == 1 && done.stdout.contains("jobs.d/bad.yaml"), "{done:?}");
    }
}

#[test]
fn validate_checks_what_an_editor_or_a_commit_changes_among_all_others() {
    let place = Place::new();
    place.save("ingest.yaml", GOOD);
    place.save("broken.yaml", BAD);
    let dependent = "depends_on: [{job: ingest}]\ntasks: {t: {command: [echo]}}\n";
    place.save("load.yaml", dependent);
    // What is wrong with files that did not change is not told, and what they hold is found.
    let done = place.run(&["validate", "jobs.d/load.yaml"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!done.stdout.contains("broken"), "{done:?}");
    // A file is not in conflict with itself, however it is named.
    let around = place.run(&["validate", "jobs.d/../jobs.d/load.yaml"]);
    assert_eq!(around.code, 0, "{around:?}");
    // An editor's text takes the place of the file that it comes from.
    let text = dependent.replace("ingest", "ingset");
    let as_file = [
        "validate",
        "-",
        "--stdin-filename",
        "jobs.d/load.yaml",
        "--format",
        "json",
    ];
    let (code, printed) = feed(&place, &as_file, &text);
    let found: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((code, found.as_array().map(Vec::len)), (1, Some(1)), "{printed}");
    assert_eq!(
        (&found[0]["file"], &found[0]["code"], &found[0]["column"]),
        (&"jobs.d/load.yaml".into(), &"missing-job".into(), &20.into())
    );
    assert_eq!(feed(&place, &as_file, dependent).0, 0);
    // A duplicate of a file that did not change is told at the one that did.
    place.save("copy.yaml", "id: load\ntasks: {t: {command: [echo]}}\n");
    let copy = place.run(&["validate", "jobs.d/copy.yaml", "--format", "json"]);
    let found: Value = serde_json::from_str(&copy.stdout).expect("JSON");
    let told = (copy.code, found.as_array().map(Vec::len), &found[0]["code"]);
    assert_eq!(told, (1, Some(1), &"duplicate-id".into()), "{copy:?}");
    assert_eq!(place.run(&["validate", "--stdin-filename", "x.yaml"]).code, 64);
    assert_eq!(place.run(&["validate", "jobs.d/none.yaml"]).code, 4);
}

#[test]
fn plan_and_sync_say_what_is_to_do_by_their_exit_codes() {
    let place = Place::new();
    assert_eq!(place.run(&["plan"]).code, 0);
    place.save("a.yaml", GOOD);
    let offline = place.run(&["plan"]);
    assert!(offline.code == 2 && offline.stdout.contains("add a"), "{offline:?}");

    let _daemon = place.daemon();
    let synced = place.run(&["sync", "--wait"]);
    assert_eq!(synced.code, 0, "{synced:?}");
    assert_eq!(place.run(&["plan"]).code, 0);

    let stale = place.run(&["sync", "--approve", "0123456789ab"]);
    assert_eq!(stale.code, 1, "{stale:?}");
    assert!(stale.stdout.contains("not approved"), "{stale:?}");

    place.save("a.yaml", BAD);
    let unsynced = place.run(&["sync", "--wait"]);
    assert_eq!(unsynced.code, 1, "{unsynced:?}");
    assert!(
        unsynced.stdout.contains("a.yaml:") && unsynced.stdout.contains(" invalid: "),
        "{unsynced:?}"
    );
    let refused = place.run(&["plan"]);
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[test]
fn json_has_the_documented_fields() {
    let place = Place::new();
    let _daemon = place.daemon();
    place.save("tick.yaml", &GOOD.replace("* * * * *", "* * * * * *"));
    place.wait_synced("tick");
    let run = place.wait_run("tick", "succeeded", |run| run["status"] == "succeeded");

    let job = place.job("tick").expect("it is listed");
    has(
        &job,
        &[
            "id",
            "name",
            "file",
            "enabled",
            "paused",
            "sync",
            "health",
            "conditions",
            "spec_hash",
            "generation",
            "schedule",
            "timezone",
            "next",
            "last_run",
            "last_runs",
            "p50_ms",
            "p95_ms",
        ],
    );
    let run = place.json(&["show", run["id"].as_str().expect("an id")]);
    has(
        &run,
        &[
            "id",
            "job",
            "status",
            "trigger",
            "slot",
            "spec_hash",
            "revision",
            "created_at",
            "started_at",
            "ended_at",
            "duration_ms",
            "tasks",
            "context",
        ],
    );
    has(
        &run["context"],
        &["previous", "next", "critical_path", "last_good", "differences"],
    );
    has(&run["tasks"][0], &["id", "status", "attempts"]);
    has(
        &run["tasks"][0]["attempts"][0],
        &[
            "run",
            "task",
            "attempt",
            "ending",
            "exit_code",
            "signal",
            "queued_at",
            "granted_at",
            "started_at",
            "ended_at",
            "cpu_user_ms",
            "cpu_system_ms",
            "max_rss_bytes",
        ],
    );
    let why = place.json(&["why", "tick", run["slot"].as_str().expect("a slot")]);
    has(
        &why["slot"],
        &["job", "at", "outcome", "reason", "decided_at", "run", "spec_hash"],
    );
    let next = place.json(&["next", "tick", "-n", "2"]);
    assert_eq!(next.as_array().expect("a listing").len(), 2);
    has(&next[0], &["job", "at"]);
    let status = place.json(&["status"]);
    has(
        &status,
        &[
            "daemon",
            "active_runs",
            "running",
            "waiting",
            "next",
            "sync",
            "conditions",
            "last_day",
        ],
    );
    has(
        &status["last_day"][47],
        &["from", "succeeded", "failed", "cancelled", "going"],
    );
    for value in [
        &job["conditions"],
        &job["last_run"],
        &run,
        &why,
        &status["daemon"],
        &status["sync"],
    ] {
        check_times(value);
    }
}

#[test]
fn ctrl_c_ends_a_wait_and_not_the_run() {
    let place = Place::new();
    let _daemon = place.daemon();
    place.save("endless.yaml", ENDLESS);
    place.wait_synced("endless");

    let waiting = place.start(&["trigger", "endless", "--wait"]);
    // It knows of its run once it has printed the id.
    waiting.prints("\n");
    let run = place.wait_run("endless", "runs", |run| run["status"] == "running");
    let id = run["id"].as_str().expect("an id");
    waiting.signal("INT");
    let waited = waiting.ended();
    assert!(
        waited.code == 130 && waited.stderr.contains("the run goes on"),
        "{waited:?}"
    );
    assert_eq!(waited.stdout, format!("{id}\n"));

    let following = place.start(&["logs", "-f", "endless"]);
    assert_eq!(following.prints("\n"), "begun\n");
    following.signal("INT");
    assert_eq!(following.ended().code, 130);

    assert_eq!(place.json(&["show", id])["status"], "running");
    assert_eq!(place.run(&["cancel", "endless"]).code, 0);
    place.wait_run("endless", "was cancelled", |run| run["status"] == "cancelled");
    let again = place.run(&["cancel", id]);
    assert!(again.code == 1 && again.stderr.contains("ended already"), "{again:?}");
    assert_eq!(place.run(&["trigger", "endless", "--param", "x=1"]).code, 64);
}

#[test]
fn a_run_in_the_foreground_is_followed_from_elsewhere() {
    let place = Place::new();
    place.save(
        "long.yaml",
        "tasks: {main: {command: 'echo begun; until [ -e go ]; do sleep 0.05; done; echo over'}}\n",
    );
    let running = place.start(&["trigger", "long", "--local", "--follow"]);
    running.prints("begun\n");
    let following = place.start(&["logs", "-f", "long"]);
    following.prints("begun\n");
    fs::write(place.path().join("go"), "").expect("a writable folder");
    for going in [following, running] {
        let done = going.ended();
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.starts_with("begun\nover\n"), "{done:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    for args in [&["schema"][..], &["schema", "--format", "json"], &["--help"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let done = place
            .petit(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("the binary starts");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!((done.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn settings_that_are_wrong_are_shown_with_their_place() {
    let place = Place::new();
    fs::write(place.path().join("petit.yaml"), "timezon: UTC\n").expect("a writable folder");
    let done = place.run(&["list"]);
    assert_eq!(done.code, 1, "{done:?}");
    for part in ["petit.yaml:1:1", "did you mean `timezone`?"] {
        assert!(done.stderr.contains(part), "{part}: {done:?}");
    }
    let done = place.run(&["list", "--format", "json"]);
    let error: Value = serde_json::from_str(&done.stderr).expect("one object");
    assert_eq!(error["code"], "invalid_settings");
}
