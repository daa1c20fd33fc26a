//! From files to the active set.
//!
//! One look after another at the folder of jobs becomes, step by step, a change of what is active:
//!
//! - [`watch`] says when to look, and nothing else; [`mounts`] where nobody would say it;
//! - [`scan`] looks: which files there are and what stands in them;
//! - [`settle`] lets count what nobody is writing any more;
//! - [`desired`] asks `config` what each content means;
//! - [`plan`] compares that with what is active;
//! - [`proposal`] is a plan that is only looked at;
//! - [`apply`] turns the plan into rows of the journal and the next active set;
//! - [`revision`] is the word for the commit that a change came from;
//! - `awaited` and `stale` say what became of the content that somebody waits for, and why a plan is not the same any more;
//! - [`status`] and [`standing`] say how the files stand;
//! - [`service`] is the loop that carries all of it, the only writer of the active set; [`journal`] is where it begins.
//!
//! Correctness never depends on which events arrived: an event means "look again", and a look that finds nothing new
//! changes nothing. All that decides is pure and takes its time as an argument; `scan`, `watch` and `service` touch the
//! world. The room knows nothing of slots, runs or processes.

pub mod apply;
mod awaited;
pub mod desired;
pub mod journal;
mod mounts;
pub mod options;
pub mod plan;
pub mod proposal;
pub mod revision;
pub mod scan;
pub mod service;
pub mod settle;
mod stale;
pub mod standing;
pub mod status;
pub mod watch;

#[cfg(test)]
mod tests;

pub use awaited::{AwaitedFile, AwaitedOutcome};
pub use journal::{Loaded, LostJob, Offline, load_active, offline};
pub use options::Options;
pub use plan::{Action, Plan, PlanId, Policy};
pub use proposal::Proposal;
pub use revision::{Revisions, Unversioned};
pub use scan::Trust;
pub use service::{Approval, Ask, Handle, PlanError, Reconciler, Stopped, SyncOutcome};
pub use status::{Condition, ConditionCode, FileStatus, Health, JobStatus, Source, Standing, SyncState, SyncStatus};
pub use watch::{WatchMode, Watching};
