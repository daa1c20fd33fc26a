//! The loop as a whole: a journal in memory, a paused clock, and a test in the executor's place.

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
    clock::{Clock, SimulatedClock},
    desk::Order,
    fixtures::{active_at, at, set, spec_record},
    handle::{CommandError, Handle},
    service::{Parts, Scheduler},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, RunId, SpecHash},
        record::{ActiveRecord, PauseRecord, ReconcileRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord},
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    events::{Bus, Event},
    storage::{
        Ack, Beside, Change, LatestRuns, Memory, NumberedFact, RunDetail, RunFilter, RunGlance, Storage, StorageError,
        Tally, TaskGlance,
    },
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
    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError> {
        self.memory.stretches(job, from, to)
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
    bus: Bus,
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

    async fn start(&self) -> Petit {
        let (send, orders) = mpsc::channel(1_024);
        let bus = Bus::default();
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
        });
        let petit = Petit {
            task: tokio::spawn(scheduler.run()),
            handle,
            orders,
            bus,
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
        };
        petit.handle.ready().await.expect("it begins");
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

#[tokio::test(start_paused = true)]
async fn slots_are_claimed_and_ordered_at_their_instant() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * * *'"), ("tock", "schedule: {every: 2s}")]);
    let mut petit = machine.start().await;
    let mut ordered = Vec::new();
    for _ in 0..6 {
        let (run, when) = petit.ordered().await;
        let slot = run.slot.expect("a slot");
        assert!(
            (TimeDelta::zero()..TimeDelta::milliseconds(2)).contains(&(when - slot)),
            "{slot} at {when}"
        );
        assert!(
            machine.disk.run(run.id).expect("memory answers").is_some(),
            "recorded before it is ordered"
        );
        assert_eq!((run.status, run.trigger), (RunStatus::Queued, Trigger::Schedule));
        assert_eq!(run.revision.as_deref(), Some("abc123"));
        petit.succeeds(&run);
        ordered.push(format!("{} {}", run.job, time(slot)));
    }
    assert_eq!(
        ordered,
        [
            "tick 10:00:01",
            "tick 10:00:02",
            "tock 10:00:02",
            "tick 10:00:03",
            "tick 10:00:04",
            "tock 10:00:04"
        ]
    );
    petit.handle.stop().await;
    assert!(petit.task.await.expect("it does not panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_away_are_judged_by_the_policy() {
    let job = |policy: &str| format!("schedule: {{cron: '* * * * *', misfire: {{policy: {policy}, grace: 10s}}}}");
    let machine = Machine::new(&[("once", &job("once")), ("skip", &job("skip"))]);
    let mut petit = machine.start().await;
    for _ in 0..2 {
        let (run, _) = petit.ordered().await;
        petit.succeeds(&run);
    }
    petit.dies().await;
    sleep(minutes(10) + Duration::from_secs(30)).await;

    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    assert_eq!(
        (run.job.as_str(), run.slot.map(time)),
        ("once", Some("10:11:00".to_owned()))
    );
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("once"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MERGED, Some(SlotReason::Down), 9),
            row("10:11:00", RAN, None, 1)
        ]
    );
    assert_eq!(
        machine.ledger("skip"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MISSED, Some(SlotReason::Down), 10)
        ]
    );
    let (next, when) = petit.ordered().await;
    assert_eq!(
        (next.slot.map(time), time(when)),
        (Some("10:12:00".to_owned()), "10:12:00".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_crash_left_is_a_late_slot() {
    let job = |grace: &str| format!("schedule: {{cron: '0 * * * *', misfire: {{policy: skip, grace: {grace}}}}}");
    let machine = Machine::new(&[("lenient", &job("1m")), ("strict", &job("1s"))]);
    let mut petit = machine.start().await;
    let (first, _) = petit.ordered().await;
    let (second, _) = petit.ordered().await;
    assert_eq!((first.job.as_str(), second.job.as_str()), ("lenient", "strict"));
    petit.dies().await;
    sleep(Duration::from_secs(30)).await;

    let mut petit = machine.start().await;
    let (again, _) = petit.ordered().await;
    assert_eq!(again.id, first.id, "the run that was made for the slot");
    petit.succeeds(&again);
    assert_eq!(machine.ledger("lenient"), [row("11:00:00", RAN, None, 1)]);
    assert_eq!(
        machine.ledger("strict"),
        [row("11:00:00", MISSED, Some(SlotReason::Down), 1)]
    );
    let run = machine
        .disk
        .run(second.id)
        .expect("memory answers")
        .expect("it is kept")
        .run;
    assert_eq!(run.status, RunStatus::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_recorded_already_never_starts() {
    let machine = Machine::new(&[("a", "schedule: '* * * * *'"), ("b", "schedule: '* * * * *'")]);
    machine.commit(vec![Change::PutSlot(SlotRecord {
        job: id("a"),
        at: at("2026-01-10T10:01:00Z"),
        outcome: RAN,
        reason: None,
        detail: None,
        decided_at: None,
        run: None,
        spec_hash: SpecHash::of(b""),
    })]);
    let mut petit = machine.start().await;
    let mut started = Vec::new();
    for _ in 0..3 {
        let (run, _) = petit.ordered().await;
        petit.succeeds(&run);
        started.push(format!("{} {}", run.job, run.slot.map(time).unwrap_or_default()));
    }
    assert_eq!(started, ["b 10:01:00", "a 10:02:00", "b 10:02:00"]);
}

#[tokio::test(start_paused = true)]
async fn overlap_skip_names_the_run_in_the_way() {
    let machine = Machine::new(&[("slow", "schedule: '* * * * *'")]);
    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    petit.begins(&run);
    assert_eq!(petit.order_within(Duration::from_secs(65)).await, None);
    let slots = machine
        .disk
        .slots(&id("slow"), at(BEGIN), petit.clock.now())
        .expect("memory answers");
    let skipped = &slots[1];
    assert_eq!((skipped.outcome, skipped.reason), (SKIPPED, Some(SlotReason::Overlap)));
    assert!(
        skipped
            .detail
            .as_ref()
            .is_some_and(|detail| detail.contains(&run.id.to_string()))
    );

    assert!(
        matches!(petit.trigger("slow", json!({}), false).await, Err(CommandError::Overlap { run: in_way, .. }) if in_way == run.id)
    );
    let beside = petit
        .trigger("slow", json!({}), true)
        .await
        .expect("it is told to ignore the other");
    assert_eq!(petit.ordered().await.0.id, beside.run);
}

#[tokio::test(start_paused = true)]
async fn queue_keeps_the_newest_slot_and_replace_ends_the_old_run() {
    let machine = Machine::new(&[
        ("queue", "schedule: '* * * * *'\noverlap: queue"),
        ("replace", "schedule: '* * * * *'\noverlap: replace"),
    ]);
    let mut petit = machine.start().await;
    let (queued, _) = petit.ordered().await;
    let (replaced, _) = petit.ordered().await;
    petit.begins(&queued);
    petit.begins(&replaced);
    let order = petit
        .order_within(Duration::from_secs(61))
        .await
        .expect("an order at the next slot");
    assert!(
        matches!(order, Order::Cancel { run, .. } if run == replaced.id),
        "{order:?}"
    );
    petit.ends(&replaced, RunStatus::Cancelled);
    let (newer, when) = petit.ordered().await;
    assert_eq!((newer.job.as_str(), time(when)), ("replace", "10:02:00".to_owned()));
    petit.succeeds(&newer);

    let (other, _) = petit.ordered().await;
    assert_eq!(other.job.as_str(), "replace");
    petit.ends(&queued, RunStatus::Succeeded);
    let (latest, _) = petit.ordered().await;
    assert_eq!(latest.slot.map(time), Some("10:03:00".to_owned()));
    petit.succeeds(&latest);
    assert_eq!(
        machine.ledger("queue"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", MERGED, Some(SlotReason::Overlap), 1),
            row("10:03:00", RAN, None, 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_can_be_cancelled_and_one_that_does_not_is_the_executors() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * *'\noverlap: queue")]);
    let mut petit = machine.start().await;
    let (going, _) = petit.ordered().await;
    petit.begins(&going);
    let waits = petit.trigger("tick", json!({}), false).await.expect("it waits");
    assert!(waits.note.is_some_and(|note| note.contains(&going.id.to_string())));
    for run in [waits.run, going.id] {
        petit
            .handle
            .cancel(run, "enough".to_owned())
            .await
            .expect("it is recorded");
    }
    let waited = machine
        .disk
        .run(waits.run)
        .expect("memory answers")
        .expect("it is kept")
        .run;
    assert_eq!(
        (waited.status, waited.reason.as_deref()),
        (RunStatus::Cancelled, Some("enough"))
    );
    let order = petit.order_within(Duration::from_secs(1)).await;
    assert!(
        matches!(order, Some(Order::Cancel { run, .. }) if run == going.id),
        "{order:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_queued_run_whose_version_cannot_be_read_ends() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * *'")]);
    let mut petit = machine.start().await;
    let (mut run, _) = petit.ordered().await;
    petit.succeeds(&run);
    petit.dies().await;
    let unreadable = SpecRecord {
        hash: SpecHash::of(b"{}"),
        job: id("tick"),
        canonical: "{}".to_owned(),
        yaml: String::new(),
        first_seen: at(BEGIN),
    };
    (run.id, run.slot, run.spec_hash) = (super::fixtures::run_id(7), None, unreadable.hash.clone());
    let left = run.id;
    machine.commit(vec![
        Change::PutSpec(unreadable),
        Change::CreateRun { run, tasks: Vec::new() },
    ]);
    let _petit = machine.start().await;
    let run = machine.disk.run(left).expect("memory answers").expect("it is kept").run;
    assert_eq!(run.status, RunStatus::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_only_depends_runs_once_for_each_success() {
    let machine = Machine::new(&[
        ("left", "schedule: '0 * * * *'"),
        ("right", "schedule: '30 * * * *'"),
        ("join", "depends_on: [{job: left}, {job: right}]"),
    ]);
    let mut petit = machine.start().await;
    let (failed, _) = petit.ordered().await;
    assert_eq!(failed.job.as_str(), "right");
    petit.begins(&failed);
    petit.ends(&failed, RunStatus::Failed);
    for _ in 0..2 {
        let (left, _) = petit.ordered().await;
        assert_eq!(left.job.as_str(), "left");
        petit.succeeds(&left);
        let (right, when) = petit.ordered().await;
        assert_eq!(right.job.as_str(), "right", "one success is not enough");
        petit.succeeds(&right);
        let (join, then) = petit.ordered().await;
        assert_eq!(
            (join.job.as_str(), join.trigger, join.slot),
            ("join", Trigger::Dependency, None)
        );
        assert_eq!((join.consumed.as_slice(), then), ([left.id, right.id].as_slice(), when));
        petit.succeeds(&join);
    }
    petit.dies().await;
    let mut petit = machine.start().await;
    assert_eq!(
        petit.order_within(Duration::from_secs(60)).await,
        None,
        "what was used makes no other run"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_waits_for_another_job_and_gives_up_in_time() {
    let machine = Machine::new(&[
        ("up", "schedule: '0 * * * *'"),
        ("down", "schedule: '0 * * * *'\ndepends_on: [{job: up, wait: 10m}]"),
    ]);
    let mut petit = machine.start().await;
    let (up, _) = petit.ordered().await;
    assert_eq!(up.job.as_str(), "up");
    petit.begins(&up);
    assert_eq!(
        petit.order_within(minutes(5)).await,
        None,
        "the slot of the other is due but unfinished"
    );
    petit.ends(&up, RunStatus::Succeeded);
    let (down, when) = petit.ordered().await;
    assert_eq!((down.job.as_str(), time(when)), ("down", "11:05:00".to_owned()));
    petit.succeeds(&down);

    let (up, _) = petit.ordered().await;
    petit.begins(&up);
    assert_eq!(petit.order_within(minutes(11)).await, None);
    assert_eq!(
        machine.ledger("down"),
        [
            row("11:00:00", RAN, None, 1),
            row("12:00:00", SKIPPED, Some(SlotReason::Dependency), 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_one_row_and_resuming_starts_nothing() {
    let machine = Machine::new(&[("tick", "schedule: '* * * * *'\nparams: {n: {type: integer}}")]);
    let tick = "schedule: '* * * * *'\nparams: {n: {type: integer, default: 1}}";
    let mut petit = machine.start().await;
    let edited = active_at("tick", tick, at(BEGIN));
    machine.commit(vec![Change::PutSpec(spec_record(&edited))]);
    machine.active.send_replace(set(&[edited]));
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    assert_eq!(run.params["n"], json!(1));
    petit
        .handle
        .pause(Some(id("tick")), "me".to_owned(), None)
        .await
        .expect("it pauses");
    assert_eq!(petit.order_within(minutes(5)).await, None);
    petit.dies().await;
    sleep(minutes(5)).await;

    let mut petit = machine.start().await;
    assert_eq!(petit.order_within(minutes(1)).await, None, "a pause outlives a restart");
    let triggered = petit
        .trigger("tick", json!({"n": "7"}), false)
        .await
        .expect("by hand it works");
    assert!(triggered.note.is_some_and(|note| note.contains("paused by me")));
    let (by_hand, _) = petit.ordered().await;
    assert_eq!((by_hand.id, &by_hand.params["n"]), (triggered.run, &json!(7)));
    petit.succeeds(&by_hand);
    assert!(
        matches!(petit.trigger("tick", json!({"x": 1}), false).await, Err(CommandError::Params { errors, .. }) if errors.len() == 1)
    );
    assert!(matches!(
        petit.trigger("none", json!({}), false).await,
        Err(CommandError::UnknownJob(_))
    ));
    petit
        .handle
        .resume(Some(id("tick")), "me".to_owned())
        .await
        .expect("it resumes");
    assert!(matches!(
        petit.handle.resume(None, "me".to_owned()).await,
        Err(CommandError::NotPaused(None))
    ));
    let (run, when) = petit.ordered().await;
    assert_eq!(run.slot.map(time), Some(time(when)));
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("tick"),
        [
            row("10:01:00", RAN, None, 1),
            row("10:02:00", SKIPPED, Some(SlotReason::Paused), 11),
            row("10:13:00", RAN, None, 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_a_job_without_a_value_for_a_parameter_is_refused() {
    let machine = Machine::new(&[("needs", "schedule: '* * * * *'\nparams: {day: {}}")]);
    let mut petit = machine.start().await;
    assert_eq!(petit.order_within(Duration::from_secs(61)).await, None);
    assert_eq!(
        machine.ledger("needs"),
        [row(
            "10:01:00",
            Some(SlotOutcome::Refused),
            Some(SlotReason::Invalid),
            1
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_leaves_the_schedule_alone_keeps_the_next_fire() {
    let machine = Machine::new(&[("a", "schedule: {every: 1h}"), ("b", "schedule: {every: 1h}")]);
    let mut petit = machine.start().await;
    let before = petit.handle.next_fires().await.expect("it runs");
    sleep(minutes(30)).await;
    let edited = active_at("a", "schedule: {every: 1h}\npriority: 3", at(BEGIN));
    machine.commit(vec![Change::PutSpec(spec_record(&edited))]);
    let kept = Arc::clone(&machine.active.borrow()[&id("b")]);
    machine.active.send_replace(set(&[Arc::clone(&edited), kept]));
    let (first, when) = petit.ordered().await;
    assert_eq!(first.spec_hash, edited.job.hash);
    assert_eq!(before.iter().map(|fire| fire.at).collect::<Vec<_>>(), [first.slot; 2]);
    assert_eq!(first.slot.map(time), Some(time(when)));
}

#[tokio::test(start_paused = true)]
async fn what_a_full_disk_held_up_is_late() {
    let machine = Machine::new(&[("tick", "schedule: {cron: '* * * * *', misfire: {grace: 10s}}")]);
    let mut petit = machine.start().await;
    machine.disk.full.store(true, Ordering::SeqCst);
    assert_eq!(petit.order_within(minutes(5)).await, None);
    assert!(matches!(
        petit.trigger("tick", json!({}), false).await,
        Err(CommandError::Storage(_))
    ));
    machine.disk.full.store(false, Ordering::SeqCst);
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    assert_eq!(
        machine.ledger("tick"),
        [
            row("10:01:00", MERGED, Some(SlotReason::Down), 4),
            row("10:05:00", RAN, None, 1)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_moved_clock_is_noticed_and_repeats_nothing() {
    let machine = Machine::new(&[("hourly", "schedule: '0 * * * *'")]);
    let mut petit = machine.start().await;
    let (run, _) = petit.ordered().await;
    petit.succeeds(&run);
    machine.clock.step(TimeDelta::minutes(-30));
    assert_eq!(
        petit.order_within(minutes(80)).await,
        None,
        "11:00 comes again and is not a new slot"
    );
    machine.clock.step(TimeDelta::minutes(10));
    let (run, when) = petit.ordered().await;
    assert_eq!(run.slot.map(time), Some("12:00:00".to_owned()));
    assert!(
        when - run.slot.expect("a slot") < TimeDelta::seconds(31),
        "noticed at {when}"
    );
}
