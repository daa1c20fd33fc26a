//! What a user writes in a job file, as types: the source of the JSON schema, of the checked [`Job`](super::job::Job)
//! and of the hash by which two versions of a job are told apart.
//!
//! Pure vocabulary. What these types cannot say (cycles, unknown references, impossible dates) is checked in `config`.
//! Fields at their default are left out when a spec is written, so that a later version of Petit with one more field
//! gives an old file its old hash.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    id::{JobId, SpecHash, TaskId},
    units::{ByteSize, HumanDuration},
};

/// A job: commands in the order of their dependencies, run on a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Petit job")]
pub struct JobSpec {
    /// The job's id; by default the file's name without its extension.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// The name shown to people; by default the id.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the job is for.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to filter jobs by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// `false`: known and planned, never fired by its schedule.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// When the job fires; without it, by hand or when all of `depends_on` have newly succeeded.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// What happens when a slot comes while a run of the job is still going.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overlap: Overlap,
    /// How many tasks of one run may run at a time; by default only the settings' limit counts.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrency: Option<u32>,
    /// The longest a whole run may take, from its first granted task.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// Among runs that wait for the same resource, the higher goes first.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Other jobs whose outcome this job waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<JobDependency>,
    /// The typed inputs of a run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, ParamSpec>,
    /// Free-form values that every task can read.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// Environment variables of every task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Values put into the environment, masked in logs and history and never stored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// What a task does unless it says otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub defaults: TaskDefaults,
    /// Whom to tell, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<NotifySpec>,
    /// The tasks of a run, by id.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 10_000))]
    pub tasks: IndexMap<TaskId, TaskSpec>,
}

/// When a job fires: one or several cron expressions, or a fixed interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "ScheduleInput")]
#[schemars(with = "ScheduleInput")]
pub struct ScheduleSpec {
    /// Cron expressions; the job fires when any of them does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cron: Vec<String>,
    /// The interval, if there are no cron expressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<HumanDuration>,
    /// The IANA zone of the cron expressions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Each slot is delayed by a part of this that depends only on job and slot.
    #[serde(skip_serializing_if = "is_default")]
    pub jitter: HumanDuration,
    /// What happens to slots that could not be started in time.
    #[serde(skip_serializing_if = "is_default")]
    pub misfire: MisfireSpec,
}

/// The two ways in which a schedule is written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum ScheduleInput {
    /// A cron expression, a shortcut such as `@daily`, or `@every 15m`.
    Text(String),
    /// A schedule with its options.
    Map(ScheduleMap),
}

/// A schedule with its options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["cron"]}, {"required": ["every"]}]))]
struct ScheduleMap {
    /// One or several cron expressions of 5 fields, or of 6 with seconds first.
    #[serde(default, deserialize_with = "given")]
    cron: Option<OneOrMany>,
    /// A fixed interval of at least one second.
    #[serde(default, deserialize_with = "given")]
    every: Option<HumanDuration>,
    /// The IANA zone of the cron expressions; by default the settings' time zone.
    #[serde(default, deserialize_with = "given")]
    timezone: Option<String>,
    /// Each slot is delayed by a part of this that depends only on job and slot.
    #[serde(default)]
    jitter: HumanDuration,
    /// What happens to slots that could not be started in time.
    #[serde(default)]
    misfire: MisfireSpec,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(#[schemars(length(min = 1, max = 100))] Vec<String>),
}

impl From<ScheduleInput> for ScheduleSpec {
    fn from(input: ScheduleInput) -> Self {
        match input {
            ScheduleInput::Text(text) => Self {
                cron: vec![text],
                ..Self::default()
            },
            ScheduleInput::Map(map) => Self {
                cron: match map.cron {
                    None => Vec::new(),
                    Some(OneOrMany::One(text)) => vec![text],
                    Some(OneOrMany::Many(texts)) => texts,
                },
                every: map.every,
                timezone: map.timezone,
                jitter: map.jitter,
                misfire: map.misfire,
            },
        }
    }
}

/// What happens to slots that could not be started in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MisfireSpec {
    /// Which of the late slots run.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "once"))]
    pub policy: MisfirePolicy,
    /// Up to this late, the newest slot runs as normal.
    #[serde(skip_serializing_if = "is_usual_grace")]
    #[schemars(extend("default" = "1m"))]
    pub grace: HumanDuration,
    /// Slots older than this are never made up.
    #[serde(skip_serializing_if = "is_usual_window")]
    #[schemars(extend("default" = "1d"))]
    pub window: HumanDuration,
    /// The most slots that `all` makes up at once.
    #[serde(skip_serializing_if = "is_usual_limit")]
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub limit: u32,
}

impl Default for MisfireSpec {
    fn default() -> Self {
        Self {
            policy: MisfirePolicy::Once,
            grace: HumanDuration::from_secs(60),
            window: HumanDuration::from_secs(24 * 3600),
            limit: 100,
        }
    }
}

/// Which late slots run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MisfirePolicy {
    /// None of them.
    Skip,
    /// Only the latest; the others are merged into it.
    #[default]
    Once,
    /// Each of them, oldest first.
    All,
}

/// What happens when a slot comes while a run of the job is still going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The newcomer is recorded as skipped.
    #[default]
    Skip,
    /// The newcomer waits; a newer slot takes the place of an older one that waits.
    Queue,
    /// The run that is going is cancelled, then the newcomer starts.
    Replace,
    /// Both run.
    Allow,
}

/// Another job that this one waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobDependency {
    /// The other job's id.
    pub job: JobId,
    /// What must be so of the other job.
    #[serde(default, skip_serializing_if = "is_default")]
    pub condition: JobCondition,
    /// How recent its success must be, for `within_window`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub window: Option<HumanDuration>,
    /// How long a slot may wait for it before it is recorded as skipped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait: HumanDuration,
}

/// What must be so of another job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobCondition {
    /// Its latest finished run succeeded.
    #[default]
    LastSuccess,
    /// It has a finished run.
    LastComplete,
    /// A success of it ended inside the window.
    WithinWindow,
}

/// A typed input of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParamSpec {
    /// The type that a given value must have.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub kind: ParamType,
    /// The value when none is given; without it the parameter must be given.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// A regular expression that a string must match.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What the parameter means.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    /// Any text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// Where a secret comes from. It is read anew for each attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// The content of a file, without the line end behind it.
    File(String),
    /// A variable of Petit's own environment.
    Env(String),
}

/// What a task does unless it says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskDefaults {
    /// The longest an attempt may take.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// The time between SIGTERM and SIGKILL.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub kill_grace: Option<HumanDuration>,
    /// How often and when a failed task is tried again.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// What a command written as one string runs in.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The folder in which tasks run.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

/// How often and when a failed task is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Further tries after the first.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(min = 0, max = 1_000), extend("default" = 0))]
    pub retries: u32,
    /// The wait before each of them.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "0s"))]
    pub delay: HumanDuration,
    /// After which endings to try again.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "always"))]
    pub when: RetryCondition,
}

/// After which endings a task is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryCondition {
    /// After any ending but a success or a cancel.
    #[default]
    Always,
    /// After a timeout, a signal, a failed spawn, an interruption, or exit code 75.
    Transient,
    /// After none.
    Never,
}

/// Whom to tell, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["command"]}, {"required": ["webhook"]}]))]
pub struct NotifySpec {
    /// The occasions.
    #[schemars(length(min = 1))]
    pub when: Vec<NotifyWhen>,
    /// A command to run.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
    /// A URL to post to.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

/// An occasion to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyWhen {
    /// A run failed.
    Failure,
    /// A run succeeded after one that failed.
    Recovery,
    /// A run succeeded.
    Success,
    /// A slot did not run.
    Missed,
    /// A run started late.
    Late,
}

/// One task of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [{"required": ["command"]}, {"required": ["uses"]}]))]
pub struct TaskSpec {
    /// A list runs as it is, without a shell; a string runs in the shell.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSpec>,
    /// The name of a Rust task that the embedding program registered.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub uses: Option<String>,
    /// The inputs of that Rust task. `${{ … }}` is replaced in texts, at any depth.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// What a command written as one string runs in; by default `/bin/sh -eu -c`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What the task is for.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The tasks that must end before this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<TaskId>,
    /// How those tasks must have ended.
    #[serde(skip_serializing_if = "is_default")]
    pub condition: Condition,
    /// The folder in which the command runs; by default the one that holds `jobs_dir`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Environment variables of this task.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Secrets of this task alone, beside those of the job.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretSource>,
    /// What must be free before the task starts.
    #[serde(skip_serializing_if = "is_default")]
    pub resources: ResourceRequirements,
    /// Beyond which the task is killed.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// The longest an attempt may take.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
    /// The time between SIGTERM and SIGKILL; by default 10s.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub kill_grace: Option<HumanDuration>,
    /// How often and when the task is tried again.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

/// A command: a list of words, or a script for a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CommandSpec {
    /// A script for the shell.
    Shell(#[schemars(length(min = 1))] String),
    /// The program and its arguments.
    Argv(#[schemars(length(min = 1))] Vec<String>),
}

/// How a task's upstream tasks must have ended for it to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All of them succeeded.
    #[default]
    AllSuccess,
    /// At least one of them failed, or could not run because one above it failed.
    OnFailure,
    /// All of them ended, however.
    AllDone,
    /// As `all_done`, and also after a cancel or the run's timeout.
    Always,
}

/// What must be free before a task starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceRequirements {
    /// Slots of the settings' named pools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "integer", "minimum": 1, "maximum": 1_000_000}))]
    pub slots: BTreeMap<String, u32>,
    /// Processors, in fractions.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 10_000))]
    pub cpu: Option<f64>,
    /// Memory.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

/// Beyond which a task is killed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The memory of the whole process tree.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

impl JobSpec {
    /// The text over which the spec is hashed: JSON with sorted keys, fields at their default left out. Comments, the
    /// order of keys and formatting of the file are not in it.
    pub fn canonical(&self) -> String {
        self.canonical_value().to_string()
    }

    /// What [`Self::canonical`] writes.
    pub fn canonical_value(&self) -> Value {
        // `serde_json`'s map is sorted by key, so going through a value sorts `tasks` too.
        serde_json::to_value(self).expect("a spec is made of strings, numbers and maps with string keys")
    }

    /// The hash of [`Self::canonical`].
    pub fn hash(&self) -> SpecHash {
        SpecHash::of(self.canonical().as_bytes())
    }
}

impl TaskSpec {
    /// The time between SIGTERM and SIGKILL when neither task nor job says one.
    pub const DEFAULT_KILL_GRACE: HumanDuration = HumanDuration::from_secs(10);
    /// What a script runs in when neither task nor job says so.
    pub const DEFAULT_SHELL: &str = "/bin/sh -eu -c";

    /// The task with the job's `defaults` filled in where it says nothing itself.
    pub fn with_defaults(&self, defaults: &TaskDefaults) -> Self {
        let mut task = self.clone();
        task.timeout = task.timeout.or(defaults.timeout);
        task.kill_grace = task.kill_grace.or(defaults.kill_grace);
        task.retry = task.retry.or(defaults.retry);
        task.shell = task.shell.or_else(|| defaults.shell.clone());
        task.working_dir = task.working_dir.or_else(|| defaults.working_dir.clone());
        task
    }
}

/// Reads an optional value that, once its key is there, may not be `null`: an empty `schedule:` is a mistake, not a job
/// without a schedule. The schema says the same.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_grace(value: &HumanDuration) -> bool {
    *value == MisfireSpec::default().grace
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_window(value: &HumanDuration) -> bool {
    *value == MisfireSpec::default().window
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_limit(value: &u32) -> bool {
    *value == MisfireSpec::default().limit
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(yaml: &str) -> JobSpec {
        serde_yaml::from_str(yaml).expect("the test's own YAML")
    }

    #[test]
    fn the_hash_ignores_order_comments_and_explicit_defaults() {
        let a = spec("id: a\nschedule: '@daily'\ntasks: {x: {command: [a]}, y: {command: [b]}}");
        let b = spec(
            "# a comment\ntasks:\n  y:\n    command: [b]\n  x:\n    command: [a]\n    condition: all_success\n\
             enabled: true\nschedule: {cron: '@daily', jitter: 0s, misfire: {grace: 60s}}\nid: a\npriority: 0",
        );
        assert_eq!(a.canonical(), b.canonical());
        assert_eq!(a.hash(), b.hash());
    }

    #[test]
    fn the_canonical_form_reads_back() {
        let a = spec("id: a\nschedule: {every: 90s, jitter: 1s}\ntasks: {x: {command: 'true', retry: {retries: 2}}}");
        let back: JobSpec = serde_json::from_str(&a.canonical()).expect("canonical JSON is a valid spec");
        assert_eq!(back, a);
    }
}
