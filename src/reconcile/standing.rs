//! Where every file and job stands, and what is the matter with the folder: how a [`SyncStatus`] is filled.
//!
//! Pure: goes in what has settled, what it asks for, what was refused and what is active.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    desired::{Desired, DesiredFile, FileState},
    plan::{Action, HoldReason, Plan, PlanId},
    settle::{Settled, is_below},
    status::{Condition, ConditionCode, FileStatus, Health, JobStatus, Source, Standing, SyncState, SyncStatus},
    watch::Watching,
};
use crate::{
    config::diagnostic::Diagnostic,
    core::{Timestamp, active::ActiveSet, id::JobId},
};

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
    let mutual = if refused.has_mutual() {
        facts.desired.mutual(facts.active)
    } else {
        BTreeMap::new()
    };
    let mut files: Vec<FileStatus> = Vec::with_capacity(facts.desired.files.len());
    // A good file says itself which job it states, so that in a good folder nobody asks.
    let by_file: LazyCell<BTreeMap<&str, &JobId>, _> = LazyCell::new(|| {
        let active = facts.active.iter();
        active.map(|(job, active)| (active.record.file.as_str(), job)).collect()
    });
    let settling: BTreeSet<&str> = facts
        .settled
        .changing
        .iter()
        .map(|unsettled| unsettled.file.as_str())
        .collect();
    for (path, file) in &facts.desired.files {
        let came_from = match file.state {
            FileState::Job(_) => None,
            FileState::Invalid(_) | FileState::Refused(_) | FileState::Unsettled => by_file.get(&**path).copied(),
        };
        let settling = settling.contains(&**path);
        let mut status = file_status(path, file, came_from, &refused, facts, settling, now);
        if let (SyncState::Blocked | SyncState::Conflict, Some(mutual)) = (status.standing.sync, mutual.get(&**path)) {
            status.standing = status.standing.at(mutual.first());
            status.diagnostics.extend(mutual.iter().cloned());
        }
        files.push(status);
    }
    let mut jobs = job_statuses(&files, &refused, facts, now);
    // Both lists are in the order of their names, now and before.
    for file in &mut files {
        let old = before.files.binary_search_by(|old| old.file.cmp(&file.file));
        file.standing
            .keep_since(old.ok().map(|old| &before.files[old].standing));
    }
    for job in &mut jobs {
        let old = before.jobs.binary_search_by(|old| old.job.cmp(&job.job));
        job.standing.keep_since(old.ok().map(|old| &before.jobs[old].standing));
    }
    (files, jobs)
}

/// What a plan refused, by job.
struct Refused<'a>(BTreeMap<&'a JobId, &'a Action>);

impl<'a> Refused<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut by_job = BTreeMap::new();
        for action in &plan.refused {
            match action {
                Action::Conflict { job, .. } | Action::Hold { job, .. } => {
                    by_job.insert(job, action);
                }
                // What is active of a job may depend on nothing any more while its files are in conflict or gone, and
                // these come first: they say what somebody has to do.
                Action::Block { job, .. } => {
                    by_job.entry(job).or_insert(action);
                }
                Action::Add { .. } | Action::Update { .. } | Action::Remove { .. } | Action::Invalid { .. } => {}
            }
        }
        Self(by_job)
    }

    /// Whether something is refused for what several files say together.
    fn has_mutual(&self) -> bool {
        self.0.values().any(|action| match action {
            Action::Conflict { .. } | Action::Block { .. } => true,
            Action::Hold { .. }
            | Action::Add { .. }
            | Action::Update { .. }
            | Action::Remove { .. }
            | Action::Invalid { .. } => false,
        })
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
    pub(super) fn new(sync: SyncState, health: Health, message: Option<String>, now: Timestamp) -> Self {
        Self {
            sync,
            health,
            message,
            hint: hint(sync, health).map(str::to_owned),
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

/// What somebody can do about a state.
fn hint(sync: SyncState, health: Health) -> Option<&'static str> {
    match (sync, health) {
        (SyncState::Synced, _) => None,
        (SyncState::OutOfSync, _) => {
            Some("`petit sync --wait` waits until it is, and `petit plan` shows what will change")
        }
        (SyncState::Invalid, Health::Ok | Health::Degraded) => {
            Some("`petit validate` shows all errors; until they are mended, the last good version stays active")
        }
        (SyncState::Invalid, Health::Failing) => {
            Some("`petit validate` shows all errors; until they are mended, no version of it is active")
        }
        (SyncState::Conflict, _) => Some("give one of the jobs another `id`, or remove one of the files"),
        (SyncState::Blocked, _) => Some("add or mend the job that it needs, or take it out of `depends_on`"),
        (SyncState::Held, _) => {
            Some("put the file back, or look at `petit plan` and approve it with `petit sync --approve`")
        }
        (SyncState::Paused, _) => Some("`petit resume` lets it fire again"),
        (SyncState::Unknown, Health::Ok) => Some("`petit sync` looks at the files now"),
        (SyncState::Unknown, Health::Degraded | Health::Failing) => {
            Some("let Petit read it: what is known of it stays active meanwhile")
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
    let mut of_jobs: Vec<(&JobId, &FileStatus)> = files
        .iter()
        .filter_map(|file| Some((file.job.as_ref()?, file)))
        .collect();
    of_jobs.sort_by_key(|(job, _)| *job);
    let mut all: Vec<&JobId> = facts.active.keys().chain(of_jobs.iter().map(|(job, _)| *job)).collect();
    all.sort();
    all.dedup();
    let mut of_jobs = of_jobs.into_iter().peekable();
    let status = |job: &JobId| {
        let active = facts.active.get(job);
        let files = std::iter::from_fn(|| of_jobs.next_if(|(stated, _)| *stated == job));
        // The worst of a job's files speaks for it: one that left for another file has nothing to say any more.
        let file = files
            .map(|(_, file)| file)
            .max_by_key(|file| severity(file.standing.sync));
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
            let message = format!(
                "no file events ({reason}): the folder is looked at again and again, once a second if that is quick enough"
            );
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
