//! The loop: it sleeps until something must be decided, asks the desk, commits the answer, and only then sends orders.
//!
//! All decisions are the [`Desk`]'s; here are the clock, the journal, the channels, and what to do when a commit fails. There
//! is no tick: the loop wakes at the exact instant of the next slot and shortly before it to claim it, when something
//! happens, and else every [`LONGEST_SLEEP`] to see whether the machine's clock was moved.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::TimeDelta;
use serde_json::{Map, Value};
use tokio::{
    sync::{
        broadcast::error::{RecvError, TryRecvError},
        mpsc, watch,
    },
    time::{Instant, sleep_until},
};

use super::{
    clock::Clock,
    desk::{
        Around, Batch, Beyond, Desk, LONGEST_WAIT, Order, Past, Retried, RetryRefusal, TriggerRefusal, Triggered,
        give_up,
    },
    handle::{Command, CommandError, Desked, Handle, Retry},
    presence::{Moved, Vigil},
};
use crate::{
    core::{
        Timestamp,
        active::ActiveSet,
        error_text::chain,
        id::{JobId, SpecHash},
        job::Job,
        record::{PauseRecord, RunRecord},
        state::RunStatus,
    },
    events::{Event, EventBus, Listener},
    storage::{Change, Storage, StorageError},
};

/// A clock that was moved while the loop slept is noticed after this at the latest.
const LONGEST_SLEEP: TimeDelta = TimeDelta::seconds(30);
/// The waits before a commit that failed is tried again: the first, and the longest after doubling.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What the scheduler is connected to.
pub struct Parts {
    /// The journal.
    pub storage: Arc<dyn Storage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The active set. Its first value must be the one that the journal holds: a backlog is judged by the spec of its time.
    pub active: watch::Receiver<Arc<ActiveSet>>,
    /// The git commit of the folder of jobs, as it was last seen.
    pub revision: watch::Receiver<Option<String>>,
    /// Where orders go. Every `Start` is of a run that is queued in the journal; runs that the journal has as running are the
    /// executor's to take up again by itself.
    pub orders: mpsc::Sender<Order>,
    /// Where the executor says that runs started and ended, and where this room says what it recorded.
    pub bus: EventBus,
    /// Randomness for the ids of runs.
    pub random: Box<dyn FnMut() -> u128 + Send>,
    /// Whether a value that somebody gives a run holds a secret of the job; such a run is refused.
    pub tells_secret: Box<TellsSecret>,
}

/// Whether a value holds a secret of a job. It may read files.
pub type TellsSecret = dyn Fn(&Job, &Value) -> bool + Send;

/// The loop that decides which runs start, and when. Its other end is a [`Handle`].
///
/// It can be used by itself: whoever does so carries out its orders, and says on the bus what became of the runs.
///
/// ```
/// use std::{collections::BTreeMap, sync::Arc, time::Duration};
/// use petit::{CommandTask, DagBuilder, EventBus, Scheduler, Storage};
/// use petit::core::{active::ActiveJob, record::SpecRecord};
/// use petit::scheduler::{Clock, Order, Parts};
/// use petit::{storage::{Change, Memory}, testing::SimulatedClock};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let job = DagBuilder::new("tick")
///     .schedule("*/15 * * * *")
///     .task("only", CommandTask::new(["true"]))
///     .build()
///     .unwrap();
/// let clock = Arc::new(SimulatedClock::new("2026-01-01T10:07:00Z".parse().unwrap()));
/// let job = ActiveJob::since(Arc::new(job), clock.now());
/// let storage: Arc<dyn Storage> = Arc::new(Memory::default());
/// let spec = SpecRecord::of(&job.job, String::new(), clock.now());
/// storage.commit(vec![Change::PutSpec(spec)]).wait().await.unwrap();
///
/// let active = BTreeMap::from([(job.job.id.clone(), Arc::new(job))]);
/// let (_active, active) = tokio::sync::watch::channel(Arc::new(active));
/// let (_revision, revision) = tokio::sync::watch::channel(None);
/// let (orders, mut ordered) = tokio::sync::mpsc::channel(16);
/// let mut ids = 0;
/// let (scheduler, handle) = Scheduler::new(Parts {
///     storage,
///     clock: clock.clone(),
///     active,
///     revision,
///     orders,
///     bus: EventBus::default(),
///     random: Box::new(move || { ids += 1; ids }),
///     tells_secret: Box::new(|_, _| false),
/// });
/// let scheduling = tokio::spawn(scheduler.run());
/// let Some(Order::Start { run, .. }) = ordered.recv().await else { panic!("the slot is due") };
/// assert_eq!(run.slot.unwrap().to_rfc3339(), "2026-01-01T10:15:00+00:00");
/// handle.stop().await;
/// scheduling.await.unwrap().unwrap();
/// # });
/// ```
pub struct Scheduler {
    parts: Parts,
    listener: Listener,
    desked: Desked,
    desk: Desk,
    /// The set that the desk has.
    known: Arc<ActiveSet>,
    /// Whether events were missed, and the journal has not been read since.
    behind: bool,
    vigil: Vigil,
    /// Since when the steady clock of the vigil counts.
    born: Instant,
    /// Whether the clock may have been put back behind what is recorded, and that was not looked at since.
    put_back: bool,
}

impl Scheduler {
    /// A loop that does nothing until it [runs](Self::run), and the handle to it. It listens from here on, so that no run
    /// ends unnoticed after the loop has read the journal.
    pub fn new(mut parts: Parts) -> (Self, Handle) {
        let (handle, desked) = Handle::new();
        let known = Arc::clone(&parts.active.borrow_and_update());
        let now = parts.clock.now();
        let scheduler = Self {
            listener: parts.bus.listen(),
            known,
            parts,
            desked,
            desk: Desk::default(),
            behind: false,
            vigil: Vigil::new(now, Duration::ZERO),
            born: Instant::now(),
            put_back: true,
        };
        (scheduler, handle)
    }

    /// Runs until it is stopped, or until the journal fails for good.
    pub async fn run(mut self) -> Result<(), StorageError> {
        let mut backoff = BACKOFF.0;
        let mut loaded = false;
        // By the steady clock, since the other may be put back while a commit waits to be tried again.
        let mut not_before = None;
        loop {
            self.catch_up();
            if not_before.is_none_or(|instant| instant <= Instant::now()) {
                let done = if loaded { self.step().await } else { self.begin().await };
                match done {
                    Ok(()) => {
                        loaded = true;
                        not_before = None;
                        backoff = BACKOFF.0;
                        self.vigil.settled();
                        self.set_condition(None);
                    }
                    Err(StorageError::Closed) => return Ok(()),
                    Err(error) if error.is_passing() => {
                        self.set_condition(Some(chain(&error)));
                        not_before = Some(Instant::now() + backoff);
                        backoff = (backoff * 2).min(BACKOFF.1);
                    }
                    Err(error) => return Err(error),
                }
            }
            if !self.sleep(not_before, loaded).await {
                return Ok(());
            }
        }
    }

    /// What time it is. Asked in no other way, so that no move of the clock goes unnoticed.
    fn now(&mut self) -> Timestamp {
        let now = self.parts.clock.now();
        match self.vigil.look(now, self.born.elapsed()) {
            Moved::Not => {}
            Moved::Forwards => tracing::info!("the clock leapt forwards to {now}, or the machine slept"),
            Moved::Backwards => {
                tracing::warn!("the clock was put back to {now}: what is recorded beyond does not fire again");
                self.put_back = true;
            }
        }
        now
    }

    /// Says what keeps slots from being recorded; logged when it begins and ends, not at every try.
    fn set_condition(&self, problem: Option<String>) {
        let condition = problem.map(|problem| {
            format!("{problem}; slots that are due wait until it can be written again, and are late slots then")
        });
        self.desked.condition.send_if_modified(|shown| {
            match (&shown, &condition) {
                (None, Some(condition)) => tracing::error!("{condition}"),
                (Some(_), None) => tracing::info!("slots can be recorded again"),
                (None, None) | (Some(_), Some(_)) => {}
            }
            let changed = *shown != condition;
            *shown = condition;
            changed
        });
    }

    /// Waits until something is due or happens, or until a commit that failed may be tried again; `false` when it is time
    /// to end. Every arm only receives, so that the ones that are dropped have lost nothing.
    async fn sleep(&mut self, not_before: Option<Instant>, loaded: bool) -> bool {
        let longest = self.now() + LONGEST_SLEEP;
        let wake = self.desk.next_wake(longest - LONGEST_SLEEP);
        let until = wake.map_or(longest, |wake| wake.min(longest));
        tokio::select! {
            // While a commit waits to be tried again, what is due is no reason to wake.
            () = sleep_until(not_before.unwrap_or_else(Instant::now)), if not_before.is_some() => true,
            () = self.parts.clock.sleep_until(until), if not_before.is_none() => true,
            changed = self.parts.active.changed() => changed.is_ok(),
            // Before the desk knows the journal, its answers would be wrong.
            command = self.desked.commands.recv(), if loaded => match command {
                None | Some(Command::Stop) => false,
                Some(command) => {
                    // A run that has ended is in nobody's way, even if its end and the command came at once.
                    self.catch_up();
                    self.obey(command).await;
                    true
                }
            },
            event = self.listener.recv() => self.hear(event),
        }
    }

    /// Hears everything that was said so far.
    fn catch_up(&mut self) {
        loop {
            let heard = match self.listener.try_recv() {
                Ok(event) => Ok(event),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            };
            self.hear(heard);
        }
        if self.behind {
            match self.parts.storage.unfinished() {
                Ok(unfinished) => {
                    self.desk.runs_are(&unfinished);
                    self.behind = false;
                }
                Err(error) => tracing::warn!(
                    error = chain(&error),
                    "could not read which runs have ended; asking again when the loop wakes next",
                ),
            }
        }
    }

    /// Takes in what the executor says; `false` when nobody can say anything any more.
    fn hear(&mut self, heard: Result<Event, RecvError>) -> bool {
        match heard {
            Ok(Event::Run { run, job, status, .. }) => self.desk.run_moved(&job, run, status),
            Ok(Event::Task { .. } | Event::Slot(_) | Event::Reconcile(_)) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "fell behind the events; the journal is read instead");
                self.behind = true;
            }
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// Reads what was left, and decides what Petit was not there for.
    async fn begin(&mut self) -> Result<(), StorageError> {
        let storage = Arc::clone(&self.parts.storage);
        let mut bound = BTreeMap::new();
        let mut unfinished = Vec::new();
        for detail in storage.unfinished()? {
            match self.bound_to(&detail.run)? {
                Some(job) => {
                    bound.insert(detail.run.spec_hash.clone(), job);
                }
                None if detail.run.status == RunStatus::Queued => {
                    let now = self.now();
                    self.carry_out(vec![give_up(&detail, now)]).await?;
                    continue;
                }
                // It goes on without being started by this room.
                None => {}
            }
            unfinished.push(detail);
        }
        let past = Past {
            watermarks: storage.watermarks()?,
            beyond_watermark: storage.beyond_watermark()?,
            pauses: storage.pauses()?,
            bound,
            unfinished,
        };
        self.desk = Desk::new(&self.known, past);
        self.start_again().await?;
        let claimed = storage.claimed()?;
        let batches = self.decide(|desk, around| desk.recover(&claimed, around))?;
        self.carry_out(batches).await?;
        self.step().await
    }

    /// The version of the job that a run is bound to.
    fn bound_to(&self, run: &RunRecord) -> Result<Option<Arc<Job>>, StorageError> {
        self.version(&run.job, &run.spec_hash)
    }

    /// A version of a job that is active or was.
    fn version(&self, job: &JobId, hash: &SpecHash) -> Result<Option<Arc<Job>>, StorageError> {
        if let Some(active) = self.known.get(job).filter(|active| active.job.hash == *hash) {
            return Ok(Some(Arc::clone(&active.job)));
        }
        let Some(record) = self.parts.storage.spec(hash)? else {
            return Ok(None);
        };
        let version = Job::from_canonical(&record.canonical);
        if let Err(error) = &version {
            tracing::error!(%job, version = %hash, error = error as &dyn std::error::Error, "cannot read a version of a job any more");
        }
        Ok(version.ok().map(Arc::new))
    }

    /// Has jobs start again whose slots are recorded too far ahead of a clock that was put back.
    async fn start_again(&mut self) -> Result<(), StorageError> {
        let now = self.now();
        if !self.put_back {
            return Ok(());
        }
        self.desk.put_back(now);
        let jobs = self.desk.far_ahead(now);
        if !jobs.is_empty() {
            tracing::warn!(
                jobs = jobs.len(),
                "the clock shows {now}, and these jobs have slots recorded more than {} h ahead of it: they start again \
                 from now, and what ran already does not run again",
                LONGEST_WAIT.num_hours()
            );
        }
        let mut batches = Vec::with_capacity(jobs.len());
        for job in &jobs {
            let stretches = self.parts.storage.stretches(job, now, Timestamp::MAX_UTC)?;
            let from = stretches.iter().map(|stretch| stretch.from).min();
            let mut versions = BTreeMap::new();
            for stretch in &stretches {
                let version = self.version(job, &stretch.spec_hash)?;
                versions.extend(version.map(|version| (stretch.spec_hash.clone(), version)));
            }
            let beyond = Beyond {
                slots: self
                    .parts
                    .storage
                    .slots(job, from.unwrap_or(now).min(now), Timestamp::MAX_UTC)?,
                stretches,
                versions,
            };
            batches.push(self.desk.start_again(job, &beyond, now));
        }
        self.carry_out(batches).await?;
        self.put_back = false;
        Ok(())
    }

    /// Decides everything that can be decided now.
    async fn step(&mut self) -> Result<(), StorageError> {
        self.start_again().await?;
        let newest = Arc::clone(&self.parts.active.borrow_and_update());
        let due = self.decide(|desk, around| desk.tick(&newest, around))?;
        self.carry_out(due).await?;
        if !Arc::ptr_eq(&newest, &self.known) {
            let now = self.now();
            let edits = self.desk.edit(&newest, now);
            self.carry_out(edits).await?;
            self.desk.swap(&newest);
            self.known = newest;
        }
        loop {
            let now = self.now();
            let stirred = self.desk.stirred(now);
            if stirred.is_empty() {
                let claims = self.decide(|desk, around| desk.claim_ahead(around));
                return self.carry_out(claims).await;
            }
            for job in stirred {
                while let Some(batch) = self.decide(|desk, around| desk.look_at(&job, around))? {
                    self.carry_out(vec![batch]).await?;
                }
                self.desk.settled(&job);
            }
        }
    }

    fn decide<T>(&mut self, question: impl FnOnce(&Desk, &mut Around<'_>) -> T) -> T {
        let now = self.now();
        let storage = &self.parts.storage;
        let mut around = Around {
            now,
            presence: self.vigil.presence(),
            random: &mut *self.parts.random,
            latest: &|job| storage.latest(job),
            revision: self.parts.revision.borrow().clone(),
            tells_secret: &*self.parts.tells_secret,
        };
        question(&self.desk, &mut around)
    }

    /// Commits batches in one transaction and lets them take effect. A slot that is recorded already is left out and never
    /// started; then each batch is committed by itself, so that the others are not held up.
    async fn carry_out(&mut self, batches: Vec<Batch>) -> Result<(), StorageError> {
        let (recorded, batches): (Vec<_>, Vec<_>) = batches.into_iter().partition(|batch| batch.recorded);
        let mut after = Vec::new();
        for batch in recorded {
            after.extend(batch.changes.iter().cloned());
            self.take_effect(batch).await;
        }
        if !after.is_empty() {
            // Not waited for: a watermark that is not raised now is raised with the next slot, and until then the slot's own
            // row says that it is recorded.
            drop(self.parts.storage.commit(after));
        }
        let changes: Vec<Change> = batches.iter().flat_map(|batch| batch.changes.iter().cloned()).collect();
        match self.commit(changes).await {
            Ok(()) => {
                for batch in batches {
                    self.take_effect(batch).await;
                }
            }
            Err(StorageError::SlotTaken { .. }) => {
                for mut batch in batches {
                    while let Err(error) = self.commit(batch.changes.clone()).await {
                        let StorageError::SlotTaken { job, at } = error else {
                            return Err(error);
                        };
                        tracing::warn!(%job, slot = %at, "the slot is recorded already and is not started again");
                        let before = batch.changes.len();
                        batch.leave_out(&job, at);
                        if batch.changes.len() == before {
                            return Err(StorageError::SlotTaken { job, at });
                        }
                    }
                    self.take_effect(batch).await;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn commit(&mut self, changes: Vec<Change>) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.parts.storage.commit(changes).wait().await
    }

    async fn take_effect(&mut self, batch: Batch) {
        self.desk.apply(&batch);
        for order in batch.orders {
            // Without an executor there is nobody to start anything, and the daemon is ending.
            if self.parts.orders.send(order).await.is_err() {
                tracing::debug!("nobody takes orders any more");
            }
        }
        for event in batch.events {
            self.parts.bus.publish(event);
        }
    }

    async fn obey(&mut self, command: Command) {
        // An answer that nobody waits for any more is no reason to undo what was asked.
        match command {
            Command::Trigger {
                job,
                params,
                ignore_overlap,
                by,
                answer,
            } => {
                let _ = answer.send(self.trigger(job, params, ignore_overlap, by).await);
            }
            Command::Retry { asked, answer } => {
                let _ = answer.send(self.retry(asked).await);
            }
            Command::Pause {
                job,
                by,
                reason,
                answer,
            } => {
                let _ = answer.send(self.pause(job, by, reason).await);
            }
            Command::Resume { job, by, answer } => {
                let now = self.now();
                let batch = self.desk.resume(job.as_ref(), now);
                let result = match batch {
                    None => Err(CommandError::NotPaused(job)),
                    Some(batch) => {
                        tracing::info!(job = job.as_ref().map(tracing::field::display), by, "resumed");
                        self.record(batch).await
                    }
                };
                let _ = answer.send(result);
            }
            Command::Cancel { run, reason, answer } => {
                let now = self.now();
                let batch = self.desk.cancel(run, reason, now);
                let _ = answer.send(self.record(batch).await);
            }
            Command::Stop => {}
        }
    }

    /// Takes over an active set that was published before a command came: whoever edited a file, saw it applied and
    /// then asks for a run means the new version.
    async fn take_over(&mut self) -> Result<(), CommandError> {
        match self.parts.active.has_changed() {
            Ok(true) => self.step().await.map_err(CommandError::Storage),
            // Nobody publishes any more: the loop is about to end.
            Ok(false) | Err(_) => Ok(()),
        }
    }

    async fn trigger(
        &mut self,
        job: JobId,
        params: Map<String, Value>,
        ignore_overlap: bool,
        by: String,
    ) -> Result<Triggered, CommandError> {
        self.take_over().await?;
        let decided = self.decide(|desk, around| desk.trigger(&job, params, ignore_overlap, around));
        match decided {
            Err(TriggerRefusal::UnknownJob) => Err(CommandError::UnknownJob(job)),
            Err(TriggerRefusal::Params(errors)) => Err(CommandError::Params { job, errors }),
            Err(TriggerRefusal::Overlap(run)) => Err(CommandError::Overlap { job, run }),
            Ok((batch, triggered)) => {
                tracing::info!(%job, run = %triggered.run, by, "started by hand");
                self.record(batch).await.map(|()| triggered)
            }
        }
    }

    async fn retry(&mut self, asked: Retry) -> Result<Retried, CommandError> {
        self.take_over().await?;
        let id = asked.run;
        let old = self.parts.storage.run(id).map_err(CommandError::Storage)?;
        let old = old.ok_or(CommandError::UnknownRun(id))?;
        let before = self.bound_to(&old.run).map_err(CommandError::Storage)?;
        let before = before.as_deref();
        let decided = self.decide(|desk, around| desk.retry(&old, before, &asked.choice, asked.ignore_overlap, around));
        let job = old.run.job.clone();
        let (batch, retried) = match decided {
            Ok(decided) => decided,
            Err(RetryRefusal::NotActive) => return Err(CommandError::NotActive { run: id, job }),
            Err(RetryRefusal::Params(errors)) => return Err(CommandError::OldParams { run: id, errors }),
            Err(RetryRefusal::Nothing(nothing)) => return Err(CommandError::NoRetry(nothing)),
            Err(RetryRefusal::Overlap(run)) => return Err(CommandError::Overlap { job, run }),
        };
        if !asked.dry_run {
            tracing::info!(%job, run = %retried.made.run, retry_of = %id, by = asked.by, "retried by hand");
            self.record(batch).await?;
        }
        Ok(retried)
    }

    async fn pause(&mut self, job: Option<JobId>, by: String, reason: Option<String>) -> Result<(), CommandError> {
        if let Some(job) = job.as_ref().filter(|job| !self.known.contains_key(*job)) {
            return Err(CommandError::UnknownJob(job.clone()));
        }
        // What is due until now is no part of the pause.
        let set = Arc::clone(&self.known);
        let due = self
            .decide(|desk, around| desk.tick(&set, around))
            .map_err(CommandError::Storage)?;
        self.carry_out(due).await.map_err(CommandError::Storage)?;
        let since = self.now();
        let batch = self.desk.pause(PauseRecord { job, since, by, reason });
        self.record(batch).await
    }

    async fn record(&mut self, batch: Batch) -> Result<(), CommandError> {
        self.carry_out(vec![batch]).await.map_err(CommandError::Storage)
    }
}
