//! The active set, which is changed here and nowhere else, and what plans have to know of its past.
//!
//! Carries out plans: commits, then swaps the set whole. Which plan that is, and when one is due, the worker decides.
//! Nothing is known here of files, and nobody is told but those who follow the active set.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::watch;

use super::world::World;
use crate::{
    core::{
        Timestamp,
        active::ActiveSet,
        error_text::chain,
        id::{JobId, SpecHash},
        record::ReconcileRecord,
    },
    reconcile::{
        apply::{Before, Occasion, apply, counts_ahead, latest_count},
        desired::Desired,
        journal::{Loaded, LostJob, largest_lately, still_held},
        plan::{Action, GUARD_MEMORY, Past, Plan, Policy, plan},
    },
    storage::StorageError,
};

/// Holds the active set and changes it.
pub(super) struct Writer {
    active: Arc<ActiveSet>,
    /// The hash of `active`.
    set_hash: SpecHash,
    /// From when the latest of its schedules counts.
    latest_count: Option<Timestamp>,
    /// The last generation of each job that was active once and is not now.
    retired: BTreeMap<JobId, u64>,
    /// Jobs of the journal that could not be built again, and are not removed either.
    lost: Vec<LostJob>,
    /// What the last plan refused.
    refused: Vec<Action>,
    /// Active sets of the last minute that have lost jobs since, and when they did.
    larger: Vec<(Instant, Arc<ActiveSet>)>,
    /// Why the last plan could not be committed.
    not_committed: Option<StorageError>,
    sender: watch::Sender<Arc<ActiveSet>>,
}

/// What came of carrying out a plan.
pub(super) enum Carried {
    /// It is committed; with its row of the history, if it did or reported anything.
    Committed(Option<ReconcileRecord>),
    /// The journal did not take it, and nothing was changed.
    NotCommitted,
}

impl Writer {
    /// Begins with the active set that the sender holds; that of `loaded` is in there already.
    pub(super) fn new(loaded: Loaded, set_hash: SpecHash, now: Instant, sender: watch::Sender<Arc<ActiveSet>>) -> Self {
        let active = sender.borrow().clone();
        let larger = loaded.lately.map(|(ago, removed)| {
            let set = largest_lately(removed, &active);
            (now.checked_sub(ago).unwrap_or(now), Arc::new(set))
        });
        Self {
            set_hash,
            latest_count: latest_count(&active),
            retired: loaded.retired,
            lost: loaded.lost,
            // What was held before is held on, and not reported once more.
            refused: still_held(&loaded.held, &active),
            larger: larger.into_iter().collect(),
            not_committed: None,
            active,
            sender,
        }
    }

    pub(super) fn active(&self) -> &Arc<ActiveSet> {
        &self.active
    }

    pub(super) fn set_hash(&self) -> &SpecHash {
        &self.set_hash
    }

    pub(super) fn lost(&self) -> &[LostJob] {
        &self.lost
    }

    pub(super) fn not_committed(&self) -> Option<&StorageError> {
        self.not_committed.as_ref()
    }

    /// Whether carrying out the plan that was carried out last would do something: it was not committed, or the clock was
    /// put back far.
    pub(super) fn is_behind(&self, now: Timestamp) -> bool {
        self.not_committed.is_some() || counts_ahead(self.latest_count, now)
    }

    /// Forgets what the prune guard counts no more.
    pub(super) fn forget(&mut self, now: Instant) {
        self.larger
            .retain(|(until, _)| now.saturating_duration_since(*until) < GUARD_MEMORY);
    }

    /// What plans have to know of the past.
    pub(super) fn past(&self) -> Past<'_> {
        let larger = self.larger.iter().map(|(_, set)| set);
        Past {
            refused: &self.refused,
            largest: larger.max_by_key(|set| set.len()).unwrap_or(&self.active),
            set_hash: &self.set_hash,
        }
    }

    pub(super) fn plan(&self, desired: &Desired, policy: &Policy, now: Timestamp) -> Plan {
        plan(desired, &self.active, self.past(), policy, now)
    }

    /// Commits a plan and swaps in its active set. `approved` says whether somebody wants its removals.
    pub(super) fn carry_out(
        &mut self,
        plan: &Plan,
        approved: bool,
        occasion: Occasion<'_>,
        began: Instant,
        world: &mut impl World,
    ) -> Carried {
        let before = Before {
            active: &self.active,
            set_hash: &self.set_hash,
            retired: &self.retired,
            refused: &self.refused,
        };
        let applied = apply(plan, before, occasion);
        if !applied.changes.is_empty()
            && let Err(error) = world.commit(applied.changes)
        {
            // Said once: it is tried again and again, and the condition stands meanwhile.
            if self.not_committed.is_none() {
                tracing::error!(error = chain(&error), plan = %plan.id, "a reconcile could not be committed; nothing was changed");
            }
            self.not_committed = Some(error);
            return Carried::NotCommitted;
        }
        self.not_committed = None;
        self.refused.clone_from(&plan.refused);
        for action in &plan.actions {
            tracing::info!(plan = %plan.id, "{action}");
        }
        if applied.is_new {
            let before = std::mem::replace(&mut self.active, Arc::new(applied.active));
            self.set_hash = applied.set_hash;
            self.latest_count = latest_count(&self.active);
            self.sender.send_replace(Arc::clone(&self.active));
            // A job that came back, or was removed on purpose, is no longer lost.
            self.lost.retain(|lost| !self.active.contains_key(&lost.job));
            self.retire(before, approved, began);
        }
        Carried::Committed(applied.record)
    }

    /// Remembers the jobs that were active before and are not any more.
    fn retire(&mut self, before: Arc<ActiveSet>, approved: bool, began: Instant) {
        let gone: Vec<_> = before
            .iter()
            .filter(|(job, _)| !self.active.contains_key(*job))
            .map(|(job, old)| (job.clone(), old.record.generation))
            .collect();
        if approved {
            self.larger.clear();
        } else if !gone.is_empty() {
            self.larger.push((began, before));
        }
        self.retired.extend(gone);
        self.retired.retain(|job, _| !self.active.contains_key(job));
    }
}
