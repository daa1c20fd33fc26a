//! What people write who come from cron files, CI systems, Compose or Airflow, and what Petit calls it.

use serde_json::Value;

/// What to write instead of a key.
pub struct Advice {
    /// The key that Petit has for it.
    pub key: &'static str,
    /// The sentence.
    pub text: String,
}

/// The kinds of map in which a key of another tool may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Job,
    Task,
    Schedule,
    Retry,
}

/// Where a key stands, what it is called elsewhere, Petit's key, and how it is written if that is not plain.
const TABLE: &[(In, &[&str], &str, Option<&str>)] = &[
    (
        In::Task,
        &[
            "cmd",
            "script",
            "run",
            "exec",
            "args",
            "entrypoint",
            "shell_command",
            "bash",
            "steps",
        ],
        "command",
        None,
    ),
    (
        In::Task,
        &[
            "needs",
            "depends",
            "dependsOn",
            "after",
            "requires",
            "dependencies",
            "upstream",
        ],
        "depends_on",
        None,
    ),
    (
        In::Task,
        &["cwd", "workdir", "dir", "workingDir", "working_directory"],
        "working_dir",
        None,
    ),
    (In::Task, &["environment", "envs", "vars", "variables"], "env", None),
    (
        In::Task,
        &["retries", "max_retries", "attempts", "retry_limit", "maxRetries"],
        "retry",
        Some("write `retry: {retries: 3, delay: 10s}`"),
    ),
    (In::Task, &["when", "if", "trigger_rule", "run_if"], "condition", None),
    (
        In::Task,
        &["name", "title"],
        "description",
        Some("the task's key is its name; put more words into `description`"),
    ),
    (
        In::Task,
        &["pool", "slots", "cpu", "cpus", "mem", "requests"],
        "resources",
        Some("write `resources: {slots: {POOL: 1}, cpu: 1, memory: 512MiB}`"),
    ),
    (
        In::Task,
        &["memory"],
        "resources",
        Some("write `resources: {memory: …}` for what must be free, `limits: {memory: …}` for the most"),
    ),
    (
        In::Task,
        &["max_time", "timeout_seconds", "deadline", "execution_timeout"],
        "timeout",
        None,
    ),
    (
        In::Job,
        &[
            "cron",
            "every",
            "interval",
            "at",
            "on",
            "when",
            "schedules",
            "schedule_interval",
            "trigger",
        ],
        "schedule",
        Some("write `schedule: \"0 2 * * *\"`, or `schedule: {every: 15m}`"),
    ),
    (
        In::Job,
        &["steps", "jobs", "stages", "commands"],
        "tasks",
        Some("write `tasks:` as a map, in which each key is a task's id"),
    ),
    (
        In::Job,
        &["needs", "depends", "dependsOn", "after", "requires", "dependencies"],
        "depends_on",
        Some("write `depends_on: [{job: OTHER}]`"),
    ),
    (
        In::Job,
        &["tz", "timezone", "time_zone", "zone"],
        "schedule",
        Some("write it inside the schedule: `schedule: {cron: …, timezone: …}`"),
    ),
    (
        In::Job,
        &["jitter", "misfire", "catchup"],
        "schedule",
        Some("write it inside the schedule: `schedule: {cron: …, misfire: {policy: once}}`"),
    ),
    (
        In::Job,
        &["concurrency", "max_active_runs", "concurrencyPolicy", "singleton"],
        "overlap",
        Some("`overlap: skip | queue | replace | allow` says what happens while a run is going"),
    ),
    (In::Job, &["parameters", "inputs", "args"], "params", None),
    (In::Job, &["environment", "envs", "vars", "variables"], "env", None),
    (In::Job, &["labels"], "tags", None),
    (
        In::Job,
        &["disabled", "active", "suspend", "paused"],
        "enabled",
        Some("write `enabled: false` for a job that is not to fire"),
    ),
    (
        In::Job,
        &["retries", "retry", "max_retries"],
        "defaults",
        Some("write `defaults: {retry: {retries: 3, delay: 10s}}`, which holds for every task"),
    ),
    (
        In::Job,
        &["cmd", "script", "run", "exec"],
        "tasks",
        Some("put it into a task: `tasks: {main: {command: …}}`"),
    ),
    (
        In::Job,
        &["on_failure", "email", "alerts", "notifications"],
        "notify",
        None,
    ),
    (In::Schedule, &["tz", "zone", "time_zone", "timeZone"], "timezone", None),
    (In::Schedule, &["at", "expression", "expr", "when"], "cron", None),
    (In::Schedule, &["interval", "period", "rate"], "every", None),
    (
        In::Schedule,
        &["catchup", "missed", "catch_up"],
        "misfire",
        Some("write `misfire: {policy: once}`"),
    ),
    (
        In::Schedule,
        &["splay", "random_delay", "RandomizedDelaySec"],
        "jitter",
        None,
    ),
    (
        In::Retry,
        &["attempts", "count", "max", "limit", "max_retries"],
        "retries",
        None,
    ),
    (In::Retry, &["wait", "interval", "backoff", "sleep"], "delay", None),
    (In::Retry, &["on", "if", "condition"], "when", None),
];

/// What Petit calls a key in the map at `owner`.
pub fn advice(owner: &str, key: &str) -> Option<Advice> {
    let segments: Vec<&str> = owner.split('/').skip(1).collect();
    let place = match segments[..] {
        [] => In::Job,
        ["tasks", _] | ["defaults"] => In::Task,
        ["schedule"] => In::Schedule,
        [.., "retry"] => In::Retry,
        [..] => return None,
    };
    TABLE
        .iter()
        .find(|(here, names, _, _)| *here == place && names.contains(&key))
        .map(|(_, _, ours, text)| Advice {
            key: ours,
            text: text.map_or_else(|| format!("Petit calls it `{ours}`"), str::to_owned),
        })
}

/// How to write what is missing from the map at `owner`.
pub fn missing(owner: &str, keys: &[String]) -> Option<&'static str> {
    let has = |key: &str| keys.iter().any(|known| known == key);
    if owner.is_empty() && has("tasks") {
        Some("add, for example, `tasks: {main: {command: [echo, hello]}}`")
    } else if owner.starts_with("/tasks/") && has("command") {
        Some("add `command: [PROGRAM, ARGUMENT]`, or a script for the shell")
    } else if owner == "/schedule" {
        Some("add `cron: \"0 2 * * *\"`, or `every: 15m`")
    } else {
        None
    }
}

/// What to do about a value that another tool writes in another shape.
pub fn wrong_type(pointer: &str, value: &Value) -> Option<String> {
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    match (&segments[..], value) {
        (["tasks"], Value::Array(_)) => {
            Some("write a map, in which each key is a task's id: `tasks: {build: {command: …}}`".to_owned())
        }
        (["tasks", id], Value::String(_) | Value::Array(_)) => Some(format!("write `{id}: {{command: …}}`")),
        ([.., "env"], Value::Array(_)) => Some("write a map: `env: {NAME: value}`".to_owned()),
        ([.., "retry"], Value::Number(number)) => Some(format!("write `retry: {{retries: {number}, delay: 10s}}`")),
        (["depends_on", _], Value::String(job)) => Some(format!("write `{{job: {job}}}`")),
        (["schedule"], Value::Array(_)) => Some("write `schedule: {cron: […]}` for several expressions".to_owned()),
        (["params", name], Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            Some(format!("write `{name}: {{default: {value}}}`"))
        }
        (_, _) => None,
    }
}
