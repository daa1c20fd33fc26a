//! What listings show of many runs at once: a few columns of each, never the whole row.
//!
//! Each of these answers one question of a screen in one statement, because asking for each job or each run apart is what
//! makes a screen of a thousand jobs slow. Params, outputs and reasons are left where they are.

use std::collections::HashMap;

use chrono::{DurationRound, TimeDelta};

use super::RunDetail;
use crate::core::{
    Timestamp,
    id::{JobId, RunId, TaskId},
    record::RunRecord,
    state::{RunStatus, TaskState},
};

/// A run among the latest of its job.
#[derive(Debug, Clone, PartialEq)]
pub struct RunGlance {
    /// The run.
    pub id: RunId,
    /// Its job.
    pub job: JobId,
    /// How far it is.
    pub status: RunStatus,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first task was granted.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A task of a run among the latest of its job.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskGlance {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// How far it is.
    pub state: TaskState,
    /// How many attempts have begun.
    pub attempts: u32,
    /// When the process of the last of them started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What stands beside a run among those of its job, in the order of their creation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// The run before it.
    pub previous: Option<RunId>,
    /// The run after it.
    pub next: Option<RunId>,
    /// The latest run before it that succeeded.
    pub last_good: Option<RunId>,
}

/// The minute of an instant: as finely as runs are counted that have left.
pub(super) fn minute(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at)
}

/// How many runs that were created in a stretch of time stand so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Counts stretches from the first instant that was asked for.
    pub stretch: u32,
    /// How far the runs are.
    pub status: RunStatus,
    /// How many there are.
    pub runs: u64,
}

impl From<&RunRecord> for RunGlance {
    fn from(run: &RunRecord) -> Self {
        Self {
            id: run.id,
            job: run.job.clone(),
            status: run.status,
            created_at: run.created_at,
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }
}

/// The answers of a journal that holds its runs as values.
pub(super) struct Held<'a, I>(pub I)
where
    I: Iterator<Item = &'a RunDetail> + Clone;

impl<'a, I> Held<'a, I>
where
    I: Iterator<Item = &'a RunDetail> + Clone,
{
    /// The runs of a job, newest first.
    fn of(&self, job: &JobId) -> Vec<&'a RunDetail> {
        let mut runs: Vec<&RunDetail> = self.0.clone().filter(|detail| detail.run.job == *job).collect();
        runs.sort_by_key(|detail| std::cmp::Reverse((detail.run.created_at, detail.run.id)));
        runs
    }

    pub(super) fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Vec<RunGlance> {
        let latest = jobs.iter().flat_map(|job| self.of(job).into_iter().take(most as usize));
        latest.map(|detail| RunGlance::from(&detail.run)).collect()
    }

    pub(super) fn latest_tasks(&self, job: &JobId, most: u32) -> Vec<TaskGlance> {
        let runs = self.of(job).into_iter().take(most as usize);
        runs.flat_map(|detail| {
            detail.tasks.iter().map(|task| {
                let last = detail
                    .attempts
                    .iter()
                    .find(|attempt| attempt.task == task.task && attempt.attempt == task.attempts);
                TaskGlance {
                    run: task.run,
                    task: task.task.clone(),
                    state: task.state,
                    attempts: task.attempts,
                    started_at: last.and_then(|attempt| attempt.started_at),
                    ended_at: last.and_then(|attempt| attempt.ended_at),
                }
            })
        })
        .collect()
    }

    pub(super) fn beside(&self, run: &RunRecord) -> Beside {
        let runs = self.of(&run.job);
        let place = |detail: &&RunDetail| (detail.run.created_at, detail.run.id);
        let own = (run.created_at, run.id);
        let before = || runs.iter().copied().filter(|detail| place(detail) < own);
        let mut good = before().filter(|detail| detail.run.status == RunStatus::Succeeded);
        Beside {
            previous: before().next().map(|detail| detail.run.id),
            next: runs
                .iter()
                .rev()
                .copied()
                .find(|detail| place(detail) > own)
                .map(|detail| detail.run.id),
            last_good: good.next().map(|detail| detail.run.id),
        }
    }

    /// `gone` are those that have left, counted by their minute.
    pub(super) fn tally(
        &self,
        since: Timestamp,
        stretch: TimeDelta,
        gone: impl Iterator<Item = (Timestamp, RunStatus, u64)>,
    ) -> Vec<Tally> {
        let width = stretch.num_microseconds().unwrap_or(i64::MAX).max(1);
        let mut counts: HashMap<(u32, RunStatus), u64> = HashMap::new();
        let there = self
            .0
            .clone()
            .map(|detail| (detail.run.created_at, detail.run.status, 1));
        for (at, status, runs) in there.chain(gone).filter(|(at, _, _)| *at >= since) {
            let age = (at - since).num_microseconds().unwrap_or(i64::MAX);
            let place = u32::try_from(age / width).unwrap_or(u32::MAX);
            *counts.entry((place, status)).or_default() += runs;
        }
        let mut tallies: Vec<Tally> = counts
            .into_iter()
            .map(|((stretch, status), runs)| Tally { stretch, status, runs })
            .collect();
        tallies.sort_by_key(|tally| (tally.stretch, tally.status.as_str()));
        tallies
    }
}
