//! The daemon at a glance: what it is, what runs, what waits and for what, whether the files are in sync.

use chrono::{DurationRound, TimeDelta};
use serde::{Deserialize, Serialize};

use super::{NextFire, RunView, RunningTask};
use crate::{
    core::{Timestamp, record::PauseRecord, state::RunStatus},
    execution::executor::WaitingTask,
    reconcile::SyncStatus,
    storage::{Storage, StorageError},
};

/// The daemon at a glance; without one, what the stores say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The daemon; `null` if none runs.
    pub daemon: Option<DaemonInfo>,
    /// Runs that have not ended, oldest first.
    pub active_runs: Vec<RunView>,
    /// Tasks that run.
    #[serde(default)]
    pub running: Vec<RunningTask>,
    /// Tasks that wait, and for what.
    pub waiting: Vec<WaitingTask>,
    /// The next few fires.
    pub next: Vec<NextFire>,
    /// All pauses.
    pub pauses: Vec<PauseRecord>,
    /// How the files stand against the active set.
    pub sync: SyncStatus,
    /// The git commit of the folder of jobs, with `-dirty` at its end if the job files are not those of the commit; `null`
    /// if the folder is in no repository, or no daemon runs.
    #[serde(default)]
    pub revision: Option<String>,
    /// What somebody should know of the daemon itself.
    pub conditions: Vec<String>,
    /// The runs of the last day by the half hour in which they were created, the earliest first.
    #[serde(default)]
    pub last_day: Vec<HalfHour>,
}

/// How many runs were created in half an hour, and how they stand now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfHour {
    /// When it began.
    pub from: Timestamp,
    /// The runs that succeeded.
    pub succeeded: u64,
    /// Those that failed, were interrupted or ran out of time.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Those that have not ended.
    pub going: u64,
}

/// The stretches of a day.
const HALF_HOURS: u32 = 48;

/// The last day up to now; its last half hour is the one that goes on.
pub(super) fn last_day(storage: &dyn Storage, now: Timestamp) -> Result<Vec<HalfHour>, StorageError> {
    let half = TimeDelta::minutes(30);
    let begun = now.duration_trunc(half).unwrap_or(now);
    let since = begun - half * (HALF_HOURS as i32 - 1);
    let mut day: Vec<HalfHour> = (0..HALF_HOURS as i32)
        .map(|place| HalfHour {
            from: since + half * place,
            succeeded: 0,
            failed: 0,
            cancelled: 0,
            going: 0,
        })
        .collect();
    for tally in storage.tally(since, half)? {
        // A run that the clock has put into the future is not of this day.
        let Some(cell) = day.get_mut(tally.stretch as usize) else {
            continue;
        };
        let count = match tally.status {
            RunStatus::Succeeded => &mut cell.succeeded,
            RunStatus::Failed | RunStatus::Interrupted | RunStatus::TimedOut => &mut cell.failed,
            RunStatus::Cancelled => &mut cell.cancelled,
            RunStatus::Queued | RunStatus::Running => &mut cell.going,
        };
        *count += tally.runs;
    }
    Ok(day)
}

/// A daemon, as it names itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// The folder of its journal, logs and socket.
    pub state_dir: String,
}
