//! The schema's errors in words that help: what is there, what was expected, what to do, and where.
//!
//! A validator speaks of keywords and branches ("not valid under any of the schemas"); a person wrote `cmd` and meant
//! `command`. Each error is looked at together with the part of the schema that raised it, so that nothing here repeats
//! what the types say, and a new key needs no new words. [`foreign`] knows the habits that people bring from other tools.

mod foreign;
mod words;

use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use self::words::{describe, found, one_of, resolve};
use super::{
    diagnostic::{Finding, MOST_PER_FILE},
    schema::Checked,
    yaml::Document,
};
use crate::core::{job::pointer_to, suggest::nearest};

/// What a document should be.
pub struct Subject {
    /// Its schema.
    pub schema: &'static Checked,
    /// Its name in a sentence, such as `a job`.
    pub what: &'static str,
}

/// Everything by which a document fails its schema.
pub fn check(document: &Document, subject: &Subject) -> Vec<Finding> {
    let validator = &subject.schema.validator;
    if validator.is_valid(&document.value) {
        return Vec::new();
    }
    let mut explainer = Explainer {
        document,
        subject,
        problems: Vec::new(),
    };
    // More than are shown, because a key that another tool would use hides that Petit's own is missing.
    for error in validator.iter_errors(&document.value).take(MOST_PER_FILE * 10) {
        explainer.explain(&error);
    }
    explainer.finish()
}

struct Explainer<'a> {
    document: &'a Document,
    subject: &'a Subject,
    problems: Vec<Problem>,
}

struct Problem {
    finding: Finding,
    /// The map that it is about.
    owner: String,
    /// For an unknown key, the key that was meant; for a missing one, those that would do.
    keys: Vec<String>,
}

impl Explainer<'_> {
    fn explain(&mut self, error: &ValidationError<'_>) {
        let pointer = error.instance_path().as_str();
        let schema_path = error.schema_path().as_str();
        let (parent, _) = schema_path.rsplit_once('/').unwrap_or_default();
        let parent = self.schema(parent);
        let value = error.instance().as_ref();
        let name = self.name(pointer);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    self.unknown_key(pointer, key, parent);
                }
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                self.branches(pointer, schema_path, value, context);
            }
            // What is no map has all keys and none; that it is no map is said by itself.
            ValidationErrorKind::OneOfMultipleValid { .. } if !value.is_object() => {}
            ValidationErrorKind::OneOfMultipleValid { .. } => {
                self.exclusive(pointer, &required_of_branches(self.schema(schema_path)));
            }
            ValidationErrorKind::Required { property } => {
                self.missing(pointer, vec![property.as_str().unwrap_or_default().to_owned()]);
            }
            ValidationErrorKind::Type { .. } => self.wrong_type(pointer, value, parent),
            ValidationErrorKind::Pattern { .. } => {
                let finding = Finding::error(
                    self.document.place(pointer, false),
                    "invalid-value",
                    format!("{name} is {}", found(value)),
                )
                .expected(describe(self.root(), parent));
                self.push(with_hint(finding, words::pattern_hint(parent, value)));
            }
            ValidationErrorKind::Constant { expected_value } => {
                self.not_one_of(pointer, value, &[expected_value.as_str().unwrap_or_default()]);
            }
            ValidationErrorKind::Enum { options } => {
                let options: Vec<&str> = options
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                self.not_one_of(pointer, value, &options);
            }
            ValidationErrorKind::Minimum { .. }
            | ValidationErrorKind::Maximum { .. }
            | ValidationErrorKind::ExclusiveMinimum { .. }
            | ValidationErrorKind::ExclusiveMaximum { .. } => {
                let finding = Finding::error(
                    self.document.place(pointer, false),
                    "out-of-range",
                    format!("{name} is {}", found(value)),
                )
                .expected(describe(self.root(), parent));
                self.push(with_hint(finding, words::range_hint(parent, value)));
            }
            ValidationErrorKind::MinItems { .. }
            | ValidationErrorKind::MinProperties { .. }
            | ValidationErrorKind::MinLength { .. } => {
                let finding = Finding::error(self.document.place(pointer, false), "empty", format!("{name} is empty"))
                    .expected(describe(self.root(), parent))
                    .hint(foreign::empty(pointer));
                self.push(finding);
            }
            ValidationErrorKind::MaxItems { limit }
            | ValidationErrorKind::MaxProperties { limit }
            | ValidationErrorKind::MaxLength { limit } => {
                let finding = Finding::error(
                    self.document.place(pointer, false),
                    "too-many",
                    format!("{name} is too long"),
                )
                .expected(format!("at most {limit}"))
                .hint("shorten it, or share it among several");
                self.push(finding);
            }
            other => {
                let finding = Finding::error(
                    self.document.place(pointer, false),
                    "schema",
                    format!("{name} is not valid: {}", error.masked()),
                )
                .expected(format!("what the keyword `{}` of the schema asks for", other.keyword()))
                .hint("`petit schema job` prints the schema");
                self.push(finding);
            }
        }
    }

    /// Of several ways to write a value, explains the one that was tried.
    fn branches(&mut self, pointer: &str, schema_path: &str, value: &Value, context: &[Vec<ValidationError<'static>>]) {
        let constants: Vec<&str> = context
            .iter()
            .filter_map(|errors| match errors.as_slice() {
                [error] => match error.kind() {
                    ValidationErrorKind::Constant { expected_value } => expected_value.as_str(),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        if constants.len() == context.len() {
            return self.not_one_of(pointer, value, &constants);
        }
        let required = required_of_branches(self.schema(schema_path));
        if required.len() == context.len() && context.iter().all(|errors| only_missing(errors, pointer)) {
            return self.missing(pointer, required);
        }
        let given: Vec<String> = required
            .iter()
            .filter(|key| value.get(key.as_str()).is_some())
            .cloned()
            .collect();
        if required.len() == context.len() && given.len() > 1 {
            return self.exclusive(pointer, &given);
        }
        let tried = context
            .iter()
            .filter(|errors| !errors.iter().any(|error| is_wrong_type(error, pointer)))
            .min_by_key(|errors| errors.len());
        match tried {
            Some(errors) => errors.iter().for_each(|error| self.explain(error)),
            None => {
                let (owner, _) = schema_path.rsplit_once('/').unwrap_or_default();
                self.wrong_type(pointer, value, self.schema(owner));
            }
        }
    }

    fn exclusive(&mut self, pointer: &str, keys: &[String]) {
        let finding = Finding::error(
            self.document.place(pointer, false),
            "exclusive-keys",
            format!("{} has {}", self.what(pointer), all_of(keys)),
        )
        .expected(format!("only one of {}", listed(keys)))
        .hint("remove one of them");
        self.push(finding);
    }

    fn unknown_key(&mut self, owner: &str, key: &str, schema: &Value) {
        let pointer = format!("{owner}{}", pointer_to(&[key]));
        let place = self.document.place(&pointer, true);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            // Only maps whose keys are ids refuse a key without naming those they know.
            let finding = Finding::error(place, "invalid-id", format!("`{}` is not an id", words::shortened(key)))
                .expected(words::SLUG);
            return self.push(finding.hint(words::slug_hint(key)));
        };
        let known = || properties.keys().map(String::as_str);
        let (hint, meant) = match foreign::advice(owner, key).filter(|advice| known().any(|known| known == advice.key))
        {
            Some(advice) => (advice.text, Some(advice.key.to_owned())),
            None => match nearest(key, known()) {
                Some(name) => (format!("did you mean `{name}`?"), Some(name.to_owned())),
                None => match self.at_home_elsewhere(owner, key) {
                    // A task's key at the top is told with the task that it needs.
                    Some(text) if owner.is_empty() => (text, Some("tasks".to_owned())),
                    Some(text) => (text, None),
                    None if owner.is_empty() => {
                        ("remove it; values of your own can stand in `config`".to_owned(), None)
                    }
                    None => ("remove it, or make it a comment".to_owned(), None),
                },
            },
        };
        let finding = Finding::error(
            place,
            "unknown-key",
            format!("`{}` is not a key of {}", words::shortened(key), self.what(owner)),
        )
        .expected(format!(
            "one of {}",
            listed(&known().map(str::to_owned).collect::<Vec<_>>())
        ));
        self.problems.push(Problem {
            finding: finding.hint(hint),
            owner: owner.to_owned(),
            keys: meant.into_iter().collect(),
        });
    }

    /// Whether a job has the key where a task was written, or the other way round.
    fn at_home_elsewhere(&self, owner: &str, key: &str) -> Option<String> {
        let known = |path: &str| self.root().pointer(path).and_then(|keys| keys.get(key)).is_some();
        if owner.is_empty() && known("/$defs/TaskSpec/properties") {
            Some(format!(
                "`{key}` is a key of a task: write `tasks: {{{}: {{{key}: …}}}}`",
                "main"
            ))
        } else if owner.starts_with("/tasks/") && known("/properties") {
            Some(format!("`{key}` is a key of the job: move it to the top of the file"))
        } else {
            None
        }
    }

    fn missing(&mut self, pointer: &str, keys: Vec<String>) {
        let what = self.what(pointer);
        let (message, hint) = match keys.as_slice() {
            [key] => (format!("{what} needs `{key}`"), format!("add `{key}:`")),
            [..] => (
                format!("{what} needs {}", keys_in_words(&keys, "or")),
                "add one of them".to_owned(),
            ),
        };
        let hint = foreign::missing(pointer, &keys).map_or(hint, str::to_owned);
        let finding = Finding::error(self.document.place(pointer, true), "missing-key", message)
            .expected(keys_in_words(&keys, "or"))
            .hint(hint);
        self.problems.push(Problem {
            finding,
            owner: pointer.to_owned(),
            keys,
        });
    }

    fn wrong_type(&mut self, pointer: &str, value: &Value, schema: &Value) {
        let schema = resolve(self.root(), schema);
        let finding = Finding::error(
            self.document.place(pointer, false),
            "wrong-type",
            format!("{} is {}", self.name(pointer), found(value)),
        )
        .expected(describe(self.root(), schema));
        let written = self.document.written(pointer);
        let hint = foreign::wrong_type(pointer, value)
            .unwrap_or_else(|| words::type_hint(self.root(), schema, value, written));
        self.push(finding.hint(hint));
    }

    fn not_one_of(&mut self, pointer: &str, value: &Value, options: &[&str]) {
        let finding = Finding::error(
            self.document.place(pointer, false),
            "invalid-value",
            format!("{} is {}", self.name(pointer), found(value)),
        )
        .expected(one_of(options));
        let text = value.as_str().unwrap_or_default();
        let hint = match foreign::value(pointer, text).or_else(|| nearest(text, options.iter().copied())) {
            Some(name) if options.contains(&name) => format!("did you mean `{name}`?"),
            Some(_) | None => "write one of these".to_owned(),
        };
        self.push(finding.hint(hint));
    }

    fn push(&mut self, finding: Finding) {
        self.problems.push(Problem {
            finding,
            owner: String::new(),
            keys: Vec::new(),
        });
    }

    fn finish(self) -> Vec<Finding> {
        let meant: Vec<(String, String)> = self
            .problems
            .iter()
            .filter(|problem| problem.finding.code == "unknown-key")
            .flat_map(|problem| problem.keys.iter().map(|key| (problem.owner.clone(), key.clone())))
            .collect();
        // Once `cmd` is said to be `command`, that `command` is missing says nothing new.
        let is_told = |problem: &Problem| {
            problem.finding.code == "missing-key"
                && meant
                    .iter()
                    .any(|(owner, key)| *owner == problem.owner && problem.keys.contains(key))
        };
        let told: Vec<bool> = self.problems.iter().map(is_told).collect();
        self.problems
            .into_iter()
            .zip(told)
            .filter(|(_, told)| !told)
            .map(|(problem, _)| problem.finding)
            .collect()
    }

    fn root(&self) -> &'static Value {
        &self.subject.schema.schema
    }

    fn schema(&self, path: &str) -> &'static Value {
        self.root().pointer(path).unwrap_or(&Value::Null)
    }

    /// A value in a sentence, by its key.
    fn name(&self, pointer: &str) -> String {
        let Some((owner, last)) = pointer.rsplit_once('/') else {
            return self.subject.what.to_owned();
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        match (last.parse::<usize>(), owner.rsplit_once('/')) {
            (Ok(index), Some((_, list))) if self.document.keys(owner).is_empty() => {
                format!("item {} of `{list}`", index + 1)
            }
            (Ok(_) | Err(_), _) => format!("`{}`", words::shortened(&last)),
        }
    }

    /// A map in a sentence, by what it describes.
    fn what(&self, pointer: &str) -> String {
        let segments: Vec<&str> = pointer.split('/').skip(1).collect();
        match segments[..] {
            [] => self.subject.what.to_owned(),
            ["schedule"] => "a schedule".to_owned(),
            ["tasks", _] => "a task".to_owned(),
            ["params", _] => "a parameter".to_owned(),
            ["depends_on", _] => "a dependency".to_owned(),
            ["notify", _] => "a notification".to_owned(),
            [.., last] => format!("`{last}`"),
        }
    }
}

fn only_missing(errors: &[ValidationError<'_>], pointer: &str) -> bool {
    errors.iter().all(|error| {
        matches!(error.kind(), ValidationErrorKind::Required { .. }) && error.instance_path().as_str() == pointer
    })
}

fn is_wrong_type(error: &ValidationError<'_>, pointer: &str) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance_path().as_str() == pointer
}

/// The keys of `oneOf: [{required: [a]}, {required: [b]}]`.
fn required_of_branches(branches: &Value) -> Vec<String> {
    let branches = branches.as_array().into_iter().flatten();
    branches
        .filter_map(|branch| branch["required"].get(0)?.as_str().map(str::to_owned))
        .collect()
}

fn with_hint(finding: Finding, hint: Option<String>) -> Finding {
    Finding { hint, ..finding }
}

fn listed(keys: &[String]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    quoted.join(", ")
}

fn all_of(keys: &[String]) -> String {
    keys_in_words(keys, "and")
}

fn keys_in_words(keys: &[String], joint: &str) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    quoted.join(&format!(" {joint} "))
}
