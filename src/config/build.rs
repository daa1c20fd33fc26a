//! A job that a program builds instead of a file.
//!
//! What is built is written as YAML and checked as a file would be, so that both make the same [`Job`], are refused for
//! the same reasons in the same words, and can be kept, shown and compared alike.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use serde_yaml::{Mapping, Value as Yaml};

use super::{
    check::check_file,
    diagnostic::{Diagnostic, Finding, locate},
    settings::Settings,
};
use crate::core::{
    job::Job,
    spec::{Condition, JobDependency, Overlap, ParamSpec, ResourceRequirements, RetryPolicy, TaskDefaults},
    task::CommandTask,
    units::HumanDuration,
};

/// Builds a [`Job`], task by task; [`build`](Self::build) checks all of it.
///
/// Nothing is checked before, so that everything that is wrong is said at once: names that are no ids, tasks that are there
/// twice, dependencies on nothing, cycles, expressions that cannot be, schedules that never fire.
///
/// ```
/// use std::time::Duration;
/// use petit::{CommandTask, Condition, DagBuilder, RetryPolicy, TaskNode};
///
/// let job = DagBuilder::new("nightly-etl")
///     .schedule("0 0 2 * * 1-5")
///     .timezone("America/Los_Angeles")
///     .task("extract", TaskNode::uses("extract").with("table", "orders").retries(3, Duration::from_secs(60)))
///     .task("load", TaskNode::command(CommandTask::new(["./load.sh", "${{ tasks.extract.outputs.file }}"])).after(["extract"]))
///     .task("alert", TaskNode::uses("page").after(["load"]).condition(Condition::OnFailure))
///     .build()
///     .unwrap();
/// assert_eq!(job.dag.ids().len(), 3);
///
/// // A file that says the same is the same job.
/// let text = "
///     schedule: {cron: '0 0 2 * * 1-5', timezone: America/Los_Angeles}
///     tasks:
///       extract: {uses: extract, with: {table: orders}, retry: {retries: 3, delay: 1m}}
///       load: {command: [./load.sh, '${{ tasks.extract.outputs.file }}'], depends_on: [extract]}
///       alert: {uses: page, depends_on: [load], condition: on_failure}";
/// assert_eq!(DagBuilder::from_yaml("nightly-etl", text).unwrap(), job);
///
/// // Everything that is wrong is said at once.
/// let wrong = DagBuilder::new("Nightly")
///     .task("a", TaskNode::uses("x").after(["b"]))
///     .task("a", TaskNode::uses("y"))
///     .build()
///     .unwrap_err();
/// assert_eq!(wrong.codes(), ["duplicate-task", "invalid-value"]);
/// let knot = DagBuilder::new("knot")
///     .task("a", TaskNode::uses("x").after(["b"]))
///     .task("b", TaskNode::uses("x").after(["a", "c"]))
///     .build()
///     .unwrap_err();
/// assert_eq!(knot.codes(), ["task-cycle", "unknown-task"]);
/// assert!(knot.to_string().contains("tasks wait for each other: a -> b -> a"), "{knot}");
/// ```
#[derive(Debug, Clone)]
pub struct DagBuilder {
    id: String,
    /// What stands at the top of the file, beside its maps and lists.
    keys: Mapping,
    cron: Vec<String>,
    schedule: Mapping,
    depends_on: Vec<JobDependency>,
    params: BTreeMap<String, ParamSpec>,
    config: Mapping,
    env: BTreeMap<String, String>,
    tasks: Vec<(String, TaskNode)>,
}

/// A task of a [`DagBuilder`]: what it does, and when it does it.
#[derive(Debug, Clone)]
pub struct TaskNode {
    keys: Mapping,
    with: Mapping,
    depends_on: Vec<String>,
    env: BTreeMap<String, String>,
}

/// A job that is not valid, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job `{id}` is not valid: {}", self.messages().join("; "))]
pub struct InvalidJob {
    /// The id that it was to have.
    pub id: String,
    /// What is wrong, with places in `yaml`; never empty.
    pub diagnostics: Vec<Diagnostic>,
    /// The job as a file says it.
    pub yaml: String,
}

impl InvalidJob {
    /// The stable names of what is wrong, such as `task-cycle`, sorted.
    pub fn codes(&self) -> Vec<&str> {
        let mut codes: Vec<&str> = self.diagnostics.iter().map(|it| it.code.as_str()).collect();
        codes.sort_unstable();
        codes
    }

    fn messages(&self) -> Vec<String> {
        let message = |it: &Diagnostic| match &it.hint {
            Some(hint) => format!("{} ({hint})", it.message),
            None => it.message.clone(),
        };
        self.diagnostics.iter().map(message).collect()
    }
}

impl DagBuilder {
    /// Begins a job. An id is 1 to 63 lower-case letters, digits, `-` and `_`, the first a letter or digit.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            keys: Mapping::new(),
            cron: Vec::new(),
            schedule: Mapping::new(),
            depends_on: Vec::new(),
            params: BTreeMap::new(),
            config: Mapping::new(),
            env: BTreeMap::new(),
            tasks: Vec::new(),
        }
    }

    /// The job of a file's text; `id` is its id unless the text names another.
    pub fn from_yaml(id: &str, text: &str) -> Result<Job, InvalidJob> {
        checked(id, text.to_owned(), Vec::new())
    }

    /// The name shown to people; by default the id.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.key("name", name.into())
    }

    /// What the job is for.
    #[must_use]
    pub fn description(self, text: impl Into<String>) -> Self {
        self.key("description", text.into())
    }

    /// Fires at the times of a cron expression of 5 fields, of 6 with seconds first, or a shortcut such as `@daily`. Called
    /// again, it adds an expression. Without any, and without [`Self::every`], a job runs only when it is triggered.
    #[must_use]
    pub fn schedule(mut self, cron: impl Into<String>) -> Self {
        self.cron.push(cron.into());
        self
    }

    /// Fires again and again after this long, at least a second, counted from when the job first became active.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        put(&mut self.schedule, "every", duration(period));
        self
    }

    /// The IANA zone of the cron expressions; by default UTC.
    #[must_use]
    pub fn timezone(mut self, zone: impl Into<String>) -> Self {
        put(&mut self.schedule, "timezone", zone.into());
        self
    }

    /// What happens when the job is due while a run of it is going; by default the newcomer is skipped.
    #[must_use]
    pub fn overlap(self, overlap: Overlap) -> Self {
        self.key("overlap", overlap)
    }

    /// How many tasks of one run may run at a time.
    #[must_use]
    pub fn max_concurrency(self, tasks: u32) -> Self {
        self.key("max_concurrency", tasks)
    }

    /// The longest a whole run may take, from its first granted task; to the millisecond.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.key("timeout", duration(timeout))
    }

    /// Among runs that wait for the same resource, the higher goes first; 0 by default.
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        self.key("priority", priority)
    }

    /// What every task does unless it says otherwise.
    #[must_use]
    pub fn defaults(self, defaults: &TaskDefaults) -> Self {
        self.key("defaults", defaults)
    }

    /// Adds an input of a run.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, param: ParamSpec) -> Self {
        self.params.insert(name.into(), param);
        self
    }

    /// Adds a value that every task can read.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        put(&mut self.config, &key.into(), value.into());
        self
    }

    /// Adds a variable to the environment of every task.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Waits for another job.
    #[must_use]
    pub fn after_job(mut self, dependency: JobDependency) -> Self {
        self.depends_on.push(dependency);
        self
    }

    /// Adds a task. Its id has the form of the job's, and is there once.
    #[must_use]
    pub fn task(mut self, id: impl Into<String>, node: impl Into<TaskNode>) -> Self {
        self.tasks.push((id.into(), node.into()));
        self
    }

    /// Checks everything, as a file is checked. Whether the Rust tasks exist and there are resources enough is asked where
    /// the job is to run.
    pub fn build(self) -> Result<Job, InvalidJob> {
        let twice = self.tasks.iter().enumerate().filter(|(i, (id, _))| {
            let earlier = &self.tasks[..*i];
            earlier.iter().any(|(other, _)| other == id)
        });
        let findings = twice.map(|(_, (id, _))| {
            Finding::error(0..0, "duplicate-task", format!("the job has two tasks called `{id}`"))
                .hint("give one of them another id")
        });
        let findings = findings.collect();
        let id = self.id.clone();
        let yaml = serde_yaml::to_string(&self.into_yaml()).expect("a tree of maps, lists and texts can be written");
        checked(&id, yaml, findings)
    }

    fn key(mut self, name: &str, value: impl Serialize) -> Self {
        put(&mut self.keys, name, value);
        self
    }

    fn into_yaml(self) -> Mapping {
        let mut file = Mapping::new();
        put(&mut file, "id", self.id);
        file.extend(self.keys);
        let mut schedule = self.schedule;
        if !self.cron.is_empty() {
            put(&mut schedule, "cron", self.cron);
        }
        put_unless_empty(&mut file, "schedule", schedule);
        if !self.depends_on.is_empty() {
            put(&mut file, "depends_on", self.depends_on);
        }
        put_unless_empty(&mut file, "params", mapping(self.params));
        put_unless_empty(&mut file, "config", self.config);
        put_unless_empty(&mut file, "env", mapping(self.env));
        let tasks = self.tasks.into_iter().map(|(id, node)| (id, node.into_yaml()));
        put(&mut file, "tasks", mapping(tasks));
        file
    }
}

impl TaskNode {
    /// A task written in Rust, by the name under which it is registered.
    pub fn uses(name: impl Into<String>) -> Self {
        Self::empty().key("uses", name.into())
    }

    /// A program or a script.
    pub fn command(command: CommandTask) -> Self {
        let CommandTask {
            command,
            shell,
            env,
            working_dir,
        } = command;
        let mut node = Self::empty().key("command", command);
        if let Some(shell) = shell {
            node = node.key("shell", shell);
        }
        if let Some(folder) = working_dir {
            node = node.key("working_dir", folder);
        }
        Self { env, ..node }
    }

    fn empty() -> Self {
        Self {
            keys: Mapping::new(),
            with: Mapping::new(),
            depends_on: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    /// Adds an input of a Rust task. `${{ … }}` is replaced in texts, at any depth.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        put(&mut self.with, &key.into(), value.into());
        self
    }

    /// The tasks that must end before this one, added to those that were named before.
    #[must_use]
    pub fn after(mut self, tasks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.depends_on.extend(tasks.into_iter().map(Into::into));
        self
    }

    /// How those must have ended; by default all with success.
    #[must_use]
    pub fn condition(self, condition: Condition) -> Self {
        self.key("condition", condition)
    }

    /// How often and when the task is tried again.
    #[must_use]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.key("retry", policy)
    }

    /// Tries again so often, whatever the failure, each time after this wait (to the millisecond).
    #[must_use]
    pub fn retries(self, retries: u32, delay: Duration) -> Self {
        let delay = human(delay);
        self.retry(RetryPolicy {
            retries,
            delay,
            ..RetryPolicy::default()
        })
    }

    /// The longest an attempt may take; to the millisecond.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.key("timeout", duration(timeout))
    }

    /// The time between telling an attempt to stop and ending it, 10 s by default; to the millisecond.
    #[must_use]
    pub fn kill_grace(self, grace: Duration) -> Self {
        self.key("kill_grace", duration(grace))
    }

    /// What must be free before the task starts.
    #[must_use]
    pub fn resources(self, resources: &ResourceRequirements) -> Self {
        self.key("resources", resources)
    }

    /// Adds a variable to the environment of the task's commands.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    fn key(mut self, name: &str, value: impl Serialize) -> Self {
        put(&mut self.keys, name, value);
        self
    }

    fn into_yaml(self) -> Mapping {
        let mut task = self.keys;
        put_unless_empty(&mut task, "with", self.with);
        if !self.depends_on.is_empty() {
            put(&mut task, "depends_on", self.depends_on);
        }
        put_unless_empty(&mut task, "env", mapping(self.env));
        task
    }
}

impl From<CommandTask> for TaskNode {
    fn from(command: CommandTask) -> Self {
        Self::command(command)
    }
}

fn checked(id: &str, yaml: String, findings: Vec<Finding>) -> Result<Job, InvalidJob> {
    let file = format!("{id}.yaml");
    let mut diagnostics = locate(&file, &yaml, findings);
    let checked = check_file(Path::new(&file), yaml.as_bytes(), &Settings::default());
    match checked.job {
        Some(job) if diagnostics.is_empty() => Ok(job),
        Some(_) | None => {
            diagnostics.extend(checked.diagnostics.into_iter().filter(Diagnostic::is_error));
            let id = id.to_owned();
            Err(InvalidJob { id, diagnostics, yaml })
        }
    }
}

fn human(time: Duration) -> HumanDuration {
    HumanDuration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// As a file writes it.
fn duration(time: Duration) -> String {
    human(time).to_string()
}

fn put(map: &mut Mapping, key: &str, value: impl Serialize) {
    let value =
        serde_yaml::to_value(value).expect("what the builder takes are texts, numbers, lists and maps of these");
    map.insert(Yaml::from(key), value);
}

fn put_unless_empty(map: &mut Mapping, key: &str, value: Mapping) {
    if !value.is_empty() {
        put(map, key, value);
    }
}

fn mapping(entries: impl IntoIterator<Item = (String, impl Serialize)>) -> Mapping {
    let mut map = Mapping::new();
    for (key, value) in entries {
        put(&mut map, &key, value);
    }
    map
}
