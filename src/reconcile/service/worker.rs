//! The loop: look, settle, judge, plan, commit, swap, say.
//!
//! It may block on the disk; nobody else waits for it but those who ask. What it decides with is in the other files of
//! this room, and this one reads the clocks for them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use chrono::Utc;
use tokio::sync::{oneshot, watch};

use super::{Approval, Ask, SyncOutcome};
use crate::{
    core::{
        Timestamp,
        active::ActiveSet,
        error_text::chain,
        id::{JobId, SpecHash},
        record::Actor,
    },
    events::{Event, EventBus},
    reconcile::{
        apply::{Before, Occasion, apply, counts_ahead, latest_count},
        awaited::{Awaited, AwaitedOutcome},
        desired::{Desired, Judge},
        journal::{Loaded, LostJob, largest_lately, still_held},
        options::Options,
        plan::{Action, GUARD_MEMORY, Past, Plan, PlanId, plan},
        proposal::Proposal,
        scan::{FolderId, Look, Scanner, SourceUnavailable},
        settle::{Settle, Settled},
        stale::Shown,
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
/// Looking again and again may take one part in so many of the time: a slow file system is looked at less often.
const POLL_SHARE: u32 = 20;

/// What the loop can be asked. The queue needs no bound: events put at most one [`Message::Dirty`] into it, and every
/// other sender waits for the answer.
pub(super) enum Message {
    /// Something may have changed.
    Dirty,
    /// Look now.
    Sync(Box<Waiter>),
    /// Say what would change.
    Plan(oneshot::Sender<Result<Proposal, SourceUnavailable>>),
    /// End.
    Stop,
}

/// Somebody who waits for a sync.
pub(super) struct Waiter {
    ask: Ask,
    deadline: Option<Instant>,
    approval: Option<Approval>,
    actions: Vec<Action>,
    /// The content that was there, and what became of it.
    awaited: Awaited,
    /// Whether a look has begun since the sync was asked for.
    served: bool,
    reply: oneshot::Sender<SyncOutcome>,
}

impl Waiter {
    pub(super) fn new(ask: Ask, now: Instant, reply: oneshot::Sender<SyncOutcome>) -> Self {
        Self {
            deadline: ask.timeout.and_then(|timeout| now.checked_add(timeout)),
            approval: None,
            actions: Vec::new(),
            awaited: Awaited::only(ask.files.iter().cloned()),
            ask,
            served: false,
            reply,
        }
    }

    /// Answers; whoever asked may have gone.
    fn answer(self, status: &SyncStatus, committed: bool, timed_out: bool) {
        let files = match self.ask.wait {
            true => self.awaited.outcomes(),
            false => Vec::new(),
        };
        let synced = match self.ask.wait {
            true => {
                let all = files.iter().all(|file| file.outcome == AwaitedOutcome::Synced);
                all && self.awaited.is_over() && status.source == Source::Ok
            }
            false => status.is_synced(),
        };
        let _ = self.reply.send(SyncOutcome {
            synced: synced && committed,
            timed_out,
            files,
            approval: self.approval,
            actions: self.actions,
            status: status.clone(),
        });
    }
}

/// The thread's own state.
pub(super) struct Worker {
    options: Options,
    storage: Arc<dyn Storage>,
    bus: EventBus,
    scanner: Scanner,
    watch: Watch,
    settle: Settle,
    judge: Judge,
    /// Whether a [`Message::Dirty`] is in the queue.
    queued: Arc<AtomicBool>,
    active: Arc<ActiveSet>,
    /// The hash of `active`.
    set_hash: SpecHash,
    /// From when the latest of its schedules counts.
    latest_count: Option<Timestamp>,
    /// The last generation of each job that was active once and is not now.
    retired: BTreeMap<JobId, u64>,
    lost: Vec<LostJob>,
    /// What the last plan refused.
    refused: Vec<Action>,
    /// Active sets of the last minute that have lost jobs since, and when they did.
    larger: Vec<(Instant, Arc<ActiveSet>)>,
    /// The folder in which files were last found.
    folder: Option<FolderId>,
    /// Whether the last plan was made for a folder that may be empty.
    allow_empty: bool,
    active_sender: watch::Sender<Arc<ActiveSet>>,
    /// Holds the only copy of the status, which is changed in place: for ten thousand files a copy is megabytes.
    status_sender: watch::Sender<Arc<SyncStatus>>,
    waiters: Vec<Waiter>,
    /// The plans that somebody may approve.
    shown: Shown,
    /// Whether something may have changed since the last look began.
    dirty: bool,
    /// Who is behind what is settling.
    cause: Actor,
    /// The user who is, if one is.
    by: Option<String>,
    looked: Option<Instant>,
    look_again: Option<Instant>,
    /// How long to wait between looks when nobody tells of changes.
    poll: Duration,
    resync_at: Instant,
    not_committed: Option<StorageError>,
}

impl Worker {
    /// Begins with the active set and the status that the senders hold; that of `loaded` is in there already.
    #[expect(clippy::too_many_arguments, reason = "each is a part that only `start` can make")]
    pub(super) fn new(
        options: Options,
        storage: Arc<dyn Storage>,
        bus: EventBus,
        loaded: Loaded,
        watch: Watch,
        queued: Arc<AtomicBool>,
        active_sender: watch::Sender<Arc<ActiveSet>>,
        status_sender: watch::Sender<Arc<SyncStatus>>,
    ) -> Self {
        let active = active_sender.borrow().clone();
        let set_hash = status_sender.borrow().active_set_hash.clone();
        // What was held before is held on, and not reported once more.
        let refused = still_held(&loaded.held, &active);
        let larger = loaded.lately.map(|(ago, removed)| {
            let began = Instant::now();
            let set = largest_lately(removed, &active);
            (began.checked_sub(ago).unwrap_or(began), Arc::new(set))
        });
        let larger = larger.into_iter().collect();
        let known = active.values().map(|active| active.record.file.clone());
        Self {
            settle: Settle::new(options.debounce, known),
            scanner: Scanner::new(&options.jobs_dir).trusting(options.trust),
            judge: Judge::new(Arc::clone(&options.check)),
            storage,
            bus,
            watch,
            queued,
            active: Arc::clone(&active),
            set_hash,
            latest_count: latest_count(&active),
            retired: loaded.retired,
            lost: loaded.lost,
            refused,
            larger,
            folder: None,
            allow_empty: false,
            active_sender,
            status_sender,
            waiters: Vec::new(),
            shown: Shown::default(),
            dirty: false,
            cause: Actor::Start,
            by: None,
            looked: None,
            look_again: None,
            poll: POLL,
            resync_at: Instant::now(),
            not_committed: None,
            options,
        }
    }

    /// Steps until it is told to stop.
    pub(super) fn run(mut self, receiver: &mpsc::Receiver<Message>) {
        self.step();
        loop {
            let deadlines = self.waiters.iter().filter_map(|waiter| waiter.deadline);
            let wake = deadlines.fold(self.next_look(), Instant::min);
            let wait = wake.saturating_duration_since(Instant::now());
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
                        self.by = None;
                    }
                    Message::Sync(waiter) => {
                        self.cause = waiter.ask.actor;
                        self.by.clone_from(&waiter.ask.by);
                        self.waiters.push(*waiter);
                    }
                    Message::Plan(reply) => {
                        let _ = reply.send(self.propose());
                    }
                    Message::Stop => return,
                }
                message = receiver.try_recv().ok();
            }
            if self.next_look() <= Instant::now() {
                self.step();
            }
            self.end_waits(Instant::now());
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
            Watching::Polling { .. } => Some(looked + self.poll),
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
                self.by = None;
            }
        }
        self.looked = Some(began);
        // What happens from here on may be missed by this look, and sets it again.
        self.dirty = false;
        let wall = SystemTime::now();
        if self.watch.only_contents_tell() {
            self.scanner.distrust_stamps();
        }
        let look = self.scanner.look(wall).and_then(|look| self.refuse_replacement(look));
        let seen = match look {
            Ok(look) => {
                if self.watch.arm(&look.watch, resync) {
                    self.dirty = true;
                }
                let settled = self.settle.observe(&look, began, wall);
                self.look_again = settled.look_again;
                self.poll = POLL.max(look.took * POLL_SHARE);
                let approving = self.waiters.iter().any(|waiter| waiter.ask.approve.is_some());
                // A plan is made of what has settled, of whether the folder may be empty, and of what only plans change.
                // When none of these is new, it would be the plan that was carried out last, and empty. Carrying it out
                // does something all the same if the clock was put back far.
                let due = settled.changed
                    || self.allow_empty != look.allow_empty
                    || approving
                    || counts_ahead(self.latest_count, Utc::now())
                    || self.not_committed.is_some();
                let reconciled = due.then(|| self.reconcile(&settled, look.allow_empty, began));
                self.tell(&settled, reconciled.as_ref().map(|(desired, plan)| (&**desired, plan)));
                Some((look, settled))
            }
            Err(error) => {
                self.watch.arm(&WatchList::of_path(&self.options.jobs_dir), resync);
                self.settle.lose_sight();
                self.look_again = Some(began + POLL);
                self.lose_source(&error);
                None
            }
        };
        self.answer(seen.as_ref().map(|(look, settled)| (look, settled)));
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
    fn reconcile(&mut self, settled: &Settled, allow_empty: bool, began: Instant) -> (Arc<Desired>, Plan) {
        let desired = self.judge.judge(settled, allow_empty);
        self.allow_empty = allow_empty;
        let now = Utc::now();
        self.larger
            .retain(|(until, _)| began.saturating_duration_since(*until) < GUARD_MEMORY);
        let approvals: Vec<PlanId> = self
            .waiters
            .iter()
            .filter_map(|waiter| waiter.ask.approve.clone())
            .collect();
        let unapproved = self.plan(&desired, None, now);
        let approved = approvals
            .into_iter()
            .find(|id| *id == unapproved.id && unapproved.waits_for_approval());
        let plan = match &approved {
            Some(id) => self.plan(&desired, Some(id.clone()), now),
            None => unapproved,
        };
        let revision = if plan.is_empty() {
            // A comment that changes no job still makes the files differ from the commit.
            self.options.revisions.changed();
            None
        } else {
            self.options.revisions.now()
        };
        let committed = self.carry_out(&plan, approved.is_some(), revision, began, now);
        if committed {
            for waiter in &mut self.waiters {
                waiter.actions.extend(plan.actions.iter().cloned());
            }
        }
        let after = match (committed, &approved) {
            (true, _) => plan.once_carried_out(&desired, &self.set_hash, self.options.prune),
            (false, None) => plan,
            (false, Some(_)) => self.plan(&desired, None, now),
        };
        for waiter in &mut self.waiters {
            if let Some(id) = waiter.ask.approve.take() {
                waiter.approval = Some(if committed && approved.as_ref() == Some(&id) {
                    Approval::Carried
                } else {
                    let current = after.waits_for_approval().then(|| after.id.clone());
                    let changed = self.shown.changes_since(&id, &desired, &self.active);
                    Approval::Stale { current, changed }
                });
            }
        }
        if after.waits_for_approval() {
            self.shown.remember(&after.id, &desired, &self.active);
        }
        (desired, after)
    }

    fn plan(&self, desired: &Desired, approved: Option<PlanId>, now: Timestamp) -> Plan {
        plan(desired, &self.active, self.past(), &self.options.policy(approved), now)
    }

    fn past(&self) -> Past<'_> {
        let larger = self.larger.iter().map(|(_, set)| set);
        Past {
            refused: &self.refused,
            largest: larger.max_by_key(|set| set.len()).unwrap_or(&self.active),
            set_hash: &self.set_hash,
        }
    }

    /// Commits a plan and swaps in its active set; returns whether it did.
    fn carry_out(
        &mut self,
        plan: &Plan,
        approved: bool,
        revision: Option<String>,
        began: Instant,
        now: Timestamp,
    ) -> bool {
        let occasion = Occasion {
            actor: self.cause,
            by: self.by.as_deref(),
            revision: revision.as_deref(),
            now,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let before = Before {
            active: &self.active,
            set_hash: &self.set_hash,
            retired: &self.retired,
            refused: &self.refused,
        };
        let applied = apply(plan, before, occasion);
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
        if applied.is_new {
            let before = std::mem::replace(&mut self.active, Arc::new(applied.active));
            self.set_hash = applied.set_hash;
            self.latest_count = latest_count(&self.active);
            self.active_sender.send_replace(Arc::clone(&self.active));
            // A job that came back, or was removed on purpose, is no longer lost.
            self.lost.retain(|lost| !self.active.contains_key(&lost.job));
            self.retire(before, approved, began);
        }
        if let Some(record) = applied.record {
            self.status_sender.send_if_modified(|status| {
                Arc::make_mut(status).last_reconcile = Some(record.clone());
                true
            });
            self.bus.publish(Event::Reconcile(record));
        }
        true
    }

    /// Remembers the jobs that were active before and are not any more.
    fn retire(&mut self, before: Arc<ActiveSet>, approved: bool, began: Instant) {
        let gone: Vec<_> = before
            .iter()
            .filter(|(job, _)| !self.active.contains_key(*job))
            .map(|(job, old)| (job.clone(), old.record.generation))
            .collect();
        if approved {
            self.larger.clear();
        } else if !gone.is_empty() {
            self.larger.push((began, before));
        }
        self.retired.extend(gone);
        self.retired.retain(|job, _| !self.active.contains_key(job));
    }

    /// Publishes how the files stand, if that is news.
    fn tell(&mut self, settled: &Settled, reconciled: Option<(&Desired, &Plan)>) {
        let now = Utc::now();
        let standing = reconciled.map(|(desired, plan)| {
            let facts = Facts {
                settled,
                desired,
                plan,
                active: &self.active,
            };
            let (files, jobs) = standings(facts, &self.status_sender.borrow(), now);
            let waiting = plan.waits_for_approval().then(|| plan.id.clone());
            (files, jobs, waiting)
        });
        let changing = settled.changing.iter().map(|unsettled| &unsettled.file);
        let settling: Vec<String> = changing.chain(&settled.leaving).cloned().collect();
        let waiting = match &standing {
            Some((_, _, waiting)) => waiting.clone(),
            None => self.status_sender.borrow().waiting_plan.clone(),
        };
        let conditions = self.conditions(&Source::Ok, settled, waiting.as_ref(), now);
        self.publish(now, |status, set| {
            if let Some((files, jobs, waiting)) = standing {
                set.to(&mut status.files, files);
                set.to(&mut status.jobs, jobs);
                set.to(&mut status.waiting_plan, waiting);
            }
            set.to(&mut status.source, Source::Ok);
            set.to(&mut status.settling, settling);
            set.to(&mut status.conditions, conditions);
        });
    }

    fn lose_source(&mut self, error: &SourceUnavailable) {
        let now = Utc::now();
        let (since, waiting) = {
            let status = self.status_sender.borrow();
            let since = match &status.source {
                Source::Unavailable { since, .. } => *since,
                Source::Ok => now,
            };
            (since, status.waiting_plan.clone())
        };
        let message = error.to_string();
        let source = Source::Unavailable { message, since };
        let conditions = self.conditions(&source, &Settled::default(), waiting.as_ref(), now);
        self.publish(now, |status, set| {
            set.to(&mut status.source, source);
            set.to(&mut status.conditions, conditions);
        });
    }

    fn conditions(
        &self,
        source: &Source,
        settled: &Settled,
        waiting: Option<&PlanId>,
        now: Timestamp,
    ) -> Vec<Condition> {
        let mut found = conditions(source, self.watch.watching(), settled, waiting, now);
        if let Some(error) = &self.not_committed {
            found.push(Condition {
                code: ConditionCode::NotCommitted,
                message: format!("a change of the jobs could not be committed: {}", chain(error)),
                since: now,
            });
        }
        found.extend(self.lost.iter().map(|lost| lost.condition(now)));
        let status = self.status_sender.borrow();
        for condition in &mut found {
            condition.keep_since(&status.conditions);
        }
        found
    }

    /// Changes the published status, and wakes those who follow it if that is news. Somebody who holds on to a status
    /// keeps it as it was.
    fn publish(&self, now: Timestamp, change: impl FnOnce(&mut SyncStatus, &mut Changes)) {
        let watching = self.watch.watching().clone();
        let set_hash = self.set_hash.clone();
        self.status_sender.send_if_modified(|published| {
            let status = Arc::make_mut(published);
            let mut set = Changes::default();
            change(status, &mut set);
            set.to(&mut status.watching, watching);
            set.to(&mut status.active_set_hash, set_hash);
            // A look that finds nothing new wakes nobody, but for its time being right when somebody asks.
            status.looked_at = Some(now);
            set.made
        });
    }

    /// Answers those who have waited long enough; `None` when the folder could not be looked at.
    fn answer(&mut self, seen: Option<(&Look, &Settled)>) {
        if self.waiters.is_empty() {
            return;
        }
        let status = Arc::clone(&self.status_sender.borrow());
        let committed = self.not_committed.is_none();
        for waiter in &mut self.waiters {
            waiter.served = true;
            if let (true, Some((look, settled))) = (waiter.ask.wait, seen) {
                waiter.awaited.observe(look, settled, &status);
            }
        }
        let in_vain = seen.is_none() || !committed;
        let over = |waiter: &mut Waiter| in_vain || !waiter.ask.wait || waiter.awaited.is_over();
        for waiter in self.waiters.extract_if(.., over) {
            waiter.answer(&status, committed, false);
        }
    }

    /// Answers those whose time is up.
    fn end_waits(&mut self, now: Instant) {
        let is_over = |waiter: &mut Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now);
        let ended: Vec<Waiter> = self.waiters.extract_if(.., is_over).collect();
        if ended.is_empty() {
            return;
        }
        let status = Arc::clone(&self.status_sender.borrow());
        let committed = self.not_committed.is_none();
        for waiter in ended {
            waiter.answer(&status, committed, true);
        }
    }

    fn propose(&mut self) -> Result<Proposal, SourceUnavailable> {
        let look = self.scanner.look(SystemTime::now())?;
        let look = self.refuse_replacement(look)?;
        let desired = self.judge.judge(&Settled::as_seen(&look), look.allow_empty);
        let active = Arc::clone(&self.active);
        let proposal = Proposal::new(&desired, active, self.past(), &self.options, Utc::now());
        if proposal.plan.waits_for_approval() {
            self.shown.remember(&proposal.plan.id, &desired, &self.active);
        }
        Ok(proposal)
    }
}

/// Sets values, and knows whether one of them became another.
#[derive(Default)]
struct Changes {
    made: bool,
}

impl Changes {
    fn to<T: PartialEq>(&mut self, place: &mut T, value: T) {
        if *place != value {
            *place = value;
            self.made = true;
        }
    }
}
