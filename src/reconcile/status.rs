//! How the files stand against the active set, for people: the words for it, and what is published.
//!
//! Two axes are kept apart on purpose: *sync* says whether what is active is what the files ask for, *health* whether
//! that harms the job. Whether a job is paused is not known in this room; `view` adds it. How a status comes about is in
//! [`super::standing`].

use serde::{Deserialize, Serialize};

use super::{
    plan::{PlanId, set_hash},
    watch::Watching,
};
use crate::{
    config::diagnostic::Diagnostic,
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, SpecHash},
        record::ReconcileRecord,
    },
};

/// How the files stand against the active set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// The folder of jobs.
    pub jobs_dir: String,
    /// Whether the folder can be listed.
    pub source: Source,
    /// How changes are noticed.
    pub watching: Watching,
    /// What somebody should know that concerns no single file or job.
    pub conditions: Vec<Condition>,
    /// Every file.
    pub files: Vec<FileStatus>,
    /// Every job that is active or that a file states.
    pub jobs: Vec<JobStatus>,
    /// The plan that waits for approval, if removals are held.
    pub waiting_plan: Option<PlanId>,
    /// Files that are still changing or being removed.
    pub settling: Vec<String>,
    /// The last reconcile since the start that changed or refused something.
    pub last_reconcile: Option<ReconcileRecord>,
    /// The hash of the active set.
    pub active_set_hash: SpecHash,
    /// When the files were last compared with the active set.
    pub looked_at: Option<Timestamp>,
}

/// Whether the folder of jobs can be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Source {
    /// It can.
    Ok,
    /// It cannot, so that nothing is changed.
    Unavailable {
        /// Why.
        message: String,
        /// Since when.
        since: Timestamp,
    },
}

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// A stable name of its kind.
    pub code: ConditionCode,
    /// What is the matter, in a sentence.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

impl Condition {
    /// Takes over since when it holds, if it held before.
    pub fn keep_since(&mut self, before: &[Self]) {
        if let Some(old) = before
            .iter()
            .find(|old| old.code == self.code && old.message == self.message)
        {
            self.since = old.since;
        }
    }
}

/// The kinds of condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionCode {
    /// The folder of jobs cannot be listed.
    SourceUnavailable,
    /// A subfolder cannot be listed.
    FolderUnreadable,
    /// The kernel gives no events.
    Polling,
    /// A file has been changing for long.
    StillChanging,
    /// Removals wait for approval.
    RemovalsHeld,
    /// A plan could not be committed.
    NotCommitted,
    /// The journal has an active job that cannot be built again.
    NotRestored,
}

/// Whether what is active is what the files ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// It is.
    Synced,
    /// It is not yet.
    OutOfSync,
    /// The file has errors.
    Invalid,
    /// Several files state the job.
    Conflict,
    /// The job depends on one that does not exist.
    Blocked,
    /// The job's removal waits.
    Held,
    /// The job is paused. Never given by this room.
    Paused,
    /// The file cannot be read.
    Unknown,
}

impl SyncState {
    /// The name used in JSON and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::OutOfSync => "out_of_sync",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether being out of sync harms the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It does not.
    Ok,
    /// An older version is active than the files ask for.
    Degraded,
    /// No version is active, though a file states the job.
    Failing,
}

impl Health {
    /// The name used in JSON and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// Where a file or a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether what is active is what the files ask for.
    pub sync: SyncState,
    /// Whether that harms.
    pub health: Health,
    /// Why, in a sentence, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// What to do about it, in a sentence, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The line of the first error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<usize>,
    /// The column of the first error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<usize>,
    /// Since when sync and health are as they are.
    pub since: Timestamp,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Its path below the folder of jobs.
    pub file: String,
    /// The job that it states, or that came from it.
    pub job: Option<JobId>,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// The hash of its text, if it could be read.
    pub file_hash: Option<SpecHash>,
    /// All that is to be said about it.
    pub diagnostics: Vec<Diagnostic>,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its id.
    pub job: JobId,
    /// Its file.
    pub file: String,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// The version that is active, if one is.
    pub spec_hash: Option<SpecHash>,
    /// Its generation.
    pub generation: Option<u64>,
}

impl SyncStatus {
    /// The status before the first look.
    pub fn unknown(jobs_dir: String, watching: Watching, active: &ActiveSet, now: Timestamp) -> Self {
        let unseen = |active: &ActiveJob| JobStatus {
            job: active.record.job.clone(),
            file: active.record.file.clone(),
            standing: Standing::new(
                SyncState::Unknown,
                Health::Ok,
                Some("its file was not looked at".to_owned()),
                now,
            ),
            spec_hash: Some(active.record.spec_hash.clone()),
            generation: Some(active.record.generation),
        };
        Self {
            jobs_dir,
            source: Source::Ok,
            watching,
            conditions: Vec::new(),
            files: Vec::new(),
            jobs: active.values().map(|active| unseen(active)).collect(),
            waiting_plan: None,
            settling: Vec::new(),
            last_reconcile: None,
            active_set_hash: set_hash(active),
            looked_at: None,
        }
    }

    /// Whether every file is followed and nothing is on its way. What stands in a folder that cannot be listed is not
    /// known to be followed.
    pub fn is_synced(&self) -> bool {
        let synced = |standing: &Standing| standing.sync == SyncState::Synced;
        let blind = |condition: &Condition| condition.code == ConditionCode::FolderUnreadable;
        self.looked_at.is_some()
            && self.source == Source::Ok
            && self.settling.is_empty()
            && !self.conditions.iter().any(blind)
            && self.files.iter().all(|file| synced(&file.standing))
            && self.jobs.iter().all(|job| synced(&job.standing))
    }

    /// A job's status.
    pub fn job(&self, job: &JobId) -> Option<&JobStatus> {
        self.jobs.iter().find(|status| status.job == *job)
    }

    /// A file's status.
    pub fn file(&self, file: &str) -> Option<&FileStatus> {
        self.files.iter().find(|status| status.file == file)
    }
}
