//! The scheduler's desk: what it knows of every job, and what it decides.
//!
//! Deciding and changing are kept apart. A decision looks at the desk, changes nothing, and returns [`Batch`]es: changes for
//! the journal, and orders that may go out once they are committed. [`Desk::apply`] then folds a committed batch into the
//! desk, and is the only way in which its jobs' past changes. So a commit that fails leaves nothing to undo: the same
//! question is asked again later, and a slot that has become late by then is judged as late.
//!
//! What need not be written before an order goes out ([`Batch::recorded`]) takes effect at once, since the claim that it rests
//! on was committed before.
//!
//! The desk knows no clock, no journal and no processes. Time, randomness and what the journal says of other jobs'
//! latest runs come in as [`Around`].

mod admit;
mod batch;
mod claim;
mod commands;
mod edit;
mod put_back;
mod recover;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use batch::{Batch, Order};
pub use claim::LEAD;
pub use commands::{Retried, RetryRefusal, TriggerRefusal, Triggered};
pub use put_back::{Beyond, LONGEST_WAIT};
pub use recover::give_up;

use admit::{DueSlot, is_made_up};
use chrono::SecondsFormat;
use claim::Claim;
use serde_json::Value;

use super::{
    backlog::{Due, Hold},
    due::{Timeline, due},
    gate::Upstream,
    presence::Presence,
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, RunId, SpecHash},
        job::Job,
        record::{PauseRecord, RunRecord, SupersedeRecord, TaskRecord},
        state::RunStatus,
    },
    storage::{Change, LatestRuns, RunDetail, StorageError},
};

/// What a decision needs to know beside the desk.
pub struct Around<'a> {
    /// The time.
    pub now: Timestamp,
    /// What Petit was there for until now.
    pub presence: Presence,
    /// Randomness for ids.
    pub random: &'a mut dyn FnMut() -> u128,
    /// What the journal says of a job's latest runs.
    pub latest: &'a dyn Fn(&JobId) -> Result<LatestRuns, StorageError>,
    /// The git commit of the folder of jobs.
    pub revision: Option<String>,
    /// Whether a value holds a secret of the job. It may read files, and is asked of what somebody gave a run only.
    pub tells_secret: &'a dyn Fn(&Job, &Value) -> bool,
}

/// What the journal said when the scheduler started.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Up to where each job's slots are recorded.
    pub watermarks: Vec<(JobId, Timestamp)>,
    /// Slots that are recorded beyond that.
    pub beyond_watermark: Vec<(JobId, Timestamp)>,
    /// All pauses.
    pub pauses: Vec<PauseRecord>,
    /// Every run that has not ended.
    pub unfinished: Vec<RunDetail>,
    /// The versions that they are bound to. One that is missing must belong to runs that are under way.
    pub bound: BTreeMap<SpecHash, Arc<Job>>,
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
    /// Slots beyond the watermark that are decided already: they ran before the clock was put back, or somebody ended their
    /// run when it was claimed.
    taken: BTreeMap<JobId, Arc<BTreeSet<Timestamp>>>,
    /// Unfinished runs, oldest first.
    runs: BTreeMap<JobId, BTreeMap<RunId, Going>>,
    /// Slots that are claimed ahead of their instant; their runs are no runs yet.
    claims: BTreeMap<(JobId, Timestamp), Claim>,
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
    /// Its tasks that an earlier run has done for it.
    reused: Vec<TaskRecord>,
    /// Whether its end has been ordered.
    cancelling: bool,
    /// Whether it makes up for a late slot.
    made_up: bool,
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
        for (job, slot) in past.beyond_watermark {
            Arc::make_mut(desk.taken.entry(job).or_default()).insert(slot);
        }
        for detail in past.unfinished {
            let record = detail.run;
            let ahead = record.slot.map(|slot| (record.job.clone(), slot));
            if let (Some(key), RunStatus::Queued, Some(bound)) =
                (ahead, record.status, past.bound.get(&record.spec_hash))
                && desk
                    .taken
                    .get_mut(&key.0)
                    .is_some_and(|taken| Arc::make_mut(taken).remove(&key.1))
            {
                let bound = Arc::clone(bound);
                desk.claims.insert(key, Claim { run: record, bound });
                continue;
            }
            let bound = past.bound.get(&record.spec_hash);
            let phase = match (record.status, bound) {
                (RunStatus::Queued, Some(job)) => Phase::Waiting(Arc::clone(job)),
                // A queued run without its version is given up before this.
                (_, _) => Phase::Running,
            };
            let made_up = bound.is_some_and(|bound| is_made_up(&record, bound));
            desk.add_run(record, phase, &detail.tasks, made_up);
        }
        desk.swap(active);
        // Also those of jobs that are gone.
        desk.stirred.extend(desk.runs.keys().cloned());
        desk
    }

    /// When something must be decided or claimed, if nothing happens before.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let fronts = [self.agenda.first(), self.deadlines.first()];
        let fronts = fronts.into_iter().flatten().map(|(at, _)| *at);
        // Those before it were claimed when they came this near, or cannot be.
        let unclaimed = self.agenda.iter().map(|(at, _)| *at).find(|at| *at > now + LEAD);
        fronts.chain(unclaimed.map(|at| at - LEAD)).min()
    }

    /// Decides every slot that is due: a batch for each job that has one. `next` is the active set that is about to take
    /// over, if not the one that the desk has: slots of a schedule that it replaces are due up to that instant only. They
    /// are judged by the version of their time, and run with the one of `next`.
    pub fn tick(&self, next: &ActiveSet, around: &mut Around<'_>) -> Result<Vec<Batch>, StorageError> {
        let now = around.now;
        let ready = self.agenda.iter().take_while(|(at, _)| *at <= now);
        let due: BTreeMap<&JobId, Due> = ready
            .filter_map(|(_, job)| {
                let timeline = &self.jobs.get(job)?.timeline;
                let waiting = self.slots_waiting(job);
                due(timeline, timeline.ends(next, now), now, &around.presence, waiting).map(|due| (job, due))
            })
            .collect();
        let mut batches = Vec::with_capacity(due.len());
        for (id, owed) in &due {
            let Some(entry) = self.jobs.get(*id) else { continue };
            let judged_by = &entry.timeline.active.job;
            let bound = next.get(*id).map_or(judged_by, |newer| &newer.job);
            if let Some(mut batch) = self.start_claimed(id, owed, bound, now) {
                batch.changes.push(Change::SetWatermark {
                    job: (*id).clone(),
                    at: owed.last,
                });
                batches.push(batch);
                continue;
            }
            let mut batch = Batch::default();
            self.withdraw(&mut batch, id, owed.last);
            let mut run = None;
            if !owed.starts.is_empty() {
                let upstreams = self.upstreams(bound, &due, around)?;
                let mut ahead = self.line(id);
                for at in &owed.starts {
                    let slot = DueSlot {
                        at: *at,
                        judged_by,
                        bound,
                        in_line: owed.starts.len() > 1,
                    };
                    run = self.admit_slot(&mut batch, &slot, &mut ahead, &upstreams, around);
                }
            }
            for passed in &owed.passed {
                batch.pass(judged_by, passed, run, now);
            }
            batch.changes.push(Change::SetWatermark {
                job: (*id).clone(),
                at: owed.last,
            });
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Takes in a batch that was committed.
    pub fn apply(&mut self, batch: &Batch) {
        self.claims.extend(batch.claims.clone());
        for (job, taken) in &batch.taken {
            self.taken.insert(job.clone(), Arc::new(taken.clone()));
            self.reschedule(job);
        }
        for change in &batch.changes {
            self.apply_change(change, &batch.bound);
        }
        for (job, run) in &batch.made_up {
            if let Some(going) = self.runs.get_mut(job).and_then(|runs| runs.get_mut(run)) {
                going.made_up = true;
            }
        }
        for ((job, run), until) in &batch.waits {
            if let Some(going) = self.runs.get_mut(job).and_then(|runs| runs.get_mut(run)) {
                going.record.wait_until = Some(*until);
                self.deadlines.insert((*until, job.clone()));
            }
        }
        for order in &batch.orders {
            match order {
                Order::Start { run, .. } => match self.runs.get_mut(&run.job).and_then(|runs| runs.get_mut(&run.id)) {
                    Some(going) => going.phase = Phase::Ordered,
                    None => {
                        self.claims.retain(|_, claim| claim.run.id != run.id);
                        // It was claimed ahead of its instant, so that it is not late.
                        self.add_run((**run).clone(), Phase::Ordered, &[], false);
                    }
                },
                Order::Cancel { run, .. } => {
                    for going in self.runs.values_mut().filter_map(|runs| runs.get_mut(run)) {
                        going.cancelling = true;
                    }
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

    fn apply_change(&mut self, change: &Change, bound: &BTreeMap<RunId, Arc<Job>>) {
        match change {
            Change::SetWatermark { job, at } => {
                let watermark = self.watermarks.entry(job.clone()).or_insert(*at);
                *watermark = (*watermark).max(*at);
                let watermark = *watermark;
                self.forget_taken(job, watermark);
                self.reschedule(job);
                // What is decided is no longer due, and somebody may have waited for that.
                self.stir_dependents(job);
            }
            Change::Unclaim { job, at } => {
                self.claims.remove(&(job.clone(), *at));
            }
            Change::Supersede(SupersedeRecord { job, after }) => {
                self.watermarks.insert(job.clone(), *after);
                self.reschedule(job);
            }
            Change::CreateRun { run, tasks } => {
                // One that is claimed ahead of its instant is no run yet.
                if let Some(bound) = bound.get(&run.id) {
                    let made_up = is_made_up(run, bound);
                    self.add_run(run.clone(), Phase::Waiting(Arc::clone(bound)), tasks, made_up);
                }
            }
            Change::NoteRun { run, reason } => {
                for going in self.runs.values_mut().filter_map(|runs| runs.get_mut(run)) {
                    going.record.reason.clone_from(reason);
                }
            }
            Change::EndRun { run, .. } => {
                self.claims.retain(|_, claim| claim.run.id != *run);
                let job = self
                    .runs
                    .iter()
                    .find(|(_, runs)| runs.contains_key(run))
                    .map(|(job, _)| job.clone());
                if let Some(job) = job {
                    self.remove_run(&job, *run);
                }
            }
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
            | Change::SetHeld(_)
            | Change::Reconcile(_)
            | Change::Pools(_)
            | Change::LaunchAttempt(_)
            | Change::StartAttempt { .. }
            | Change::EndAttempt(_)
            | Change::Forget(_) => {}
        }
    }

    fn add_run(&mut self, record: RunRecord, phase: Phase, tasks: &[TaskRecord], made_up: bool) {
        if let (Phase::Waiting(_), Some(until)) = (&phase, record.wait_until) {
            self.deadlines.insert((until, record.job.clone()));
        }
        let going = Going {
            phase,
            reused: tasks
                .iter()
                .filter(|task| task.reused_from.is_some())
                .cloned()
                .collect(),
            cancelling: false,
            made_up,
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
        // A run waits for what the version needs that it is bound to, which need not be the active one.
        let waits_for = |going: &Going| match &going.phase {
            Phase::Waiting(bound) if going.record.wait_until.is_some() => {
                bound.spec.depends_on.iter().any(|dependency| dependency.job == *job)
            }
            Phase::Waiting(_) | Phase::Ordered | Phase::Running => false,
        };
        let waiting = self.runs.iter().filter(|(_, runs)| runs.values().any(waits_for));
        self.stirred.extend(waiting.map(|(id, _)| id.clone()));
    }

    /// Slots up to the watermark are decided anyway. There may be a day full of the others, hence none of them is looked at.
    fn forget_taken(&mut self, job: &JobId, watermark: Timestamp) {
        let Some(taken) = self.taken.get_mut(job) else { return };
        if let Some(entry) = self.jobs.get_mut(job) {
            // Else they were copied.
            entry.timeline.taken = Arc::default();
        }
        let taken = Arc::make_mut(taken);
        while taken.first().is_some_and(|slot| *slot <= watermark) {
            taken.pop_first();
        }
    }

    /// One job's next slot, after something of its timeline changed.
    fn reschedule(&mut self, job: &JobId) {
        let hold = self.hold(job);
        let Some(entry) = self.jobs.get_mut(job) else { return };
        if let Some(next) = entry.next.take() {
            self.agenda.remove(&(next, job.clone()));
        }
        entry.timeline.watermark = self.watermarks.get(job).copied();
        entry.timeline.taken = self.taken.get(job).cloned().unwrap_or_default();
        entry.timeline.hold = hold;
        entry.next = entry.timeline.next_start();
        if let Some(next) = entry.next {
            self.agenda.insert((next, job.clone()));
        }
    }

    fn reschedule_all(&mut self, job: Option<&JobId>) {
        for job in self.affected(job) {
            self.reschedule(&job);
            // A slot that is held is not about to run, so that nobody waits for it any more.
            self.stir_dependents(&job);
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

    /// How many slots of a job wait in its line.
    fn slots_waiting(&self, job: &JobId) -> usize {
        let runs = self.runs.get(job).into_iter().flat_map(BTreeMap::values);
        runs.filter(|going| going.waits() && going.record.slot.is_some())
            .count()
    }

    /// How the jobs stand that a job depends on. `due` is what is decided this very moment.
    fn upstreams(
        &self,
        job: &Job,
        due: &BTreeMap<&JobId, Due>,
        around: &Around<'_>,
    ) -> Result<BTreeMap<JobId, Upstream>, StorageError> {
        let mut upstreams = BTreeMap::new();
        for dependency in &job.spec.depends_on {
            let id = &dependency.job;
            let by_itself = |going: &&Going| !going.record.trigger.is_by_hand();
            let unfinished = self.runs.get(id).and_then(|runs| runs.values().find(by_itself));
            let upstream = match (self.jobs.get(id), unfinished) {
                (None, _) => Upstream::Absent,
                (Some(_), Some(going)) => Upstream::Unfinished(format!("has an unfinished run {}", going.record.id)),
                (Some(entry), None) => match undecided(&entry.timeline, due.get(id), around.now) {
                    Some(slot) => Upstream::Unfinished(format!(
                        "has a slot that is due since {}",
                        slot.to_rfc3339_opts(SecondsFormat::Secs, true)
                    )),
                    None => Upstream::Settled(Box::new((around.latest)(id)?)),
                },
            };
            upstreams.insert(id.clone(), upstream);
        }
        Ok(upstreams)
    }
}

/// A slot of a job whose instant has come and whose run has not: it starts this very moment, or its jitter holds it back.
fn undecided(timeline: &Timeline, due: Option<&Due>, now: Timestamp) -> Option<Timestamp> {
    let starts = due.and_then(|due| due.starts.last().copied());
    if starts.is_some() || timeline.hold.is_some() {
        return starts;
    }
    let decided = due.map_or_else(|| timeline.begins(), |due| due.last);
    timeline.series()?.next_after(decided).filter(|slot| *slot <= now)
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
