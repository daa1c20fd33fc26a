//! The daemon: builds every room's loop, connects them, and ends them in order. The only place that sees every room.
//!
//! It decides nothing about jobs. What flows back against the stream of data (orders to the executor, commands from the
//! socket, the active set to the scheduler) is a channel that is laid here. Starting goes from the journal outwards:
//! leftover processes of a crash are ended before anything may run again, and the last good versions of all jobs are
//! active before the files are looked at. Stopping goes the other way, and leaves nothing running.

mod backend;
mod revision;
mod state_dir;

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::Utc;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use self::backend::Backend;
pub use self::state_dir::{StateDir, StateDirError, journal_path};
use crate::{
    config::settings::Settings,
    control,
    core::record::Actor,
    events::Bus,
    execution::{
        self, Clock, Executor,
        capacity,
        inputs::{Surroundings, base_environment},
        local::LocalEngine,
        process, recovery,
    },
    reconcile::{self, Reconciler, load_active},
    scheduler::{Order, Parts, Scheduler, SystemClock},
    storage::{Sqlite, Storage, StorageError},
    view::DaemonInfo,
};

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of job files, absolute.
    pub jobs_dir: PathBuf,
    /// The folder of the journal, logs and socket, absolute.
    pub state_dir: PathBuf,
    /// The settings.
    pub settings: Settings,
    /// Petit's own environment, of which tasks see a part.
    pub environment: Vec<(String, String)>,
}

/// Why the daemon ended in another way than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state folder cannot be held.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] StorageError),
    /// A part of the daemon could not be started.
    #[error("could not {operation}")]
    Start {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The most that one attempt's log may take, unless the settings say otherwise.
const LOG_SIZE: u64 = 10 << 20;
/// How long processes that outlived a crash may take to end by themselves.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// How many orders may wait: the executor takes them as fast as they are committed.
const ORDERS: usize = 256;

/// Runs until SIGTERM or SIGINT, then lets running tasks end for `shutdown_grace`; a second signal hurries.
pub async fn run(options: Options) -> Result<(), DaemonError> {
    let mut signals = Signals::new().map_err(failed("listen for signals"))?;
    let state = StateDir::hold(&options.state_dir)?;
    let storage: Arc<dyn Storage> = Arc::new(Sqlite::open(&journal_path(state.path()))?);
    process::collect_strangers().map_err(failed("become the parent of orphaned tasks"))?;
    let instance = storage.journal_id()?;

    let recovered = recovery::recover(storage.unfinished()?);
    recovery::end_leftovers(&instance, &recovered.processes, LEFTOVER_GRACE).await;

    let bus = Bus::default();
    let clock: Clock = Arc::new(Utc::now);
    let capacity = capacity::of_machine(&options.settings);
    let engine = Arc::new(LocalEngine::new(LOG_SIZE, Arc::clone(&clock)));
    let home = options.jobs_dir.parent().unwrap_or(&options.jobs_dir).to_owned();
    let (executor, executing) = Executor {
        surroundings: Surroundings {
            env: base_environment(options.environment, &options.settings.pass_env),
            home,
            state_dir: options.state_dir.clone(),
            instance,
        },
        capacity: capacity.clone(),
        clock,
        storage: Arc::clone(&storage),
        engine: engine.clone(),
        bus: bus.clone(),
    }
    .spawn();

    let loaded = load_active(storage.as_ref())?;
    for lost in &loaded.lost {
        tracing::error!(job = %lost.job, file = lost.file, "cannot restore the last good version: {}", lost.message);
    }
    let settings = reconcile::Options::from_settings(&options.settings, &options.jobs_dir, &capacity);
    let reconciler = Reconciler::start(settings, Arc::clone(&storage), bus.clone(), loaded);
    let files = reconciler.handle();

    let (orders, ordered) = mpsc::channel(ORDERS);
    let (scheduler, scheduling) = Scheduler::new(Parts {
        storage: Arc::clone(&storage),
        clock: Arc::new(SystemClock),
        active: files.active(),
        revision: revision::follow(&options.jobs_dir, files.active()),
        orders,
        bus: bus.clone(),
        random: Box::new(|| ulid::Ulid::generate().random()),
    });
    for detail in recovered.going {
        backend::resume(&executor, storage.as_ref(), detail).await;
    }
    let carrier = tokio::spawn(carry_orders(ordered, executor.clone(), Arc::clone(&storage)));
    let mut scheduled = tokio::spawn(scheduler.run());

    let backend = Backend {
        info: DaemonInfo {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Utc::now(),
            state_dir: options.state_dir.display().to_string(),
        },
        storage,
        files: files.clone(),
        scheduler: scheduling.clone(),
        executor: executor.clone(),
        bus,
    };
    let (stop_serving, stopped) = tokio::sync::oneshot::channel::<()>();
    let socket = control::socket_path(state.path());
    let serving = control::serve(&socket, Arc::new(backend), async {
        // A dropped sender stops the server as well.
        let _ = stopped.await;
    });
    let mut serving = tokio::spawn(serving.await.map_err(failed("listen on the control socket"))?);
    tracing::info!(
        jobs_dir = %options.jobs_dir.display(), state_dir = %options.state_dir.display(), pid = std::process::id(),
        "petit {} is up", env!("CARGO_PKG_VERSION")
    );

    let ended = loop {
        tokio::select! {
            () = signals.stop() => break Ok(()),
            _ = signals.hang_up.recv() => {
                let files = files.clone();
                tokio::spawn(async move { files.sync(Actor::Command, false, None).await });
            }
            ended = &mut scheduled => break match ended {
                Ok(ended) => ended.map_err(DaemonError::from),
                Err(panic) => Err(failed("keep the scheduler alive")(panic.into())),
            },
        }
    };

    tracing::info!(grace = %options.settings.shutdown_grace, "stopping: running tasks may end");
    scheduling.stop().await;
    let grace = options.settings.shutdown_grace.to_std();
    let stopping = executor.shutdown(grace);
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => {}
        () = signals.stop() => {
            tracing::info!("stopping at once");
            tokio::join!(executor.shutdown(Duration::ZERO), stopping);
        }
    }
    engine.settle().await;
    let _ = stop_serving.send(());
    // Clients that hold a connection open, as those do that wait for a run, must not hold up the end.
    if tokio::time::timeout(Duration::from_secs(1), &mut serving).await.is_err() {
        serving.abort();
    }
    drop(executor);
    carrier.abort();
    let _ = tokio::task::spawn_blocking(move || reconciler.stop()).await;
    let _ = executing.await;
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped");
    ended
}

/// Carries the scheduler's orders to the executor.
async fn carry_orders(mut orders: mpsc::Receiver<Order>, executor: execution::Handle, storage: Arc<dyn Storage>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Start { run, job } => backend::start(&executor, storage.as_ref(), run.id, job).await,
            Order::Cancel { run, reason, .. } => {
                // The executor is gone only when Petit is stopping, and then every run stops.
                let _ = executor.cancel(run, reason).await;
            }
        }
    }
}

/// The signals that a daemon obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves when Petit is asked to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(std::io::Error) -> DaemonError {
    move |source| DaemonError::Start { operation, source }
}
