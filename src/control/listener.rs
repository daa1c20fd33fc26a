//! The socket that stays where clients look for it.
//!
//! Somebody may delete `petit.sock`, or tidy the folder it lies in: the daemon would go on, and nobody could reach it any
//! more. So it is looked at now and then while connections are waited for, and made anew where it is missing. Connections
//! that exist do not depend on the file and go on.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    time::{MissedTickBehavior, interval},
};

/// How often to look whether the socket is still there.
const LOOK: Duration = Duration::from_secs(5);

/// A listener on a socket's path.
pub(super) struct LastingSocket {
    path: PathBuf,
    listener: UnixListener,
    /// The file that the listener made.
    made: Option<(u64, u64)>,
    look: Duration,
}

impl LastingSocket {
    /// Listens at `path`, for its owner only. What is there already is taken for the socket of a daemon that is dead.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            made: identity(path),
            look: LOOK,
        })
    }

    /// Makes the socket anew if nothing is left at its path. What somebody else put there is left alone.
    fn stand_again(&mut self) {
        if self.made.is_some() && identity(&self.path) == self.made {
            return;
        }
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => return,
        }
        match Self::bind(&self.path) {
            Ok(again) => {
                tracing::warn!(path = %self.path.display(), "the control socket had been deleted and was made anew");
                *self = Self {
                    look: self.look,
                    ..again
                };
            }
            // The folder may be gone too, which the daemon notices by itself.
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "could not make the control socket anew"),
        }
    }
}

impl Listener for LastingSocket {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        let mut look = interval(self.look);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Waiting for a connection can be broken off: one that has come is still there for the next wait.
                accepted = Listener::accept(&mut self.listener) => return accepted,
                _ = look.tick() => self.stand_again(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_deleted_socket_comes_back_and_a_strangers_file_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("petit.sock");
        let mut standing = LastingSocket::bind(&path).expect("a socket");
        standing.look = Duration::from_millis(5);
        fs::remove_file(&path).expect("it was there");
        let client = async {
            loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let both = timeout(Duration::from_secs(300), async {
            tokio::join!(standing.accept(), client)
        });
        both.await.expect("a connection");
        assert_eq!(
            fs::metadata(&path).expect("a socket").permissions().mode() & 0o777,
            0o600
        );

        fs::remove_file(&path).expect("it was there");
        fs::write(&path, "mine").expect("a file");
        standing.stand_again();
        assert_eq!(fs::read(&path).expect("a file"), b"mine");
    }
}
