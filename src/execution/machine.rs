//! What a run does next: the state machine of one run.
//!
//! In go [`Input`]s (a task's resources were granted, an attempt ended, a timer fired, cancel) and the time; out come
//! [`Effect`]s (ask for resources, launch, kill, arm a timer, and the journal's changes). It knows nothing of processes,
//! of what resources there are, of other runs, or of how its changes are stored; it reads no clock.
//!
//! A task is judged by its condition once all tasks that it depends on have ended, and by nothing else, so a slow
//! sibling never delays it. The states and what follows each are named in [`TaskState`]; `set_state` is
//! the one place that changes one. A run that is cancelled or out of time is *stopped*: from then on only tasks with the
//! condition `always` start, and nothing else is tried again.
//!
//! `step` has what goes in and comes out, `rules` the two rules, `attempts` what follows from the parts of an attempt's life, `stop` the ways to stop.

mod attempts;
mod rules;
mod step;
mod stop;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub use self::step::{Effect, Input, Timer};
use self::{
    rules::{Verdict, verdict},
    stop::Stop,
};
use crate::{
    core::{
        Timestamp,
        dag::TaskIndex,
        ending::Ending,
        job::Job,
        record::{AttemptRecord, RunRecord, TaskRecord},
        spec::Condition,
        state::{RunStatus, SlotOutcome, SlotReason, TaskState},
    },
    storage::{Change, RunDetail},
};

/// A task of the run.
#[derive(Debug, Clone)]
struct Task {
    record: TaskRecord,
    /// How many of the tasks that it depends on have not ended.
    open: usize,
    /// Since when it waits for its resources.
    ready_at: Option<Timestamp>,
    /// The attempt that is going.
    current: Option<AttemptRecord>,
    /// How its latest attempt ended.
    last: Option<Ending>,
}

/// A run, and what may come next in it.
#[derive(Debug)]
pub struct RunMachine {
    job: Arc<Job>,
    run: RunRecord,
    tasks: Vec<Task>,
    stop: Option<Stop>,
    /// Tasks that are waiting, running or retrying.
    active: usize,
    /// Tasks that have not ended.
    unfinished: usize,
    /// Tasks whose end has not reached those that wait for them. A list instead of recursion, since a chain of skipped
    /// tasks may be ten thousand long.
    just_ended: VecDeque<TaskIndex>,
    effects: Vec<Effect>,
}

impl RunMachine {
    /// A run as the journal has it, whether it is new or was left by a Petit that died. Nothing happens until
    /// [`Self::begin`].
    pub fn new(job: Arc<Job>, detail: RunDetail) -> Self {
        let RunDetail { run, tasks, attempts } = detail;
        let mut records: BTreeMap<_, _> = tasks.into_iter().map(|record| (record.task.clone(), record)).collect();
        let tasks: Vec<Task> = TaskRecord::of_new_run(&job, run.id)
            .into_iter()
            .map(|new| {
                let record = records.remove(&new.task).unwrap_or(new);
                let latest = attempts
                    .iter()
                    .filter(|attempt| attempt.task == record.task)
                    .max_by_key(|a| a.attempt);
                Task {
                    open: 0,
                    ready_at: None,
                    current: latest.filter(|attempt| attempt.ending.is_none()).cloned(),
                    last: latest.and_then(|attempt| attempt.ending).or(reused_ending(&record)),
                    record,
                }
            })
            .collect();
        let stop = run.reason.as_deref().and_then(Stop::from_note);
        let mut machine = Self {
            job,
            run,
            tasks,
            stop,
            active: 0,
            unfinished: 0,
            just_ended: VecDeque::new(),
            effects: Vec::new(),
        };
        for index in 0..machine.tasks.len() {
            let upstream = machine.job.dag.upstream(index).iter();
            machine.tasks[index].open = upstream.filter(|&&up| !machine.state(up).is_finished()).count();
        }
        machine.unfinished = machine
            .tasks
            .iter()
            .filter(|task| !task.record.state.is_finished())
            .count();
        machine.active = machine.tasks.iter().filter(|task| is_active(task.record.state)).count();
        machine
    }

    /// The first step of a run, and of one that goes on after a restart. Attempts without an end became interrupted when
    /// Petit died; their processes are no concern of this machine.
    pub fn begin(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.run.status.is_finished() {
            return Vec::new();
        }
        for task in 0..self.tasks.len() {
            match self.state(task) {
                TaskState::Running => self.lost(task, now),
                TaskState::Waiting => self.request(task, now),
                TaskState::Retrying => self.arm_retry(task, now),
                TaskState::Pending if self.tasks[task].open == 0 => self.judge(task, now),
                TaskState::Pending
                | TaskState::Succeeded
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::UpstreamFailed
                | TaskState::Cancelled
                | TaskState::Interrupted => {}
            }
        }
        if let Some(stop) = self.stop.clone() {
            self.stop_tasks(&stop, now);
        }
        if let (Some(started), Some(timeout)) = (self.run.started_at, self.job.spec.timeout) {
            let at = started + timeout.to_delta();
            if at <= now {
                let reason = format!("took longer than {timeout}");
                self.stop(RunStatus::TimedOut, reason, SlotReason::Cancelled, now);
            } else {
                self.effects.push(Effect::Arm {
                    at,
                    timer: Timer::Timeout,
                });
            }
        }
        self.settle(now)
    }

    /// Takes one input. An input that comes too late to mean anything changes nothing.
    pub fn step(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        if self.run.status.is_finished() {
            return Vec::new();
        }
        match input {
            Input::Granted(task) => self.granted(task, now),
            Input::Refused { task, reason } => {
                if self.state(task) == TaskState::Waiting {
                    self.set_state(task, TaskState::Failed, Some(reason), now);
                }
            }
            Input::Started {
                task,
                attempt,
                at,
                process,
            } => self.started(task, attempt, at, process),
            Input::Ended { task, attempt, end } => self.ended(task, attempt, end, now),
            Input::Due(Timer::Retry { task, attempts }) => {
                let entry = &self.tasks[task].record;
                if entry.state == TaskState::Retrying && entry.attempts == attempts {
                    self.set_state(task, TaskState::Waiting, None, now);
                }
            }
            Input::Due(Timer::Timeout) => {
                let limit = self.job.spec.timeout.unwrap_or_default();
                let reason = format!("took longer than {limit}");
                self.stop(RunStatus::TimedOut, reason, SlotReason::Cancelled, now);
            }
            Input::Cancel { reason, unstarted } => self.stop(RunStatus::Cancelled, reason, unstarted, now),
        }
        self.settle(now)
    }

    /// The run as it stands.
    pub fn run(&self) -> &RunRecord {
        &self.run
    }

    /// The job, at the version that the run started with.
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// A task as it stands.
    pub fn task(&self, task: TaskIndex) -> &TaskRecord {
        &self.tasks[task].record
    }

    /// How the latest attempt of a task ended.
    pub fn last_ending(&self, task: TaskIndex) -> Option<Ending> {
        self.tasks[task].last
    }

    fn state(&self, task: TaskIndex) -> TaskState {
        self.tasks[task].record.state
    }

    fn condition(&self, task: TaskIndex) -> Condition {
        self.job.task(task).condition
    }

    fn journal(&mut self, change: Change) {
        self.effects.push(Effect::Journal(change));
    }

    /// Every change of a task's state goes through here: it keeps the counts in step, writes the journal and does what
    /// entering the new state means.
    fn set_state(&mut self, task: TaskIndex, state: TaskState, reason: Option<String>, now: Timestamp) {
        let entry = &mut self.tasks[task];
        let old = std::mem::replace(&mut entry.record.state, state);
        debug_assert!(!old.is_finished(), "`{}` left {old} for {state}", entry.record.task);
        entry.record.reason = reason;
        if state != TaskState::Retrying {
            entry.record.retry_at = None;
        }
        let record = entry.record.clone();
        self.journal(Change::SetTask(record));
        match (is_active(old), is_active(state)) {
            (false, true) => self.active += 1,
            (true, false) => self.active -= 1,
            (true, true) | (false, false) => {}
        }
        if old == TaskState::Waiting && state != TaskState::Running {
            self.effects.push(Effect::Withdraw(task));
        }
        match state {
            TaskState::Waiting => self.request(task, now),
            TaskState::Retrying => self.arm_retry(task, now),
            TaskState::Pending | TaskState::Running => {}
            TaskState::Succeeded
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Cancelled
            | TaskState::Interrupted => {
                self.unfinished -= 1;
                self.just_ended.push_back(task);
            }
        }
    }

    fn request(&mut self, task: TaskIndex, now: Timestamp) {
        self.tasks[task].ready_at = Some(now);
        self.effects.push(Effect::Request { task, since: now });
    }

    fn arm_retry(&mut self, task: TaskIndex, now: Timestamp) {
        let record = &self.tasks[task].record;
        let timer = Timer::Retry {
            task,
            attempts: record.attempts,
        };
        let at = record.retry_at.unwrap_or(now);
        self.effects.push(Effect::Arm { at, timer });
    }

    /// Decides about a task whose upstream tasks have all ended.
    fn judge(&mut self, task: TaskIndex, now: Timestamp) {
        let upstream = self.job.dag.upstream(task).iter();
        let upstream: Vec<(&str, TaskState)> = upstream
            .map(|&up| (self.job.dag.id(up).as_str(), self.state(up)))
            .collect();
        let condition = self.condition(task);
        let stopped = self.stop.as_ref().filter(|_| condition != Condition::Always);
        if let Some(stop) = stopped {
            let reason = stop.reason.clone();
            return self.set_state(task, TaskState::Cancelled, Some(reason), now);
        }
        match verdict(condition, &upstream) {
            Verdict::Run => self.set_state(task, TaskState::Waiting, None, now),
            Verdict::Rest(state, reason) => self.set_state(task, state, Some(reason), now),
        }
    }

    /// Lets the ends of tasks reach those that wait for them, and ends the run when nothing is left.
    fn settle(&mut self, now: Timestamp) -> Vec<Effect> {
        let job = Arc::clone(&self.job);
        while let Some(done) = self.just_ended.pop_front() {
            for &task in job.dag.downstream(done) {
                self.tasks[task].open -= 1;
                if self.tasks[task].open == 0 && self.state(task) == TaskState::Pending {
                    self.judge(task, now);
                }
            }
        }
        if self.unfinished > 0 && self.active == 0 {
            self.give_up(now);
        }
        if self.unfinished == 0 {
            self.finish(now);
        }
        std::mem::take(&mut self.effects)
    }

    fn finish(&mut self, now: Timestamp) {
        let unstarted = self.stop.as_ref().map(|stop| stop.unstarted);
        let (status, reason) = match self.stop.take() {
            Some(stop) => (stop.status, Some(stop.reason)),
            None => self.outcome(),
        };
        if self.run.started_at.is_none() {
            let outcome = match status {
                RunStatus::Succeeded => SlotOutcome::Ran,
                RunStatus::Cancelled | RunStatus::Interrupted | RunStatus::TimedOut => SlotOutcome::Skipped,
                RunStatus::Failed | RunStatus::Queued | RunStatus::Running => SlotOutcome::Refused,
            };
            let detail = reason
                .as_ref()
                .map(|reason| format!("{status} before a task started: {reason}"));
            self.decide_slot(outcome, unstarted, detail, now);
        }
        self.run.status = status;
        self.run.ended_at = Some(now);
        self.run.reason.clone_from(&reason);
        self.journal(Change::EndRun {
            run: self.run.id,
            status,
            at: now,
            reason,
        });
        self.effects.push(Effect::Finish);
    }

    fn decide_slot(
        &mut self,
        outcome: SlotOutcome,
        reason: Option<SlotReason>,
        detail: Option<String>,
        now: Timestamp,
    ) {
        if let Some(at) = self.run.slot {
            let job = self.run.job.clone();
            self.journal(Change::DecideSlot {
                job,
                at,
                outcome,
                reason,
                detail,
                decided_at: now,
            });
        }
    }

    /// How a run ends whose tasks have all ended by themselves.
    fn outcome(&self) -> (RunStatus, Option<String>) {
        for (state, status) in [
            (TaskState::Failed, RunStatus::Failed),
            (TaskState::Interrupted, RunStatus::Interrupted),
            (TaskState::Cancelled, RunStatus::Cancelled),
        ] {
            let mut ended = self.tasks.iter().filter(|task| task.record.state == state);
            if let Some(first) = ended.next() {
                let why = first.record.reason.as_deref().unwrap_or(state.as_str());
                let others = match ended.count() {
                    0 => String::new(),
                    more => format!(" (and {more} more {state})"),
                };
                return (status, Some(format!("task `{}`: {why}{others}", first.record.task)));
            }
        }
        (RunStatus::Succeeded, None)
    }
}

/// How a task ended that a retry reuses: its attempts belong to another run, and only one of them can have been the last.
fn reused_ending(task: &TaskRecord) -> Option<Ending> {
    let succeeded = task.reused_from.is_some() && task.state == TaskState::Succeeded;
    succeeded.then_some(Ending::Exited(0))
}

fn is_active(state: TaskState) -> bool {
    match state {
        TaskState::Waiting | TaskState::Running | TaskState::Retrying => true,
        TaskState::Pending
        | TaskState::Succeeded
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Cancelled
        | TaskState::Interrupted => false,
    }
}

#[cfg(test)]
mod tests;
