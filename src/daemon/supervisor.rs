//! What the service manager is told: that the daemon is up, reloads, stops, and lives.
//!
//! This is the protocol of systemd's `Type=notify-reload`, and whoever else sets `NOTIFY_SOCKET` gets it too. Without that
//! variable nothing is sent. A message that cannot be sent is logged and changes nothing: the daemon's work does not depend
//! on who watches it. Nor does it wait for who does not listen: what the manager has not received yet fills its socket, and
//! then a beat is left out, and other news is held back for a moment at most. Tasks never see the socket, since their
//! environment is made anew.

use std::{env, io, os::unix::net::UnixDatagram, path::Path, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Speaks to the service manager.
pub(super) struct Supervisor {
    /// When to say the next time that the daemon lives, if anybody wants to hear it.
    beat: Option<Interval>,
}

/// How long news other than a beat waits for a manager whose socket is full.
const PATIENCE: Duration = Duration::from_millis(500);

impl Supervisor {
    /// The manager that this process's environment names, if any. Must be called within a tokio runtime.
    pub(super) fn of_this_process() -> Self {
        let beat = sd_notify::watchdog_enabled().and_then(every).map(|every| {
            let mut beat = interval_at(Instant::now() + every, every);
            // After a stall one message is as good as many.
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        });
        Self { beat }
    }

    /// Everything has started; or has been loaded again.
    pub(super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// Files are looked at on request; [`Self::ready`] follows. The instant tells the manager that this answers its signal
    /// and not an earlier one.
    pub(super) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "could not tell the service manager of a reload: no steady clock"),
        }
    }

    /// Nothing fires any more, and what runs may end.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// Waits until it is time to say again that the daemon lives, and says it. Never resolves where nobody listens. Cancel
    /// safe.
    pub(super) async fn beat(&mut self) {
        match &mut self.beat {
            Some(beat) => {
                beat.tick().await;
                beat_once();
            }
            None => std::future::pending().await,
        }
    }
}

/// How often the daemon says that it lives: twice in the time after which it would be taken for dead.
fn every(patience: Duration) -> Option<Duration> {
    Some(patience / 2).filter(|every| !every.is_zero())
}

fn beat_once() {
    match send(&[NotifyState::Watchdog], None) {
        // A manager that has older beats to receive knows as much from them.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        sent => warn_unless(sent, &[NotifyState::Watchdog]),
    }
}

fn tell(states: &[NotifyState<'_>]) {
    warn_unless(send(states, Some(PATIENCE)), states);
}

fn warn_unless(sent: io::Result<()>, states: &[NotifyState<'_>]) {
    if let Err(error) = sent {
        tracing::warn!(%error, "could not tell the service manager {states:?}");
    }
}

fn send(states: &[NotifyState<'_>], patience: Option<Duration>) -> io::Result<()> {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    send_to(Path::new(&socket), states, patience)
}

/// Sends to a socket that may be full, and waits for room for so long. `sd_notify` would wait for ever.
fn send_to(manager: &Path, states: &[NotifyState<'_>], patience: Option<Duration>) -> io::Result<()> {
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(patience.is_none())?;
    socket.set_write_timeout(patience)?;
    // A datagram is sent whole or not at all.
    socket.send_to(message.as_bytes(), manager).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_that_does_not_listen_holds_nobody_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let beat = || send_to(&path, &[NotifyState::Watchdog], None);
        let mut sent = 0;
        let full = loop {
            match beat() {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{full}");
        let late = send_to(&path, &[NotifyState::Stopping], Some(Duration::from_millis(1)));
        assert_eq!(late.expect_err("it is full").kind(), io::ErrorKind::WouldBlock);
        let mut message = [0; 64];
        let mut heard = || {
            let length = manager.recv(&mut message).expect("a message");
            String::from_utf8_lossy(&message[..length]).into_owned()
        };
        for _ in 0..sent {
            assert_eq!(heard(), "WATCHDOG=1\n");
        }
        send_to(&path, &[NotifyState::Stopping], Some(PATIENCE)).expect("there is room again");
        assert_eq!(heard(), "STOPPING=1\n");
    }

    #[test]
    fn it_beats_twice_in_the_time_that_the_manager_waits() {
        assert_eq!(every(Duration::from_secs(30)), Some(Duration::from_secs(15)));
        assert_eq!(every(Duration::ZERO), None, "no watchdog");
    }
}
