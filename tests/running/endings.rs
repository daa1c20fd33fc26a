//! A tree that does all it can to stay is gone soon after its grace, however its end came about.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::support::{Place, wait_for};

const GRACE: Duration = Duration::from_millis(700);
/// How much later than its grace a tree may be gone. A second is meant, and what it took is printed; a machine that is busy
/// with other things may take longer, but not as long as any other wait of Petit's would.
const LATE: Duration = Duration::from_secs(60);

/// Forks twice, into a session of its own whose output is closed, and ignores SIGTERM everywhere. The first text is further
/// keys of the job, the second of its task.
fn job(further: &str, of_task: &str) -> String {
    format!(
        r#"{further}
tasks:
  stubborn:
    kill_grace: {}ms
    {of_task}
    command: |
      trap '' TERM HUP INT
      (setsid sh -c 'trap "" TERM HUP INT; (sleep 600; true) & (sleep 601; true) & wait' > /dev/null 2>&1 &)
      sleep 602 &
      echo up
      while :; do sleep 603; done
"#,
        GRACE.as_millis(),
    )
}

/// The command lines of the living processes that belong to a run.
fn processes(run: &Run) -> Vec<String> {
    members(&run.0).into_iter().map(|(_, command)| command).collect()
}

/// The numbers of the living processes that belong to a run, and their command lines.
fn members(run: &str) -> Vec<(String, String)> {
    let mark = format!("PETIT_RUN_ID={run}");
    let entries = fs::read_dir("/proc").expect("a kernel with /proc").flatten();
    entries
        .filter_map(|entry| {
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let is_its = environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes());
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let number = entry.file_name().to_string_lossy().into_owned();
            is_its.then(|| (number, String::from_utf8_lossy(&command).replace('\0', " ")))
        })
        .collect()
}

/// A run. Its tree ignores the end of its test, so that a test that fails ends it here.
struct Run(String);

impl Drop for Run {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (process, _) in members(&self.0) {
            let _ = Command::new("/bin/kill").args(["-s", "KILL", &process]).status();
        }
    }
}

fn trigger(place: &Place, id: &str) -> Run {
    let reply = place.json(&["trigger", id]);
    Run(reply["run"].as_str().expect("an id").to_owned())
}

/// Starts a run and waits until its whole tree is there.
fn start(place: &Place, id: &str) -> Run {
    let run = trigger(place, id);
    wait_for("the whole tree to be there", || is_up(&run).then_some(()));
    run
}

fn is_up(run: &Run) -> bool {
    let tree = processes(run);
    let all = ["sleep 600", "sleep 601", "sleep 602", "sleep 603"];
    all.iter()
        .all(|part| tree.iter().any(|command| command.starts_with(part)))
}

fn attempt(place: &Place, run: &Run) -> Value {
    place.json(&["show", &run.0])["tasks"][0]["attempts"][0].clone()
}

fn instant(value: &Value) -> DateTime<Utc> {
    value.as_str().expect("an instant").parse().expect("RFC 3339")
}

/// The attempt ended under this name, soon after its grace, and nothing is left.
fn gone(place: &Place, run: &Run, ending: &str, stopped_at: DateTime<Utc>) {
    let attempt = wait_for("the attempt to end", || {
        Some(attempt(place, run)).filter(|attempt| attempt["ending"].is_string())
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
    // Soon enough on a machine with time to start the tree before, and else long enough.
    let stood = [900, 3_000, 10_000, 30_000].into_iter().any(|millis| {
        let id = format!("timed-{millis}");
        place.save(&format!("{id}.yaml"), &job("", &format!("timeout: {millis}ms")));
        place.wait_synced(&id);
        let run = trigger(&place, &id);
        let stood = wait_for("the whole tree to be there, or the timeout", || {
            let is_over = || attempt(&place, &run)["ending"].is_string();
            is_up(&run).then_some(true).or_else(|| is_over().then_some(false))
        });
        if stood {
            let begun = instant(&attempt(&place, &run)["started_at"]);
            gone(&place, &run, "timed_out", begun + Duration::from_millis(millis));
        }
        stood
    });
    assert!(stood, "the tree was never there before its timeout");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn on_cancel() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("cancelled.yaml", &job("", ""));
    place.wait_synced("cancelled");
    let run = start(&place, "cancelled");
    let asked_at = Utc::now();
    assert_eq!(place.run(&["cancel", &run.0]).code, 0);
    gone(&place, &run, "cancelled", asked_at);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn on_replace() {
    let place = Place::new();
    let daemon = place.daemon();
    place.save("replaced.yaml", &job("overlap: replace", ""));
    place.wait_synced("replaced");
    let old = start(&place, "replaced");
    let asked_at = Utc::now();
    let new = trigger(&place, "replaced");
    gone(&place, &old, "cancelled", asked_at);
    wait_for("the newcomer's tree to be there", || is_up(&new).then_some(()));
    assert_eq!(place.run(&["cancel", &new.0]).code, 0);
    wait_for("the newcomer to be gone", || processes(&new).is_empty().then_some(()));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn on_shutdown() {
    let place = Place::new();
    fs::write(place.path().join("petit.yaml"), "shutdown_grace: 0s\n").expect("a writable folder");
    let daemon = place.daemon();
    place.save("stopped.yaml", &job("", ""));
    place.wait_synced("stopped");
    let run = start(&place, "stopped");
    let (asked_at, begun) = (Utc::now(), Instant::now());
    assert_eq!(daemon.stop(), 0);
    assert!(begun.elapsed() >= GRACE, "{:?}", begun.elapsed());
    gone(&place, &run, "interrupted", asked_at);
}
