//! Keeps the history up to date behind the daemon's back: a few seconds after something ended, on a thread of its own.
//!
//! Nothing depends on it. What it leaves undone, because the file is held or Petit ends, the next one to open the history
//! makes up for; so it never waits for the file, and nothing waits for it beyond [`LAST_CALL`]. Opening the file costs some
//! tens of milliseconds of processor time whatever is new, which is why events are gathered first.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::Utc;
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    core::error_text::chain,
    events::{Event, EventBus, Listener},
    history::{self, HistoryError},
    storage::Storage,
};

/// How long facts are gathered after the first of them.
const GATHER: Duration = Duration::from_secs(3);
/// How many times as long as a catch-up took nothing is done after it: at most a twentieth of one processor.
const REST: u32 = 20;
/// How long after a failure the next try is.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// How long the last catch-up of a daemon that stops may take.
const LAST_CALL: Duration = Duration::from_secs(2);

/// A running projector.
pub(super) struct Projector {
    /// Ends it when it is dropped.
    stop: oneshot::Sender<()>,
    going: JoinHandle<()>,
}

impl Projector {
    /// Begins with what happened before the start.
    pub fn start(path: PathBuf, journal: Arc<dyn Storage>, bus: &EventBus) -> Self {
        let (stop, stopped) = oneshot::channel();
        let work = Work {
            path,
            journal,
            hurry: Arc::new(AtomicBool::new(false)),
        };
        Self {
            stop,
            going: tokio::spawn(project(work, bus.listen(), stopped)),
        }
    }

    /// Catches up a last time, and ends. Called when no more facts will come.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(panic) = self.going.await {
            tracing::error!("the projection into the history had panicked: {panic}");
        }
    }
}

/// What a catch-up needs.
#[derive(Clone)]
struct Work {
    path: PathBuf,
    journal: Arc<dyn Storage>,
    /// Set when the daemon wants to end: a catch-up then stops behind the batch that it is at.
    hurry: Arc<AtomicBool>,
}

/// What comes after a catch-up.
enum Next {
    /// The next facts are gathered.
    Wait,
    /// The same again, a little later.
    Again,
    /// No other try would end differently.
    GiveUp,
}

async fn project(work: Work, mut events: Listener, mut stopped: oneshot::Receiver<()>) {
    let mut complained = false;
    let mut something = true;
    loop {
        let gathered = async {
            if !something {
                ended(&mut events).await;
            }
            sleep(GATHER).await;
        };
        tokio::select! {
            () = gathered => {}
            // Dropping the sender is the signal.
            _ = &mut stopped => break,
        }
        // What is told from here on may or may not be part of this catch-up, and so calls for another.
        events = events.resubscribe();
        let begun = Instant::now();
        let mut going = tokio::task::spawn_blocking({
            let work = work.clone();
            move || catch_up(&work)
        });
        let caught_up = tokio::select! {
            caught_up = &mut going => caught_up,
            _ = &mut stopped => {
                finish(&work, going).await;
                return;
            }
        };
        let rest = begun.elapsed() * REST;
        let (next, rest) = match caught_up {
            Ok(Ok(())) => {
                complained = false;
                (Next::Wait, rest)
            }
            Ok(Err(error)) => {
                let next = after(&error);
                if !complained {
                    tell(&error);
                    complained = true;
                }
                (next, AFTER_FAILURE)
            }
            Err(panic) => {
                tracing::error!("the projection into the history panicked: {panic}");
                (Next::GiveUp, AFTER_FAILURE)
            }
        };
        something = match next {
            Next::Wait => false,
            Next::Again => true,
            Next::GiveUp => return,
        };
        tokio::select! {
            () = sleep(rest) => {}
            _ = &mut stopped => break,
        }
    }
    let last = work.clone();
    let going = tokio::task::spawn_blocking(move || catch_up(&last));
    finish(&work, going).await;
}

/// Waits for a catch-up of a daemon that stops, for a while; then only for the end of its batch.
async fn finish(work: &Work, mut going: JoinHandle<Result<(), HistoryError>>) {
    if timeout(LAST_CALL, &mut going).await.is_err() {
        work.hurry.store(true, Ordering::Relaxed);
        let _ = timeout(LAST_CALL, going).await;
    }
}

fn catch_up(work: &Work) -> Result<(), HistoryError> {
    let go_on = || !work.hurry.load(Ordering::Relaxed);
    let history = history::up_to_date(
        &work.path,
        Some(work.journal.as_ref()),
        Duration::ZERO,
        Utc::now(),
        go_on,
    )?;
    match history.held_by() {
        Some(holder) if history.is_behind() => Err(HistoryError::Held {
            path: work.path.clone(),
            holder: holder.clone(),
        }),
        Some(_) | None => {
            for note in history.notes() {
                tracing::warn!("{note}");
            }
            Ok(())
        }
    }
}

fn after(error: &HistoryError) -> Next {
    match error {
        HistoryError::Held { .. }
        | HistoryError::Damaged { .. }
        | HistoryError::System { .. }
        | HistoryError::Database { .. }
        | HistoryError::Journal(_) => Next::Again,
        HistoryError::Newer { .. } => Next::GiveUp,
    }
}

fn tell(error: &HistoryError) {
    match error {
        // Whoever reads it has a reason to, and nothing is lost.
        HistoryError::Held { .. } => tracing::info!("{error}; what happens meanwhile is added later"),
        HistoryError::Newer { .. } => tracing::error!("{error}; it is left as it is, and nothing is added to it"),
        HistoryError::Damaged { .. }
        | HistoryError::System { .. }
        | HistoryError::Database { .. }
        | HistoryError::Journal(_) => tracing::warn!("could not bring the history up to date: {}", chain(error)),
    }
}

/// Waits until something ended that is a fact, or until nothing will end any more.
async fn ended(events: &mut Listener) {
    loop {
        match events.recv().await {
            Ok(Event::Run { status, .. }) if status.is_finished() => return,
            Ok(Event::Slot(_) | Event::Reconcile(_)) | Err(RecvError::Lagged(_)) => return,
            Ok(Event::Run { .. } | Event::Task { .. }) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
