//! How the files stand against the active set, for people.
//!
//! Pure: goes in what was settled, what it asks for, what was refused and what is active; comes out a [`SyncStatus`].
//! Two axes are kept apart on purpose: *sync* says whether what is active is what the files ask for, *health* whether
//! that harms the job. Whether a job is paused is not known here; `view` adds it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    desired::{Desired, DesiredFile, FileState},
    plan::{Action, HoldReason, Plan, PlanId, set_hash},
    settle::{Settled, is_below},
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

    /// Whether every file is followed and nothing is on its way.
    pub fn is_synced(&self) -> bool {
        let synced = |standing: &Standing| standing.sync == SyncState::Synced;
        self.looked_at.is_some()
            && self.source == Source::Ok
            && self.settling.is_empty()
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

/// What the files and jobs of a status are made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What has settled.
    pub settled: &'a Settled,
    /// What it asks for.
    pub desired: &'a Desired,
    /// The plan that was made of it.
    pub plan: &'a Plan,
    /// The active set after the plan.
    pub active: &'a ActiveSet,
}

/// Where every file and every job stands at `now`; what did not change since `before` keeps its `since`.
pub fn standings(facts: Facts<'_>, before: &SyncStatus, now: Timestamp) -> (Vec<FileStatus>, Vec<JobStatus>) {
    let refused = Refused::of(facts.plan);
    let mut files: Vec<FileStatus> = Vec::with_capacity(facts.desired.files.len());
    let by_file: BTreeMap<&str, &JobId> = facts
        .active
        .iter()
        .map(|(job, active)| (active.record.file.as_str(), job))
        .collect();
    let settling: BTreeSet<&str> = facts
        .settled
        .changing
        .iter()
        .map(|unsettled| unsettled.file.as_str())
        .collect();
    for (path, file) in &facts.desired.files {
        let came_from = by_file.get(path.as_str()).copied();
        files.push(file_status(
            path,
            file,
            came_from,
            &refused,
            facts,
            settling.contains(path.as_str()),
            now,
        ));
    }
    let jobs = job_statuses(&files, &refused, facts, now);
    let mut files = files;
    let mut jobs = jobs;
    let old_files: BTreeMap<&str, &Standing> = before
        .files
        .iter()
        .map(|file| (file.file.as_str(), &file.standing))
        .collect();
    let old_jobs: BTreeMap<&JobId, &Standing> = before.jobs.iter().map(|job| (&job.job, &job.standing)).collect();
    for file in &mut files {
        file.standing.keep_since(old_files.get(file.file.as_str()).copied());
    }
    for job in &mut jobs {
        job.standing.keep_since(old_jobs.get(&job.job).copied());
    }
    (files, jobs)
}

/// What a plan refused, by job.
struct Refused<'a>(BTreeMap<&'a JobId, &'a Action>);

impl<'a> Refused<'a> {
    fn of(plan: &'a Plan) -> Self {
        let by_job = plan.refused.iter().filter_map(|action| match action {
            Action::Conflict { job, .. } | Action::Block { job, .. } | Action::Hold { job, .. } => Some((job, action)),
            Action::Add { .. } | Action::Update { .. } | Action::Remove { .. } | Action::Invalid { .. } => None,
        });
        Self(by_job.collect())
    }

    fn of_job(&self, job: &JobId) -> Option<(SyncState, String)> {
        match self.0.get(job)? {
            Action::Conflict { files, .. } => {
                let message = format!(
                    "{} state the same job `{job}`: give one of them another id",
                    files.join(" and ")
                );
                Some((SyncState::Conflict, message))
            }
            Action::Block { reason, .. } => Some((SyncState::Blocked, reason.to_string())),
            Action::Hold { reason, .. } => {
                let message = format!("its file is gone, and it stays: {reason}");
                match reason {
                    HoldReason::Guard | HoldReason::Hold => Some((SyncState::Held, message)),
                    HoldReason::Never => Some((SyncState::OutOfSync, message)),
                }
            }
            Action::Add { .. } | Action::Update { .. } | Action::Remove { .. } | Action::Invalid { .. } => None,
        }
    }
}

impl Standing {
    fn new(sync: SyncState, health: Health, message: Option<String>, now: Timestamp) -> Self {
        Self {
            sync,
            health,
            message,
            line: None,
            column: None,
            since: now,
        }
    }

    fn at(mut self, diagnostic: Option<&Diagnostic>) -> Self {
        self.line = diagnostic.map(|diagnostic| diagnostic.line);
        self.column = diagnostic.map(|diagnostic| diagnostic.column);
        self
    }

    fn keep_since(&mut self, before: Option<&Self>) {
        if let Some(before) = before.filter(|before| (before.sync, before.health) == (self.sync, self.health)) {
            self.since = before.since;
        }
    }
}

fn file_status(
    path: &str,
    file: &DesiredFile,
    came_from: Option<&JobId>,
    refused: &Refused<'_>,
    facts: Facts<'_>,
    settling: bool,
    now: Timestamp,
) -> FileStatus {
    let harm = |job: Option<&JobId>| match job {
        Some(job) if facts.active.contains_key(job) => Health::Degraded,
        Some(_) | None => Health::Failing,
    };
    let on_its_way = |what: &str| Standing::new(SyncState::OutOfSync, Health::Ok, Some(what.to_owned()), now);
    let (job, standing, diagnostics): (Option<&JobId>, Standing, &[Diagnostic]) = match &file.state {
        FileState::Job(version) => {
            let job = &version.job.id;
            let active = facts.active.get(job);
            let followed = active.is_some_and(|active| active.job.hash == version.job.hash);
            let standing = match refused.of_job(job) {
                Some((sync, message)) => {
                    let health = if followed { Health::Ok } else { harm(Some(job)) };
                    Standing::new(sync, health, Some(message), now)
                }
                None if file.missing => on_its_way("was not found lately"),
                None if settling => on_its_way("is being changed"),
                None if followed => Standing::new(SyncState::Synced, Health::Ok, None, now),
                None => on_its_way("is not applied yet"),
            };
            (Some(job), standing, &version.diagnostics)
        }
        FileState::Invalid(faults) => {
            let job = faults
                .id
                .as_ref()
                .filter(|id| facts.active.contains_key(*id))
                .or(came_from)
                .or(faults.id.as_ref());
            let first = faults.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
            let message = first.map(|diagnostic| diagnostic.message.clone());
            let standing = Standing::new(SyncState::Invalid, harm(job), message, now).at(first);
            (job, standing, &faults.diagnostics)
        }
        FileState::Refused(refusal) => {
            let standing = Standing::new(SyncState::Unknown, harm(came_from), Some(refusal.to_string()), now);
            (came_from, standing, &[])
        }
        FileState::Unsettled if file.missing => (came_from, on_its_way("was not found lately"), &[]),
        FileState::Unsettled => (came_from, on_its_way("is being changed"), &[]),
    };
    let content = facts.settled.files.get(path).and_then(|file| file.content.as_ref());
    FileStatus {
        file: path.to_owned(),
        job: job.cloned(),
        standing,
        file_hash: content
            .and_then(|content| content.bytes())
            .map(|blob| blob.hash.clone()),
        diagnostics: diagnostics.to_vec(),
    }
}

fn job_statuses(files: &[FileStatus], refused: &Refused<'_>, facts: Facts<'_>, now: Timestamp) -> Vec<JobStatus> {
    let mut of_job: BTreeMap<&JobId, Vec<&FileStatus>> = BTreeMap::new();
    for file in files {
        if let Some(job) = &file.job {
            of_job.entry(job).or_default().push(file);
        }
    }
    let all: BTreeSet<&JobId> = facts.active.keys().chain(of_job.keys().copied()).collect();
    let status = |job: &JobId| {
        let active = facts.active.get(job);
        let files = of_job.get(job).map_or(&[][..], Vec::as_slice);
        // The worst of a job's files speaks for it: one that left for another file has nothing to say any more.
        let file = files.iter().max_by_key(|file| severity(file.standing.sync));
        let standing = match (file, refused.of_job(job), active) {
            (Some(file), _, _) => file.standing.clone(),
            (None, Some((sync, message)), _) => Standing::new(sync, Health::Ok, Some(message), now),
            (None, None, Some(active)) => {
                let blind = facts
                    .desired
                    .blind
                    .iter()
                    .find(|(folder, _)| is_below(&active.record.file, folder));
                match blind {
                    Some((folder, problem)) => {
                        let message = format!("the folder {folder} {problem}");
                        Standing::new(SyncState::Unknown, Health::Degraded, Some(message), now)
                    }
                    None => Standing::new(
                        SyncState::OutOfSync,
                        Health::Ok,
                        Some("its file is gone".to_owned()),
                        now,
                    ),
                }
            }
            (None, None, None) => Standing::new(SyncState::Unknown, Health::Failing, None, now),
        };
        let path = match (file, active) {
            (Some(file), _) => file.file.clone(),
            (None, Some(active)) => active.record.file.clone(),
            (None, None) => String::new(),
        };
        JobStatus {
            job: job.clone(),
            file: path,
            standing,
            spec_hash: active.map(|active| active.record.spec_hash.clone()),
            generation: active.map(|active| active.record.generation),
        }
    };
    all.into_iter().map(status).collect()
}

/// The order in which states of several files speak for their job.
fn severity(sync: SyncState) -> u8 {
    match sync {
        SyncState::Synced | SyncState::Paused => 0,
        SyncState::OutOfSync => 1,
        SyncState::Unknown => 2,
        SyncState::Held => 3,
        SyncState::Blocked => 4,
        SyncState::Conflict => 5,
        SyncState::Invalid => 6,
    }
}

/// What is the matter with the folder as a whole.
pub fn conditions(
    source: &Source,
    watching: &Watching,
    settled: &Settled,
    waiting_plan: Option<&PlanId>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut found: Vec<(ConditionCode, String)> = Vec::new();
    match source {
        Source::Ok => {}
        Source::Unavailable { message, .. } => found.push((ConditionCode::SourceUnavailable, message.clone())),
    }
    for (folder, problem) in &settled.blind {
        found.push((
            ConditionCode::FolderUnreadable,
            format!("the folder {folder} {problem}; its jobs stay as they are"),
        ));
    }
    match watching {
        Watching::Native => {}
        Watching::Polling { reason } => {
            let message = format!("no file events ({reason}): the folder is listed once a second");
            found.push((ConditionCode::Polling, message));
        }
    }
    for unsettled in settled.changing.iter().filter(|unsettled| unsettled.is_overdue()) {
        found.push((
            ConditionCode::StillChanging,
            format!("{} keeps changing and is not applied", unsettled.file),
        ));
    }
    if let Some(plan) = waiting_plan {
        let message = format!("removals are held: `petit sync --approve {plan}` lets them happen");
        found.push((ConditionCode::RemovalsHeld, message));
    }
    let condition = |(code, message)| Condition {
        code,
        message,
        since: now,
    };
    found.into_iter().map(condition).collect()
}
