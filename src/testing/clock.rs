//! A clock that follows Tokio's timer, which a test can pause: days pass in milliseconds, and every wake-up is at its exact
//! instant.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::TimeDelta;
use tokio::time::{Instant, sleep};

use crate::{
    core::Timestamp,
    scheduler::{Clock, clock::Sleep},
};

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
