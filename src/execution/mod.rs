//! From a run in the journal to its last row: the graph of tasks is walked, attempts are started, watched and ended.
//!
//! Two parts decide and know nothing of threads or files: [`machine`] says what a run does next, [`admission`] who may
//! start. [`inputs`] and [`outputs`] turn expressions into environments and files into values. [`executor`] is the one
//! loop that owns all runs that are going and carries out what the two decided. [`engine`] is what it starts attempts
//! with: [`local`] is the engine of this machine, with [`process`] for its processes, [`output`] for what they print and
//! [`secrets`] for what they must not, [`rust`] that of tasks written in Rust, and [`engines`] hands each attempt to the one
//! that can carry it out. [`recovery`] deals with what a Petit that died left behind, [`folders`] with
//! what all of them leave behind: the logs of runs that are long over.
//!
//! A run is created by whoever decided that it should exist and is handed over here with its job; which slot it belongs
//! to and whether it may overlap another was settled before. What happened leaves as journal changes and events.

use std::sync::Arc;

pub mod admission;
pub mod capacity;
pub mod engine;
pub mod engines;
pub mod executor;
pub mod folders;
pub mod inputs;
pub mod local;
pub mod machine;
pub mod output;
pub mod outputs;
pub mod process;
pub mod recovery;
pub mod rust;
pub mod secrets;
mod stops;

#[cfg(test)]
mod fixtures;

pub use engine::log_path;
pub use executor::{Executor, Handle};

/// Tells the wall time. Passed in, so that tests can say what time it is.
pub type Clock = Arc<dyn Fn() -> crate::core::Timestamp + Send + Sync>;
