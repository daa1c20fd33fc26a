//! The active set: the jobs that fire, each at the version that was last applied.
//!
//! It is swapped whole by `reconcile` and read by everybody else. A job that a reconcile did not touch keeps its very
//! [`Arc`], so that "unchanged" is a comparison of pointers.

use std::{collections::BTreeMap, sync::Arc};

use super::{Timestamp, id::JobId, job::Job, record::ActiveRecord};

/// A job as it is active.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveJob {
    /// What it does.
    pub job: Arc<Job>,
    /// Since when, from which file, in which generation.
    pub record: ActiveRecord,
}

impl ActiveJob {
    /// A job that became active for the first time at an instant, from which its slots and its period count.
    pub fn since(job: Arc<Job>, at: Timestamp) -> Self {
        let record = ActiveRecord {
            job: job.id.clone(),
            file: format!("{}.yaml", job.id),
            spec_hash: job.hash.clone(),
            generation: 1,
            applied_at: at,
            anchor: at,
            scheduled_since: at,
        };
        Self { job, record }
    }
}

/// All active jobs.
pub type ActiveSet = BTreeMap<JobId, Arc<ActiveJob>>;
