//! What Petit says of edits, before they are made and after: plans with their consequences, waiting for a content,
//! stale approvals, revisions and the audit. The whole binary on a real folder.

mod support;

use std::{
    fs,
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use petit::core::id::SpecHash;
use serde_json::Value;
use support::{Place, wait_for};

fn job(rest: &str) -> String {
    format!("{rest}\ntasks: {{only: {{command: [\"true\"]}}}}\n")
}

fn texts<'a>(values: &'a Value, field: &str) -> Vec<&'a str> {
    let values = values.as_array().expect("a list").iter();
    values.filter_map(|value| value[field].as_str()).collect()
}

#[test]
fn a_plan_without_a_daemon_tells_fields_and_fires() {
    let place = Place::new();
    place.save("keep.yaml", &job("schedule: '0 0 1 1 *'"));
    place.save(
        "old.yaml",
        &job("schedule: {cron: '0 * * * *', timezone: Europe/Berlin}"),
    );
    place.save("edit.yaml", &job("schedule: '15 6 * * *'\npriority: 1"));
    let daemon = place.daemon();
    assert_eq!(place.run(&["sync", "--wait"]).code, 0);
    assert_eq!(daemon.stop(), 0);

    fs::remove_file(place.job_file("old.yaml")).expect("removed");
    place.save("edit.yaml", &job("schedule: '45 6 * * *'\npriority: 2"));
    place.save("new.yaml", &job("schedule: '30 9 * * *'"));
    let done = place.run(&["plan"]);
    assert_eq!(done.code, 2, "{done:?}");
    for said in [
        "1 to add, 1 to update, 1 to remove",
        "add new (new.yaml)",
        "1 fire gained in the next 24 h",
        "priority: 1 -> 2",
        "24 fires lost in the next 24 h",
        "(Europe/Berlin)",
    ] {
        // On the two days of a year on which clocks change, an hourly job has another number of fires.
        let clocks_change = said.starts_with("24") && done.stdout.contains("the clocks of");
        assert!(clocks_change || done.stdout.contains(said), "{said}: {done:?}");
    }
    assert!(!done.stdout.contains("keep"), "{done:?}");

    let plan = place.run(&["plan", "--format", "json"]).json();
    assert_eq!(texts(&plan["changes"], "job"), ["edit", "new", "old"]);
    assert_eq!(texts(&plan["changes"], "change"), ["update", "add", "remove"]);
    let edit = &plan["changes"][0];
    assert_eq!(
        edit["fields"][0],
        serde_json::json!({"field": "priority", "old": 1, "new": 2})
    );
    assert_eq!(
        (&edit["gained"]["count"], &edit["lost"]["count"]),
        (&1.into(), &1.into())
    );
    assert_ne!(plan["active_set_hash"], plan["resulting_set_hash"]);
    for hash in ["active_set_hash", "resulting_set_hash", "files_hash"] {
        assert_eq!(plan[hash].as_str().map(str::len), Some(64), "{hash}");
    }
    let again = place.run(&["plan", "--format", "json"]).json();
    assert_eq!(again["id"], plan["id"], "the same files and jobs make the same plan");

    // The daemon does what was foretold.
    let _daemon = place.daemon();
    let now = wait_for("the edit to be active", || {
        let status = place.json(&["status"]);
        (status["sync"]["active_set_hash"] == plan["resulting_set_hash"]).then_some(status)
    });
    assert_eq!(now["sync"]["conditions"], serde_json::json!([]));
}

#[test]
fn a_stale_approval_is_refused_with_what_has_changed() {
    let place = Place::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        place.save(&format!("{name}.yaml"), &job(""));
    }
    let _daemon = place.daemon();
    assert_eq!(place.run(&["sync", "--wait"]).code, 0);
    for name in ["a", "b", "c", "d", "e", "f"] {
        fs::remove_file(place.job_file(&format!("{name}.yaml"))).expect("removed");
    }
    let held = place.run(&["sync", "--wait"]);
    assert_eq!(held.code, 1, "{held:?}");
    assert!(held.stdout.contains("f.yaml held: "), "{held:?}");
    let plan = place.run(&["plan", "--format", "json"]);
    assert_eq!(plan.code, 1, "nothing changes, and something is refused: {plan:?}");
    let id = plan.json()["id"].as_str().expect("an id").to_owned();
    let status = place.run(&["status"]);
    assert!(status.stdout.contains("put the file back"), "{status:?}");

    place.save("new.yaml", &job(""));
    place.wait_synced("new");
    let stale = place.run(&["sync", "--wait", "--approve", &id]);
    assert_eq!(stale.code, 1, "{stale:?}");
    for said in [
        "not approved",
        "since that plan: the file new.yaml has come",
        "the job new is active now",
    ] {
        assert!(stale.stdout.contains(said), "{said}: {stale:?}");
    }
    assert!(place.job("f").is_some(), "nothing more was removed");

    let current = place.run(&["plan", "--format", "json"]).json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let approved = place.run(&["sync", "--wait", "--approve", &current]);
    assert_eq!(approved.code, 0, "{approved:?}");
    assert_eq!(texts(&place.json(&["list"]), "id"), ["new"]);
}

#[test]
fn a_sync_waits_for_exactly_what_was_there_while_others_go_on_writing() {
    let place = Place::new();
    let _daemon = place.daemon();
    let place = &place;
    thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel::<()>();
        let noise = scope.spawn({
            move || {
                let mut n = 0;
                while stopped.recv_timeout(Duration::from_millis(40)) == Err(RecvTimeoutError::Timeout) {
                    n += 1;
                    fs::write(place.job_file("noise.yaml"), job(&format!("priority: {}", n % 50))).expect("written");
                }
            }
        });
        for round in 1..=3 {
            let names: Vec<String> = (0..12).map(|n| format!("job-{n}.yaml")).collect();
            let text = |n: usize| job(&format!("priority: {round}\nname: \"{n} of {round}\""));
            for (n, name) in names.iter().enumerate() {
                place.save(name, &text(n));
            }
            let mut args: Vec<String> = ["sync", "--wait", "--timeout", "30s", "--format", "json"]
                .map(Into::into)
                .to_vec();
            args.extend(names.iter().map(|name| format!("jobs.d/{name}")));
            let sync = move |args: Vec<String>| place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
            // Several wait at a time.
            let others = [args.clone(), args.clone()].map(|args| scope.spawn(move || sync(args).code));
            let done = sync(args);
            assert_eq!(done.code, 0, "{done:?}");
            for other in others {
                assert_eq!(other.join().expect("no panic"), 0);
            }
            let outcome = done.json();
            let files = outcome["files"].as_array().expect("a list");
            assert_eq!(files.len(), 12, "{files:?}");
            let listed = place.json(&["list"]);
            for (n, name) in names.iter().enumerate() {
                let hash = SpecHash::of(text(n).as_bytes());
                let file = files
                    .iter()
                    .find(|file| file["file"] == **name)
                    .expect("it was waited for");
                assert_eq!(
                    (&file["file_hash"], &file["outcome"]),
                    (&hash.as_str().into(), &"synced".into())
                );
                let id = name.trim_end_matches(".yaml");
                let job = listed.as_array().expect("a list").iter().find(|job| job["id"] == id);
                let job = job.expect("it is listed");
                assert_eq!(
                    (&job["sync"], &job["name"]),
                    (&"synced".into(), &format!("{n} of {round}").into())
                );
                assert_eq!(job["generation"], round);
            }
        }
        drop(stop);
        noise.join().expect("no panic");
    });
    assert_eq!(place.run(&["sync", "--wait"]).code, 0, "quiet again");
}

#[test]
fn a_sync_that_waits_names_what_is_not_so_and_why() {
    let place = Place::new();
    place.save("good.yaml", &job(""));
    let _daemon = place.daemon();
    place.save("bad.yaml", "schedule: 3\ntasks: {t: {command: [x]}}\n");
    place.save("blocked.yaml", &job("depends_on: [{job: nowhere}]"));
    let done = place.run(&["sync", "--wait"]);
    assert_eq!(done.code, 1, "{done:?}");
    for said in ["bad.yaml:1:11 invalid: ", "blocked.yaml:1:", "depends on `nowhere`"] {
        assert!(done.stdout.contains(said), "{said}: {done:?}");
    }
    assert!(!done.stdout.contains("good.yaml"), "{done:?}");
    assert_eq!(
        place.run(&["sync", "--wait", "jobs.d/good.yaml"]).code,
        0,
        "alone it is well"
    );
    let typo = place.run(&["sync", "--wait", "god.yaml"]);
    assert!(
        typo.code == 1 && typo.stdout.contains("is not in the folder"),
        "{typo:?}"
    );
    assert_eq!(place.run(&["sync", "--wait", "/elsewhere.yaml"]).code, 64);

    // An empty file may be the beginning of a save until it has stood still for two seconds.
    let write = || fs::write(place.job_file("empty.yaml"), "").expect("written");
    write();
    let (stop, stopped) = mpsc::channel::<()>();
    let soon = thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(40)) == Err(RecvTimeoutError::Timeout) {
                write();
            }
        });
        // Held to the end of the command, also by a panic.
        let _stop = stop;
        place.run(&["sync", "--wait", "--timeout", "200ms", "--format", "json"])
    });
    assert_eq!(soon.code, 1, "{soon:?}");
    let outcome = soon.json();
    assert_eq!(outcome["timed_out"], true);
    let files = outcome["files"].as_array().expect("a list");
    let empty = files
        .iter()
        .find(|file| file["file"] == "empty.yaml")
        .expect("it was there");
    assert_eq!(empty["outcome"], "undecided");
}

fn git(place: &Place, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .current_dir(place.path())
        // What a hook of git's has in its environment leads elsewhere.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", place.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .expect("git is there");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn whoever_waits_is_told_which_run_goes_on_when_the_daemon_goes_away() {
    let place = Place::new();
    place.save(
        "long.yaml",
        "overlap: allow\ntasks: {only: {command: 'echo on; sleep 600'}}\n",
    );
    let daemon = place.daemon();
    place.wait_synced("long");
    let waits = [
        place.start(&["trigger", "long", "--wait"]),
        place.start(&["trigger", "long", "--follow"]),
    ];
    let runs = wait_for("both runs to go", || {
        let runs = place.runs("long");
        let going = runs.iter().filter(|run| run["status"] == "running");
        (going.count() == 2).then_some(runs)
    });
    let ids = texts(&Value::Array(runs.clone()), "id").join(" ");
    let followed = runs[0]["id"].as_str().expect("an id");
    let logs = place.start(&["logs", followed, "-f"]);
    // Each has been answered once it has printed the id, or what the run says.
    let [waited, follows] = &waits;
    waited.prints("\n");
    for following in [follows, &logs] {
        following.prints("on\n");
    }
    daemon.kill();
    // The last begins to follow when there is no daemon any more.
    let late = place.start(&["logs", followed, "-f"]);
    for (waiting, first) in waits.into_iter().chain([logs, late]).zip([true, false, false, false]) {
        let done = waiting.ended();
        assert_eq!(done.code, 3, "{done:?}");
        let id = done
            .stderr
            .split("before run ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let id = id.unwrap_or_else(|| panic!("no run: {done:?}"));
        assert!(
            ids.contains(id) && done.stderr.contains(&format!("petit show {id}")),
            "{done:?}"
        );
        assert_eq!(
            done.stdout.lines().next(),
            Some(if first { id } else { "on" }),
            "{done:?}"
        );
    }
    // The next daemon ends what the first left behind.
    let next = place.daemon();
    for run in &runs {
        let id = run["id"].as_str().expect("an id");
        wait_for("the run to end", || {
            (place.json(&["show", id])["status"] == "interrupted").then_some(())
        });
    }
    assert_eq!(next.stop(), 0);
}

#[test]
fn reconciles_and_runs_know_the_commit_and_whether_files_differ_from_it() {
    let place = Place::new();
    git(&place, &["init", "-q"]);
    place.save("a.yaml", &job("priority: 1"));
    git(&place, &["add", "jobs.d"]);
    git(&place, &["commit", "-qm", "one"]);
    let commit = git(&place, &["rev-parse", "HEAD"]);
    let daemon = place.daemon();
    place.wait_synced("a");
    let revision = |expected: &str| {
        wait_for(&format!("the revision {expected}"), || {
            (place.json(&["status"])["revision"] == expected).then_some(())
        });
    };
    revision(&commit);
    let run = |expected: &str| {
        let done = place.run(&["trigger", "a", "--wait", "--format", "json"]);
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(place.runs("a")[0]["revision"], expected);
    };
    run(&commit);

    // Outside of the folder nothing makes it dirty.
    fs::write(place.path().join("README"), "x").expect("written");
    place.save("a.yaml", &job("priority: 2"));
    assert_eq!(place.run(&["sync", "--wait"]).code, 0);
    let dirty = format!("{commit}-dirty");
    revision(&dirty);
    run(&dirty);
    let status = place.run(&["status"]);
    assert!(status.stdout.contains(&format!("revision {dirty}")), "{status:?}");

    // A commit changes no file, and is seen all the same.
    git(&place, &["commit", "-qam", "two"]);
    let second = git(&place, &["rev-parse", "HEAD"]);
    revision(&second);
    run(&second);
    place.save("b.yaml", &job(""));
    git(&place, &["add", "jobs.d"]);
    git(&place, &["commit", "-qm", "three"]);
    let third = git(&place, &["rev-parse", "HEAD"]);
    let last = wait_for("b to be recorded", || {
        let status = place.json(&["status"]);
        let last = status["sync"]["last_reconcile"].clone();
        (last["files"][0]["file"] == "b.yaml").then_some(last)
    });
    // On a machine that is busy git may not answer in time, and between the save and the commit it is the second.
    let known = last["revision"].as_str().unwrap_or(&third);
    assert!(
        known == third || known.starts_with(&second) || known.ends_with("-dirty"),
        "{last}"
    );
    assert!(!place.path().join(".git/index.lock").exists());
    assert_eq!(daemon.stop(), 0);
}

#[cfg(feature = "history")]
#[test]
fn the_history_tells_who_changed_what() {
    let place = Place::new();
    place.save("a.yaml", &job("priority: 1"));
    let daemon = place.daemon();
    place.wait_synced("a");
    place.save("a.yaml", &job("priority: 2"));
    place.save("bad.yaml", "tasks: 3\n");
    let done = place.run(&["sync", "--wait"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(daemon.stop(), 0);
    let rows = place.json(&["history", "changes"]);
    let rows = rows.as_array().expect("a list");
    assert!(rows.len() >= 2, "{rows:?}");
    let first = rows.last().expect("a row");
    assert_eq!(
        (&first["asked_by"], &first["result"], &first["added"]),
        (&"start".into(), &"applied".into(), &1.into())
    );
    let updated: i64 = rows.iter().filter_map(|row| row["updated"].as_i64()).sum();
    let refused: i64 = rows.iter().filter_map(|row| row["refused"].as_i64()).sum();
    assert_eq!((updated, refused), (1, 1), "{rows:?}");
    let about = place.json(&["history", "changes", "job=bad"]);
    assert_eq!(about.as_array().map(Vec::len), Some(1), "{about}");
    assert!(
        about[0]["actions"]
            .as_str()
            .is_some_and(|text| text.contains("invalid bad.yaml")),
        "{about}"
    );
    assert_eq!(place.json(&["history", "changes", "job=none"]), serde_json::json!([]));
    let csv = place.run(&["history", "changes", "--format", "csv"]);
    assert!(
        csv.stdout.starts_with("decided_at,asked_by,result,added,updated"),
        "{csv:?}"
    );
    let text = place.run(&["history", "changes"]);
    assert!(
        text.code == 0 && text.stdout.contains("update a (a.yaml): priority"),
        "{text:?}"
    );
}
