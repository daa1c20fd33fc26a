//! What every Petit is made of, whoever made it: the executor, the scheduler, and the channel of orders between them.
//!
//! The daemon puts files, a socket and a history around it, a program that embeds Petit its own jobs and tasks; neither
//! lays these channels a second time. Where the active set comes from is not known here.

use std::{future::Future, io, path::PathBuf, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
};

use super::{DaemonError, failed};
use crate::{
    core::{
        active::ActiveSet, capacity::SystemResources, error_text::chain, job::Job, record::PoolsRecord,
        task::TaskRegistry,
    },
    events::EventBus,
    execution::{
        self, Executor,
        engine::Engine,
        engines::Engines,
        executor::RunStart,
        inputs::{Surroundings, secrets_of_job},
        recovery,
        rust::RustEngine,
        secrets::Vault,
    },
    scheduler::{self, Order, Scheduler},
    storage::{Change, RunDetail, Storage, StorageError},
};

/// How long processes that outlived a crash may take to end by themselves.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// How many orders may wait: the executor takes them as fast as they are committed.
const ORDERS: usize = 256;

/// What is put together.
pub(super) struct Parts {
    /// The journal.
    pub storage: Arc<dyn Storage>,
    /// The time, of slots and of attempts.
    pub clock: Arc<dyn scheduler::Clock>,
    /// Randomness for the ids of runs.
    pub random: Box<dyn FnMut() -> u128 + Send>,
    /// What runs commands.
    pub commands: Arc<dyn Engine>,
    /// The Rust tasks.
    pub tasks: Arc<TaskRegistry>,
    /// Where the secrets of both are found.
    pub vault: Vault,
    /// How large the log of one attempt may become, in bytes.
    pub log_size: u64,
    /// What is the same for all tasks.
    pub surroundings: Surroundings,
    /// How much may run at a time.
    pub capacity: SystemResources,
    /// Where what happened is told.
    pub bus: EventBus,
    /// The jobs. Its first value must be the one that the journal holds.
    pub active: watch::Receiver<Arc<ActiveSet>>,
    /// The git commit of the folder of jobs.
    pub revision: watch::Receiver<Option<String>>,
}

/// Put together; runs that are begun here are carried out, but no slot fires yet.
pub(super) struct Assembly {
    pub executor: execution::Handle,
    pub scheduler: scheduler::Handle,
    storage: Arc<dyn Storage>,
    pools: PoolsRecord,
    engines: Engines,
    executing: JoinHandle<()>,
    firing: Scheduler,
    ordered: mpsc::Receiver<Order>,
}

/// All of it, going.
pub(super) struct Going {
    pub executor: execution::Handle,
    pub scheduler: scheduler::Handle,
    engines: Engines,
    executing: JoinHandle<()>,
    scheduling: JoinHandle<Result<(), StorageError>>,
    carrying: JoinHandle<()>,
}

/// Ends the processes that an earlier Petit left behind, and returns the runs that go on. Before anything else is started.
pub(super) async fn recover(storage: &dyn Storage) -> Result<Vec<RunDetail>, StorageError> {
    let instance = storage.journal_id()?;
    let recovered = recovery::recover(storage.unfinished()?);
    recovery::end_leftovers(&instance, &recovered.processes, LEFTOVER_GRACE).await;
    // What was started under a journal that was damaged bears that one's name.
    for (former, _) in storage.continues()?.into_iter().filter(|(id, _)| !id.is_empty()) {
        recovery::end_leftovers(&former, &[], LEFTOVER_GRACE).await;
    }
    Ok(recovered.going)
}

impl Assembly {
    pub(super) fn new(parts: Parts) -> Self {
        let pools = PoolsRecord {
            since: parts.clock.now(),
            sizes: parts.capacity.pools.clone(),
        };
        let clock: execution::Clock = {
            let clock = Arc::clone(&parts.clock);
            Arc::new(move || clock.now())
        };
        let rust = RustEngine::new(
            parts.tasks,
            Arc::clone(&parts.commands),
            parts.log_size,
            Arc::clone(&clock),
        )
        .with_vault(parts.vault.clone());
        let tells_secret = tells_secret(parts.vault, parts.surroundings.home.clone());
        let engines = Engines::new(parts.commands, rust);
        let (executor, executing) = Executor {
            surroundings: parts.surroundings,
            capacity: parts.capacity,
            clock,
            storage: Arc::clone(&parts.storage),
            engine: Arc::new(engines.clone()),
            bus: parts.bus.clone(),
        }
        .spawn();
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (firing, scheduler) = Scheduler::new(scheduler::Parts {
            storage: Arc::clone(&parts.storage),
            clock: parts.clock,
            active: parts.active,
            revision: parts.revision,
            orders,
            bus: parts.bus,
            random: parts.random,
            tells_secret: Box::new(tells_secret),
        });
        Self {
            executor,
            scheduler,
            storage: parts.storage,
            pools,
            engines,
            executing,
            firing,
            ordered,
        }
    }

    /// Takes up the runs that were going, and fires slots once `ready` resolves. From here on processes may exist.
    pub(super) async fn begin(self, going: Vec<RunDetail>, ready: impl Future<Output = ()> + Send + 'static) -> Going {
        if !self.pools.sizes.is_empty() {
            // Only the history wants to know. A journal that takes nothing any more is told of by those who need it.
            drop(self.storage.commit(vec![Change::Pools(self.pools)]));
        }
        for detail in going {
            resume(&self.executor, self.storage.as_ref(), detail).await;
        }
        let carrying = tokio::spawn(carry_orders(self.ordered, self.executor.clone()));
        let firing = self.firing;
        let scheduling = tokio::spawn(async move {
            ready.await;
            firing.run().await
        });
        Going {
            executor: self.executor,
            scheduler: self.scheduler,
            engines: self.engines,
            executing: self.executing,
            scheduling,
            carrying,
        }
    }
}

impl Going {
    /// Resolves when a part ends that was to go on until it is stopped: a Petit that only looks alive is worse than one
    /// that its supervisor starts again. Cancel safe.
    pub(super) async fn ended_early(&mut self) -> Result<(), DaemonError> {
        tokio::select! {
            ended = &mut self.scheduling => match ended {
                Ok(ended) => ended.map_err(DaemonError::from),
                Err(panic) => Err(failed("keep the scheduler alive")(panic.into())),
            },
            ended = &mut self.executing => Err(ended_early("keep the executor alive", ended.map(Ok))),
            ended = &mut self.carrying => Err(ended_early("carry orders to the executor", ended.map(Ok))),
        }
    }

    /// Stops firing, lets what runs end for `grace`, and then ends it.
    pub(super) async fn stop_runs(&self, grace: Duration) {
        self.scheduler.stop().await;
        self.executor.shutdown(grace).await;
        self.engines.settle_rust().await;
    }

    /// Has [`Self::stop_runs`], which is under way, end at once what is left.
    pub(super) fn hurry(&self) {
        tracing::info!("stopping at once");
        let executor = self.executor.clone();
        tokio::spawn(async move { executor.shutdown(Duration::ZERO).await });
    }

    /// Waits for the loops, which have nothing left to do. An error is a panic that was not heard of before.
    pub(super) async fn finish(self) -> Result<(), JoinError> {
        self.carrying.abort();
        match self.executing.is_finished() {
            true => Ok(()),
            false => self.executing.await,
        }
    }
}

/// Says whether a value holds what a source of the job's secrets says now, or has said.
pub(super) fn tells_secret(vault: Vault, home: PathBuf) -> impl Fn(&Job, &Value) -> bool {
    move |job, value| {
        let secrets = secrets_of_job(&home, job);
        vault.look(&secrets);
        vault.mask(&secrets).finds_in(value)
    }
}

/// Carries the scheduler's orders to the executor.
async fn carry_orders(mut orders: mpsc::Receiver<Order>, executor: execution::Handle) {
    while let Some(order) = orders.recv().await {
        // The executor is gone only when Petit is stopping: then every run stops, and a queued one waits for the next start.
        match order {
            Order::Start { run, job, reused } => {
                let start = RunStart {
                    record: *run,
                    job,
                    tasks: reused,
                };
                let _ = executor.start(start).await;
            }
            Order::Cancel { run, reason, unstarted } => {
                let _ = executor.cancel(run, reason, unstarted).await;
            }
        }
    }
}

/// Hands over a run that was going when an earlier Petit ended, bound to the version that it began with.
async fn resume(executor: &execution::Handle, storage: &dyn Storage, detail: RunDetail) {
    let run = detail.run.id;
    match bound_job(storage, &detail) {
        Ok(job) => drop(executor.resume(detail, job).await),
        Err(problem) => tracing::error!(%run, "cannot go on with a run: {problem}"),
    }
}

/// The job of a run, in the version that the run is bound to.
pub(super) fn bound_job(storage: &dyn Storage, detail: &RunDetail) -> Result<Arc<Job>, String> {
    let spec = storage.spec(&detail.run.spec_hash).map_err(|error| chain(&error))?;
    let spec = spec.ok_or("its version of the job is not in the journal")?;
    Job::from_canonical(&spec.canonical)
        .map(Arc::new)
        .map_err(|error| chain(&error))
}

/// A part ended that was to go on until it is stopped.
pub(super) fn ended_early(operation: &'static str, ended: Result<io::Result<()>, JoinError>) -> DaemonError {
    let cause = match ended {
        Ok(Ok(())) => io::Error::other("it ended by itself"),
        Ok(Err(error)) => error,
        Err(panic) => panic.into(),
    };
    failed(operation)(cause)
}
