//! The life of an attempt, as its run sees it: granted, started, ended, and what follows for the task.

use super::{Effect, RunMachine, Stop, Timer, rules::may_retry};
use crate::{
    core::{
        Timestamp,
        dag::TaskIndex,
        ending::Ending,
        record::AttemptRecord,
        spec::Condition,
        state::{RunStatus, SlotOutcome, TaskState},
    },
    execution::engine::{AttemptEnd, ProcessMark},
    storage::Change,
};

impl RunMachine {
    pub(super) fn granted(&mut self, task: TaskIndex, now: Timestamp) {
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
            queued_at: entry.ready_at.take().unwrap_or(now),
            ..AttemptRecord::granted(self.run.id, entry.record.task.clone(), entry.record.attempts, now)
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
        self.decide_slot(SlotOutcome::Ran, None, None, now);
        if let Some(timeout) = self.job.spec.timeout {
            let at = now + timeout.to_delta();
            self.effects.push(Effect::Arm {
                at,
                timer: Timer::Timeout,
            });
        }
    }

    pub(super) fn started(&mut self, task: TaskIndex, attempt: u32, at: Timestamp, process: Option<ProcessMark>) {
        let Some(current) = self.tasks[task]
            .current
            .as_mut()
            .filter(|current| current.attempt == attempt)
        else {
            return;
        };
        current.started_at = Some(at);
        current.pid = process.map(|process| process.pid);
        current.pid_start = process.and_then(|process| process.start);
        let change = Change::StartAttempt {
            run: current.run,
            task: current.task.clone(),
            attempt,
            at,
            pid: current.pid,
            pid_start: current.pid_start,
        };
        self.journal(change);
    }

    pub(super) fn ended(&mut self, task: TaskIndex, attempt: u32, end: AttemptEnd, now: Timestamp) {
        let end = self.with_words(task, end);
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

    /// The end of an attempt that was ended for its run's time says so: its own name says only that time was up.
    fn with_words(&self, task: TaskIndex, mut end: AttemptEnd) -> AttemptEnd {
        if let Some(stop) = self.stop_of(task)
            && stop.took_the_time_of(end.ending)
        {
            let of_run = format!("the run {}", stop.reason);
            end.error = Some(match end.error {
                Some(error) => format!("{of_run}; {error}"),
                None => of_run,
            });
        }
        end
    }

    /// Why the task is being stopped with its run, if it is.
    fn stop_of(&self, task: TaskIndex) -> Option<&Stop> {
        self.stop.as_ref().filter(|_| self.condition(task) != Condition::Always)
    }

    /// An attempt that was going when Petit died.
    pub(super) fn lost(&mut self, task: TaskIndex, now: Timestamp) {
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
        let stop = self.stop_of(task);
        let stopped = stop.is_some();
        let out_of_time = stop.is_some_and(|stop| stop.took_the_time_of(ending));
        let words = error.map_or_else(|| ending.to_string(), |error| format!("{ending}: {error}"));
        if ending.is_success() {
            self.set_state(task, TaskState::Succeeded, None, now);
        } else if ending == Ending::Cancelled || out_of_time || (stopped && ending == Ending::Interrupted) {
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
}
