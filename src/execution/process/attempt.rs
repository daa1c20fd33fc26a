//! One attempt from its start to an end with nothing left over.
//!
//! [`Processes::start`] makes the process; [`Running::wait`] reads its output into the log, obeys the timeout and its
//! [`Canceller`]s, and resolves once the process *and its tree* are gone. It does not know why the attempt runs, nor
//! what follows from its ending.
//!
//! After an ordinary exit the usual tree is empty, and proving it takes a look at the whole process table, which costs
//! more than starting `/bin/true`. So: whoever still holds the output or is in the leader's group is found at once
//! without a look; an attempt that ran for twenty times a look's cost can afford its own look; and shorter ones share
//! one, at most a quarter of a second after they ended, for what left the group *and* closed the output.

use std::future::pending;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::capture::{Capture, Captures};
use super::cgroup::{Cgroups, Group};
use super::children::{self, Child, Command, ExitStatus, SpawnError, Usage};
use super::procfs::{Mark, ProcessId};
use super::scales::{self, Scales};
use super::sys;
use super::tree::{Claim, MarkClaim, Tree, pause_between_looks};
use crate::core::ending::Ending;
use crate::execution::output::{LogWriter, Mask};

/// What one attempt is to execute, and within which bounds.
#[derive(Debug, Clone)]
pub struct AttemptSpec {
    /// Its environment should name instance, run, task and attempt (see [`Mark`]): by them processes are recognised
    /// that left the attempt's session, or outlived Petit.
    pub command: Command,
    /// Between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Counts from the process's start.
    pub timeout: Option<Duration>,
    /// How much memory the whole tree may hold, in bytes.
    pub memory_limit: Option<u64>,
    /// Where its output goes.
    pub log: PathBuf,
    /// How large that file may become, in bytes.
    pub log_size: u64,
    /// What is hidden in it.
    pub mask: Arc<Mask>,
}

/// Where attempts are started. Clones share the looks for what short attempts left behind, and the turns of those that print
/// without end.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    strays: Arc<Mutex<Strays>>,
    scales: Scales,
    captures: Captures,
    cgroups: Option<Cgroups>,
}

/// An attempt that has a process. Dropped before it ended, its group is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    capture: Capture,
    claim: Claim,
    kill_grace: Duration,
    timeout: Option<Duration>,
    started: Instant,
    started_at: DateTime<Utc>,
    orders: watch::Receiver<Option<Order>>,
    canceller: Canceller,
    weighed: scales::Place,
    group: Option<Group>,
    processes: Processes,
}

/// Ends a running attempt from elsewhere. After the attempt's end it does nothing.
#[derive(Debug, Clone)]
pub struct Canceller(watch::Sender<Option<Order>>);

/// Why an attempt is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Cancelled,
    /// The run's timeout passed.
    TimedOut,
    /// It holds more memory than it may.
    OverMemory,
    /// Petit stops.
    Interrupted,
}

/// How an attempt ended, and what it cost.
#[derive(Debug)]
pub struct Ended {
    /// Its ending, by which retries are judged.
    pub ending: Ending,
    /// `None` when somebody else took the exit from the kernel.
    pub usage: Option<Usage>,
    /// The most memory that its tree was seen to hold at a time, or that any process of it held, in bytes. `None` for an
    /// attempt that was too short to be looked at and stayed below Petit's own size.
    pub peak_memory: Option<u64>,
    /// How much it printed, in bytes, whether the log kept it or not.
    pub bytes_out: u64,
    /// When its process started.
    pub started_at: DateTime<Utc>,
    /// When its process and its tree were gone.
    pub ended_at: DateTime<Utc>,
    /// Why the log lacks its end, if it does.
    pub log_error: Option<String>,
    /// Processes of the tree that survived SIGKILL: stuck in the kernel, or another user's.
    pub survivors: Vec<ProcessId>,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    why: Stop,
    /// Without the grace.
    at_once: bool,
}

/// Trees of short attempts that nobody has looked for yet, and of attempts beside which others went on to which a stray may
/// have belonged.
#[derive(Debug, Default)]
struct Strays {
    claims: Vec<Claim>,
    kill_grace: Duration,
    /// A task is under way that will look.
    expected: bool,
}

/// How long after the exit a descendant may keep the output open: enough for the last line of a `tee`, too short to
/// pass a service off as a task.
const HELD_OPEN: Duration = Duration::from_secs(2);
/// How long the output is read on after the tree is gone. Only somebody who escaped can still hold it then, and is ended.
const AFTERGLOW: Duration = Duration::from_millis(200);
/// The least time between two looks for strays.
const STRAYS_PAUSE: Duration = Duration::from_millis(250);

impl Processes {
    /// Where nothing was started yet.
    pub fn new() -> Self {
        Processes::default()
    }

    /// The same place, with limits that the kernel enforces in control groups.
    #[must_use]
    pub fn with_cgroups(mut self, cgroups: Option<Cgroups>) -> Self {
        self.cgroups = cgroups;
        self
    }

    /// Starts the attempt. Must be called within a tokio runtime; blocks for the few hundred microseconds until the
    /// program executes. The error says with which [`Ending`] the attempt ends instead.
    pub fn start(&self, spec: AttemptSpec) -> Result<Running, SpawnError> {
        let (child, output) = children::spawn_attempt(&spec.command)?;
        let (orders_in, orders) = watch::channel(None);
        let canceller = Canceller(orders_in);
        let claim = claim(child.id(), &spec.command);
        let group = spec.memory_limit.and_then(|limit| self.group(child.id(), limit));
        Ok(Running {
            weighed: self.scales.put(claim.clone(), spec.memory_limit, &canceller),
            group,
            claim,
            child,
            capture: self
                .captures
                .take(output, LogWriter::new(spec.log, spec.log_size).masked(spec.mask)),
            kill_grace: spec.kill_grace,
            timeout: spec.timeout,
            started: Instant::now(),
            started_at: Utc::now(),
            orders,
            canceller,
            processes: self.clone(),
        })
    }

    /// A group of its own for an attempt with a limit. Where that fails the scales are there.
    fn group(&self, leader: ProcessId, limit: u64) -> Option<Group> {
        let grouped = self.cgroups.as_ref()?.group(limit).and_then(|group| {
            group.enter(leader.pid)?;
            Ok(group)
        });
        grouped
            .inspect_err(|error| tracing::warn!(%error, "no control group for a limit: its tree is watched instead"))
            .ok()
    }

    /// Ends now whatever short attempts left behind, instead of within a quarter of a second.
    pub async fn settle(&self) {
        let (claims, grace) = {
            let mut strays = self.strays();
            (mem::take(&mut strays.claims), strays.kill_grace)
        };
        if !claims.is_empty() {
            Tree::new(claims, None).sweeping().end(grace, pending()).await;
        }
    }

    fn leave_strays(&self, claim: Claim, kill_grace: Duration) {
        let mut strays = self.strays();
        strays.claims.push(claim);
        strays.kill_grace = strays.kill_grace.max(kill_grace);
        if !mem::replace(&mut strays.expected, true) {
            tokio::spawn(self.clone().settle_until_empty());
        }
    }

    async fn settle_until_empty(self) {
        loop {
            sleep(STRAYS_PAUSE.max(pause_between_looks())).await;
            self.settle().await;
            let mut strays = self.strays();
            if strays.claims.is_empty() {
                strays.expected = false;
                return;
            }
        }
    }

    fn strays(&self) -> MutexGuard<'_, Strays> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Canceller {
    /// SIGTERM to the tree and, after the attempt's grace, SIGKILL. The first reason given is the one that counts.
    pub fn stop(&self, why: Stop) {
        self.order(Order { why, at_once: false });
    }

    /// As [`Canceller::stop`], without the rest of the grace.
    pub fn kill(&self, why: Stop) {
        self.order(Order { why, at_once: true });
    }

    fn order(&self, new: Order) {
        self.0.send_modify(|order| match order {
            Some(order) => order.at_once |= new.at_once,
            None => *order = Some(new),
        });
    }
}

impl Stop {
    fn ending(self) -> Ending {
        match self {
            Stop::Cancelled => Ending::Cancelled,
            Stop::TimedOut => Ending::TimedOut,
            Stop::OverMemory => Ending::OverMemory,
            Stop::Interrupted => Ending::Interrupted,
        }
    }
}

impl Running {
    /// What the journal records, to recognise the process after a crash.
    pub fn id(&self) -> ProcessId {
        self.child.id()
    }

    /// When its process started.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// What ends it from elsewhere.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Resolves when the process and its tree are gone and the log is complete.
    pub async fn wait(mut self) -> Ended {
        let stopped = self.until_exit_or_stop().await;
        // An order or a timeout that comes between exit and the output's end changes nothing: the process has ended.
        let held_open = stopped.is_none() && !self.capture.drain(HELD_OPEN).await;
        let mut survivors = Vec::new();
        let mut left_strays = false;
        // Whoever is left in a control group would be killed with it, without a grace.
        let look =
            stopped.is_some() || held_open || self.group.is_some() || self.started.elapsed() >= pause_between_looks();
        if look {
            let mut tree = self.tree();
            if held_open {
                tree = tree.holding(self.capture.names());
            }
            survivors = self.end_tree(&mut tree, self.kill_grace).await;
            left_strays = tree.left_strays();
            let closed = self.capture.drain(AFTERGLOW).await;
            if !closed && survivors.is_empty() {
                // Whoever escaped the end of the tree had its grace with it.
                let mut holders = self.tree().holding(self.capture.names());
                survivors = self.end_tree(&mut holders, Duration::ZERO).await;
            }
        }
        self.child.exited().await;
        let pid = self.id().pid;
        let exit = self.child.collect();
        if !look {
            // Once the leader is collected, the group's existence says whether anybody else is in it.
            if sys::signal_group(pid, 0).is_ok() {
                let mut tree = Tree::new(vec![self.claim.clone()], None);
                survivors = tree.end(self.kill_grace, pending()).await;
                left_strays = tree.left_strays();
            } else {
                left_strays = true;
            }
        }
        if left_strays {
            self.processes.leave_strays(self.claim, self.kill_grace);
        }
        let ended_at = Utc::now();
        let (bytes_out, log_error) = self.capture.finish(ended_at);
        let was_killed = self.group.as_ref().is_some_and(Group::was_killed);
        let ending = match (stopped, &exit) {
            (Some(ending), _) => ending,
            // However it looks from outside: a shell may even have caught the death of its child.
            (None, _) if was_killed => Ending::OverMemory,
            (None, Ok(exit)) => match exit.status {
                // A failure keeps its own name: it says more than that somebody stayed behind.
                ExitStatus::Exited(0) if held_open => Ending::OutputHeldOpen,
                ExitStatus::Exited(code) => Ending::Exited(code),
                ExitStatus::Signalled(signal) => Ending::Signalled(signal),
            },
            // Nobody can say any more how it ended.
            (None, Err(_)) => Ending::Interrupted,
        };
        let usage = exit.ok().map(|exit| exit.usage);
        let peaks = [
            usage.and_then(|usage| usage.max_rss_bytes),
            self.weighed.peak(),
            self.group.as_ref().and_then(Group::peak),
        ];
        Ended {
            ending,
            usage,
            peak_memory: peaks.into_iter().flatten().max(),
            bytes_out,
            started_at: self.started_at,
            ended_at,
            log_error,
            survivors,
        }
    }

    /// `None` when the process exited by itself, else the ending that was ordered.
    async fn until_exit_or_stop(&mut self) -> Option<Ending> {
        let mut timed_out = pin!(at(self.timeout.map(|timeout| self.started + timeout)));
        loop {
            // The exit stands first: a process that has ended is not also timed out. Each branch is cancel safe.
            tokio::select! {
                biased;
                () = self.child.exited() => return None,
                stop = ordered(&mut self.orders) => return Some(stop.ending()),
                () = &mut timed_out => return Some(Ending::TimedOut),
                stream = self.capture.readable() => self.capture.read(stream).await,
            }
        }
    }

    /// Everybody in the attempt, while its leader is not collected.
    fn tree(&self) -> Tree {
        Tree::new(vec![self.claim.clone()], Some(self.id().pid))
    }

    async fn end_tree(&mut self, tree: &mut Tree, grace: Duration) -> Vec<ProcessId> {
        children::being_ended(self.id().pid, Instant::now() + grace);
        let orders = &mut self.orders;
        let hurry = async move {
            if orders
                .wait_for(|order| order.is_some_and(|order| order.at_once))
                .await
                .is_err()
            {
                pending::<()>().await;
            }
        };
        let mut ended = pin!(tree.end(grace, hurry));
        loop {
            // What the processes say while they end belongs to the log, and a full pipe would keep them from ending.
            tokio::select! {
                survivors = &mut ended => return survivors,
                stream = self.capture.readable() => self.capture.read(stream).await,
            }
        }
    }
}

fn claim(leader: ProcessId, command: &Command) -> Claim {
    let env = command
        .env
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    // A mark that names less than one attempt would claim the processes of others.
    let mark = Mark::of(env).filter(|mark| mark.task.is_some() && mark.attempt.is_some());
    Claim {
        leader: Some(leader),
        mark: mark.map(MarkClaim::Attempt),
    }
}

async fn ordered(orders: &mut watch::Receiver<Option<Order>>) -> Stop {
    match orders.wait_for(Option::is_some).await.map(|order| *order) {
        Ok(Some(order)) => order.why,
        Ok(None) | Err(_) => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
