//! What a task gets: its words, environment, folder and context, with every expression replaced.
//!
//! In go the run as it stands and the [`Surroundings`], which are the same for all; out comes an [`Attempt`] that an
//! engine can carry out, or the name of the expression that asks for something that does not exist. Reads neither files
//! nor Petit's own environment: that is an argument, so that nothing leaks into a task that was not listed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use super::{
    engine::{Attempt, AttemptFolder, AttemptKey, RustWork, Work},
    machine::RunMachine,
    secrets::{Secrets, Source},
};
use crate::core::{
    Timestamp,
    dag::TaskIndex,
    id::TaskId,
    job::Job,
    spec::{CommandSpec, SecretSource, TaskSpec},
    template::{Template, TemplateError, is_template},
    units::ByteSize,
};

/// What is the same for all tasks. The folders are absolute: tasks are told of them, and run elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// What [`base_environment`] made of Petit's own.
    pub env: BTreeMap<String, String>,
    /// The folder that holds `jobs_dir`: where tasks run unless they say otherwise, and what a relative `working_dir`
    /// is relative to.
    pub home: PathBuf,
    /// Where the files of attempts lie.
    pub state_dir: PathBuf,
    /// Names this Petit, so that the next one recognises the processes that outlived it.
    pub instance: String,
}

/// Why a task cannot be given its inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// An expression asks for something that does not exist.
    #[error("could not render {field} of task `{task}`")]
    Template {
        /// The task.
        task: TaskId,
        /// Which of its texts.
        field: String,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// Neither words nor a script, nor the name of a Rust task.
    #[error("task `{task}` has no command: expected a list of words, a script, or the name of a Rust task")]
    NoCommand {
        /// The task.
        task: TaskId,
    },
}

/// What every task may see of the environment.
const ALWAYS_PASSED: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "TZ"];
/// Where programs are looked for when Petit itself was started without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Of Petit's own environment what tasks may see: a few variables, and those that the settings name in `pass_env`.
pub fn base_environment(
    own: impl IntoIterator<Item = (String, String)>,
    pass_env: &[String],
) -> BTreeMap<String, String> {
    let passed = |name: &str| ALWAYS_PASSED.contains(&name) || pass_env.iter().any(|passed| passed == name);
    let mut env: BTreeMap<String, String> = own.into_iter().filter(|(name, _)| passed(name)).collect();
    env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    env
}

/// An attempt of a task, with everything rendered. `attempt` counts from 1.
///
/// The job's `env` is rendered first; the task's may name it; the command and the folder may name both. What comes from
/// Petit's own environment cannot be named: a job should not depend on who started Petit.
pub fn render(place: &Surroundings, run: &RunMachine, task: TaskIndex, attempt: u32) -> Result<Attempt, InputError> {
    let job = run.job();
    let id = job.dag.id(task);
    let spec = job.task(task);
    let key = AttemptKey {
        run: run.run().id,
        task: id.clone(),
        attempt,
    };
    let folder = AttemptFolder::new(&place.state_dir, &key);
    let context = context(run, task, attempt);
    let mut renderer = Renderer {
        task: id,
        scope: context.clone(),
    };
    let mut written = BTreeMap::new();
    for variables in [&job.spec.env, &spec.env] {
        renderer.scope["env"] = json!(written);
        for (name, text) in variables {
            let value = renderer.text(text, || format!("env.{name}"))?;
            written.insert(name.clone(), value);
        }
    }
    renderer.scope["env"] = json!(written);
    let work = match &spec.uses {
        Some(uses) => Work::Rust(RustWork {
            uses: uses.clone(),
            with: renderer.with(&spec.with)?,
            job: job.id.clone(),
            scheduled_at: run.run().scheduled_at,
            revision: run.run().revision.clone(),
        }),
        None => Work::Command(renderer.command(spec)?),
    };
    let working_dir = match &spec.working_dir {
        Some(folder) => place.home.join(renderer.text(folder, || "working_dir".to_owned())?),
        None => place.home.clone(),
    };
    let record = run.run();
    let own = [
        ("PETIT_JOB", job.id.to_string()),
        ("PETIT_RUN_ID", record.id.to_string()),
        ("PETIT_TASK", id.to_string()),
        ("PETIT_ATTEMPT", attempt.to_string()),
        ("PETIT_SCHEDULED_AT", job.scheduled(record.scheduled_at).0),
        // Empty rather than absent, so that a script under `set -u` may name it.
        ("PETIT_REVISION", record.revision.clone().unwrap_or_default()),
        ("PETIT_OUTPUT", folder.output().to_string_lossy().into_owned()),
        ("PETIT_CONTEXT", folder.context().to_string_lossy().into_owned()),
        ("PETIT_INSTANCE", place.instance.clone()),
    ];
    let mut env = place.env.clone();
    env.extend(written);
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Ok(Attempt {
        key,
        work,
        env,
        secrets: secrets(&place.home, job, task),
        working_dir,
        context,
        folder,
        timeout: spec.timeout.map(|timeout| timeout.to_std()),
        memory_limit: spec.limits.memory.map(ByteSize::as_bytes),
        kill_grace: spec.kill_grace.unwrap_or(TaskSpec::DEFAULT_KILL_GRACE).to_std(),
    })
}

/// What is hidden in all runs of a job: everything that any task of it is given, since they pass files and outputs on.
/// `home` is the folder that holds `jobs_dir`.
pub fn secrets_of_job(home: &Path, job: &Job) -> Secrets {
    let of_tasks = job.tasks.iter().flat_map(|task| task.secrets.values());
    let all = job.spec.secrets.values().chain(of_tasks);
    Secrets {
        given: BTreeMap::new(),
        hidden: all.map(|from| source(home, from)).collect(),
    }
}

/// Where the secrets of a task are found: its own come before the job's.
fn secrets(home: &Path, job: &Job, task: TaskIndex) -> Secrets {
    let given = job.spec.secrets.iter().chain(&job.task(task).secrets);
    Secrets {
        given: given.map(|(name, from)| (name.clone(), source(home, from))).collect(),
        ..secrets_of_job(home, job)
    }
}

fn source(home: &Path, from: &SecretSource) -> Source {
    match from {
        SecretSource::File(path) => Source::File(home.join(path)),
        SecretSource::Env(variable) => Source::Env(variable.clone()),
    }
}

/// What the file named by `$PETIT_CONTEXT` says, and what expressions can name besides `env`: `params`, `config`, `run`
/// and, of all tasks above this one, `tasks`.
fn context(run: &RunMachine, task: TaskIndex, attempt: u32) -> Value {
    let (job, record) = (run.job(), run.run());
    let (scheduled_at, scheduled_date) = job.scheduled(record.scheduled_at);
    let mut about = Map::new();
    about.insert("id".to_owned(), json!(record.id));
    about.insert("job".to_owned(), json!(record.job));
    about.insert("scheduled_at".to_owned(), json!(scheduled_at));
    about.insert("scheduled_date".to_owned(), json!(scheduled_date));
    about.insert("attempt".to_owned(), json!(attempt));
    if let Some(started) = record.started_at {
        about.insert("started_at".to_owned(), json!(instant(started)));
    }
    // Empty outside a git repository, like the variable.
    about.insert(
        "revision".to_owned(),
        json!(record.revision.as_deref().unwrap_or_default()),
    );
    let ancestors = job.dag.ancestors(task).into_iter();
    let tasks: Map<String, Value> = ancestors
        .map(|index| {
            let above = run.task(index);
            let mut entry = Map::new();
            entry.insert("status".to_owned(), json!(above.state));
            entry.insert("outputs".to_owned(), json!(above.outputs));
            if let Some(code) = run.last_ending(index).and_then(|ending| ending.exit_code()) {
                entry.insert("exit_code".to_owned(), json!(code));
            }
            (above.task.to_string(), Value::Object(entry))
        })
        .collect();
    json!({ "params": record.params, "config": job.spec.config, "run": about, "tasks": tasks })
}

fn instant(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

struct Renderer<'a> {
    task: &'a TaskId,
    scope: Value,
}

impl Renderer<'_> {
    fn text(&self, text: &str, field: impl Fn() -> String) -> Result<String, InputError> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let rendered = Template::parse(text).and_then(|template| template.render(&self.scope));
        rendered.map_err(|source| InputError::Template {
            task: self.task.clone(),
            field: field(),
            source,
        })
    }

    /// The inputs of a Rust task, with the expressions in their texts replaced, at any depth.
    fn with(&self, inputs: &Map<String, Value>) -> Result<Map<String, Value>, InputError> {
        let rendered = inputs.iter().map(|(key, value)| {
            let value = self.value(value, &format!("with.{key}"))?;
            Ok((key.clone(), value))
        });
        rendered.collect()
    }

    fn value(&self, value: &Value, field: &str) -> Result<Value, InputError> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text, || field.to_owned())?),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.value(item, field));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| {
                    let value = self.value(value, &format!("{field}.{key}"))?;
                    Ok((key.clone(), value))
                });
                Value::Object(entries.collect::<Result<_, _>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// A list as it is, with its expressions replaced; a script as the last word of its shell, untouched: text pasted
    /// into a script is an injection, so it may hold no expressions.
    fn command(&self, spec: &TaskSpec) -> Result<Vec<String>, InputError> {
        let no_command = || InputError::NoCommand {
            task: self.task.clone(),
        };
        match spec.command.as_ref().ok_or_else(no_command)? {
            CommandSpec::Argv(words) if words.is_empty() => Err(no_command()),
            CommandSpec::Argv(words) => {
                let words = words.iter().enumerate();
                words
                    .map(|(index, word)| self.text(word, || format!("command[{index}]")))
                    .collect()
            }
            CommandSpec::Shell(script) => {
                let shell = spec.shell.as_deref().unwrap_or(TaskSpec::DEFAULT_SHELL);
                let words = shell.split_whitespace().chain([script.as_str()]);
                Ok(words.map(str::to_owned).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            ending::Ending,
            id::{RunId, SpecHash},
            record::{RunRecord, TaskRecord},
            state::Trigger,
        },
        execution::{engine::AttemptEnd, machine::Input},
        storage::RunDetail,
    };

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(second, 0).expect("a valid instant")
    }

    fn place() -> Surroundings {
        let own = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("SECRET", "s"),
            ("SSH_AUTH_SOCK", "/sock"),
        ];
        Surroundings {
            env: base_environment(
                own.map(|(name, value)| (name.into(), value.into())),
                &["SSH_AUTH_SOCK".into()],
            ),
            home: "/srv/petit".into(),
            state_dir: "/state".into(),
            instance: "i1".into(),
        }
    }

    /// A run of the job whose first task has ended like this and published that.
    fn machine(yaml: &str, ending: Ending, outputs: Value) -> RunMachine {
        let job = crate::execution::fixtures::job("j", yaml);
        let run = RunRecord {
            scheduled_at: at(86_400),
            revision: Some("abc".into()),
            params: serde_json::from_value(json!({"day": "2026-01-31", "n": 3})).expect("a map"),
            ..RunRecord::queued(
                RunId::from_parts(at(0), 1),
                job.id.clone(),
                SpecHash::of(b""),
                Trigger::Manual,
                at(0),
            )
        };
        let detail = RunDetail {
            tasks: TaskRecord::of_new_run(&job, run.id),
            run,
            attempts: Vec::new(),
        };
        let mut machine = RunMachine::new(job, detail);
        machine.begin(at(86_400));
        machine.step(Input::Granted(0), at(86_401));
        let mut end = AttemptEnd::without_process(ending, at(86_402), None);
        end.outputs = serde_json::from_value(outputs).expect("a map");
        machine.step(
            Input::Ended {
                task: 0,
                attempt: 1,
                end,
            },
            at(86_402),
        );
        machine
    }

    fn words(attempt: &Attempt) -> Vec<String> {
        match &attempt.work {
            Work::Command(words) => words.clone(),
            Work::Rust(work) => panic!("expected a command: {work:?}"),
        }
    }

    const JOB: &str = r#"
params: {day: {}, n: {type: integer}}
config: {root: /data, nested: {batch: 500}}
env: {OUT: "${{ config.root }}/raw", WHO: job}
tasks:
  first: {command: [x]}
  second:
    depends_on: [first]
    condition: all_done
    command: [run, "--day=${{ params.day }}", "${{ tasks.first.outputs.rows }} ${{ tasks.first.status }}", "$HOME ${x}", "${{ env.FILE }}"]
    env: {FILE: "${{ env.OUT }}/${{ run.scheduled_date }}.csv", WHO: task}
    working_dir: work/${{ config.nested.batch }}
    timeout: 5s
    limits: {memory: 1MiB}
"#;

    #[test]
    fn everything_is_rendered_and_nothing_else_leaks_in() {
        let machine = machine(JOB, Ending::Exited(0), json!({"rows": 1200}));
        let attempt = render(&place(), &machine, 1, 2).expect("every name exists");
        let file = "/data/raw/1970-01-02.csv";
        assert_eq!(
            words(&attempt),
            ["run", "--day=2026-01-31", "1200 succeeded", "$HOME ${x}", file]
        );
        assert_eq!(attempt.working_dir, PathBuf::from("/srv/petit/work/500"));
        assert_eq!(
            (attempt.timeout, attempt.kill_grace.as_secs()),
            (Some(std::time::Duration::from_secs(5)), 10)
        );
        assert_eq!(attempt.memory_limit, Some(1 << 20));
        let run = machine.run().id.to_string();
        let folder = format!("/state/runs/{run}/second.2");
        let expected: BTreeMap<String, String> = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("SSH_AUTH_SOCK", "/sock"),
            ("OUT", "/data/raw"),
            ("WHO", "task"),
            ("FILE", file),
            ("PETIT_JOB", "j"),
            ("PETIT_RUN_ID", &run),
            ("PETIT_TASK", "second"),
            ("PETIT_ATTEMPT", "2"),
            ("PETIT_SCHEDULED_AT", "1970-01-02T00:00:00Z"),
            ("PETIT_REVISION", "abc"),
            ("PETIT_OUTPUT", &format!("{folder}/output")),
            ("PETIT_CONTEXT", &format!("{folder}/context.json")),
            ("PETIT_INSTANCE", "i1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(attempt.env, expected);
        let context = json!({
            "params": {"day": "2026-01-31", "n": 3},
            "config": {"root": "/data", "nested": {"batch": 500}},
            "run": {
                "id": run, "job": "j", "scheduled_at": "1970-01-02T00:00:00Z", "scheduled_date": "1970-01-02",
                "started_at": "1970-01-02T00:00:01Z", "attempt": 2, "revision": "abc",
            },
            "tasks": {"first": {"status": "succeeded", "exit_code": 0, "outputs": {"rows": 1200}}},
        });
        assert_eq!(attempt.context, context);
    }

    #[test]
    fn an_output_that_was_not_written_is_an_error_of_the_task_that_asks() {
        let machine = machine(JOB, Ending::Exited(0), json!({}));
        let error = render(&place(), &machine, 1, 1).expect_err("no rows");
        assert_eq!(error.to_string(), "could not render command[2] of task `second`");
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(source.contains("tasks.first.outputs.rows"), "{source}");
    }

    #[test]
    fn what_a_rust_task_is_given_is_rendered_at_any_depth() {
        let yaml = r#"
params: {day: {}, n: {type: integer}}
tasks:
  first: {command: [x]}
  second:
    depends_on: [first]
    uses: load
    with: {table: "t_${{ params.day }}", rows: 3, more: [{n: "${{ tasks.first.outputs.rows }}"}, null, "$x"]}
"#;
        let machine = machine(yaml, Ending::Exited(0), json!({"rows": 1200}));
        let attempt = render(&place(), &machine, 1, 1).expect("every name exists");
        let Work::Rust(work) = attempt.work else {
            panic!("expected a Rust task: {:?}", attempt.work);
        };
        let with = json!({"table": "t_2026-01-31", "rows": 3, "more": [{"n": "1200"}, null, "$x"]});
        assert_eq!((work.uses.as_str(), json!(work.with)), ("load", with));
        assert_eq!((work.job.as_str(), work.scheduled_at), ("j", at(86_400)));
    }

    #[test]
    fn a_script_is_the_last_word_of_its_shell() {
        let job = "tasks: {a: {command: [x]}, b: {command: 'echo \"$A\"', shell: 'bash  -c'}, c: {command: 'true'}}";
        let machine = machine(job, Ending::Signalled(9), json!({}));
        let argv = |task| words(&render(&place(), &machine, task, 1).expect("no expressions"));
        assert_eq!(argv(1), ["bash", "-c", "echo \"$A\""]);
        assert_eq!(argv(2), ["/bin/sh", "-eu", "-c", "true"]);
    }

    #[test]
    fn secrets_are_named_and_not_read() {
        let yaml = "secrets: {A: {file: keys/a}, B: {env: OUTER}}\n\
                    tasks: {first: {command: [x]}, second: {command: [x], secrets: {A: {file: /run/a}, C: {env: C}}}}";
        let machine = machine(yaml, Ending::Exited(0), json!({}));
        let of = |task| render(&place(), &machine, task, 1).expect("no expressions");
        let file = |path: &str| Source::File(path.into());
        let env = |name: &str| Source::Env(name.to_owned());
        let named = |all: &[(&str, Source)]| -> BTreeMap<String, Source> {
            all.iter()
                .map(|(name, source)| ((*name).to_owned(), source.clone()))
                .collect()
        };
        let (first, second) = (of(0), of(1));
        let a = file("/srv/petit/keys/a");
        assert_eq!(first.secrets.given, named(&[("A", a.clone()), ("B", env("OUTER"))]));
        let own = named(&[("A", file("/run/a")), ("B", env("OUTER")), ("C", env("C"))]);
        assert_eq!(second.secrets.given, own);
        assert_eq!(first.secrets.hidden, [a, env("OUTER"), file("/run/a"), env("C")]);
        assert_eq!(second.secrets.hidden, first.secrets.hidden);
        assert!(!first.env.contains_key("A"));
    }

    #[test]
    fn programs_are_found_even_without_a_path() {
        assert_eq!(base_environment([], &[])["PATH"], DEFAULT_PATH);
    }
}
