//! Handlers: code that is called for each event.
//!
//! A handler runs in a Tokio task of its own, behind the bus: however long it takes, nothing that Petit does waits for it.
//! The price is the bus's: a handler that falls too far behind misses events, and is told how many.

use tokio::{
    sync::{
        broadcast::error::{RecvError, TryRecvError},
        oneshot,
    },
    task::JoinHandle,
};

use super::{Event, EventBus, Listener};

/// Called for each event, in their order.
///
/// A closure over `&Event` is a handler. A type of its own can also say what to do about events that it missed.
///
/// ```
/// use petit::{Event, EventBus, EventHandler, Milestone};
///
/// struct Failures(std::sync::mpsc::Sender<String>);
///
/// impl EventHandler for Failures {
///     fn handle(&mut self, event: &Event) {
///         if let (Some(Milestone::TaskFailed), Event::Task { job, task, .. }) = (event.milestone(), event) {
///             self.0.send(format!("{job}/{task} failed")).ok();
///         }
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use petit::core::{id::RunId, state::TaskState};
/// let bus = EventBus::default();
/// let (sender, failures) = std::sync::mpsc::channel();
/// let subscription = bus.subscribe(Failures(sender));
/// # let at = "2026-01-01T00:00:00Z".parse().unwrap();
/// bus.publish(Event::Task {
///     at,
///     run: RunId::from_parts(at, 1),
///     job: "etl".parse().unwrap(),
///     task: "load".parse().unwrap(),
///     state: TaskState::Failed,
///     attempts: 1,
/// });
/// // Resolves when everything that was published before has been handled.
/// subscription.end().await;
/// assert_eq!(failures.try_iter().collect::<Vec<_>>(), ["etl/load failed"]);
/// # });
/// ```
pub trait EventHandler: Send + 'static {
    /// Takes an event that has just happened and is already in the journal.
    fn handle(&mut self, event: &Event);

    /// Takes note that so many events were lost because this handler was too slow; what they said is in the journal. By
    /// default a warning in the log.
    fn missed(&mut self, events: u64) {
        tracing::warn!(events, "an event handler was too slow and missed events");
    }
}

impl<F: FnMut(&Event) + Send + 'static> EventHandler for F {
    fn handle(&mut self, event: &Event) {
        self(event);
    }
}

/// A handler that is being called. Dropped, the handler goes on as long as the bus.
#[derive(Debug)]
pub struct Subscription {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl EventBus {
    /// Calls a handler for everything that is published from now on. Must be called inside a Tokio runtime.
    pub fn subscribe(&self, handler: impl EventHandler) -> Subscription {
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(serve(handler, self.listen(), ended));
        Subscription { end, task }
    }
}

impl Subscription {
    /// Ends it; resolves when everything that was published before has been handled.
    pub async fn end(self) {
        // An error means that the bus is gone, and the task with it.
        let _ = self.end.send(());
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            tracing::error!("an event handler panicked: {error}");
        }
    }
}

async fn serve(mut handler: impl EventHandler, mut listener: Listener, mut ended: oneshot::Receiver<()>) {
    let mut open = true;
    loop {
        // Receiving is cancel safe.
        let heard = tokio::select! {
            heard = listener.recv() => heard,
            end = &mut ended, if open => match end {
                Ok(()) => break,
                Err(_) => {
                    open = false;
                    continue;
                }
            },
        };
        match heard {
            Ok(event) => handler.handle(&event),
            Err(RecvError::Lagged(missed)) => handler.missed(missed),
            Err(RecvError::Closed) => return,
        }
    }
    loop {
        match listener.try_recv() {
            Ok(event) => handler.handle(&event),
            Err(TryRecvError::Lagged(missed)) => handler.missed(missed),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}
