//! Which engine carries out which attempt: the one place that knows that there are several.

use std::sync::Arc;

use super::{
    engine::{Attempt, AttemptKey, Engine, Reports, Stop, Work},
    rust::RustEngine,
};

/// The engines of this Petit, as one. Clones are the same engines.
#[derive(Clone)]
pub struct Engines {
    commands: Arc<dyn Engine>,
    rust: RustEngine,
}

impl Engines {
    /// Commands go to the one engine, Rust tasks to the other, which runs its own commands in the first.
    pub fn new(commands: Arc<dyn Engine>, rust: RustEngine) -> Self {
        Self { commands, rust }
    }

    /// Ends at once every Rust task that still runs. Whoever made the engine of commands settles that one afterwards.
    pub async fn settle_rust(&self) {
        self.rust.settle().await;
    }
}

impl Engine for Engines {
    fn start(&self, attempt: Attempt, reports: Reports) {
        match &attempt.work {
            Work::Command(_) => self.commands.start(attempt, reports),
            Work::Rust(_) => self.rust.start(attempt, reports),
        }
    }

    /// Both are told: the one that does not have the attempt takes no harm.
    fn stop(&self, key: &AttemptKey, why: Stop) {
        self.commands.stop(key, why);
        self.rust.stop(key, why);
    }
}
