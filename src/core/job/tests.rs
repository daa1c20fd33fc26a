//! Mistakes and the pointers at which they are reported; what their messages look like in a file is tested in `config`.

use super::*;
use crate::core::spec::JobSpec;

fn job(yaml: &str) -> Result<Job, Vec<(String, &'static str)>> {
    in_zone(yaml, Tz::UTC)
}

fn in_zone(yaml: &str, zone: Tz) -> Result<Job, Vec<(String, &'static str)>> {
    let value: serde_json::Value = serde_yaml::from_str(yaml).expect("the test's own YAML");
    let spec: JobSpec = serde_json::from_value(value).expect("the test's own spec");
    Job::new(spec, &JobId::new("j").expect("a slug"), zone)
        .map_err(|found| found.into_iter().map(|v| (v.pointer, v.code)).collect())
}

#[test]
fn every_mistake_is_said_at_once_with_its_place() {
    let yaml = r#"
schedule: {cron: ["@daily", "61 * * * *"], timezone: Mars/Base}
timeout: 0s
depends_on: [{job: j}, {job: a, condition: within_window}]
params:
  n: {type: integer, default: "x"}
  p: {pattern: "("}
  d: {default: "${{ run.attempt }}"}
env: {PETIT_X: "", "A-B": "", X: "${{ env.Y }}"}
secrets: {S: {env: S}}
tasks:
  a: {command: ["${{ params.q }}", "${{ tasks.b.status }}"], depends_on: [z]}
  b: {command: "echo ${{ params.n }}"}
"#;
    assert_eq!(
        job(yaml).expect_err("many mistakes"),
        [
            ("/schedule/timezone", "unknown-timezone"),
            ("/schedule/cron/1", "cron"),
            ("/tasks/a/depends_on/0", "unknown-task"),
            ("/depends_on/0/job", "job-cycle"),
            ("/depends_on/1/condition", "missing-window"),
            ("/params/n/default", "param-default"),
            ("/params/p/pattern", "bad-pattern"),
            ("/env/A-B", "env-name"),
            ("/env/PETIT_X", "reserved-env"),
            ("/timeout", "zero-timeout"),
            ("/params/d/default", "name-out-of-place"),
            ("/env/X", "name-out-of-place"),
            ("/tasks/a/command/0", "unknown-param"),
            ("/tasks/b/command", "expression-in-shell"),
        ]
        .map(|(pointer, code)| (pointer.to_owned(), code))
    );
}

#[test]
fn a_task_sees_only_what_comes_before_it() {
    let yaml = |name: &str, upstream: &str| {
        format!(
            "tasks:\n  a: {{command: [x]}}\n  b-c: {{command: [x], depends_on: [a]}}\n  \
             d: {{command: ['${{{{ {name} }}}}'], depends_on: [{upstream}]}}"
        )
    };
    for (name, upstream, expected) in [
        ("tasks.a.outputs.k", "b-c", None),
        ("tasks.b-c.exit_code", "b-c", None),
        ("tasks.b-c.status", "a", Some("not-upstream")),
        ("tasks.d.status", "a", Some("not-upstream")),
        ("tasks.e.status", "a", Some("unknown-task")),
        ("tasks.a.nope", "a", Some("unknown-name")),
        ("task.a.status", "a", Some("unknown-name")),
        ("config.x", "a", Some("unknown-config")),
        ("env.HOME", "a", Some("unknown-env")),
        ("run.attempt", "a", None),
    ] {
        let codes = job(&yaml(name, upstream))
            .map(|_| None)
            .unwrap_or_else(|found| Some(found[0].1));
        assert_eq!(codes, expected, "{name}");
    }
}

#[test]
fn the_zone_is_part_of_the_spec_unless_it_is_utc() {
    let plain = "schedule: '@daily'\ntasks: {a: {command: [x]}}";
    let named = |zone: &str| format!("schedule: {{cron: '@daily', timezone: {zone}}}\ntasks: {{a: {{command: [x]}}}}");
    let utc = job(plain).expect("valid");
    let berlin = in_zone(plain, Tz::Europe__Berlin).expect("valid");
    assert_eq!(utc.hash, job(&named("UTC")).expect("valid").hash);
    assert_eq!(berlin.hash, job(&named("Europe/Berlin")).expect("valid").hash);
    assert_ne!(utc.hash, berlin.hash);
    assert_eq!(
        in_zone(&named("UTC"), Tz::Europe__Berlin).expect("valid").hash,
        utc.hash
    );
    for job in [utc, berlin] {
        let back = Job::from_canonical(&job.spec.canonical()).expect("its own canonical text");
        assert_eq!(back, job);
    }
}

#[test]
fn two_ways_of_writing_a_period_are_one_job() {
    let text = job("schedule: '@every 90s'\ntasks: {a: {command: [x]}}").expect("valid");
    let map = job("schedule: {every: 1m30s}\ntasks: {a: {command: [x]}}").expect("valid");
    assert_eq!(text, map);
    assert!(text.schedule.is_some());
}

#[test]
fn what_has_no_effect_is_named() {
    let yaml = "schedule: {every: 1m, jitter: 5s, misfire: {policy: all}}\nnotify: [{when: [failure], webhook: x}]\n\
                depends_on: [{job: a, window: 1h}]\ntasks: {a: {command: [x]}}";
    let found = job(yaml).expect("valid").warnings();
    let places: Vec<&str> = found.iter().map(|violation| violation.pointer.as_str()).collect();
    assert_eq!(places, ["/notify", "/depends_on/0/window"]);
}

#[test]
fn stored_specs_that_cannot_be_used_say_why() {
    for (text, expected) in [
        ("{", "the stored spec cannot be read"),
        (r#"{"tasks":{"a":{"command":["x"]}}}"#, "the stored spec has no id"),
        (
            r#"{"id":"j","tasks":{"a":{"command":["x"],"with":{"n":1}}}}"#,
            "the stored spec is not valid for this version of Petit: only a Rust task can be given `with`",
        ),
    ] {
        assert_eq!(Job::from_canonical(text).expect_err(text).to_string(), expected);
    }
}
