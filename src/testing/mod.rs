//! For the tests of those who use Petit as a library, and for Petit's own.
//!
//! [`MockTaskContext`] tests one Rust task by itself. [`TestHarness`] runs whole jobs with everything that the daemon does,
//! in memory and in simulated time: a night of retries takes milliseconds, and happens alike every time.

mod clock;
mod commands;
mod harness;
mod mock;
#[cfg(test)]
pub(crate) mod story;

pub use clock::SimulatedClock;
pub use commands::FakeCommand;
pub use harness::{HarnessBuilder, Ran, TestHarness};
pub use mock::{CommandAnswer, MockTaskContext};
