//! Following the files: starts the loop, and asks it.
//!
//! The loop itself is in [`worker`]: one thread that does one step after another, so that there is one writer of the
//! active set and no step sees half of another. It has three helpers: [`writer`] carries plans out, [`publisher`] says how
//! the files stand, and [`waiting`] knows who wants an answer. What all of them touch of the machine is in [`world`].
//!
//! Goes in: [`Options`], the journal, and messages (a file changed, somebody asks). Comes out, on two `watch` channels: the
//! active set, swapped whole after its commit, and the [`SyncStatus`].

mod publisher;
#[cfg(test)]
mod simulation;
mod waiting;
mod worker;
mod world;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use chrono::Utc;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use self::{
    waiting::Waiter,
    worker::{Message, Worker},
    world::Machine,
};
use super::{
    awaited::AwaitedFile,
    journal::Loaded,
    options::Options,
    plan::{Action, Plan, PlanId},
    proposal::Proposal,
    scan::{Scanner, SourceUnavailable},
    status::SyncStatus,
    watch::Watch,
};
use crate::{
    core::{active::ActiveSet, record::Actor},
    events::EventBus,
    storage::Storage,
};

/// What came of a sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncOutcome {
    /// Whether every file is followed and nothing is on its way. Of a sync that waited: whether all that was in the folder
    /// when it was asked for has been applied.
    pub synced: bool,
    /// Whether the wait ended before everything was decided.
    #[serde(default)]
    pub timed_out: bool,
    /// Of a sync that waited: what was in the folder when it was asked for, and what became of it.
    #[serde(default)]
    pub files: Vec<AwaitedFile>,
    /// What became of the approval, if one was given.
    pub approval: Option<Approval>,
    /// What was done and reported since the sync was asked for.
    pub actions: Vec<Action>,
    /// How the files stand now.
    pub status: SyncStatus,
}

/// What became of an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Approval {
    /// The held removals took place.
    Carried,
    /// The plan is not the one that waits: files or jobs have changed since, or nothing waits.
    Stale {
        /// The plan that waits, if one does.
        current: Option<PlanId>,
        /// What has changed since the plan that was approved, in sentences, as far as that plan is remembered.
        #[serde(default)]
        changed: Vec<String>,
    },
}

/// What is asked of a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub actor: Actor,
    /// The user who asks, if one does.
    pub by: Option<String>,
    /// Whether to wait until what is there now has been applied or refused. Files that come or change later are not
    /// waited for.
    pub wait: bool,
    /// Which files to wait for, by their paths below the folder of jobs; all of them if none is named.
    pub files: Vec<String>,
    /// How long to wait at most.
    pub timeout: Option<Duration>,
    /// The plan whose held removals may happen, if it is still the one that waits.
    pub approve: Option<PlanId>,
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The folder cannot be listed.
    #[error(transparent)]
    Source(#[from] SourceUnavailable),
    /// The reconciler has stopped.
    #[error("the reconciler has stopped")]
    Stopped,
}

/// The reconciler has stopped, so that nobody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reconciler has stopped")]
pub struct Stopped;

/// The running reconciler. Dropping it stops it.
#[derive(Debug)]
pub struct Reconciler {
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

/// Asks a running reconciler.
#[derive(Debug, Clone)]
pub struct Handle {
    sender: mpsc::Sender<Message>,
    active: watch::Receiver<Arc<ActiveSet>>,
    status: watch::Receiver<Arc<SyncStatus>>,
}

impl Reconciler {
    /// Starts to follow the files, from the active set that [`load_active`](super::load_active) gave. The first look begins at once.
    pub fn start(options: Options, storage: Arc<dyn Storage>, bus: EventBus, mut loaded: Loaded) -> Self {
        let (sender, receiver) = mpsc::channel();
        let queued = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(options.watch, {
            let (sender, queued) = (sender.clone(), Arc::clone(&queued));
            move || {
                if !queued.swap(true, Ordering::AcqRel) {
                    // Nobody to tell means that the reconciler has stopped, and the watch will with it.
                    let _ = sender.send(Message::Dirty);
                }
            }
        });
        let active = Arc::new(std::mem::take(&mut loaded.active));
        let jobs_dir = options.jobs_dir.display().to_string();
        let status = SyncStatus::unknown(jobs_dir, watch.watching().clone(), &active, Utc::now());
        let (active_sender, active_receiver) = watch::channel(Arc::clone(&active));
        let (status_sender, status_receiver) = watch::channel(Arc::new(status));
        let world = Machine {
            scanner: Scanner::new(&options.jobs_dir).trusting(options.trust),
            watch,
            storage,
        };
        let worker = Worker::new(options, world, bus, loaded, queued, active_sender, status_sender);
        let thread = thread::Builder::new()
            .name("petit-reconcile".to_owned())
            .spawn(move || worker.run(&receiver))
            .expect("a process that has just started can have one more thread");
        Self {
            handle: Handle {
                sender,
                active: active_receiver,
                status: status_receiver,
            },
            thread: Some(thread),
        }
    }

    /// For asking, from anywhere.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops after the step that is going, and waits for that. Blocks for as long as the step takes.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let _ = self.handle.sender.send(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reconciler had panicked");
        }
    }
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Handle {
    /// The active set, now and after every change.
    pub fn active(&self) -> watch::Receiver<Arc<ActiveSet>> {
        self.active.clone()
    }

    /// How the files stand, now and after every look that found something else.
    pub fn status(&self) -> watch::Receiver<Arc<SyncStatus>> {
        self.status.clone()
    }

    /// Looks now. With `wait`, the answer comes when what is there now has been applied or refused; without, after one
    /// look, which may find that a file has to settle first. `approve` lets the held removals of that plan happen, if it
    /// is still the one that waits. Dropping the wait does not undo anything.
    pub async fn sync(&self, actor: Actor, wait: bool, approve: Option<PlanId>) -> Result<SyncOutcome, Stopped> {
        let ask = Ask {
            actor,
            by: None,
            wait,
            files: Vec::new(),
            timeout: None,
            approve,
        };
        self.ask(ask).await
    }

    /// The same with a name and a limit.
    pub async fn ask(&self, ask: Ask) -> Result<SyncOutcome, Stopped> {
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter::new(ask, Instant::now(), reply);
        self.sender.send(Message::Sync(Box::new(waiter))).map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// What the files as they stand at this moment would change. Changes nothing.
    pub async fn propose(&self) -> Result<Proposal, PlanError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Message::Plan(reply)).map_err(|_| PlanError::Stopped)?;
        Ok(answer.await.map_err(|_| PlanError::Stopped)??)
    }

    /// The plan of [`Handle::propose`].
    pub async fn plan(&self) -> Result<Plan, PlanError> {
        Ok(self.propose().await?.plan)
    }
}
