//! Runs that are made by hand, and runs that are ended by hand.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Around, Batch, Desk, Order, Phase,
    admit::{Cause, new_run, newcomer},
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
        state::{SlotOutcome, SlotReason, Trigger},
    },
    scheduler::{
        backlog::Hold,
        gate::{Newcomer, Verdict, gate},
        params::ParamError,
    },
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
            given,
        };
        let run = match new_run(job, cause, around) {
            Ok(run) => run,
            Err(unfit) => return Err(TriggerRefusal::Params(unfit.errors)),
        };
        let newcomer = Newcomer {
            ignore_overlap,
            ..newcomer(&run, false)
        };
        // Runs by hand do not wait for other jobs, so that nobody needs to ask how these stand.
        let verdict = gate(&job.spec, &newcomer, &self.line(id), &BTreeMap::new(), around.now);
        let mut notes: Vec<String> = entry
            .timeline
            .hold
            .map(|hold| self.says(hold, id))
            .into_iter()
            .collect();
        match &verdict {
            Verdict::Skip { blocker: Some(run), .. } => return Err(TriggerRefusal::Overlap(*run)),
            Verdict::Wait { detail, .. } | Verdict::Queue { detail, .. } | Verdict::Replace { detail, .. } => {
                notes.push(detail.clone());
            }
            Verdict::Start | Verdict::Skip { blocker: None, .. } => {}
        }
        let mut batch = Batch::default();
        let triggered = Triggered {
            run: run.id,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        };
        self.enter(&mut batch, run, job, verdict, around.now);
        Ok((batch, triggered))
    }

    /// Ends a run on somebody's wish. A run that is not known here is the executor's business.
    pub fn cancel(&self, run: RunId, reason: String, now: Timestamp) -> Batch {
        let mut batch = Batch::default();
        let going = self.runs.values().find_map(|runs| runs.get(&run));
        match going.map(|going| (&going.record, &going.phase)) {
            Some((record, Phase::Waiting(bound))) => {
                batch.end_waiting(
                    record,
                    bound,
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
