//! The published status: how the files stand, brought up to date in place.
//!
//! What is to be said of files and jobs comes from [`standings`] and [`conditions`]; here it is only put where others read
//! it, so that those who follow it wake exactly when something is news.

use std::sync::Arc;

use tokio::sync::watch;

use super::writer::Writer;
use crate::{
    core::{Timestamp, error_text::chain, record::ReconcileRecord},
    reconcile::{
        desired::Desired,
        plan::{Plan, PlanId},
        scan::SourceUnavailable,
        settle::Settled,
        standing::{Facts, conditions, standings},
        status::{Condition, ConditionCode, Source, SyncStatus},
        watch::Watching,
    },
};

/// Publishes the status.
pub(super) struct Publisher {
    /// Holds the only copy of the status, which is changed in place: for ten thousand files a copy is megabytes.
    sender: watch::Sender<Arc<SyncStatus>>,
}

/// What every status says, whatever was found.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) at: Timestamp,
    pub(super) watching: &'a Watching,
    pub(super) writer: &'a Writer,
}

impl Publisher {
    pub(super) fn new(sender: watch::Sender<Arc<SyncStatus>>) -> Self {
        Self { sender }
    }

    /// The status as it is now. Whoever keeps it makes the next change copy it.
    pub(super) fn status(&self) -> Arc<SyncStatus> {
        Arc::clone(&self.sender.borrow())
    }

    /// A plan was carried out.
    pub(super) fn record(&self, record: &ReconcileRecord) {
        self.sender.send_if_modified(|status| {
            Arc::make_mut(status).last_reconcile = Some(record.clone());
            true
        });
    }

    /// The folder was looked at, and, if there was something to plan, this is what stands after it.
    pub(super) fn looked(&self, now: Now<'_>, settled: &Settled, reconciled: Option<(&Desired, &Plan)>) {
        let standing = reconciled.map(|(desired, plan)| {
            let facts = Facts {
                settled,
                desired,
                plan,
                active: now.writer.active(),
            };
            let (files, jobs) = standings(facts, &self.sender.borrow(), now.at);
            let waiting = plan.waits_for_approval().then(|| plan.id.clone());
            (files, jobs, waiting)
        });
        let changing = settled.changing.iter().map(|unsettled| &unsettled.file);
        let settling: Vec<String> = changing.chain(&settled.leaving).cloned().collect();
        let waiting = match &standing {
            Some((_, _, waiting)) => waiting.clone(),
            None => self.sender.borrow().waiting_plan.clone(),
        };
        let conditions = self.conditions(now, &Source::Ok, settled, waiting.as_ref());
        self.publish(now, |status, set| {
            if let Some((files, jobs, waiting)) = standing {
                set.to(&mut status.files, files);
                set.to(&mut status.jobs, jobs);
                set.to(&mut status.waiting_plan, waiting);
            }
            set.to(&mut status.source, Source::Ok);
            set.to(&mut status.settling, settling);
            set.to(&mut status.conditions, conditions);
        });
    }

    /// The folder could not be looked at.
    pub(super) fn lost_source(&self, now: Now<'_>, error: &SourceUnavailable) {
        let (since, waiting) = {
            let status = self.sender.borrow();
            let since = match &status.source {
                Source::Unavailable { since, .. } => *since,
                Source::Ok => now.at,
            };
            (since, status.waiting_plan.clone())
        };
        let message = error.to_string();
        let source = Source::Unavailable { message, since };
        let conditions = self.conditions(now, &source, &Settled::default(), waiting.as_ref());
        self.publish(now, |status, set| {
            set.to(&mut status.source, source);
            set.to(&mut status.conditions, conditions);
        });
    }

    fn conditions(&self, now: Now<'_>, source: &Source, settled: &Settled, waiting: Option<&PlanId>) -> Vec<Condition> {
        let mut found = conditions(source, now.watching, settled, waiting, now.at);
        if let Some(error) = now.writer.not_committed() {
            found.push(Condition {
                code: ConditionCode::NotCommitted,
                message: format!("a change of the jobs could not be committed: {}", chain(error)),
                since: now.at,
            });
        }
        found.extend(now.writer.lost().iter().map(|lost| lost.condition(now.at)));
        let status = self.sender.borrow();
        for condition in &mut found {
            condition.keep_since(&status.conditions);
        }
        found
    }

    /// Changes the published status, and wakes those who follow it if that is news. Somebody who holds on to a status
    /// keeps it as it was.
    fn publish(&self, now: Now<'_>, change: impl FnOnce(&mut SyncStatus, &mut Changes)) {
        self.sender.send_if_modified(|published| {
            let status = Arc::make_mut(published);
            let mut set = Changes::default();
            change(status, &mut set);
            set.to(&mut status.watching, now.watching.clone());
            set.to(&mut status.active_set_hash, now.writer.set_hash().clone());
            // A look that finds nothing new wakes nobody, but for its time being right when somebody asks. Only the first
            // is news in itself: somebody may wait for it.
            let first = status.looked_at.replace(now.at).is_none();
            set.made || first
        });
    }
}

/// Sets values, and knows whether one of them became another.
#[derive(Default)]
struct Changes {
    made: bool,
}

impl Changes {
    fn to<T: PartialEq>(&mut self, place: &mut T, value: T) {
        if *place != value {
            *place = value;
            self.made = true;
        }
    }
}
