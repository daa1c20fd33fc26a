//! A disk that fills while runs are made, on a small file system of its own: what was acknowledged is kept, the daemon lives
//! and says what is wrong, and goes on when there is space again.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::support::{Place, Small, wait_for};

const BEFORE: usize = 30;
const MEANWHILE: usize = 40;
const AFTER: usize = 30;

#[test]
fn what_was_acknowledged_outlives_a_full_disk() {
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
    let daemon = place.daemon();
    place.save(
        "one.yaml",
        "overlap: allow\ntasks: {a: {command: [sleep, '0.1']}, b: {command: [echo, b], depends_on: [a]}}\n",
    );
    place.save(
        "tick.yaml",
        "schedule: '* * * * * *'\noverlap: allow\ntasks: {a: {command: [echo, tick]}}\n",
    );
    place.wait_synced("one");
    place.wait_synced("tick");

    let trigger = || {
        let mut command = place.petit(&["trigger", "one", "--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("the binary starts")
    };
    let some = |count: usize| (0..count).map(|_| trigger()).collect::<Vec<_>>();
    let mut acknowledged = BTreeSet::new();
    let mut ask = |asked: Vec<Child>| {
        for child in asked {
            let output = child.wait_with_output().expect("a child of ours");
            if output.status.success() {
                let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                acknowledged.insert(said["run"].as_str().expect("an id").to_owned());
            }
        }
        acknowledged.len()
    };
    assert_eq!(ask(some(BEFORE)), BEFORE);
    let under_way = some(MEANWHILE / 2);
    let filler = small.fill();
    let stuck = some(MEANWHILE / 2);
    let conditions = wait_for("the daemon to say what is wrong", || {
        let conditions = place.json(&["status"])["conditions"].to_string();
        conditions.contains("full").then_some(conditions)
    });
    assert!(conditions.contains("journal"), "{conditions}");
    let pid = place.json(&["status"])["daemon"]["pid"].clone();
    assert_eq!(pid, daemon.pid(), "it lives");

    fs::remove_file(filler).expect("removable");
    ask(under_way);
    ask(stuck);
    let before_the_rest = ask(Vec::new());
    assert_eq!(ask(some(AFTER)), before_the_rest + AFTER, "work goes on");
    let runs = || place.json(&["runs", "one", "-n", "1000"]);
    let all = |listed: &Value| listed.as_array().expect("a listing").clone();
    wait_for("every run of the job to end", || {
        let listed = all(&runs());
        listed.iter().all(|run| !run["ended_at"].is_null()).then_some(())
    });
    wait_for("the condition to pass", || {
        let conditions = place.json(&["status"])["conditions"].to_string();
        (!conditions.contains("full")).then_some(())
    });
    let listed = runs();
    let succeeded: BTreeSet<String> = all(&listed)
        .iter()
        .filter(|run| run["status"] == "succeeded")
        .map(|run| run["id"].as_str().expect("an id").to_owned())
        .collect();
    let lost: Vec<&String> = acknowledged.difference(&succeeded).collect();
    assert!(lost.is_empty(), "{lost:?}\n{listed:#}");
    println!("{} of {} acknowledged", acknowledged.len(), BEFORE + MEANWHILE + AFTER);
    assert_eq!(daemon.stop(), 0);
}
