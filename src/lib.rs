//! Petit: a small task orchestrator for one machine.
//!
//! The rooms below stand in the order in which a job passes through them, and each begins with a letter: what it does,
//! what it does not know, what goes in and out. Nothing flows back except as an argument that [`daemon`] supplies.
//!
//! # One file, from `jobs.d` to its rows
//!
//! 1. `petit run` ([`cli::main`]) reads the settings and calls [`daemon::run`], which builds the loops of the rooms and the
//!    channels between them.
//! 2. [`reconcile::Reconciler`] notices the file. [`reconcile::scan::Scanner`] reads it, [`reconcile::settle::Settle`] waits
//!    until it stands still.
//! 3. [`config::check::check_file`] turns its text into a checked [`core::job::Job`], or into diagnostics with their places.
//! 4. [`reconcile::plan::plan`] compares it with what is active, and [`reconcile::apply::apply`] makes of the plan rows and
//!    the next [`core::active::ActiveSet`], which is published once the rows are committed.
//! 5. [`scheduler::Scheduler`] sleeps until a slot of the active set may start. [`scheduler::due::due`] says which slots are
//!    due; [`scheduler::desk::Desk`] decides and returns a [`scheduler::desk::Batch`]: rows that claim the slot and create
//!    its run, and a [`scheduler::Order::Start`] that goes out after their commit.
//! 6. `daemon` carries the order to [`execution::Handle::resume`]. [`execution::machine::RunMachine`] says what the run does
//!    next and [`execution::admission::Admission`] which task may start; [`execution::executor`] has the engine
//!    ([`execution::local::LocalEngine`], or [`execution::rust::RustEngine`] for a task written in Rust) start it.
//! 7. Whatever changes is a [`storage::Change`]. [`storage::Storage::commit`] writes it together with the
//!    [`events::Fact`] for the history; then an [`events::Event`] goes out on the [`events::EventBus`].
//! 8. [`view::Sources`] makes of rows, active set and sync status what people ask for. [`control`] carries it over the
//!    socket, [`cli`] prints it, and `tui` shows it on screens.
//!
//! # In another program
//!
//! [`Petit`] is all of this without files and socket: a program registers tasks of its own ([`Task`]), builds jobs
//! ([`DagBuilder`]), and hears what happens ([`Event`]). Its letter is in [`daemon::embedded`]. The names that such a program
//! needs are at the top of this crate. A graph belongs to its job and bears its name, so a [`DagId`] is a [`JobId`].
//! [`testing`] runs jobs in simulated time.
//!
//! # Who may know whom
//!
//! A room uses [`core`] and what its predecessor hands it; it does not reach over its neighbour. [`storage`] and [`events`]
//! are the exception by nature: several rooms write, but only values of theirs. Only [`daemon`] sees every room, and
//! [`testing`], which stands outside, only what programs see that embed Petit.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the letters speak to readers of the source, for whom these links resolve"
)]
#![warn(
    missing_docs,
    reason = "a public item says what it means, in which unit, and what its errors are"
)]
#![warn(
    clippy::unwrap_used,
    reason = "an invariant deserves `expect` with its reason; tests may unwrap"
)]

pub mod core;

pub mod config;
pub mod reconcile;
pub mod scheduler;

pub mod execution;

pub mod events;
pub mod storage;

#[cfg(feature = "history")]
pub mod history;
pub mod view;

pub mod control;

#[cfg(feature = "tui")]
pub mod tui;

pub mod cli;
pub mod daemon;

pub mod testing;

pub use self::core::{
    capacity::SystemResources,
    ending::Ending,
    id::{JobId, JobId as DagId, RunId, TaskId},
    job::Job,
    schedule::Schedule,
    spec::{Condition, ResourceRequirements, RetryCondition, RetryPolicy},
    state::{RunStatus, TaskState},
    task::{
        CommandTask, ContextReader, ContextWriter, Execution, Task, TaskContext, TaskError, TaskFuture, TaskRegistry,
    },
};
pub use config::build::{DagBuilder, InvalidJob, TaskNode};
pub use daemon::embedded::{Petit, PetitBuilder, PetitError};
pub use events::{Event, EventBus, EventHandler, Milestone};
pub use execution::Executor;
pub use scheduler::Scheduler;
pub use storage::Storage;

/// The README's examples of the library are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
