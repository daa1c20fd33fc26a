//! One opener of a history file at a time within this process.
//!
//! DuckDB keeps other processes out with a lock of the kernel's that belongs to the process: a second opener in the same
//! one would not be refused, both would write, and the first to close would give the lock away. So a claim comes first.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

static CLAIMED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A claim on a path; dropping it gives the path free.
#[derive(Debug)]
pub(super) struct Alone(PathBuf);

impl Alone {
    /// Claims a path, unless it is claimed already.
    pub(super) fn claim(path: &Path) -> Option<Self> {
        // Two spellings of one path would be two claims; callers name the file below an absolute state folder.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let free = claimed().insert(path.clone());
        // Made only when it is free: a claim that is dropped takes the path off the list.
        free.then(|| Self(path))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        claimed().remove(&self.0);
    }
}

fn claimed() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_claimed_once_at_a_time() {
        let path = Path::new("/nowhere/alone.duckdb");
        let first = Alone::claim(path).expect("free");
        assert!(Alone::claim(path).is_none());
        drop(first);
        assert!(Alone::claim(path).is_some());
    }
}
