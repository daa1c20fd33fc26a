//! Tasks that run: since when and how long that usually takes, how much memory they hold and how much they may.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{LATEST, RunView, Sources, Usual, ViewError};
use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, TaskId},
        state::{RunStatus, TaskState},
    },
    storage::TaskGlance,
};

/// A task that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningTask {
    /// Its job.
    pub job: JobId,
    /// Its run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// When its process started; before that, when it got its resources.
    pub since: Timestamp,
    /// Its process, which leads its session; none before it started.
    pub pid: Option<u32>,
    /// That process's start time, as the journal keeps it.
    pub pid_start: Option<u64>,
    /// How long its latest successes took.
    #[serde(flatten)]
    pub usual: Usual,
    /// The resident memory of its whole process tree when the status was asked for, in bytes. Pages that several of its
    /// processes share count for each of them. `null` where no daemon looked, or the process was gone.
    pub memory_bytes: Option<u64>,
    /// Beyond how much memory it is killed, in bytes: its `limits`.
    pub memory_limit_bytes: Option<u64>,
    /// How much memory is set aside for it, in bytes: its `resources`.
    pub memory_reserved_bytes: Option<u64>,
}

impl Sources<'_> {
    /// The running tasks of these runs, without the memory that they hold: a journal does not know that.
    pub(super) fn running(&self, active_runs: &[RunView]) -> Result<Vec<RunningTask>, ViewError> {
        let mut latest: HashMap<&JobId, Vec<TaskGlance>> = HashMap::new();
        let mut found = Vec::new();
        for run in active_runs.iter().filter(|run| run.status == RunStatus::Running) {
            // It may have ended since it was listed.
            let Some(detail) = self.storage.run(run.id)? else {
                continue;
            };
            if !latest.contains_key(&run.job) {
                latest.insert(&run.job, self.storage.latest_tasks(&run.job, LATEST)?);
            }
            let version = self.version(&run.job, &run.spec_hash)?;
            let running = detail.tasks.iter().filter(|task| task.state == TaskState::Running);
            for task in running {
                let mut attempts = detail.attempts.iter();
                let going = |task_id: &TaskId| attempts.rfind(|one| one.task == *task_id && one.ended_at.is_none());
                let Some(attempt) = Some(&task.task).and_then(going) else {
                    continue;
                };
                let spec = version.as_ref().and_then(|job| job.spec.tasks.get(&task.task));
                found.push(RunningTask {
                    job: run.job.clone(),
                    run: run.id,
                    task: task.task.clone(),
                    attempt: attempt.attempt,
                    since: attempt.started_at.unwrap_or(attempt.granted_at),
                    pid: attempt.pid,
                    pid_start: attempt.pid_start,
                    usual: Usual::of_tasks(&latest[&run.job], |other| other.task == task.task),
                    memory_bytes: None,
                    memory_limit_bytes: spec.and_then(|spec| spec.limits.memory).map(|size| size.as_bytes()),
                    memory_reserved_bytes: spec.and_then(|spec| spec.resources.memory).map(|size| size.as_bytes()),
                });
            }
        }
        Ok(found)
    }
}
