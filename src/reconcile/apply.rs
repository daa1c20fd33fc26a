//! From a plan to the rows of the journal and the next active set.
//!
//! Pure: goes in a plan and the active set it was made against; comes out both sides of the change, the journal's and the
//! memory's, so that they cannot differ. The service commits the one in a single transaction and then swaps in the
//! other. Jobs that the plan leaves alone keep their very [`Arc`], and with it their next fire and their timers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::TimeDelta;

use super::{
    desired::Version,
    plan::{Action, Plan, set_hash},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, SpecHash},
        job::Job,
        record::{ActiveRecord, Actor, ChangeKind, FileChange, ReconcileRecord, ReconcileResult, SpecRecord},
        spec::JobSpec,
    },
    storage::Change,
};

/// Both sides of a change of the active set.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The active set after it.
    pub active: ActiveSet,
    /// Its hash.
    pub set_hash: SpecHash,
    /// Whether it differs from the one before, if only in a record.
    pub is_new: bool,
    /// The same for the journal, to be committed as one transaction. Empty when there is nothing to do or to report.
    pub changes: Vec<Change>,
    /// The audit record among `changes`, if the plan does or reports anything.
    pub record: Option<ReconcileRecord>,
}

/// What a plan is carried out on.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The active set that the plan was made against.
    pub active: &'a ActiveSet,
    /// Its hash.
    pub set_hash: &'a SpecHash,
    /// The last generation of each job that was active once and is not now.
    pub retired: &'a BTreeMap<JobId, u64>,
    /// What the last plan that was carried out refused.
    pub refused: &'a [Action],
}

/// Who carries out a plan, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion<'a> {
    /// Who asked.
    pub actor: Actor,
    /// The user who asked, if one did.
    pub by: Option<&'a str>,
    /// The revision of the folder of jobs, as far as it is known.
    pub revision: Option<&'a str>,
    /// When it takes effect.
    pub now: Timestamp,
    /// How long it took to see and to decide.
    pub duration_ms: u64,
}

/// Carries out a plan on values.
pub fn apply(plan: &Plan, before: Before<'_>, occasion: Occasion<'_>) -> Applied {
    let active = before.active;
    let mut after = active.clone();
    let mut changes = Vec::new();
    for (job, version) in &plan.versions {
        let old = active.get(job).map(|old| &**old);
        let retired = before.retired.get(job).copied().unwrap_or(0);
        let next = next_version(version, old, retired, occasion.now);
        let yaml = String::from_utf8_lossy(&version.text.bytes).into_owned();
        changes.push(Change::PutSpec(SpecRecord::of(&next.job, yaml, occasion.now)));
        changes.push(Change::SetActive(next.record.clone()));
        after.insert(job.clone(), Arc::new(next));
    }
    for (job, file) in &plan.moved {
        if let Some(old) = active.get(job) {
            let mut moved = ActiveJob::clone(old);
            moved.record.file.clone_from(file);
            changes.push(Change::SetActive(moved.record.clone()));
            after.insert(job.clone(), Arc::new(moved));
        }
    }
    for action in &plan.actions {
        if let Action::Remove { job, .. } = action {
            changes.push(Change::RemoveActive(job.clone()));
            after.remove(job);
        }
    }
    if counts_ahead(latest_count(&after), occasion.now) {
        for active in after.values_mut() {
            if let Some(record) = put_back(active, occasion.now) {
                changes.push(Change::SetActive(record.clone()));
                Arc::make_mut(active).record = record;
            }
        }
    }
    let is_new = !changes.is_empty();
    let new_set = if plan.changes_jobs() {
        set_hash(&after)
    } else {
        before.set_hash.clone()
    };
    let (held_before, held) = (guarded(before.refused), guarded(&plan.refused));
    if held != held_before {
        changes.push(Change::SetHeld(held.into_iter().cloned().collect()));
    }
    let record = (!plan.is_empty()).then(|| ReconcileRecord {
        at: occasion.now,
        actor: occasion.actor,
        by: occasion.by.map(str::to_owned),
        plan_id: plan.id.to_string(),
        result: result(plan),
        actions: plan.actions.iter().map(ToString::to_string).collect(),
        files: plan.actions.iter().flat_map(|action| files(action, active)).collect(),
        revision: occasion.revision.map(str::to_owned),
        old_set: before.set_hash.clone(),
        new_set: new_set.clone(),
        duration_ms: occasion.duration_ms,
    });
    changes.extend(record.clone().map(Change::Reconcile));
    Applied {
        active: after,
        set_hash: new_set,
        is_new,
        changes,
        record,
    }
}

/// What became of a plan as a whole.
fn result(plan: &Plan) -> ReconcileResult {
    let reported: BTreeSet<&Action> = plan.actions.iter().collect();
    let refused = plan.refused.iter().any(|action| reported.contains(action));
    match (plan.changes_jobs(), refused) {
        (true, false) => ReconcileResult::Applied,
        (true, true) => ReconcileResult::Partly,
        (false, _) => ReconcileResult::Refused,
    }
}

/// The files that an action is about, each with the versions before and after it.
fn files(action: &Action, active: &ActiveSet) -> Vec<FileChange> {
    let old_hash = |job: &JobId| active.get(job).map(|old| old.job.hash.clone());
    let one = |change, file: &String, job: Option<&JobId>, new_hash: Option<SpecHash>| {
        vec![FileChange {
            file: file.clone(),
            job: job.cloned(),
            change,
            old_hash: job.and_then(old_hash),
            new_hash,
        }]
    };
    // What is refused leaves the version that was active.
    let kept = |change, file, job| one(change, file, job, job.and_then(old_hash));
    match action {
        Action::Add { job, file, spec_hash } => one(ChangeKind::Add, file, Some(job), Some(spec_hash.clone())),
        Action::Update {
            job, file, spec_hash, ..
        } => one(ChangeKind::Update, file, Some(job), Some(spec_hash.clone())),
        Action::Remove { job, file } => one(ChangeKind::Remove, file, Some(job), None),
        Action::Invalid { file, job, .. } => kept(ChangeKind::Invalid, file, job.as_ref()),
        Action::Conflict { job, files } => files
            .iter()
            .flat_map(|file| kept(ChangeKind::Conflict, file, Some(job)))
            .collect(),
        Action::Block { job, file, .. } => kept(ChangeKind::Block, file, Some(job)),
        Action::Hold { job, file, .. } => kept(ChangeKind::Hold, file, Some(job)),
    }
}

/// The jobs that the prune guard holds. A restart must not forget them: with them gone from its memory, what is left of
/// a large removal may be few enough to pass.
fn guarded(refused: &[Action]) -> BTreeSet<&JobId> {
    refused.iter().filter_map(Action::guarded_job).collect()
}

/// A job's next version. Slots count from now on if it had none of them before: because it is new or back, because it
/// fires at other times, or because it did not fire at all. `every` counts on from the anchor that it had, unless it is
/// another `every`. Generations go on where a removed job's ended (`retired`), so that none ever stands for two versions.
fn next_version(version: &Version, old: Option<&ActiveJob>, retired: u64, now: Timestamp) -> ActiveJob {
    let job: Arc<Job> = Arc::clone(&version.job);
    let same_times = old.filter(|old| fires_alike(&old.job.spec, &job.spec));
    let enabled = |job: &Job| job.spec.enabled;
    let goes_on = same_times.filter(|old| enabled(&old.job) || !enabled(&job));
    let record = ActiveRecord {
        job: job.id.clone(),
        file: version.file.clone(),
        spec_hash: job.hash.clone(),
        generation: old.map_or(retired, |old| old.record.generation) + 1,
        applied_at: now,
        anchor: same_times.map_or(now, |old| old.record.anchor),
        scheduled_since: goes_on.map_or(now, |old| old.record.scheduled_since),
    };
    ActiveJob { job, record }
}

/// How far ahead of the clock a schedule may begin to count before it begins again: the scheduler waits as long for a clock
/// that was put back.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(3);

/// From when the latest of the schedules counts.
pub fn latest_count(active: &ActiveSet) -> Option<Timestamp> {
    let counts = active.values().map(|active| &active.record);
    counts.map(|record| record.scheduled_since.max(record.anchor)).max()
}

/// Whether a schedule begins to count so far ahead that the clock must have been put back.
pub fn counts_ahead(latest: Option<Timestamp>, now: Timestamp) -> bool {
    latest.is_some_and(|latest| latest > now + LONGEST_WAIT)
}

/// The record of a job that was applied under a clock that has been put back since: counted from there, it would not fire
/// until the clock has come there again. Periods keep their beat.
fn put_back(active: &ActiveJob, now: Timestamp) -> Option<ActiveRecord> {
    let record = &active.record;
    if !counts_ahead(Some(record.scheduled_since.max(record.anchor)), now) {
        return None;
    }
    let every = active.job.spec.schedule.as_ref().and_then(|schedule| schedule.every);
    let period = every.map_or(0, |every| every.to_delta().num_milliseconds());
    let ahead = (record.anchor - now).num_milliseconds();
    let anchor = match (ahead > 0, period > 0) {
        (false, _) => record.anchor,
        (true, false) => now,
        (true, true) => record.anchor - TimeDelta::milliseconds(ahead + (period - ahead % period) % period),
    };
    Some(ActiveRecord {
        scheduled_since: record.scheduled_since.min(now),
        anchor,
        ..record.clone()
    })
}

/// Whether two specs have the same slots. Jitter and the policy for late slots do not make other slots.
fn fires_alike(a: &JobSpec, b: &JobSpec) -> bool {
    match (&a.schedule, &b.schedule) {
        (Some(a), Some(b)) => a.cron == b.cron && a.every == b.every && a.timezone == b.timezone,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
