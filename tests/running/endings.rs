//! A tree that does all it can to stay is gone soon after its grace, however its end came about.

use std::{
    fs,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::{Place, wait_for};

const GRACE: Duration = Duration::from_millis(700);
/// How much later than its grace a tree may be gone. A second is meant, and what it took is printed; a machine that is busy
/// with other things may take longer, but not as long as any other wait of Petit's would.
const LATE: Duration = Duration::from_secs(8);

/// Forks twice, into a session of its own whose output is closed, and ignores SIGTERM everywhere.
fn job(further: &str) -> String {
    format!(
        r#"{further}
tasks:
  stubborn:
    kill_grace: {}ms
    {}
    command: |
      trap '' TERM HUP INT
      (setsid sh -c 'trap "" TERM HUP INT; (sleep 600; true) & (sleep 601; true) & wait' > /dev/null 2>&1 &)
      sleep 602 &
      echo up
      while :; do sleep 603; done
"#,
        GRACE.as_millis(),
        if further.contains("timed") {
            "timeout: 900ms"
        } else {
            ""
        },
    )
}

/// The command lines of the living processes that belong to a run.
fn processes(run: &str) -> Vec<String> {
    let mark = format!("PETIT_RUN_ID={run}");
    let entries = fs::read_dir("/proc").expect("a kernel with /proc").flatten();
    entries
        .filter_map(|entry| {
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let is_its = environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes());
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            is_its.then(|| String::from_utf8_lossy(&command).replace('\0', " "))
        })
        .collect()
}

/// Starts a run and waits until its whole tree is there.
fn start(place: &Place, id: &str) -> String {
    let reply = place.json(&["trigger", id]);
    let run = reply["run"].as_str().expect("an id").to_owned();
    up(&run);
    run
}

fn up(run: &str) {
    wait_for("the whole tree to be there", || {
        let tree = processes(run);
        let all = ["sleep 600", "sleep 601", "sleep 602", "sleep 603"];
        all.iter()
            .all(|part| tree.iter().any(|command| command.starts_with(part)))
            .then_some(())
    });
}

fn instant(value: &Value) -> DateTime<Utc> {
    value.as_str().expect("an instant").parse().expect("RFC 3339")
}

/// The attempt ended under this name, soon after its grace, and nothing is left.
fn gone(place: &Place, run: &str, ending: &str, stopped_at: DateTime<Utc>) {
    let attempt = wait_for("the attempt to end", || {
        let view = place.json(&["show", run]);
        let attempt = view["tasks"][0]["attempts"][0].clone();
        attempt["ending"].is_string().then_some(attempt)
    });
    assert_eq!(processes(run), [""; 0]);
    assert_eq!(attempt["ending"], ending, "{attempt}");
    let took = (instant(&attempt["ended_at"]) - stopped_at)
        .to_std()
        .expect("it ended after it was stopped");
    assert!(took >= GRACE, "the grace was given: {took:?}");
    println!("{ending}: gone {:?} after its grace", took - GRACE);
    assert!(took <= GRACE + LATE, "{took:?}");
}

#[test]
fn on_timeout() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("timed.yaml", &job("tags: [timed]"));
    place.wait_synced("timed");
    let run = start(&place, "timed");
    let attempt = place.json(&["show", &run])["tasks"][0]["attempts"][0].clone();
    let timeout = instant(&attempt["started_at"]) + Duration::from_millis(900);
    gone(&place, &run, "timed_out", timeout);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn on_cancel() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("cancelled.yaml", &job(""));
    place.wait_synced("cancelled");
    let run = start(&place, "cancelled");
    let asked_at = Utc::now();
    assert_eq!(place.run(&["cancel", &run]).code, 0);
    gone(&place, &run, "cancelled", asked_at);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn on_replace() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("replaced.yaml", &job("overlap: replace"));
    place.wait_synced("replaced");
    let old = start(&place, "replaced");
    let asked_at = Utc::now();
    let new = place.json(&["trigger", "replaced"])["run"]
        .as_str()
        .expect("an id")
        .to_owned();
    gone(&place, &old, "cancelled", asked_at);
    up(&new);
    assert_eq!(place.run(&["cancel", &new]).code, 0);
    wait_for("the newcomer to be gone", || processes(&new).is_empty().then_some(()));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn on_shutdown() {
    let place = Place::new();
    fs::write(place.path().join("petit.yaml"), "shutdown_grace: 0s\n").expect("a writable folder");
    let daemon = place.daemon();
    place.save("stopped.yaml", &job(""));
    place.wait_synced("stopped");
    let run = start(&place, "stopped");
    let (asked_at, begun) = (Utc::now(), Instant::now());
    assert_eq!(daemon.stop(), 0);
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    gone(&place, &run, "interrupted", asked_at);
}
