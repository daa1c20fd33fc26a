//! The rules of a job that neither its schema nor its types can say, apart from schedule and expressions.

use std::collections::BTreeMap;

use super::{Violation, params::InvalidParam, pointer_to};
use crate::core::{
    dag::DagError,
    id::JobId,
    spec::{CommandSpec, JobCondition, JobSpec, ParamSpec, ParamType, SecretSource, TaskSpec},
    suggest::did_you_mean,
    template::is_template,
    units::HumanDuration,
};

/// Checks everything that needs only the spec.
pub fn check(spec: &JobSpec, id: &JobId, found: &mut Vec<Violation>) {
    check_dependencies(spec, id, found);
    for (name, param) in &spec.params {
        check_param(name, param, found);
    }
    check_env(&spec.env, &["env"], found);
    check_secrets(&spec.secrets, &[&spec.env], &["secrets"], found);
    check_timeout(spec.timeout, &["timeout"], found);
    check_timeout(spec.defaults.timeout, &["defaults", "timeout"], found);
    check_text(spec.defaults.shell.as_deref(), &["defaults", "shell"], found);
    check_text(
        spec.defaults.working_dir.as_deref(),
        &["defaults", "working_dir"],
        found,
    );
    for (task_id, task) in &spec.tasks {
        check_task(task_id.as_str(), task, found);
        let place = ["tasks", task_id.as_str(), "secrets"];
        check_secrets(&task.secrets, &[&spec.env, &task.env], &place, found);
        // The job's secrets are given to the task too, and its `env` must not take their names.
        for name in task.env.keys().filter(|name| spec.secrets.contains_key(*name)) {
            found.push(both(name, &["tasks", task_id.as_str(), "env", name]));
        }
    }
}

/// A window is read only with `within_window`.
pub fn unused_windows(spec: &JobSpec) -> Vec<Violation> {
    spec.depends_on
        .iter()
        .enumerate()
        .filter(|(_, dependency)| dependency.window.is_some() && dependency.condition != JobCondition::WithinWindow)
        .map(|(i, _)| Violation {
            hint: Some("write `condition: within_window`, or remove `window`".to_owned()),
            at_key: true,
            ..Violation::new(
                format!("/depends_on/{i}/window"),
                "unused-window",
                "`window` has no effect without `condition: within_window`",
            )
        })
        .collect()
}

/// Where a fault of the graph stands in the spec.
pub fn dag_violation(spec: &JobSpec, error: &DagError) -> Violation {
    let at = |task: &str, position: usize| pointer_to(&["tasks", task, "depends_on", &position.to_string()]);
    match error {
        DagError::Unknown {
            task,
            position,
            missing,
        } => {
            let known = spec
                .tasks
                .keys()
                .map(|id| id.as_str())
                .filter(|id| *id != task.as_str());
            Violation {
                expected: Some("the id of a task of this job".to_owned()),
                hint: did_you_mean(missing.as_str(), known).or_else(|| {
                    Some("add it to `tasks`, or remove it here; other jobs stand in the job's `depends_on`".to_owned())
                }),
                ..Violation::new(at(task.as_str(), *position), "unknown-task", error.to_string())
            }
        }
        DagError::Repeated { task, position, .. } => Violation {
            expected: Some("each task once".to_owned()),
            hint: Some("remove one of the two".to_owned()),
            ..Violation::new(at(task.as_str(), *position), "repeated-dependency", error.to_string())
        },
        DagError::Cycle(cycle) => {
            let first = &cycle[0];
            let next = cycle.get(1).unwrap_or(first);
            let position = spec
                .tasks
                .get(first)
                .and_then(|task| task.depends_on.iter().position(|up| up == next))
                .unwrap_or(0);
            Violation {
                expected: Some("tasks that can run one after another".to_owned()),
                hint: Some("remove one of these dependencies".to_owned()),
                ..Violation::new(at(first.as_str(), position), "task-cycle", error.to_string())
            }
        }
    }
}

fn check_dependencies(spec: &JobSpec, id: &JobId, found: &mut Vec<Violation>) {
    for (i, dependency) in spec.depends_on.iter().enumerate() {
        let job = &dependency.job;
        if job == id {
            found.push(Violation {
                expected: Some("another job".to_owned()),
                hint: Some("remove it; `overlap` says what happens while a run of the job is going".to_owned()),
                ..Violation::new(
                    format!("/depends_on/{i}/job"),
                    "job-cycle",
                    format!("the job depends on itself: {id} -> {id}"),
                )
            });
        }
        if spec.depends_on[..i].iter().any(|earlier| earlier.job == *job) {
            found.push(Violation {
                expected: Some("each job once".to_owned()),
                hint: Some("remove one of the two".to_owned()),
                ..Violation::new(
                    format!("/depends_on/{i}/job"),
                    "repeated-dependency",
                    format!("`{job}` is listed twice in depends_on"),
                )
            });
        }
        if dependency.condition == JobCondition::WithinWindow && dependency.window.is_none() {
            found.push(Violation {
                expected: Some("`window`, how recent the success must be".to_owned()),
                hint: Some("add, for example, `window: 6h`".to_owned()),
                ..Violation::new(
                    format!("/depends_on/{i}/condition"),
                    "missing-window",
                    "`within_window` needs a `window`",
                )
            });
        }
    }
}

fn check_param(name: &str, param: &ParamSpec, found: &mut Vec<Violation>) {
    let at = |key: &str| pointer_to(&["params", name, key]);
    if !is_variable_name(name, true) {
        found.push(Violation {
            expected: Some("letters, digits, `_` and `-`, the first a letter or `_`".to_owned()),
            hint: Some("an expression could not name it otherwise; choose another name".to_owned()),
            at_key: true,
            ..Violation::new(
                pointer_to(&["params", name]),
                "param-name",
                format!("`{name}` cannot name a parameter"),
            )
        });
    }
    if param.pattern.is_some() && param.kind != ParamType::String {
        found.push(Violation {
            expected: Some("no pattern beside a type other than `string`".to_owned()),
            hint: Some("remove it, or make the type `string`".to_owned()),
            at_key: true,
            ..Violation::new(
                at("pattern"),
                "pattern-without-string",
                "only a text can have a pattern",
            )
        });
        return;
    }
    let rendered_later = param
        .default
        .as_ref()
        .and_then(|value| value.as_str())
        .is_some_and(is_template);
    let problem = match &param.default {
        Some(default) if !rendered_later => param.check(default),
        Some(_) | None => param.compiled_pattern().map(|_| ()),
    };
    let Err(problem) = problem else { return };
    let message = problem.to_string();
    found.push(match problem {
        InvalidParam::Type { expected, ref found } => Violation {
            expected: Some(expected.with_article().to_owned()),
            hint: Some(
                if expected == ParamType::String && !found.starts_with(['[', '{', 'n']) {
                    format!("write it in quotes: \"{found}\"")
                } else {
                    "change the default, or the `type`".to_owned()
                },
            ),
            ..Violation::new(at("default"), "param-default", format!("the default {message}"))
        },
        InvalidParam::Pattern { .. } => Violation {
            expected: Some("a text that the pattern matches".to_owned()),
            hint: Some("change one of the two, or remove the default so that the value must be given".to_owned()),
            ..Violation::new(at("default"), "param-default", format!("the default {message}"))
        },
        InvalidParam::BadPattern { .. } => Violation {
            expected: Some("a regular expression of Rust's `regex` crate".to_owned()),
            hint: Some(
                "write a `\\` before a sign that means itself, as in `\\[`, and keep the pattern in '…'".to_owned(),
            ),
            ..Violation::new(at("pattern"), "bad-pattern", message)
        },
    });
}

fn check_task(id: &str, task: &TaskSpec, found: &mut Vec<Violation>) {
    match &task.command {
        None => {}
        Some(CommandSpec::Shell(script)) => check_text(Some(script), &["tasks", id, "command"], found),
        Some(CommandSpec::Argv(words)) => {
            for (i, word) in words.iter().enumerate() {
                let i = i.to_string();
                let place = ["tasks", id, "command", i.as_str()];
                if i == "0" {
                    check_text(Some(word), &place, found);
                } else {
                    check_nul(word, &place, found);
                }
            }
        }
    }
    check_uses(id, task, found);
    check_env(&task.env, &["tasks", id, "env"], found);
    check_timeout(task.timeout, &["tasks", id, "timeout"], found);
    if task.limits.memory.is_some_and(|memory| memory.as_bytes() == 0) {
        found.push(Violation {
            expected: Some("more than nothing".to_owned()),
            hint: Some("leave the key away for no limit".to_owned()),
            ..Violation::new(
                pointer_to(&["tasks", id, "limits", "memory"]),
                "zero-limit",
                "nothing can run within 0 bytes",
            )
        });
    }
    check_text(task.shell.as_deref(), &["tasks", id, "shell"], found);
    check_text(task.working_dir.as_deref(), &["tasks", id, "working_dir"], found);
}

/// What goes together with a Rust task, and what does not.
fn check_uses(id: &str, task: &TaskSpec, found: &mut Vec<Violation>) {
    check_text(task.uses.as_deref(), &["tasks", id, "uses"], found);
    if task.uses.is_none() && !task.with.is_empty() {
        found.push(Violation {
            expected: Some("`with` beside `uses`".to_owned()),
            hint: Some("remove it; a command takes its inputs as arguments and from `env`".to_owned()),
            at_key: true,
            ..Violation::new(
                pointer_to(&["tasks", id, "with"]),
                "with-without-uses",
                "only a Rust task can be given `with`",
            )
        });
    }
    if task.uses.is_some() && task.limits.memory.is_some() {
        found.push(Violation {
            expected: Some("no limit beside `uses`".to_owned()),
            hint: Some("remove it; a Rust task shares the memory of its program".to_owned()),
            at_key: true,
            ..Violation::new(
                pointer_to(&["tasks", id, "limits", "memory"]),
                "limits-of-rust-task",
                "the memory of a Rust task cannot be limited",
            )
        });
    }
}

fn check_env(env: &BTreeMap<String, String>, place: &[&str], found: &mut Vec<Violation>) {
    for (name, value) in env {
        let place = [place, &[name.as_str()]].concat();
        check_variable(name, &place, found);
        check_nul(value, &place, found);
    }
}

/// Secrets are variables whose values stand elsewhere.
fn check_secrets(
    secrets: &BTreeMap<String, SecretSource>,
    beside: &[&BTreeMap<String, String>],
    place: &[&str],
    found: &mut Vec<Violation>,
) {
    for (name, source) in secrets {
        let place = [place, &[name.as_str()]].concat();
        check_variable(name, &place, found);
        if beside.iter().any(|env| env.contains_key(name)) {
            found.push(both(name, &place));
        }
        let (key, text) = match source {
            SecretSource::File(path) => ("file", path),
            SecretSource::Env(variable) => ("env", variable),
        };
        let place = [place.as_slice(), &[key]].concat();
        check_text(Some(text), &place, found);
        if is_template(text) {
            found.push(Violation {
                expected: Some("a text without expressions".to_owned()),
                hint: Some("write the path or the variable itself".to_owned()),
                ..Violation::new(
                    pointer_to(&place),
                    "expression-in-secret",
                    "expressions are not replaced where a secret is named",
                )
            });
        }
    }
}

/// Which of the two a task would get should not be a question.
fn both(name: &str, place: &[&str]) -> Violation {
    Violation {
        expected: Some("each variable once".to_owned()),
        hint: Some("remove one of the two, or choose another name".to_owned()),
        at_key: true,
        ..Violation::new(
            pointer_to(place),
            "env-and-secret",
            format!("`{name}` is both in `env` and in `secrets`"),
        )
    }
}

fn check_variable(name: &str, place: &[&str], found: &mut Vec<Violation>) {
    if name.to_ascii_uppercase().starts_with("PETIT_") {
        found.push(Violation {
            expected: Some("a name that does not begin with `PETIT_`".to_owned()),
            hint: Some("Petit sets those itself; choose another name".to_owned()),
            at_key: true,
            ..Violation::new(
                pointer_to(place),
                "reserved-env",
                format!("`{name}` is reserved for Petit"),
            )
        });
    } else if !is_variable_name(name, false) {
        found.push(Violation {
            expected: Some("letters, digits and `_`, the first not a digit".to_owned()),
            hint: Some(match name.bytes().next() {
                None => "give it a name".to_owned(),
                Some(first) if first.is_ascii_digit() => format!("write `_{name}`"),
                Some(_) => "write `-` and `.` as `_`".to_owned(),
            }),
            at_key: true,
            ..Violation::new(
                pointer_to(place),
                "env-name",
                format!("`{name}` cannot name an environment variable"),
            )
        });
    }
}

fn check_timeout(timeout: Option<HumanDuration>, place: &[&str], found: &mut Vec<Violation>) {
    if timeout.is_some_and(|timeout| timeout.as_millis() == 0) {
        found.push(Violation {
            expected: Some("a duration longer than nothing".to_owned()),
            hint: Some("leave the key away for no timeout".to_owned()),
            ..Violation::new(
                pointer_to(place),
                "zero-timeout",
                "nothing can end within a timeout of 0",
            )
        });
    }
}

/// A text that must say something.
fn check_text(text: Option<&str>, place: &[&str], found: &mut Vec<Violation>) {
    let Some(text) = text else { return };
    if text.trim().is_empty() {
        found.push(Violation {
            expected: Some("a text that is not empty".to_owned()),
            hint: Some("write what is meant, or remove it".to_owned()),
            ..Violation::new(pointer_to(place), "empty", "nothing is written here")
        });
    }
    check_nul(text, place, found);
}

/// The kernel ends every argument and variable at a NUL, so a text with one would be cut without a word.
fn check_nul(text: &str, place: &[&str], found: &mut Vec<Violation>) {
    if text.contains('\0') {
        found.push(Violation {
            expected: Some("a text without `\\0`".to_owned()),
            hint: Some("remove it; let the task itself write such bytes".to_owned()),
            ..Violation::new(
                pointer_to(place),
                "nul",
                "the text holds a NUL character, which no program can receive",
            )
        });
    }
}

fn is_variable_name(name: &str, hyphen: bool) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || (hyphen && b == b'-'))
}
