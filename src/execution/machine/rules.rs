//! The two rules of a run: whether a task runs, and whether it is tried again. Values in, a verdict out.

use crate::core::{
    ending::Ending,
    spec::{Condition, RetryCondition, RetryPolicy},
    state::TaskState,
};

/// What becomes of a task whose upstream tasks have all ended.
pub(super) enum Verdict {
    /// It runs.
    Run,
    /// It ends in this state, for this reason.
    Rest(TaskState, String),
}

/// Judges a condition. A task that was interrupted for good counts as failed: it did not do its work.
pub(super) fn verdict(condition: Condition, upstream: &[(&str, TaskState)]) -> Verdict {
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
pub(super) fn may_retry(policy: RetryPolicy, ending: Ending, attempts: u32) -> bool {
    let suits = match policy.when {
        RetryCondition::Always => !ending.is_success() && ending != Ending::Cancelled,
        RetryCondition::Transient => ending.is_transient(),
        RetryCondition::Never => false,
    };
    suits && attempts <= policy.retries
}
