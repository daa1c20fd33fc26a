//! The versions of a job that the history knows, with the text of each.

use duckdb::types::Value as Stored;
use serde::{Deserialize, Serialize};

use super::{History, HistoryError};
use crate::core::{Timestamp, id::JobId};

/// A version of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Its hash.
    pub hash: String,
    /// When it was first applied.
    pub first_seen: Timestamp,
    /// The text of the file.
    pub yaml: String,
}

impl History {
    /// All versions of a job, oldest first.
    pub fn versions(&self, job: &JobId) -> Result<Vec<Version>, HistoryError> {
        // A journal that was begun anew tells of a version again.
        let versions = "SELECT hash, min(first_seen) AS begun, arg_min(yaml, first_seen) FROM specs WHERE job = ?
             GROUP BY hash ORDER BY begun, min(fact)";
        let (_, rows) = self.named_rows(versions, &[Stored::Text(job.as_str().to_owned())])?;
        Ok(rows
            .into_iter()
            .filter_map(|row| {
                let text = |at: usize| row.get(at)?.as_str();
                Some(Version {
                    hash: text(0)?.to_owned(),
                    first_seen: text(1)?.parse().ok()?,
                    yaml: text(2)?.to_owned(),
                })
            })
            .collect())
    }
}
