//! A plan that is looked at and not carried out, with what it was made against.
//!
//! It reports everything that is refused, also what an earlier plan has reported: whoever asks has not seen that one.
//! Apart from that it decides as the plan that would be carried out, with the same memory of what is held. What a plan
//! means for fires and pools is for `view` to tell, from the two active sets that are given here.

use std::sync::Arc;

use super::{
    apply::{Applied, Before, Occasion, apply},
    desired::Desired,
    options::Options,
    plan::{Past, Plan, plan},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, SpecHash},
        record::{Actor, SpecRecord},
    },
    storage::Change,
};

/// A plan, and both sides that it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// What would change.
    pub plan: Plan,
    /// What is active.
    pub active: Arc<ActiveSet>,
    /// The hash of `active`.
    pub active_hash: SpecHash,
    /// The hash of everything in the folder that a plan is made of.
    pub files_hash: SpecHash,
}

impl Proposal {
    /// Plans without a word on what was reported before.
    pub(crate) fn new(
        desired: &Desired,
        active: Arc<ActiveSet>,
        past: Past<'_>,
        options: &Options,
        now: Timestamp,
    ) -> Self {
        let active_hash = past.set_hash.clone();
        let mut plan = plan(desired, &active, past, &options.policy(None), now);
        plan.actions.extend(plan.refused.iter().cloned());
        plan.actions.sort();
        plan.actions.dedup();
        Self {
            plan,
            active,
            active_hash,
            files_hash: desired.hash().clone(),
        }
    }

    /// The active set that carrying the plan out at its moment would lead to. Generations count as if no job had been
    /// active before.
    pub fn resulting(&self) -> ActiveSet {
        self.applied().active
    }

    /// One job of [`Self::resulting`], with the record of its version for the journal unless it is active already.
    pub fn resulting_job(&self, id: &JobId) -> Option<(Arc<ActiveJob>, Option<SpecRecord>)> {
        let mut applied = self.applied();
        let active = applied.active.remove(id)?;
        let version = applied.changes.into_iter().find_map(|change| match change {
            Change::PutSpec(record) if record.job == *id => Some(record),
            _ => None,
        });
        Some((active, version))
    }

    fn applied(&self) -> Applied {
        let before = Before {
            active: &self.active,
            set_hash: &self.active_hash,
            retired: &Default::default(),
            refused: &[],
        };
        let occasion = Occasion {
            actor: Actor::Command,
            by: None,
            revision: None,
            now: self.plan.at,
            duration_ms: 0,
        };
        apply(&self.plan, before, occasion)
    }
}
