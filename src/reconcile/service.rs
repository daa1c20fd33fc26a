//! The loop: look, settle, judge, plan, commit, swap, say.
//!
//! One thread does all of it, one step after another, so that there is one writer of the active set and no step sees
//! half of another. It may block on the disk; nobody else waits for it but those who ask. What it decides with is in
//! the other files of this room, and this one reads the clocks for them.
//!
//! Goes in: [`Options`], the journal, and messages (a file changed, somebody asks). Comes out, on two `watch` channels:
//! the active set, swapped whole after its commit, and the [`SyncStatus`].

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use chrono::Utc;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::{
    apply::{Occasion, apply},
    desired::{Check, Desired, Judge, Verdict},
    plan::{Action, Past, Plan, PlanId, Policy, plan, set_hash},
    scan::{FolderId, Look, Scanner, SourceUnavailable},
    settle::{Settle, Settled},
    status::{Condition, ConditionCode, Facts, Source, SyncStatus, conditions, standings},
    watch::{Watch, WatchList, WatchMode, Watching},
};
use crate::{
    config::{
        check::{Checked, check_file},
        set::{Capacity, Member, check_capacity},
        settings::{Prune, Settings},
    },
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::JobId,
        job::{Job, StoredSpecError},
        record::Actor,
    },
    events::{Bus, Event},
    storage::{Storage, StorageError},
};

/// Events closer together than this are answered by one look.
const GAP: Duration = Duration::from_millis(30);
/// How often the folder is listed when nobody tells of changes, or when it cannot be listed.
const POLL: Duration = Duration::from_secs(1);
/// How far back the prune guard looks for the largest active set.
const GUARD_MEMORY: Duration = Duration::from_secs(60);

/// What the reconciler works on, and how.
#[derive(Clone)]
pub struct Options {
    /// The folder of jobs.
    pub jobs_dir: PathBuf,
    /// How long a file must stay the same for its content to count.
    pub debounce: Duration,
    /// How often to look, whatever the watcher says.
    pub resync: Duration,
    /// What happens to jobs whose file is gone.
    pub prune: Prune,
    /// How many in a hundred of the jobs may vanish unasked.
    pub prune_guard: u8,
    /// How to notice changes.
    pub watch: WatchMode,
    /// Judges one file.
    pub check: Arc<Check>,
}

impl Options {
    /// As the settings say, for the folder `jobs_dir`.
    pub fn from_settings(jobs_dir: PathBuf, settings: &Settings, capacity: Capacity) -> Self {
        let reconcile = &settings.reconcile;
        Self {
            jobs_dir,
            debounce: reconcile.debounce.to_std(),
            resync: reconcile.resync.to_std(),
            prune: reconcile.prune,
            prune_guard: reconcile.prune_guard.get(),
            watch: WatchMode::Native,
            check: check_with(settings.clone(), capacity),
        }
    }

    fn policy(&self, approved: Option<PlanId>) -> Policy {
        Policy {
            prune: self.prune,
            prune_guard: self.prune_guard,
            approved,
        }
    }
}

/// Judges a file as `petit validate` does.
fn check_with(settings: Settings, capacity: Capacity) -> Arc<Check> {
    Arc::new(move |path: &str, bytes: &[u8]| {
        let Checked {
            id,
            mut job,
            yaml,
            mut diagnostics,
        } = check_file(Path::new(path), bytes, &settings);
        if let Some(checked) = &job {
            let beyond = check_capacity(
                &Member {
                    file: path,
                    job: checked,
                    yaml: &yaml,
                },
                &capacity,
            );
            if !beyond.is_empty() {
                job = None;
                diagnostics.extend(beyond);
            }
        }
        Verdict {
            id,
            job: job.map(Arc::new),
            diagnostics,
        }
    })
}

/// The active set as the journal has it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The jobs.
    pub active: ActiveSet,
    /// Jobs that are active in the journal and cannot be built again. Their files may bring them back.
    pub lost: Vec<LostJob>,
}

/// A job of the journal that cannot be built again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostJob {
    /// The job.
    pub job: JobId,
    /// The file that it came from.
    pub file: String,
    /// Why.
    pub message: String,
}

/// Builds the active set of the journal's last good versions.
pub fn load_active(storage: &dyn Storage) -> Result<Loaded, StorageError> {
    let mut loaded = Loaded::default();
    for record in storage.active()? {
        let built = match storage.spec(&record.spec_hash)? {
            Some(spec) => Job::from_canonical(&spec.canonical).map_err(|error| describe(&error)),
            None => Err("its stored spec is not in the journal".to_owned()),
        };
        match built {
            Ok(job) => {
                let job = Arc::new(job);
                loaded
                    .active
                    .insert(record.job.clone(), Arc::new(ActiveJob { job, record }));
            }
            Err(message) => loaded.lost.push(LostJob {
                job: record.job,
                file: record.file,
                message,
            }),
        }
    }
    Ok(loaded)
}

fn describe(error: &StoredSpecError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The folder cannot be listed.
    #[error(transparent)]
    Source(#[from] SourceUnavailable),
    /// The journal cannot be read.
    #[error("cannot read what is active")]
    Storage(#[from] StorageError),
    /// The reconciler has stopped.
    #[error("the reconciler has stopped")]
    Stopped,
}

/// What can be said of files and jobs while no daemon runs.
#[derive(Debug, Clone)]
pub struct Offline {
    /// The jobs that the next start begins with.
    pub active: ActiveSet,
    /// How the files stand against them.
    pub status: SyncStatus,
    /// What the files would change.
    pub plan: Result<Plan, SourceUnavailable>,
}

/// Looks once at the files and at the journal: for when no daemon runs.
pub fn offline(storage: &dyn Storage, options: &Options, now: Timestamp) -> Result<Offline, StorageError> {
    let active = load_active(storage)?.active;
    let jobs_dir = options.jobs_dir.display().to_string();
    let mut status = SyncStatus::unknown(jobs_dir, Watching::Native, &active, now);
    let plan = Scanner::new(&options.jobs_dir).look(SystemTime::now()).map(|look| {
        let settled = Settled::as_seen(&look);
        let desired = Judge::new(Arc::clone(&options.check)).judge(&settled, look.allow_empty);
        let plan = dry_plan(&desired, &active, options, now);
        let facts = Facts {
            settled: &settled,
            desired: &desired,
            plan: &plan,
            active: &active,
        };
        (status.files, status.jobs) = standings(facts, &status, now);
        status.waiting_plan = plan.waits_for_approval().then(|| plan.id.clone());
        status.looked_at = Some(now);
        plan
    });
    if let Err(error) = &plan {
        status.source = Source::Unavailable {
            message: error.to_string(),
            since: now,
        };
    }
    Ok(Offline { active, status, plan })
}

/// A plan that reports everything, as if nothing had been reported before.
fn dry_plan(desired: &Desired, active: &ActiveSet, options: &Options, now: Timestamp) -> Plan {
    let past = Past {
        refused: &[],
        largest: active,
    };
    plan(desired, active, past, &options.policy(None), now)
}

/// What came of a sync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncOutcome {
    /// Whether every file is followed and nothing is on its way.
    pub synced: bool,
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
    },
}

/// The reconciler has stopped, so that nobody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reconciler has stopped")]
pub struct Stopped;

/// What the loop can be asked. The queue needs no bound: events put at most one [`Message::Dirty`] into it, and every
/// other sender waits for the answer.
enum Message {
    Dirty,
    Sync(Waiter),
    Plan(oneshot::Sender<Result<Plan, SourceUnavailable>>),
    Stop,
}

/// Somebody who waits for a sync.
struct Waiter {
    actor: Actor,
    wait: bool,
    approve: Option<PlanId>,
    approval: Option<Approval>,
    actions: Vec<Action>,
    /// Whether a look has begun since the sync was asked for.
    served: bool,
    reply: oneshot::Sender<SyncOutcome>,
}

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
    /// Starts to follow the files, from the active set that [`load_active`] gave. The first look begins at once.
    pub fn start(options: Options, storage: Arc<dyn Storage>, bus: Bus, loaded: Loaded) -> Self {
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
        let active = Arc::new(loaded.active);
        let jobs_dir = options.jobs_dir.display().to_string();
        let status = SyncStatus::unknown(jobs_dir, watch.watching().clone(), &active, Utc::now());
        let (active_sender, active_receiver) = watch::channel(Arc::clone(&active));
        let (status_sender, status_receiver) = watch::channel(Arc::new(status.clone()));
        let known = active.values().map(|active| active.record.file.clone());
        let worker = Worker {
            settle: Settle::new(options.debounce, known),
            scanner: Scanner::new(&options.jobs_dir),
            judge: Judge::new(Arc::clone(&options.check)),
            storage,
            bus,
            watch,
            queued,
            active,
            lost: loaded.lost,
            refused: Vec::new(),
            larger: Vec::new(),
            folder: None,
            status,
            active_sender,
            status_sender,
            waiters: Vec::new(),
            dirty: false,
            cause: Actor::Start,
            looked: None,
            look_again: None,
            resync_at: Instant::now(),
            not_committed: None,
            options,
        };
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
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter {
            actor,
            wait,
            approve,
            approval: None,
            actions: Vec::new(),
            served: false,
            reply,
        };
        self.sender.send(Message::Sync(waiter)).map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// What the files as they stand at this moment would change. Changes nothing.
    pub async fn plan(&self) -> Result<Plan, PlanError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Message::Plan(reply)).map_err(|_| PlanError::Stopped)?;
        Ok(answer.await.map_err(|_| PlanError::Stopped)??)
    }
}

/// The thread's own state.
struct Worker {
    options: Options,
    storage: Arc<dyn Storage>,
    bus: Bus,
    scanner: Scanner,
    watch: Watch,
    settle: Settle,
    judge: Judge,
    /// Whether a [`Message::Dirty`] is in the queue.
    queued: Arc<AtomicBool>,
    active: Arc<ActiveSet>,
    lost: Vec<LostJob>,
    /// What the last plan refused.
    refused: Vec<Action>,
    /// Active sets of the last minute that have lost jobs since, and when they did.
    larger: Vec<(Instant, Arc<ActiveSet>)>,
    /// The folder in which files were last found.
    folder: Option<FolderId>,
    status: SyncStatus,
    active_sender: watch::Sender<Arc<ActiveSet>>,
    status_sender: watch::Sender<Arc<SyncStatus>>,
    waiters: Vec<Waiter>,
    /// Whether something may have changed since the last look began.
    dirty: bool,
    /// Who is behind what is settling.
    cause: Actor,
    looked: Option<Instant>,
    look_again: Option<Instant>,
    resync_at: Instant,
    not_committed: Option<StorageError>,
}

impl Worker {
    fn run(mut self, receiver: &mpsc::Receiver<Message>) {
        self.step();
        loop {
            let wait = self.next_look().saturating_duration_since(Instant::now());
            let mut message = match receiver.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            while let Some(next) = message {
                match next {
                    Message::Dirty => {
                        self.queued.store(false, Ordering::Release);
                        self.dirty = true;
                        self.cause = Actor::Watcher;
                    }
                    Message::Sync(waiter) => {
                        self.cause = waiter.actor;
                        self.waiters.push(waiter);
                    }
                    Message::Plan(reply) => {
                        let _ = reply.send(self.dry_plan());
                    }
                    Message::Stop => return,
                }
                message = receiver.try_recv().ok();
            }
            if self.next_look() <= Instant::now() {
                self.step();
            }
        }
    }

    /// When to look next.
    fn next_look(&self) -> Instant {
        let Some(looked) = self.looked else {
            return self.resync_at;
        };
        // A sync that waits for a file to settle has had its own look already.
        if self.waiters.iter().any(|waiter| !waiter.served) {
            return looked;
        }
        let polled = match self.watch.watching() {
            Watching::Native => None,
            Watching::Polling { .. } => Some(looked + POLL),
        };
        let dirty = self.dirty.then(|| looked + GAP);
        [self.look_again, polled, dirty]
            .into_iter()
            .flatten()
            .fold(self.resync_at, Instant::min)
    }

    /// One look, and all that follows from it.
    fn step(&mut self) {
        let began = Instant::now();
        let resync = began >= self.resync_at;
        if resync {
            self.resync_at = began + self.options.resync;
            let idle = !self.dirty && self.look_again.is_none() && self.waiters.is_empty();
            if idle && self.looked.is_some() {
                self.cause = Actor::Resync;
            }
        }
        self.looked = Some(began);
        // What happens from here on may be missed by this look, and sets it again.
        self.dirty = false;
        let wall = SystemTime::now();
        let look = self.scanner.look(wall).and_then(|look| self.refuse_replacement(look));
        let settled = match look {
            Ok(look) => {
                if self.watch.arm(&look.watch, resync) {
                    self.dirty = true;
                }
                let settled = self.settle.observe(&look, began, wall);
                self.look_again = settled.look_again;
                self.status.source = Source::Ok;
                let approving = self.waiters.iter().any(|waiter| waiter.approve.is_some());
                let plan = (settled.changed || resync || approving || self.not_committed.is_some())
                    .then(|| self.reconcile(&settled, look.allow_empty, began));
                self.tell(&settled, plan.as_ref());
                Some(settled)
            }
            Err(error) => {
                self.watch.arm(&WatchList::of_path(&self.options.jobs_dir), resync);
                self.settle.lose_sight();
                self.look_again = Some(began + POLL);
                self.lose_source(&error);
                None
            }
        };
        self.answer(settled.as_ref());
    }

    /// A folder with nothing in it that took the place of one with files is not the user's empty folder: it is what is
    /// left when a file system is unmounted, or what a program made anew because it missed the old one.
    fn refuse_replacement(&mut self, look: Look) -> Result<Look, SourceUnavailable> {
        let empty = look.files.is_empty() && look.blind.is_empty();
        let replaced = self.folder.is_some_and(|folder| folder != look.folder);
        if empty && replaced && !look.allow_empty {
            return Err(SourceUnavailable {
                path: self.options.jobs_dir.clone(),
                problem: "was replaced by an empty one: if that is meant, put a file `.allow-empty` into it".to_owned(),
            });
        }
        if !empty {
            self.folder = Some(look.folder);
        }
        Ok(look)
    }

    /// Plans, commits and swaps. Returns the plan that stands after it, of which nothing is left to do.
    fn reconcile(&mut self, settled: &Settled, allow_empty: bool, began: Instant) -> (Desired, Plan) {
        let desired = self.judge.judge(settled, allow_empty);
        let now = Utc::now();
        self.larger
            .retain(|(until, _)| began.saturating_duration_since(*until) < GUARD_MEMORY);
        let approvals: Vec<PlanId> = self
            .waiters
            .iter()
            .filter_map(|waiter| waiter.approve.clone())
            .collect();
        let unapproved = self.plan(&desired, None, now);
        let approved = approvals
            .into_iter()
            .find(|id| *id == unapproved.id && unapproved.waits_for_approval());
        let plan = match &approved {
            Some(id) => self.plan(&desired, Some(id.clone()), now),
            None => unapproved,
        };
        let committed = self.carry_out(&plan, approved.is_some(), began, now);
        let after = self.plan(&desired, None, now);
        for waiter in &mut self.waiters {
            if committed {
                waiter.actions.extend(plan.actions.iter().cloned());
            }
            if let Some(id) = waiter.approve.take() {
                waiter.approval = Some(if committed && approved.as_ref() == Some(&id) {
                    Approval::Carried
                } else {
                    let current = after.waits_for_approval().then(|| after.id.clone());
                    Approval::Stale { current }
                });
            }
        }
        (desired, after)
    }

    fn plan(&self, desired: &Desired, approved: Option<PlanId>, now: Timestamp) -> Plan {
        let largest = self
            .larger
            .iter()
            .map(|(_, set)| set)
            .max_by_key(|set| set.len())
            .unwrap_or(&self.active);
        let past = Past {
            refused: &self.refused,
            largest,
        };
        plan(desired, &self.active, past, &self.options.policy(approved), now)
    }

    /// Commits a plan and swaps in its active set; returns whether it did.
    fn carry_out(&mut self, plan: &Plan, approved: bool, began: Instant, now: Timestamp) -> bool {
        let occasion = Occasion {
            actor: self.cause,
            now,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let applied = apply(plan, &self.active, occasion);
        if !applied.changes.is_empty()
            && let Err(error) = self.storage.commit(applied.changes).wait_blocking()
        {
            tracing::error!(%error, plan = %plan.id, "a reconcile could not be committed; nothing was changed");
            self.look_again = Some(Instant::now() + POLL);
            self.not_committed = Some(error);
            return false;
        }
        self.not_committed = None;
        self.refused.clone_from(&plan.refused);
        for action in &plan.actions {
            tracing::info!(plan = %plan.id, "{action}");
        }
        let after = applied.active;
        // A job that came back, or was removed on purpose, is no longer lost.
        self.lost.retain(|lost| !after.contains_key(&lost.job));
        if approved {
            self.larger.clear();
        } else if self.active.keys().any(|job| !after.contains_key(job)) {
            self.larger.push((began, Arc::clone(&self.active)));
        }
        if plan.changes_jobs() || !plan.moved.is_empty() {
            self.active = Arc::new(after);
            self.active_sender.send_replace(Arc::clone(&self.active));
        }
        if let Some(record) = applied.record {
            self.status.last_reconcile = Some(record.clone());
            self.bus.publish(Event::Reconcile(record));
        }
        true
    }

    /// Publishes how the files stand, if that is news.
    fn tell(&mut self, settled: &Settled, reconciled: Option<&(Desired, Plan)>) {
        let now = Utc::now();
        let mut status = self.status.clone();
        if let Some((desired, plan)) = reconciled {
            let facts = Facts {
                settled,
                desired,
                plan,
                active: &self.active,
            };
            (status.files, status.jobs) = standings(facts, &self.status, now);
            status.waiting_plan = plan.waits_for_approval().then(|| plan.id.clone());
        }
        status.settling = settled
            .changing
            .iter()
            .map(|unsettled| unsettled.file.clone())
            .collect();
        status.settling.extend(settled.leaving.iter().cloned());
        status.active_set_hash = set_hash(&self.active);
        status.conditions = self.conditions(settled, status.waiting_plan.as_ref(), now);
        self.publish(status, now);
    }

    fn lose_source(&mut self, error: &SourceUnavailable) {
        let now = Utc::now();
        let mut status = self.status.clone();
        let since = match &self.status.source {
            Source::Unavailable { since, .. } => *since,
            Source::Ok => now,
        };
        let message = error.to_string();
        status.source = Source::Unavailable { message, since };
        self.status.source = status.source.clone();
        status.conditions = self.conditions(&Settled::default(), status.waiting_plan.as_ref(), now);
        self.publish(status, now);
    }

    fn conditions(&self, settled: &Settled, waiting: Option<&PlanId>, now: Timestamp) -> Vec<Condition> {
        let mut found = conditions(&self.status.source, self.watch.watching(), settled, waiting, now);
        if let Some(error) = &self.not_committed {
            found.push(Condition {
                code: ConditionCode::NotCommitted,
                message: format!("a change of the jobs could not be committed: {error}"),
                since: now,
            });
        }
        found.extend(self.lost.iter().map(|lost| Condition {
            code: ConditionCode::NotRestored,
            message: format!(
                "the last good version of {} ({}) cannot be used: {}",
                lost.job, lost.file, lost.message
            ),
            since: now,
        }));
        for condition in &mut found {
            condition.keep_since(&self.status.conditions);
        }
        found
    }

    fn publish(&mut self, mut status: SyncStatus, now: Timestamp) {
        status.watching = self.watch.watching().clone();
        // A look that finds nothing new wakes nobody, but for its time being right when somebody asks.
        status.looked_at = self.status.looked_at;
        let news = status != **self.status_sender.borrow();
        status.looked_at = Some(now);
        self.status = status.clone();
        if news {
            self.status_sender.send_replace(Arc::new(status));
        } else {
            self.status_sender.send_if_modified(|published| {
                *published = Arc::new(status);
                false
            });
        }
    }

    /// Answers those who have waited long enough; `None` when the folder could not be looked at.
    fn answer(&mut self, settled: Option<&Settled>) {
        let over = match settled {
            Some(settled) => {
                let stuck = settled.changing.iter().all(super::settle::Unsettled::is_overdue);
                settled.is_quiet() || (stuck && settled.leaving.is_empty() && !settled.git_busy)
            }
            None => true,
        };
        let over = over && !(self.dirty && settled.is_some()) || self.not_committed.is_some();
        let status = &self.status;
        for waiter in &mut self.waiters {
            waiter.served = true;
        }
        for waiter in self.waiters.extract_if(.., |waiter| over || !waiter.wait) {
            let outcome = SyncOutcome {
                synced: status.is_synced() && self.not_committed.is_none(),
                approval: waiter.approval,
                actions: waiter.actions,
                status: status.clone(),
            };
            // Whoever asked may have gone.
            let _ = waiter.reply.send(outcome);
        }
    }

    fn dry_plan(&mut self) -> Result<Plan, SourceUnavailable> {
        let look = self.scanner.look(SystemTime::now())?;
        let look = self.refuse_replacement(look)?;
        let desired = self.judge.judge(&Settled::as_seen(&look), look.allow_empty);
        Ok(dry_plan(&desired, &self.active, &self.options, Utc::now()))
    }
}
