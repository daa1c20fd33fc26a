//! What has to change for the active set to be what the files ask for.
//!
//! Pure: [`plan`] compares two values and returns a third. It reads no file, commits nothing and knows no clock but the one
//! it is given. Carrying a plan out and planning again gives an empty plan.
//!
//! Each file stands alone. A file that is invalid, unreadable, unsettled or missing for a moment keeps the job that came
//! from it on its last good version; only a file that is certainly gone, or certainly holds another job, takes a job away.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    desired::{Desired, FileState, Version},
    settle::is_below,
};
use crate::{
    config::settings::Prune,
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, SpecHash},
        spec::JobSpec,
    },
};

/// At least so many jobs must be about to vanish for the prune guard to step in.
const GUARDED_FROM: usize = 5;

/// How to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What happens to jobs whose file is gone.
    pub prune: Prune,
    /// How many in a hundred of the jobs may vanish unasked.
    pub prune_guard: u8,
    /// The plan whose removals somebody approved.
    pub approved: Option<PlanId>,
}

/// What earlier plans leave behind.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// What the last plan that was carried out refused, so that it is not reported again.
    pub refused: &'a [Action],
    /// The largest active set of the last minute, so that jobs vanishing one by one are counted together.
    pub largest: &'a ActiveSet,
}

/// The identity of a plan: it is the same exactly when the files and the active set are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(String);

impl PlanId {
    /// An id that somebody typed.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn of(desired: &Desired, active: &ActiveSet, prune: Prune) -> Self {
        let text = format!("{} {} {prune:?}", desired.hash(), set_hash(active));
        let hash = SpecHash::of(text.as_bytes());
        Self(hash.as_str().chars().take(12).collect())
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What has to change, and what cannot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its identity.
    pub id: PlanId,
    /// When it was made.
    pub at: Timestamp,
    /// What there is to do or to report, sorted. What an earlier plan reported and still stands is left out.
    pub actions: Vec<Action>,
    /// Everything that is refused, reported before or not.
    pub refused: Vec<Action>,
    /// The versions to add or update to.
    #[serde(skip)]
    pub(super) versions: BTreeMap<JobId, Arc<Version>>,
    /// Jobs that are stated by another file than before and are otherwise the same.
    #[serde(skip)]
    pub(super) moved: BTreeMap<JobId, String>,
}

/// One thing that a plan does or reports. Sorted as listed here, then by job and file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A job becomes active.
    Add {
        /// The job.
        job: JobId,
        /// Its file.
        file: String,
        /// Its version.
        spec_hash: SpecHash,
    },
    /// An active job gets another version.
    Update {
        /// The job.
        job: JobId,
        /// Its file.
        file: String,
        /// The version before.
        old_hash: SpecHash,
        /// The version after.
        spec_hash: SpecHash,
        /// Which fields differ.
        fields: Vec<String>,
    },
    /// A job is no longer active.
    Remove {
        /// The job.
        job: JobId,
        /// The file that it came from.
        file: String,
    },
    /// A file cannot be followed.
    Invalid {
        /// The file.
        file: String,
        /// The active job that stays on its last good version.
        job: Option<JobId>,
        /// The line of the first error.
        line: Option<usize>,
        /// The column of the first error.
        column: Option<usize>,
        /// The first error.
        message: String,
        /// How many errors there are.
        errors: usize,
    },
    /// Several files state one job, so that none of them is followed.
    Conflict {
        /// The job.
        job: JobId,
        /// The files.
        files: Vec<String>,
    },
    /// A job waits for another one that does not exist.
    Block {
        /// The job.
        job: JobId,
        /// Its file.
        file: String,
        /// Why.
        reason: BlockReason,
    },
    /// A job whose file is gone stays for now.
    Hold {
        /// The job.
        job: JobId,
        /// The file that it came from.
        file: String,
        /// Why.
        reason: HoldReason,
    },
}

/// Why a job is blocked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockReason {
    /// A job that it depends on is in no file.
    Missing {
        /// That job.
        needs: JobId,
    },
    /// A job that it depends on is in a file that cannot be followed, and has no last good version.
    NotGood {
        /// That job.
        needs: JobId,
        /// Its file.
        file: String,
    },
    /// Jobs depend on each other.
    Cycle {
        /// The jobs, each followed by the one that it depends on.
        path: Vec<JobId>,
    },
}

/// Why a removal is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Too many jobs would vanish at once.
    Guard,
    /// `prune: hold`.
    Hold,
    /// `prune: never`.
    Never,
}

/// Compares what the files ask for with what is active.
pub fn plan(desired: &Desired, active: &ActiveSet, past: Past<'_>, policy: &Policy, now: Timestamp) -> Plan {
    let id = PlanId::of(desired, active, policy.prune);
    let mut draft = Draft::default();
    let claims = Claims::of(desired);
    let uncertain = uncertain_jobs(desired, active);
    let mut vanishing = Vec::new();
    let mut on_last_good = BTreeMap::new();
    for job in claims.0.keys().copied().chain(active.keys()).collect::<BTreeSet<_>>() {
        let old = active.get(job);
        match claims.of_job(job) {
            Claim::One(version) => match old {
                Some(old) if old.job.hash == version.job.hash => draft.keep(job, old, Some(&version.file)),
                Some(_) | None => draft.put(job, version),
            },
            Claim::Several(files) => {
                draft.refused.push(Action::Conflict {
                    job: job.clone(),
                    files,
                });
                draft.keep_if(job, old);
            }
            Claim::Leaving => draft.keep_if(job, old),
            Claim::None if uncertain.contains(job) => {
                draft.keep_if(job, old);
                on_last_good.extend(old.map(|old| (old.record.file.as_str(), job)));
            }
            Claim::None => vanishing.extend(old.map(|_| job.clone())),
        }
    }
    for (file, desired) in &desired.files {
        draft.report_file(file, &desired.state, &on_last_good);
    }
    draft.remove_or_hold(&vanishing, desired, active, past, policy, &id);
    draft.block(desired, active);
    draft.finish(id, active, past.refused, now)
}

/// A hash of the whole active set: the same exactly when the same jobs are active at the same versions.
pub fn set_hash(active: &ActiveSet) -> SpecHash {
    let lines: Vec<String> = active
        .iter()
        .map(|(id, active)| format!("{id} {}\n", active.job.hash))
        .collect();
    SpecHash::of(lines.concat().as_bytes())
}

/// Which files state which job.
struct Claims<'a>(BTreeMap<&'a JobId, Vec<(&'a Arc<Version>, bool)>>);

/// What the files say about one job.
enum Claim<'a> {
    /// No file states it.
    None,
    /// One file states it.
    One(&'a Arc<Version>),
    /// These files do.
    Several(Vec<String>),
    /// The file that states it is missing, which may be half of a save or of a rename.
    Leaving,
}

impl<'a> Claims<'a> {
    fn of(desired: &'a Desired) -> Self {
        let mut claims: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for file in desired.files.values() {
            if let FileState::Job(version) = &file.state {
                claims.entry(&version.job.id).or_default().push((version, file.missing));
            }
        }
        Self(claims)
    }

    fn of_job(&self, job: &JobId) -> Claim<'a> {
        let Some(claims) = self.0.get(job) else {
            return Claim::None;
        };
        let present: Vec<_> = claims
            .iter()
            .filter(|(_, missing)| !missing)
            .map(|(version, _)| *version)
            .collect();
        let missing = claims.iter().find(|(_, missing)| *missing);
        match (present.as_slice(), missing) {
            ([], _) => Claim::Leaving,
            ([version], None) => Claim::One(version),
            // A rename says the same in another file; another content has to wait for the first file to be gone for sure.
            ([version], Some((gone, _))) if gone.job.hash == version.job.hash => Claim::One(version),
            ([_], Some(_)) => Claim::Leaving,
            (several, _) => Claim::Several(several.iter().map(|version| version.file.clone()).collect()),
        }
    }
}

/// Active jobs that no good file states, and that may yet be stated by one that is not known well enough.
fn uncertain_jobs<'a>(desired: &'a Desired, active: &'a ActiveSet) -> BTreeSet<&'a JobId> {
    let unclear = |file: &str| match desired.files.get(file).map(|file| &file.state) {
        Some(FileState::Invalid(_) | FileState::Refused(_) | FileState::Unsettled) => true,
        Some(FileState::Job(_)) => false,
        None => desired.blind.keys().any(|folder| is_below(file, folder)),
    };
    let by_file = active
        .iter()
        .filter(|(_, active)| unclear(&active.record.file))
        .map(|(job, _)| job);
    let by_id = desired.files.values().filter_map(|file| match &file.state {
        FileState::Invalid(faults) => faults.id.as_ref(),
        FileState::Job(_) | FileState::Refused(_) | FileState::Unsettled => None,
    });
    by_file.chain(by_id).collect()
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    /// The dependencies of every job that will be active.
    after: BTreeMap<JobId, Vec<JobId>>,
    versions: BTreeMap<JobId, Arc<Version>>,
    moved: BTreeMap<JobId, String>,
    removed: Vec<Action>,
    refused: Vec<Action>,
}

fn dependencies(spec: &JobSpec) -> Vec<JobId> {
    spec.depends_on
        .iter()
        .map(|dependency| dependency.job.clone())
        .collect()
}

impl Draft {
    /// Reports a file that cannot be followed. `on_last_good` are the jobs that only such files state, by their file.
    fn report_file(&mut self, file: &str, state: &FileState, on_last_good: &BTreeMap<&str, &JobId>) {
        let job = |id: Option<&JobId>| {
            let moved_here = || on_last_good.values().copied().find(|job| Some(*job) == id);
            on_last_good.get(file).copied().or_else(moved_here).cloned()
        };
        match state {
            FileState::Job(_) | FileState::Unsettled => {}
            FileState::Invalid(faults) => {
                let mut errors = faults.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
                let first = errors.next();
                self.refused.push(Action::Invalid {
                    file: file.to_owned(),
                    job: job(faults.id.as_ref()),
                    line: first.map(|error| error.line),
                    column: first.map(|error| error.column),
                    message: first.map_or_else(|| "is not a job".to_owned(), |error| error.message.clone()),
                    errors: 1 + errors.count(),
                });
            }
            FileState::Refused(refusal) => self.refused.push(Action::Invalid {
                file: file.to_owned(),
                job: job(None),
                line: None,
                column: None,
                message: refusal.to_string(),
                errors: 1,
            }),
        }
    }

    fn keep(&mut self, job: &JobId, old: &ActiveJob, file: Option<&String>) {
        self.after.insert(job.clone(), dependencies(&old.job.spec));
        if let Some(file) = file.filter(|file| **file != old.record.file) {
            self.moved.insert(job.clone(), file.clone());
        }
    }

    fn keep_if(&mut self, job: &JobId, old: Option<&Arc<ActiveJob>>) {
        if let Some(old) = old {
            self.keep(job, old, None);
        }
    }

    fn put(&mut self, job: &JobId, version: &Arc<Version>) {
        self.after.insert(job.clone(), dependencies(&version.job.spec));
        self.versions.insert(job.clone(), Arc::clone(version));
    }

    fn remove_or_hold(
        &mut self,
        vanishing: &[JobId],
        desired: &Desired,
        active: &ActiveSet,
        past: Past<'_>,
        policy: &Policy,
        id: &PlanId,
    ) {
        let largest = if past.largest.len() > active.len() {
            past.largest
        } else {
            active
        };
        let gone = largest.keys().filter(|job| !self.after.contains_key(*job)).count();
        let many = gone >= GUARDED_FROM && gone * 100 > usize::from(policy.prune_guard) * largest.len();
        let guarded = many && !(desired.allow_empty && desired.files.is_empty());
        let approved = policy.approved.as_ref() == Some(id);
        for job in vanishing {
            let Some(old) = active.get(job) else {
                continue;
            };
            let (job, file) = (job.clone(), old.record.file.clone());
            let held_before = || {
                let guard = Action::Hold {
                    job: job.clone(),
                    file: file.clone(),
                    reason: HoldReason::Guard,
                };
                past.refused.contains(&guard)
            };
            let reason = match policy.prune {
                Prune::Never => Some(HoldReason::Never),
                Prune::Auto | Prune::Hold if approved => None,
                Prune::Hold => Some(HoldReason::Hold),
                Prune::Auto => (guarded || held_before()).then_some(HoldReason::Guard),
            };
            match reason {
                Some(reason) => {
                    self.keep(&job, old, None);
                    self.refused.push(Action::Hold { job, file, reason });
                }
                None => self.removed.push(Action::Remove { job, file }),
            }
        }
    }

    /// Takes back versions whose references lead nowhere, until all references of what is left hold. A job that was
    /// active stays at its active version; one that was not does not become active.
    fn block(&mut self, desired: &Desired, active: &ActiveSet) {
        loop {
            let mut blocked: Vec<(JobId, BlockReason)> = Vec::new();
            for job in self.versions.keys() {
                let missing = self.after[job].iter().find(|needs| !self.after.contains_key(*needs));
                if let Some(needs) = missing {
                    blocked.push((job.clone(), missing_reason(needs, desired)));
                } else if let Some(path) = self.cycle_through(job) {
                    blocked.push((job.clone(), BlockReason::Cycle { path }));
                }
            }
            if blocked.is_empty() {
                break;
            }
            for (job, reason) in blocked {
                if let Some(version) = self.versions.remove(&job) {
                    self.refused.push(Action::Block {
                        job: job.clone(),
                        file: version.file.clone(),
                        reason,
                    });
                }
                match active.get(&job) {
                    Some(old) => self.after.insert(job, dependencies(&old.job.spec)),
                    None => self.after.remove(&job),
                };
            }
        }
        let already: BTreeSet<JobId> = self.refused.iter().filter_map(Action::blocked_job).cloned().collect();
        for (job, old) in active
            .iter()
            .filter(|(job, _)| !already.contains(*job) && !self.versions.contains_key(*job))
        {
            let Some(needs) = self.after.get(job) else {
                continue;
            };
            if let Some(needs) = needs.iter().find(|needs| !self.after.contains_key(*needs)) {
                let reason = missing_reason(needs, desired);
                let (job, file) = (job.clone(), old.record.file.clone());
                self.refused.push(Action::Block { job, file, reason });
            }
        }
    }

    /// A way from a job along its dependencies back to itself.
    fn cycle_through(&self, job: &JobId) -> Option<Vec<JobId>> {
        let mut came_from: BTreeMap<&JobId, &JobId> = BTreeMap::new();
        let mut todo = vec![job];
        while let Some(from) = todo.pop() {
            for needs in self.after.get(from).into_iter().flatten() {
                if needs == job {
                    let back = std::iter::successors(Some(from), |at| came_from.get(*at).copied());
                    let mut path: Vec<JobId> = back.cloned().collect();
                    path.reverse();
                    return Some(path);
                }
                if !came_from.contains_key(needs) {
                    came_from.insert(needs, from);
                    todo.push(needs);
                }
            }
        }
        None
    }

    fn finish(mut self, id: PlanId, active: &ActiveSet, refused_before: &[Action], at: Timestamp) -> Plan {
        self.refused.sort();
        let put = self.versions.iter().map(|(job, version)| {
            let (job, file, spec_hash) = (job.clone(), version.file.clone(), version.job.hash.clone());
            match active.get(&job) {
                None => Action::Add { job, file, spec_hash },
                Some(old) => Action::Update {
                    job,
                    file,
                    old_hash: old.job.hash.clone(),
                    spec_hash,
                    fields: changed_fields(&old.job.spec, &version.job.spec),
                },
            }
        });
        let news = self
            .refused
            .iter()
            .filter(|action| !refused_before.contains(action))
            .cloned();
        let mut actions: Vec<Action> = put.chain(self.removed).chain(news).collect();
        actions.sort();
        Plan {
            id,
            at,
            actions,
            refused: self.refused,
            versions: self.versions,
            moved: self.moved,
        }
    }
}

fn missing_reason(needs: &JobId, desired: &Desired) -> BlockReason {
    let bad = desired.files.iter().find(|(_, file)| match &file.state {
        FileState::Invalid(faults) => faults.id.as_ref() == Some(needs),
        FileState::Job(version) => version.job.id == *needs,
        FileState::Refused(_) | FileState::Unsettled => false,
    });
    let needs = needs.clone();
    match bad {
        Some((file, _)) => BlockReason::NotGood {
            needs,
            file: file.clone(),
        },
        None => BlockReason::Missing { needs },
    }
}

/// Which fields differ between two specs: `schedule`, `tasks.load.command`, `tasks.new`.
fn changed_fields(old: &JobSpec, new: &JobSpec) -> Vec<String> {
    let fields = |spec: &JobSpec| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let mut changed = Vec::new();
    differing(
        &fields(old),
        &fields(new),
        &mut |field, old, new| match (field, old, new) {
            ("tasks", Some(Value::Object(old)), Some(Value::Object(new))) => {
                differing(old, new, &mut |task, old, new| match (old, new) {
                    (Some(Value::Object(old)), Some(Value::Object(new))) => {
                        differing(old, new, &mut |field, _, _| {
                            changed.push(format!("tasks.{task}.{field}"))
                        });
                    }
                    _ => changed.push(format!("tasks.{task}")),
                });
            }
            _ => changed.push(field.to_owned()),
        },
    );
    changed
}

type Fields = serde_json::Map<String, Value>;

fn differing(old: &Fields, new: &Fields, each: &mut dyn FnMut(&str, Option<&Value>, Option<&Value>)) {
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            each(key, old, new);
        }
    }
}

impl Plan {
    /// Whether there is nothing to do and nothing new to report.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether carrying it out changes the active set.
    pub fn changes_jobs(&self) -> bool {
        self.actions.iter().any(|action| match action {
            Action::Add { .. } | Action::Update { .. } | Action::Remove { .. } => true,
            Action::Invalid { .. } | Action::Conflict { .. } | Action::Block { .. } | Action::Hold { .. } => false,
        })
    }

    /// Whether removals wait for somebody to approve this plan.
    pub fn waits_for_approval(&self) -> bool {
        self.refused.iter().any(|action| match action {
            Action::Hold { reason, .. } => match reason {
                HoldReason::Guard | HoldReason::Hold => true,
                HoldReason::Never => false,
            },
            Action::Add { .. }
            | Action::Update { .. }
            | Action::Remove { .. }
            | Action::Invalid { .. }
            | Action::Conflict { .. }
            | Action::Block { .. } => false,
        })
    }
}

impl Action {
    fn blocked_job(&self) -> Option<&JobId> {
        if let Self::Block { job, .. } = self {
            Some(job)
        } else {
            None
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            return f.write_str("nothing to change");
        }
        for (i, action) in self.actions.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{action}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { job, file, .. } => write!(f, "add {job} ({file})"),
            Self::Update { job, file, fields, .. } => write!(f, "update {job} ({file}): {}", fields.join(", ")),
            Self::Remove { job, file } => write!(f, "remove {job} ({file} is gone)"),
            Self::Invalid {
                file,
                job,
                line,
                column,
                message,
                errors,
            } => {
                write!(f, "invalid {file}")?;
                if let (Some(line), Some(column)) = (line, column) {
                    write!(f, ":{line}:{column}")?;
                }
                write!(f, ": {message}")?;
                if *errors > 1 {
                    write!(f, " (and {} more)", errors - 1)?;
                }
                match job {
                    Some(job) => write!(f, "; {job} stays on its last good version"),
                    None => Ok(()),
                }
            }
            Self::Conflict { job, files } => write!(f, "conflict {job}: stated by {}", files.join(" and ")),
            Self::Block { job, file, reason } => write!(f, "blocked {job} ({file}): {reason}"),
            Self::Hold { job, file, reason } => write!(f, "held {job} ({file} is gone): {reason}"),
        }
    }
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { needs } => write!(f, "depends on `{needs}`, which no file states"),
            Self::NotGood { needs, file } => write!(f, "depends on `{needs}`, whose file {file} cannot be followed"),
            Self::Cycle { path } => {
                let names: Vec<&str> = path.iter().chain(path.first()).map(JobId::as_str).collect();
                write!(f, "jobs depend on each other: {}", names.join(" -> "))
            }
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guard => "too many jobs would vanish at once; approve the plan, or put the files back",
            Self::Hold => "`prune: hold`; approve the plan, or put the file back",
            Self::Never => "`prune: never`",
        })
    }
}
