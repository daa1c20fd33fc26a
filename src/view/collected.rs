//! What `petit gc` let go, or would.

use serde::{Deserialize, Serialize};

/// What went, by the place that it went from. With `dry_run` nothing did, and bytes that only a try could tell are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Whether this only says what would go.
    pub dry_run: bool,
    /// From the journal.
    pub journal: FromJournal,
    /// From the history; `null` where there is none.
    pub history: Option<FromHistory>,
    /// From the logs.
    pub logs: FromLogs,
    /// What kept something from going, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Rows that left the journal. Where there is a history, they are in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromJournal {
    /// Runs, with their tasks and attempts.
    pub runs: u64,
    /// Slots, a stretch of them being one.
    pub slots: u64,
    /// Versions of jobs.
    pub specs: u64,
    /// Reconciles.
    pub reconciles: u64,
    /// Facts.
    pub facts: u64,
    /// By how much the file is smaller.
    pub freed_bytes: u64,
    /// How large the file is now.
    pub file_bytes: u64,
    /// How much of it is free for new rows.
    pub reusable_bytes: u64,
}

/// Rows that left the history, for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromHistory {
    /// Runs, with what belongs to them.
    pub runs: u64,
    /// Slots, a stretch of them being one.
    pub slots: u64,
    /// Versions of jobs.
    pub specs: u64,
    /// Reconciles.
    pub reconciles: u64,
    /// By how much the file is smaller.
    pub freed_bytes: u64,
    /// How large the file is now.
    pub file_bytes: u64,
}

/// Logs that were removed, with the other files of the attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromLogs {
    /// Of so many runs.
    pub runs: u64,
    /// How large they were.
    pub freed_bytes: u64,
}

impl Collected {
    /// Whether nothing went.
    pub fn is_empty(&self) -> bool {
        let FromJournal {
            runs,
            slots,
            specs,
            reconciles,
            facts,
            freed_bytes,
            file_bytes: _,
            reusable_bytes: _,
        } = self.journal;
        let of_history = self.history.unwrap_or_default();
        runs + slots + specs + reconciles + facts + freed_bytes == 0
            && of_history.runs + of_history.slots + of_history.specs + of_history.reconciles + of_history.freed_bytes
                == 0
            && self.logs.runs == 0
    }
}
