//! One job file alone, through all gates.
//!
//! What needs other files or the machine is asked in [`super::set`].

use std::{collections::HashMap, path::Path};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    diagnostic::{Diagnostic, Finding, Severity, locate},
    explain::{self, Subject},
    schema,
    settings::Settings,
    yaml::{self, Document},
};
use crate::core::{
    id::JobId,
    job::{Job, Violation, warnings_of},
    spec::JobSpec,
};

/// What a file is.
#[derive(Debug)]
pub struct Checked {
    /// The job that the file is about, as far as it can be told from an invalid file.
    pub id: Option<JobId>,
    /// The job, if the file is valid.
    pub job: Option<Job>,
    /// The file's text, as spans count it.
    pub yaml: String,
    /// Errors, if it is not valid, and warnings; in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Checks the content of a job file. `path` names it in diagnostics, and gives the job its id if the file does not.
pub fn check_file(path: &Path, text: &[u8], settings: &Settings) -> Checked {
    let file = path.display().to_string();
    let document = match yaml::parse(text) {
        Ok(document) => document,
        Err(unreadable) => {
            return Checked {
                // The text could name another id, which nobody can read.
                id: None,
                job: None,
                diagnostics: locate(&file, &unreadable.text, unreadable.findings),
                yaml: unreadable.text,
            };
        }
    };
    let from_name = id_of_file(path);
    let id = match document.value.get("id") {
        Some(id) => id.as_str().and_then(|id| JobId::new(id).ok()),
        None => from_name.as_ref().ok().cloned(),
    };
    let (job, findings) = read_job(&document, from_name, settings);
    Checked {
        id,
        job,
        diagnostics: locate(&file, &document.text, findings),
        yaml: document.text,
    }
}

fn read_job(document: &Document, from_name: Result<JobId, String>, settings: &Settings) -> (Option<Job>, Vec<Finding>) {
    let subject = Subject {
        schema: schema::job_schema(),
        what: "a job",
    };
    let mut spec: JobSpec = match gate(document, &subject) {
        Ok(spec) => spec,
        Err(findings) => return (None, findings),
    };
    // The value tree is sorted by key; the tasks are shown and numbered as the file lists them.
    let place: HashMap<&str, usize> = document
        .keys("/tasks")
        .into_iter()
        .enumerate()
        .map(|(i, key)| (key, i))
        .collect();
    spec.tasks.sort_by_cached_key(|id, _| place.get(id.as_str()).copied());
    let mut nameless = None;
    let id = match (&spec.id, from_name) {
        (Some(id), _) => id.clone(),
        (None, Ok(id)) => id,
        (None, Err(stem)) => {
            nameless = Some(
                Finding::error(
                    document.place("", false),
                    "file-name",
                    format!("the file's name `{stem}` cannot be the job's id"),
                )
                .expected("lower-case letters, digits, `-` and `_`, the first a letter or digit, at most 63")
                .hint(format!("add `id: {}`, or rename the file", slug_of(&stem))),
            );
            JobId::new("unnamed").expect("a slug")
        }
    };
    let mut warnings = warnings_of(&spec);
    let (job, violations) = match Job::new(spec, &id, settings.zone()) {
        Ok(job) => (Some(job), Vec::new()),
        Err(violations) => (None, violations),
    };
    warnings.extend(job.iter().flat_map(Job::slips));
    let job = job.filter(|_| nameless.is_none());
    let mut findings: Vec<Finding> = nameless.into_iter().collect();
    findings.extend(locate_violations(document, violations, Severity::Error));
    findings.extend(locate_violations(document, warnings, Severity::Warning));
    (job, findings)
}

/// The second and third gate: the schema, then the types.
pub(super) fn gate<T: DeserializeOwned>(document: &Document, subject: &Subject) -> Result<T, Vec<Finding>> {
    let findings = explain::check(document, subject);
    if !findings.is_empty() {
        return Err(findings);
    }
    // Hardly a file writes such numbers, and a copy of the tree costs as much as reading it.
    let read = if has_fractions(&document.value) {
        let mut value = document.value.clone();
        write_whole_numbers_whole(&mut value, 0);
        T::deserialize(value)
    } else {
        T::deserialize(&document.value)
    };
    read.map_err(|error| {
        // The schema is made of the types, so this is a disagreement between the two; it is still the file's author who
        // sees it.
        vec![Finding::error(
            document.place("", false),
            "type",
            format!("{} cannot be read: {error}", subject.what),
        )]
    })
}

fn has_fractions(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(has_fractions),
        Value::Array(items) => items.iter().any(has_fractions),
        Value::Number(number) => number.is_f64(),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// To a schema `3.0` is an integer, to a Rust type it is not. Free-form values keep what was written.
fn write_whole_numbers_whole(value: &mut Value, depth: usize) {
    /// Beyond this a float does not hold every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Object(map) => {
            for (key, child) in map.iter_mut() {
                let free_form = match key.as_str() {
                    "config" => depth == 0,
                    "default" | "with" => depth == 2,
                    _ => false,
                };
                if !free_form {
                    write_whole_numbers_whole(child, depth + 1);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                write_whole_numbers_whole(item, depth + 1);
            }
        }
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(float) = float.filter(|float| float.fract() == 0.0 && float.abs() <= EXACT) {
                #[expect(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
                let whole = float as i64;
                *value = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Violations with their places in a document.
pub(super) fn locate_violations(
    document: &Document,
    violations: Vec<Violation>,
    severity: Severity,
) -> impl Iterator<Item = Finding> {
    violations.into_iter().map(move |violation| Finding {
        severity,
        expected: violation.expected,
        hint: violation.hint,
        ..Finding::error(
            match violation.within {
                Some(part) => document.place_within(&violation.pointer, part),
                None => document.place(&violation.pointer, violation.at_key),
            },
            violation.code,
            violation.message,
        )
    })
}

/// The name of what comes from standard input, which has no name to make an id of.
pub const STDIN: &str = "<stdin>";

/// The id that a file's name gives, or the name that gives none.
fn id_of_file(path: &Path) -> Result<JobId, String> {
    if path == Path::new(STDIN) {
        return JobId::new("stdin").map_err(|invalid| invalid.0);
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    JobId::new(stem.as_ref()).map_err(|invalid| invalid.0)
}

/// The id nearest to a name.
fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars().take(63) {
        match c {
            'a'..='z' | '0'..='9' | '_' => slug.push(c),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_matches(['-', '_']);
    if slug.is_empty() { "my-job" } else { slug }.to_owned()
}
