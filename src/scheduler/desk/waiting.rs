//! Runs that are held back, judged again when something they may wait for has happened; and runs that the success of
//! other jobs makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Map;

use super::{
    Around, Batch, Desk, Going, Order, Phase,
    admit::{Cause, Unfit, in_words, new_run, newcomer},
};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash},
        job::Job,
        record::RunRecord,
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    scheduler::gate::{Ahead, Newcomer, Upstream, Verdict, gate, met},
    storage::{Change, StorageError},
};

/// What looking at a run that waits came to.
enum Judged {
    /// It goes on waiting.
    Waits,
    /// It has ended, and is in nobody's way any more.
    Ended,
    /// It starts, or others end for it.
    Moves,
}

impl Desk {
    /// The jobs to look at now: something happened that concerns them, or a wait is over.
    pub fn stirred(&mut self, now: Timestamp) -> Vec<JobId> {
        while let Some((at, job)) = self.deadlines.first().cloned()
            && at <= now
        {
            // Taken out even if the run goes on waiting for another reason, or the wake-up would repeat for ever.
            self.deadlines.remove(&(at, job.clone()));
            self.stirred.insert(job);
        }
        self.stirred.iter().cloned().collect()
    }

    /// Everything that can be said of a job was said.
    pub fn settled(&mut self, job: &JobId) {
        self.stirred.remove(job);
    }

    /// What can be decided about a job's runs that wait, or about a run that it owes to the success of others; `None` if
    /// nothing can. To be asked until it is `None`.
    pub fn look_at(&self, job: &JobId, around: &mut Around<'_>) -> Result<Option<Batch>, StorageError> {
        let mut batch = Batch::default();
        let (waiting, mut ahead) = self.waiting_and_going(job);
        // Of a job that allows any number of runs there may be thousands.
        let bursts = if waiting.is_empty() {
            BTreeSet::new()
        } else {
            self.bursts(job)
        };
        // Also one whose turn is behind, as it may be when the clock was put back: nothing replaces what goes while late slots
        // are made up for, or a run would be judged otherwise than when it came.
        let backlog_waits = waiting.iter().any(|(going, _)| going.made_up);
        let mut upstreams: BTreeMap<&SpecHash, BTreeMap<JobId, Upstream>> = BTreeMap::new();
        for (going, bound) in waiting {
            if !upstreams.contains_key(&bound.hash) {
                upstreams.insert(&bound.hash, self.upstreams(bound, &BTreeMap::new(), around)?);
            }
            let run = &going.record;
            let newcomer = Newcomer {
                in_line: backlog_waits || (run.slot.is_some() && bursts.contains(&run.created_at)),
                ..newcomer(run, true)
            };
            let verdict = gate(&bound.spec, &newcomer, &ahead, &upstreams[&bound.hash], around.now);
            match self.judge_again(&mut batch, going, bound, verdict, around.now) {
                Judged::Waits => ahead.push(going.ahead()),
                Judged::Ended => {}
                // What follows from this for the others is decided once it is committed.
                Judged::Moves => return Ok(Some(batch)),
            }
        }
        if batch.is_empty() {
            self.owed_to_upstreams(job, around)
        } else {
            Ok(Some(batch))
        }
    }

    /// A job's runs that wait, in the order of their turns, and those that go.
    pub(super) fn waiting_and_going(&self, job: &JobId) -> (Vec<(&Going, &Arc<Job>)>, Vec<Ahead>) {
        let (mut waiting, mut going) = (Vec::new(), Vec::new());
        for run in self.runs.get(job).into_iter().flat_map(BTreeMap::values) {
            match &run.phase {
                Phase::Waiting(bound) => waiting.push((run, bound)),
                Phase::Ordered | Phase::Running => going.push(run.ahead()),
            }
        }
        waiting.sort_by_key(|(run, _)| run.turn());
        (waiting, going)
    }

    /// When runs of a job were made of which several stand in one line, since their slots were decided at once. The newest
    /// of them may have been in time, and so may all of them be when jitter held back the first.
    fn bursts(&self, job: &JobId) -> BTreeSet<Timestamp> {
        let runs = self.runs.get(job).into_iter().flat_map(BTreeMap::values);
        let mut seen = BTreeSet::new();
        runs.filter(|going| going.record.slot.is_some())
            .filter(|going| !seen.insert(going.record.created_at) || going.made_up)
            .map(|going| going.record.created_at)
            .collect()
    }

    fn judge_again(
        &self,
        batch: &mut Batch,
        going: &Going,
        job: &Arc<Job>,
        verdict: Verdict,
        now: Timestamp,
    ) -> Judged {
        let run = &going.record;
        let (note, judged) = match verdict {
            Verdict::Start => {
                let run = RunRecord {
                    reason: None,
                    ..run.clone()
                };
                batch.orders.push(Order::Start {
                    run: Box::new(run),
                    job: Arc::clone(job),
                    reused: going.reused.clone(),
                });
                (None, Judged::Moves)
            }
            Verdict::Skip { reason, detail, .. } => {
                batch.end_waiting(run, job, &going.reused, (SlotOutcome::Skipped, reason), &detail, now);
                return Judged::Ended;
            }
            Verdict::Wait { detail, until, .. } => {
                if run.wait_until.is_none() {
                    batch.waits.insert((run.job.clone(), run.id), until);
                }
                (Some(detail), Judged::Waits)
            }
            Verdict::Queue { detail, .. } => (Some(detail), Judged::Waits),
            Verdict::Replace { detail, cancel } => {
                // One that somebody had started beside it meanwhile is waited for, and not ended.
                let runs = self.runs.get(&run.job);
                let older = |other: &RunId| {
                    runs.and_then(|runs| runs.get(other))
                        .is_some_and(|other| other.turn() < going.turn())
                };
                let cancel: Vec<RunId> = cancel.into_iter().filter(older).collect();
                let before = batch.orders.len() + batch.changes.len();
                self.make_way(batch, run, &cancel, now);
                let moves = batch.orders.len() + batch.changes.len() > before;
                (Some(detail), if moves { Judged::Moves } else { Judged::Waits })
            }
        };
        if note != run.reason {
            batch.changes.push(Change::NoteRun {
                run: run.id,
                reason: note,
            });
        }
        judged
    }

    /// Ends runs that have waited so far: a newer one stands for them.
    pub(super) fn supersede(&self, batch: &mut Batch, by: &RunRecord, older: &[RunId], now: Timestamp) {
        let detail = match by.slot {
            Some(_) => format!("run {} of a newer slot took its place while it waited", by.id),
            None => format!("the newer run {} took its place while it waited", by.id),
        };
        for (going, bound) in self.waiting(&by.job, older) {
            let merged = (SlotOutcome::Merged, SlotReason::Overlap);
            batch.end_waiting(&going.record, bound, &going.reused, merged, &detail, now);
        }
    }

    /// Has runs end so that another can start: at once those that wait, by an order those that do not.
    pub(super) fn make_way(&self, batch: &mut Batch, by: &RunRecord, older: &[RunId], now: Timestamp) {
        let reason = format!("replaced by run {}", by.id);
        for (going, bound) in self.waiting(&by.job, older) {
            let skipped = (SlotOutcome::Skipped, SlotReason::Overlap);
            batch.end_waiting(&going.record, bound, &going.reused, skipped, &reason, now);
        }
        let runs = self.runs.get(&by.job);
        let going = older.iter().filter_map(|run| runs?.get(run));
        for going in going.filter(|going| !going.waits() && !going.cancelling) {
            batch.orders.push(Order::Cancel {
                run: going.record.id,
                reason: reason.clone(),
                unstarted: SlotReason::Overlap,
            });
        }
    }

    fn waiting<'a>(&'a self, job: &JobId, among: &'a [RunId]) -> impl Iterator<Item = (&'a Going, &'a Arc<Job>)> {
        let runs = self.runs.get(job);
        among.iter().filter_map(move |run| {
            let going = runs?.get(run)?;
            match &going.phase {
                Phase::Waiting(bound) => Some((going, bound)),
                Phase::Ordered | Phase::Running => None,
            }
        })
    }

    /// A job that depends and has no schedule runs once all that it depends on have met their condition since its last such
    /// run. What the journal says decides, not which event arrived; the runs that were used are recorded with the run,
    /// even if it is turned away, so that they make no other.
    fn owed_to_upstreams(&self, id: &JobId, around: &mut Around<'_>) -> Result<Option<Batch>, StorageError> {
        let Some(entry) = self.jobs.get(id) else {
            return Ok(None);
        };
        let job = &entry.timeline.active.job;
        if job.spec.schedule.is_some() || job.spec.depends_on.is_empty() || entry.timeline.hold.is_some() {
            return Ok(None);
        }
        let upstreams = self.upstreams(job, &BTreeMap::new(), around)?;
        let used = (around.latest)(id)?
            .by_dependency
            .map_or_else(Vec::new, |run| run.consumed);
        let begins = entry.timeline.begins().max(entry.timeline.active.record.anchor);
        let mut consumed = Vec::with_capacity(job.spec.depends_on.len());
        for dependency in &job.spec.depends_on {
            let run = upstreams
                .get(&dependency.job)
                .and_then(|up| met(dependency, up, around.now).ok());
            match run.filter(|run| run.ended_at > Some(begins) && !used.contains(&run.id)) {
                Some(run) => consumed.push(run.id),
                None => return Ok(None),
            }
        }
        let cause = Cause {
            trigger: Trigger::Dependency,
            slot: None,
            consumed,
            repeats: None,
            given: Map::new(),
        };
        let mut batch = Batch::default();
        match new_run(job, cause, around) {
            Ok(run) => {
                let verdict = gate(
                    &job.spec,
                    &newcomer(&run, false),
                    &self.line(id),
                    &upstreams,
                    around.now,
                );
                self.enter(&mut batch, run, job, Vec::new(), verdict, around.now);
            }
            Err(unfit) => {
                let Unfit { record: run, errors } = *unfit;
                let detail = in_words(&errors);
                batch.bound.insert(run.id, Arc::clone(job));
                batch.changes.push(Change::CreateRun {
                    run: run.clone(),
                    tasks: Vec::new(),
                });
                batch.end_run(&run, RunStatus::Failed, &detail, around.now);
            }
        }
        Ok(Some(batch))
    }
}
