//! How a plan comes about: which file speaks for which job, what vanishes, what is held and what is blocked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Action, BlockReason, HoldReason, Past, Plan, PlanId, Policy, fields::changed_fields};
use crate::{
    config::settings::Prune,
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::JobId,
        spec::JobDependency,
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
            Claim::None => vanishing.extend(old.map(|_| job)),
        }
    }
    for (file, desired) in &desired.files {
        draft.report_file(file, &desired.state, &on_last_good);
    }
    draft.remove_or_hold(&vanishing, desired, active, past, policy, &id);
    draft.block(desired, active);
    draft.finish(id, active, past.refused, now)
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
struct Draft<'a> {
    /// What every job that will be active waits for.
    after: BTreeMap<&'a JobId, &'a [JobDependency]>,
    versions: BTreeMap<JobId, Arc<Version>>,
    moved: BTreeMap<JobId, String>,
    removed: Vec<Action>,
    refused: Vec<Action>,
}

impl<'a> Draft<'a> {
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

    fn keep(&mut self, job: &'a JobId, old: &'a ActiveJob, file: Option<&String>) {
        self.after.insert(job, &old.job.spec.depends_on);
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
        self.after.insert(job, &version.job.spec.depends_on);
        self.versions.insert(job.clone(), Arc::clone(version));
    }

    fn remove_or_hold(
        &mut self,
        vanishing: &[&'a JobId],
        desired: &Desired,
        active: &'a ActiveSet,
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
        for &job in vanishing {
            let Some(old) = active.get(job) else {
                continue;
            };
            let (name, file) = (job.clone(), old.record.file.clone());
            let held_before = || {
                let guard = Action::Hold {
                    job: name.clone(),
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
                    self.keep(job, old, None);
                    self.refused.push(Action::Hold {
                        job: name,
                        file,
                        reason,
                    });
                }
                None => self.removed.push(Action::Remove { job: name, file }),
            }
        }
    }

    /// Takes back versions whose references lead nowhere, until all references of what is left hold. A job that was
    /// active stays at its active version; one that was not does not become active.
    fn block(&mut self, desired: &Desired, active: &'a ActiveSet) {
        loop {
            let mut blocked: Vec<(JobId, BlockReason)> = Vec::new();
            for job in self.versions.keys() {
                if let Some(needs) = self.missing(self.after[job]) {
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
                match active.get_key_value(&job) {
                    Some((job, old)) => self.after.insert(job, &old.job.spec.depends_on),
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
            if let Some(needs) = self.missing(needs) {
                let reason = missing_reason(needs, desired);
                let (job, file) = (job.clone(), old.record.file.clone());
                self.refused.push(Action::Block { job, file, reason });
            }
        }
    }

    /// The first of the jobs that are waited for which will not be active.
    fn missing(&self, needs: &'a [JobDependency]) -> Option<&'a JobId> {
        let mut needs = needs.iter().map(|needs| &needs.job);
        needs.find(|needs| !self.after.contains_key(*needs))
    }

    /// A way from a job along its dependencies back to itself.
    fn cycle_through(&self, job: &JobId) -> Option<Vec<JobId>> {
        let mut came_from: BTreeMap<&JobId, &JobId> = BTreeMap::new();
        let mut todo = vec![job];
        while let Some(from) = todo.pop() {
            for needs in self.after.get(from).copied().into_iter().flatten() {
                let needs = &needs.job;
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

impl Action {
    fn blocked_job(&self) -> Option<&JobId> {
        if let Self::Block { job, .. } = self {
            Some(job)
        } else {
            None
        }
    }
}
