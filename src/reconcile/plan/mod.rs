//! What has to change for the active set to be what the files ask for.
//!
//! Pure: [`plan`] compares two values and returns a third. It reads no file, commits nothing and knows no clock but the one
//! it is given. Carrying a plan out and planning again gives an empty plan.
//!
//! Each file stands alone. A file that is invalid, unreadable, unsettled or missing for a moment keeps the job that came
//! from it on its last good version; only a file that is certainly gone, or certainly holds another job, takes a job away.
//!
//! Here are the words: what a plan is and how it reads. How it comes about is in [`decide`], which jobs wait for
//! each other in [`knots`], and which fields an update changes in [`fields`].

mod decide;
mod fields;
mod knots;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

pub use decide::plan;
pub use fields::{FieldChange, field_changes};
use serde::{Deserialize, Serialize};

use super::desired::{Desired, Version};
use crate::{
    config::settings::Prune,
    core::{
        Timestamp,
        active::ActiveSet,
        id::{JobId, SpecHash},
    },
};

/// How far back the prune guard looks for the largest active set.
pub const GUARD_MEMORY: Duration = Duration::from_secs(60);

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
    /// The [`set_hash`] of the active set, which is known since it was swapped in.
    pub set_hash: &'a SpecHash,
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

    fn of(desired: &Desired, set_hash: &SpecHash, prune: Prune) -> Self {
        let text = format!("{} {set_hash} {prune:?}", desired.hash());
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
    pub(in crate::reconcile) versions: BTreeMap<JobId, Arc<Version>>,
    /// Jobs that are stated by another file than before and are otherwise the same.
    #[serde(skip)]
    pub(in crate::reconcile) moved: BTreeMap<JobId, String>,
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

/// A hash of the whole active set: the same exactly when the same jobs are active at the same versions.
pub fn set_hash(active: &ActiveSet) -> SpecHash {
    let lines = active
        .iter()
        .flat_map(|(id, active)| [id.as_str(), " ", active.job.hash.as_str(), "\n"]);
    SpecHash::of_parts(lines)
}

impl Action {
    /// Whether it is a removal that somebody may approve.
    pub const fn waits_for_approval(&self) -> bool {
        match self {
            Self::Hold { reason, .. } => match reason {
                HoldReason::Guard | HoldReason::Hold => true,
                HoldReason::Never => false,
            },
            Self::Add { .. }
            | Self::Update { .. }
            | Self::Remove { .. }
            | Self::Invalid { .. }
            | Self::Conflict { .. }
            | Self::Block { .. } => false,
        }
    }
}

impl Plan {
    /// Whether there is nothing to do and nothing new to report.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The plan that stands once this one is carried out and `set_hash` is that of the active set: nothing is left to do,
    /// and the same is refused. Planning anew would say the same, at the price of planning.
    pub fn once_carried_out(self, desired: &Desired, set_hash: &SpecHash, prune: Prune) -> Self {
        Self {
            id: PlanId::of(desired, set_hash, prune),
            actions: Vec::new(),
            versions: BTreeMap::new(),
            moved: BTreeMap::new(),
            ..self
        }
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
        self.refused.iter().any(Action::waits_for_approval)
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
