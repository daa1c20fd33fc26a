//! The attempts that an engine has, each with the end of a channel through which it is told to stop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use super::engine::{AttemptKey, Stop};

type Going = HashMap<AttemptKey, watch::Sender<Option<Stop>>>;

/// Clones are the same attempts.
#[derive(Debug, Clone, Default)]
pub(super) struct Stops {
    going: Arc<Mutex<Going>>,
    /// Notified whenever one of them is gone.
    gone: Arc<Notify>,
}

impl Stops {
    /// An attempt begins; it hears here whether it should stop.
    pub(super) fn begin(&self, key: &AttemptKey) -> watch::Receiver<Option<Stop>> {
        let (sender, stop) = watch::channel(None);
        self.going().insert(key.clone(), sender);
        stop
    }

    /// An attempt is over.
    pub(super) fn ended(&self, key: &AttemptKey) {
        self.going().remove(key);
        self.gone.notify_waiters();
    }

    /// Tells an attempt to stop, if it is going.
    pub(super) fn stop(&self, key: &AttemptKey, why: Stop) {
        if let Some(stop) = self.going().get(key) {
            stop.send_replace(Some(why));
        }
    }

    /// Tells all of them to stop at once, and waits until they are gone.
    pub(super) async fn end_all(&self) {
        loop {
            // Registered before the look, so that an end in between is not missed.
            let gone = self.gone.notified();
            {
                let going = self.going();
                if going.is_empty() {
                    return;
                }
                for stop in going.values() {
                    stop.send_replace(Some(Stop::InterruptedAtOnce));
                }
            }
            gone.await;
        }
    }

    fn going(&self) -> MutexGuard<'_, Going> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
