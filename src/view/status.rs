//! The daemon at a glance: what it is, what runs, what waits and for what, whether the files are in sync.

use serde::{Deserialize, Serialize};

use super::{NextFire, RunView};
use crate::{
    core::{Timestamp, record::PauseRecord},
    execution::executor::WaitingTask,
    reconcile::SyncStatus,
};

/// The daemon at a glance; without one, what the stores say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The daemon; `null` if none runs.
    pub daemon: Option<DaemonInfo>,
    /// Runs that have not ended, oldest first.
    pub active_runs: Vec<RunView>,
    /// Tasks that wait, and for what.
    pub waiting: Vec<WaitingTask>,
    /// The next few fires.
    pub next: Vec<NextFire>,
    /// All pauses.
    pub pauses: Vec<PauseRecord>,
    /// How the files stand against the active set.
    pub sync: SyncStatus,
    /// What somebody should know of the daemon itself.
    pub conditions: Vec<String>,
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
