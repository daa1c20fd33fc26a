//! Pausing and resuming a job, and taking the last of these back.
//!
//! Whether a job is paused is what the daemon's pauses say, which every screen loads; a job that was opened before may
//! show an older state. A pause of everything is no pause of the job: it is ended where it was made.

use crate::{
    core::id::JobId,
    tui::message::{Effect, Order},
    tui::state::State,
};

/// Pauses the job in view, or ends its pause.
pub(super) fn toggle(state: &mut State) -> Vec<Effect> {
    let Some(job) = state.job_in_view() else {
        return Vec::new();
    };
    let (order, back) = if is_paused(state, &job) {
        (Order::Resume(job.clone()), Order::Pause(job))
    } else {
        (Order::Pause(job.clone()), Order::Resume(job))
    };
    state.undo = Some(back);
    vec![Effect::Order(order)]
}

/// Takes the last one back, wherever the cursor is now. A second time there is nothing to take back.
pub(super) fn undo(state: &mut State) -> Vec<Effect> {
    state.undo.take().map(Effect::Order).into_iter().collect()
}

fn is_paused(state: &State, job: &JobId) -> bool {
    let pauses = state.status.iter().flat_map(|status| &status.pauses);
    pauses.into_iter().any(|pause| pause.job.as_ref() == Some(job))
}
