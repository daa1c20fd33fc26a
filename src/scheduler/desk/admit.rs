//! Making a run: it binds the active version, gets its inputs, and passes the gate or does not.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{Around, Batch, Desk, Going, Order, batch::tasks_of};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
        job::Job,
        record::{RunRecord, SlotRecord, TaskRecord},
        spec::MisfirePolicy,
        state::{SlotOutcome, SlotReason, Trigger},
    },
    events::Event,
    scheduler::{
        gate::{Ahead, Newcomer, Upstream, Verdict, gate},
        params::{self, ParamError, RunFacts},
        series::start_of,
    },
    storage::Change,
};

/// What makes a run.
pub(super) struct Cause {
    pub trigger: Trigger,
    pub slot: Option<Timestamp>,
    pub consumed: Vec<RunId>,
    pub repeats: Option<Repeated>,
    pub given: Map<String, Value>,
}

/// The run that a retry repeats, as if it were that day again.
pub(super) struct Repeated {
    pub run: RunId,
    pub scheduled_at: Timestamp,
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
        scheduled_at: match &cause.repeats {
            Some(repeated) => repeated.scheduled_at,
            None => cause.slot.unwrap_or(around.now),
        },
        revision: around.revision.clone(),
    };
    // A given value that is wrong otherwise as well would be quoted.
    let secret = |(name, value): (&String, &Value)| {
        (around.tells_secret)(job, value).then(|| ParamError::Secret { name: name.clone() })
    };
    let secrets: Vec<ParamError> = cause.given.iter().filter_map(secret).collect();
    let params = match secrets.is_empty() {
        true => params::render(job, &cause.given, &facts),
        false => Err(secrets),
    };
    let record = RunRecord {
        slot: cause.slot,
        scheduled_at: facts.scheduled_at,
        revision: facts.revision,
        consumed: cause.consumed,
        retry_of: cause.repeats.map(|repeated| repeated.run),
        ..RunRecord::queued(id, job.id.clone(), job.hash.clone(), cause.trigger, around.now)
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
    /// Makes the run of a slot, or records why there is none. Returns the run, if one was made; it has joined the line.
    pub(super) fn admit_slot(
        &self,
        batch: &mut Batch,
        slot: &DueSlot<'_>,
        ahead: &mut Vec<Ahead>,
        upstreams: &BTreeMap<JobId, Upstream>,
        around: &mut Around<'_>,
    ) -> Option<RunId> {
        let DueSlot {
            at,
            judged_by,
            bound,
            in_line,
        } = slot;
        let decided = |outcome, reason, detail: String, now| SlotRecord {
            job: bound.id.clone(),
            at: *at,
            outcome: Some(outcome),
            reason: Some(reason),
            detail: Some(detail),
            decided_at: Some(now),
            run: None,
            spec_hash: judged_by.hash.clone(),
        };
        let cause = Cause {
            trigger: Trigger::Schedule,
            slot: Some(*at),
            consumed: Vec::new(),
            repeats: None,
            given: Map::new(),
        };
        let record = match new_run(bound, cause, around) {
            Ok(record) => record,
            Err(unfit) => {
                let detail = in_words(&unfit.errors);
                batch.put_slot(decided(SlotOutcome::Refused, SlotReason::Invalid, detail, around.now));
                return None;
            }
        };
        let newcomer = Newcomer {
            in_line: *in_line,
            ..newcomer(&record, false)
        };
        let verdict = gate(&bound.spec, &newcomer, ahead, upstreams, around.now);
        if let Verdict::Skip { reason, detail, .. } = verdict {
            batch.put_slot(decided(SlotOutcome::Skipped, reason, detail, around.now));
            return None;
        }
        let id = record.id;
        ahead.push(Ahead {
            run: id,
            trigger: record.trigger,
            waits: verdict != Verdict::Start,
            made_up: is_made_up(&record, bound),
        });
        batch.put_slot(claim_of(&record, *at, judged_by));
        self.enter(batch, record, bound, Vec::new(), verdict, around.now);
        Some(id)
    }

    /// Records a new run as the gate judged it, and says what follows from that. The claim of its slot stands before it.
    pub(super) fn enter(
        &self,
        batch: &mut Batch,
        mut run: RunRecord,
        job: &Arc<Job>,
        reused: Vec<TaskRecord>,
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
        batch.bound.insert(run.id, Arc::clone(job));
        batch.changes.push(Change::CreateRun {
            run: run.clone(),
            tasks: tasks_of(job, run.id, &reused),
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
            batch.end_waiting(&run, job, &reused, skipped, &detail, now);
        } else if starts {
            batch.orders.push(Order::Start {
                run: Box::new(run),
                job: Arc::clone(job),
                reused,
            });
        }
    }

    /// The unfinished runs of a job, as a run that is made now finds them ahead of it: those that go, and then those that
    /// wait, in the order of their turns.
    pub(super) fn line(&self, job: &JobId) -> Vec<Ahead> {
        let mut runs: Vec<&Going> = self.runs.get(job).into_iter().flat_map(BTreeMap::values).collect();
        runs.sort_by_key(|going| (going.waits(), going.turn()));
        runs.into_iter().map(Going::ahead).collect()
    }
}

impl Going {
    /// Who comes first. Of runs that were made at the same instant, those of slots were decided before any other, the oldest
    /// slot first.
    pub(super) fn turn(&self) -> (Timestamp, bool, Option<Timestamp>, RunId) {
        let RunRecord {
            created_at, slot, id, ..
        } = self.record;
        (created_at, slot.is_none(), slot, id)
    }

    pub(super) fn ahead(&self) -> Ahead {
        Ahead {
            run: self.record.id,
            trigger: self.record.trigger,
            waits: self.waits(),
            made_up: self.made_up,
        }
    }
}

/// The row by which a slot is claimed for a run.
pub(super) fn claim_of(run: &RunRecord, slot: Timestamp, judged_by: &Job) -> SlotRecord {
    SlotRecord {
        job: run.job.clone(),
        at: slot,
        outcome: None,
        reason: None,
        detail: None,
        decided_at: None,
        run: Some(run.id),
        spec_hash: judged_by.hash.clone(),
    }
}

/// A slot whose run may start.
pub(super) struct DueSlot<'a> {
    pub at: Timestamp,
    /// The version of its time.
    pub judged_by: &'a Job,
    /// The version that is active now, which it runs.
    pub bound: &'a Arc<Job>,
    /// Whether it is one of several that are made up for one by one.
    pub in_line: bool,
}

/// Whether a run makes up for a slot that was late when it was made. Said by what is recorded, so that it still holds after
/// a restart.
pub(super) fn is_made_up(run: &RunRecord, bound: &Job) -> bool {
    let misfire = bound.spec.schedule.as_ref().map(|schedule| schedule.misfire);
    match (run.slot, misfire) {
        (Some(slot), Some(misfire)) => {
            misfire.policy == MisfirePolicy::All && run.created_at - start_of(bound, slot) > misfire.grace.to_delta()
        }
        (None, _) | (_, None) => false,
    }
}

pub(super) fn newcomer(run: &RunRecord, waits: bool) -> Newcomer {
    Newcomer {
        trigger: run.trigger,
        created_at: run.created_at,
        wait_until: run.wait_until,
        waits,
        in_line: false,
        ignore_overlap: false,
    }
}
