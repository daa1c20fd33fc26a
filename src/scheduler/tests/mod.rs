//! The loop as a whole: a journal in memory, a paused clock, and a test in the executor's place. Here is the machine on which
//! Petit starts and stops; the tests themselves are below, by what they are about.

mod clock;
mod dependencies;
mod firing;
mod holds;
mod late;
mod overlap;
mod retries;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    clock::Clock,
    desk::Order,
    fixtures::{active_at, at, finished, run_id, set, spec_record},
    handle::{CommandError, Handle},
    service::{Parts, Scheduler},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, RunId, SpecHash},
        record::{
            ActiveRecord, PauseRecord, ReconcileRecord, RemovedRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord,
        },
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    events::{Event, EventBus},
    storage::{
        Ack, Beside, Change, LatestRuns, Memory, NumberedFact, RunDetail, RunFilter, RunGlance, Storage, StorageError,
        Tally, TaskGlance,
    },
    testing::SimulatedClock,
};

const BEGIN: &str = "2026-01-10T10:00:00.300Z";

/// A journal whose disk can be full.
#[derive(Default)]
struct Disk {
    memory: Memory,
    full: AtomicBool,
}

impl Storage for Disk {
    fn commit(&self, changes: Vec<Change>) -> Ack {
        if !self.full.load(Ordering::SeqCst) {
            return self.memory.commit(changes);
        }
        let (answer, ack) = Ack::new();
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        let error = StorageError::Database {
            operation: "write to",
            path: "journal".into(),
            source: Arc::new(rusqlite::Error::SqliteFailure(full, None)),
        };
        answer.send(Err(error)).expect("the ack is alive");
        ack
    }

    fn journal_id(&self) -> Result<String, StorageError> {
        self.memory.journal_id()
    }
    fn active(&self) -> Result<Vec<ActiveRecord>, StorageError> {
        self.memory.active()
    }
    fn spec(&self, hash: &SpecHash) -> Result<Option<SpecRecord>, StorageError> {
        self.memory.spec(hash)
    }
    fn pauses(&self) -> Result<Vec<PauseRecord>, StorageError> {
        self.memory.pauses()
    }
    fn watermarks(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.memory.watermarks()
    }
    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StorageError> {
        self.memory.run(run)
    }
    fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StorageError> {
        self.memory.runs(filter)
    }
    fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError> {
        self.memory.latest_of_each(jobs, most)
    }
    fn latest_tasks(&self, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError> {
        self.memory.latest_tasks(job, most)
    }
    fn beside(&self, run: &RunRecord) -> Result<Beside, StorageError> {
        self.memory.beside(run)
    }
    fn tally(&self, since: Timestamp, stretch: chrono::TimeDelta) -> Result<Vec<Tally>, StorageError> {
        self.memory.tally(since, stretch)
    }
    fn unfinished(&self) -> Result<Vec<RunDetail>, StorageError> {
        self.memory.unfinished()
    }
    fn latest(&self, job: &JobId) -> Result<LatestRuns, StorageError> {
        self.memory.latest(job)
    }
    fn slots(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<SlotRecord>, StorageError> {
        self.memory.slots(job, from, to)
    }
    fn claimed(&self) -> Result<Vec<SlotRecord>, StorageError> {
        self.memory.claimed()
    }
    fn beyond_watermark(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.memory.beyond_watermark()
    }
    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError> {
        self.memory.stretches(job, from, to)
    }
    fn removed(&self) -> Result<Vec<RemovedRecord>, StorageError> {
        self.memory.removed()
    }
    fn held(&self) -> Result<Vec<JobId>, StorageError> {
        self.memory.held()
    }
    fn reconciles(&self, limit: u32) -> Result<Vec<ReconcileRecord>, StorageError> {
        self.memory.reconciles(limit)
    }
    fn facts(&self, after: i64, limit: u32) -> Result<Vec<NumberedFact>, StorageError> {
        self.memory.facts(after, limit)
    }
}

/// A machine on which Petit starts and stops.
struct Machine {
    disk: Arc<Disk>,
    clock: Arc<SimulatedClock>,
    active: watch::Sender<Arc<ActiveSet>>,
}

/// A Petit that runs.
struct Petit {
    handle: Handle,
    orders: mpsc::Receiver<Order>,
    bus: EventBus,
    disk: Arc<Disk>,
    clock: Arc<SimulatedClock>,
    task: JoinHandle<Result<(), StorageError>>,
}

impl Machine {
    fn new(jobs: &[(&str, &str)]) -> Self {
        let machine = Self {
            disk: Arc::default(),
            clock: Arc::new(SimulatedClock::new(at(BEGIN))),
            active: watch::Sender::default(),
        };
        let jobs: Vec<Arc<ActiveJob>> = jobs.iter().map(|(id, yaml)| active_at(id, yaml, at(BEGIN))).collect();
        for job in &jobs {
            machine.commit(vec![Change::PutSpec(spec_record(job))]);
        }
        machine.active.send_replace(set(&jobs));
        machine
    }

    fn commit(&self, changes: Vec<Change>) {
        commit(&self.disk, changes);
    }

    /// Edits a file without touching its schedule, or takes it away.
    fn edit(&self, job: &str, yaml: Option<&str>) {
        let mut next = (**self.active.borrow()).clone();
        let old = next.remove(&id(job)).expect("it is active");
        if let Some(yaml) = yaml {
            let edited = active_at(job, yaml, old.record.scheduled_since);
            self.commit(vec![Change::PutSpec(spec_record(&edited))]);
            next.insert(id(job), edited);
        }
        self.active.send_replace(Arc::new(next));
    }

    fn detail(&self, job: &str, slot: &str) -> String {
        let slot = at(slot);
        let rows = self.disk.slots(&id(job), slot, slot).expect("memory answers");
        rows.into_iter().find_map(|row| row.detail).unwrap_or_default()
    }

    async fn start(&self) -> Petit {
        self.start_and(|| ()).await
    }

    /// Starts, and lets something happen before the loop begins.
    async fn start_and(&self, meanwhile: impl FnOnce()) -> Petit {
        let (send, orders) = mpsc::channel(1_024);
        let bus = EventBus::default();
        let mut random = u128::from(self.clock.now().timestamp_millis().unsigned_abs());
        let (scheduler, handle) = Scheduler::new(Parts {
            storage: Arc::clone(&self.disk) as Arc<dyn Storage>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            active: self.active.subscribe(),
            revision: watch::channel(Some("abc123".to_owned())).1,
            orders: send,
            bus: bus.clone(),
            random: Box::new(move || {
                random += 1;
                random
            }),
            tells_secret: Box::new(|_, value| value.to_string().contains("hush")),
        });
        meanwhile();
        let petit = Petit {
            task: tokio::spawn(scheduler.run()),
            handle,
            orders,
            bus,
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
        };
        // Commands are answered once the backlog is decided.
        let answer = petit.trigger("nobody", json!({}), false).await;
        assert!(matches!(answer, Err(CommandError::UnknownJob(_))), "{answer:?}");
        petit
    }

    /// Every row of a job's ledger: `(outcome, reason, slots)` by its first slot.
    fn ledger(&self, job: &str) -> Vec<(String, Option<SlotOutcome>, Option<SlotReason>, u64)> {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        let job = id(job);
        let slots = self.disk.slots(&job, from, to).expect("memory answers");
        let stretches = self.disk.stretches(&job, from, to).expect("memory answers");
        let slots = slots.into_iter().map(|slot| (slot.at, slot.outcome, slot.reason, 1));
        let stretches = stretches
            .into_iter()
            .map(|s| (s.from, Some(s.outcome), Some(s.reason), s.slots));
        let mut rows: Vec<_> = slots.chain(stretches).collect();
        rows.sort_by_key(|row| row.0);
        rows.into_iter()
            .map(|(at, outcome, reason, n)| (time(at), outcome, reason, n))
            .collect()
    }
}

impl Petit {
    /// The next run to start, and when it was ordered.
    async fn ordered(&mut self) -> (RunRecord, Timestamp) {
        match self
            .order_within(Duration::from_secs(86_400))
            .await
            .expect("an order within a day")
        {
            Order::Start { run, .. } => (*run, self.clock.now()),
            order @ Order::Cancel { .. } => panic!("expected a start: {order:?}"),
        }
    }

    async fn order_within(&mut self, wait: Duration) -> Option<Order> {
        timeout(wait, self.orders.recv()).await.ok().flatten()
    }

    fn begins(&self, run: &RunRecord) {
        let now = self.clock.now();
        let mut changes = vec![Change::StartRun { run: run.id, at: now }];
        changes.extend(run.slot.map(|slot| Change::DecideSlot {
            job: run.job.clone(),
            at: slot,
            outcome: SlotOutcome::Ran,
            reason: None,
            detail: None,
            decided_at: now,
        }));
        commit(&self.disk, changes);
        self.say(run, RunStatus::Running);
    }

    fn ends(&self, run: &RunRecord, status: RunStatus) {
        commit(
            &self.disk,
            vec![Change::EndRun {
                run: run.id,
                status,
                at: self.clock.now(),
                reason: None,
            }],
        );
        self.say(run, status);
    }

    fn succeeds(&self, run: &RunRecord) {
        self.begins(run);
        self.ends(run, RunStatus::Succeeded);
    }

    fn say(&self, run: &RunRecord, status: RunStatus) {
        self.bus.publish(Event::Run {
            at: self.clock.now(),
            run: run.id,
            job: run.job.clone(),
            status,
        });
    }

    /// Dies without warning.
    async fn dies(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }

    async fn trigger(&self, job: &str, params: Value, ignore_overlap: bool) -> Result<super::Triggered, CommandError> {
        let params: Map<String, Value> = serde_json::from_value(params).expect("a map");
        self.handle
            .trigger(id(job), params, ignore_overlap, "me".to_owned())
            .await
    }
}

fn commit(disk: &Disk, changes: Vec<Change>) {
    // Memory has answered by the time it returns, so that there is nothing to wait for.
    let answer = pin!(disk.commit(changes).wait()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(()))), "{answer:?}");
}

fn id(job: &str) -> JobId {
    job.parse().expect("a slug")
}

fn time(at: Timestamp) -> String {
    at.format("%H:%M:%S").to_string()
}

fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

const RAN: Option<SlotOutcome> = Some(SlotOutcome::Ran);
const MISSED: Option<SlotOutcome> = Some(SlotOutcome::Missed);
const MERGED: Option<SlotOutcome> = Some(SlotOutcome::Merged);
const SKIPPED: Option<SlotOutcome> = Some(SlotOutcome::Skipped);

fn row(
    at: &str,
    outcome: Option<SlotOutcome>,
    reason: Option<SlotReason>,
    slots: u64,
) -> (String, Option<SlotOutcome>, Option<SlotReason>, u64) {
    (at.to_owned(), outcome, reason, slots)
}
