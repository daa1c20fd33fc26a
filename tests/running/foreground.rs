//! `petit trigger --local`: the daemon's engine and journal, and no daemon.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{Place, wait_for};

const JOB: &str = r#"
params: {who: {default: nobody}, times: {type: integer, default: 1}}
tasks:
  greet:
    env: {WHO: "${{ params.who }}"}
    command: 'echo "hello $WHO"; echo "name=$WHO" >> "$PETIT_OUTPUT"'
  answer:
    depends_on: [greet]
    command: [echo, "goodbye ${{ tasks.greet.outputs.name }}"]
"#;

/// A run in the foreground. Neither it nor its task outlives a test that fails.
struct Foreground {
    petit: Child,
    /// The task's process, which leads a group, once it is on.
    task: Option<String>,
}

impl Foreground {
    fn task(&self) -> &str {
        self.task.as_deref().expect("it is on")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("/bin/kill")
            .args(["-s", name, &self.petit.id().to_string()])
            .status();
        assert!(status.expect("kill is everywhere").success());
    }

    /// Waits for its exit code.
    fn ended(&mut self) -> Option<i32> {
        let status = wait_for("the end", || self.petit.try_wait().expect("a child of ours"));
        status.code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.petit.kill();
        let _ = self.petit.wait();
        if let Some(task) = self.task.as_ref().filter(|_| std::thread::panicking()) {
            let group = format!("-{task}");
            let _ = Command::new("/bin/kill").args(["-s", "KILL", "--", &group]).status();
        }
    }
}

/// Starts a run that sleeps, and waits until its task is on.
fn sleeping(place: &Place, first: &str) -> Foreground {
    let script = format!("{first}; echo $$ > pid.new; mv pid.new pid; sleep 600");
    let job = format!("tasks: {{sleep: {{kill_grace: 10m, command: \"{script}\"}}}}\n");
    place.save("sleeps.yaml", &job);
    let petit = place
        .petit(&["trigger", "sleeps", "--local"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut foreground = Foreground { petit, task: None };
    let pid = wait_for("the task to be on", || {
        fs::read_to_string(place.path().join("pid")).ok()
    });
    foreground.task = Some(pid.trim().to_owned());
    foreground
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !state.is_empty() && !state.starts_with('Z')
}

#[test]
fn a_run_in_the_foreground_is_like_any_other() {
    let place = Place::new();
    place.save("greets.yaml", JOB);
    let done = place.run(&["trigger", "greets", "--local", "--param", "who=world", "--follow"]);
    assert_eq!(done.code, 0, "{done:?}");
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        ["greet  | hello world", "answer | goodbye world"],
        "{done:?}"
    );
    assert!(lines[2].contains("succeeded after"), "{done:?}");
    let runs = place.runs("greets");
    assert_eq!((runs.len(), &runs[0]["trigger"]), (1, &Value::from("manual")));
    assert_eq!(runs[0]["params"]["who"], "world");
    let quiet = place.run(&["trigger", "greets", "--local", "--wait", "--format", "json"]);
    assert_eq!(
        (quiet.code, &quiet.json()["status"]),
        (0, &Value::from("succeeded")),
        "{quiet:?}"
    );
    if cfg!(feature = "history") {
        let counted = place.json(&["sql", "SELECT count(*) AS runs FROM runs"]);
        assert!(counted.to_string().contains('2'), "{counted}");
    }
    // A daemon finds the runs, and a job that was never active before.
    let daemon = place.daemon();
    place.wait_synced("greets");
    assert_eq!(place.runs("greets").len(), 2);
    let refused = place.run(&["trigger", "greets", "--local"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let held = format!("another Petit (pid {}) already runs on", daemon.pid());
    assert!(
        refused.stderr.contains(&held) && refused.stderr.contains("leave `--local` away"),
        "{refused:?}"
    );
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_cannot_be_run_is_refused_in_words() {
    let place = Place::new();
    place.save("greets.yaml", JOB);
    place.save("fails.yaml", "tasks: {a: {command: exit 3}}\n");
    place.save("broken.yaml", "tasks: {a: {comand: x}}\n");
    for (args, code, words) in [
        (&["fails"][..], 1, "failed after"),
        (&["greats"], 1, "greets"),
        (&["broken"], 1, "broken"),
        (&["greets", "--param", "times=many"], 64, "times"),
    ] {
        let done = place.run(&[&["trigger", "--local"], args].concat());
        assert_eq!(done.code, code, "{done:?}");
        assert!(done.stdout.contains(words) || done.stderr.contains(words), "{done:?}");
    }
    // What was never valid has left nothing behind.
    assert_eq!(place.runs("greets").len(), 0);
}

#[test]
fn ctrl_c_ends_the_run_and_a_second_one_does_not_wait() {
    let place = Place::new();
    let mut run = sleeping(&place, "true");
    run.signal("INT");
    assert_eq!(run.ended(), Some(130));
    assert!(!is_alive(run.task()));
    assert_eq!(place.runs("sleeps")[0]["status"], "cancelled");
    fs::remove_file(place.path().join("pid")).expect("written by the task");
    let mut run = sleeping(&place, "trap '' TERM");
    run.signal("INT");
    run.signal("TERM");
    assert_eq!(run.ended(), Some(130));
    assert!(!is_alive(run.task()));
}

#[test]
fn a_crash_in_the_foreground_is_recovered_by_the_next_daemon() {
    let place = Place::new();
    let mut foreground = sleeping(&place, "true");
    let run = place.runs("sleeps")[0]["id"].as_str().expect("an id").to_owned();
    foreground.petit.kill().expect("a child of ours");
    foreground.petit.wait().expect("a child of ours");
    let again = place.run(&["trigger", "sleeps", "--local"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(
        again.stderr.contains(&run) && again.stderr.contains("`petit run` goes on with it"),
        "{again:?}"
    );
    let daemon = place.daemon();
    place.wait_run("sleeps", "is over", |run| {
        run["status"] == "failed" || run["status"] == "interrupted"
    });
    assert!(!is_alive(foreground.task()), "nothing of it is left");
    assert_eq!(daemon.stop(), 0);
}
