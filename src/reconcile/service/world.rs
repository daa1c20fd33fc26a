//! What the loop touches of the world: the clocks, the folder, its watch, and the journal.
//!
//! Behind a trait, so that the very loop that follows real files can be told of a machine on which everything goes wrong
//! at a chosen moment. Nothing is decided here.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{
    reconcile::{
        scan::{Look, Scanner, SourceUnavailable},
        watch::{Watch, WatchList, Watching},
    },
    storage::{Change, Storage, StorageError},
};

/// The world as the loop knows it.
pub(super) trait World {
    /// The clock that is never moved.
    fn instant(&self) -> Instant;
    /// The clock on the wall.
    fn wall(&self) -> SystemTime;
    /// Looks at the folder; `wall` is the clock's reading.
    fn look(&mut self, wall: SystemTime) -> Result<Look, SourceUnavailable>;
    /// Watches what is on the list, as [`Watch::arm`] does.
    fn arm(&mut self, list: &WatchList, afresh: bool) -> bool;
    /// How changes are noticed now.
    fn watching(&self) -> &Watching;
    /// Commits to the journal and waits for it.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StorageError>;
}

/// This machine.
pub(super) struct Machine {
    pub(super) scanner: Scanner,
    pub(super) watch: Watch,
    pub(super) storage: Arc<dyn Storage>,
}

impl World for Machine {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn look(&mut self, wall: SystemTime) -> Result<Look, SourceUnavailable> {
        if self.watch.only_contents_tell() {
            self.scanner.distrust_stamps();
        }
        self.scanner.look(wall)
    }

    fn arm(&mut self, list: &WatchList, afresh: bool) -> bool {
        self.watch.arm(list, afresh)
    }

    fn watching(&self) -> &Watching {
        self.watch.watching()
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), StorageError> {
        self.storage.commit(changes).wait_blocking()
    }
}
