//! The executor's loop with an engine that does as the test says: what it journals, whom it makes wait, how it stops, and
//! what it does while the journal refuses.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    core::{
        id::{JobId, SpecHash},
        record::{
            ActiveRecord, PauseRecord, ReconcileRecord, RemovedRecord, RunRecord, SlotRecord, SpecRecord, StretchRecord,
        },
        state::{RunStatus, SlotOutcome, SlotReason, TaskState},
    },
    execution::{
        engine::{Attempt, ProcessMark},
        fixtures::{Bench, capacity, clock, job, states, until},
        recovery::recover,
    },
    storage::{Ack, Beside, LatestRuns, Memory, NumberedFact, RunFilter, RunGlance, StorageError, Tally, TaskGlance},
    testing::{FakeCommand, TestHarness},
};

/// An engine whose attempts end when the test says so, or at once.
struct Fake {
    storage: Arc<dyn Storage>,
    at_once: bool,
    going: Mutex<HashMap<AttemptKey, Reports>>,
}

impl Fake {
    fn new(storage: &Arc<dyn Storage>, at_once: bool) -> Arc<Self> {
        Arc::new(Self {
            storage: Arc::clone(storage),
            at_once,
            going: Mutex::default(),
        })
    }

    fn end(&self, task: &str, ending: Ending) {
        let mut going = self.going.lock().expect("no test panics with it");
        let key = going
            .keys()
            .find(|key| key.task.as_str() == task)
            .expect("it was started")
            .clone();
        let reports = going.remove(&key).expect("it was found");
        let end = AttemptEnd::without_process(ending, clock()(), None);
        reports.send(Report::Ended { key, end }).expect("the executor listens");
    }

    fn delay(&self, task: &str, because: &str) {
        let going = self.going.lock().expect("no test panics with it");
        let found = going.iter().find(|(key, _)| key.task.as_str() == task);
        let (key, reports) = found.expect("it was started");
        let report = Report::Delayed {
            key: key.clone(),
            because: Some(because.to_owned()),
        };
        reports.send(report).expect("the executor listens");
    }

    fn has(&self, task: &str) -> bool {
        self.going
            .lock()
            .expect("no test panics with it")
            .keys()
            .any(|key| key.task.as_str() == task)
    }
}

impl Engine for Fake {
    fn start(&self, attempt: Attempt, reports: Reports) {
        let key = attempt.key;
        let known = self.storage.run(key.run).expect("readable").expect("created").attempts;
        assert!(
            known.iter().any(|a| a.task == key.task && a.attempt == key.attempt),
            "{key:?} is in the journal first"
        );
        let process = Some(ProcessMark { pid: 4, start: Some(2) });
        let at = clock()();
        let _ = reports.send(Report::Started {
            key: key.clone(),
            at,
            process,
        });
        if self.at_once {
            let failed = key.task.as_str().starts_with("fail");
            let end = AttemptEnd::without_process(Ending::Exited(failed.into()), at, None);
            let _ = reports.send(Report::Ended { key, end });
        } else {
            self.going.lock().expect("no test panics with it").insert(key, reports);
        }
    }

    fn stop(&self, key: &AttemptKey, why: Stop) {
        if let Some(reports) = self.going.lock().expect("no test panics with it").remove(key) {
            let ending = match why {
                Stop::Cancelled => Ending::Cancelled,
                Stop::TimedOut => Ending::TimedOut,
                Stop::Interrupted | Stop::InterruptedAtOnce => Ending::Interrupted,
            };
            let end = AttemptEnd::without_process(ending, clock()(), None);
            let _ = reports.send(Report::Ended { key: key.clone(), end });
        }
    }
}

struct Setup {
    bench: Bench,
    engine: Arc<Fake>,
    _home: tempfile::TempDir,
}

fn setup_with(storage: Arc<dyn Storage>, at_once: bool, tasks: u32) -> Setup {
    let home = tempfile::tempdir().expect("a temporary folder");
    let engine = Fake::new(&storage, at_once);
    let bench = Bench::new(
        home.path(),
        storage,
        Arc::clone(&engine) as Arc<dyn Engine>,
        capacity(tasks),
    );
    Setup {
        bench,
        engine,
        _home: home,
    }
}

fn setup(at_once: bool) -> Setup {
    setup_with(Arc::new(Memory::default()), at_once, 8)
}

#[tokio::test]
async fn a_run_leaves_its_whole_story_in_the_journal() {
    let mut setup = setup(true);
    let job = job(
        "j",
        "
tasks:
  a: {command: [x]}
  fail: {command: [x], depends_on: [a], retry: {retries: 1, delay: 1ms}}
  alert: {command: [x], depends_on: [fail], condition: on_failure}
  rest: {command: [x], depends_on: [fail]}
",
    );
    let detail = setup.bench.run_to_end(&job).await;
    assert_eq!(detail.run.status, RunStatus::Failed);
    assert_eq!(detail.run.reason.as_deref(), Some("task `fail`: exit code 1"));
    let expected = [
        ("a", TaskState::Succeeded),
        ("alert", TaskState::Succeeded),
        ("fail", TaskState::Failed),
        ("rest", TaskState::UpstreamFailed),
    ];
    assert_eq!(states(&detail), expected.into());
    let attempts: Vec<(&str, u32)> = detail.attempts.iter().map(|a| (a.task.as_str(), a.attempt)).collect();
    assert_eq!(attempts, [("a", 1), ("fail", 1), ("fail", 2), ("alert", 1)]);
    assert!(
        detail
            .attempts
            .iter()
            .all(|a| a.pid == Some(4) && a.ended_at.is_some() && a.queued_at <= a.granted_at)
    );
    let slot = detail.run.slot.expect("a scheduled run");
    let slots = setup.bench.storage.slots(&job.id, slot, slot).expect("readable");
    assert_eq!(slots[0].outcome, Some(SlotOutcome::Ran));
    assert_eq!(setup.bench.handle.active().await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn an_output_that_is_missing_fails_the_task_that_asks() {
    let job = r#"
tasks:
  a: {command: [x]}
  b: {command: [x, "${{ tasks.a.outputs.rows }}"], depends_on: [a]}
"#;
    let harness = TestHarness::builder().yaml("j", job).start().await;
    let ran = harness.run("j").await;
    assert_eq!((ran.status(), ran.started()), (RunStatus::Failed, vec!["a", "b"]));
    assert_eq!(harness.commands("b"), Vec::<Vec<String>>::new(), "it was never started");
    let attempt = ran.attempts("b")[0];
    assert_eq!(attempt.ending, Some(Ending::BadInput));
    let error = attempt.error.as_deref().expect("in words");
    assert!(
        error.contains("command[1]") && error.contains("tasks.a.outputs.rows"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_what_runs_and_cleans_up() {
    let job = "
tasks:
  a: {command: [x]}
  b: {command: [x], depends_on: [a]}
  clean: {command: [x], depends_on: [b], condition: always}
";
    let harness = TestHarness::builder()
        .yaml("j", job)
        .command("a", FakeCommand::succeeds().after(Duration::from_secs(3600)))
        .start()
        .await;
    let run = harness.trigger("j", Default::default()).await;
    harness.advance(Duration::from_secs(60)).await;
    let executor = harness.petit().executor();
    assert_eq!(executor.cancel(run, "enough", SlotReason::Cancelled).await, Ok(true));
    let ran = harness.wait(run).await;
    assert_eq!((ran.status(), ran.reason()), (RunStatus::Cancelled, Some("enough")));
    assert_eq!(ran.started(), ["a", "clean"]);
    let expected = [
        ("a", TaskState::Cancelled),
        ("b", TaskState::Cancelled),
        ("clean", TaskState::Succeeded),
    ];
    assert_eq!(states(&ran.detail), expected.into());
    assert_eq!(executor.cancel(run, "again", SlotReason::Cancelled).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_its_delay_and_holds_nothing_meanwhile() {
    let job = "
max_concurrency: 1
tasks:
  flaky: {command: [x], retry: {retries: 3, delay: 10m, when: transient}}
  other: {command: [x]}
";
    let minute = Duration::from_secs(60);
    let harness = TestHarness::builder()
        .yaml("j", job)
        .command("flaky", FakeCommand::exits(75).after(minute))
        .command("flaky", FakeCommand::ends(Ending::Signalled(9)))
        .command("flaky", FakeCommand::succeeds().publishes("n", 1))
        .command("other", FakeCommand::succeeds().after(minute))
        .start()
        .await;
    let began = harness.now();
    let ran = harness.run("j").await;
    assert!(ran.succeeded(), "{:?}", ran.detail);
    assert_eq!(
        (ran.started(), ran.ended()),
        (vec!["flaky", "other"], vec!["other", "flaky"])
    );
    let again: Vec<i64> = ran
        .retried("flaky")
        .iter()
        .map(|at| (*at - began).num_minutes())
        .collect();
    assert_eq!(again, [11, 21]);
    assert_eq!(
        ran.attempts("other")[0].granted_at,
        began + chrono::TimeDelta::minutes(1)
    );
    assert_eq!(ran.outputs("flaky")["n"], 1);
}

#[tokio::test]
async fn a_waiting_task_says_what_it_waits_for_and_who_holds_it() {
    let mut setup = setup(false);
    let job = job(
        "j",
        "tasks: {a: {command: [x], resources: {slots: {gpu: 1}}}, b: {command: [x], resources: {slots: {gpu: 1}}}}",
    );
    let run = setup.bench.start(&job).await;
    until("a to start", || setup.engine.has("a")).await;
    let waiting = setup.bench.handle.waiting().await.expect("running");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].task.task.as_str(), "b");
    let lack = &waiting[0].lacks[0];
    assert_eq!(
        (lack.resource.as_str(), lack.need.as_str(), lack.free.as_str()),
        ("pool `gpu`", "1", "0")
    );
    assert_eq!(lack.held_by[0].task.as_str(), "a");
    let reason = format!("waits for 1 of pool `gpu` (0 free, held by j/a of run {run})");
    assert_eq!(waiting[0].reason(), reason);
    let active = setup.bench.handle.active().await.expect("running");
    assert_eq!((active[0].run.id, active[0].tasks[1].state), (run, TaskState::Waiting));
    let mut none = capacity(8);
    none.pools.clear();
    setup.bench.handle.set_capacity(none).await.expect("running");
    setup.bench.reached("b", TaskState::Failed).await;
    setup.engine.end("a", Ending::Exited(0));
    let detail = setup.bench.ended(run).await;
    let reason = detail.run.reason.expect("a failure");
    assert_eq!(reason, "task `b`: asks for 1 of pool `gpu`, which has 0 in all");
}

#[tokio::test]
async fn a_stop_leaves_runs_to_the_next_start() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::default());
    let first = setup_with(Arc::clone(&storage), false, 8);
    let job = job(
        "j",
        "
tasks:
  a: {command: [x], retry: {retries: 1}}
  b: {command: [x], depends_on: [a]}
  done: {command: [x]}
",
    );
    let run = first.bench.start(&job).await;
    until("both to start", || first.engine.has("a") && first.engine.has("done")).await;
    first.engine.end("done", Ending::Exited(0));
    first.bench.handle.shutdown(Duration::from_millis(10)).await;
    first.bench.task.await.expect("the loop ends well");
    let left = recover(storage.unfinished().expect("readable"));
    assert_eq!((left.going.len(), left.processes.len()), (1, 0), "{left:?}");
    let detail = left.going.into_iter().next().expect("one");
    let expected = [
        ("a", TaskState::Retrying),
        ("b", TaskState::Pending),
        ("done", TaskState::Succeeded),
    ];
    assert_eq!(states(&detail), expected.into());
    assert_eq!(first.bench.handle.active().await, Err(ExecutorGone));
    let mut second = setup_with(storage, true, 8);
    second.bench.handle.resume(detail, job).await.expect("running");
    let detail = second.bench.ended(run).await;
    assert_eq!(detail.run.status, RunStatus::Succeeded);
    let endings: Vec<_> = detail
        .attempts
        .iter()
        .filter(|a| a.task.as_str() == "a")
        .map(|a| a.ending)
        .collect();
    assert_eq!(endings, [Some(Ending::Interrupted), Some(Ending::Exited(0))]);
}

/// A journal that refuses some commits as a full disk does.
struct Full {
    inner: Memory,
    refusals: AtomicUsize,
}

fn disk_full() -> StorageError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    StorageError::Database {
        operation: "write to",
        path: "journal.db".into(),
        source: Arc::new(rusqlite::Error::SqliteFailure(code, None)),
    }
}

impl Storage for Full {
    fn commit(&self, changes: Vec<Change>) -> Ack {
        let is_end = changes.iter().any(|change| matches!(change, Change::EndAttempt(_)));
        let refuse = |left: usize| left.checked_sub(1);
        if is_end
            && self
                .refusals
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse)
                .is_ok()
        {
            let (answer, ack) = Ack::new();
            answer.send(Err(disk_full())).expect("the other end is in hand");
            return ack;
        }
        self.inner.commit(changes)
    }
    fn journal_id(&self) -> Result<String, StorageError> {
        self.inner.journal_id()
    }
    fn active(&self) -> Result<Vec<ActiveRecord>, StorageError> {
        self.inner.active()
    }
    fn spec(&self, hash: &SpecHash) -> Result<Option<SpecRecord>, StorageError> {
        self.inner.spec(hash)
    }
    fn pauses(&self) -> Result<Vec<PauseRecord>, StorageError> {
        self.inner.pauses()
    }
    fn watermarks(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.inner.watermarks()
    }
    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StorageError> {
        self.inner.run(run)
    }
    fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StorageError> {
        self.inner.runs(filter)
    }
    fn latest_of_each(&self, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError> {
        self.inner.latest_of_each(jobs, most)
    }
    fn latest_tasks(&self, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError> {
        self.inner.latest_tasks(job, most)
    }
    fn beside(&self, run: &RunRecord) -> Result<Beside, StorageError> {
        self.inner.beside(run)
    }
    fn tally(&self, since: Timestamp, stretch: chrono::TimeDelta) -> Result<Vec<Tally>, StorageError> {
        self.inner.tally(since, stretch)
    }
    fn unfinished(&self) -> Result<Vec<RunDetail>, StorageError> {
        self.inner.unfinished()
    }
    fn latest(&self, job: &JobId) -> Result<LatestRuns, StorageError> {
        self.inner.latest(job)
    }
    fn slots(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<SlotRecord>, StorageError> {
        self.inner.slots(job, from, to)
    }
    fn claimed(&self) -> Result<Vec<SlotRecord>, StorageError> {
        self.inner.claimed()
    }
    fn beyond_watermark(&self) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
        self.inner.beyond_watermark()
    }
    fn stretches(&self, job: &JobId, from: Timestamp, to: Timestamp) -> Result<Vec<StretchRecord>, StorageError> {
        self.inner.stretches(job, from, to)
    }
    fn removed(&self) -> Result<Vec<RemovedRecord>, StorageError> {
        self.inner.removed()
    }
    fn held(&self) -> Result<Vec<JobId>, StorageError> {
        self.inner.held()
    }
    fn reconciles(&self, limit: u32) -> Result<Vec<ReconcileRecord>, StorageError> {
        self.inner.reconciles(limit)
    }
    fn facts(&self, after: i64, limit: u32) -> Result<Vec<NumberedFact>, StorageError> {
        self.inner.facts(after, limit)
    }
}

fn full(refusals: usize) -> Arc<dyn Storage> {
    Arc::new(Full {
        inner: Memory::default(),
        refusals: AtomicUsize::new(refusals),
    })
}

/// Waits until the journal refuses what the executor wants to keep.
async fn stuck(setup: &Setup) {
    let mut conditions = setup.bench.handle.conditions();
    let refused = conditions.wait_for(|conditions| conditions.journal.is_some());
    refused.await.expect("running");
}

#[tokio::test]
async fn a_full_disk_delays_and_loses_nothing() {
    let mut setup = setup_with(full(2), true, 8);
    let mut conditions = setup.bench.handle.conditions();
    let run = setup.bench.start(&job("j", "tasks: {a: {command: [x]}}")).await;
    let shown = conditions
        .wait_for(|conditions| conditions.journal.is_some())
        .await
        .expect("running")
        .clone();
    let problem = shown.journal.as_deref().unwrap_or_default();
    assert!(
        problem.starts_with("could not write to the journal journal.db: "),
        "{problem}"
    );
    assert!(problem.contains("disk is full"), "the cause is said: {problem}");
    let detail = setup.bench.ended(run).await;
    assert_eq!(detail.run.status, RunStatus::Succeeded);
    assert_eq!(conditions.borrow().journal, None);
}

#[tokio::test]
async fn who_asks_what_waits_is_answered_while_the_disk_is_full() {
    let setup = setup_with(full(usize::MAX), true, 8);
    setup.bench.start(&job("j", "tasks: {a: {command: [x]}}")).await;
    stuck(&setup).await;
    let waiting = tokio::time::timeout(crate::execution::fixtures::DEADLINE, setup.bench.handle.waiting());
    assert_eq!(waiting.await.expect("it answers").expect("running"), []);
}

#[tokio::test]
async fn a_full_disk_is_waited_for_no_longer_than_the_grace() {
    let setup = setup_with(full(usize::MAX), true, 8);
    setup.bench.start(&job("j", "tasks: {a: {command: [x]}}")).await;
    stuck(&setup).await;
    let stopped = tokio::time::timeout(
        crate::execution::fixtures::DEADLINE,
        setup.bench.handle.shutdown(Duration::from_millis(20)),
    );
    stopped.await.expect("it does not wait for ever");
    let left = recover(setup.bench.storage.unfinished().expect("readable"));
    assert_eq!(left.going[0].attempts[0].ending, None, "as after a crash");
}

#[tokio::test]
async fn whoever_hurries_does_not_wait_for_a_full_disk() {
    let setup = setup_with(full(usize::MAX), true, 8);
    setup.bench.start(&job("j", "tasks: {a: {command: [x]}}")).await;
    stuck(&setup).await;
    let stopped = tokio::time::timeout(
        crate::execution::fixtures::DEADLINE,
        setup.bench.handle.shutdown(Duration::ZERO),
    );
    stopped.await.expect("it does not wait for ever");
    let left = recover(setup.bench.storage.unfinished().expect("readable"));
    assert_eq!(left.going[0].attempts[0].ending, None, "as after a crash");
}

#[tokio::test]
async fn a_run_that_the_journal_does_not_have_takes_no_other_along() {
    let mut setup = setup(true);
    let stranger = job("stranger", "tasks: {a: {command: [x]}}");
    setup
        .bench
        .handle
        .start(setup.bench.new_run(&stranger))
        .await
        .expect("running");
    let detail = setup.bench.run_to_end(&job("j", "tasks: {a: {command: [x]}}")).await;
    assert_eq!(detail.run.status, RunStatus::Succeeded);
    assert_eq!(setup.bench.handle.active().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_run_out_of_time_is_stopped() {
    let mut setup = setup(false);
    let detail = setup
        .bench
        .run_to_end(&job("j", "{timeout: 20ms, tasks: {a: {command: [x]}}}"))
        .await;
    assert_eq!(detail.run.status, RunStatus::TimedOut);
    assert_eq!(detail.attempts[0].ending, Some(Ending::TimedOut));
}

#[tokio::test]
async fn a_run_that_never_started_leaves_no_slot_without_an_outcome() {
    let mut setup = setup_with(Arc::new(Memory::default()), false, 1);
    let job = job("j", "tasks: {a: {command: [x]}}");
    let first = setup.bench.start(&job).await;
    until("a to start", || setup.engine.has("a")).await;
    let second = setup.bench.start(&job).await;
    assert_eq!(
        setup
            .bench
            .handle
            .cancel(second, "by hand", SlotReason::Cancelled)
            .await,
        Ok(true)
    );
    let detail = setup.bench.ended(second).await;
    assert_eq!(detail.run.status, RunStatus::Cancelled);
    let slot = detail.run.slot.expect("a scheduled run");
    let slots = setup.bench.storage.slots(&job.id, slot, slot).expect("readable");
    assert_eq!(slots[0].outcome, Some(SlotOutcome::Skipped));
    assert_eq!(
        slots[0].detail.as_deref(),
        Some("cancelled before a task started: by hand")
    );
    assert_eq!(setup.bench.detail(first).run.status, RunStatus::Running);
}

#[tokio::test]
async fn a_start_that_is_delayed_shows_until_it_is_not() {
    let mut setup = setup(false);
    let mut conditions = setup.bench.handle.conditions();
    let run = setup.bench.start(&job("j", "tasks: {a: {command: [x]}}")).await;
    until("a to start", || setup.engine.has("a")).await;
    setup.engine.delay("a", "too many open files");
    let shown = conditions.wait_for(|conditions| !conditions.starting.is_empty()).await;
    let shown = shown.expect("running").messages();
    let expected = format!("attempt 1 of task `a` of run {run} cannot be started for now: too many open files");
    assert_eq!(shown, [expected]);
    setup.engine.end("a", Ending::Exited(0));
    setup.bench.ended(run).await;
    assert!(conditions.borrow().starting.is_empty());
}
