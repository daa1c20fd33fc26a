//! What of a run is done again when it is retried, and what is reused.
//!
//! In: the old run with its tasks, the version of the job that it ran, the new run with today's version, and what was asked
//! for. Out: for each task either why it runs again, or its end in the old run, which the new one reuses. Nothing here
//! knows of the journal, of overlap, or of how a run is started.
//!
//! A task is *reused* when running it again could only do the same: it did its part in the old run (succeeded, or was
//! skipped by its condition), nobody asked for it, its own spec does the same, everything that it can read besides is the
//! same (the job's `env`, `config` and `secrets`, the run's params and scheduled time), and every task above it is
//! reused. So a task that was mended pulls along all that comes after it, and nothing else.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::core::{
    dag::TaskIndex,
    id::{RunId, TaskId},
    job::Job,
    record::{RunRecord, TaskRecord},
    spec::TaskSpec,
    state::TaskState,
    suggest::did_you_mean,
};

/// What is to run again in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Every task.
    #[default]
    Whole,
    /// What did not do its part.
    Failed,
    /// This task, and what did not do its part.
    From(TaskId),
}

/// Why a task runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was asked for.
    Asked,
    /// It did not do its part in the old run.
    Ended(TaskState),
    /// The old run has no such task.
    New,
    /// What it does is not what it did then.
    Changed,
    /// Something that every task of the job can read has changed.
    Surroundings(&'static str),
    /// The version that the old run ran cannot be read, so nothing can be compared.
    VersionLost,
    /// A task above it runs again.
    After(TaskId),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked => write!(f, "asked for"),
            Self::Ended(state) => write!(f, "ended {state}"),
            Self::New => write!(f, "is new since then"),
            Self::Changed => write!(f, "its spec has changed"),
            Self::Surroundings(what) => write!(f, "{what} changed"),
            Self::VersionLost => write!(f, "the version that ran then cannot be read"),
            Self::After(task) => write!(f, "comes after `{task}`"),
        }
    }
}

/// A task that runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Which.
    pub task: TaskId,
    /// Why.
    pub why: Why,
}

/// What a retry does, each task of today's version being in one of the two, in the order of its file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Division {
    /// These run.
    pub again: Vec<Again>,
    /// These have ended before the run begins: rows of the new run, as they stand from its creation to its end.
    pub reused: Vec<TaskRecord>,
}

/// Why there is nothing to retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRetry {
    /// The run has not ended.
    #[error("run {0} is still going: it can be retried once it has ended")]
    StillGoing(RunId),
    /// The job, as it is today, has no such task.
    #[error("the job has no task `{task}` today: it has `{}`", known.join("`, `"))]
    UnknownTask {
        /// What was asked for.
        task: TaskId,
        /// What there is.
        known: Vec<String>,
        /// Which was probably meant, as a sentence.
        suggestion: Option<String>,
    },
    /// Every task did its part, and would do the same today.
    #[error("no task of run {0} failed, and none has changed since: without --failed all of it runs again")]
    NothingFailed(RunId),
    /// The tasks that did not do their part are no part of today's version.
    #[error("nothing is left to run: what failed in run {0} is no part of the job today")]
    NothingLeft(RunId),
}

/// What a retry is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The run that is retried.
    pub old: &'a RunRecord,
    /// Its tasks.
    pub old_tasks: &'a [TaskRecord],
    /// The version that it ran, if it can be read.
    pub before: Option<&'a Job>,
    /// The run that repeats it.
    pub new: &'a RunRecord,
    /// The version that the new run runs.
    pub today: &'a Job,
}

/// Divides the tasks of today's version.
pub fn divide(question: &Question<'_>, choice: &Choice) -> Result<Division, NoRetry> {
    let Question {
        old,
        old_tasks,
        new,
        today,
        ..
    } = *question;
    if !old.status.is_finished() {
        return Err(NoRetry::StillGoing(old.id));
    }
    let asked = match choice {
        Choice::Whole | Choice::Failed => None,
        Choice::From(task) => Some(today.dag.index_of(task.as_str()).ok_or_else(|| unknown(task, today))?),
    };
    let ended: HashMap<&TaskId, &TaskRecord> = old_tasks.iter().map(|task| (&task.task, task)).collect();
    let surroundings = surroundings(question);
    let mut why: Vec<Option<Why>> = vec![None; today.dag.len()];
    for &task in today.dag.order() {
        let by_itself = if *choice == Choice::Whole || asked == Some(task) {
            Some(Why::Asked)
        } else {
            differs(
                question,
                task,
                ended.get(today.dag.id(task)).copied(),
                surroundings.as_ref(),
            )
        };
        let above = today.dag.upstream(task).iter().find(|&&above| why[above].is_some());
        why[task] = by_itself.or_else(|| above.map(|&above| Why::After(today.dag.id(above).clone())));
    }
    let mut division = Division::default();
    for (task, why) in today.dag.ids().iter().zip(why) {
        match (why, ended.get(task)) {
            (Some(why), _) => division.again.push(Again {
                task: task.clone(),
                why,
            }),
            (None, Some(before)) => division.reused.push(reuse(before, old.id, new.id)),
            // A task that the old run does not have has a reason to run.
            (None, None) => {}
        }
    }
    if division.again.is_empty() {
        let all_did = old_tasks.iter().all(|task| did_its_part(task.state));
        return Err(match all_did {
            true => NoRetry::NothingFailed(old.id),
            false => NoRetry::NothingLeft(old.id),
        });
    }
    Ok(division)
}

fn unknown(task: &TaskId, today: &Job) -> NoRetry {
    let known = today.dag.ids().iter().map(TaskId::as_str);
    NoRetry::UnknownTask {
        task: task.clone(),
        suggestion: did_you_mean(task.as_str(), known.clone()),
        known: known.map(str::to_owned).collect(),
    }
}

/// A row of the new run. A task that was reused by the old run already did its work in a run before that.
fn reuse(before: &TaskRecord, old: RunId, new: RunId) -> TaskRecord {
    TaskRecord {
        run: new,
        attempts: 0,
        retry_at: None,
        reused_from: Some(before.reused_from.unwrap_or(old)),
        ..before.clone()
    }
}

/// Whether there is nothing left to do for a task. One that its condition skipped is judged alike while those above it
/// are the same, and what comes after it need not run for its sake.
const fn did_its_part(state: TaskState) -> bool {
    match state {
        TaskState::Succeeded | TaskState::Skipped => true,
        TaskState::Pending
        | TaskState::Waiting
        | TaskState::Running
        | TaskState::Retrying
        | TaskState::Failed
        | TaskState::UpstreamFailed
        | TaskState::Cancelled
        | TaskState::Interrupted => false,
    }
}

/// Why a task must run, whatever becomes of those above it.
fn differs(
    question: &Question<'_>,
    task: TaskIndex,
    ended: Option<&TaskRecord>,
    surroundings: Option<&Why>,
) -> Option<Why> {
    let Some(ended) = ended else { return Some(Why::New) };
    if !did_its_part(ended.state) {
        return Some(Why::Ended(ended.state));
    }
    if surroundings.is_some() {
        return surroundings.cloned();
    }
    let before = question.before?;
    let Some(then) = before.dag.index_of(ended.task.as_str()) else {
        return Some(Why::New);
    };
    (!does_the_same(before.task(then), question.today.task(task))).then_some(Why::Changed)
}

/// What has changed of all that every task can read, by its environment or by the file that `$PETIT_CONTEXT` names. Which
/// of it a task does read cannot be known, so that any difference counts for all.
fn surroundings(question: &Question<'_>) -> Option<Why> {
    let Question {
        old,
        before,
        new,
        today,
        ..
    } = *question;
    let Some(before) = before else {
        return Some(Why::VersionLost);
    };
    let differences = [
        ("the job's env has", before.spec.env != today.spec.env),
        ("the job's config has", before.spec.config != today.spec.config),
        ("the job's secrets have", before.spec.secrets != today.spec.secrets),
        ("the run's params have", old.params != new.params),
        (
            "the job's time zone has",
            before.scheduled(old.scheduled_at) != today.scheduled(new.scheduled_at),
        ),
    ];
    let (what, _) = differences.into_iter().find(|(_, differs)| *differs)?;
    Some(Why::Surroundings(what))
}

/// Whether two versions of a task do the same. How long it may take, how often it is tried, what it needs to start and
/// what it is for say nothing about the work that it has done.
fn does_the_same(one: &TaskSpec, other: &TaskSpec) -> bool {
    let TaskSpec {
        command,
        uses,
        with,
        shell,
        depends_on,
        condition,
        working_dir,
        env,
        secrets,
        description: _,
        resources: _,
        limits: _,
        timeout: _,
        kill_grace: _,
        retry: _,
    } = one;
    *command == other.command
        && *uses == other.uses
        && *with == other.with
        && *shell == other.shell
        && *depends_on == other.depends_on
        && *condition == other.condition
        && *working_dir == other.working_dir
        && *env == other.env
        && *secrets == other.secrets
}

#[cfg(test)]
mod tests;
