//! The vocabulary: what a job, a task, a slot, a run and an attempt are, and which of their combinations can exist.
//!
//! Everything here is a value. No file is opened, no clock is read, no thread is started; time and randomness come in as
//! arguments. Every other room may use this one, and this one uses none.
//!
//! Reading order:
//!
//! - [`id`] and [`units`] name and measure, [`keep`] says how long;
//! - [`spec`] is a job as written; [`dag`] and [`schedule`] are its two hard parts made safe, [`template`] the expressions
//!   in it, [`job`] the checked whole, [`capacity`] what all jobs share, [`active`] the set of those that fire;
//! - [`task`] is what a task written in Rust is and what it gets;
//! - [`ending`], [`state`] and [`record`] say what became of it;
//! - [`pattern`] picks several names at once, [`revision`] several versions;
//! - `suggest`, `harmless` and `error_text` are how every room speaks to people: the name that was meant, text that cannot
//!   act on a terminal, an error with its causes; `beside` is how it names a file that belongs to another.

pub mod active;
pub(crate) mod beside;
pub mod capacity;
pub mod dag;
pub mod ending;
pub(crate) mod error_text;
pub(crate) mod harmless;
pub mod id;
pub mod job;
pub mod keep;
pub mod pattern;
pub mod record;
pub mod revision;
pub mod schedule;
pub mod spec;
pub mod state;
pub(crate) mod suggest;
pub mod task;
pub mod template;
pub mod units;

/// An instant in UTC, the only kind of time that Petit stores.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
