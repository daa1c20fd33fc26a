//! What the executor says of itself when asked: names instead of numbers, for screens and the command line.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, TaskId},
        record::{RunRecord, TaskRecord},
    },
    execution::{
        admission::{Admission, TaskKey},
        machine::RunMachine,
    },
};

/// A run that is going, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveRun {
    /// The run.
    pub run: RunRecord,
    /// Its tasks, in the order of the job's file.
    pub tasks: Vec<TaskRecord>,
}

/// A task of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskName {
    /// The run's job.
    pub job: JobId,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
}

/// A task that waits for resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingTask {
    /// Which.
    #[serde(flatten)]
    pub task: TaskName,
    /// Since when.
    pub since: Timestamp,
    /// What there is too little of.
    pub lacks: Vec<Lack>,
    /// When nothing is lacking: tasks ahead of it that would have to wait for it if it started.
    pub leaves_room_for: Vec<TaskName>,
}

impl WaitingTask {
    /// Why it waits, in words.
    pub fn reason(&self) -> String {
        let names = |tasks: &[TaskName]| tasks.iter().map(TaskName::to_string).collect::<Vec<_>>().join(", ");
        if self.lacks.is_empty() {
            return match self.leaves_room_for.as_slice() {
                [] => "about to start".to_owned(),
                ahead => format!("leaves room for {}, which waits longer or matters more", names(ahead)),
            };
        }
        let lacks = self.lacks.iter().map(|lack| {
            let held = match lack.held_by.as_slice() {
                [] => String::new(),
                holders => format!(", held by {}", names(holders)),
            };
            format!("{} of {} ({} free{held})", lack.need, lack.resource, lack.free)
        });
        format!("waits for {}", lacks.collect::<Vec<_>>().join(" and "))
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} of run {}", self.job, self.task, self.run)
    }
}

/// Too little of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// Of what.
    pub resource: String,
    /// How much the task asks for.
    pub need: String,
    /// How much is free.
    pub free: String,
    /// Who holds some of it.
    pub held_by: Vec<TaskName>,
}

pub(super) fn active(runs: &HashMap<RunId, RunMachine>) -> Vec<ActiveRun> {
    let snapshot = |machine: &RunMachine| ActiveRun {
        run: machine.run().clone(),
        tasks: (0..machine.job().dag.len())
            .map(|task| machine.task(task).clone())
            .collect(),
    };
    let mut active: Vec<ActiveRun> = runs.values().map(snapshot).collect();
    active.sort_by_key(|active| active.run.id);
    active
}

pub(super) fn waiting(admission: &Admission, runs: &HashMap<RunId, RunMachine>) -> Vec<WaitingTask> {
    let name = |key: TaskKey| {
        let job = runs.get(&key.run)?.job();
        Some(TaskName {
            job: job.id.clone(),
            run: key.run,
            task: job.dag.id(key.task).clone(),
        })
    };
    let names = |keys: Vec<TaskKey>| keys.into_iter().filter_map(name).collect();
    let waits = admission.waiting().into_iter();
    waits
        .filter_map(|wait| {
            let lacks = wait.short.into_iter().map(|short| Lack {
                need: short.resource.amount(short.need),
                free: short.resource.amount(short.free),
                resource: short.resource.to_string(),
                held_by: names(short.held_by),
            });
            Some(WaitingTask {
                task: name(wait.key)?,
                since: wait.since,
                lacks: lacks.collect(),
                leaves_room_for: names(wait.leaves_room_for),
            })
        })
        .collect()
}
