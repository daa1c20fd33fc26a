//! What the service manager is told: that the daemon is up, reloads, stops, and lives.
//!
//! This is the protocol of systemd's `Type=notify-reload`, and whoever else sets `NOTIFY_SOCKET` gets it too. Without that
//! variable nothing is sent. A message that cannot be sent is logged and changes nothing: the daemon's work does not depend
//! on who watches it. Tasks never see the socket, since their environment is made anew.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Speaks to the service manager.
pub(super) struct Supervisor {
    /// When to say the next time that the daemon lives, if anybody wants to hear it.
    beat: Option<Interval>,
}

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
                tell(&[NotifyState::Watchdog]);
            }
            None => std::future::pending().await,
        }
    }
}

/// How often the daemon says that it lives: twice in the time after which it would be taken for dead.
fn every(patience: Duration) -> Option<Duration> {
    Some(patience / 2).filter(|every| !every.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not tell the service manager {states:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_twice_in_the_time_that_the_manager_waits() {
        assert_eq!(every(Duration::from_secs(30)), Some(Duration::from_secs(15)));
        assert_eq!(every(Duration::ZERO), None, "no watchdog");
    }
}
