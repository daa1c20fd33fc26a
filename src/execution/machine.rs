//! What a run does next: the state machine of one run.
//!
//! In go [`Input`]s (a task's resources were granted, an attempt ended, a timer fired, cancel) and the time; out come
//! [`Effect`]s (ask for resources, launch, kill, arm a timer, and the journal's changes). It knows nothing of processes,
//! of what resources there are, of other runs, or of how its changes are stored; it reads no clock.
//!
//! A task is judged by its condition once all tasks that it depends on have ended, and by nothing else, so a slow
//! sibling never delays it. The states and what follows each are named in [`TaskState`]; [`RunMachine::set_state`] is
//! the one place that changes one. A run that is cancelled or out of time is *stopped*: from then on only tasks with the
//! condition `always` start, and nothing else is tried again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::engine::{AttemptEnd, ProcessMark};
use crate::{
    core::{
        Timestamp,
        dag::TaskIndex,
        ending::Ending,
        id::{RunId, TaskId},
        job::Job,
        record::{AttemptRecord, RunRecord, TaskRecord},
        spec::{Condition, RetryPolicy, RetryWhen},
        state::{RunStatus, SlotOutcome, TaskState},
    },
    storage::{Change, RunDetail},
};

/// What happens to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The task got its resources.
    Granted(TaskIndex),
    /// The task can never get its resources.
    Refused {
        /// The task.
        task: TaskIndex,
        /// Why.
        reason: String,
    },
    /// An attempt's process exists.
    Started {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
        /// When it started.
        at: Timestamp,
        /// The process.
        process: ProcessMark,
    },
    /// An attempt is over.
    Ended {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
        /// How it ended.
        end: AttemptEnd,
    },
    /// A timer fired.
    Due(Timer),
    /// Somebody wants the run to stop.
    Cancel {
        /// Who and why, in words.
        reason: String,
    },
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The wait before a task's next attempt is over.
    Retry {
        /// The task.
        task: TaskIndex,
        /// How many attempts it had when the timer was armed: an older timer means nothing.
        attempts: u32,
    },
    /// The run has taken as long as it may.
    Timeout,
}

/// What has to happen next.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most effects are changes of the journal, and each lives for one step"
)]
pub enum Effect {
    /// The journal changes; before any other effect of the same step is carried out.
    Journal(Change),
    /// The task asks for its resources, waiting since then.
    Request {
        /// The task.
        task: TaskIndex,
        /// Since when.
        since: Timestamp,
    },
    /// The task asks no longer.
    Withdraw(TaskIndex),
    /// The task gives back its resources.
    Release(TaskIndex),
    /// An attempt starts.
    Launch {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
    },
    /// An attempt is to end.
    Kill {
        /// The task.
        task: TaskIndex,
        /// The attempt.
        attempt: u32,
    },
    /// A timer is to fire.
    Arm {
        /// When.
        at: Timestamp,
        /// What for.
        timer: Timer,
    },
    /// The run has ended; no effect follows.
    Finish,
}

/// Why a run stops before its tasks are done.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stop {
    status: RunStatus,
    reason: String,
}

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

/// The tasks of a new run, as they stand at its beginning.
pub fn new_tasks(job: &Job, run: RunId) -> Vec<TaskRecord> {
    let new = |task: &TaskId| TaskRecord {
        run,
        task: task.clone(),
        state: TaskState::Pending,
        attempts: 0,
        retry_at: None,
        outputs: BTreeMap::new(),
        reason: None,
    };
    job.dag.ids().iter().map(new).collect()
}

/// What the journal says of a run that is being cancelled, so that it is still being cancelled after a crash.
const CANCELLING: &str = "cancelling: ";

impl RunMachine {
    /// A run as the journal has it, whether it is new or was left by a Petit that died. Nothing happens until
    /// [`Self::begin`].
    pub fn new(job: Arc<Job>, detail: RunDetail) -> Self {
        let RunDetail { run, tasks, attempts } = detail;
        let mut records: BTreeMap<_, _> = tasks.into_iter().map(|record| (record.task.clone(), record)).collect();
        let tasks: Vec<Task> = new_tasks(&job, run.id)
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
                    last: latest.and_then(|attempt| attempt.ending),
                    record,
                }
            })
            .collect();
        let cancelling = run.reason.as_deref().and_then(|reason| reason.strip_prefix(CANCELLING));
        let stop = cancelling.map(|reason| Stop {
            status: RunStatus::Cancelled,
            reason: reason.to_owned(),
        });
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
            self.stop_tasks(&stop.reason, now);
        }
        if let (Some(started), Some(timeout)) = (self.run.started_at, self.job.spec.timeout) {
            let at = started + timeout.to_delta();
            if at <= now {
                self.stop(RunStatus::TimedOut, format!("took longer than {timeout}"), now);
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
                self.stop(RunStatus::TimedOut, format!("took longer than {limit}"), now);
            }
            Input::Cancel { reason } => self.stop(RunStatus::Cancelled, reason, now),
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

    /// The attempts that are going.
    pub fn running(&self) -> impl Iterator<Item = (TaskIndex, &AttemptRecord)> {
        let tasks = self.tasks.iter().enumerate();
        tasks.filter_map(|(task, entry)| entry.current.as_ref().map(|attempt| (task, attempt)))
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

    fn granted(&mut self, task: TaskIndex, now: Timestamp) {
        if self.state(task) != TaskState::Waiting {
            self.effects.push(Effect::Release(task));
            return;
        }
        if self.run.started_at.is_none() {
            self.start_run(now);
        }
        let entry = &mut self.tasks[task];
        entry.record.attempts += 1;
        let attempt = AttemptRecord {
            run: self.run.id,
            task: entry.record.task.clone(),
            attempt: entry.record.attempts,
            queued_at: entry.ready_at.take().unwrap_or(now),
            granted_at: now,
            started_at: None,
            ended_at: None,
            ending: None,
            pid: None,
            pid_start: None,
            cpu_user_ms: None,
            cpu_system_ms: None,
            max_rss_bytes: None,
            bytes_out: None,
            error: None,
        };
        let number = attempt.attempt;
        entry.current = Some(attempt.clone());
        self.set_state(task, TaskState::Running, None, now);
        self.journal(Change::LaunchAttempt(attempt));
        self.effects.push(Effect::Launch { task, attempt: number });
    }

    /// The first grant: the slot has run, and the run's time counts from here.
    fn start_run(&mut self, now: Timestamp) {
        self.run.started_at = Some(now);
        self.run.status = RunStatus::Running;
        self.journal(Change::StartRun {
            run: self.run.id,
            at: now,
        });
        self.decide_slot(SlotOutcome::Ran, None, now);
        if let Some(timeout) = self.job.spec.timeout {
            let at = now + timeout.to_delta();
            self.effects.push(Effect::Arm {
                at,
                timer: Timer::Timeout,
            });
        }
    }

    fn decide_slot(&mut self, outcome: SlotOutcome, detail: Option<String>, now: Timestamp) {
        if let Some(at) = self.run.slot {
            let job = self.run.job.clone();
            self.journal(Change::DecideSlot {
                job,
                at,
                outcome,
                reason: None,
                detail,
                decided_at: now,
            });
        }
    }

    fn started(&mut self, task: TaskIndex, attempt: u32, at: Timestamp, process: ProcessMark) {
        let Some(current) = self.tasks[task]
            .current
            .as_mut()
            .filter(|current| current.attempt == attempt)
        else {
            return;
        };
        current.started_at = Some(at);
        current.pid = Some(process.pid);
        current.pid_start = process.start;
        let change = Change::StartAttempt {
            run: current.run,
            task: current.task.clone(),
            attempt,
            at,
            pid: process.pid,
            pid_start: process.start,
        };
        self.journal(change);
    }

    fn ended(&mut self, task: TaskIndex, attempt: u32, end: AttemptEnd, now: Timestamp) {
        let current = self.tasks[task].current.take_if(|current| current.attempt == attempt);
        let Some(mut record) = current else { return };
        record.ended_at = Some(end.at);
        record.ending = Some(end.ending);
        record.cpu_user_ms = end.usage.cpu_user_ms;
        record.cpu_system_ms = end.usage.cpu_system_ms;
        record.max_rss_bytes = end.usage.max_rss_bytes;
        record.bytes_out = end.usage.bytes_out;
        record.error.clone_from(&end.error);
        self.journal(Change::EndAttempt(record));
        self.effects.push(Effect::Release(task));
        self.tasks[task].record.outputs = end.outputs;
        self.conclude(task, end.ending, end.error, now);
    }

    /// An attempt that was going when Petit died.
    fn lost(&mut self, task: TaskIndex, now: Timestamp) {
        match self.tasks[task].current.as_ref().map(|current| current.attempt) {
            Some(attempt) => self.ended(
                task,
                attempt,
                AttemptEnd::without_process(Ending::Interrupted, now, None),
                now,
            ),
            None => self.conclude(task, Ending::Interrupted, None, now),
        }
    }

    /// Moves a task on from the end of an attempt.
    fn conclude(&mut self, task: TaskIndex, ending: Ending, error: Option<String>, now: Timestamp) {
        self.tasks[task].last = Some(ending);
        let policy = self.job.task(task).retry.unwrap_or_default();
        let stopped = self.stop.is_some() && self.condition(task) != Condition::Always;
        let words = error.map_or_else(|| ending.to_string(), |error| format!("{ending}: {error}"));
        if ending.is_success() {
            self.set_state(task, TaskState::Succeeded, None, now);
        } else if ending == Ending::Cancelled || (stopped && ending == Ending::Interrupted) {
            let reason = self.stop.as_ref().map_or(words, |stop| stop.reason.clone());
            self.set_state(task, TaskState::Cancelled, Some(reason), now);
        } else if !stopped && may_retry(policy, ending, self.tasks[task].record.attempts) {
            self.tasks[task].record.retry_at = Some(now + policy.delay.to_delta());
            self.set_state(task, TaskState::Retrying, Some(words), now);
        } else if ending == Ending::Interrupted {
            self.set_state(task, TaskState::Interrupted, Some(words), now);
        } else {
            self.set_state(task, TaskState::Failed, Some(words), now);
        }
    }

    /// Stops the run. A second reason to stop changes nothing.
    fn stop(&mut self, status: RunStatus, reason: String, now: Timestamp) {
        if self.stop.is_some() {
            return;
        }
        let note = match status {
            RunStatus::Cancelled => format!("{CANCELLING}{reason}"),
            _ => reason.clone(),
        };
        self.run.reason = Some(note.clone());
        self.journal(Change::NoteRun {
            run: self.run.id,
            reason: Some(note),
        });
        self.stop = Some(Stop {
            status,
            reason: reason.clone(),
        });
        self.stop_tasks(&reason, now);
    }

    /// Ends what runs and what would. Pending tasks stay so until those above them have ended, so that what cleans up
    /// after a chain does not begin while the chain's first task is still dying.
    fn stop_tasks(&mut self, reason: &str, now: Timestamp) {
        for task in 0..self.tasks.len() {
            if self.condition(task) == Condition::Always {
                continue;
            }
            match self.state(task) {
                TaskState::Waiting | TaskState::Retrying => {
                    self.set_state(task, TaskState::Cancelled, Some(reason.to_owned()), now);
                }
                TaskState::Running => {
                    let attempt = self.tasks[task].record.attempts;
                    self.effects.push(Effect::Kill { task, attempt });
                }
                TaskState::Pending
                | TaskState::Succeeded
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::UpstreamFailed
                | TaskState::Cancelled
                | TaskState::Interrupted => {}
            }
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

    /// Tasks are left, yet none of them can ever become ready. A graph without cycles cannot get here; if a mistake in
    /// this machine does, it shows as a failed run and not as one that hangs for ever.
    fn give_up(&mut self, now: Timestamp) {
        let left = (0..self.tasks.len()).filter(|&task| !self.state(task).is_finished());
        let left: Vec<TaskIndex> = left.collect();
        let names: Vec<&str> = left.iter().map(|&task| self.job.dag.id(task).as_str()).collect();
        let reason = format!(
            "a bug of Petit: nothing runs, and these tasks cannot become ready: {}",
            names.join(", ")
        );
        tracing::error!(run = %self.run.id, job = %self.run.job, "{reason}");
        for task in left {
            self.set_state(task, TaskState::Cancelled, Some(reason.clone()), now);
        }
        self.just_ended.clear();
        self.stop = Some(Stop {
            status: RunStatus::Failed,
            reason,
        });
    }

    fn finish(&mut self, now: Timestamp) {
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
            self.decide_slot(outcome, detail, now);
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

/// What becomes of a task whose upstream tasks have all ended.
enum Verdict {
    /// It runs.
    Run,
    /// It ends in this state, for this reason.
    Rest(TaskState, String),
}

/// Judges a condition. A task that was interrupted for good counts as failed: it did not do its work.
fn verdict(condition: Condition, upstream: &[(&str, TaskState)]) -> Verdict {
    let first = |states: &[TaskState]| upstream.iter().find(|(_, state)| states.contains(state));
    let failed = first(&[TaskState::Failed, TaskState::UpstreamFailed, TaskState::Interrupted]);
    match condition {
        Condition::AllDone | Condition::Always => Verdict::Run,
        Condition::OnFailure => match failed {
            Some(_) => Verdict::Run,
            None => Verdict::Rest(TaskState::Skipped, "no task that it depends on failed".to_owned()),
        },
        Condition::AllSuccess => {
            let rest = |state, (task, theirs): &(&str, TaskState)| Verdict::Rest(state, format!("`{task}`: {theirs}"));
            if let Some(failed) = failed {
                rest(TaskState::UpstreamFailed, failed)
            } else if let Some(cancelled) = first(&[TaskState::Cancelled]) {
                rest(TaskState::Cancelled, cancelled)
            } else if let Some(skipped) = first(&[TaskState::Skipped]) {
                rest(TaskState::Skipped, skipped)
            } else {
                Verdict::Run
            }
        }
    }
}

/// Whether another attempt follows one that ended like this, after `attempts` in all.
fn may_retry(policy: RetryPolicy, ending: Ending, attempts: u32) -> bool {
    let suits = match policy.when {
        RetryWhen::Always => !ending.is_success() && ending != Ending::Cancelled,
        RetryWhen::Transient => ending.is_transient(),
        RetryWhen::Never => false,
    };
    suits && attempts <= policy.retries
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
