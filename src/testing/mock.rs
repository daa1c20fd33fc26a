//! A context for one task by itself: what it reads is set, what it does is looked at afterwards.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value, json};

use crate::core::{
    Timestamp,
    id::{JobId, RunId, TaskId},
    state::TaskState,
    task::{
        Canceller, CommandFuture, ContextParts, ContextWriter, Execution, Host, ReadyCommand, TaskContext, TaskError,
    },
};

/// What a command answers: what it published, or how it failed.
pub type CommandAnswer = Result<BTreeMap<String, Value>, TaskError>;

/// Everything that a [`TaskContext`] gives, without an engine, a run or a file.
///
/// Programs are not started: each is noted and answers what [`Self::answer`] said, else that it succeeded and published
/// nothing.
///
/// ```
/// use petit::{CommandTask, TaskContext, TaskError, testing::MockTaskContext};
///
/// async fn count(context: TaskContext) -> Result<(), TaskError> {
///     let path: String = context.with::<serde_json::Value>()?["path"].to_string();
///     let published = context.run_command(&CommandTask::new(["./count.sh", &path])).await?;
///     context.outputs().set("rows", &published["rows"])
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mock = MockTaskContext::new()
///     .with("path", "a.csv")
///     .answer(Ok([("rows".to_owned(), 12.into())].into()))
///     .answer(Err(TaskError::transient("the disk is away")));
/// count(mock.context()).await.unwrap();
/// assert_eq!(mock.outputs()["rows"], 12);
/// assert!(count(mock.context()).await.unwrap_err().is_transient());
/// assert_eq!(mock.commands().len(), 2);
/// # });
/// ```
pub struct MockTaskContext {
    execution: Execution,
    with: Map<String, Value>,
    env: BTreeMap<String, String>,
    params: Map<String, Value>,
    config: Map<String, Value>,
    tasks: Map<String, Value>,
    canceller: Canceller,
    cancellation: crate::core::task::Cancellation,
    deeds: Arc<Deeds>,
    /// Of the context that was handed out last.
    outputs: Mutex<ContextWriter>,
}

#[derive(Default)]
struct Deeds {
    said: Mutex<Vec<(Stream, String)>>,
    commands: Mutex<Vec<ReadyCommand>>,
    answers: Mutex<VecDeque<CommandAnswer>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Error,
}

impl Default for MockTaskContext {
    fn default() -> Self {
        Self::new()
    }
}

impl MockTaskContext {
    /// The first attempt of task `task` of job `job`, scheduled at 2026-01-01T00:00:00Z, with nothing to read.
    pub fn new() -> Self {
        let scheduled_at = Timestamp::from_timestamp(1_767_225_600, 0).expect("an instant of 2026");
        let (canceller, cancellation) = Canceller::new();
        Self {
            execution: Execution {
                job: JobId::new("job").expect("a slug"),
                run: RunId::from_parts(scheduled_at, 1),
                task: TaskId::new("task").expect("a slug"),
                attempt: 1,
                scheduled_at,
                revision: None,
            },
            with: Map::new(),
            env: BTreeMap::new(),
            params: Map::new(),
            config: Map::new(),
            tasks: Map::new(),
            canceller,
            cancellation,
            deeds: Arc::default(),
            outputs: Mutex::default(),
        }
    }

    /// Adds a key of `with`.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with.insert(key.into(), value.into());
        self
    }

    /// Adds a parameter of the run.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// Adds a key of the job's `config`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Adds a variable of the environment of commands.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Adds an output of a task above, which succeeded unless [`Self::status`] says otherwise.
    #[must_use]
    pub fn output(mut self, task: impl Into<String>, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.above(task.into())["outputs"][key.into()] = value.into();
        self
    }

    /// Says how a task above ended.
    #[must_use]
    pub fn status(mut self, task: impl Into<String>, status: TaskState) -> Self {
        self.above(task.into())["status"] = json!(status);
        self
    }

    /// Says which attempt it is.
    #[must_use]
    pub fn execution(self, execution: Execution) -> Self {
        Self { execution, ..self }
    }

    /// Says what the next command answers that has no answer yet.
    #[must_use]
    pub fn answer(self, answer: CommandAnswer) -> Self {
        lock(&self.deeds.answers).push_back(answer);
        self
    }

    /// The context, for one attempt; its outputs begin empty.
    pub fn context(&self) -> TaskContext {
        let context = TaskContext::new(ContextParts {
            execution: self.execution.clone(),
            with: self.with.clone(),
            env: self.env.clone(),
            working_dir: PathBuf::from("/"),
            values: json!({
                "params": self.params,
                "config": self.config,
                "run": {
                    "id": self.execution.run,
                    "job": self.execution.job,
                    "scheduled_at": self.execution.scheduled_at,
                    "scheduled_date": self.execution.scheduled_at.date_naive(),
                    "attempt": self.execution.attempt,
                    "revision": self.execution.revision.as_deref().unwrap_or_default(),
                },
                "tasks": self.tasks,
            }),
            cancellation: self.cancellation.clone(),
            host: Arc::clone(&self.deeds) as Arc<dyn Host>,
        });
        *lock(&self.outputs) = context.outputs().clone();
        context
    }

    /// Tells the task to stop.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// What was published through the context that was handed out last.
    pub fn outputs(&self) -> BTreeMap<String, Value> {
        lock(&self.outputs).values()
    }

    /// What was logged, oldest first.
    pub fn log(&self) -> Vec<String> {
        self.said(Stream::Out)
    }

    /// What was logged as an error, oldest first.
    pub fn errors(&self) -> Vec<String> {
        self.said(Stream::Error)
    }

    /// The commands that were run, oldest first.
    pub fn commands(&self) -> Vec<ReadyCommand> {
        lock(&self.deeds.commands).clone()
    }

    fn said(&self, stream: Stream) -> Vec<String> {
        let said = lock(&self.deeds.said);
        let of_stream = said.iter().filter(|(other, _)| *other == stream);
        of_stream.map(|(_, text)| text.clone()).collect()
    }

    fn above(&mut self, task: String) -> &mut Value {
        let new = || json!({"status": TaskState::Succeeded, "outputs": {}});
        self.tasks.entry(task).or_insert_with(new)
    }
}

impl Host for Deeds {
    fn log(&self, text: &str) {
        lock(&self.said).push((Stream::Out, text.to_owned()));
    }

    fn log_error(&self, text: &str) {
        lock(&self.said).push((Stream::Error, text.to_owned()));
    }

    fn run_command(&self, command: ReadyCommand) -> CommandFuture<'_> {
        lock(&self.commands).push(command);
        let answer = lock(&self.answers).pop_front();
        Box::pin(async move { answer.unwrap_or_else(|| Ok(BTreeMap::new())) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
