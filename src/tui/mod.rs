//! The terminal's screens: what is live, every job, one run with its log, the files against the active jobs, the past.
//!
//! A key becomes a [`command`], a [`message`] changes the [`state`] in [`mod@update`] and nowhere else, a [`screen`] makes rows of the
//! state, and [`mod@draw`] paints them. All of this is plain values with the time as an argument. What is left has to do with
//! the world: [`terminal`] is set up and given back, [`feed`] asks the daemon or the stores, [`log_feed`] reads logs, [`lend`]
//! lets an editor or a pager have the terminal, and [`mod@run`] is the loop between them.
//!
//! The room is a client: it commands a daemon through `control` only, reads through `view`, and is handed whatever else it
//! needs, so that it knows neither the command line nor DuckDB. The only files it opens are those that a person could read
//! beside it: an attempt's log and a job's text.

pub mod command;
pub mod draw;
pub mod feed;
pub mod lend;
pub mod log;
pub mod log_feed;
pub mod look;
pub mod message;
pub mod past;
pub mod refusal;
pub mod run;
pub mod screen;
pub mod state;
pub mod terminal;
pub mod text;
pub mod update;
pub mod views;

#[cfg(test)]
mod tests;

pub use feed::{Feed, History, Stores};
pub use look::Look;
pub use run::{Leaving, TuiError, run};
