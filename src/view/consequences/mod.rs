//! What carrying out a plan would lead to: which fields change, which fires of the next day are gained and lost, what a
//! change of the clocks does to them, and which jobs would newly crowd a pool.
//!
//! Pure: goes in a [`Proposal`], which holds what is active and what would be, and how much the machine has. The moment
//! is that of the plan. Pauses, running runs and what jobs wait for are left aside: this is about schedules.
//!
//! - [`fires`] counts and compares the fires of one job before and after;
//! - [`clocks`] finds the changes of a zone's clocks, and what they do to a schedule;
//! - [`collisions`] finds the jobs that start on the same second and want more of a pool together than it has.
//!
//! A folder of ten thousand jobs that fire every second has a thousand million fires a day. So the work is bounded, by
//! [`Budget`], and the answer says where it was not enough: a count is then of the fires up to there.

mod clocks;
mod collisions;
mod fires;
#[cfg(test)]
mod tests;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

pub use clocks::{ClockChange, Direction, Fate, Touched};
pub use collisions::Collision;
pub use fires::Fires;

use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        capacity::SystemResources,
        id::{JobId, SpecHash},
    },
    reconcile::{
        Action, Plan, Proposal,
        plan::{FieldChange, field_changes, set_hash},
    },
};

/// How far ahead the fires are compared.
const AHEAD: TimeDelta = TimeDelta::hours(24);
/// So many fires are computed for one answer.
const MOST_COMPUTED: usize = 400_000;

/// A plan with its consequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// What is to do and what is refused.
    #[serde(flatten)]
    pub plan: Plan,
    /// The hash of what is active. The plan's id stands for this, for `files_hash` and for the policy.
    pub active_set_hash: SpecHash,
    /// The hash of everything in the folder that a plan is made of.
    pub files_hash: SpecHash,
    /// The hash of what would be active.
    pub resulting_set_hash: SpecHash,
    /// Fires are compared after this instant,
    pub from: Timestamp,
    /// and up to this one.
    pub until: Timestamp,
    /// The jobs that would change, in the order of their names.
    pub changes: Vec<JobChange>,
    /// Jobs that would newly start together and want more of a pool than it has.
    pub collisions: Vec<Collision>,
    /// Whether all fires up to `until` were counted.
    pub complete: bool,
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobChange {
    /// The job.
    pub job: JobId,
    /// Whether it comes, changes or goes.
    pub change: Change,
    /// The fields that change; none for a job that comes or goes.
    pub fields: Vec<FieldChange>,
    /// Fires that there would not be without the plan, in the zone that the job would have.
    pub gained: Fires,
    /// Fires that there would be without it, in the zone that the job has.
    pub lost: Fires,
    /// The changes of its zone's clocks in that time, and what they do to its schedule.
    pub clock_changes: Vec<ClockChange>,
    /// What should be known about the fires, in a sentence.
    pub note: Option<String>,
}

/// What a plan does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It becomes active.
    Add,
    /// It gets another version.
    Update,
    /// It is no longer active.
    Remove,
}

/// How many fires may still be computed.
#[derive(Debug)]
struct Budget(usize);

impl Budget {
    /// Takes one, if one is left.
    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

impl PlanView {
    /// The consequences of a plan on a machine that has `capacity`.
    pub fn of(proposal: Proposal, capacity: &SystemResources) -> Self {
        Self::within(proposal, capacity, &mut Budget(MOST_COMPUTED))
    }

    fn within(proposal: Proposal, capacity: &SystemResources, budget: &mut Budget) -> Self {
        let before = &*proposal.active;
        let after = proposal.resulting();
        let from = proposal.plan.at;
        let until = from + AHEAD;
        let changes: Vec<JobChange> = {
            let mut changed: Vec<(&JobId, Change)> = proposal.plan.actions.iter().filter_map(changed).collect();
            changed.sort_by_key(|(job, _)| *job);
            let change = |(job, change)| of_job(job, change, before, &after, (from, until), budget);
            changed.into_iter().map(change).collect()
        };
        let collisions = collisions::new(before, &after, &changes, capacity, (from, until), budget);
        Self {
            active_set_hash: proposal.active_hash.clone(),
            files_hash: proposal.files_hash.clone(),
            resulting_set_hash: set_hash(&after),
            from,
            until,
            changes,
            collisions,
            complete: budget.0 > 0,
            plan: proposal.plan,
        }
    }
}

fn changed(action: &Action) -> Option<(&JobId, Change)> {
    match action {
        Action::Add { job, .. } => Some((job, Change::Add)),
        Action::Update { job, .. } => Some((job, Change::Update)),
        Action::Remove { job, .. } => Some((job, Change::Remove)),
        Action::Invalid { .. } | Action::Conflict { .. } | Action::Block { .. } | Action::Hold { .. } => None,
    }
}

fn of_job(
    job: &JobId,
    change: Change,
    before: &ActiveSet,
    after: &ActiveSet,
    (from, until): (Timestamp, Timestamp),
    budget: &mut Budget,
) -> JobChange {
    let [old, new] = [before, after].map(|set| set.get(job).map(|entry| &**entry));
    let (gained, lost) = fires::compared(old, new, (from, until), budget);
    // A job that fires as before meets the clocks as before.
    let touched = gained.count + lost.count > 0;
    let fires = |entry: &&ActiveJob| fires::firing(entry).is_some();
    let shown = new.filter(fires).or(old.filter(fires)).filter(|_| touched);
    let clock_changes = shown.map_or_else(Vec::new, |entry| clocks::changes(entry, (from, until)));
    JobChange {
        job: job.clone(),
        change,
        fields: match (old, new) {
            (Some(old), Some(new)) => field_changes(&old.job.spec, &new.job.spec),
            (Some(_), None) | (None, Some(_)) | (None, None) => Vec::new(),
        },
        note: (gained.count > 0).then(|| fires::note(old, new)).flatten(),
        gained,
        lost,
        clock_changes,
    }
}
