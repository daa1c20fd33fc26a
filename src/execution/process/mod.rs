//! How one attempt becomes an operating-system process, and how nothing of it stays behind.
//!
//! In goes an [`AttemptSpec`]: words, an environment, a folder, a timeout. Out come a [`Running`] attempt and, at its
//! end, an [`Ended`] that names the ending and carries the kernel's accounting. This room does not know jobs, runs,
//! retries or the journal; it never decides whether something should run.
//!
//! Five ideas carry it:
//!
//! - **Each child is waited for through its own pidfd** ([`children`]), so nobody waits for "any child" and nobody can
//!   steal an exit: not from `std::process`, not from tokio, not from a host that uses Petit as a library. Orphans that
//!   a subreaper adopts are collected by one place that knows which children are not strangers.
//! - **A leader stays uncollected while its tree is being ended** ([`tree`]), which pins its number, and with it the
//!   numbers of its group and session, against reuse.
//! - **Who shows no sign of anybody is told by exclusion** ([`strays`]), where Petit is the subreaper.
//! - **Whoever prints without end is read at the reader's pace** ([`capture`]), so that its neighbours keep theirs.
//! - **A look at the whole process table is rationed** ([`attempt`]): it costs about as much as starting a process,
//!   so short attempts share one look, shortly after they ended.
//!
//! A limit of memory is the kernel's business where Petit has a part of the cgroup tree ([`cgroup`]), and everywhere the
//! business of [`scales`], which weigh the trees of all running attempts now and then.

mod attempt;
#[cfg(feature = "history")]
mod background;
mod capture;
mod cgroup;
mod children;
mod lookup;
mod memory;
mod procfs;
mod scales;
mod strays;
mod sys;
mod tree;

pub use attempt::{AttemptSpec, Canceller, Ended, Processes, Running, Stop};
#[cfg(feature = "history")]
pub(crate) use background::serve_in_background;
pub use cgroup::Cgroups;
pub use children::{
    Child, Command, Exit, ExitStatus, Lent, Output, SpawnError, Usage, collect_strangers, lend, spawn, spawn_with_input,
};
pub use memory::resident_memory;
pub use procfs::{Mark, ProcessId, StartTime};
pub use tree::end_leftovers;

#[cfg(test)]
mod tests;
