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
        &["apiVersion", "kind", "metadata", "spec"],
        "tasks",
        Some("a job of Petit is no Kubernetes manifest: write `schedule` and `tasks` at the top of the file"),
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

/// What to do about something that is there and holds nothing.
pub fn empty(pointer: &str) -> &'static str {
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    match segments[..] {
        ["tasks"] => "add a task, for example `main: {command: [echo, hello]}`",
        ["tasks", _, "command"] => "write the program and its arguments, for example `[echo, hello]`",
        ["schedule", "cron"] => "add an expression, for example `0 2 * * *`, or leave `schedule` away",
        ["notify", _, "when"] => "say on which occasions, for example `[failure, recovery]`",
        [..] => "put something into it, or remove the key",
    }
}

/// Where a value stands, what it is called elsewhere, and Petit's value.
const VALUES: &[(&str, &[&str], &str)] = &[
    ("overlap", &["forbid", "drop", "ignore", "single", "false"], "skip"),
    ("overlap", &["wait", "enqueue", "serial"], "queue"),
    ("overlap", &["cancel", "kill", "restart", "cancel_running"], "replace"),
    ("overlap", &["parallel", "concurrent", "true"], "allow"),
    ("policy", &["ignore", "none", "never", "do_nothing"], "skip"),
    (
        "policy",
        &["run_once", "fire_once", "latest", "last", "coalesce"],
        "once",
    ),
    ("policy", &["catchup", "catch_up", "run_all", "every"], "all"),
    (
        "job condition",
        &["success", "succeeded", "all_success"],
        "last_success",
    ),
    (
        "job condition",
        &["complete", "completed", "done", "all_done"],
        "last_complete",
    ),
    ("condition", &["success", "succeeded", "on_success"], "all_success"),
    (
        "condition",
        &["failure", "failed", "one_failed", "all_failed"],
        "on_failure",
    ),
    ("condition", &["complete", "completed", "done"], "all_done"),
    ("when", &["on_failure", "failure", "on_error"], "always"),
    ("when", &["on_timeout", "timeout"], "transient"),
    ("type", &["str", "text", "date"], "string"),
    ("type", &["float", "double", "decimal"], "number"),
    ("type", &["bool", "flag"], "boolean"),
];

/// What Petit calls a value of another tool.
pub fn value(pointer: &str, text: &str) -> Option<&'static str> {
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    let key = match segments[..] {
        ["depends_on", .., "condition"] => "job condition",
        [.., last] => last,
        [] => return None,
    };
    let text = text.to_ascii_lowercase().replace('-', "_");
    VALUES
        .iter()
        .find(|(here, names, _)| *here == key && names.contains(&text.as_str()))
        .map(|(_, _, ours)| *ours)
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
        (["tasks", _, "depends_on", _], Value::Object(_)) => Some("write only the id of the task".to_owned()),
        (["depends_on"], Value::String(job)) => Some(format!("write `depends_on: [{{job: {job}}}]`")),
        (["depends_on", _], Value::String(job)) => Some(format!("write `{{job: {job}}}`")),
        (["schedule"], Value::Array(_)) => Some("write `schedule: {cron: […]}` for several expressions".to_owned()),
        (["schedule"], Value::Number(_) | Value::Bool(_)) => {
            Some("write `schedule: \"0 2 * * *\"`, or `schedule: {every: 15m}`".to_owned())
        }
        (["schedule", "misfire"], Value::String(policy)) => Some(format!("write `misfire: {{policy: {policy}}}`")),
        ([.., "secrets", name], Value::String(_)) => Some(format!(
            "never write a secret itself: write `{name}: {{file: PATH}}`, or `{name}: {{env: VARIABLE}}`"
        )),
        ([.., "resources", "slots"], Value::Array(_) | Value::String(_)) => {
            Some("write how many of each pool: `slots: {POOL: 1}`".to_owned())
        }
        ([.., "resources", "cpu"], Value::String(text)) => {
            let thousandths: f64 = text.strip_suffix('m')?.parse().ok()?;
            Some(format!("write `{}`, in whole processors", thousandths / 1000.0))
        }
        (["params", name], Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            Some(format!("write `{name}: {{default: {value}}}`"))
        }
        (_, _) => None,
    }
}
