//! A job that has passed every check that needs no other job and no settings but the default zone.
//!
//! Made from a spec, whether the spec was just read from a file ([`Job::new`]) or comes back from the journal
//! ([`Job::from_canonical`]): both pass the same checks, so that what is active after a restart is what was checked when
//! the file was applied. All that is wrong is said at once, each time with a pointer to the value; where that value
//! stands in a file is known in `config`.

mod checks;
mod expressions;
pub mod later;
pub mod params;
mod timing;

use chrono::{DateTime, SecondsFormat};
use chrono_tz::Tz;

use self::later::{Document, Verdict};
use super::{
    Timestamp,
    dag::{Dag, TaskIndex},
    id::{JobId, SpecHash, TaskId},
    schedule::{Schedule, local_time},
    spec::{JobSpec, TaskSpec},
};

/// A mistake in a spec, with the place in the document that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer to the value, such as `/tasks/load/depends_on/0`.
    pub pointer: String,
    /// A stable name of the kind of mistake, such as `unknown-task`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What was expected, if that says more.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where inside the value (a byte range of its text), if not all of it is meant.
    pub within: Option<std::ops::Range<usize>>,
    /// Whether the key is meant and not its value.
    pub at_key: bool,
}

/// A checked job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What was written, with the id and the zone filled in.
    pub spec: JobSpec,
    /// The hash of `spec`.
    pub hash: SpecHash,
    /// The graph of its tasks.
    pub dag: Dag,
    /// When it fires, if it has a schedule.
    pub schedule: Option<Schedule>,
    /// The tasks with the job's defaults filled in, numbered as in `dag`.
    pub tasks: Vec<TaskSpec>,
}

/// Why a stored spec does not make a job.
#[derive(Debug, thiserror::Error)]
pub enum StoredSpecError {
    /// The text is no spec.
    #[error("the stored spec cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The spec names no job.
    #[error("the stored spec has no id")]
    NoId,
    /// The spec was valid for the version of Petit that stored it, and is not for this one.
    #[error("the stored spec is not valid for this version of Petit: {}", messages(.0))]
    Invalid(Vec<Violation>),
}

fn messages(violations: &[Violation]) -> String {
    let messages: Vec<&str> = violations.iter().map(|violation| violation.message.as_str()).collect();
    messages.join("; ")
}

impl Job {
    /// Checks a spec. `id` is used when the spec names none (the file's name); `default_zone` when the schedule names none.
    pub fn new(mut spec: JobSpec, id: &JobId, default_zone: Tz) -> Result<Self, Vec<Violation>> {
        let id = spec.id.get_or_insert_with(|| id.clone()).clone();
        let mut found = Vec::new();
        let schedule = spec
            .schedule
            .as_mut()
            .and_then(|schedule| timing::read(schedule, default_zone, &mut found));
        let dag = match Dag::new(spec.tasks.iter().map(|(id, task)| (id, task.depends_on.as_slice()))) {
            Ok(dag) => Some(dag),
            Err(errors) => {
                found.extend(errors.iter().map(|error| checks::dag_violation(&spec, error)));
                None
            }
        };
        checks::check(&spec, &id, &mut found);
        expressions::check(&spec, dag.as_ref(), &mut found);
        let canonical = spec.canonical_value();
        found.extend(later::find(Document::Job, Verdict::Refused, &canonical));
        match dag {
            Some(dag) if found.is_empty() => Ok(Self {
                id,
                hash: SpecHash::of(canonical.to_string().as_bytes()),
                dag,
                schedule,
                tasks: spec
                    .tasks
                    .values()
                    .map(|task| task.with_defaults(&spec.defaults))
                    .collect(),
                spec,
            }),
            Some(_) | None => Err(found),
        }
    }

    /// Makes a job of a spec's canonical text, as the journal keeps it. Tasks come in the order of their ids, because
    /// the canonical text does not keep the file's.
    pub fn from_canonical(text: &str) -> Result<Self, StoredSpecError> {
        let spec: JobSpec = serde_json::from_str(text).map_err(StoredSpecError::Unreadable)?;
        let id = spec.id.clone().ok_or(StoredSpecError::NoId)?;
        // A canonical spec names its zone unless it is UTC.
        Self::new(spec, &id, Tz::UTC).map_err(StoredSpecError::Invalid)
    }

    /// What is valid and yet worth telling the author.
    pub fn warnings(&self) -> Vec<Violation> {
        let mut found = warnings_of(&self.spec);
        found.extend(self.slips());
        found
    }

    /// Those of [`Self::warnings`] that only a valid schedule can give.
    pub fn slips(&self) -> Vec<Violation> {
        self.schedule.as_ref().map(timing::slips).unwrap_or_default()
    }

    /// An instant as the clocks of the job's zone show it; a job without a schedule has UTC.
    pub fn local_time(&self, at: Timestamp) -> DateTime<Tz> {
        local_time(at, self.schedule.as_ref().map_or(Tz::UTC, Schedule::zone))
    }

    /// What expressions and tasks are told of when a run was scheduled: `run.scheduled_at` and `run.scheduled_date`.
    pub fn scheduled(&self, at: Timestamp) -> (String, String) {
        let local = self.local_time(at);
        (
            local.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            local.format("%Y-%m-%d").to_string(),
        )
    }

    /// The name shown to people.
    pub fn name(&self) -> &str {
        self.spec.name.as_deref().unwrap_or(self.id.as_str())
    }

    /// A task, with the job's defaults filled in.
    pub fn task(&self, task: TaskIndex) -> &TaskSpec {
        &self.tasks[task]
    }
}

/// What is worth telling about a spec, whether it makes a job or not.
pub fn warnings_of(spec: &JobSpec) -> Vec<Violation> {
    let mut found = later::find(Document::Job, Verdict::Warned, &spec.canonical_value());
    found.extend(checks::unused_windows(spec));
    found
}

impl Violation {
    /// A mistake of the whole value at `pointer`, with nothing more to say.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            message: message.into(),
            expected: None,
            hint: None,
            within: None,
            at_key: false,
        }
    }
}

/// The JSON pointer that goes through `keys`.
pub fn pointer_to(keys: &[&str]) -> String {
    let mut pointer = String::new();
    for key in keys {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

#[cfg(test)]
mod tests;
