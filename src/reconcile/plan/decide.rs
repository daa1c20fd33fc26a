//! How a plan comes about: which file speaks for which job, what vanishes, what is held and what is blocked.
//!
//! Files and jobs are walked side by side in the order of the jobs' ids, so that ten thousand of them cost one pass and
//! no map. What is looked up by name is only what something is the matter with.

use std::{
    cell::OnceCell,
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    iter,
    sync::Arc,
};

use super::{Action, BlockReason, HoldReason, Past, Plan, PlanId, Policy, fields::changed_fields, knots::Resulting};
use crate::{
    config::settings::Prune,
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::JobId,
    },
    reconcile::{
        desired::{Desired, FileState, Version},
        settle::is_below,
    },
};

/// At least so many jobs must be about to vanish for the prune guard to step in.
const GUARDED_FROM: usize = 5;

/// Compares what the files ask for with what is active.
pub fn plan(desired: &Desired, active: &ActiveSet, past: Past<'_>, policy: &Policy, now: Timestamp) -> Plan {
    let id = PlanId::of(desired, past.set_hash, policy.prune);
    let stated = Stated::by(desired);
    let held_before: BTreeSet<&JobId> = past.refused.iter().filter_map(Action::guarded_job).collect();
    let approved = policy.approved.as_ref() == Some(&id);
    let mut draft = Draft::default();
    let mut vanishing = Vec::new();
    let mut on_last_good = BTreeMap::new();
    for (job, claims, old) in side_by_side(&stated.claims, active) {
        match Claim::of(claims) {
            Claim::One(version) => match old {
                Some(old) if is_same(old, version) => draft.keep(job, old, Some(&version.file)),
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
            Claim::None => {
                if let Some(old) = old {
                    if stated.may_yet_be(job, &old.record.file) {
                        draft.keep(job, old, None);
                        on_last_good.insert(old.record.file.as_str(), job);
                        // Not to know for a while is no reason to forget: the removal would pass as one of few later.
                        if held_before.contains(job) && !approved && !stated.is_back(&old.record.file) {
                            draft.hold(job, old, HoldReason::Guard);
                        }
                    } else {
                        draft.lose(job);
                        vanishing.push((job, old));
                    }
                }
            }
        }
    }
    draft.report_files(&stated.bad, &on_last_good);
    let guarded = !vanishing.is_empty() && draft.loses_many(&stated, active, past, policy);
    draft.remove_or_hold(&vanishing, guarded, policy, (&held_before, approved));
    draft.block(&stated, active);
    draft.finish(id, active, past.refused, now)
}

/// Whether a file states what is active. Most often it is the very same value.
fn is_same(old: &ActiveJob, version: &Version) -> bool {
    Arc::ptr_eq(&old.job, &version.job) || old.job.hash == version.job.hash
}

/// What the files state.
struct Stated<'a> {
    desired: &'a Desired,
    /// By job, and for one job by file.
    claims: Vec<Stating<'a>>,
    /// Files that cannot be followed.
    bad: Vec<(&'a str, &'a FileState)>,
    /// The jobs that such files name.
    named_by_bad: BTreeSet<&'a JobId>,
    /// The first file that names a job, good or not; made when a reason asks for it.
    first_file: OnceCell<BTreeMap<&'a JobId, &'a str>>,
}

/// A file that states a job.
struct Stating<'a> {
    job: &'a JobId,
    version: &'a Arc<Version>,
    missing: bool,
}

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

impl<'a> Stated<'a> {
    fn by(desired: &'a Desired) -> Self {
        let mut stated = Self {
            desired,
            claims: Vec::with_capacity(desired.files.len()),
            bad: Vec::new(),
            named_by_bad: BTreeSet::new(),
            first_file: OnceCell::new(),
        };
        for (path, file) in &desired.files {
            match &file.state {
                FileState::Job(version) => stated.claims.push(Stating {
                    job: &version.job.id,
                    version,
                    missing: file.missing,
                }),
                FileState::Invalid(faults) => {
                    stated.bad.push((path, &file.state));
                    stated.named_by_bad.extend(&faults.id);
                }
                FileState::Refused(_) => stated.bad.push((path, &file.state)),
                FileState::Unsettled => {}
            }
        }
        // Stable, so that the files of one job stay in their order; quick, because files are mostly named after jobs.
        stated.claims.sort_by_key(|claim| claim.job);
        stated
    }

    /// Whether an active job that no good file states may yet be stated by one that is not known well enough.
    fn may_yet_be(&self, job: &JobId, came_from: &str) -> bool {
        let unclear = match self.desired.files.get(came_from).map(|file| &file.state) {
            Some(FileState::Invalid(_) | FileState::Refused(_) | FileState::Unsettled) => true,
            Some(FileState::Job(_)) => false,
            None => self.desired.blind.keys().any(|folder| is_below(came_from, folder)),
        };
        unclear || self.named_by_bad.contains(job)
    }

    /// Whether there is a file of this path again, though none that can be followed.
    fn is_back(&self, file: &str) -> bool {
        match self.desired.files.get(file).map(|file| &file.state) {
            Some(FileState::Job(_) | FileState::Invalid(_) | FileState::Refused(_)) => true,
            Some(FileState::Unsettled) | None => false,
        }
    }

    /// Why a job that is needed will not be active.
    fn why_missing(&self, needs: &JobId) -> BlockReason {
        let first_file = self.first_file.get_or_init(|| {
            let mut first_file = BTreeMap::new();
            for (path, file) in &self.desired.files {
                let names = match &file.state {
                    FileState::Invalid(faults) => faults.id.as_ref(),
                    FileState::Job(version) => Some(&version.job.id),
                    FileState::Refused(_) | FileState::Unsettled => None,
                };
                if let Some(names) = names {
                    first_file.entry(names).or_insert(&**path);
                }
            }
            first_file
        });
        let needs = needs.clone();
        match first_file.get(&needs) {
            Some(file) => BlockReason::NotGood {
                needs,
                file: (*file).to_owned(),
            },
            None => BlockReason::Missing { needs },
        }
    }
}

impl<'a> Claim<'a> {
    fn of(claims: &[Stating<'a>]) -> Self {
        if let [only] = claims {
            return if only.missing {
                Self::Leaving
            } else {
                Self::One(only.version)
            };
        }
        let mut present = claims.iter().filter(|claim| !claim.missing);
        let missing = claims.iter().find(|claim| claim.missing);
        match (present.next(), present.next(), missing) {
            (None, _, None) => Self::None,
            (None, _, Some(_)) => Self::Leaving,
            (Some(one), None, None) => Self::One(one.version),
            // A rename says the same in another file; another content has to wait for the first file to be gone for sure.
            (Some(one), None, Some(gone)) if gone.version.job.hash == one.version.job.hash => Self::One(one.version),
            (Some(_), None, Some(_)) => Self::Leaving,
            (Some(_), Some(_), _) => {
                let present = claims.iter().filter(|claim| !claim.missing);
                Self::Several(present.map(|claim| claim.version.file.clone()).collect())
            }
        }
    }
}

/// Every job that a file states or that is active, in their order, with what there is of both.
fn side_by_side<'a, 'c>(
    claims: &'c [Stating<'a>],
    active: &'a ActiveSet,
) -> impl Iterator<Item = (&'a JobId, &'c [Stating<'a>], Option<&'a Arc<ActiveJob>>)> {
    let mut stated = claims.chunk_by(|a, b| a.job == b.job).peekable();
    let mut active = active.iter().peekable();
    iter::from_fn(move || {
        let first = match (stated.peek(), active.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(claims), Some((job, _))) => claims[0].job.cmp(job),
        };
        match first {
            Ordering::Less => stated.next().map(|claims| (claims[0].job, claims, None)),
            Ordering::Greater => active.next().map(|(job, old)| (job, &[][..], Some(old))),
            Ordering::Equal => stated
                .next()
                .zip(active.next())
                .map(|(claims, (job, old))| (job, claims, Some(old))),
        }
    })
}

/// A plan in the making.
#[derive(Clone, Default)]
struct Draft<'a> {
    /// What every job that will be active waits for.
    after: Resulting<'a>,
    versions: BTreeMap<JobId, Arc<Version>>,
    moved: BTreeMap<JobId, String>,
    removed: Vec<Action>,
    refused: Vec<Action>,
}

impl<'a> Draft<'a> {
    /// Reports the files that cannot be followed. `on_last_good` are the jobs that only such files state, by their file.
    fn report_files(&mut self, bad: &[(&str, &FileState)], on_last_good: &BTreeMap<&str, &JobId>) {
        if bad.is_empty() {
            return;
        }
        let staying: BTreeSet<&JobId> = on_last_good.values().copied().collect();
        for (file, state) in bad {
            let job = |id: Option<&JobId>| {
                let moved_here = || id.filter(|id| staying.contains(id));
                on_last_good.get(file).copied().or_else(moved_here).cloned()
            };
            match state {
                FileState::Job(_) | FileState::Unsettled => {}
                FileState::Invalid(faults) => {
                    let mut errors = faults.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
                    let first = errors.next();
                    self.refused.push(Action::Invalid {
                        file: (*file).to_owned(),
                        job: job(faults.id.as_ref()),
                        line: first.map(|error| error.line),
                        column: first.map(|error| error.column),
                        message: first.map_or_else(|| "is not a job".to_owned(), |error| error.message.clone()),
                        errors: 1 + errors.count(),
                    });
                }
                FileState::Refused(refusal) => self.refused.push(Action::Invalid {
                    file: (*file).to_owned(),
                    job: job(None),
                    line: None,
                    column: None,
                    message: refusal.to_string(),
                    errors: 1,
                }),
            }
        }
    }

    fn keep(&mut self, job: &'a JobId, old: &'a ActiveJob, file: Option<&String>) {
        self.after.push(job, Some(&old.job.spec.depends_on));
        if let Some(file) = file.filter(|file| **file != old.record.file) {
            self.moved.insert(job.clone(), file.clone());
        }
    }

    fn keep_if(&mut self, job: &'a JobId, old: Option<&'a Arc<ActiveJob>>) {
        if let Some(old) = old {
            self.keep(job, old, None);
        }
    }

    fn put(&mut self, job: &'a JobId, version: &'a Arc<Version>) {
        self.after.push(job, Some(&version.job.spec.depends_on));
        self.versions.insert(job.clone(), Arc::clone(version));
    }

    fn lose(&mut self, job: &'a JobId) {
        self.after.push(job, None);
    }

    /// Whether so many jobs of the largest set of the last minute would be gone that somebody should be asked.
    fn loses_many(&self, stated: &Stated<'a>, active: &'a ActiveSet, past: Past<'_>, policy: &Policy) -> bool {
        let desired = stated.desired;
        // A folder of which a part cannot be seen is not known to be empty.
        if desired.allow_empty && desired.files.is_empty() && desired.blind.is_empty() {
            return false;
        }
        let largest = if past.largest.len() > active.len() {
            past.largest
        } else {
            active
        };
        let gone = |after: &Resulting<'_>| largest.keys().filter(|job| !after.contains(job)).count();
        // A job that went lately and would come back stays away if something that it waits for does.
        let returns = |job: &JobId| largest.contains_key(job) && !active.contains_key(job);
        let gone = if self.versions.keys().any(returns) {
            let mut outcome = self.clone();
            outcome.block(stated, active);
            gone(&outcome.after)
        } else {
            gone(&self.after)
        };
        gone >= GUARDED_FROM && gone * 100 > usize::from(policy.prune_guard) * largest.len()
    }

    fn remove_or_hold(
        &mut self,
        vanishing: &[(&'a JobId, &'a Arc<ActiveJob>)],
        guarded: bool,
        policy: &Policy,
        (held_before, approved): (&BTreeSet<&JobId>, bool),
    ) {
        for &(job, old) in vanishing {
            let reason = match policy.prune {
                Prune::Never => Some(HoldReason::Never),
                Prune::Auto | Prune::Hold if approved => None,
                Prune::Hold => Some(HoldReason::Hold),
                Prune::Auto => (guarded || held_before.contains(job)).then_some(HoldReason::Guard),
            };
            match reason {
                Some(reason) => {
                    self.after.set(job, Some(&old.job.spec.depends_on));
                    self.hold(job, old, reason);
                }
                None => self.removed.push(Action::Remove {
                    job: job.clone(),
                    file: old.record.file.clone(),
                }),
            }
        }
    }

    fn hold(&mut self, job: &JobId, old: &ActiveJob, reason: HoldReason) {
        self.refused.push(Action::Hold {
            job: job.clone(),
            file: old.record.file.clone(),
            reason,
        });
    }

    /// Takes back versions whose references lead nowhere, until all references of what is left hold. A job that was
    /// active stays at its active version; one that was not does not become active.
    fn block(&mut self, stated: &Stated<'a>, active: &'a ActiveSet) {
        loop {
            let mut blocked: Vec<(JobId, BlockReason)> = Vec::new();
            let knotted = self.after.knotted();
            for (job, version) in &self.versions {
                if let Some(needs) = self.after.missing(&version.job.spec.depends_on) {
                    blocked.push((job.clone(), stated.why_missing(needs)));
                } else if knotted.contains(job)
                    && let Some(path) = self.after.cycle_through(job)
                {
                    blocked.push((job.clone(), BlockReason::Cycle { path }));
                }
            }
            if blocked.is_empty() {
                break;
            }
            for (job, reason) in blocked {
                let old = active.get(&job).map(|old| &old.job.spec.depends_on[..]);
                self.after.set(&job, old);
                if let Some(version) = self.versions.remove(&job) {
                    self.refused.push(Action::Block {
                        job,
                        file: version.file.clone(),
                        reason,
                    });
                }
            }
        }
        let already: BTreeSet<JobId> = self.refused.iter().filter_map(Action::blocked_job).cloned().collect();
        let kept = |job: &JobId| !already.contains(job) && !self.versions.contains_key(job);
        let mut blocked = Vec::new();
        for (job, needs) in self.after.waiting().filter(|(job, _)| kept(job)) {
            if let Some(needs) = self.after.missing(needs)
                && let Some(old) = active.get(job)
            {
                let reason = stated.why_missing(needs);
                let file = self.moved.get(job).unwrap_or(&old.record.file).clone();
                let job = job.clone();
                blocked.push(Action::Block { job, file, reason });
            }
        }
        self.refused.append(&mut blocked);
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
        let before: BTreeSet<&Action> = refused_before.iter().collect();
        let news = self.refused.iter().filter(|action| !before.contains(action)).cloned();
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

impl Action {
    fn blocked_job(&self) -> Option<&JobId> {
        if let Self::Block { job, .. } = self {
            Some(job)
        } else {
            None
        }
    }

    /// The job that the prune guard holds.
    pub(in crate::reconcile) fn guarded_job(&self) -> Option<&JobId> {
        if let Self::Hold {
            job,
            reason: HoldReason::Guard,
            ..
        } = self
        {
            Some(job)
        } else {
            None
        }
    }
}
