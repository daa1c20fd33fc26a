//! Petit inside another program: its jobs and tasks are values, and nothing else need exist, neither `jobs.d` nor a socket.
//!
//! It is the daemon's own assembly with another active set. The jobs that are given are planned against those that the
//! journal has as active, as files would be, so that with a journal on disk an edited job is an update and a missing one a
//! removal. A journal in memory begins empty.
//!
//! What the daemon does to its process, this leaves alone: it installs no signal handlers, starts no log, and does not adopt
//! orphans, so that a process which leaves its session, its group and its environment behind is not found again.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::sync::{broadcast::error::RecvError, watch};

use super::{
    assembly::{self, Assembly, Going, Parts},
    keeper::{self, Keeper},
    own_environment,
};
use crate::{
    config::{
        diagnostic::Diagnostic,
        set::{Member, check_capacity, check_uses},
        settings::{Prune, Retention, Settings},
    },
    core::{
        active::ActiveSet,
        capacity::SystemResources,
        id::{InvalidId, JobId, RunId, TaskId},
        job::Job,
        keep::Keep,
        record::Actor,
        task::{RegistryError, Task, TaskRegistry},
        units::HumanDuration,
    },
    events::{Event, EventBus, EventHandler, Listener, Subscription},
    execution::{
        self, capacity,
        engine::{Engine, log_path},
        inputs::{Surroundings, base_environment},
        local::LocalEngine,
        output::LogReader,
        secrets::Vault,
    },
    reconcile::{
        Loaded, Plan, Policy,
        apply::{Before, Occasion, apply},
        desired::{Desired, DesiredFile, FileState, Version},
        load_active,
        plan::{Past, plan, set_hash},
        scan::Blob,
    },
    scheduler::{self, Clock, CommandError, SystemClock},
    storage::{Memory, RunDetail, Storage, StorageError},
};

/// How long runs stay in a journal that ends with the program: whoever wants them for longer gives one, or says so.
const IN_MEMORY: Keep = Keep {
    age: Some(HumanDuration::from_secs(3_600)),
    count: None,
};

/// A Petit inside this program: its schedules fire and its runs go on until [`Self::shutdown`], in the Tokio runtime in
/// which it was started.
///
/// ```
/// use std::time::Duration;
/// use petit::{CommandTask, DagBuilder, Event, Milestone, Petit, TaskContext, TaskError, TaskNode};
///
/// async fn sum(context: TaskContext) -> Result<(), TaskError> {
///     let upto: u64 = context.inputs().config("upto")?;
///     context.log(format!("adding up to {upto}"));
///     context.outputs().set("sum", (1..=upto).sum::<u64>())
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let job = DagBuilder::new("sums")
///         .every(Duration::from_secs(1))
///         .config("upto", 4)
///         .task("add", TaskNode::uses("sum"))
///         .task("say", TaskNode::command(CommandTask::new(["echo", "${{ tasks.add.outputs.sum }}"])).after(["add"]))
///         .build()?;
///     let petit = Petit::builder().task("sum", sum).job(job).start().await?;
///     let mut events = petit.events();
///     let run = loop {
///         let event = events.recv().await?;
///         println!("{:?}: {event:?}", event.milestone());
///         if let (Some(Milestone::JobCompleted), Event::Run { run, .. }) = (event.milestone(), &event) {
///             break *run;
///         }
///     };
///     let detail = petit.wait(run).await?;
///     assert_eq!(detail.tasks[0].outputs["sum"], 10);
///     assert_eq!(petit.log(run, &"say".parse()?, 1)?, ["10"]);
///     petit.shutdown(Duration::from_secs(5)).await;
///     Ok(())
/// }
/// ```
///
/// Dropped without [`Self::shutdown`], it fires no more; what runs goes on to its end, or to that of the runtime, and a
/// temporary folder of logs is removed at once.
pub struct Petit {
    going: Going,
    local: Option<LocalEngine>,
    /// Missing where everything is kept.
    keeper: Option<Keeper>,
    storage: Arc<dyn Storage>,
    bus: EventBus,
    subscriptions: Vec<Subscription>,
    state_dir: PathBuf,
    /// The scheduler ends when nobody could change the set any more.
    _active: watch::Sender<Arc<ActiveSet>>,
    _revision: watch::Sender<Option<String>>,
    /// Removed with everything in it when this is dropped.
    _scratch: Option<Scratch>,
}

/// Why Petit could not be started in this program, or why it does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PetitError {
    /// A task cannot be registered.
    #[error(transparent)]
    Register(#[from] RegistryError),
    /// A job asks for something that this program or this machine does not have.
    #[error("the job `{job}` cannot run here: {}", messages(.diagnostics))]
    Job {
        /// The job.
        job: JobId,
        /// What is wrong; never empty.
        diagnostics: Vec<Diagnostic>,
    },
    /// The jobs do not go together: two have one id, or one depends on another that is not there.
    #[error("the jobs do not go together: {}", .0.join("; "))]
    Jobs(Vec<String>),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] StorageError),
    /// The folder of the attempts' files cannot be made, or a log in it cannot be read.
    #[error("could not {action} {}", path.display())]
    Folder {
        /// What was attempted.
        action: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A name is no id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The scheduler refused.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// There is no such run.
    #[error("there is no run `{0}`")]
    UnknownRun(RunId),
    /// Petit has been stopped.
    #[error("Petit has stopped")]
    Stopped,
}

fn messages(diagnostics: &[Diagnostic]) -> String {
    let messages: Vec<String> = diagnostics
        .iter()
        .map(|it| match &it.hint {
            Some(hint) => format!("{} ({hint})", it.message),
            None => it.message.clone(),
        })
        .collect();
    messages.join("; ")
}

impl Petit {
    /// What a Petit is made of.
    pub fn builder() -> PetitBuilder {
        PetitBuilder {
            jobs: Vec::new(),
            tasks: TaskRegistry::default(),
            refused: None,
            handlers: Vec::new(),
            settings: Settings::default(),
            retention: None,
            home: None,
            state_dir: None,
            storage: None,
            clock: Arc::new(SystemClock),
            random: Box::new(|| ulid::Ulid::generate().random()),
            commands: None,
        }
    }

    /// Starts a run of a job now, whatever its schedule says, and returns once it is in the journal. The job's `overlap`
    /// counts: a run that is going can refuse this one. `params` are checked against the job's.
    pub async fn trigger(&self, job: &str, params: Map<String, Value>) -> Result<RunId, PetitError> {
        let job = JobId::new(job)?;
        let by = "the embedding program".to_owned();
        Ok(self.going.scheduler.trigger(job, params, false, by).await?.run)
    }

    /// [Triggers](Self::trigger) a job without params and [waits](Self::wait) for the run's end. A run that failed is no
    /// error here: its status says so.
    pub async fn run(&self, job: &str) -> Result<RunDetail, PetitError> {
        let run = self.trigger(job, Map::new()).await?;
        self.wait(run).await
    }

    /// Waits until a run has ended, and returns it with its tasks, what they published, and their attempts.
    pub async fn wait(&self, run: RunId) -> Result<RunDetail, PetitError> {
        let mut listener = self.bus.listen();
        loop {
            let detail = self.storage.run(run)?.ok_or(PetitError::UnknownRun(run))?;
            if detail.run.status.is_finished() {
                return Ok(detail);
            }
            loop {
                match listener.recv().await {
                    Ok(Event::Run { run: other, status, .. }) if other == run && status.is_finished() => break,
                    Ok(_) => {}
                    // Having missed events, only the journal knows.
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Err(PetitError::Stopped),
                }
            }
        }
    }

    /// Stops a run: what runs of it is told to stop, and ended after its grace. One that has ended stays as it is.
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<(), PetitError> {
        Ok(self.going.scheduler.cancel(run, reason.to_owned()).await?)
    }

    /// Hears every event from now on. A listener that falls some thousand events behind loses the oldest and is told so.
    pub fn events(&self) -> Listener {
        self.bus.listen()
    }

    /// What an attempt of a task printed, line by line; attempts count from 1.
    pub fn log(&self, run: RunId, task: &TaskId, attempt: u32) -> Result<Vec<String>, PetitError> {
        let path = log_path(&self.state_dir, run, task, attempt);
        let unreadable = |source| PetitError::Folder {
            action: "read",
            path: path.clone(),
            source,
        };
        let entries = LogReader::new(path.clone())
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        let lines = entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.text).into_owned());
        Ok(lines.collect())
    }

    /// The journal: every run, slot and fact.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Where events are published.
    pub fn bus(&self) -> &EventBus {
        &self.bus
    }

    /// The scheduler: pauses, retries, commands with all their options.
    pub fn scheduler(&self) -> &scheduler::Handle {
        &self.going.scheduler
    }

    /// The executor: what runs, and what waits for what.
    pub fn executor(&self) -> &execution::Handle {
        &self.going.executor
    }

    /// Stops firing, lets running tasks end for `grace`, then ends them; resolves when nothing runs any more, all of it is
    /// in the journal, and every handler has been told.
    pub async fn shutdown(self, grace: Duration) {
        self.going.stop_runs(grace).await;
        if let Some(local) = &self.local {
            local.settle().await;
        }
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
        if let Err(panic) = self.going.finish().await {
            tracing::error!("a part of Petit had panicked: {panic}");
        }
        for subscription in self.subscriptions {
            subscription.end().await;
        }
    }
}

/// A handler that waits for the bus it is to hear.
type Subscribe = Box<dyn FnOnce(&EventBus) -> Subscription + Send>;

/// What a [`Petit`] is made of. Everything has a default.
pub struct PetitBuilder {
    jobs: Vec<Job>,
    tasks: TaskRegistry,
    refused: Option<RegistryError>,
    handlers: Vec<Subscribe>,
    settings: Settings,
    /// Counts where the settings say none.
    retention: Option<Retention>,
    home: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    storage: Option<Arc<dyn Storage>>,
    clock: Arc<dyn Clock>,
    random: Box<dyn FnMut() -> u128 + Send>,
    commands: Option<Arc<dyn Engine>>,
}

impl PetitBuilder {
    /// Registers a Rust task, which jobs use by this name. A name that is taken or blank is an error of [`Self::start`].
    #[must_use]
    pub fn task(mut self, name: impl Into<String>, task: impl Task + 'static) -> Self {
        if let Err(error) = self.tasks.register(name, task) {
            self.refused.get_or_insert(error);
        }
        self
    }

    /// Adds a job.
    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    /// Calls a handler for every event, from the first one on.
    #[must_use]
    pub fn on_event(mut self, handler: impl EventHandler) -> Self {
        self.handlers.push(Box::new(|bus| bus.subscribe(handler)));
        self
    }

    /// How much may run at a time, which pools there are, how long runs and logs are kept, how large a log may become, and
    /// what of this program's environment commands see; as in `petit.yaml`. Folders, the socket and how files are followed
    /// mean nothing here.
    ///
    /// Without a word about `retention`, runs leave the journal 90 days after their end, and one that nobody gave and that
    /// is in memory after an hour; logs go after 30 days, and with their runs. Of each job the latest 20 runs, the latest
    /// success and what else dependencies are judged on stay whatever their age.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Keeps everything, unless the settings say otherwise.
    #[must_use]
    pub(crate) fn keeping_everything(self) -> Self {
        let retention = Some(Retention {
            runs: Keep::FOR_EVER,
            logs: Keep::FOR_EVER,
            ..Retention::default()
        });
        Self { retention, ..self }
    }

    /// The folder in which commands run; by default the current one.
    #[must_use]
    pub fn home(self, folder: impl Into<PathBuf>) -> Self {
        let home = Some(folder.into());
        Self { home, ..self }
    }

    /// The folder of logs and of the files through which commands publish; by default a new one among the temporary files
    /// that is removed when Petit is dropped.
    #[must_use]
    pub fn state_dir(self, folder: impl Into<PathBuf>) -> Self {
        let state_dir = Some(folder.into());
        Self { state_dir, ..self }
    }

    /// The journal; by default one in memory. With one on disk ([`Sqlite`](crate::storage::Sqlite)), runs that were going
    /// when the program died go on, late slots are made up for as the jobs say, and no slot fires twice. Nobody else may
    /// use it meanwhile.
    #[must_use]
    pub fn storage(self, storage: Arc<dyn Storage>) -> Self {
        let storage = Some(storage);
        Self { storage, ..self }
    }

    /// Another clock than the machine's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Another source of randomness for the ids of runs.
    #[must_use]
    pub fn random(self, random: impl FnMut() -> u128 + Send + 'static) -> Self {
        let random = Box::new(random);
        Self { random, ..self }
    }

    /// Something else than processes of this machine to run commands.
    #[must_use]
    pub fn commands(self, engine: Arc<dyn Engine>) -> Self {
        let commands = Some(engine);
        Self { commands, ..self }
    }

    /// Checks the jobs, makes them active and starts everything. Must be called inside a Tokio runtime with time and I/O.
    pub async fn start(self) -> Result<Petit, PetitError> {
        if let Some(error) = self.refused {
            return Err(error.into());
        }
        let clock = self.clock;
        let retention = (self.settings.retention.clone())
            .or(self.retention)
            .unwrap_or_else(|| match self.storage {
                Some(_) => Retention::default(),
                None => Retention {
                    runs: IN_MEMORY,
                    ..Retention::default()
                },
            });
        let storage = self.storage.unwrap_or_else(|| {
            let clock = Arc::clone(&clock);
            Arc::new(Memory::with_clock(Box::new(move || clock.now())))
        });
        let capacity = capacity::of_machine(&self.settings);
        check(&self.jobs, &capacity, &self.tasks)?;
        let going = assembly::recover(storage.as_ref()).await?;
        let active = activate(storage.as_ref(), self.jobs, clock.as_ref()).await?;

        let (state_dir, scratch) = match self.state_dir {
            Some(folder) => (absolute(folder)?, None),
            None => {
                let scratch = Scratch::new()?;
                (scratch.0.clone(), Some(scratch))
            }
        };
        let log_size = retention.log_size.as_bytes();
        let environment = own_environment();
        let vault = Vault::new(environment.iter().cloned());
        let (local, commands): (_, Arc<dyn Engine>) = match self.commands {
            Some(commands) => (None, commands),
            None => {
                let clock = Arc::clone(&clock);
                let local = LocalEngine::new(log_size, Arc::new(move || clock.now())).with_vault(vault.clone());
                (Some(local.clone()), Arc::new(local))
            }
        };
        let bus = EventBus::default();
        let subscriptions = self.handlers.into_iter().map(|subscribe| subscribe(&bus)).collect();
        let (active_in, active) = watch::channel(Arc::new(active));
        let (revision_in, revision) = watch::channel(None);
        let keeper = keeper::Place {
            state_dir: state_dir.clone(),
            storage: Arc::clone(&storage),
            retention,
            clock: Arc::clone(&clock),
            beside: keeper::Beside::Nothing,
        };
        let assembly = Assembly::new(Parts {
            clock,
            random: self.random,
            commands,
            tasks: Arc::new(self.tasks),
            vault,
            log_size,
            surroundings: Surroundings {
                env: base_environment(environment, &self.settings.pass_env),
                home: absolute(self.home.unwrap_or_default())?,
                state_dir: state_dir.clone(),
                instance: storage.journal_id()?,
            },
            capacity,
            bus: bus.clone(),
            active,
            revision,
            storage: Arc::clone(&storage),
        });
        Ok(Petit {
            going: assembly.begin(going, std::future::ready(())).await,
            local,
            keeper: keeper.lets_go().then(|| Keeper::start(keeper)),
            storage,
            bus,
            subscriptions,
            state_dir,
            _active: active_in,
            _revision: revision_in,
            _scratch: scratch,
        })
    }
}

/// Whether each job finds here what it asks for.
fn check(jobs: &[Job], capacity: &SystemResources, tasks: &TaskRegistry) -> Result<(), PetitError> {
    for job in jobs {
        let yaml = yaml_of(job);
        let file = file_of(job);
        let member = Member {
            file: &file,
            job,
            yaml: &yaml,
        };
        let mut diagnostics = check_capacity(&member, capacity);
        diagnostics.extend(check_uses(&member, tasks));
        if !diagnostics.is_empty() {
            let job = job.id.clone();
            return Err(PetitError::Job { job, diagnostics });
        }
    }
    Ok(())
}

/// Makes exactly these jobs active, and returns the active set as the journal has it then.
async fn activate(storage: &dyn Storage, jobs: Vec<Job>, clock: &dyn Clock) -> Result<ActiveSet, PetitError> {
    let now = clock.now();
    let Loaded { active, retired, .. } = load_active(storage, now)?;
    let before = set_hash(&active);
    let past = Past {
        refused: &[],
        largest: &active,
        set_hash: &before,
    };
    let policy = Policy {
        prune: Prune::Auto,
        prune_guard: 100,
        approved: None,
    };
    let plan = plan(&desired(jobs), &active, past, &policy, now);
    refuse(&plan)?;
    let before = Before {
        active: &active,
        set_hash: &before,
        retired: &retired,
        refused: &[],
    };
    let occasion = Occasion {
        actor: Actor::Start,
        by: None,
        revision: None,
        now,
        duration_ms: 0,
    };
    let applied = apply(&plan, before, occasion);
    if !applied.changes.is_empty() {
        storage.commit(applied.changes).wait().await?;
    }
    Ok(applied.active)
}

/// The jobs as if each stood in a file of its own.
fn desired(jobs: Vec<Job>) -> Desired {
    let mut files = BTreeMap::new();
    for (number, job) in jobs.into_iter().enumerate() {
        let file = file_of(&job);
        let file = if files.contains_key(file.as_str()) {
            format!("{number}-{file}")
        } else {
            file
        };
        let version = Version {
            file: file.clone(),
            text: Arc::new(Blob::new(yaml_of(&job).into_bytes())),
            job: Arc::new(job),
            diagnostics: Vec::new(),
        };
        let state = FileState::Job(Arc::new(version));
        files.insert(Arc::from(file), DesiredFile { state, missing: false });
    }
    Desired::new(files, BTreeMap::new(), true)
}

fn refuse(plan: &Plan) -> Result<(), PetitError> {
    if plan.refused.is_empty() {
        return Ok(());
    }
    Err(PetitError::Jobs(plan.refused.iter().map(ToString::to_string).collect()))
}

fn file_of(job: &Job) -> String {
    format!("{}.yaml", job.id)
}

fn yaml_of(job: &Job) -> String {
    serde_yaml::to_string(&job.spec).expect("a spec is made of texts, numbers, lists and maps of these")
}

fn absolute(path: PathBuf) -> Result<PathBuf, PetitError> {
    let found = if path.as_os_str().is_empty() {
        std::env::current_dir()
    } else {
        std::path::absolute(&path)
    };
    found.map_err(|source| PetitError::Folder {
        action: "find",
        path,
        source,
    })
}

/// A folder of this Petit alone among the temporary files.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, PetitError> {
        let path = std::env::temp_dir().join(format!("petit-{}", ulid::Ulid::generate()));
        match Self::make(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(PetitError::Folder {
                action: "create",
                path,
                source,
            }),
        }
    }

    fn make(path: &Path) -> io::Result<()> {
        // Not recursive, so that somebody else's folder of this name is an error.
        fs::DirBuilder::new().mode(0o700).create(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays among the temporary files, where somebody clears it away.
        let _ = fs::remove_dir_all(&self.0);
    }
}
