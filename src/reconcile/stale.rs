//! What has changed since a plan was shown that waits for approval.
//!
//! A plan's id stands for the files, the active set and the policy. Somebody who approves another plan than the one that
//! waits wants to know why it is another: so what the last few of them were made of is kept, which costs two references
//! each. Nothing here decides anything.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    desired::{Desired, DesiredFile, FileState},
    plan::PlanId,
};
use crate::core::{active::ActiveSet, id::JobId};

/// So many plans are remembered.
const REMEMBERED: usize = 8;
/// So many changes are named.
const NAMED: usize = 10;

/// The last plans that waited for approval.
#[derive(Debug, Default)]
pub(super) struct Shown(VecDeque<Basis>);

/// What a plan was made of.
#[derive(Debug)]
struct Basis {
    id: PlanId,
    desired: Arc<Desired>,
    active: Arc<ActiveSet>,
}

impl Shown {
    /// Keeps what a plan was made of.
    pub fn remember(&mut self, id: &PlanId, desired: &Arc<Desired>, active: &Arc<ActiveSet>) {
        if self.0.iter().any(|basis| basis.id == *id) {
            return;
        }
        self.0.truncate(REMEMBERED - 1);
        self.0.push_front(Basis {
            id: id.clone(),
            desired: Arc::clone(desired),
            active: Arc::clone(active),
        });
    }

    /// What has changed since the plan `id` was made, in sentences; none if it is not remembered.
    pub fn changes_since(&self, id: &PlanId, desired: &Desired, active: &ActiveSet) -> Vec<String> {
        let Some(basis) = self.0.iter().find(|basis| basis.id == *id) else {
            return Vec::new();
        };
        let files = files(&basis.desired, desired);
        let jobs = jobs(&basis.active, active);
        let mut all: Vec<String> = files.into_iter().chain(jobs).collect();
        if all.len() > NAMED {
            let more = all.len() - NAMED;
            all.truncate(NAMED);
            all.push(format!("and {more} more"));
        }
        all
    }
}

fn files(before: &Desired, now: &Desired) -> Vec<String> {
    let paths: BTreeSet<&Arc<str>> = before.files.keys().chain(now.files.keys()).collect();
    let there = |file: Option<&DesiredFile>| file.is_some_and(|file| !file.missing);
    let told = paths.into_iter().filter_map(|path| {
        let (old, new) = (before.files.get(path), now.files.get(path));
        match (there(old), there(new)) {
            (false, true) => Some(format!("the file {path} has come")),
            (true, false) => Some(format!("the file {path} is gone")),
            (true, true) if old.map(identity) != new.map(identity) => Some(format!("the file {path} has changed")),
            (true, true) | (false, false) => None,
        }
    });
    let mut told: Vec<String> = told.collect();
    if before.allow_empty != now.allow_empty {
        told.push("whether the folder may be empty has changed".to_owned());
    }
    told
}

/// What a plan makes of a file.
fn identity(file: &DesiredFile) -> String {
    match &file.state {
        FileState::Job(version) => version.job.hash.to_string(),
        FileState::Invalid(faults) => faults.text.to_string(),
        FileState::Refused(refusal) => refusal.to_string(),
        FileState::Unsettled => String::new(),
    }
}

fn jobs(before: &ActiveSet, now: &ActiveSet) -> Vec<String> {
    let ids: BTreeSet<&JobId> = before.keys().chain(now.keys()).collect();
    let told = ids.into_iter().filter_map(|id| match (before.get(id), now.get(id)) {
        (None, Some(_)) => Some(format!("the job {id} is active now")),
        (Some(_), None) => Some(format!("the job {id} is not active any more")),
        (Some(old), Some(new)) if old.job.hash != new.job.hash => Some(format!("the job {id} has another version")),
        (Some(_), Some(_)) | (None, None) => None,
    });
    told.collect()
}
