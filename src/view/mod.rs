//! Read models: what the command line, the socket and the screens show, in one shape for all of them.
//!
//! A view is made of the journal and the active set by a function here, whether the daemon makes it for its socket or a
//! command makes it from the stores because no daemon runs. Views are plain serde types; their field names are the
//! interface that `--format json` prints, and they only ever gain fields. Nothing here commands anything.

mod job;
mod next;
mod run;
mod status;
mod why;

pub use job::{JobDetail, JobSources, JobView, job, jobs};
pub use next::{NextFire, next_fires};
pub use run::{AttemptView, RunView, TaskView, run, runs};
pub use status::{DaemonInfo, StatusView};
pub use why::{SlotView, Why, why};
