//! The latest runs of a job at a glance: a mark for each, for each of their tasks too, and how long they usually take.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId, TaskId},
        state::{RunStatus, TaskState},
    },
    storage::{RunGlance, Storage, StorageError, TaskGlance},
};

/// How many of a job's latest runs are shown, and looked at to say what is usual.
pub const LATEST: u32 = 20;

/// A run among the latest of its job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMark {
    /// The run.
    pub id: RunId,
    /// How far it is.
    pub status: RunStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// From start to end, in milliseconds.
    pub duration_ms: Option<i64>,
}

/// How long something usually takes: of its latest runs, those that succeeded, if there are enough of them to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual {
    /// Half of them took at most so long, in milliseconds.
    pub p50_ms: Option<i64>,
    /// 95 of a hundred took at most so long, in milliseconds; of fewer than twenty that is the longest.
    pub p95_ms: Option<i64>,
}

/// The tasks of a job by its latest runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskGrid {
    /// The runs, newest first.
    pub runs: Vec<RunMark>,
    /// The tasks that any of them had, those of the newest first.
    pub tasks: Vec<TaskLine>,
}

/// A task by the latest runs of its job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskLine {
    /// The task.
    pub id: TaskId,
    /// Its state in each of the grid's runs, in their order; `null` where the run had no such task.
    pub states: Vec<Option<TaskState>>,
    /// In how many of these runs it was tried more than once.
    pub retried: u32,
    /// How long the attempts took that succeeded.
    #[serde(flatten)]
    pub usual: Usual,
}

impl From<RunGlance> for RunMark {
    fn from(run: RunGlance) -> Self {
        Self {
            id: run.id,
            status: run.status,
            created_at: run.created_at,
            duration_ms: millis(run.started_at, run.ended_at),
        }
    }
}

impl Usual {
    /// Fewer than these say nothing about what is usual.
    const ENOUGH: usize = 3;

    /// Of some durations in milliseconds, by nearest rank.
    pub fn of(durations: impl IntoIterator<Item = i64>) -> Self {
        let mut sorted: Vec<i64> = durations.into_iter().collect();
        if sorted.len() < Self::ENOUGH {
            return Self::default();
        }
        sorted.sort_unstable();
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        Self {
            p50_ms: Some(rank(50)),
            p95_ms: Some(rank(95)),
        }
    }

    /// Of runs.
    pub(super) fn of_runs(runs: &[RunMark]) -> Self {
        let good = runs.iter().filter(|run| run.status == RunStatus::Succeeded);
        Self::of(good.filter_map(|run| run.duration_ms))
    }

    /// Of the tasks that `wanted` chooses.
    pub(super) fn of_tasks<'a>(
        tasks: impl IntoIterator<Item = &'a TaskGlance>,
        wanted: impl Fn(&TaskGlance) -> bool,
    ) -> Self {
        let good = tasks
            .into_iter()
            .filter(|task| task.state == TaskState::Succeeded && wanted(task));
        Self::of(good.filter_map(|task| millis(task.started_at, task.ended_at)))
    }
}

/// The latest runs of each of these jobs, in one question to the journal.
pub(super) fn latest_of_each(
    storage: &dyn Storage,
    jobs: &[JobId],
) -> Result<HashMap<JobId, Vec<RunMark>>, StorageError> {
    let mut latest: HashMap<JobId, Vec<RunMark>> = HashMap::new();
    for run in storage.latest_of_each(jobs, LATEST)? {
        latest.entry(run.job.clone()).or_default().push(run.into());
    }
    Ok(latest)
}

impl TaskGrid {
    /// Of a job's latest runs and their tasks, both newest first.
    pub(super) fn new(runs: Vec<RunMark>, tasks: &[TaskGlance]) -> Self {
        let columns: HashMap<RunId, usize> = runs.iter().enumerate().map(|(at, run)| (run.id, at)).collect();
        let mut lines: Vec<TaskLine> = Vec::new();
        let mut places: HashMap<&TaskId, usize> = HashMap::new();
        for task in tasks {
            let Some(&column) = columns.get(&task.run) else {
                continue;
            };
            let place = *places.entry(&task.task).or_insert_with(|| {
                lines.push(TaskLine {
                    id: task.task.clone(),
                    states: vec![None; runs.len()],
                    retried: 0,
                    usual: Usual::of_tasks(tasks, |other| other.task == task.task),
                });
                lines.len() - 1
            });
            lines[place].states[column] = Some(task.state);
            lines[place].retried += u32::from(task.attempts > 1);
        }
        Self { runs, tasks: lines }
    }
}

fn millis(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<i64> {
    start.zip(end).map(|(start, end)| (end - start).num_milliseconds())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RunGlance;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_767_225_600 + second, 0).expect("an instant")
    }

    fn run(n: u128) -> RunId {
        RunId::from_parts(at(0), n)
    }

    fn mark(n: u128) -> RunMark {
        RunGlance {
            id: run(n),
            job: "etl".parse().expect("a slug"),
            status: RunStatus::Succeeded,
            created_at: at(0),
            started_at: Some(at(1)),
            ended_at: Some(at(3)),
        }
        .into()
    }

    fn task(n: u128, name: &str, state: TaskState, attempts: u32, took: i64) -> TaskGlance {
        TaskGlance {
            run: run(n),
            task: name.parse().expect("a name"),
            state,
            attempts,
            started_at: Some(at(0)),
            ended_at: Some(at(took)),
        }
    }

    #[test]
    fn what_is_usual_goes_by_nearest_rank_and_needs_three() {
        assert_eq!(Usual::of([1, 2]), Usual::default());
        let usual = |all: Vec<i64>| {
            let usual = Usual::of(all);
            (usual.p50_ms.expect("enough"), usual.p95_ms.expect("enough"))
        };
        assert_eq!(usual(vec![30, 10, 20]), (20, 30));
        assert_eq!(usual((1..=20).collect()), (10, 19));
        assert_eq!(usual((1..=100).collect()), (50, 95));
    }

    #[test]
    fn a_grid_has_a_line_for_each_task_that_any_run_had() {
        let tasks = [
            task(2, "load", TaskState::Running, 2, 9),
            task(2, "new", TaskState::Pending, 0, 9),
            task(1, "load", TaskState::Succeeded, 1, 9),
            task(1, "old", TaskState::Failed, 3, 9),
            task(7, "of-a-run-in-between", TaskState::Failed, 1, 9),
        ];
        let grid = TaskGrid::new(vec![mark(2), mark(1)], &tasks);
        let lines: Vec<_> = grid
            .tasks
            .iter()
            .map(|line| (line.id.as_str(), line.states.clone(), line.retried))
            .collect();
        assert_eq!(
            lines,
            [
                ("load", vec![Some(TaskState::Running), Some(TaskState::Succeeded)], 1),
                ("new", vec![Some(TaskState::Pending), None], 0),
                ("old", vec![None, Some(TaskState::Failed)], 1),
            ]
        );
    }

    #[test]
    fn only_what_succeeded_says_what_is_usual() {
        let mut tasks: Vec<TaskGlance> = (1..=3).map(|n| task(n, "load", TaskState::Succeeded, 1, 2)).collect();
        tasks.push(task(4, "load", TaskState::Failed, 1, 100));
        tasks.push(task(5, "load", TaskState::Running, 1, 100));
        let usual = Usual::of_tasks(&tasks, |_| true);
        assert_eq!((usual.p50_ms, usual.p95_ms), (Some(2_000), Some(2_000)));
    }
}
