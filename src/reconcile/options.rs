//! What the reconciler works on: the folder, the times, the policy, and who judges a file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    desired::{Check, Verdict},
    plan::{PlanId, Policy},
    revision::{Revisions, Unversioned},
    scan::Trust,
    watch::WatchMode,
};
use crate::{
    config::{
        check::check_file,
        set::{Member, check_capacity, check_uses},
        settings::{Prune, Settings},
    },
    core::{capacity::SystemResources, task::TaskRegistry},
};

/// What the reconciler works on, and how.
#[derive(Clone)]
pub struct Options {
    /// The folder of jobs.
    pub jobs_dir: PathBuf,
    /// How long a file must stay the same for its content to count.
    pub debounce: Duration,
    /// How often to look, whatever the watcher says.
    pub resync: Duration,
    /// What happens to jobs whose file is gone.
    pub prune: Prune,
    /// How many in a hundred of the jobs may vanish unasked.
    pub prune_guard: u8,
    /// How to notice changes.
    pub watch: WatchMode,
    /// Whose files are followed.
    pub trust: Trust,
    /// Judges one file.
    pub check: Arc<Check>,
    /// Tells the revision of the folder.
    pub revisions: Arc<dyn Revisions>,
}

impl Options {
    /// As the settings say, for the folder `jobs_dir` on a machine that has `capacity`, in a program without Rust tasks.
    pub fn from_settings(jobs_dir: PathBuf, settings: &Settings, capacity: SystemResources) -> Self {
        Self::with_tasks(jobs_dir, settings, capacity, Arc::default())
    }

    /// The same in a program whose Rust tasks job files may use.
    pub fn with_tasks(
        jobs_dir: PathBuf,
        settings: &Settings,
        capacity: SystemResources,
        tasks: Arc<TaskRegistry>,
    ) -> Self {
        let reconcile = &settings.reconcile;
        Self {
            jobs_dir,
            debounce: reconcile.debounce.to_std(),
            resync: reconcile.resync.to_std(),
            prune: reconcile.prune,
            prune_guard: reconcile.prune_guard.get(),
            watch: WatchMode::Native,
            trust: Trust::of_this_process(),
            check: check_with(settings.clone(), capacity, tasks),
            revisions: Arc::new(Unversioned),
        }
    }

    pub(super) fn policy(&self, approved: Option<PlanId>) -> Policy {
        Policy {
            prune: self.prune,
            prune_guard: self.prune_guard,
            approved,
        }
    }
}

/// Judges a file as `petit validate` does: by itself, and against what the machine and the program have.
fn check_with(settings: Settings, capacity: SystemResources, tasks: Arc<TaskRegistry>) -> Arc<Check> {
    Arc::new(move |path: &str, bytes: &[u8]| {
        let mut checked = check_file(Path::new(path), bytes, &settings);
        if let Some(job) = &checked.job {
            let yaml = &checked.yaml;
            let member = Member { file: path, job, yaml };
            let mut beyond = check_capacity(&member, &capacity);
            beyond.extend(check_uses(&member, &tasks));
            if !beyond.is_empty() {
                checked.job = None;
                checked.diagnostics.extend(beyond);
            }
        }
        Verdict {
            id: checked.id,
            job: checked.job.map(Arc::new),
            diagnostics: checked.diagnostics,
        }
    })
}
