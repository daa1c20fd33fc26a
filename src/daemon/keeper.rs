//! Keeps the journal short, and history and logs within what the settings allow, behind everybody's back.
//!
//! The journal is looked at every few minutes if the history has taken something in since, because it is what the scheduler
//! lives with; history and logs a few times a day, in a child process where the catch-up is one too. `petit gc` asks for all
//! of it at once. Nothing depends on it: what it leaves undone the next look finds again. A program that embeds Petit has a
//! keeper as well, of a journal beside which there is no history. What goes, and how, is in [`super::gc`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::gc::{self, GcError, Order, Tidied};
#[cfg(feature = "history")]
use super::projector::Turn;
use crate::{
    config::settings::Retention,
    core::{error_text::chain, keep::Keep},
    scheduler::Clock,
    storage::{Elsewhere, Storage},
    view::Collected,
};

/// The first look at the journal after a start, and how long it is from one to the next.
const FIRST_LOOK: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// The same for history and logs.
const FIRST_TIDY: Duration = Duration::from_secs(10 * 60);
const TIDY_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// What a keeper is given.
pub(super) struct Place {
    /// The folder of journal, history and logs.
    pub state_dir: PathBuf,
    /// The journal.
    pub storage: Arc<dyn Storage>,
    /// How long things are kept.
    pub retention: Retention,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What has the runs that leave the journal.
    pub beside: Beside,
}

/// What there is beside a journal.
pub(super) enum Beside {
    /// A history: whose turn with it it is, and how far it has come.
    #[cfg(feature = "history")]
    History(Turn),
    /// Nothing. What leaves is gone.
    Nothing,
}

/// A running keeper.
pub(super) struct Keeper {
    /// Ends it when it is dropped.
    stop: oneshot::Sender<()>,
    going: JoinHandle<()>,
    handle: Handle,
}

/// Asks a keeper.
#[derive(Clone)]
pub(super) struct Handle(mpsc::Sender<Ask>);

struct Ask {
    dry_run: bool,
    answer: oneshot::Sender<Result<Collected, GcError>>,
}

impl Handle {
    /// Collects everything now; `None` if the daemon is stopping.
    pub async fn collect(&self, dry_run: bool) -> Option<Result<Collected, GcError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask { dry_run, answer }).await.ok()?;
        answered.await.ok()
    }
}

impl Keeper {
    pub fn start(place: Place) -> Self {
        let (stop, stopped) = oneshot::channel();
        // Whoever asks waits until the one before has its answer.
        let (asks, asked) = mpsc::channel(1);
        Self {
            stop,
            going: tokio::spawn(async move {
                tokio::select! {
                    () = keep(place, asked) => {}
                    // Each step is whole, so that it can end behind any of them.
                    _ = stopped => {}
                }
            }),
            handle: Handle(asks),
        }
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends behind the step that it is at.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(panic) = self.going.await {
            tracing::error!("keeping the journal short had panicked: {panic}");
        }
    }
}

async fn keep(place: Place, mut asked: mpsc::Receiver<Ask>) {
    let mut look = Instant::now() + FIRST_LOOK;
    let mut tidy = Instant::now() + FIRST_TIDY;
    let mut looked_with = None;
    loop {
        tokio::select! {
            () = sleep_until(tidy) => {
                tell(place.collect(false).await.map(|collected| {
                    tracing::debug!(?collected, "history and logs are tidied");
                    collected.notes
                }));
                tidy = Instant::now() + TIDY_EVERY;
            }
            () = sleep_until(look) => {
                let elsewhere = place.elsewhere(None);
                // A daemon at rest is left at rest: what has only become older since is found with the next that is new.
                if looked_with != Some(elsewhere) || elsewhere == Elsewhere::Nowhere {
                    tell(place.prune(elsewhere).await.map(|()| Vec::new()));
                    looked_with = Some(elsewhere);
                }
                look = Instant::now() + LOOK_EVERY;
            }
            Some(Ask { dry_run, answer }) = asked.recv() => {
                // Who asked may have left meanwhile.
                let _ = answer.send(place.collect(dry_run).await);
            }
        }
    }
}

fn tell(ended: Result<Vec<String>, GcError>) {
    match ended {
        Ok(notes) => notes.iter().for_each(|note| tracing::info!("{note}")),
        Err(error) => tracing::warn!("could not let go of what is old: {}", chain(&error)),
    }
}

impl Place {
    /// Whether anything ever becomes too old.
    pub fn lets_go(&self) -> bool {
        self.retention.runs != Keep::FOR_EVER || self.retention.logs != Keep::FOR_EVER
    }

    fn order(&self, dry_run: bool) -> Order {
        Order {
            state_dir: self.state_dir.clone(),
            retention: self.retention.clone(),
            dry_run,
            now: self.clock.now(),
        }
    }

    /// The journal alone, as far as the history is known to have come.
    async fn prune(&self, elsewhere: Elsewhere) -> Result<(), GcError> {
        let gone = gc::prune(&self.storage, &self.order(false), elsewhere).await?;
        tracing::debug!(?gone, "the journal is short");
        Ok(())
    }

    async fn collect(&self, dry_run: bool) -> Result<Collected, GcError> {
        let order = self.order(dry_run);
        let before = gc::whole(&self.storage.size()?);
        let tidied = self.tidy(order.clone()).await?;
        let mut journal = gc::prune(&self.storage, &order, self.elsewhere(tidied.cursor)).await?;
        gc::measured(&mut journal, &self.storage.size()?, before);
        Ok(gc::collected(dry_run, journal, tidied))
    }

    fn elsewhere(&self, #[cfg_attr(not(feature = "history"), expect(unused))] cursor: Option<i64>) -> Elsewhere {
        match &self.beside {
            // While nobody could ask it, nothing goes.
            #[cfg(feature = "history")]
            Beside::History(turn) => Elsewhere::History(cursor.max(turn.cursor()).unwrap_or(0)),
            Beside::Nothing => Elsewhere::Nowhere,
        }
    }

    async fn tidy(&self, order: Order) -> Result<Tidied, GcError> {
        let storage = Arc::clone(&self.storage);
        match &self.beside {
            #[cfg(feature = "history")]
            Beside::History(turn) => turn.tidy(storage, order).await,
            Beside::Nothing => {
                let tidied = tokio::task::spawn_blocking(move || gc::tidy_logs(storage.as_ref(), &order));
                tidied.await.map_err(|panic| GcError::Elsewhere(panic.to_string()))?
            }
        }
    }
}
