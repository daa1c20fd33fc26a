//! The loop: look, settle, judge, plan, commit, swap, say.
//!
//! It may block on the disk; nobody else waits for it but those who ask. It reads the clocks for what decides, and decides
//! itself only when to look and whether what it sees is the folder at all. The rest is with others: [`Writer`] carries
//! plans out, [`Publisher`] says how the files stand, [`Waiters`] get their answers. What it touches is in [`World`].

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use chrono::DateTime;
use tokio::sync::{oneshot, watch};

use super::{
    Approval,
    publisher::{Now, Publisher},
    waiting::{Waiter, Waiters},
    world::World,
    writer::{Carried, Writer},
};
use crate::{
    core::{Timestamp, active::ActiveSet, record::Actor},
    events::{Event, EventBus},
    reconcile::{
        apply::Occasion,
        desired::{Desired, Judge},
        journal::Loaded,
        options::Options,
        plan::{Plan, PlanId},
        proposal::Proposal,
        scan::{FolderId, Look, SourceUnavailable},
        settle::{Settle, Settled},
        stale::Shown,
        status::SyncStatus,
        watch::{WatchList, Watching},
    },
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

/// The thread's own state.
pub(super) struct Worker<W> {
    options: Options,
    world: W,
    bus: EventBus,
    settle: Settle,
    judge: Judge,
    writer: Writer,
    publisher: Publisher,
    waiters: Waiters,
    /// The plans that somebody may approve.
    shown: Shown,
    /// Whether a [`Message::Dirty`] is in the queue.
    queued: Arc<AtomicBool>,
    /// The folder in which files were last found.
    folder: Option<FolderId>,
    /// Whether the last plan was made for a folder that may be empty.
    allow_empty: bool,
    /// The files that were said to be changing when the last plan was made.
    said_changing: Vec<String>,
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
}

impl<W: World> Worker<W> {
    /// Begins with the active set and the status that the senders hold; that of `loaded` is in there already.
    pub(super) fn new(
        options: Options,
        world: W,
        bus: EventBus,
        loaded: Loaded,
        queued: Arc<AtomicBool>,
        active_sender: watch::Sender<Arc<ActiveSet>>,
        status_sender: watch::Sender<Arc<SyncStatus>>,
    ) -> Self {
        let now = world.instant();
        let set_hash = status_sender.borrow().active_set_hash.clone();
        let writer = Writer::new(loaded, set_hash, now, active_sender);
        let known = writer.active().values().map(|active| active.record.file.clone());
        Self {
            settle: Settle::new(options.debounce, known),
            judge: Judge::new(Arc::clone(&options.check)),
            bus,
            writer,
            publisher: Publisher::new(status_sender),
            waiters: Waiters::default(),
            shown: Shown::default(),
            queued,
            folder: None,
            allow_empty: false,
            said_changing: Vec::new(),
            dirty: false,
            cause: Actor::Start,
            by: None,
            looked: None,
            look_again: None,
            poll: POLL,
            resync_at: now,
            options,
            world,
        }
    }

    /// Steps until it is told to stop.
    pub(super) fn run(mut self, receiver: &mpsc::Receiver<Message>) {
        self.step();
        loop {
            let wake = self.waiters.deadline().into_iter().fold(self.next_look(), Instant::min);
            let wait = wake.saturating_duration_since(self.world.instant());
            let mut message = match receiver.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            while let Some(next) = message {
                if self.hear(next).is_break() {
                    return;
                }
                message = receiver.try_recv().ok();
            }
            let now = self.world.instant();
            if self.next_look() <= now {
                self.step();
            }
            if self.waiters.deadline().is_some_and(|deadline| deadline <= now) {
                let committed = self.writer.not_committed().is_none();
                self.waiters.end(now, &self.publisher.status(), committed);
            }
        }
    }

    /// Takes in a message; breaks when it is time to end.
    pub(super) fn hear(&mut self, message: Message) -> ControlFlow<()> {
        match message {
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
            Message::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// When to look next.
    pub(super) fn next_look(&self) -> Instant {
        let Some(looked) = self.looked else {
            return self.resync_at;
        };
        if self.waiters.want_a_look() {
            return looked;
        }
        let polled = match self.world.watching() {
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
    pub(super) fn step(&mut self) {
        let began = self.world.instant();
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
        let wall = self.world.wall();
        let look = self.world.look(wall).and_then(|look| self.refuse_replacement(look));
        let seen = match look {
            Ok(look) => {
                if self.world.arm(&look.watch, resync) {
                    self.dirty = true;
                }
                let settled = self.settle.observe(&look, began, wall);
                self.look_again = settled.look_again;
                self.poll = POLL.max(look.took * POLL_SHARE);
                // A plan is made of what has settled, of whether the folder may be empty, and of what only plans change.
                // When none of these is new, it would be the plan that was carried out last, and empty. But a file that
                // came back to what it was has to be told of, though nothing has settled.
                let changing = |file: &String| settled.changing.iter().any(|unsettled| unsettled.file == *file);
                let due = settled.changed
                    || !self.said_changing.iter().all(changing)
                    || self.allow_empty != look.allow_empty
                    || !self.waiters.approvals().is_empty()
                    || self.writer.is_behind(self.now());
                let reconciled = due.then(|| self.reconcile(&settled, look.allow_empty, began));
                let reconciled = reconciled.as_ref().map(|(desired, plan)| (&**desired, plan));
                self.publisher.looked(self.to_say(), &settled, reconciled);
                Some((look, settled))
            }
            Err(error) => {
                self.world.arm(&WatchList::of_path(&self.options.jobs_dir), resync);
                self.settle.lose_sight();
                self.look_again = Some(began + POLL);
                self.publisher.lost_source(self.to_say(), &error);
                None
            }
        };
        if !self.waiters.is_empty() {
            let seen = seen.as_ref().map(|(look, settled)| (look, settled));
            let committed = self.writer.not_committed().is_none();
            self.waiters.answer(seen, &self.publisher.status(), committed);
        }
    }

    /// Refuses a folder that is not the one with the files, and remembers the one that is.
    fn refuse_replacement(&mut self, look: Look) -> Result<Look, SourceUnavailable> {
        let has_jobs = !self.writer.active().is_empty();
        let look = look.unless_replaced(&self.options.jobs_dir, self.folder, has_jobs)?;
        if !look.files.is_empty() {
            self.folder = Some(look.folder);
        }
        Ok(look)
    }

    /// Plans, commits and swaps. Returns the plan that stands after it, of which nothing is left to do.
    fn reconcile(&mut self, settled: &Settled, allow_empty: bool, began: Instant) -> (Arc<Desired>, Plan) {
        let desired = self.judge.judge(settled, allow_empty);
        self.allow_empty = allow_empty;
        let changing = settled.changing.iter().map(|unsettled| unsettled.file.clone());
        self.said_changing = changing.collect();
        let now = self.now();
        self.writer.forget(began);
        let unapproved = self.plan(&desired, None, now);
        let approved = self
            .waiters
            .approvals()
            .into_iter()
            .find(|id| *id == unapproved.id && unapproved.waits_for_approval());
        let plan = match &approved {
            Some(id) => self.plan(&desired, Some(id.clone()), now),
            None => unapproved,
        };
        let committed = self.carry_out(&plan, approved.is_some(), began, now);
        if committed {
            self.waiters.note(&plan.actions);
        }
        let after = match (committed, &approved) {
            (true, _) => plan.once_carried_out(&desired, self.writer.set_hash(), self.options.prune),
            (false, None) => plan,
            (false, Some(_)) => self.plan(&desired, None, now),
        };
        let waiting = after.waits_for_approval().then(|| after.id.clone());
        self.waiters
            .tried(|id| match committed && approved.as_ref() == Some(id) {
                true => Approval::Carried,
                false => Approval::Stale {
                    current: waiting.clone(),
                    changed: self.shown.changes_since(id, &desired, self.writer.active()),
                },
            });
        if let Some(id) = &waiting {
            self.shown.remember(id, &desired, self.writer.active());
        }
        (desired, after)
    }

    /// Commits a plan and swaps in its active set; returns whether it did.
    fn carry_out(&mut self, plan: &Plan, approved: bool, began: Instant, now: Timestamp) -> bool {
        let revision = if plan.is_empty() {
            // A comment that changes no job still makes the files differ from the commit.
            self.options.revisions.changed();
            None
        } else {
            self.options.revisions.now()
        };
        let occasion = Occasion {
            actor: self.cause,
            by: self.by.as_deref(),
            revision: revision.as_deref(),
            now,
            duration_ms: u64::try_from((self.world.instant() - began).as_millis()).unwrap_or(u64::MAX),
        };
        match self.writer.carry_out(plan, approved, occasion, began, &mut self.world) {
            Carried::Committed(record) => {
                if let Some(record) = record {
                    self.publisher.record(&record);
                    self.bus.publish(Event::Reconcile(record));
                }
                true
            }
            Carried::NotCommitted => {
                self.look_again = Some(self.world.instant() + POLL);
                false
            }
        }
    }

    fn propose(&mut self) -> Result<Proposal, SourceUnavailable> {
        let look = self.world.look(self.world.wall())?;
        let look = self.refuse_replacement(look)?;
        let desired = self.judge.judge(&Settled::as_seen(&look), look.allow_empty);
        let active = Arc::clone(self.writer.active());
        let proposal = Proposal::new(&desired, active, self.writer.past(), &self.options, self.now());
        if proposal.plan.waits_for_approval() {
            self.shown.remember(&proposal.plan.id, &desired, self.writer.active());
        }
        Ok(proposal)
    }

    fn plan(&self, desired: &Desired, approved: Option<PlanId>, now: Timestamp) -> Plan {
        self.writer.plan(desired, &self.options.policy(approved), now)
    }

    /// What the files that were judged last would still change.
    #[cfg(test)]
    pub(super) fn left_to_do(&self) -> Plan {
        self.plan(self.judge.last(), None, self.now())
    }

    fn to_say(&self) -> Now<'_> {
        Now {
            at: self.now(),
            watching: self.world.watching(),
            writer: &self.writer,
        }
    }

    fn now(&self) -> Timestamp {
        DateTime::from(self.world.wall())
    }
}
