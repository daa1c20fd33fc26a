//! The clock on the wall, as an argument.
//!
//! The loop of this room asks a [`Clock`] what time it is and sleeps until an instant of it; nothing else in Petit's logic
//! reads time. [`SystemClock`] is the machine's; [`SimulatedClock`] follows Tokio's timer, which a test can pause, so that
//! days pass in milliseconds and every wake-up is at its exact instant.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicI64, Ordering},
};

use chrono::{TimeDelta, Utc};
use tokio::time::{Instant, sleep};

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

/// A clock that follows Tokio's timer from a chosen instant on.
#[derive(Debug)]
pub struct SimulatedClock {
    began_at: Timestamp,
    began: Instant,
    moved_ms: AtomicI64,
}

impl SimulatedClock {
    /// A clock that shows `began_at` now. Must be called inside a Tokio runtime.
    pub fn new(began_at: Timestamp) -> Self {
        Self {
            began_at,
            began: Instant::now(),
            moved_ms: AtomicI64::new(0),
        }
    }

    /// Moves the hands without letting time pass: forwards as after a suspend, or backwards.
    pub fn step(&self, by: TimeDelta) {
        self.moved_ms.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let elapsed = TimeDelta::from_std(self.began.elapsed()).unwrap_or(TimeDelta::MAX);
        self.began_at + elapsed + TimeDelta::milliseconds(self.moved_ms.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep<'_> {
        Box::pin(sleep((at - self.now()).to_std().unwrap_or_default()))
    }
}
