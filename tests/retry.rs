//! A run that failed, its file mended, and the run that repeats it; also when Petit dies in the middle.

mod support;

use serde_json::{Value, json};
use support::{Place, wait_for};

/// `extract` counts how often it ran and publishes that; `load` is what the test makes of it.
fn pipeline(load: &str) -> String {
    format!(
        "params: {{day: {{default: today}}}}
tasks:
  extract:
    command: |
      echo x >> extracted
      echo rows=$(wc -l < extracted) >> $PETIT_OUTPUT
  load:
    depends_on: [extract]
    retry: {{retries: 3, delay: 0s, when: transient}}
    env: {{ROWS: '${{{{ tasks.extract.outputs.rows }}}}', CODE: '${{{{ tasks.extract.exit_code }}}}', DAY: '${{{{ params.day }}}}'}}
    command: |
      {load}
  report:
    depends_on: [load]
    command: [echo, reported]
"
    )
}

const BROKEN: &str = "exit 1";
const MENDED: &str = "echo rows=$ROWS code=$CODE day=$DAY at=$PETIT_SCHEDULED_AT";

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}"))
}

/// Lets the pipeline fail, with a day of its own; the run as it ended.
fn failed(place: &Place) -> Value {
    place.save("pipeline.yaml", &pipeline(BROKEN));
    place.wait_synced("pipeline");
    let done = place.run(&[
        "trigger",
        "pipeline",
        "--param",
        "day=monday",
        "--wait",
        "--format",
        "json",
    ]);
    assert_eq!(done.code, 1, "{done:?}");
    done.json()
}

/// Saves another version, and waits until it is active.
fn mend(place: &Place, load: &str) {
    let before = place.job("pipeline").expect("it is known")["spec_hash"].clone();
    place.save("pipeline.yaml", &pipeline(load));
    wait_for("the mended file to be active", || {
        place.job("pipeline").filter(|job| job["spec_hash"] != before)
    });
}

fn states(run: &Value) -> Vec<(&str, &str, usize)> {
    let tasks = run["tasks"].as_array().expect("tasks").iter();
    tasks
        .map(|task| {
            let attempts = task["attempts"].as_array().expect("attempts").len();
            (text(task, "id"), text(task, "status"), attempts)
        })
        .collect()
}

#[test]
fn what_failed_runs_again_on_what_was_done() {
    let place = Place::new();
    let _daemon = place.daemon();
    let old = failed(&place);
    let id = text(&old, "id");
    mend(&place, MENDED);

    let trial = place.json(&["retry", id, "--failed", "--dry-run"]);
    assert_eq!(
        trial,
        json!({
            "run": null, "retry_of": id, "job": "pipeline",
            "again": [{"task": "load", "why": "ended failed"}, {"task": "report", "why": "ended upstream_failed"}],
            "reused": [{"task": "extract", "reused_from": id}],
        })
    );
    assert_eq!(place.runs("pipeline").len(), 1, "a trial makes no run");

    let new = place.json(&["retry", id, "--failed", "--wait"]);
    assert_eq!(
        (&new["status"], &new["trigger"], &new["retry_of"], &new["params"]),
        (
            &json!("succeeded"),
            &json!("retry"),
            &json!(id),
            &json!({"day": "monday"})
        ),
    );
    assert_eq!(
        states(&new),
        [
            ("extract", "succeeded", 0),
            ("load", "succeeded", 1),
            ("report", "succeeded", 1)
        ]
    );
    assert_eq!(
        (&new["tasks"][0]["reused_from"], &new["tasks"][0]["outputs"]["rows"]),
        (&json!(id), &json!(1))
    );
    assert_ne!(new["spec_hash"], old["spec_hash"], "today's version");
    let said = place.run(&["logs", text(&new, "id"), "load"]).stdout;
    assert!(said.contains("rows=1 code=0 day=monday at="), "{said}");
    let elsewhere = place.run(&["logs", text(&new, "id"), "extract"]).stderr;
    assert!(elsewhere.contains(&format!("petit logs {id} extract")), "{elsewhere}");

    let shown = place.run(&["show", text(&new, "id")]).stdout;
    assert!(
        shown.contains(&format!("retry of   {id}")) && shown.contains(&format!("reused from {id}")),
        "{shown}"
    );
    let shown = place.run(&["show", id]).stdout;
    assert!(shown.contains(&format!("retried as {}", text(&new, "id"))), "{shown}");
    assert_eq!(
        states(&place.json(&["show", id])),
        states(&old),
        "the old attempts stay as evidence"
    );

    // A retry of the retry reuses what the first run did, and says so.
    let third = place.json(&["retry", text(&new, "id"), "--from", "report", "--wait"]);
    assert_eq!(third["tasks"][0]["reused_from"], id);
    assert_eq!(third["tasks"][1]["reused_from"], new["id"]);
    assert_eq!(third["tasks"][1]["attempts"], json!([]));

    let whole = place.json(&["retry", id, "--wait"]);
    assert_eq!(
        whole["tasks"][0]["outputs"]["rows"], 2,
        "without a choice everything runs again"
    );
}

#[test]
fn what_cannot_be_retried_is_refused_with_the_documented_code() {
    let place = Place::new();
    let _daemon = place.daemon();
    let old = failed(&place);
    let id = text(&old, "id");
    let refused = |args: &[&str], code: &str, part: &str| {
        let done = place.run(&[args, &["--format", "json"]].concat());
        assert_eq!(done.code, 1, "{done:?}");
        let error: Value = serde_json::from_str(&done.stderr).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        assert_eq!(error["code"], code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(&["retry", "01K00000000000000000000001"], "not_found", "petit runs");
    refused(&["retry", id, "--from", "lod"], "not_found", "did you mean `load`?");

    mend(&place, "while [ ! -e go ]; do sleep 0.05; done");
    let going = place.json(&["retry", id, "--failed"]);
    refused(&["retry", text(&going, "run")], "conflict", "still going");
    refused(&["retry", id], "conflict", text(&going, "run"));
    std::fs::write(place.path().join("go"), "").expect("a writable folder");
    place.wait_run("pipeline", "succeeded", |run| run["status"] == "succeeded");
    refused(
        &["retry", text(&going, "run"), "--failed"],
        "conflict",
        "without --failed",
    );

    // Paused, it works by hand and says so.
    place.json(&["pause", "pipeline"]);
    let done = place.run(&["retry", id, "--failed", "--wait"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stderr.contains("paused") && done.stderr.contains("reused: extract"),
        "{done:?}"
    );

    std::fs::remove_file(place.job_file("pipeline.yaml")).expect("removable");
    wait_for("the job to be gone", || place.job("pipeline").is_none().then_some(()));
    refused(&["retry", id], "conflict", "active any more");
}

#[test]
fn a_retry_goes_on_after_a_crash_in_its_middle() {
    let place = Place::new();
    let daemon = place.daemon();
    let old = failed(&place);
    let id = text(&old, "id");
    mend(
        &place,
        "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo rows=$ROWS",
    );
    let made = place.json(&["retry", id, "--failed"]);
    wait_for("the second task to run", || {
        place.path().join("begun").exists().then_some(())
    });
    daemon.kill();
    std::fs::write(place.path().join("go"), "").expect("a writable folder");
    let _daemon = place.daemon();
    let new = wait_for("the retry to end", || {
        let run = place.json(&["show", text(&made, "run")]);
        (!run["ended_at"].is_null()).then_some(run)
    });
    assert_eq!(new["status"], "succeeded", "{new}");
    assert_eq!(
        states(&new),
        [
            ("extract", "succeeded", 0),
            ("load", "succeeded", 2),
            ("report", "succeeded", 1)
        ]
    );
    assert_eq!(new["tasks"][0]["reused_from"], id);
    let said = place.run(&["logs", text(&new, "id"), "load"]).stdout;
    assert!(said.contains("rows=1"), "{said}");
}
