//! The folder in which a daemon keeps everything, and the lock that makes it the only one there.
//!
//! The lock is the kernel's and goes with the process, however it dies; the file's text only names the holder for the
//! message that a second daemon prints.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::SocketAddr,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::control::socket_path;

const LOCK: &str = "petit.lock";
/// How long a lock that another process holds is tried.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// A state folder that is held.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Closing it gives the folder free.
    lock: File,
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
    /// No socket can be made in it.
    #[error(
        "the state folder {} has too long a path for the socket in it: a socket's path has about 100 characters at most; \
         name a shorter one with `--state-dir`",
        path.display()
    )]
    TooLong {
        /// The folder.
        path: PathBuf,
    },
    /// It is not the folder any more that was held.
    #[error("the state folder {} was removed or replaced while Petit ran, and its journal with it", path.display())]
    Lost {
        /// The folder.
        path: PathBuf,
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
        if SocketAddr::from_pathname(socket_path(path)).is_err() {
            return Err(StateDirError::TooLong { path: path.to_owned() });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make the state folder", path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(failed("protect the state folder", path))?;
        let lock_path = path.join(LOCK);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open the lock", &lock_path))?;
        let give_up_at = Instant::now() + PATIENCE;
        let pause = || {
            thread::sleep(PAUSE);
            Instant::now() < give_up_at
        };
        match lock_while(&lock, pause) {
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
            lock,
        })
    }

    /// Whether the folder's lock is still the one that is held. If the folder was removed, nobody finds this daemon any
    /// more, and a second one could hold the new folder and fire the same jobs.
    pub fn still_held(&self) -> Result<(), StateDirError> {
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        let found = fs::metadata(self.path.join(LOCK)).map(identity);
        match (found, self.lock.metadata().map(identity)) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Err(self.lost()),
            (Ok(found), Ok(held)) if found != held => Err(self.lost()),
            // What cannot be looked at now may be looked at later; it says nothing about the lock.
            (Ok(_), Ok(_)) | (Err(_), _) | (_, Err(_)) => Ok(()),
        }
    }

    fn lost(&self) -> StateDirError {
        StateDirError::Lost {
            path: self.path.clone(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The lock of a Petit that was killed can outlive it for a moment, in a child that has not yet become its program: until
/// then it shares the descriptor. So a start right after the kill does not refuse at once, but tries while `pause` says so.
fn lock_while(lock: &File, mut pause: impl FnMut() -> bool) -> Result<(), TryLockError> {
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if pause() => {}
            locked => return locked,
        }
    }
}

/// Whether a Petit holds a state folder: a daemon, or a run in the foreground, which answers nobody. One that holds it only in
/// order to look can keep nobody from it, since whoever starts tries for longer than a look takes.
pub fn is_held(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join(LOCK)) else {
        return false;
    };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
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
        assert!(is_held(&path));
        drop(held);
        free_again(&path);
        assert!(!is_held(folder.path()), "nobody ever held it");
    }

    /// Holds a folder that was just let go. A child of another test's, which has not yet become its program, may share the
    /// lock for a moment.
    fn free_again(path: &Path) -> StateDir {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            match StateDir::hold(path) {
                Err(StateDirError::Held { .. }) if Instant::now() < deadline => {}
                held => return held.expect("free again"),
            }
        }
    }

    #[test]
    fn a_lock_that_outlives_its_petit_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut held = Some(StateDir::hold(folder.path()).expect("a free folder"));
        let next = File::open(folder.path().join(LOCK)).expect("the lock's file");
        let error = lock_while(&next, || false).expect_err("it is held");
        assert!(matches!(error, TryLockError::WouldBlock), "{error}");
        let deadline = Instant::now() + Duration::from_secs(300);
        lock_while(&next, || held.take().is_some() || Instant::now() < deadline).expect("free after a pause");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_before_anything_is_made() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x".repeat(120));
        let error = StateDir::hold(&path).expect_err("no socket fits");
        assert!(error.to_string().contains("--state-dir"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_was_removed_or_replaced_is_not_held_any_more() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state");
        let held = StateDir::hold(&path).expect("a free folder");
        held.still_held().expect("nothing happened");
        fs::remove_dir_all(&path).expect("removable");
        let error = held.still_held().expect_err("it is gone");
        assert!(matches!(error, StateDirError::Lost { .. }), "{error}");
        let other = StateDir::hold(&path).expect("a new folder is free");
        assert!(held.still_held().is_err(), "it is another's");
        other.still_held().expect("its own");
    }
}
