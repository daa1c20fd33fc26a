//! Those who wait for a sync: what each of them asked for, and what has become of it so far.
//!
//! Goes in: looks, plans that were carried out, and the time. Comes out, to each who waits, one answer. When to look is
//! not decided here, though somebody who has not had a look yet is a reason for one.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{Approval, Ask, SyncOutcome};
use crate::reconcile::{
    awaited::Awaited,
    plan::{Action, PlanId},
    scan::Look,
    settle::Settled,
    status::SyncStatus,
};

/// Somebody who waits for a sync.
pub(super) struct Waiter {
    pub(super) ask: Ask,
    deadline: Option<Instant>,
    approval: Option<Approval>,
    actions: Vec<Action>,
    /// The content that was there, and what became of it.
    awaited: Awaited,
    /// Whether a look has begun since the sync was asked for.
    served: bool,
    reply: oneshot::Sender<SyncOutcome>,
}

/// All who wait.
#[derive(Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiter {
    pub(super) fn new(ask: Ask, now: Instant, reply: oneshot::Sender<SyncOutcome>) -> Self {
        Self {
            deadline: ask.timeout.and_then(|timeout| now.checked_add(timeout)),
            approval: None,
            actions: Vec::new(),
            awaited: Awaited::only(ask.files.iter().cloned()),
            ask,
            served: false,
            reply,
        }
    }

    /// Answers; whoever asked may have gone.
    fn answer(self, status: &SyncStatus, committed: bool, timed_out: bool) {
        let (files, synced) = match self.ask.wait {
            true => (self.awaited.outcomes(), self.awaited.is_synced(status)),
            false => (Vec::new(), status.is_synced()),
        };
        let _ = self.reply.send(SyncOutcome {
            synced: synced && committed,
            timed_out,
            files,
            approval: self.approval,
            actions: self.actions,
            status: status.clone(),
        });
    }
}

impl Waiters {
    pub(super) fn push(&mut self, waiter: Waiter) {
        self.0.push(waiter);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the first of them will have waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(|waiter| waiter.deadline).min()
    }

    /// Whether somebody has not had a look yet. One who waits for a file to settle has had theirs.
    pub(super) fn want_a_look(&self) -> bool {
        self.0.iter().any(|waiter| !waiter.served)
    }

    /// The plans that they approve and that were not tried yet.
    pub(super) fn approvals(&self) -> Vec<PlanId> {
        self.0.iter().filter_map(|waiter| waiter.ask.approve.clone()).collect()
    }

    /// A plan was carried out that did this.
    pub(super) fn note(&mut self, actions: &[Action]) {
        for waiter in &mut self.0 {
            waiter.actions.extend_from_slice(actions);
        }
    }

    /// The plans that they approve were tried, and this became of each.
    pub(super) fn tried(&mut self, became: impl Fn(&PlanId) -> Approval) {
        for waiter in &mut self.0 {
            if let Some(id) = waiter.ask.approve.take() {
                waiter.approval = Some(became(&id));
            }
        }
    }

    /// Answers those who have waited long enough, after a look; `None` when the folder could not be looked at.
    pub(super) fn answer(&mut self, seen: Option<(&Look, &Settled)>, status: &SyncStatus, committed: bool) {
        for waiter in &mut self.0 {
            waiter.served = true;
            if let (true, Some((look, settled))) = (waiter.ask.wait, seen) {
                waiter.awaited.observe(look, settled, status);
            }
        }
        let in_vain = seen.is_none() || !committed;
        let over = |waiter: &mut Waiter| in_vain || !waiter.ask.wait || waiter.awaited.is_over();
        for waiter in self.0.extract_if(.., over) {
            waiter.answer(status, committed, false);
        }
    }

    /// Answers those whose time is up.
    pub(super) fn end(&mut self, now: Instant, status: &SyncStatus, committed: bool) {
        let is_over = |waiter: &mut Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now);
        for waiter in self.0.extract_if(.., is_over) {
            waiter.answer(status, committed, true);
        }
    }
}
