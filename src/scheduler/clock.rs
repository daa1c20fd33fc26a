//! The clock on the wall, as an argument.
//!
//! The loop of this room asks a [`Clock`] what time it is and sleeps until an instant of it; nothing else in Petit's logic
//! reads time. [`SystemClock`] is the machine's; that of tests is
//! [`SimulatedClock`](crate::testing::SimulatedClock).

use std::{future::Future, pin::Pin};

use chrono::Utc;
use tokio::time::sleep;

use crate::core::Timestamp;

/// A wait that a [`Clock`] hands out.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Tells the time, and waits for it.
pub trait Clock: Send + Sync {
    /// What time it is.
    fn now(&self) -> Timestamp;

    /// Waits until the clock shows `at`, judged by what it shows now. A clock that is moved meanwhile ends the wait at
    /// another time than `at`: whoever waits must look again, and must not wait long.
    fn sleep_until(&self, at: Timestamp) -> Sleep<'_>;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Utc::now()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep<'_> {
        Box::pin(sleep((at - self.now()).to_std().unwrap_or_default()))
    }
}
