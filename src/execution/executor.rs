//! The loop that owns every run that is going.
//!
//! It takes what has come in (messages, an engine's reports, timers that fired), lets each run's machine and the
//! admission decide, commits all their changes as one transaction, waits for it, and only then does what was decided.
//! So an attempt is in the journal before its process exists, an end is on disk before anybody hears of it, and a hop
//! from one task to the next is one commit. Nothing else touches the machines; there are no locks.
//!
//! It does not decide which runs exist, and does not know what an attempt is made of.

mod handle;
mod journal;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub use handle::{ExecutorGone, Handle, RunStart};
pub use journal::Conditions;
pub use snapshot::{ActiveRun, Lack, TaskName, WaitingTask};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use self::{handle::Message, journal::Journal};
use super::{
    Clock,
    admission::{Admission, Request, TaskKey},
    engine::{AttemptEnd, AttemptKey, Engine, Report, Reports, Stop},
    inputs::{self, Surroundings},
    machine::{Effect, Input, RunMachine, Timer},
};
use crate::{
    core::{Timestamp, capacity::SystemResources, dag::TaskIndex, ending::Ending, id::RunId, job::Job},
    events::{Event, EventBus},
    storage::{Change, RunDetail, Storage},
};

/// How many messages may wait. They are small and the loop is away only for a commit, so a caller that has to wait here
/// waits because the journal is slow, which it should feel.
const QUEUE: usize = 256;
/// How many inputs are taken together at most, so that a flood of ends cannot hold back its own commit for ever.
const BATCH: usize = 256;

/// What an executor works with. Its other end is a [`Handle`].
///
/// It can be used by itself, without schedules: whoever does so creates the runs in the journal.
///
/// ```
/// use std::{collections::BTreeMap, sync::Arc};
/// use petit::{CommandTask, DagBuilder, EventBus, Executor, Milestone, RunId, Storage, SystemResources};
/// use petit::execution::{executor::RunStart, inputs::{Surroundings, base_environment}, local::LocalEngine};
/// use petit::storage::Memory;
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let storage: Arc<dyn Storage> = Arc::new(Memory::default());
/// let bus = EventBus::default();
/// let mut events = bus.listen();
/// let folder = std::env::temp_dir().join(format!("petit-executor-{}", std::process::id()));
/// let (handle, executing) = Executor {
///     surroundings: Surroundings {
///         env: base_environment(std::env::vars(), &[]),
///         home: "/".into(),
///         state_dir: folder.clone(),
///         instance: storage.journal_id().unwrap(),
///     },
///     capacity: SystemResources { tasks: 4, cpu_millis: 4_000, memory_bytes: 1 << 30, pools: BTreeMap::new() },
///     clock: Arc::new(chrono::Utc::now),
///     storage: Arc::clone(&storage),
///     engine: Arc::new(LocalEngine::new(1 << 20, Arc::new(chrono::Utc::now))),
///     bus,
/// }
/// .spawn();
///
/// let job = DagBuilder::new("hello").task("say", CommandTask::new(["echo", "hello"])).build().unwrap();
/// let now = chrono::Utc::now();
/// let start = RunStart::by_hand(Arc::new(job), RunId::from_parts(now, 1), now);
/// storage.commit(start.creation()).wait().await.unwrap();
/// handle.start(start).await.unwrap();
/// while events.recv().await.unwrap().milestone() != Some(Milestone::JobCompleted) {}
/// handle.shutdown(std::time::Duration::ZERO).await;
/// executing.await.unwrap();
/// # std::fs::remove_dir_all(folder).unwrap();
/// # });
/// ```
pub struct Executor {
    /// What is the same for all tasks.
    pub surroundings: Surroundings,
    /// How much may run at a time.
    pub capacity: SystemResources,
    /// Tells the wall time.
    pub clock: Clock,
    /// Where what happens is kept.
    pub storage: Arc<dyn Storage>,
    /// What runs the attempts.
    pub engine: Arc<dyn Engine>,
    /// Where what happened is told.
    pub bus: EventBus,
}

impl Executor {
    /// Starts the loop on the current tokio runtime. It ends after [`Handle::shutdown`], when the journal closes, or
    /// when no handle is left and nothing runs.
    pub fn spawn(self) -> (Handle, tokio::task::JoinHandle<()>) {
        let (sender, messages) = mpsc::channel(QUEUE);
        let (reports_in, reports) = mpsc::unbounded_channel();
        let (conditions_in, conditions) = watch::channel(Conditions::default());
        let (hurry, hurried) = watch::channel(false);
        let state = Loop {
            admission: Admission::new(self.capacity),
            journal: Journal::new(self.storage, conditions_in, hurried),
            surroundings: self.surroundings,
            clock: self.clock,
            engine: self.engine,
            bus: self.bus,
            reports: reports_in,
            runs: HashMap::new(),
            launched: HashMap::new(),
            timers: BinaryHeap::new(),
            inputs: VecDeque::new(),
            changes: Vec::new(),
            deeds: Vec::new(),
            shutdown: None,
        };
        let task = tokio::spawn(state.run(messages, reports));
        (Handle::new(sender, conditions, hurry), task)
    }
}

/// What is done once the changes are on disk.
#[derive(Debug)]
enum Deed {
    Launch { task: TaskIndex, attempt: u32 },
    Kill { task: TaskIndex, attempt: u32, why: Stop },
    Finish,
}

struct Shutdown {
    stop_at: Instant,
    /// Whether the running attempts have been told to end.
    stopped: bool,
    done: Vec<oneshot::Sender<()>>,
}

struct Loop {
    surroundings: Surroundings,
    clock: Clock,
    engine: Arc<dyn Engine>,
    bus: EventBus,
    reports: Reports,
    journal: Journal,
    admission: Admission,
    runs: HashMap<RunId, RunMachine>,
    /// The attempts that the engine has and has not reported as ended.
    launched: HashMap<AttemptKey, TaskIndex>,
    timers: BinaryHeap<Reverse<(Instant, RunId, Timer)>>,
    /// What the machines have still to be told.
    inputs: VecDeque<(RunId, Input)>,
    changes: Vec<(RunId, Change)>,
    deeds: Vec<(RunId, Deed)>,
    shutdown: Option<Shutdown>,
}

impl Loop {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>, mut reports: mpsc::UnboundedReceiver<Report>) {
        let mut open = true;
        while !self.is_done(open) {
            let next = self.next_timer();
            // Every arm is cancel safe: receiving takes nothing unless it resolves, and timers stay in their heap.
            tokio::select! {
                message = messages.recv(), if open => match message {
                    Some(message) => self.take_message(message),
                    None => open = false,
                },
                Some(report) = reports.recv() => self.take_report(report),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            for _ in 0..BATCH {
                if let Ok(report) = reports.try_recv() {
                    self.take_report(report);
                } else if let Ok(message) = messages.try_recv() {
                    self.take_message(message);
                } else {
                    break;
                }
            }
            self.take_timers();
            loop {
                self.decide();
                if self.commit().await.is_break() {
                    return;
                }
                self.carry_out();
                if self.inputs.is_empty() {
                    break;
                }
            }
        }
        if let Some(shutdown) = self.shutdown {
            for done in shutdown.done {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    fn is_done(&self, open: bool) -> bool {
        let idle = self.launched.is_empty();
        idle && (self.shutdown.is_some() || (!open && self.runs.is_empty()))
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn next_timer(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let stop = self
            .shutdown
            .as_ref()
            .filter(|shutdown| !shutdown.stopped)
            .map(|shutdown| shutdown.stop_at);
        timer.into_iter().chain(stop).min()
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Begin { detail, job } => self.begin(*detail, job),
            Message::Cancel {
                run,
                reason,
                unstarted,
                known,
            } => {
                let going = self.runs.contains_key(&run);
                if going {
                    self.inputs.push_back((run, Input::Cancel { reason, unstarted }));
                }
                let _ = known.send(going);
            }
            Message::SetCapacity(capacity) => {
                for (key, refused) in self.admission.set_capacity(capacity) {
                    let reason = refused.to_string();
                    self.inputs
                        .push_back((key.run, Input::Refused { task: key.task, reason }));
                }
            }
            Message::Waiting(reply) => drop(reply.send(snapshot::waiting(&self.admission, &self.runs))),
            Message::Active(reply) => drop(reply.send(snapshot::active(&self.runs))),
            Message::Shutdown { grace, done } => self.begin_shutdown(grace, done),
        }
    }

    /// Takes a run over. One that comes while Petit stops stays in the journal for the next Petit.
    fn begin(&mut self, detail: RunDetail, job: Arc<Job>) {
        let id = detail.run.id;
        if self.shutdown.is_some() || self.runs.contains_key(&id) {
            return;
        }
        tracing::debug!(run = %id, job = %job.id, "run taken over");
        let mut machine = RunMachine::new(job, detail);
        let effects = machine.begin(self.now());
        self.runs.insert(id, machine);
        self.absorb(id, effects);
    }

    fn begin_shutdown(&mut self, grace: Duration, done: oneshot::Sender<()>) {
        let stop_at = Instant::now() + grace;
        match &mut self.shutdown {
            None => {
                self.shutdown = Some(Shutdown {
                    stop_at,
                    stopped: false,
                    done: vec![done],
                });
            }
            Some(shutdown) => {
                shutdown.stop_at = shutdown.stop_at.min(stop_at);
                shutdown.done.push(done);
                // Who asks again while attempts are ending already wants them gone.
                if shutdown.stopped && grace.is_zero() {
                    self.launched
                        .keys()
                        .for_each(|key| self.engine.stop(key, Stop::InterruptedAtOnce));
                }
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Started { key, at, process } => {
                if let Some(&task) = self.launched.get(&key) {
                    let attempt = key.attempt;
                    let started = Input::Started {
                        task,
                        attempt,
                        at,
                        process,
                    };
                    self.inputs.push_back((key.run, started));
                }
            }
            Report::Ended { key, end } => {
                self.journal.starting(&key, None);
                if let Some(task) = self.launched.remove(&key) {
                    let attempt = key.attempt;
                    self.inputs.push_back((key.run, Input::Ended { task, attempt, end }));
                }
            }
            Report::Delayed { key, because } => self.journal.starting(&key, because),
        }
    }

    fn take_timers(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, run, timer))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.inputs.push_back((run, Input::Due(timer)));
        }
        if let Some(shutdown) = self
            .shutdown
            .as_mut()
            .filter(|shutdown| !shutdown.stopped && shutdown.stop_at <= now)
        {
            shutdown.stopped = true;
            self.launched
                .keys()
                .for_each(|key| self.engine.stop(key, Stop::Interrupted));
        }
    }

    /// Lets the machines take their inputs, and grants what can be granted, until neither changes anything.
    fn decide(&mut self) {
        loop {
            while let Some((run, input)) = self.inputs.pop_front() {
                let now = self.now();
                if let Some(machine) = self.runs.get_mut(&run) {
                    let effects = machine.step(input, now);
                    self.absorb(run, effects);
                }
            }
            // While Petit stops, nothing new starts: what is ready stays so in the journal.
            let granted = if self.shutdown.is_some() {
                Vec::new()
            } else {
                self.admission.admit()
            };
            if granted.is_empty() && self.inputs.is_empty() {
                return;
            }
            self.inputs
                .extend(granted.into_iter().map(|key| (key.run, Input::Granted(key.task))));
        }
    }

    fn absorb(&mut self, run: RunId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Journal(change) => self.changes.push((run, change)),
                Effect::Request { task, since } => self.request(run, task, since),
                Effect::Withdraw(task) => self.admission.withdraw(TaskKey { run, task }),
                Effect::Release(task) => self.admission.release(TaskKey { run, task }),
                Effect::Launch { task, attempt } => self.deeds.push((run, Deed::Launch { task, attempt })),
                Effect::Kill { task, attempt, why } => self.deeds.push((run, Deed::Kill { task, attempt, why })),
                Effect::Arm { at, timer } => {
                    // The wall clock may jump while a timer runs; the length of the wait is what counts.
                    let wait = (at - self.now()).to_std().unwrap_or_default();
                    self.timers.push(Reverse((Instant::now() + wait, run, timer)));
                }
                Effect::Finish => self.deeds.push((run, Deed::Finish)),
            }
        }
    }

    fn request(&mut self, run: RunId, task: TaskIndex, since: Timestamp) {
        let Some(job) = self.runs.get(&run).map(RunMachine::job) else {
            return;
        };
        let key = TaskKey { run, task };
        let resources = &job.task(task).resources;
        let request = Request::new(key, job.spec.priority, since, job.spec.max_concurrency, resources);
        if let Err(refused) = self.admission.request(request) {
            let reason = refused.to_string();
            self.inputs.push_back((run, Input::Refused { task, reason }));
        }
    }

    /// Commits what was decided and tells of it. Breaks when the journal is closed: nothing more can be kept then, so
    /// nothing more may be done.
    async fn commit(&mut self) -> std::ops::ControlFlow<()> {
        let changes = journal::latest_of_each_task(std::mem::take(&mut self.changes));
        let events = self.events(&changes);
        match self.journal.commit(changes).await {
            Ok(refused) => {
                let kept = events.into_iter().filter(|(run, _)| !refused.contains(run));
                kept.for_each(|(_, event)| self.bus.publish(event));
                refused.into_iter().for_each(|run| self.abandon(run));
                std::ops::ControlFlow::Continue(())
            }
            Err(journal::Closed) => {
                tracing::error!("the journal is closed; the attempts that run are ended and left to the next start");
                self.launched
                    .keys()
                    .for_each(|key| self.engine.stop(key, Stop::InterruptedAtOnce));
                std::ops::ControlFlow::Break(())
            }
        }
    }

    fn events(&self, changes: &[(RunId, Change)]) -> Vec<(RunId, Event)> {
        let now = self.now();
        let event = |(run, change): &(RunId, Change)| {
            let record = self.runs.get(run)?.run();
            Some((*run, journal::event(record, change, now)?))
        };
        changes.iter().filter_map(event).collect()
    }

    /// Forgets a run whose changes the journal refuses: one that it does not have, or cannot read any more. The others
    /// go on.
    fn abandon(&mut self, run: RunId) {
        tracing::error!(%run, "the journal refuses the changes of this run; it is given up");
        self.deeds.retain(|(other, _)| *other != run);
        for (key, task) in self.launched.iter().filter(|(key, _)| key.run == run) {
            self.engine.stop(key, Stop::Cancelled);
            self.admission.release(TaskKey { run, task: *task });
        }
        if let Some(machine) = self.runs.remove(&run) {
            for task in 0..machine.job().dag.len() {
                self.admission.withdraw(TaskKey { run, task });
                self.admission.release(TaskKey { run, task });
            }
        }
        self.admission.forget_run(run);
    }

    fn carry_out(&mut self) {
        for (run, deed) in std::mem::take(&mut self.deeds) {
            match deed {
                Deed::Launch { task, attempt } => self.launch(run, task, attempt),
                Deed::Kill { task, attempt, why } => {
                    if let Some(machine) = self.runs.get(&run) {
                        let task = machine.job().dag.id(task).clone();
                        self.engine.stop(&AttemptKey { run, task, attempt }, why);
                    }
                }
                Deed::Finish => {
                    if let Some(machine) = self.runs.remove(&run) {
                        let record = machine.run();
                        let reason = record.reason.as_deref();
                        tracing::info!(%run, job = %record.job, status = %record.status, reason, "run ended");
                    }
                    self.admission.forget_run(run);
                }
            }
        }
    }

    fn launch(&mut self, run: RunId, task: TaskIndex, attempt: u32) {
        let Some(machine) = self.runs.get(&run) else { return };
        match inputs::render(&self.surroundings, machine, task, attempt) {
            Ok(rendered) => {
                self.launched.insert(rendered.key.clone(), task);
                self.engine.start(rendered, self.reports.clone());
            }
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                let words = Some(format!("{error}{cause}"));
                let end = AttemptEnd::without_process(Ending::BadInput, self.now(), words);
                self.inputs.push_back((run, Input::Ended { task, attempt, end }));
            }
        }
    }
}
