//! Petit: a small task orchestrator for one machine.
//!
//! The rooms below stand in the order in which a job passes through them. A file in `jobs.d` becomes text in
//! [`config`], an entry of the active set in [`reconcile`], a due slot in [`scheduler`], processes in [`execution`],
//! facts in [`events`], rows in [`storage`] and in `history`, and at last something to read in [`view`]. Nothing flows
//! back except as an argument that [`daemon`] supplies.
//!
//! A room uses [`core`] and what its predecessor hands it; it does not reach over its neighbour. [`storage`] is the one
//! exception by nature: its records are written by several rooms, but only through values that those rooms return.

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

pub mod cli;
pub mod daemon;
