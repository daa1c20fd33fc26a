//! Whether every `${{ … }}` of a spec asks for something that can exist where it stands.
//!
//! What a place can see differs: a parameter's default is rendered before any task has started, a job's `env` belongs to
//! every task alike, and a task sees only the tasks that end before it. Values are not rendered here.

use serde_json::{Map, Value};

use super::{Violation, pointer_to};
use crate::core::{
    dag::Dag,
    spec::{CommandSpec, JobSpec, TaskSpec},
    suggest::did_you_mean,
    template::{Reference, RunField, Template, is_template},
};

/// Checks every expression of the spec. Without a graph, whether a task comes after another is not asked.
pub fn check(spec: &JobSpec, dag: Option<&Dag>, found: &mut Vec<Violation>) {
    let job = Scope {
        spec,
        place: "the job's `env`",
        run: &ALL_RUN_FIELDS,
        env: Env::None,
        task: None,
    };
    for (name, param) in &spec.params {
        if let Some(Value::String(text)) = &param.default {
            let scope = Scope {
                place: "a parameter's default",
                run: &RUN_FIELDS_BEFORE_START,
                ..job
            };
            scope.check(text, || pointer_to(&["params", name, "default"]), found);
        }
    }
    for (name, text) in &spec.env {
        job.check(text, || pointer_to(&["env", name]), found);
    }
    let defaults = Scope {
        place: "`defaults`",
        env: Env::Job,
        ..job
    };
    if let Some(text) = &spec.defaults.working_dir {
        defaults.check(text, || "/defaults/working_dir".to_owned(), found);
    }
    if let Some(text) = &spec.defaults.shell {
        refuse_in_shell(text, "/defaults/shell".to_owned(), found);
    }
    for (id, task) in &spec.tasks {
        let id = id.as_str();
        let own = Scope {
            place: "this task",
            task: Some(TaskScope { id, dag }),
            ..job
        };
        for (name, text) in &task.env {
            let scope = Scope { env: Env::Job, ..own };
            scope.check(text, || pointer_to(&["tasks", id, "env", name]), found);
        }
        let full = Scope {
            env: Env::Task(task),
            ..own
        };
        if let Some(text) = &task.working_dir {
            full.check(text, || pointer_to(&["tasks", id, "working_dir"]), found);
        }
        if let Some(text) = &task.shell {
            refuse_in_shell(text, pointer_to(&["tasks", id, "shell"]), found);
        }
        for (key, value) in &task.with {
            full.check_value(value, &["tasks", id, "with", key], found);
        }
        match &task.command {
            None => {}
            Some(CommandSpec::Shell(text)) => refuse_in_shell(text, pointer_to(&["tasks", id, "command"]), found),
            Some(CommandSpec::Argv(words)) => {
                for (i, word) in words.iter().enumerate() {
                    full.check(word, || pointer_to(&["tasks", id, "command", &i.to_string()]), found);
                }
            }
        }
    }
}

const ALL_RUN_FIELDS: [RunField; 7] = [
    RunField::Id,
    RunField::Job,
    RunField::ScheduledAt,
    RunField::ScheduledDate,
    RunField::StartedAt,
    RunField::Attempt,
    RunField::Revision,
];

/// Parameters are rendered when the run is created.
const RUN_FIELDS_BEFORE_START: [RunField; 5] = [
    RunField::Id,
    RunField::Job,
    RunField::ScheduledAt,
    RunField::ScheduledDate,
    RunField::Revision,
];

/// What an expression can see from where it stands.
#[derive(Clone, Copy)]
struct Scope<'a> {
    spec: &'a JobSpec,
    /// For messages.
    place: &'static str,
    run: &'a [RunField],
    env: Env<'a>,
    task: Option<TaskScope<'a>>,
}

#[derive(Clone, Copy)]
enum Env<'a> {
    /// Nothing: the place is itself part of what would be asked for, or comes before it.
    None,
    /// The job's.
    Job,
    /// The job's and the task's.
    Task(&'a TaskSpec),
}

#[derive(Clone, Copy)]
struct TaskScope<'a> {
    id: &'a str,
    dag: Option<&'a Dag>,
}

impl Scope<'_> {
    fn check(&self, text: &str, pointer: impl Fn() -> String, found: &mut Vec<Violation>) {
        if !is_template(text) {
            return;
        }
        match Template::parse(text) {
            Err(error) => found.push(Violation {
                within: Some(error.range),
                expected: Some("`${{ NAME }}`, or `${{ NAME | FILTER }}`".to_owned()),
                hint: Some("names are `params.*`, `config.*`, `env.*`, `run.*` and `tasks.*`".to_owned()),
                ..Violation::new(pointer(), "expression", error.message)
            }),
            Ok(template) => {
                for (reference, range) in template.placed_references() {
                    if let Some(fault) = self.fault(reference) {
                        found.push(Violation {
                            expected: fault.expected,
                            hint: fault.hint,
                            within: Some(range),
                            ..Violation::new(pointer(), fault.code, fault.message)
                        });
                    }
                }
            }
        }
    }

    /// Checks every text in a value, at any depth.
    fn check_value(&self, value: &Value, place: &[&str], found: &mut Vec<Violation>) {
        match value {
            Value::String(text) => self.check(text, || pointer_to(place), found),
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.check_value(item, &[place, &[i.to_string().as_str()]].concat(), found);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    self.check_value(item, &[place, &[key.as_str()]].concat(), found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn fault(&self, reference: &Reference) -> Option<Fault> {
        match reference {
            Reference::Param(_) if matches!(self.place, "a parameter's default") => Some(Fault {
                expected: Some(format!("`config.*`, or {}", names_of(self.run))),
                hint: Some("use `config.*` or `run.*`".to_owned()),
                ..Fault::new("name-out-of-place", "a parameter's default cannot use other parameters")
            }),
            Reference::Param(name) => {
                let known = || self.spec.params.keys().map(String::as_str);
                (!known().any(|known| known == name)).then(|| Fault {
                    expected: Some("a key of the job's `params`".to_owned()),
                    hint: did_you_mean(name, known()).or_else(|| Some("add it to `params`".to_owned())),
                    ..Fault::new("unknown-param", format!("the job has no parameter `{name}`"))
                })
            }
            Reference::Config(path) => {
                let known: Vec<&str> = self.spec.config.keys().map(String::as_str).collect();
                (!exists(&self.spec.config, path)).then(|| Fault {
                    expected: Some("a key of the job's `config`".to_owned()),
                    hint: did_you_mean(&path[0], known)
                        .filter(|_| path.len() == 1)
                        .or_else(|| Some("add it to `config`".to_owned())),
                    ..Fault::new(
                        "unknown-config",
                        format!("the job's `config` has no `{}`", path.join(".")),
                    )
                })
            }
            Reference::Env(name) => self.env_fault(name),
            Reference::Run(field) => (!self.run.contains(field)).then(|| Fault {
                expected: Some(names_of(self.run)),
                hint: Some("use it in the `env` or the command of a task".to_owned()),
                ..Fault::new(
                    "name-out-of-place",
                    "a parameter's default is rendered before the run starts, when this is not known",
                )
            }),
            Reference::TaskOutput { task, .. } | Reference::TaskStatus { task } | Reference::TaskExitCode { task } => {
                self.task_fault(task)
            }
            Reference::Unknown(name) => Some(unknown(name)),
        }
    }

    fn env_fault(&self, name: &str) -> Option<Fault> {
        let job = self.spec.env.keys();
        let known: Vec<&str> = match self.env {
            Env::None => {
                return Some(Fault {
                    expected: Some("a name that begins with `config.`, `params.` or `run.`".to_owned()),
                    hint: Some("use `config.*` or `params.*` for a value that several places need".to_owned()),
                    ..Fault::new("name-out-of-place", format!("{} cannot use `env.*`", self.place))
                });
            }
            Env::Job => job.map(String::as_str).collect(),
            Env::Task(task) => job.chain(task.env.keys()).map(String::as_str).collect(),
        };
        (!known.contains(&name)).then(|| Fault { expected: Some("a variable that `env` sets".to_owned()),
            hint: did_you_mean(name, known).or_else(|| {
                Some(format!(
                    "`env.*` holds what the job's and the task's `env` set; a command in a shell reads `${name}` by itself"
                ))
            }),
            ..Fault::new("unknown-env", format!("`{name}` is not set in `env`"))
        })
    }

    fn task_fault(&self, task: &str) -> Option<Fault> {
        let Some(own) = self.task else {
            return Some(Fault {
                expected: Some("a name that is known before any task has run".to_owned()),
                hint: Some("use it in the `env` or the command of a task that depends on it".to_owned()),
                ..Fault::new(
                    "name-out-of-place",
                    format!("{} cannot use what a task has done", self.place),
                )
            });
        };
        let known = || self.spec.tasks.keys().map(super::TaskId::as_str);
        if !known().any(|known| known == task) {
            return Some(Fault {
                expected: Some("the id of a task of this job".to_owned()),
                hint: did_you_mean(task, known()).or_else(|| Some("add it to `tasks` and to `depends_on`".to_owned())),
                ..Fault::new("unknown-task", format!("the job has no task `{task}`"))
            });
        }
        if own.id == task {
            return Some(Fault {
                expected: Some("a task that ends before this one".to_owned()),
                hint: Some("name a task of this one's `depends_on`".to_owned()),
                ..Fault::new(
                    "not-upstream",
                    format!("`{task}` cannot use what it has not done yet itself"),
                )
            });
        }
        let dag = own.dag?;
        let (here, there) = (dag.index_of(own.id)?, dag.index_of(task)?);
        (!dag.ancestors(here).contains(&there)).then(|| Fault {
            expected: Some("a task that ends before this one".to_owned()),
            hint: Some(format!("add `{task}` to the `depends_on` of `{}`", own.id)),
            ..Fault::new(
                "not-upstream",
                format!(
                    "`{}` does not depend on `{task}`, so it cannot use what that task has done",
                    own.id
                ),
            )
        })
    }
}

struct Fault {
    code: &'static str,
    message: String,
    expected: Option<String>,
    hint: Option<String>,
}

impl Fault {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            expected: None,
            hint: None,
        }
    }
}

fn exists(config: &Map<String, Value>, path: &[String]) -> bool {
    let mut keys = path.iter();
    let first = keys.next().and_then(|key| config.get(key));
    keys.try_fold(first, |value, key| match value? {
        Value::Object(map) => Some(map.get(key)),
        Value::Array(items) => Some(key.parse::<usize>().ok().and_then(|i| items.get(i))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
    .flatten()
    .is_some()
}

fn names_of(fields: &[RunField]) -> String {
    let names: Vec<&str> = RunField::ALL
        .iter()
        .filter(|(_, field)| fields.contains(field))
        .map(|(name, _)| *name)
        .collect();
    format!("run.{{{}}}", names.join(","))
}

fn unknown(name: &str) -> Fault {
    let words: Vec<&str> = name.split('.').collect();
    let roots = ["params", "config", "env", "run", "tasks"];
    let hint = match words[..] {
        ["run", field] => did_you_mean(field, RunField::ALL.map(|(name, _)| name)),
        ["tasks", task, key] => Some(format!("a task's output is named `tasks.{task}.outputs.{key}`")),
        ["secrets" | "secret", name] => Some(format!(
            "a secret is a variable of the task's environment: let the command read `${name}`"
        )),
        [root] if roots.contains(&root) => Some(format!("say which: `{root}.NAME`")),
        [root, ..] => did_you_mean(root, roots).filter(|_| !roots.contains(&root)),
        [] => None,
    };
    let hint = hint.or_else(|| Some("give other values to the job as `params`, `config` or `env`".to_owned()));
    let expected = match words[..] {
        ["params", ..] => "`params.NAME`".to_owned(),
        ["config", ..] => "`config.KEY`, and keys inside it".to_owned(),
        ["env", ..] => "`env.NAME`".to_owned(),
        ["run", ..] => names_of(&ALL_RUN_FIELDS),
        ["tasks", ..] => "`tasks.ID.outputs.KEY`, `tasks.ID.status` or `tasks.ID.exit_code`".to_owned(),
        [..] => "a name that begins with `params.`, `config.`, `env.`, `run.` or `tasks.`".to_owned(),
    };
    Fault {
        expected: Some(expected),
        hint,
        ..Fault::new("unknown-name", format!("`{name}` is not a name that Petit knows"))
    }
}

/// A value pasted into a script is code to the shell: a parameter could run anything.
fn refuse_in_shell(text: &str, pointer: String, found: &mut Vec<Violation>) {
    let Some(start) = text.find("${{") else { return };
    let end = text[start..].find("}}").map_or(text.len(), |length| start + length + 2);
    let expression = &text[start..end];
    found.push(Violation {
        expected: Some("a script without expressions".to_owned()),
        hint: Some(format!(
            "pass it through the environment: `env: {{VALUE: \"{expression}\"}}`, and write \"$VALUE\" in the script"
        )),
        within: Some(start..end),
        ..Violation::new(
            pointer,
            "expression-in-shell",
            "an expression inside a shell script would let its value run as code",
        )
    });
}
