//! Instants to the microsecond: what the journal keeps of them.
//!
//! SQLite holds instants as whole microseconds, and so does DuckDB. Changes are cut before they reach either backend, so
//! that a fact says the same as its row, and so that a test over [`Memory`](super::Memory) sees what the file would give.

use chrono::SubsecRound;

use super::Change;
use crate::core::{
    Timestamp,
    record::{
        ActiveRecord, AttemptRecord, PauseRecord, PoolsRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord,
        StretchRecord, SupersedeRecord, TaskRecord,
    },
};

/// The instant without what is finer than a microsecond.
pub(super) fn to_micros(at: Timestamp) -> Timestamp {
    at.trunc_subsecs(6)
}

/// Cuts every instant in a change.
pub(super) fn cut(change: &mut Change) {
    match change {
        Change::PutSpec(SpecRecord { first_seen, .. }) => cut_all([first_seen]),
        Change::SetActive(ActiveRecord {
            applied_at,
            anchor,
            scheduled_since,
            ..
        }) => {
            cut_all([applied_at, anchor, scheduled_since]);
        }
        Change::Reconcile(ReconcileRecord { at, .. })
        | Change::SetWatermark { at, .. }
        | Change::Unclaim { at, .. }
        | Change::StartRun { at, .. }
        | Change::EndRun { at, .. }
        | Change::StartAttempt { at, .. } => cut_all([at]),
        Change::PutSlot(SlotRecord { at, decided_at, .. }) => cut_all([at].into_iter().chain(decided_at)),
        Change::DecideSlot { at, decided_at, .. } => cut_all([at, decided_at]),
        Change::PutStretch(StretchRecord {
            from, to, decided_at, ..
        }) => cut_all([from, to, decided_at]),
        Change::Supersede(SupersedeRecord { after, .. }) => cut_all([after]),
        Change::Pools(PoolsRecord { since, .. }) => cut_all([since]),
        Change::CreateRun { run, tasks } => {
            let RunRecord {
                slot,
                scheduled_at,
                created_at,
                started_at,
                ended_at,
                wait_until,
                ..
            } = run;
            cut_all([scheduled_at, created_at]);
            cut_all([slot, started_at, ended_at, wait_until].into_iter().flatten());
            cut_all(tasks.iter_mut().filter_map(|task| task.retry_at.as_mut()));
        }
        Change::SetTask(TaskRecord { retry_at, .. }) => cut_all(retry_at),
        Change::LaunchAttempt(attempt) | Change::EndAttempt(attempt) => {
            let AttemptRecord {
                queued_at,
                granted_at,
                started_at,
                ended_at,
                ..
            } = attempt;
            cut_all([queued_at, granted_at].into_iter().chain(started_at).chain(ended_at));
        }
        Change::Pause(PauseRecord { since, .. }) => cut_all([since]),
        // What is forgotten is named as it was read from the journal.
        Change::RemoveActive(_)
        | Change::SetHeld(_)
        | Change::NoteRun { .. }
        | Change::Resume(_)
        | Change::Forget(_) => {}
    }
}

fn cut_all<'a>(instants: impl IntoIterator<Item = &'a mut Timestamp>) {
    for at in instants {
        *at = to_micros(*at);
    }
}
