//! The whole path with the real binary: a file becomes active, fires, runs, is broken, mended, killed and comes back.

mod support;

use std::fs;

use support::{Place, wait_for};

const EVERY_SECOND: &str = r#"
id: tick
schedule: "* * * * * *"
tasks:
  make:
    command: echo "n=42" >> "$PETIT_OUTPUT"; echo made
  use:
    depends_on: [make]
    command: [echo, "got ${{ tasks.make.outputs.n }}"]
"#;

#[test]
fn a_dropped_file_fires_and_is_answered_for() {
    let place = Place::new();
    let _daemon = place.daemon();
    fs::write(place.job_file("tick.yaml"), EVERY_SECOND).expect("a writable folder");
    place.wait_synced("tick");
    let run = place.wait_run("tick", "succeeded", |run| run["status"] == "succeeded");
    assert_eq!(run["trigger"], "schedule");

    let id = run["id"].as_str().expect("an id");
    let whole = place.json(&["show", id]);
    let states: Vec<_> = whole["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .map(|task| &task["status"])
        .collect();
    assert_eq!(states, ["succeeded", "succeeded"]);
    assert_eq!(whole["tasks"][0]["outputs"]["n"], 42);
    assert_eq!(whole["tasks"][1]["attempts"][0]["exit_code"], 0);

    let logs = place.run(&["logs", id]);
    assert_eq!(logs.code, 0, "{logs:?}");
    assert!(
        logs.stdout.contains("made") && logs.stdout.contains("got 42"),
        "{logs:?}"
    );

    let slot = run["slot"].as_str().expect("a slot");
    let why = place.json(&["why", "tick", slot]);
    assert_eq!(why["slot"]["outcome"], "ran");
    assert_eq!(why["slot"]["run"], id);
    assert!(
        why["answer"].as_str().expect("a sentence").contains("succeeded"),
        "{why}"
    );
}

#[test]
fn a_broken_file_leaves_the_last_good_version_firing_also_after_a_restart() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("tick.yaml", EVERY_SECOND);
    let good = place.wait_synced("tick");
    place.save(
        "tick.yaml",
        "id: tick\nschedule: '* * * * * *'\ntasks:\n  make:\n    comand: [echo]\n",
    );
    let degraded = |daemon: &str| {
        let job = wait_for(&format!("tick to be degraded {daemon}"), || {
            place.job("tick").filter(|job| job["health"] == "degraded")
        });
        assert_eq!(job["spec_hash"], good["spec_hash"], "{job}");
        let status = place.run(&["status"]);
        assert!(status.stdout.contains("tick.yaml:5:5"), "{status:?}");
        let before = place
            .runs("tick")
            .first()
            .map(|run| run["id"].clone())
            .unwrap_or_default();
        place.wait_run("tick", "came after the file broke", |run| {
            run["id"].as_str() > before.as_str()
        });
    };
    degraded("at once");
    let checked = place.run(&["validate", "jobs.d/tick.yaml"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(
        checked.stdout.contains("comand: [echo]") && checked.stdout.contains("command"),
        "{checked:?}"
    );

    daemon.kill();
    let _daemon = place.daemon();
    degraded("after a restart");

    place.save("tick.yaml", &EVERY_SECOND.replace("made", "mended"));
    wait_for("tick to be mended", || {
        place
            .job("tick")
            .filter(|job| job["sync"] == "synced" && job["health"] == "ok")
    });
    assert_eq!(place.run(&["validate"]).code, 0);
}

/// Jobs whose task sleeps, with and without retries, and how a crash ends them.
#[test]
fn kill_dash_nine_interrupts_an_attempt_which_its_policy_retries_or_not() {
    let place = Place::new();
    let daemon = place.daemon();
    let marker = place.path().join("let-go");
    let sleeper = |retries: u32| {
        format!(
            "tasks:\n  wait:\n    env: {{MARKER: '{}'}}\n    retry: {{retries: {retries}, delay: 0s}}\n    \
             command: |\n      echo \"attempt $PETIT_ATTEMPT\"\n      \
             while [ ! -e \"$MARKER\" ]; do sleep 0.05; done\n",
            marker.display()
        )
    };
    place.save("retried.yaml", &sleeper(1));
    place.save("given-up.yaml", &sleeper(0));
    place.save("tick.yaml", EVERY_SECOND);
    for job in ["retried", "given-up", "tick"] {
        place.wait_synced(job);
    }
    place.wait_run("tick", "ran before the crash", |run| run["status"] == "succeeded");
    let trigger = |job| place.json(&["trigger", job])["run"].as_str().expect("an id").to_owned();
    let (retried, given_up) = (trigger("retried"), trigger("given-up"));
    for run in [&retried, &given_up] {
        wait_for("the attempt to say something", || {
            place.run(&["logs", run]).stdout.contains("attempt 1").then_some(())
        });
    }
    daemon.kill();

    let _daemon = place.daemon();
    let ended = place.wait_run("given-up", "ended", |run| run["ended_at"].is_string());
    assert_eq!(
        (ended["id"].as_str(), &ended["status"]),
        (Some(given_up.as_str()), &"interrupted".into())
    );
    let whole = place.json(&["show", &given_up]);
    assert_eq!(whole["tasks"][0]["attempts"][0]["ending"], "interrupted", "{whole}");

    wait_for("the second attempt", || {
        place
            .run(&["logs", &retried])
            .stdout
            .contains("attempt 2")
            .then_some(())
    });
    // A shell that forks is two until the `exec`.
    wait_for("only the second attempt's process to be left", || {
        (sleeping_shells(&marker) == 1).then_some(())
    });
    fs::write(&marker, "").expect("a writable folder");
    let ended = place.wait_run("retried", "ended", |run| run["ended_at"].is_string());
    assert_eq!(
        (ended["id"].as_str(), &ended["status"]),
        (Some(retried.as_str()), &"succeeded".into())
    );
    wait_for("every process to end", || (sleeping_shells(&marker) == 0).then_some(()));

    // The job that fires every second has an answer for each of its slots, those of the downtime included.
    place.wait_run("tick", "ran after the crash", |run| run["status"] == "succeeded");
    let runs = place.runs("tick");
    let slots: Vec<&str> = runs.iter().filter_map(|run| run["slot"].as_str()).collect();
    let (newest, oldest) = (slots[0], slots[slots.len() - 1]);
    let parse = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339");
    let mut at = parse(oldest);
    while at <= parse(newest) {
        let why = place.json(&["why", "tick", &at.to_rfc3339()]);
        let answer = why["answer"].as_str().expect("a sentence");
        assert!(!answer.contains("has no row"), "{answer}");
        at += chrono::TimeDelta::seconds(1);
    }
}

/// How many shells carry the marker in their environment.
fn sleeping_shells(marker: &std::path::Path) -> usize {
    let marker = format!("MARKER={}", marker.display());
    let shells = fs::read_dir("/proc").expect("Linux").flatten().filter(|entry| {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        command.starts_with(b"/bin/sh") && environ.split(|&byte| byte == 0).any(|var| var == marker.as_bytes())
    });
    shells.count()
}
