//! The folder in which a daemon keeps everything, and the lock that makes it the only one there.
//!
//! The lock is the kernel's and goes with the process, however it dies; the file's text only names the holder for the
//! message that a second daemon prints.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A state folder that is held.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held, not read: closing it gives the folder free.
    _lock: File,
}

/// Why a state folder cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another daemon has it.
    #[error("another Petit{} already runs on {}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// The other daemon's process, if it has written it down.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("could not {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StateDir {
    /// Makes the folder if it is missing, for its owner alone, and takes its lock.
    pub fn hold(path: &Path) -> Result<Self, StateDirError> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| StateDirError::Io {
                operation,
                path,
                source,
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make the state folder", path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(failed("protect the state folder", path))?;
        let lock_path = path.join("petit.lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open the lock", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(StateDirError::Held {
                    path: path.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed("write the lock", &lock_path))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The journal of a state folder.
pub fn journal_path(state_dir: &Path) -> PathBuf {
    state_dir.join("journal.db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_the_holder_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/state");
        let held = StateDir::hold(&path).expect("a free folder");
        assert_eq!(
            fs::metadata(held.path()).expect("it exists").permissions().mode() & 0o777,
            0o700
        );
        let error = StateDir::hold(&path).expect_err("it is held");
        assert!(
            matches!(&error, StateDirError::Held { pid: Some(pid), .. } if *pid == std::process::id()),
            "{error}"
        );
        drop(held);
        StateDir::hold(&path).expect("free again");
    }
}
