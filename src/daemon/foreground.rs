//! One run without a daemon: in the foreground, with the daemon's engine and the daemon's journal.
//!
//! It holds the state folder as a daemon does, so that the two never run side by side; and it leaves there what a daemon
//! would, so that the run is listed, explained and projected like any other, and a crash half-way is recovered by the next
//! daemon. No schedule fires, no socket is opened, and the active set stays as it is: the version that runs is the one
//! that the files state now, else the last good one. Runs that an earlier daemon left unfinished are left to the next.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use chrono::Utc;
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::broadcast::error::RecvError,
    task::JoinHandle,
    time::timeout,
};

use super::{
    DaemonError, Options,
    assembly::{bound_job, tells_secret},
    failed, journal_path, revision,
    state_dir::StateDir,
};
use crate::{
    control::TriggerRequest,
    core::{
        active::{ActiveJob, ActiveSet},
        id::{JobId, RunId},
        job::Job,
        record::SpecRecord,
        state::SlotReason,
    },
    events::{Event, EventBus, Listener},
    execution::{
        self, Clock, Executor, capacity,
        engines::Engines,
        executor::RunStart,
        inputs::{Surroundings, base_environment},
        local::LocalEngine,
        process,
        rust::RustEngine,
        secrets::Vault,
    },
    reconcile,
    scheduler::{
        CommandError, Order,
        desk::{Around, Desk, Past, TriggerRefusal, Triggered},
        presence::Presence,
    },
    storage::{Change, Sqlite, Storage, StorageError},
};

/// A run that is under way in this process.
pub struct Foreground {
    engine: Arc<LocalEngine>,
    engines: Engines,
    executor: execution::Handle,
    executing: JoinHandle<()>,
    storage: Arc<dyn Storage>,
    listener: Listener,
    signals: Signals,
    run: RunId,
    /// Held until everything has ended.
    _state: StateDir,
}

/// Why a job was not run in the foreground.
#[derive(Debug, thiserror::Error)]
pub enum ForegroundError {
    /// The state folder is held by a daemon, the journal cannot be opened, or the like.
    #[error(transparent)]
    Start(#[from] DaemonError),
    /// What was asked for cannot be done.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// It would have to wait for a run that nobody carries out at the moment.
    #[error(
        "run {run} of job `{job}` was left unfinished by a Petit that has ended, and the job's overlap policy lets no other \
         start now"
    )]
    Unfinished {
        /// The job.
        job: JobId,
        /// The run in the way.
        run: RunId,
    },
}

/// How a run in the foreground came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    ByItself,
    /// A signal had it ended.
    Interrupted,
}

/// How long git may take to say which commit is checked out.
const REVISION: Duration = Duration::from_secs(1);

impl Foreground {
    /// Makes a run of the job and starts it; says also what whoever asked should know.
    pub async fn start(options: Options, request: TriggerRequest) -> Result<(Self, Vec<String>), ForegroundError> {
        let Options {
            jobs_dir,
            state_dir,
            settings,
            trust,
            environment,
            tasks,
            // The next one who asks brings the history up to date.
            catch_up: _,
            // A run in the foreground has its own signals.
            interrupt: _,
        } = options;
        let state = StateDir::hold(&state_dir).map_err(DaemonError::from)?;
        let opened = Sqlite::open_or_salvage(&journal_path(state.path()), Utc::now());
        let (storage, salvage) = opened.map_err(DaemonError::from)?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let said = salvage.map(|salvage| salvage.to_string());
        let signals = Signals::new().map_err(failed("listen for signals"))?;
        process::collect_strangers().map_err(failed("become the parent of orphaned tasks"))?;
        let (_, mut revision) = revision::follow(&jobs_dir);
        let revision = timeout(REVISION, revision.wait_for(Option::is_some)).await;
        let revision = revision.ok().and_then(|found| found.ok()?.clone());
        let capacity = capacity::of_machine(&settings);
        let follow = reconcile::Options {
            trust,
            ..reconcile::Options::with_tasks(jobs_dir.clone(), &settings, capacity.clone(), Arc::clone(&tasks))
        };
        let (job, new_version) = version(storage.as_ref(), &follow, &request.job)?;
        let vault = Vault::new(environment.iter().cloned());
        let home = jobs_dir.parent().unwrap_or(&jobs_dir).to_owned();
        let tells_secret = tells_secret(vault.clone(), home.clone());
        let (mut changes, start, made) = decide(storage.as_ref(), &job, request, revision, &tells_secret)?;
        changes.splice(0..0, new_version.map(Change::PutSpec));
        storage.commit(changes).wait().await.map_err(DaemonError::from)?;

        let bus = EventBus::default();
        let listener = bus.listen();
        let clock: Clock = Arc::new(Utc::now);
        let log_size = settings.retention.clone().unwrap_or_default().log_size.as_bytes();
        let engine = Arc::new(LocalEngine::new(log_size, Arc::clone(&clock)).with_vault(vault.clone()));
        let rust = RustEngine::new(tasks, engine.clone(), log_size, Arc::clone(&clock)).with_vault(vault);
        let engines = Engines::new(engine.clone(), rust);
        let (executor, executing) = Executor {
            surroundings: Surroundings {
                env: base_environment(environment, &settings.pass_env),
                home,
                state_dir,
                instance: storage.journal_id().map_err(DaemonError::from)?,
            },
            capacity,
            clock,
            storage: Arc::clone(&storage),
            engine: Arc::new(engines.clone()),
            bus,
        }
        .spawn();
        // An executor that is gone already is noticed when its end is waited for.
        let _ = executor.start(start).await;
        let this = Self {
            engine,
            engines,
            executor,
            executing,
            storage,
            listener,
            signals,
            run: made.run,
            _state: state,
        };
        Ok((this, said.into_iter().chain(made.note).collect()))
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Waits until the run has ended. A first signal cancels it, a second one does not wait for its grace.
    pub async fn ended(mut self) -> Result<Ended, DaemonError> {
        let mut signals_seen = 0;
        let ended = loop {
            tokio::select! {
                heard = self.listener.recv() => match heard {
                    Ok(Event::Run { run, status, .. }) if run == self.run && status.is_finished() => break Ok(()),
                    Ok(_) => {}
                    // Having missed events, only the journal knows.
                    Err(RecvError::Lagged(_)) => match self.storage.run(self.run) {
                        Ok(Some(detail)) if !detail.run.status.is_finished() => {}
                        Ok(_) => break Ok(()),
                        Err(error) => break Err(error.into()),
                    },
                    Err(RecvError::Closed) => break Ok(()),
                },
                // The run is not ended: its journal is closed, or its loop has panicked.
                gone = &mut self.executing => {
                    let cause = gone.err().map_or_else(|| io::Error::other("it ended by itself"), io::Error::from);
                    break Err(failed("keep the executor alive")(cause));
                }
                () = self.signals.recv() => {
                    signals_seen += 1;
                    if signals_seen == 1 {
                        let _ = self.executor.cancel(self.run, "interrupted by a signal", SlotReason::Cancelled).await;
                    } else {
                        let (engines, engine) = (self.engines.clone(), Arc::clone(&self.engine));
                        tokio::spawn(async move { tokio::join!(engines.settle_rust(), engine.settle()) });
                    }
                }
            }
        };
        if !self.executing.is_finished() {
            self.executor.shutdown(Duration::ZERO).await;
        }
        self.engines.settle_rust().await;
        self.engine.settle().await;
        ended.map(|()| match signals_seen {
            0 => Ended::ByItself,
            _ => Ended::Interrupted,
        })
    }
}

/// The job as its file states it now, with its record for the journal if that may be new; else its last good version.
fn version(
    storage: &dyn Storage,
    follow: &reconcile::Options,
    id: &JobId,
) -> Result<(Arc<ActiveJob>, Option<SpecRecord>), ForegroundError> {
    let offline = reconcile::offline(storage, follow, Utc::now()).map_err(DaemonError::from)?;
    let found = match &offline.plan {
        Ok(proposal) => proposal.resulting_job(id),
        Err(_) => offline.active.get(id).map(|active| (Arc::clone(active), None)),
    };
    found.ok_or_else(|| CommandError::UnknownJob(id.clone()).into())
}

/// Asks a desk that knows this job alone: what a daemon would decide about a run by hand.
fn decide(
    storage: &dyn Storage,
    job: &Arc<ActiveJob>,
    request: TriggerRequest,
    revision: Option<String>,
    tells_secret: &dyn Fn(&Job, &Value) -> bool,
) -> Result<(Vec<Change>, RunStart, Triggered), ForegroundError> {
    let id = request.job;
    let past = past(storage, &id).map_err(DaemonError::from)?;
    let in_the_way = past.unfinished.first().map(|detail| detail.run.id);
    let desk = Desk::new(&ActiveSet::from([(id.clone(), Arc::clone(job))]), past);
    let now = Utc::now();
    let mut around = Around {
        now,
        presence: Presence::since(now),
        random: &mut || ulid::Ulid::generate().random(),
        latest: &|job| storage.latest(job),
        revision,
        tells_secret,
    };
    let decided = desk.trigger(&id, request.params, request.ignore_overlap, &mut around);
    let unfinished = |run| ForegroundError::Unfinished { job: id.clone(), run };
    let (batch, made) = decided.map_err(|refusal| match refusal {
        TriggerRefusal::UnknownJob => CommandError::UnknownJob(id.clone()).into(),
        TriggerRefusal::Params(errors) => CommandError::Params {
            job: id.clone(),
            errors,
        }
        .into(),
        TriggerRefusal::Overlap(run) => unfinished(run),
    })?;
    let start = batch.orders.into_iter().find_map(|order| match order {
        Order::Start { run, job, reused } if run.id == made.run => Some(RunStart {
            record: *run,
            job,
            tasks: reused,
        }),
        Order::Start { .. } | Order::Cancel { .. } => None,
    });
    match start {
        Some(start) => Ok((batch.changes, start, made)),
        // It would wait, and nobody is there who ends what it waits for.
        None => Err(unfinished(in_the_way.unwrap_or(made.run))),
    }
}

/// What the journal says of this job alone.
fn past(storage: &dyn Storage, job: &JobId) -> Result<Past, StorageError> {
    let mut unfinished = storage.unfinished()?;
    unfinished.retain(|detail| detail.run.job == *job);
    let bound = unfinished
        .iter()
        .filter_map(|detail| Some((detail.run.spec_hash.clone(), bound_job(storage, detail).ok()?)));
    let bound: BTreeMap<_, _> = bound.collect();
    // A queued run without its version is in nobody's way: the next daemon gives it up.
    unfinished.retain(|detail| bound.contains_key(&detail.run.spec_hash));
    Ok(Past {
        pauses: storage.pauses()?,
        unfinished,
        bound,
        ..Past::default()
    })
}

/// Whatever asks to end: Ctrl-C, a supervisor, or a terminal that was closed.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hang_up?]))
    }

    async fn recv(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}
