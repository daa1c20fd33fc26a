//! The daemon: builds every room's loop, connects them, and ends them in order. The only place that sees every room.
//!
//! It decides nothing about jobs. What flows back against the stream of data (orders to the executor, commands from the
//! socket, the active set to the scheduler) is a channel that is laid here. Starting goes from the journal outwards:
//! leftover processes of a crash are ended before anything may run again, and the last good versions of all jobs are
//! active before the files are looked at. Stopping goes the other way, and leaves nothing running.

mod backend;
mod foreground;
#[cfg(feature = "history")]
mod projector;
mod revision;
mod state_dir;
mod supervisor;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use chrono::Utc;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinHandle},
    time::{MissedTickBehavior, interval, timeout},
};

pub use self::foreground::{Ended, Foreground, ForegroundError};
pub use self::state_dir::{StateDir, StateDirError, journal_path};
use self::{backend::Backend, supervisor::Supervisor};
use crate::{
    config::settings::Settings,
    control,
    core::{error_text::chain, job::Job, record::Actor},
    events::Bus,
    execution::{
        self, Clock, Executor, capacity,
        executor::RunStart,
        inputs::{Surroundings, base_environment},
        local::LocalEngine,
        process, recovery,
        secrets::Vault,
    },
    reconcile::{
        self, Reconciler, Trust, load_active,
        status::{Source, SyncStatus},
    },
    scheduler::{self, Order, Parts, Scheduler, SystemClock},
    storage::{RunDetail, Sqlite, Storage, StorageError},
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
    /// Whose job files are followed.
    pub trust: Trust,
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

/// How long processes that outlived a crash may take to end by themselves.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// How long the socket may go on answering while everything else has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long late slots may wait for the first look at the files: several times what ten thousand of them take.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How long a reload may wait for files to settle.
const RELOAD: Duration = Duration::from_secs(10);
/// How often the daemon looks whether its state folder is still its own.
const LOOK_AT_STATE: Duration = Duration::from_secs(5);
/// How many orders may wait: the executor takes them as fast as they are committed.
const ORDERS: usize = 256;

/// Runs until SIGTERM, SIGINT or a message of `asked`, then lets running tasks end for `shutdown_grace`; a second one
/// hurries. Whoever never asks may drop the sender.
pub async fn run(options: Options, asked: mpsc::Receiver<()>) -> Result<(), DaemonError> {
    let mut signals = Signals::new(asked).map_err(failed("listen for signals"))?;
    let grace = options.settings.shutdown_grace;
    let mut daemon = Daemon::start(options).await?;
    Supervisor::ready();
    let ended = daemon.watch(&mut signals).await;
    if let Err(error) = &ended {
        // Said now and not only at the end: running tasks may take their time.
        tracing::error!("{}", chain(error));
    }
    Supervisor::stopping();
    tracing::info!(%grace, "stopping: running tasks may end");
    daemon.stop(grace.to_std(), &mut signals).await;
    tracing::info!("stopped");
    ended
}

/// All loops of a running daemon.
struct Daemon {
    engine: Arc<LocalEngine>,
    executor: execution::Handle,
    executing: JoinHandle<()>,
    reconciler: Reconciler,
    scheduler: scheduler::Handle,
    scheduling: JoinHandle<Result<(), StorageError>>,
    carrying: JoinHandle<()>,
    #[cfg(feature = "history")]
    projector: projector::Projector,
    serving: JoinHandle<io::Result<()>>,
    /// Stops the server when it is dropped.
    stop_serving: oneshot::Sender<()>,
    socket: PathBuf,
    /// Held to the end, so that no other daemon starts before this one has ended all its processes.
    state: StateDir,
}

impl Daemon {
    /// Starts everything, from the journal outwards.
    async fn start(options: Options) -> Result<Self, DaemonError> {
        let Options {
            jobs_dir,
            state_dir,
            settings,
            trust,
            environment,
        } = options;
        let state = StateDir::hold(&state_dir)?;
        let storage: Arc<dyn Storage> = Arc::new(Sqlite::open(&journal_path(state.path()))?);
        process::collect_strangers().map_err(failed("become the parent of orphaned tasks"))?;
        let instance = storage.journal_id()?;
        let recovered = recovery::recover(storage.unfinished()?);
        recovery::end_leftovers(&instance, &recovered.processes, LEFTOVER_GRACE).await;

        let bus = Bus::default();
        let clock: Clock = Arc::new(Utc::now);
        let capacity = capacity::of_machine(&settings);
        let log_size = settings.retention.clone().unwrap_or_default().log_size.as_bytes();
        let vault = Vault::new(environment.iter().cloned());
        let engine = LocalEngine::new(log_size, Arc::clone(&clock))
            .with_vault(vault)
            .with_cgroups(process::Cgroups::claim());
        let engine = Arc::new(engine);
        let surroundings = Surroundings {
            env: base_environment(environment, &settings.pass_env),
            home: jobs_dir.parent().unwrap_or(&jobs_dir).to_owned(),
            state_dir: state_dir.clone(),
            instance,
        };
        let (executor, executing) = Executor {
            surroundings,
            capacity: capacity.clone(),
            clock,
            storage: Arc::clone(&storage),
            engine: engine.clone(),
            bus: bus.clone(),
        }
        .spawn();

        let loaded = load_active(storage.as_ref(), Utc::now())?;
        for lost in &loaded.lost {
            tracing::error!(job = %lost.job, file = lost.file, "cannot restore the last good version: {}", lost.message);
        }
        let (git, revision) = revision::follow(&jobs_dir);
        let follow = reconcile::Options {
            trust,
            revisions: git,
            ..reconcile::Options::from_settings(jobs_dir.clone(), &settings, capacity.clone())
        };
        let reconciler = Reconciler::start(follow, Arc::clone(&storage), bus.clone(), loaded);
        let files = reconciler.handle();

        let (orders, ordered) = mpsc::channel(ORDERS);
        let (scheduler, scheduler_handle) = Scheduler::new(Parts {
            storage: Arc::clone(&storage),
            clock: Arc::new(SystemClock),
            active: files.active(),
            revision: revision.clone(),
            orders,
            bus: bus.clone(),
            random: Box::new(|| ulid::Ulid::generate().random()),
        });
        let files_seen = files.status();
        let info = DaemonInfo {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Utc::now(),
            state_dir: state_dir.display().to_string(),
        };
        let backend = Backend {
            info,
            storage: Arc::clone(&storage),
            files,
            scheduler: scheduler_handle.clone(),
            executor: executor.clone(),
            bus: bus.clone(),
            capacity,
            revision,
        };
        let (stop_serving, stopped) = oneshot::channel();
        let socket = control::socket_path(state.path());
        let serving = control::serve(&socket, Arc::new(backend), async {
            // A sender that was dropped means the same.
            let _: Result<(), _> = stopped.await;
        })
        .map_err(failed("listen on the control socket"))?;
        // From here on processes may exist, and nothing may fail any more: whoever fails to start stops nothing.
        for detail in recovered.going {
            resume(&executor, storage.as_ref(), detail).await;
        }
        let carrying = tokio::spawn(carry_orders(ordered, executor.clone()));
        let scheduling = tokio::spawn({
            async move {
                first_look(files_seen).await;
                scheduler.run().await
            }
        });
        #[cfg(feature = "history")]
        let projector = projector::Projector::start(crate::history::history_path(state.path()), storage, &bus);
        tracing::info!(
            jobs_dir = %jobs_dir.display(), state_dir = %state_dir.display(), pid = std::process::id(),
            "petit {} is up", env!("CARGO_PKG_VERSION")
        );
        Ok(Self {
            engine,
            executor,
            executing,
            reconciler,
            scheduler: scheduler_handle,
            scheduling,
            carrying,
            #[cfg(feature = "history")]
            projector,
            serving: tokio::spawn(serving),
            stop_serving,
            socket,
            state,
        })
    }

    /// Obeys signals until one asks to stop, or until a part fails without which nothing is recorded or run: a daemon that
    /// only looks alive is worse than one that its supervisor starts again.
    async fn watch(&mut self, signals: &mut Signals) -> Result<(), DaemonError> {
        let mut look = interval(LOOK_AT_STATE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut supervisor = Supervisor::of_this_process();
        loop {
            tokio::select! {
                () = signals.stop.recv() => return Ok(()),
                _ = look.tick() => self.state.still_held()?,
                () = supervisor.beat() => {}
                _ = signals.hang_up.recv() => {
                    Supervisor::reloading();
                    tokio::spawn(reload(self.reconciler.handle()));
                }
                ended = &mut self.scheduling => return match ended {
                    Ok(ended) => ended.map_err(DaemonError::from),
                    Err(panic) => Err(failed("keep the scheduler alive")(panic.into())),
                },
                ended = &mut self.executing => return Err(ended_early("keep the executor alive", ended.map(Ok))),
                ended = &mut self.carrying => return Err(ended_early("carry orders to the executor", ended.map(Ok))),
                ended = &mut self.serving => return Err(ended_early("answer on the control socket", ended)),
            }
        }
    }

    /// Stops firing, lets what runs end for `grace`, and then ends everything, from the outside inwards.
    async fn stop(self, grace: Duration, signals: &mut Signals) {
        self.scheduler.stop().await;
        let shutdown = self.executor.shutdown(grace);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                () = signals.stop.recv() => {
                    tracing::info!("stopping at once");
                    let executor = self.executor.clone();
                    tokio::spawn(async move { executor.shutdown(Duration::ZERO).await });
                }
            }
        }
        self.engine.settle().await;
        drop(self.stop_serving);
        let mut serving = self.serving;
        // Clients that wait for a run hold their connection open, and must not hold up the end.
        if !serving.is_finished() && timeout(LAST_ANSWERS, &mut serving).await.is_err() {
            serving.abort();
        }
        self.carrying.abort();
        let reconciler = self.reconciler;
        let stopped = tokio::task::spawn_blocking(move || reconciler.stop()).await;
        // One that failed has been heard of already.
        let executed = match self.executing.is_finished() {
            true => Ok(()),
            false => self.executing.await,
        };
        if let Err(panic) = stopped.and(executed) {
            tracing::error!("a part of the daemon had panicked: {panic}");
        }
        // When every fact is in the journal.
        #[cfg(feature = "history")]
        self.projector.stop().await;
        // Whoever comes next finds no socket, or one that refuses: both say that no daemon runs. In a folder that was
        // replaced it is another daemon's.
        if self.state.still_held().is_ok() {
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

/// Looks at the files, and says so when they are applied or refused; a file that never stands still is not waited for.
async fn reload(files: reconcile::Handle) {
    let ask = reconcile::Ask {
        actor: Actor::Command,
        by: None,
        wait: true,
        files: Vec::new(),
        timeout: Some(RELOAD),
        approve: None,
    };
    // Nobody looks any more only when Petit is stopping, and that is told by itself.
    if files.ask(ask).await.is_ok() {
        Supervisor::ready();
    }
}

/// Waits until the files were looked at, so that what is late is run with the versions that are active now and not with
/// those of before the stop. Files that cannot be seen hold nothing up for long.
async fn first_look(mut status: watch::Receiver<Arc<SyncStatus>>) {
    let seen = status.wait_for(|status| {
        status.looked_at.is_some()
            || match status.source {
                Source::Ok => false,
                Source::Unavailable { .. } => true,
            }
    });
    // Either way the scheduler begins: with the last good versions, if there is nothing newer.
    let _: Result<_, _> = timeout(FIRST_LOOK, seen).await;
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

fn bound_job(storage: &dyn Storage, detail: &RunDetail) -> Result<Arc<Job>, String> {
    let spec = storage.spec(&detail.run.spec_hash).map_err(|error| chain(&error))?;
    let spec = spec.ok_or("its version of the job is not in the journal")?;
    Job::from_canonical(&spec.canonical)
        .map(Arc::new)
        .map_err(|error| chain(&error))
}

/// The signals that a daemon obeys.
struct Signals {
    stop: Stop,
    hang_up: Signal,
}

/// Who asks to stop: two signals, or somebody in this process.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    asked: mpsc::Receiver<()>,
}

impl Signals {
    fn new(asked: mpsc::Receiver<()>) -> io::Result<Self> {
        let stop = Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            asked,
        };
        Ok(Self {
            stop,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Stop {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            Some(()) = self.asked.recv() => {}
        }
    }
}

/// A part ended that was to go on until it is stopped.
fn ended_early(operation: &'static str, ended: Result<io::Result<()>, JoinError>) -> DaemonError {
    let cause = match ended {
        Ok(Ok(())) => io::Error::other("it ended by itself"),
        Ok(Err(error)) => error,
        Err(panic) => panic.into(),
    };
    failed(operation)(cause)
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Start { operation, source }
}
