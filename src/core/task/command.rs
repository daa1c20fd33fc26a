//! A program as a task.
//!
//! The same description serves twice: as a task of a job ([`DagBuilder`](crate::DagBuilder) makes of it what `command`
//! in a file says), and as a program that a Rust task runs in the middle of its work.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Task, TaskContext, TaskError, TaskFuture};
use crate::core::{
    spec::{CommandSpec, TaskSpec},
    template::{Template, is_template},
};

/// A program with its arguments, or a script.
///
/// `${{ … }}` is replaced in words, variables and the folder, and refused in a script, as in a job file.
///
/// ```
/// use petit::{CommandTask, Task, testing::MockTaskContext};
///
/// let list = CommandTask::new(["ls", "-l", "${{ params.folder }}"]).env("LC_ALL", "C").working_dir("/srv");
/// let script = CommandTask::shell("wc -l < \"$FILE\" > total").env("FILE", "${{ tasks.extract.outputs.file }}");
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// // It is a task by itself, so it can be registered, and tested without running the program.
/// let mock = MockTaskContext::new().param("folder", "/etc").output("extract", "file", "a.csv");
/// list.run(mock.context()).await.unwrap();
/// script.run(mock.context()).await.unwrap();
/// assert_eq!(mock.commands()[0].argv, ["ls", "-l", "/etc"]);
/// assert_eq!(mock.commands()[1].env["FILE"], "a.csv");
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTask {
    pub(crate) command: CommandSpec,
    pub(crate) shell: Option<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) working_dir: Option<String>,
}

/// A program with everything replaced, as a [`Host`](super::Host) runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyCommand {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub working_dir: PathBuf,
}

impl CommandTask {
    /// A program and its arguments, which run without a shell. The first word is looked for in the task's `PATH`. Without
    /// a word the task cannot be built or run, and says so.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::of(CommandSpec::Argv(argv.into_iter().map(Into::into).collect()))
    }

    /// A script for `/bin/sh -eu -c`.
    pub fn shell(script: impl Into<String>) -> Self {
        Self::of(CommandSpec::Shell(script.into()))
    }

    fn of(command: CommandSpec) -> Self {
        Self {
            command,
            shell: None,
            env: BTreeMap::new(),
            working_dir: None,
        }
    }

    /// Runs a script in another shell: its words, of which the script becomes the last, such as `bash -euo pipefail -c`.
    #[must_use]
    pub fn with_shell(self, shell: impl Into<String>) -> Self {
        let shell = Some(shell.into());
        Self { shell, ..self }
    }

    /// Adds a variable to the environment of the task.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Runs in this folder. A relative one counts from the folder of the task, else from the one that holds `jobs_dir`.
    #[must_use]
    pub fn working_dir(self, folder: impl Into<String>) -> Self {
        let working_dir = Some(folder.into());
        Self { working_dir, ..self }
    }

    /// The command with its expressions replaced by what an attempt knows.
    pub(super) fn ready(&self, context: &TaskContext) -> Result<ReadyCommand, TaskError> {
        let mut scope = context.inputs().as_json().clone();
        scope["env"] = serde_json::json!(context.env());
        let text = |text: &str| -> Result<String, TaskError> {
            if !is_template(text) {
                return Ok(text.to_owned());
            }
            let rendered = Template::parse(text).and_then(|template| template.render(&scope));
            rendered.map_err(|error| {
                TaskError::ended(
                    crate::core::ending::Ending::BadInput,
                    format!("could not render `{text}`: {error}"),
                )
            })
        };
        let argv = match &self.command {
            CommandSpec::Argv(words) => words.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?,
            CommandSpec::Shell(script) if is_template(script) => {
                return Err(TaskError::new(
                    "a script holds an expression: pass its value through the environment",
                ));
            }
            CommandSpec::Shell(script) => {
                let shell = self.shell.as_deref().unwrap_or(TaskSpec::DEFAULT_SHELL);
                let words = shell.split_whitespace().chain([script.as_str()]);
                words.map(str::to_owned).collect()
            }
        };
        if argv.is_empty() {
            return Err(TaskError::new(
                "the command has no words: expected a program and its arguments",
            ));
        }
        let mut env = context.env().clone();
        for (name, value) in &self.env {
            env.insert(name.clone(), text(value)?);
        }
        let working_dir = match &self.working_dir {
            Some(folder) => context.working_dir().join(text(folder)?),
            None => context.working_dir().to_owned(),
        };
        Ok(ReadyCommand { argv, env, working_dir })
    }
}

/// Runs the program and publishes what it published.
impl Task for CommandTask {
    fn run(&self, context: TaskContext) -> TaskFuture<'_> {
        Box::pin(async move {
            for (key, value) in context.run_command(self).await? {
                context.outputs().set(key, value)?;
            }
            Ok(())
        })
    }
}
