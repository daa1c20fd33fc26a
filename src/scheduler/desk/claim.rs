//! Claims made ahead of their instant, so that the start itself does not wait for the disk.
//!
//! Shortly before a slot, its claim and its run are recorded as they will be if nothing comes in between. At its instant
//! the slot is decided like any other. If that still means that a run of the same version starts, the run that is
//! recorded goes out at once, and only the watermark is left to be written. In every other case (the job was edited, is
//! held, or is busy) the claim is withdrawn without a trace and the slot is decided as if there had been none.
//!
//! A claim does not move the watermark and is no run that anybody waits for, so that it decides nothing by being there. One
//! that a crash left is found again beyond the watermark, and its slot is a late one like any other.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::Map;

use super::{
    Around, Batch, Desk, Order,
    admit::{Cause, claim_of, new_run},
};
use crate::{
    core::{
        Timestamp,
        id::JobId,
        job::Job,
        record::{RunRecord, TaskRecord},
        spec::Overlap,
        state::Trigger,
    },
    events::Event,
    scheduler::backlog::Due,
    storage::Change,
};

/// How long before its instant a slot is claimed. A commit takes a millisecond or a few on a disk of today, tens on a slow
/// card; slots are at least a second apart, so that no other of the job lies in between.
pub const LEAD: TimeDelta = TimeDelta::milliseconds(100);

/// A slot that is recorded with its run, before its instant.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub run: RunRecord,
    /// The version that the run is bound to.
    pub bound: Arc<Job>,
}

impl Desk {
    /// Claims the slots that come within [`LEAD`] and would start if they came now: a batch for each. Jobs that depend on
    /// others or have a run in the way are decided at the instant alone, since until then too much may change.
    pub fn claim_ahead(&self, around: &mut Around<'_>) -> Vec<Batch> {
        let now = around.now;
        let soon = self.agenda.iter().take_while(|(start, _)| *start <= now + LEAD);
        let mut batches = Vec::new();
        for (_, id) in soon.filter(|(start, _)| *start > now) {
            let Some(timeline) = self.jobs.get(id).map(|entry| &entry.timeline) else {
                continue;
            };
            let job = &timeline.active.job;
            let slot = timeline
                .series()
                .and_then(|series| series.next_after(timeline.begins()));
            let Some(slot) = slot.filter(|slot| !self.claims.contains_key(&(id.clone(), *slot))) else {
                continue;
            };
            let cause = Cause {
                trigger: Trigger::Schedule,
                slot: Some(slot),
                consumed: Vec::new(),
                repeats: None,
                given: Map::new(),
            };
            if !job.spec.depends_on.is_empty() || !self.runs_at_once(job) {
                continue;
            }
            // What cannot be rendered is said when the slot has come.
            let Ok(run) = new_run(job, cause, around) else { continue };
            let mut batch = Batch::default();
            if timeline.watermark.is_none() {
                // Without one, nothing would be beyond it.
                batch.changes.push(Change::SetWatermark {
                    job: id.clone(),
                    at: timeline.begins(),
                });
            }
            batch.put_slot(claim_of(&run, slot, job));
            batch.changes.push(Change::CreateRun {
                tasks: TaskRecord::of_new_run(job, run.id),
                run: run.clone(),
            });
            let bound = Arc::clone(job);
            batch.claims.insert((id.clone(), slot), Claim { run, bound });
            batches.push(batch);
        }
        batches
    }

    /// The start of a job whose only slot that is due was claimed ahead, if the claim still holds.
    pub(super) fn start_claimed(&self, id: &JobId, due: &Due, bound: &Arc<Job>, now: Timestamp) -> Option<Batch> {
        let ([slot], []) = (&due.starts[..], &due.passed[..]) else {
            return None;
        };
        let claim = self.claims.get(&(id.clone(), *slot))?;
        if claim.bound.hash != bound.hash || !bound.spec.depends_on.is_empty() || !self.runs_at_once(bound) {
            return None;
        }
        let mut batch = Batch {
            recorded: true,
            ..Batch::default()
        };
        batch.events.push(Event::Run {
            at: now,
            run: claim.run.id,
            job: id.clone(),
            status: claim.run.status,
        });
        batch.orders.push(Order::Start {
            run: Box::new(claim.run.clone()),
            job: Arc::clone(&claim.bound),
            reused: Vec::new(),
        });
        Some(batch)
    }

    /// Takes back a job's claims of slots up to an instant.
    pub(super) fn withdraw(&self, batch: &mut Batch, job: &JobId, until: Timestamp) {
        let of_job = self.claims_of(job).filter(|(slot, _)| *slot <= until);
        batch.changes.extend(of_job.map(|(slot, _)| Change::Unclaim {
            job: job.clone(),
            at: slot,
        }));
    }

    pub(super) fn claims_of(&self, job: &JobId) -> impl Iterator<Item = (Timestamp, &Claim)> {
        let from = (job.clone(), Timestamp::MIN_UTC);
        let to = (job.clone(), Timestamp::MAX_UTC);
        self.claims.range(from..=to).map(|((_, slot), claim)| (*slot, claim))
    }

    /// Whether a run of a slot would start now, as far as runs of the job itself are concerned.
    fn runs_at_once(&self, job: &Job) -> bool {
        job.spec.overlap == Overlap::Allow || !self.runs.contains_key(&job.id)
    }
}
