//! Making a run: it binds the active version, gets its inputs, and passes the gate or does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{Around, Batch, Desk, Order};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
        job::Job,
        record::{RunRecord, SlotRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    events::Event,
    scheduler::{
        gate::{Ahead, Newcomer, Verdict, gate},
        params::{self, ParamError, RunFacts},
    },
    storage::{Change, StorageError},
};

/// What makes a run.
pub(super) struct Cause {
    pub trigger: Trigger,
    pub slot: Option<Timestamp>,
    pub consumed: Vec<RunId>,
    pub given: Map<String, Value>,
}

/// A run that cannot start, because of its parameters.
pub(super) struct Unfit {
    pub record: RunRecord,
    pub errors: Vec<ParamError>,
}

/// A run that is not recorded yet, or why it cannot be.
pub(super) fn new_run(job: &Job, cause: Cause, around: &mut Around<'_>) -> Result<RunRecord, Box<Unfit>> {
    let id = RunId::from_parts(around.now, (around.random)());
    let facts = RunFacts {
        id,
        scheduled_at: cause.slot.unwrap_or(around.now),
        revision: around.revision.clone(),
    };
    let params = params::render(job, &cause.given, &facts);
    let record = RunRecord {
        id,
        job: job.id.clone(),
        status: RunStatus::Queued,
        trigger: cause.trigger,
        slot: cause.slot,
        scheduled_at: facts.scheduled_at,
        spec_hash: job.hash.clone(),
        revision: facts.revision,
        created_at: around.now,
        started_at: None,
        ended_at: None,
        params: Map::new(),
        consumed: cause.consumed,
        retry_of: None,
        wait_until: None,
        reason: None,
    };
    match params {
        Ok(params) => Ok(RunRecord { params, ..record }),
        Err(errors) => Err(Box::new(Unfit { record, errors })),
    }
}

pub(super) fn in_words(errors: &[ParamError]) -> String {
    let texts: Vec<String> = errors.iter().map(ParamError::to_string).collect();
    texts.join("; ")
}

impl Desk {
    /// Makes the run of a slot, or records why there is none. Returns the run, if one was made.
    pub(super) fn admit_slot(
        &self,
        batch: &mut Batch,
        job: &Arc<Job>,
        slot: Timestamp,
        starting: &BTreeSet<&JobId>,
        around: &mut Around<'_>,
    ) -> Result<Option<RunId>, StorageError> {
        let decided = |outcome, reason, detail: String, now| SlotRecord {
            job: job.id.clone(),
            at: slot,
            outcome: Some(outcome),
            reason: Some(reason),
            detail: Some(detail),
            decided_at: Some(now),
            run: None,
            spec_hash: job.hash.clone(),
        };
        let cause = Cause {
            trigger: Trigger::Schedule,
            slot: Some(slot),
            consumed: Vec::new(),
            given: Map::new(),
        };
        let record = match new_run(job, cause, around) {
            Ok(record) => record,
            Err(unfit) => {
                let detail = in_words(&unfit.errors);
                batch.put_slot(decided(SlotOutcome::Refused, SlotReason::Invalid, detail, around.now));
                return Ok(None);
            }
        };
        let verdict = gate(
            &job.spec,
            &newcomer(&record, false),
            &self.ahead_of(&record),
            &self.upstreams(job, starting, around)?,
            around.now,
        );
        if let Verdict::Skip { reason, detail, .. } = verdict {
            batch.put_slot(decided(SlotOutcome::Skipped, reason, detail, around.now));
            return Ok(None);
        }
        let id = record.id;
        self.enter(batch, record, job, verdict, around.now);
        Ok(Some(id))
    }

    /// Records a new run as the gate judged it, with the claim of its slot, and says what follows from that.
    pub(super) fn enter(
        &self,
        batch: &mut Batch,
        mut run: RunRecord,
        job: &Arc<Job>,
        verdict: Verdict,
        now: Timestamp,
    ) {
        let (replaced, cancelled, starts, never) = match verdict {
            Verdict::Start => (Vec::new(), Vec::new(), true, None),
            Verdict::Skip { detail, .. } => (Vec::new(), Vec::new(), false, Some(detail)),
            Verdict::Wait {
                until,
                detail,
                supersede,
            } => {
                run.wait_until = Some(until);
                run.reason = Some(detail);
                (supersede, Vec::new(), false, None)
            }
            Verdict::Queue { detail, supersede } => {
                run.reason = Some(detail);
                (supersede, Vec::new(), false, None)
            }
            Verdict::Replace { detail, cancel } => {
                run.reason = Some(detail);
                (Vec::new(), cancel, false, None)
            }
        };
        if let Some(at) = run.slot {
            batch.put_slot(SlotRecord {
                job: run.job.clone(),
                at,
                outcome: None,
                reason: None,
                detail: None,
                decided_at: None,
                run: Some(run.id),
                spec_hash: run.spec_hash.clone(),
            });
        }
        batch.changes.push(Change::CreateRun {
            run: run.clone(),
            tasks: TaskRecord::of_new_run(job, run.id),
        });
        batch.events.push(Event::Run {
            at: now,
            run: run.id,
            job: run.job.clone(),
            status: run.status,
        });
        self.supersede(batch, &run, &replaced, now);
        self.make_way(batch, &run, &cancelled, now);
        if let Some(detail) = never {
            let skipped = (SlotOutcome::Skipped, SlotReason::Overlap);
            batch.end_waiting(&run, job, skipped, &detail, now);
        } else if starts {
            batch.orders.push(Order::Start {
                run: Box::new(run),
                job: Arc::clone(job),
            });
        }
    }

    /// Unfinished runs of the same job that count before this one. Of those that are held back only the older do, or two
    /// that wait would wait for each other.
    pub(super) fn ahead_of(&self, run: &RunRecord) -> Vec<Ahead> {
        let others = self.runs.get(&run.job).into_iter().flat_map(BTreeMap::values);
        others
            .filter(|other| other.record.id != run.id && (!other.waits() || other.record.id < run.id))
            .map(|other| Ahead {
                run: other.record.id,
                trigger: other.record.trigger,
                waits: other.waits(),
            })
            .collect()
    }
}

pub(super) fn newcomer(run: &RunRecord, waits: bool) -> Newcomer {
    Newcomer {
        trigger: run.trigger,
        created_at: run.created_at,
        wait_until: run.wait_until,
        waits,
        ignore_overlap: false,
    }
}
