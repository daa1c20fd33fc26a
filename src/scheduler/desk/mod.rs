//! The scheduler's desk: what it knows of every job, and what it decides.
//!
//! Deciding and changing are kept apart. A decision looks at the desk, changes nothing, and returns [`Batch`]es: changes for
//! the journal, and orders that may go out once they are committed. [`Desk::apply`] then folds a committed batch into the
//! desk, and is the only way in which its jobs' past changes. So a commit that fails leaves nothing to undo: the same
//! question is asked again later, and a slot that has become late by then is judged as late.
//!
//! The desk knows no clock, no journal and no processes. Time, randomness and what the journal says of other jobs'
//! latest runs come in as [`Around`].

mod admit;
mod batch;
mod commands;
mod edit;
mod recover;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use batch::{Batch, Order};
pub use commands::{TriggerRefusal, Triggered};
pub use recover::give_up;

use super::{
    backlog::Hold,
    due::{Timeline, due},
    gate::Upstream,
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, RunId, SpecHash},
        job::Job,
        record::{PauseRecord, RunRecord},
        state::{RunStatus, Trigger},
    },
    storage::{Change, LatestRuns, RunDetail, StorageError},
};

/// What a decision needs to know beside the desk.
pub struct Around<'a> {
    /// The time.
    pub now: Timestamp,
    /// Randomness for ids.
    pub random: &'a mut dyn FnMut() -> u128,
    /// What the journal says of a job's latest runs.
    pub latest: &'a dyn Fn(&JobId) -> Result<LatestRuns, StorageError>,
    /// The git commit of the folder of jobs.
    pub revision: Option<String>,
}

/// What the journal said when the scheduler started.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Up to where each job's slots are recorded.
    pub watermarks: Vec<(JobId, Timestamp)>,
    /// All pauses.
    pub pauses: Vec<PauseRecord>,
    /// Every run that has not ended.
    pub unfinished: Vec<RunDetail>,
    /// The versions that those of them which are queued are bound to.
    pub bound: BTreeMap<SpecHash, Arc<Job>>,
}

/// A job that will fire, or why it will not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextFire {
    /// The job.
    pub job: JobId,
    /// When its next slot is to start; `None` without a schedule, or while something holds it.
    pub at: Option<Timestamp>,
    /// What holds it.
    pub hold: Option<Hold>,
}

/// Everything that the scheduler knows.
#[derive(Debug, Default)]
pub struct Desk {
    jobs: BTreeMap<JobId, Entry>,
    /// When each job that is not held has its next slot: only those at the front are looked at, however many there are.
    agenda: BTreeSet<(Timestamp, JobId)>,
    /// When runs stop waiting for other jobs.
    deadlines: BTreeSet<(Timestamp, JobId)>,
    /// Also of jobs that are gone, whose state returns when their file does.
    watermarks: BTreeMap<JobId, Timestamp>,
    /// Unfinished runs, oldest first.
    runs: BTreeMap<JobId, BTreeMap<RunId, Going>>,
    pauses: BTreeMap<Option<JobId>, PauseRecord>,
    /// Which jobs depend on a job.
    dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Jobs for which something happened that a run of theirs may have waited for.
    stirred: BTreeSet<JobId>,
}

#[derive(Debug)]
struct Entry {
    timeline: Timeline,
    next: Option<Timestamp>,
}

/// An unfinished run.
#[derive(Debug, Clone)]
struct Going {
    record: RunRecord,
    phase: Phase,
    /// Whether its end has been ordered.
    cancelling: bool,
}

#[derive(Debug, Clone)]
enum Phase {
    /// Held back here, with the version that it is bound to. Next: ordered, or its end.
    Waiting(Arc<Job>),
    /// Handed to the executor; no task has started. Next: running, or its end.
    Ordered,
    /// A task has started. Next: its end.
    Running,
}

impl Going {
    fn waits(&self) -> bool {
        match self.phase {
            Phase::Waiting(_) => true,
            Phase::Ordered | Phase::Running => false,
        }
    }

    fn has_started(&self) -> bool {
        match self.phase {
            Phase::Running => true,
            Phase::Waiting(_) | Phase::Ordered => false,
        }
    }
}

impl Desk {
    /// A desk as the journal left it, with the active set of that time: a backlog is judged by the spec of its time.
    pub fn new(active: &ActiveSet, past: Past) -> Self {
        let mut desk = Self {
            watermarks: past.watermarks.into_iter().collect(),
            pauses: past
                .pauses
                .into_iter()
                .map(|pause| (pause.job.clone(), pause))
                .collect(),
            ..Self::default()
        };
        for detail in past.unfinished {
            let record = detail.run;
            let phase = match (record.status, past.bound.get(&record.spec_hash)) {
                (RunStatus::Queued, Some(job)) => Phase::Waiting(Arc::clone(job)),
                // A queued run without its version is given up before this.
                (_, _) => Phase::Running,
            };
            desk.add_run(record, phase);
        }
        desk.swap(active);
        desk
    }

    /// When something must be decided, if nothing happens before.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let fronts = [self.agenda.first(), self.deadlines.first()];
        fronts.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// When each job fires next.
    pub fn next_fires(&self) -> Vec<NextFire> {
        let fire = |(job, entry): (&JobId, &Entry)| NextFire {
            job: job.clone(),
            at: entry.next,
            hold: entry.timeline.hold,
        };
        self.jobs.iter().map(fire).collect()
    }

    /// Decides every slot that is due: a batch for each job that has one. `next` is the active set that is about to take
    /// over, if not the one that the desk has: slots of a schedule that it replaces are due up to that instant only.
    pub fn tick(&self, next: &ActiveSet, around: &mut Around<'_>) -> Result<Vec<Batch>, StorageError> {
        let now = around.now;
        let ready = self.agenda.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = ready
            .filter_map(|(_, job)| {
                let timeline = &self.jobs.get(job)?.timeline;
                due(timeline, timeline.ends(next, now), now).map(|due| (job, due))
            })
            .collect();
        let starting: BTreeSet<&JobId> = due
            .iter()
            .filter(|(_, due)| due.start.is_some())
            .map(|(job, _)| *job)
            .collect();
        let mut batches = Vec::with_capacity(due.len());
        for (id, due) in &due {
            let Some(entry) = self.jobs.get(*id) else { continue };
            let mut batch = Batch::default();
            let run = match due.start {
                Some(slot) => self.admit_slot(&mut batch, &entry.timeline.active.job, slot, &starting, around)?,
                None => None,
            };
            for passed in &due.passed {
                batch.pass(&entry.timeline.active.job, passed, run, around.now);
            }
            batch.changes.push(Change::SetWatermark {
                job: (*id).clone(),
                at: due.last,
            });
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Takes in a batch that was committed.
    pub fn apply(&mut self, batch: &Batch) {
        for change in &batch.changes {
            self.apply_change(change);
        }
        for order in &batch.orders {
            let (run, is_cancel) = match order {
                Order::Start { run, .. } => (run.id, false),
                Order::Cancel { run, .. } => (*run, true),
            };
            for going in self.runs.values_mut().filter_map(|runs| runs.get_mut(&run)) {
                if is_cancel {
                    going.cancelling = true;
                } else {
                    going.phase = Phase::Ordered;
                }
            }
        }
    }

    /// The executor says that a run moved on.
    pub fn run_moved(&mut self, job: &JobId, run: RunId, status: RunStatus) {
        if status.is_finished() {
            self.remove_run(job, run);
        } else if status == RunStatus::Running
            && let Some(going) = self.runs.get_mut(job).and_then(|runs| runs.get_mut(&run))
        {
            going.phase = Phase::Running;
        }
    }

    /// Puts right what was missed: these are all the runs that have not ended.
    pub fn runs_are(&mut self, unfinished: &[RunDetail]) {
        let status: BTreeMap<RunId, RunStatus> = unfinished.iter().map(|d| (d.run.id, d.run.status)).collect();
        let known = self
            .runs
            .iter()
            .flat_map(|(job, runs)| runs.keys().map(|run| (job.clone(), *run)));
        for (job, run) in known.collect::<Vec<_>>() {
            self.run_moved(&job, run, status.get(&run).copied().unwrap_or(RunStatus::Cancelled));
        }
    }

    fn apply_change(&mut self, change: &Change) {
        match change {
            Change::SetWatermark { job, at } => {
                let watermark = self.watermarks.entry(job.clone()).or_insert(*at);
                *watermark = (*watermark).max(*at);
                self.reschedule(job);
            }
            Change::CreateRun { run, .. } => {
                let bound = self
                    .jobs
                    .get(&run.job)
                    .map(|entry| Arc::clone(&entry.timeline.active.job));
                let phase = bound.map_or(Phase::Running, Phase::Waiting);
                self.add_run(run.clone(), phase);
            }
            Change::NoteRun { run, reason } => {
                for going in self.runs.values_mut().filter_map(|runs| runs.get_mut(run)) {
                    going.record.reason.clone_from(reason);
                }
            }
            Change::EndRun { run, .. } => {
                let job = self
                    .runs
                    .iter()
                    .find(|(_, runs)| runs.contains_key(run))
                    .map(|(job, _)| job.clone());
                if let Some(job) = job {
                    self.remove_run(&job, *run);
                }
            }
            // A slot that is decided without a run is no longer due, and somebody may have waited for that.
            Change::PutSlot(slot) if slot.outcome.is_some() => self.stir_dependents(&slot.job),
            Change::Pause(pause) => {
                self.pauses.insert(pause.job.clone(), pause.clone());
                self.reschedule_all(pause.job.as_ref());
            }
            Change::Resume(job) => {
                self.pauses.remove(job);
                self.reschedule_all(job.as_ref());
            }
            Change::PutSlot(_)
            | Change::DecideSlot { .. }
            | Change::PutStretch(_)
            | Change::SetTask(_)
            | Change::StartRun { .. }
            | Change::PutSpec(_)
            | Change::SetActive(_)
            | Change::RemoveActive(_)
            | Change::Reconcile(_)
            | Change::LaunchAttempt(_)
            | Change::StartAttempt { .. }
            | Change::EndAttempt(_) => {}
        }
    }

    fn add_run(&mut self, record: RunRecord, phase: Phase) {
        if let (Phase::Waiting(_), Some(until)) = (&phase, record.wait_until) {
            self.deadlines.insert((until, record.job.clone()));
        }
        let going = Going {
            phase,
            cancelling: false,
            record,
        };
        let runs = self.runs.entry(going.record.job.clone()).or_default();
        runs.insert(going.record.id, going);
    }

    fn remove_run(&mut self, job: &JobId, run: RunId) {
        if let Some(runs) = self.runs.get_mut(job) {
            runs.remove(&run);
            if runs.is_empty() {
                self.runs.remove(job);
            }
        }
        self.stirred.insert(job.clone());
        self.stir_dependents(job);
    }

    fn stir_dependents(&mut self, job: &JobId) {
        self.stirred
            .extend(self.dependents.get(job).into_iter().flatten().cloned());
    }

    /// One job's next slot, after something of its timeline changed.
    fn reschedule(&mut self, job: &JobId) {
        let hold = self.hold(job);
        let Some(entry) = self.jobs.get_mut(job) else { return };
        if let Some(next) = entry.next.take() {
            self.agenda.remove(&(next, job.clone()));
        }
        entry.timeline.watermark = self.watermarks.get(job).copied();
        entry.timeline.hold = hold;
        entry.next = entry.timeline.next_start();
        if let Some(next) = entry.next {
            self.agenda.insert((next, job.clone()));
        }
    }

    fn reschedule_all(&mut self, job: Option<&JobId>) {
        for job in self.affected(job) {
            self.reschedule(&job);
            self.stirred.insert(job);
        }
    }

    /// One job, or all of them.
    fn affected(&self, job: Option<&JobId>) -> Vec<JobId> {
        job.map_or_else(|| self.jobs.keys().cloned().collect(), |job| vec![job.clone()])
    }

    fn hold(&self, job: &JobId) -> Option<Hold> {
        let entry = self.jobs.get(job)?;
        hold(&entry.timeline.active, &self.pauses)
    }

    /// How the jobs stand that a job depends on; those in `starting` have a slot that is due this very moment.
    fn upstreams(
        &self,
        job: &Job,
        starting: &BTreeSet<&JobId>,
        around: &Around<'_>,
    ) -> Result<BTreeMap<JobId, Upstream>, StorageError> {
        let mut upstreams = BTreeMap::new();
        for dependency in &job.spec.depends_on {
            let id = &dependency.job;
            let by_itself = |going: &&Going| going.record.trigger != Trigger::Manual;
            let unfinished = self.runs.get(id).and_then(|runs| runs.values().find(by_itself));
            let upstream = if !self.jobs.contains_key(id) {
                Upstream::Absent
            } else if let Some(going) = unfinished {
                Upstream::Unfinished(format!("has an unfinished run {}", going.record.id))
            } else if starting.contains(id) {
                Upstream::Unfinished("has a slot that is due now".to_owned())
            } else {
                Upstream::Settled(Box::new((around.latest)(id)?))
            };
            upstreams.insert(id.clone(), upstream);
        }
        Ok(upstreams)
    }
}

/// What holds a job back. Being disabled is named first, because ending a pause would not end it.
fn hold(active: &ActiveJob, pauses: &BTreeMap<Option<JobId>, PauseRecord>) -> Option<Hold> {
    if !active.job.spec.enabled {
        Some(Hold::Disabled)
    } else if pauses.contains_key(&None) || pauses.contains_key(&Some(active.job.id.clone())) {
        Some(Hold::Paused)
    } else {
        None
    }
}
