//! The bus: whoever commits a change publishes what happened, whoever is interested listens.
//!
//! It knows nothing of who listens. A listener that falls more than [`CAPACITY`] events behind loses the oldest and is
//! told so; it must then look at the journal again.

use tokio::sync::broadcast;

use super::Event;

/// How many events a slow listener may fall behind: a few seconds of the busiest daemon.
const CAPACITY: usize = 4_096;

/// Where events are published.
#[derive(Debug, Clone)]
pub struct EventBus(broadcast::Sender<Event>);

/// The receiving end of a [`EventBus`].
pub type Listener = broadcast::Receiver<Event>;

impl Default for EventBus {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl EventBus {
    /// Tells every listener; nobody listening is fine.
    pub fn publish(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Hears everything that is published from now on.
    pub fn listen(&self) -> Listener {
        self.0.subscribe()
    }
}
