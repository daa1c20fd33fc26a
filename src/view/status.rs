//! The daemon at a glance: what it is, what runs, what waits and for what, whether the files are in sync.

use serde::{Deserialize, Serialize};

use super::{NextFire, RunView};
use crate::core::{Timestamp, record::PauseRecord};

/// A daemon, as it names itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// The folder of jobs.
    pub jobs_dir: String,
    /// The folder of its journal, logs and socket.
    pub state_dir: String,
}
