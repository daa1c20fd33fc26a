//! The loop: look, settle, judge, plan, commit, swap, say.
//!
//! It may block on the disk; nobody else waits for it but those who ask. What it decides with is in the other files of
//! this room, and this one reads the clocks for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use chrono::Utc;
use tokio::sync::{oneshot, watch};

use super::{Approval, SyncOutcome};
use crate::{
    core::{Timestamp, active::ActiveSet, error_text::chain, record::Actor},
    events::{Bus, Event},
    reconcile::{
        apply::{Occasion, apply},
        desired::{Desired, Judge},
        journal::{LostJob, dry_plan},
        options::Options,
        plan::{Action, Past, Plan, PlanId, plan, set_hash},
        scan::{FolderId, Look, Scanner, SourceUnavailable},
        settle::{Settle, Settled, Unsettled},
        standing::{Facts, conditions, standings},
        status::{Condition, ConditionCode, Source, SyncStatus},
        watch::{Watch, WatchList, Watching},
    },
    storage::{Storage, StorageError},
};

/// Events closer together than this are answered by one look.
const GAP: Duration = Duration::from_millis(30);
/// How often the folder is listed when nobody tells of changes, or when it cannot be listed.
const POLL: Duration = Duration::from_secs(1);
/// How far back the prune guard looks for the largest active set.
const GUARD_MEMORY: Duration = Duration::from_secs(60);

/// What the loop can be asked. The queue needs no bound: events put at most one [`Message::Dirty`] into it, and every
/// other sender waits for the answer.
pub(super) enum Message {
    /// Something may have changed.
    Dirty,
    /// Look now.
    Sync(Waiter),
    /// Say what would change.
    Plan(oneshot::Sender<Result<Plan, SourceUnavailable>>),
    /// End.
    Stop,
}

/// Somebody who waits for a sync.
pub(super) struct Waiter {
    pub(super) actor: Actor,
    pub(super) wait: bool,
    pub(super) approve: Option<PlanId>,
    pub(super) approval: Option<Approval>,
    pub(super) actions: Vec<Action>,
    /// Whether a look has begun since the sync was asked for.
    pub(super) served: bool,
    pub(super) reply: oneshot::Sender<SyncOutcome>,
}

/// The thread's own state.
pub(super) struct Worker {
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
    /// Begins with the active set and the status that the senders hold.
    #[expect(clippy::too_many_arguments, reason = "each is a part that only `start` can make")]
    pub(super) fn new(
        options: Options,
        storage: Arc<dyn Storage>,
        bus: Bus,
        lost: Vec<LostJob>,
        watch: Watch,
        queued: Arc<AtomicBool>,
        active_sender: watch::Sender<Arc<ActiveSet>>,
        status_sender: watch::Sender<Arc<SyncStatus>>,
    ) -> Self {
        let active = active_sender.borrow().clone();
        let status = SyncStatus::clone(&status_sender.borrow());
        let known = active.values().map(|active| active.record.file.clone());
        Self {
            settle: Settle::new(options.debounce, known),
            scanner: Scanner::new(&options.jobs_dir),
            judge: Judge::new(Arc::clone(&options.check)),
            storage,
            bus,
            watch,
            queued,
            active: Arc::clone(&active),
            lost,
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
        }
    }

    /// Steps until it is told to stop.
    pub(super) fn run(mut self, receiver: &mpsc::Receiver<Message>) {
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
            // Said once: it is tried again every second, and the condition stands meanwhile.
            if self.not_committed.is_none() {
                tracing::error!(error = chain(&error), plan = %plan.id, "a reconcile could not be committed; nothing was changed");
            }
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
                message: format!("a change of the jobs could not be committed: {}", chain(error)),
                since: now,
            });
        }
        found.extend(self.lost.iter().map(|lost| lost.condition(now)));
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
                let stuck = settled.changing.iter().all(Unsettled::is_overdue);
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
