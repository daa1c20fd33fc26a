//! A retry: what it would do is asked of the daemon, which alone knows today's version, and then of whoever sits there.

use super::{keys::confirm, say};
use crate::{
    control::RetryReply,
    core::{Timestamp, id::RunId},
    tui::message::{Effect, Order},
    tui::state::State,
};

/// How many tasks of each kind the question names: it must fit on the smallest screen with what stands around it.
const NAMED: usize = 3;

pub(super) fn on_command(state: &mut State, now: Timestamp) -> Vec<Effect> {
    let Some(run) = state.run_to_retry().map(|run| run.id) else {
        return Vec::new();
    };
    state.retrying = Some(run);
    say(state, "asking what a retry would run", false, now);
    vec![Effect::PlanRetry(run)]
}

/// The daemon has answered; if another key came first, nobody waits for it any more.
pub(super) fn on_planned(state: &mut State, run: RunId, result: Result<Box<RetryReply>, String>, now: Timestamp) {
    if state.retrying != Some(run) {
        return;
    }
    state.retrying = None;
    match result {
        Ok(reply) => {
            state.notice = None;
            confirm(state, question(&reply), Effect::Order(Order::Retry(run)));
        }
        Err(problem) => say(state, format!("cannot retry: {problem}"), true, now),
    }
}

fn question(reply: &RetryReply) -> Vec<String> {
    let mut lines = vec![
        format!("Retry run {} of {}, as the job is today?", reply.retry_of, reply.job),
        "These tasks run again:".to_owned(),
    ];
    let again = reply
        .again
        .iter()
        .map(|again| format!("  {}: {}", again.task, again.why));
    lines.extend(first_of(again));
    if reply.reused.is_empty() {
        lines.push("No output is reused.".to_owned());
    } else {
        lines.push("These do not, their outputs are reused:".to_owned());
        lines.extend(first_of(reply.reused.iter().map(|reused| format!("  {}", reused.task))));
    }
    lines.extend(reply.notes.iter().cloned());
    lines
}

fn first_of(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    // One more line would take as much room as saying that it is left out.
    let more = lines.len().saturating_sub(NAMED);
    let shown = if more == 1 { NAMED + 1 } else { NAMED };
    let mut lines: Vec<String> = lines.take(shown).collect();
    if more > 1 {
        lines.push(format!("  and {more} more"));
    }
    lines
}
