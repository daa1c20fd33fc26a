//! What an attempt gives its task.
//!
//! The values are those of the file that `$PETIT_CONTEXT` names, so that a Rust task and a program see the same.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{CommandTask, ReadyCommand, TaskError};
use crate::core::{
    Timestamp,
    id::{JobId, RunId, TaskId},
    state::TaskState,
    suggest::did_you_mean,
};

/// The most that a task may publish: 1 MiB, keys and JSON texts together.
pub const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// What an attempt gives its task. Clones are the same context: hand them to whatever works for the task.
///
/// ```
/// use petit::{CommandTask, TaskContext, TaskError, testing::MockTaskContext};
///
/// #[derive(serde::Deserialize)]
/// struct With {
///     table: String,
///     #[serde(default)]
///     dry: bool,
/// }
///
/// async fn load(context: TaskContext) -> Result<(), TaskError> {
///     // What stands in the job's file below `with`, and what a task above this one published.
///     let With { table, dry } = context.with()?;
///     let rows: u64 = context.inputs().output("extract", "rows")?;
///     if context.is_cancelled() || dry {
///         return Ok(());
///     }
///     let attempt = context.execution().attempt;
///     context.log(format!("attempt {attempt}: {rows} rows into {table}"));
///     // A program, whose output goes into the task's log and whose end comes with the task's.
///     context.run_command(&CommandTask::new(["psql", "-c", "ANALYZE"])).await?;
///     context.outputs().set("loaded", rows)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mock = MockTaskContext::new().with("table", "orders").output("extract", "rows", 12);
/// load(mock.context()).await.unwrap();
/// assert_eq!(mock.log(), ["attempt 1: 12 rows into orders"]);
/// assert_eq!(mock.outputs()["loaded"], 12);
///
/// // An error of the caller says what it asked for.
/// let error = load(MockTaskContext::new().context()).await.unwrap_err();
/// assert_eq!(error.to_string(), "`with` is not what the task takes: missing field `table`");
/// # });
/// ```
#[derive(Clone)]
pub struct TaskContext(Arc<Inner>);

struct Inner {
    execution: Execution,
    with: Map<String, Value>,
    place: Place,
    inputs: ContextReader,
    outputs: ContextWriter,
    cancellation: Cancellation,
    host: Arc<dyn Host>,
}

/// Where the commands of a task run.
struct Place {
    env: BTreeMap<String, String>,
    working_dir: PathBuf,
}

/// What a [`TaskContext`] is made of: what an engine, or a test, hands to a task.
pub struct ContextParts {
    /// Which attempt it is.
    pub execution: Execution,
    /// What the job's file says in `with`, its expressions replaced.
    pub with: Map<String, Value>,
    /// The environment that a command of this task has.
    pub env: BTreeMap<String, String>,
    /// Where a command of this task runs.
    pub working_dir: PathBuf,
    /// What the file named by `$PETIT_CONTEXT` says: `params`, `config`, `run` and `tasks`.
    pub values: Value,
    /// Whether it should stop.
    pub cancellation: Cancellation,
    /// Who does for the task what it cannot do as a value.
    pub host: Arc<dyn Host>,
}

/// Which attempt of which task it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The job.
    pub job: JobId,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub attempt: u32,
    /// The slot that the run is for; of a run by hand, when it was created.
    pub scheduled_at: Timestamp,
    /// The git commit of the folder of jobs, if the job came from one.
    pub revision: Option<String>,
}

/// What the place where a task runs does for it. Implemented by the engine, and by [`MockTaskContext`] in tests.
///
/// [`MockTaskContext`]: crate::testing::MockTaskContext
pub trait Host: Send + Sync {
    /// Appends lines to what the task prints.
    fn log(&self, text: &str);

    /// Appends lines to what the task complains about.
    fn log_error(&self, text: &str);

    /// Runs a program as part of the attempt, and returns what it published. It is ended with the attempt.
    fn run_command(&self, command: ReadyCommand) -> CommandFuture<'_>;
}

/// A program on its way to what it published.
pub type CommandFuture<'a> = Pin<Box<dyn Future<Output = Result<BTreeMap<String, Value>, TaskError>> + Send + 'a>>;

impl TaskContext {
    /// A context of these parts.
    pub fn new(parts: ContextParts) -> Self {
        Self(Arc::new(Inner {
            execution: parts.execution,
            with: parts.with,
            place: Place {
                env: parts.env,
                working_dir: parts.working_dir,
            },
            inputs: ContextReader(parts.values),
            outputs: ContextWriter::default(),
            cancellation: parts.cancellation,
            host: parts.host,
        }))
    }

    /// What the job's file says in `with`, read as a type of the task's own. The error names the field that is wrong.
    pub fn with<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        read(Value::Object(self.0.with.clone()))
            .map_err(|error| TaskError::new(format!("`with` is not what the task takes: {error}")))
    }

    /// What the task may read: params, the job's config, and what tasks above it did.
    pub fn inputs(&self) -> &ContextReader {
        &self.0.inputs
    }

    /// Where the task publishes.
    pub fn outputs(&self) -> &ContextWriter {
        &self.0.outputs
    }

    /// Which attempt it is.
    pub fn execution(&self) -> &Execution {
        &self.0.execution
    }

    /// The environment of the task's commands: Petit's few variables, the job's and the task's `env`, and `PETIT_*`.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.0.place.env
    }

    /// The folder in which the task's commands run. A Rust task runs in the folder of its program.
    pub fn working_dir(&self) -> &Path {
        &self.0.place.working_dir
    }

    /// Whether the task should stop: its run was cancelled, its time is over, or Petit stops.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancellation.is_cancelled()
    }

    /// Waits until the task should stop; for `tokio::select!` beside the task's own work.
    pub async fn cancelled(&self) {
        self.0.cancellation.cancelled().await;
    }

    /// The signal behind [`Self::is_cancelled`], to hand on.
    pub fn cancellation(&self) -> Cancellation {
        self.0.cancellation.clone()
    }

    /// Writes a line, or several, to the attempt's log, as a program does to its standard output.
    pub fn log(&self, text: impl AsRef<str>) {
        self.0.host.log(text.as_ref());
    }

    /// The same as a program's standard error.
    pub fn log_error(&self, text: impl AsRef<str>) {
        self.0.host.log_error(text.as_ref());
    }

    /// Runs a program as part of this attempt: its output goes into the attempt's log, and nothing of it outlives the
    /// attempt. Returns what it wrote to `$PETIT_OUTPUT`, which is published only if the task does so. Commands of one
    /// attempt run one after another. The error says how the program ended if it did not succeed.
    pub async fn run_command(&self, command: &CommandTask) -> Result<BTreeMap<String, Value>, TaskError> {
        let ready = command.ready(self)?;
        self.0.host.run_command(ready).await
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("execution", &self.0.execution)
            .field("with", &self.0.with)
            .field("outputs", &self.0.outputs)
            .finish_non_exhaustive()
    }
}

/// What a task may read. A value that has not the type that is asked for, or does not exist, is an error in words.
#[derive(Debug, Clone, Default)]
pub struct ContextReader(Value);

impl ContextReader {
    /// A parameter of the run.
    pub fn param<T: DeserializeOwned>(&self, name: &str) -> Result<T, TaskError> {
        let params = self.section("params");
        let value = params
            .get(name)
            .ok_or_else(|| missing(format!("the run has no parameter `{name}`"), name, params.keys()))?;
        typed(value, || format!("parameter `{name}`"))
    }

    /// All parameters of the run.
    pub fn params(&self) -> &Map<String, Value> {
        self.section("params")
    }

    /// A key of the job's `config`.
    pub fn config<T: DeserializeOwned>(&self, key: &str) -> Result<T, TaskError> {
        let config = self.section("config");
        let value = config
            .get(key)
            .ok_or_else(|| missing(format!("the job's config has no `{key}`"), key, config.keys()))?;
        typed(value, || format!("config `{key}`"))
    }

    /// What a task above this one published under a key. It must be one that this task depends on, directly or not.
    pub fn output<T: DeserializeOwned>(&self, task: &str, key: &str) -> Result<T, TaskError> {
        let outputs = self.outputs(task)?;
        let value = outputs
            .get(key)
            .ok_or_else(|| missing(format!("task `{task}` published no `{key}`"), key, outputs.keys()))?;
        typed(value, || format!("output `{key}` of task `{task}`"))
    }

    /// All that a task above this one published.
    pub fn outputs(&self, task: &str) -> Result<&Map<String, Value>, TaskError> {
        Ok(object(self.upstream(task)?.get("outputs")))
    }

    /// How a task above this one ended.
    pub fn status(&self, task: &str) -> Result<TaskState, TaskError> {
        let status = self.upstream(task)?.get("status").unwrap_or(&Value::Null);
        typed(status, || format!("status of task `{task}`"))
    }

    /// The exit code of the latest attempt of a task above this one, if it was a program that exited.
    pub fn exit_code(&self, task: &str) -> Result<Option<i32>, TaskError> {
        let code = self.upstream(task)?.get("exit_code").unwrap_or(&Value::Null);
        typed(code, || format!("exit code of task `{task}`"))
    }

    /// All of it, as the file named by `$PETIT_CONTEXT` has it.
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    fn upstream(&self, task: &str) -> Result<&Map<String, Value>, TaskError> {
        let tasks = self.section("tasks");
        match tasks.get(task) {
            Some(entry) => Ok(object(Some(entry))),
            None => Err(missing(
                format!("task `{task}` is none that this task depends on"),
                task,
                tasks.keys(),
            )),
        }
    }

    fn section(&self, name: &str) -> &Map<String, Value> {
        object(self.0.get(name))
    }
}

fn object(value: Option<&Value>) -> &Map<String, Value> {
    static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    value.and_then(Value::as_object).unwrap_or(&NOTHING)
}

fn typed<T: DeserializeOwned>(value: &Value, what: impl FnOnce() -> String) -> Result<T, TaskError> {
    read(value.clone()).map_err(|error| TaskError::new(format!("the {} is not what the task takes: {error}", what())))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(value)
}

/// What does not exist, and what does.
fn missing<'a>(what: String, asked: &str, known: impl Iterator<Item = &'a String> + Clone) -> TaskError {
    let names = known.map(String::as_str);
    if let Some(hint) = did_you_mean(asked, names.clone()) {
        return TaskError::new(format!("{what}: {hint}"));
    }
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    TaskError::new(if names.is_empty() {
        what
    } else {
        format!("{what}: there is {}", names.join(", "))
    })
}

/// Where a task publishes what the tasks below it read. Outputs stay those of a failed attempt too, as a program's do.
#[derive(Debug, Clone, Default)]
pub struct ContextWriter(Arc<Mutex<Published>>);

#[derive(Debug, Default)]
struct Published {
    values: BTreeMap<String, Value>,
    /// No attempt, no outputs: what comes later is refused.
    closed: bool,
}

impl ContextWriter {
    /// Publishes a value under a key, in place of an earlier one. Refused are a key that no expression could name
    /// (expected a letter or `_`, then letters, digits, `_` and `-`), a value that JSON has no form for, more than
    /// [`MAX_OUTPUT_BYTES`] in all, and anything once the attempt has ended.
    pub fn set(&self, key: impl Into<String>, value: impl Serialize) -> Result<(), TaskError> {
        let key = key.into();
        if !is_output_key(&key) {
            return Err(TaskError::new(format!(
                "`{key}` is not a key of an output: expected a letter or `_`, then letters, digits, `_` and `-`"
            )));
        }
        let value = serde_json::to_value(value)
            .map_err(|error| TaskError::new(format!("output `{key}` cannot be written as JSON: {error}")))?;
        let mut published = self.published();
        if published.closed {
            return Err(TaskError::new(format!(
                "output `{key}` comes too late: the attempt has ended"
            )));
        }
        let others = published.values.iter().filter(|(other, _)| **other != key);
        let size = others.map(|(key, value)| weight(key, value)).sum::<usize>() + weight(&key, &value);
        if size > MAX_OUTPUT_BYTES {
            return Err(TaskError::new(
                "the task published more than 1 MiB: publish less, or a path to a file instead of its content",
            ));
        }
        published.values.insert(key, value);
        Ok(())
    }

    /// What was published so far.
    pub fn values(&self) -> BTreeMap<String, Value> {
        self.published().values.clone()
    }

    /// What was published, when the attempt has ended; nothing can be added from here on.
    pub fn close(&self) -> BTreeMap<String, Value> {
        let mut published = self.published();
        published.closed = true;
        published.values.clone()
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn weight(key: &str, value: &Value) -> usize {
    key.len() + value.to_string().len()
}

/// Whether an expression can name an output like this.
pub(crate) fn is_output_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Whether a task should stop. Clones are the same signal.
#[derive(Debug, Clone)]
pub struct Cancellation(watch::Receiver<bool>);

/// The other end of a [`Cancellation`].
#[derive(Debug, Clone)]
pub struct Canceller(watch::Sender<bool>);

impl Canceller {
    /// An end that says "stop", and one that hears it.
    pub fn new() -> (Self, Cancellation) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Cancellation(receiver))
    }

    /// Says "stop". Saying it again changes nothing.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancellation {
    /// Whether it was said.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said. Cancel safe.
    pub async fn cancelled(&self) {
        let mut said = self.0.clone();
        if said.wait_for(|said| *said).await.is_err() {
            // Nobody is left who could say it.
            std::future::pending::<()>().await;
        }
    }
}
