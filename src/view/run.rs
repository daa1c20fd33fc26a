//! Runs, with their tasks and attempts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RunContext;
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{AttemptRecord, RunRecord, TaskRecord},
        state::{RunStatus, TaskState, Trigger},
    },
    storage::RunDetail,
};

/// A run. In a listing `tasks` and `retried_as` are empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    pub id: RunId,
    /// Its job.
    pub job: JobId,
    /// How far it is.
    pub status: RunStatus,
    /// What made it.
    pub trigger: Trigger,
    /// The slot it is the run of.
    pub slot: Option<Timestamp>,
    /// The version of the job that it runs.
    pub spec_hash: SpecHash,
    /// The git commit of the folder of jobs.
    pub revision: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first task was granted.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// From start to end, in milliseconds.
    pub duration_ms: Option<i64>,
    /// Its inputs.
    pub params: Map<String, Value>,
    /// Why it waits, or why it ended as it did.
    pub reason: Option<String>,
    /// The run that it repeats.
    pub retry_of: Option<RunId>,
    /// The runs that repeat it, the first one first.
    #[serde(default)]
    pub retried_as: Vec<RunId>,
    /// Its tasks, in the order of the file.
    pub tasks: Vec<TaskView>,
    /// How it stands among the other runs of its job; in a listing `null`.
    #[serde(default)]
    pub context: Option<RunContext>,
}

/// A task of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// The task.
    pub id: TaskId,
    /// How far it is.
    pub status: TaskState,
    /// Why it is in this state.
    pub reason: Option<String>,
    /// What it published.
    pub outputs: Map<String, Value>,
    /// The run in which it did its work, if this one is a retry that reuses it: then it has no attempts here.
    pub reused_from: Option<RunId>,
    /// Its attempts, the first one first.
    pub attempts: Vec<AttemptView>,
}

/// One try of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub attempt: u32,
    /// How it ended; `null` while it goes on.
    pub ending: Option<String>,
    /// The exit code, if there was one.
    pub exit_code: Option<i32>,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// When the task was ready.
    pub queued_at: Timestamp,
    /// When it got its resources.
    pub granted_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process ended.
    pub ended_at: Option<Timestamp>,
    /// Processor time in user mode.
    pub cpu_user_ms: Option<u64>,
    /// Processor time in the kernel.
    pub cpu_system_ms: Option<u64>,
    /// The most memory that its processes were seen to hold, in bytes.
    pub max_rss_bytes: Option<u64>,
    /// How much it printed.
    pub bytes_out: Option<u64>,
    /// The ending in words, where its name says too little.
    pub error: Option<String>,
}

impl RunView {
    /// Since when it could start: what lists show, since the scheduler writes a run down shortly before its slot.
    pub fn due_at(&self) -> Timestamp {
        self.slot.map_or(self.created_at, |slot| self.created_at.max(slot))
    }
}

impl From<RunRecord> for RunView {
    fn from(run: RunRecord) -> Self {
        let duration_ms = run
            .started_at
            .zip(run.ended_at)
            .map(|(start, end)| (end - start).num_milliseconds());
        Self {
            id: run.id,
            job: run.job,
            status: run.status,
            trigger: run.trigger,
            slot: run.slot,
            spec_hash: run.spec_hash,
            revision: run.revision,
            created_at: run.created_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
            duration_ms,
            params: run.params,
            reason: run.reason,
            retry_of: run.retry_of,
            retried_as: Vec::new(),
            tasks: Vec::new(),
            context: None,
        }
    }
}

impl From<RunDetail> for RunView {
    fn from(detail: RunDetail) -> Self {
        let RunDetail { run, tasks, attempts } = detail;
        let tasks = tasks
            .into_iter()
            .map(|task| {
                let own = attempts
                    .iter()
                    .filter(|attempt| attempt.task == task.task)
                    .map(AttemptView::from)
                    .collect();
                TaskView::new(task, own)
            })
            .collect();
        Self {
            tasks,
            ..Self::from(run)
        }
    }
}

impl TaskView {
    fn new(task: TaskRecord, attempts: Vec<AttemptView>) -> Self {
        Self {
            id: task.task,
            status: task.state,
            reason: task.reason,
            outputs: task.outputs.into_iter().collect(),
            reused_from: task.reused_from,
            attempts,
        }
    }
}

impl AttemptView {
    /// How long its process ran, in milliseconds; none while it does.
    pub fn duration_ms(&self) -> Option<i64> {
        let (start, end) = self.started_at.zip(self.ended_at)?;
        Some((end - start).num_milliseconds())
    }

    /// How it ended, in words: the exit code or the signal where there is one.
    pub fn ending_text(&self) -> String {
        match (&self.ending, self.exit_code, self.signal) {
            (Some(_), Some(code), _) => format!("exit code {code}"),
            (Some(_), None, Some(signal)) => format!("signal {signal}"),
            (Some(ending), None, None) => ending.clone(),
            (None, _, _) => "not ended".to_owned(),
        }
    }
}

impl From<&AttemptRecord> for AttemptView {
    fn from(attempt: &AttemptRecord) -> Self {
        Self {
            run: attempt.run,
            task: attempt.task.clone(),
            attempt: attempt.attempt,
            ending: attempt.ending.map(|ending| ending.name().to_owned()),
            exit_code: attempt.ending.and_then(|ending| ending.exit_code()),
            signal: attempt.ending.and_then(|ending| ending.signal()),
            queued_at: attempt.queued_at,
            granted_at: attempt.granted_at,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            cpu_user_ms: attempt.cpu_user_ms,
            cpu_system_ms: attempt.cpu_system_ms,
            max_rss_bytes: attempt.max_rss_bytes,
            bytes_out: attempt.bytes_out,
            error: attempt.error.clone(),
        }
    }
}
