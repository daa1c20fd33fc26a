//! A daemon that runs out of descriptors starts its tasks later, says so, and goes on answering.

use std::process::Command;

use crate::support::{Place, wait_for};

#[test]
fn tasks_wait_for_descriptors_and_then_run() {
    let place = Place::new();
    std::fs::write(place.path().join("petit.yaml"), "max_concurrency: 100\n").expect("a writable folder");
    let daemon = place.daemon();
    let tasks: String = (0..40)
        .map(|task| format!("  t{task}: {{command: 'until [ -e go ]; do sleep 0.05; done'}}\n"))
        .collect();
    place.save("wide.yaml", &format!("tasks:\n{tasks}"));
    place.wait_synced("wide");
    let limit = |descriptors: usize| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args([
            format!("--pid={}", daemon.pid()),
            format!("--nofile={descriptors}:4096"),
        ]);
        let output = prlimit.output().expect("prlimit is part of every Linux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .expect("it lives")
        .count();
    // Enough for some tasks and for those who ask, and far too few for all.
    limit(open + 40);
    let run = place.json(&["trigger", "wide"])["run"]
        .as_str()
        .expect("an id")
        .to_owned();
    let said = wait_for("the daemon to say what is short", || {
        let done = place.run(&["status", "--format", "json"]);
        let conditions = (done.code == 0).then(|| done.json()["conditions"].to_string())?;
        conditions.contains("cannot be started for now").then_some(conditions)
    });
    assert!(said.contains("open files"), "{said}");
    // Those that run hold what the others wait for until this was seen, however slowly they started.
    std::fs::write(place.path().join("go"), "").expect("a writable folder");
    let status = wait_for("the run to end", || {
        let done = place.run(&["show", &run, "--format", "json"]);
        let shown = (done.code == 0).then(|| done.json())?;
        (!shown["ended_at"].is_null()).then(|| shown["status"].clone())
    });
    assert_eq!(status, "succeeded");
    assert_eq!(place.json(&["status"])["conditions"], serde_json::json!([]));
    assert_eq!(daemon.stop(), 0);
}
