//! Stopping a run before its tasks are done: on request, out of time, or because nothing can go on.

use super::{Effect, RunMachine};
use crate::{
    core::{
        Timestamp,
        dag::TaskIndex,
        ending::Ending,
        spec::Condition,
        state::{RunStatus, SlotReason, TaskState},
    },
    execution::engine,
    storage::Change,
};

/// Why a run stops before its tasks are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub status: RunStatus,
    pub reason: String,
    /// Why the run's slot did not run, should no task have started.
    pub unstarted: SlotReason,
}

/// What the journal's note of a run that is being cancelled begins with, so that it is still being cancelled after a
/// crash. Of a run out of time nothing needs to be remembered: its start and its job's timeout say so again.
const CANCELLING: &str = "cancelling: ";

impl Stop {
    /// What was noted, if the note is of a cancel.
    pub fn from_note(note: &str) -> Option<Self> {
        let reason = note.strip_prefix(CANCELLING)?.to_owned();
        let status = RunStatus::Cancelled;
        let unstarted = SlotReason::Cancelled;
        Some(Self {
            status,
            reason,
            unstarted,
        })
    }

    /// Why the attempts that run are ended.
    fn of_attempts(&self) -> engine::Stop {
        match self.status {
            RunStatus::TimedOut => engine::Stop::TimedOut,
            RunStatus::Cancelled
            | RunStatus::Failed
            | RunStatus::Interrupted
            | RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Succeeded => engine::Stop::Cancelled,
        }
    }

    /// Whether an attempt that ended like this was ended because its run was out of time.
    pub fn took_the_time_of(&self, ending: Ending) -> bool {
        self.of_attempts() == engine::Stop::TimedOut && ending == Ending::TimedOut
    }

    fn note(&self) -> String {
        match self.status {
            RunStatus::Cancelled => format!("{CANCELLING}{}", self.reason),
            _ => self.reason.clone(),
        }
    }
}

impl RunMachine {
    /// Stops the run. A second reason to stop changes nothing.
    pub(super) fn stop(&mut self, status: RunStatus, reason: String, unstarted: SlotReason, now: Timestamp) {
        if self.stop.is_some() {
            return;
        }
        let stop = Stop {
            status,
            reason,
            unstarted,
        };
        let note = Some(stop.note());
        self.run.reason.clone_from(&note);
        self.journal(Change::NoteRun {
            run: self.run.id,
            reason: note,
        });
        self.stop_tasks(&stop, now);
        self.stop = Some(stop);
    }

    /// Ends what runs and what would. Pending tasks stay so until those above them have ended, so that what cleans up
    /// after a chain does not begin while the chain's first task is still dying.
    pub(super) fn stop_tasks(&mut self, stop: &Stop, now: Timestamp) {
        for task in 0..self.tasks.len() {
            if self.condition(task) == Condition::Always {
                continue;
            }
            match self.state(task) {
                TaskState::Waiting | TaskState::Retrying => {
                    self.set_state(task, TaskState::Cancelled, Some(stop.reason.clone()), now);
                }
                TaskState::Running => {
                    let attempt = self.tasks[task].record.attempts;
                    let why = stop.of_attempts();
                    self.effects.push(Effect::Kill { task, attempt, why });
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

    /// Tasks are left, yet none of them can ever become ready. A graph without cycles cannot get here; if a mistake in
    /// this machine does, it shows as a failed run and not as one that hangs for ever.
    pub(super) fn give_up(&mut self, now: Timestamp) {
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
            unstarted: SlotReason::Invalid,
        });
    }
}
