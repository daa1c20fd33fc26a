//! The daemon: builds every room's loop, connects them, and ends them in order. The only place that sees every room.
//!
//! It decides nothing about jobs. What flows back against the stream of data (orders to the executor, commands from the
//! socket, the active set to the scheduler) is a channel that is laid here, or in `assembly`, which is what the daemon has
//! in common with a program that embeds Petit ([`embedded`]). Starting goes from the journal outwards:
//! leftover processes of a crash are ended before anything may run again, and the last good versions of all jobs are
//! active before the files are looked at. Stopping goes the other way, and leaves nothing running.

mod assembly;
mod backend;
pub mod embedded;
mod foreground;
mod gc;
mod keeper;
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
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

pub use self::foreground::{Ended, Foreground, ForegroundError};
pub use self::gc::{GcError, collect};
#[cfg(feature = "history")]
pub(crate) use self::projector::{catch_up_for_a_daemon, tidy_for_a_daemon};
pub use self::state_dir::{StateDir, StateDirError, is_held, journal_path};
use self::{
    assembly::{Assembly, Going, Parts, ended_early},
    backend::Backend,
    supervisor::Supervisor,
};
use crate::{
    config::settings::Settings,
    control,
    core::{error_text::chain, record::Actor, task::TaskRegistry},
    events::EventBus,
    execution::{
        capacity,
        inputs::{Surroundings, base_environment},
        local::LocalEngine,
        process,
        secrets::Vault,
    },
    reconcile::{
        self, Reconciler, Trust, load_active,
        status::{Source, SyncStatus},
    },
    scheduler::SystemClock,
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
    /// Whose job files are followed.
    pub trust: Trust,
    /// Petit's own environment, of which tasks see a part.
    pub environment: Vec<(String, String)>,
    /// The Rust tasks that job files may use; plain `petit` has none.
    pub tasks: Arc<TaskRegistry>,
    /// Where the history is brought up to date, in a build that has one.
    pub catch_up: CatchUpIn,
    /// What SIGINT means.
    pub interrupt: Interrupt,
}

/// What SIGINT means to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// It asks to stop, as SIGTERM does.
    Stops,
    /// Nothing. Screens in the same process hear it, who alone know whether Ctrl-C was meant for Petit or for a pager that
    /// has the terminal, and they ask by a message.
    LeftToScreens,
}

/// Who brings the history up to date behind a running daemon. DuckDB costs some fifty megabytes that a process which used
/// it does not give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatchUpIn {
    /// A thread of the daemon's own process.
    ThisProcess,
    /// A child that runs this program, which hands its command line to [`cli::main`](crate::cli::main).
    Child(PathBuf),
}

impl CatchUpIn {
    /// A child that runs the program of this process: the one that was started, whatever is in its place by then.
    pub fn child_of_this_program() -> Self {
        let itself = PathBuf::from("/proc/self/exe");
        if itself.exists() {
            return Self::Child(itself);
        }
        std::env::current_exe().map_or(Self::ThisProcess, Self::Child)
    }
}

/// The environment of this process. A variable that is no text cannot be passed on, and is no reason not to start.
pub fn own_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
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

/// How long the socket may go on answering while everything else has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long late slots may wait for the first look at the files: several times what ten thousand of them take.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How long a reload may wait for files to settle.
const RELOAD: Duration = Duration::from_secs(10);
/// How often the daemon looks whether its state folder is still its own.
const LOOK_AT_STATE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM, SIGINT or a message of `asked`, then lets running tasks end for `shutdown_grace`; a second one
/// hurries. Whoever never asks may drop the sender.
pub async fn run(options: Options, asked: mpsc::Receiver<()>) -> Result<(), DaemonError> {
    let mut signals = Signals::new(asked, options.interrupt).map_err(failed("listen for signals"))?;
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
    going: Going,
    reconciler: Reconciler,
    #[cfg(feature = "history")]
    projector: projector::Projector,
    keeper: keeper::Keeper,
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
            tasks,
            #[cfg_attr(
                not(feature = "history"),
                expect(unused_variables, reason = "nothing is brought up to date in this build")
            )]
            catch_up,
            interrupt: _,
        } = options;
        let state = StateDir::hold(&state_dir)?;
        let (storage, salvage) = Sqlite::open_or_salvage(&journal_path(state.path()), Utc::now())?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        if let Some(salvage) = &salvage {
            tracing::error!("{salvage}");
        }
        process::collect_strangers().map_err(failed("become the parent of orphaned tasks"))?;
        let going = assembly::recover(storage.as_ref()).await?;

        let bus = EventBus::default();
        let capacity = capacity::of_machine(&settings);
        let log_size = settings.retention.clone().unwrap_or_default().log_size.as_bytes();
        let vault = Vault::new(environment.iter().cloned());
        let engine = LocalEngine::new(log_size, Arc::new(Utc::now))
            .with_vault(vault.clone())
            .with_cgroups(process::Cgroups::claim());
        let engine = Arc::new(engine);
        #[cfg(feature = "history")]
        let for_projector = projector::Place {
            state_dir: state_dir.clone(),
            journal: Arc::clone(&storage),
            catch_up,
            environment: environment.clone(),
        };
        let surroundings = Surroundings {
            env: base_environment(environment, &settings.pass_env),
            home: jobs_dir.parent().unwrap_or(&jobs_dir).to_owned(),
            state_dir: state_dir.clone(),
            instance: storage.journal_id()?,
        };

        let loaded = load_active(storage.as_ref(), Utc::now())?;
        for lost in &loaded.lost {
            tracing::error!(job = %lost.job, file = lost.file, "cannot restore the last good version: {}", lost.message);
        }
        let (git, revision) = revision::follow(&jobs_dir);
        let follow = reconcile::Options {
            trust,
            revisions: git,
            ..reconcile::Options::with_tasks(jobs_dir.clone(), &settings, capacity.clone(), Arc::clone(&tasks))
        };
        let reconciler = Reconciler::start(follow, Arc::clone(&storage), bus.clone(), loaded);
        let files = reconciler.handle();

        let assembly = Assembly::new(Parts {
            storage: Arc::clone(&storage),
            clock: Arc::new(SystemClock),
            random: Box::new(|| ulid::Ulid::generate().random()),
            commands: Arc::clone(&engine) as _,
            tasks,
            vault,
            log_size,
            surroundings,
            capacity: capacity.clone(),
            bus: bus.clone(),
            active: files.active(),
            revision: revision.clone(),
        });
        #[cfg(feature = "history")]
        let turn = projector::Turn::new(&for_projector);
        let keeper = keeper::Keeper::start(keeper::Place {
            state_dir: state_dir.clone(),
            storage: Arc::clone(&storage),
            retention: settings.retention.clone().unwrap_or_default(),
            clock: Arc::new(SystemClock),
            #[cfg(feature = "history")]
            beside: keeper::Beside::History(turn.clone()),
            #[cfg(not(feature = "history"))]
            beside: keeper::Beside::Nothing,
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
            scheduler: assembly.scheduler.clone(),
            executor: assembly.executor.clone(),
            bus: bus.clone(),
            capacity,
            revision,
            keeper: keeper.handle(),
            salvage,
        };
        let (stop_serving, stopped) = oneshot::channel();
        let socket = control::socket_path(state.path());
        let serving = control::serve(&socket, Arc::new(backend), async {
            // A sender that was dropped means the same.
            let _: Result<(), _> = stopped.await;
        })
        .map_err(failed("listen on the control socket"))?;
        // From here on processes may exist, and nothing may fail any more: whoever fails to start stops nothing.
        let going = assembly.begin(going, first_look(files_seen)).await;
        #[cfg(feature = "history")]
        let projector = projector::Projector::start(for_projector, turn, &bus);
        tracing::info!(
            jobs_dir = %jobs_dir.display(), state_dir = %state_dir.display(), pid = std::process::id(),
            "petit {} is up", env!("CARGO_PKG_VERSION")
        );
        Ok(Self {
            engine,
            going,
            reconciler,
            #[cfg(feature = "history")]
            projector,
            keeper,
            serving: tokio::spawn(serving),
            stop_serving,
            socket,
            state,
        })
    }

    /// Obeys signals until one asks to stop, or until a part fails without which nothing is recorded or run.
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
                ended = self.going.ended_early() => return ended,
                ended = &mut self.serving => return Err(ended_early("answer on the control socket", ended)),
            }
        }
    }

    /// Stops firing, lets what runs end for `grace`, and then ends everything, from the outside inwards.
    async fn stop(self, grace: Duration, signals: &mut Signals) {
        {
            let stopping = self.going.stop_runs(grace);
            tokio::pin!(stopping);
            loop {
                tokio::select! {
                    () = &mut stopping => break,
                    () = signals.stop.recv() => self.going.hurry(),
                }
            }
        }
        self.engine.settle().await;
        self.keeper.stop().await;
        drop(self.stop_serving);
        let mut serving = self.serving;
        // Clients that wait for a run hold their connection open, and must not hold up the end.
        if !serving.is_finished() && timeout(LAST_ANSWERS, &mut serving).await.is_err() {
            serving.abort();
        }
        let reconciler = self.reconciler;
        let stopped = tokio::task::spawn_blocking(move || reconciler.stop()).await;
        if let Err(panic) = stopped.and(self.going.finish().await) {
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

/// The signals that a daemon obeys.
struct Signals {
    stop: Stop,
    hang_up: Signal,
}

/// Who asks to stop: two signals, or somebody in this process.
struct Stop {
    terminate: Signal,
    /// Listened to even if it is passed over, since it would end the process else.
    interrupt: Signal,
    meaning: Interrupt,
    asked: mpsc::Receiver<()>,
}

impl Signals {
    fn new(asked: mpsc::Receiver<()>, meaning: Interrupt) -> io::Result<Self> {
        let stop = Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            meaning,
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
            _ = self.interrupt.recv(), if self.meaning == Interrupt::Stops => {}
            Some(()) = self.asked.recv() => {}
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Start { operation, source }
}
