//! What the journal says is active: where a daemon begins, and what the files are compared with when none runs.
//!
//! Reads the journal and the folder once; commits nothing and waits for nothing.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    desired::Judge,
    options::Options,
    plan::{Action, GUARD_MEMORY, HoldReason, Past, set_hash},
    proposal::Proposal,
    scan::{Scanner, SourceUnavailable},
    settle::Settled,
    standing::{Facts, conditions, standings},
    status::{Condition, ConditionCode, Source, SyncStatus},
    watch::Watching,
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        error_text::chain,
        id::{JobId, SpecHash},
        job::Job,
        record::RemovedRecord,
    },
    storage::{Storage, StorageError},
};

/// The active set as the journal has it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The jobs.
    pub active: ActiveSet,
    /// Jobs that are active in the journal and cannot be built again. Their files may bring them back.
    pub lost: Vec<LostJob>,
    /// The last generation of each job that was active once and is not now.
    pub retired: BTreeMap<JobId, u64>,
    /// The jobs that the prune guard held. They stay held until they are approved or their files come back.
    pub held: Vec<JobId>,
    /// The jobs that were removed within the prune guard's memory, and how long ago the last of them was.
    pub lately: Option<(Duration, ActiveSet)>,
}

/// What the guard held before, as the last plan refused it.
pub(super) fn still_held(held: &[JobId], active: &ActiveSet) -> Vec<Action> {
    let held = held.iter().filter_map(|job| {
        let file = active.get(job)?.record.file.clone();
        let (job, reason) = (job.clone(), HoldReason::Guard);
        Some(Action::Hold { job, file, reason })
    });
    held.collect()
}

/// The largest active set that the guard remembers: what was removed lately, and what is active.
pub(super) fn largest_lately(removed: ActiveSet, active: &ActiveSet) -> ActiveSet {
    let mut largest = removed;
    largest.extend(active.iter().map(|(job, active)| (job.clone(), Arc::clone(active))));
    largest
}

/// A job of the journal that cannot be built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostJob {
    /// The job.
    pub job: JobId,
    /// The file that it came from.
    pub file: String,
    /// Why.
    pub message: String,
}

impl LostJob {
    pub(super) fn condition(&self, now: Timestamp) -> Condition {
        let Self { job, file, message } = self;
        Condition {
            code: ConditionCode::NotRestored,
            message: format!("the last good version of {job} ({file}) cannot be used: {message}"),
            since: now,
        }
    }
}

/// Builds the active set of the journal's last good versions.
pub fn load_active(storage: &dyn Storage, now: Timestamp) -> Result<Loaded, StorageError> {
    let mut loaded = Loaded {
        held: storage.held()?,
        ..Loaded::default()
    };
    for record in storage.active()? {
        match build(storage, &record.spec_hash)? {
            Ok(job) => {
                loaded
                    .active
                    .insert(record.job.clone(), Arc::new(ActiveJob { job, record }));
            }
            Err(message) => loaded.lost.push(LostJob {
                job: record.job,
                file: record.file,
                message,
            }),
        }
    }
    for RemovedRecord { active, removed_at } in storage.removed()? {
        loaded.retired.insert(active.job.clone(), active.generation);
        // A clock that was put back makes a removal seem to come; it is as good as just now.
        let ago = (now - removed_at).to_std().unwrap_or(Duration::ZERO);
        if ago < GUARD_MEMORY
            && let Ok(job) = build(storage, &active.spec_hash)?
        {
            let (latest, set) = loaded.lately.get_or_insert_with(|| (ago, ActiveSet::new()));
            *latest = ago.min(*latest);
            set.insert(active.job.clone(), Arc::new(ActiveJob { job, record: active }));
        }
    }
    Ok(loaded)
}

/// Builds a job of a stored version; the inner error says why that cannot be.
fn build(storage: &dyn Storage, hash: &SpecHash) -> Result<Result<Arc<Job>, String>, StorageError> {
    Ok(match storage.spec(hash)? {
        Some(spec) => Job::from_canonical(&spec.canonical)
            .map(Arc::new)
            .map_err(|error| chain(&error)),
        None => Err("its stored spec is not in the journal".to_owned()),
    })
}

/// What can be said of files and jobs while no daemon runs.
#[derive(Debug, Clone)]
pub struct Offline {
    /// The jobs that the next start begins with.
    pub active: Arc<ActiveSet>,
    /// How the files stand against them.
    pub status: SyncStatus,
    /// What the files would change.
    pub plan: Result<Proposal, SourceUnavailable>,
}

/// Looks once at the files and at the journal, and waits for nothing to settle.
pub fn offline(storage: &dyn Storage, options: &Options, now: Timestamp) -> Result<Offline, StorageError> {
    let Loaded {
        active,
        lost,
        held,
        lately,
        ..
    } = load_active(storage, now)?;
    let active = Arc::new(active);
    let refused = still_held(&held, &active);
    let removed = lately.map(|(_, removed)| removed).unwrap_or_default();
    let largest = largest_lately(removed, &active);
    let jobs_dir = options.jobs_dir.display().to_string();
    let mut status = SyncStatus::unknown(jobs_dir, Watching::Native, &active, now);
    let looked = Scanner::new(&options.jobs_dir)
        .trusting(options.trust)
        .look(SystemTime::now())
        .and_then(|look| look.unless_replaced(&options.jobs_dir, None, !active.is_empty()));
    let settled = looked.as_ref().map(Settled::as_seen).unwrap_or_default();
    let plan = looked.map(|look| {
        let desired = Judge::new(Arc::clone(&options.check)).judge(&settled, look.allow_empty);
        let past = Past {
            refused: &refused,
            largest: &largest,
            set_hash: &set_hash(&active),
        };
        let proposal = Proposal::new(&desired, Arc::clone(&active), past, options, now);
        let plan = &proposal.plan;
        let facts = Facts {
            settled: &settled,
            desired: &desired,
            plan,
            active: &active,
        };
        (status.files, status.jobs) = standings(facts, &status, now);
        status.waiting_plan = plan.waits_for_approval().then(|| plan.id.clone());
        status.looked_at = Some(now);
        proposal
    });
    if let Err(error) = &plan {
        status.source = Source::Unavailable {
            message: error.to_string(),
            since: now,
        };
    }
    let waiting = status.waiting_plan.as_ref();
    status.conditions = conditions(&status.source, &status.watching, &settled, waiting, now);
    status.conditions.extend(lost.iter().map(|lost| lost.condition(now)));
    Ok(Offline { active, status, plan })
}
