//! When jobs run: which slots are due, what becomes of late ones, and whether a run may start.
//!
//! In come the active set, the time, what the executor says of runs, and commands; out go rows of the ledger, committed
//! before anything starts, and [`Order`]s to the executor. The room does not know how runs are carried out, where the
//! active set comes from, or how rows are stored.
//!
//! Reading order: [`series`] asks a schedule the questions of a ledger; [`due`] says which slots are due, [`backlog`] what
//! becomes of those that are late, and [`presence`] why they are; [`gate`] whether a run may start; [`params`] what its
//! inputs are; [`retry`] what of a run is done again; [`desk`] holds what
//! is known and decides, as a pure function of it; [`clock`] is time as an argument; [`service`] is the loop around all
//! of it, and [`handle`] its other end.

pub mod backlog;
pub mod clock;
pub mod desk;
pub mod due;
pub mod gate;
pub mod handle;
pub mod params;
pub mod presence;
pub mod retry;
pub mod series;
pub mod service;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use backlog::Hold;
pub use clock::{Clock, SystemClock};
pub use desk::{Order, Retried, Triggered};
pub use handle::{CommandError, Handle, Retry};
pub use series::neighbours;
pub use service::{Parts, Scheduler, TellsSecret};
