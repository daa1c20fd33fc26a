//! Runs that are made by hand, new ones and those that repeat another, and runs that are ended by hand.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Around, Batch, Desk, Entry, Order, Phase,
    admit::{Cause, Repeated, new_run, newcomer},
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
        job::Job,
        record::{RunRecord, TaskRecord},
        state::{SlotOutcome, SlotReason, Trigger},
    },
    scheduler::{
        backlog::Hold,
        gate::{Newcomer, Verdict, gate},
        params::ParamError,
        retry::{Choice, Division, NoRetry, Question, divide},
    },
    storage::RunDetail,
};

/// A run that was made by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Triggered {
    /// The run.
    pub run: RunId,
    /// What whoever asked should know: that it waits, or that the job is paused or disabled.
    pub note: Option<String>,
}

/// Why no run was made by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerRefusal {
    /// No such job is active.
    UnknownJob,
    /// Its parameters are wrong.
    Params(Vec<ParamError>),
    /// A run of the job is going, and its policy lets no other start.
    Overlap(RunId),
}

/// A run that repeats another.
#[derive(Debug, Clone, PartialEq)]
pub struct Retried {
    /// The run.
    pub made: Triggered,
    /// What of it runs again.
    pub division: Division,
}

/// Why a run was not retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryRefusal {
    /// No version of its job is active.
    NotActive,
    /// Its parameters do not suit today's version.
    Params(Vec<ParamError>),
    /// There is nothing to do.
    Nothing(NoRetry),
    /// A run of the job is going, and its policy lets no other start.
    Overlap(RunId),
}

impl Desk {
    /// Makes a run by hand.
    pub fn trigger(
        &self,
        id: &JobId,
        given: Map<String, Value>,
        ignore_overlap: bool,
        around: &mut Around<'_>,
    ) -> Result<(Batch, Triggered), TriggerRefusal> {
        let Some(entry) = self.jobs.get(id) else {
            return Err(TriggerRefusal::UnknownJob);
        };
        let job = &entry.timeline.active.job;
        let cause = Cause {
            trigger: Trigger::Manual,
            slot: None,
            consumed: Vec::new(),
            repeats: None,
            given,
        };
        let run = match new_run(job, cause, around) {
            Ok(run) => run,
            Err(unfit) => return Err(TriggerRefusal::Params(unfit.errors)),
        };
        let entered = self.enter_by_hand(entry, run, Vec::new(), ignore_overlap, around);
        entered.map_err(TriggerRefusal::Overlap)
    }

    /// Makes a run that repeats one that has ended, with the active version of its job. `before` is the version that the
    /// old run ran, if it can be read.
    pub fn retry(
        &self,
        old: &RunDetail,
        before: Option<&Job>,
        choice: &Choice,
        ignore_overlap: bool,
        around: &mut Around<'_>,
    ) -> Result<(Batch, Retried), RetryRefusal> {
        let Some(entry) = self.jobs.get(&old.run.job) else {
            return Err(RetryRefusal::NotActive);
        };
        let job = &entry.timeline.active.job;
        let cause = Cause {
            trigger: Trigger::Retry,
            slot: None,
            consumed: Vec::new(),
            repeats: Some(Repeated {
                run: old.run.id,
                scheduled_at: old.run.scheduled_at,
            }),
            given: old.run.params.clone(),
        };
        let run = match new_run(job, cause, around) {
            Ok(run) => run,
            Err(unfit) => return Err(RetryRefusal::Params(unfit.errors)),
        };
        let question = Question {
            old: &old.run,
            old_tasks: &old.tasks,
            before,
            new: &run,
            today: job,
        };
        let division = divide(&question, choice).map_err(RetryRefusal::Nothing)?;
        let entered = self.enter_by_hand(entry, run, division.reused.clone(), ignore_overlap, around);
        let (batch, made) = entered.map_err(RetryRefusal::Overlap)?;
        Ok((batch, Retried { made, division }))
    }

    /// Lets in a run that somebody asked for, with what they should know; or names the run in its way.
    fn enter_by_hand(
        &self,
        entry: &Entry,
        run: RunRecord,
        reused: Vec<TaskRecord>,
        ignore_overlap: bool,
        around: &Around<'_>,
    ) -> Result<(Batch, Triggered), RunId> {
        let job = &entry.timeline.active.job;
        let newcomer = Newcomer {
            ignore_overlap,
            ..newcomer(&run, false)
        };
        // Runs by hand do not wait for other jobs, so that nobody needs to ask how these stand.
        let verdict = gate(&job.spec, &newcomer, &self.line(&job.id), &BTreeMap::new(), around.now);
        let mut notes: Vec<String> = entry
            .timeline
            .hold
            .map(|hold| self.says(hold, &job.id))
            .into_iter()
            .collect();
        match &verdict {
            Verdict::Skip { blocker: Some(run), .. } => return Err(*run),
            Verdict::Wait { detail, .. } | Verdict::Queue { detail, .. } | Verdict::Replace { detail, .. } => {
                notes.push(detail.clone());
            }
            Verdict::Start | Verdict::Skip { blocker: None, .. } => {}
        }
        let mut batch = Batch::default();
        let made = Triggered {
            run: run.id,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        };
        self.enter(&mut batch, run, job, reused, verdict, around.now);
        Ok((batch, made))
    }

    /// Ends a run on somebody's wish. A run that is not known here is the executor's business.
    pub fn cancel(&self, run: RunId, reason: String, now: Timestamp) -> Batch {
        let mut batch = Batch::default();
        if let Some(((job, slot), claim)) = self.claims.iter().find(|(_, claim)| claim.run.id == run) {
            // Its slot has not come: it is decided before, and no tick may come upon it.
            let skipped = (SlotOutcome::Skipped, SlotReason::Cancelled);
            batch.end_waiting(&claim.run, &claim.bound, &[], skipped, &reason, now);
            let mut taken = self.taken.get(job).map(|taken| (**taken).clone()).unwrap_or_default();
            taken.insert(*slot);
            batch.taken.insert(job.clone(), taken);
            return batch;
        }
        let going = self.runs.values().find_map(|runs| runs.get(&run));
        match going.map(|going| (going, &going.phase)) {
            Some((going, Phase::Waiting(bound))) => {
                batch.end_waiting(
                    &going.record,
                    bound,
                    &going.reused,
                    (SlotOutcome::Skipped, SlotReason::Cancelled),
                    &reason,
                    now,
                );
            }
            Some((_, Phase::Ordered | Phase::Running)) | None => batch.orders.push(Order::Cancel {
                run,
                reason,
                unstarted: SlotReason::Cancelled,
            }),
        }
        batch
    }

    fn says(&self, hold: Hold, job: &JobId) -> String {
        let pause = || self.pauses.get(&Some(job.clone())).or_else(|| self.pauses.get(&None));
        match (hold, pause()) {
            (Hold::Disabled, _) => "the job is disabled: its schedule starts nothing".to_owned(),
            (Hold::Paused, Some(pause)) => format!(
                "the job is paused by {} since {}: its schedule starts nothing",
                pause.by,
                pause.since.format("%Y-%m-%dT%H:%M:%SZ")
            ),
            (Hold::Paused, None) => "the job is paused: its schedule starts nothing".to_owned(),
        }
    }
}
