//! What the tests of this room are made of.

use std::{collections::BTreeMap, sync::Arc};

use chrono_tz::Tz;

use crate::core::{
    Timestamp,
    active::{ActiveJob, ActiveSet},
    id::{JobId, RunId},
    job::Job,
    record::{RunRecord, SpecRecord},
    spec::JobSpec,
    state::{RunStatus, Trigger},
};

/// An instant, from RFC 3339.
pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an RFC 3339 instant")
}

/// An id that needs no clock.
pub fn run_id(number: u128) -> RunId {
    RunId::from_parts(Timestamp::UNIX_EPOCH, number)
}

/// A job with one task, and else what the YAML says.
pub fn job(id: &str, yaml: &str) -> Job {
    let yaml = format!("{yaml}\ntasks: {{only: {{command: ['true']}}}}");
    let spec: JobSpec = serde_yaml::from_str(&yaml).expect("the test's own YAML");
    let zone = spec.schedule.as_ref().and_then(|schedule| schedule.timezone.as_deref());
    let zone: Tz = zone.map_or(Tz::UTC, |zone| zone.parse().expect("a zone"));
    Job::new(spec, &id.parse().expect("a slug"), zone).expect("a valid job")
}

/// The job as it became active, with its schedule, at an instant.
pub fn active(id: &str, yaml: &str, since: &str) -> Arc<ActiveJob> {
    active_at(id, yaml, at(since))
}

/// As [`active`].
pub fn active_at(id: &str, yaml: &str, since: Timestamp) -> Arc<ActiveJob> {
    Arc::new(ActiveJob::since(Arc::new(job(id, yaml)), since))
}

/// An active set of these.
pub fn set(jobs: &[Arc<ActiveJob>]) -> Arc<ActiveSet> {
    let by_id: BTreeMap<JobId, Arc<ActiveJob>> = jobs.iter().map(|job| (job.job.id.clone(), Arc::clone(job))).collect();
    Arc::new(by_id)
}

/// What the journal keeps of a job's version.
pub fn spec_record(active: &ActiveJob) -> SpecRecord {
    SpecRecord::of(&active.job, String::new(), active.record.applied_at)
}

/// A run that has ended.
pub fn finished(job: &str, number: u128, status: RunStatus, ended_at: Timestamp) -> RunRecord {
    RunRecord {
        status,
        started_at: Some(ended_at),
        ended_at: Some(ended_at),
        ..RunRecord::queued(
            run_id(number),
            job.parse().expect("a slug"),
            crate::core::id::SpecHash::of(b""),
            Trigger::Manual,
            ended_at,
        )
    }
}
