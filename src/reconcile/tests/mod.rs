//! Tables and properties of what this room decides.

mod awaiting;
mod planning;
mod settling;
mod standing;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    desired::{Desired, DesiredFile, Faults, FileState, Version},
    scan::Blob,
};
use crate::core::{
    Timestamp,
    active::{ActiveJob, ActiveSet},
    id::{JobId, SpecHash},
    job::Job,
    record::ActiveRecord,
    spec::JobSpec,
};

fn id(text: &str) -> JobId {
    JobId::new(text).expect("a slug")
}

fn at(seconds: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("an instant")
}

/// A job with one task; `rest` is more of its YAML.
fn job(name: &str, rest: &str) -> Arc<Job> {
    let yaml = format!("tasks: {{t: {{command: [\"true\"]}}}}\n{rest}\n");
    let spec: JobSpec = serde_yaml::from_str(&yaml).expect("the test's own YAML");
    Arc::new(Job::new(spec, &id(name), chrono_tz::Tz::UTC).expect("the test's own job"))
}

fn version(file: &str, job: &Arc<Job>) -> FileState {
    FileState::Job(Arc::new(Version {
        file: file.to_owned(),
        job: Arc::clone(job),
        text: Arc::new(Blob::new(job.spec.canonical().into_bytes())),
        diagnostics: Vec::new(),
    }))
}

fn invalid(text: &str, id: Option<JobId>) -> FileState {
    FileState::Invalid(Arc::new(Faults {
        id,
        text: SpecHash::of(text.as_bytes()),
        diagnostics: Vec::new(),
    }))
}

fn desired<'a>(files: impl IntoIterator<Item = (&'a str, FileState)>) -> Desired {
    let files = files
        .into_iter()
        .map(|(path, state)| (path.into(), DesiredFile { state, missing: false }));
    Desired::new(files.collect(), BTreeMap::new(), false)
}

/// An active set whose jobs came from `ID.yaml` at instant 0.
fn active<'a>(jobs: impl IntoIterator<Item = &'a Arc<Job>>) -> ActiveSet {
    jobs.into_iter()
        .map(|job| {
            let record = ActiveRecord {
                job: job.id.clone(),
                file: format!("{}.yaml", job.id),
                spec_hash: job.hash.clone(),
                generation: 1,
                applied_at: at(0),
                anchor: at(0),
                scheduled_since: at(0),
            };
            let job = Arc::clone(job);
            (job.id.clone(), Arc::new(ActiveJob { job, record }))
        })
        .collect()
}
