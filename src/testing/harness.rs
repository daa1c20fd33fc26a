//! Whole jobs in simulated time.
//!
//! Inside is a [`Petit`] as any program embeds it, over a journal in memory, a clock that follows Tokio's paused timer, ids
//! that count, and commands that are played. So what a test sees is what a daemon does, only sooner.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};

use super::{FakeCommand, SimulatedClock, commands::FakeCommands};
use crate::{
    config::{build::DagBuilder, settings::Settings},
    core::{
        Timestamp,
        id::{JobId, RunId, TaskId},
        job::Job,
        record::{AttemptRecord, TaskRecord},
        state::{RunStatus, TaskState},
        task::Task,
    },
    daemon::embedded::{Petit, PetitBuilder, PetitError},
    events::Fact,
    execution::engine::AttemptKey,
    scheduler::Clock,
    storage::{RunDetail, RunFilter},
};

/// How long a run may take in simulated time before a test that waits for it fails.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// Runs jobs in simulated time, and answers what they did.
///
/// The test must be `#[tokio::test(start_paused = true)]` (feature `test-util` of `tokio`): then time stands still while
/// anything works, and leaps to the next thing to happen when nothing does.
///
/// ```
/// use std::time::Duration;
/// use petit::{TaskContext, TaskError, TaskState, testing::{FakeCommand, TestHarness}};
///
/// async fn load(context: TaskContext) -> Result<(), TaskError> {
///     if context.execution().attempt < 3 {
///         return Err(TaskError::transient("the table is locked"));
///     }
///     let rows: u64 = context.inputs().output("extract", "rows")?;
///     context.outputs().set("loaded", rows)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// // In a test: #[tokio::test(start_paused = true)] async fn …
/// let harness = TestHarness::builder()
///     .task("load", load)
///     .yaml("etl", "
///         schedule: '0 2 * * *'
///         tasks:
///           extract: {command: [./extract.sh, '${{ run.scheduled_date }}']}
///           load: {uses: load, depends_on: [extract], retry: {retries: 5, delay: 1m, when: transient}}
///           alert: {command: [./alert.sh], depends_on: [load], condition: on_failure}")
///     // Commands are not run: without a word about them they succeed at once.
///     .command("extract", FakeCommand::succeeds().after(Duration::from_secs(30)).publishes("rows", 12))
///     .start()
///     .await;
///
/// // Simulated time begins at midnight.
/// harness.advance(Duration::from_secs(3 * 3600)).await;
/// let run = &harness.runs("etl")[0];
/// assert!(run.succeeded());
/// assert_eq!(run.started(), ["extract", "load"]);
/// assert_eq!(run.ended(), ["extract", "load", "alert"]);
/// assert_eq!(run.state("alert"), TaskState::Skipped);
/// assert_eq!(run.outputs("load")["loaded"], 12);
/// let again: Vec<String> = run.retried("load").iter().map(|at| at.format("%T").to_string()).collect();
/// assert_eq!(again, ["02:01:30", "02:02:30"]);
/// assert_eq!(harness.commands("extract"), [["./extract.sh", "2026-01-01"]]);
/// # });
/// ```
pub struct TestHarness {
    petit: Petit,
    clock: Arc<SimulatedClock>,
    commands: FakeCommands,
}

/// What a [`TestHarness`] begins with.
pub struct HarnessBuilder {
    petit: PetitBuilder,
    begins_at: Timestamp,
    commands: BTreeMap<String, Vec<FakeCommand>>,
}

impl HarnessBuilder {
    /// Registers a Rust task.
    #[must_use]
    pub fn task(self, name: impl Into<String>, task: impl Task + 'static) -> Self {
        let petit = self.petit.task(name, task);
        Self { petit, ..self }
    }

    /// Adds a job.
    #[must_use]
    pub fn job(self, job: Job) -> Self {
        let petit = self.petit.job(job);
        Self { petit, ..self }
    }

    /// Adds the job of a file's text.
    ///
    /// # Panics
    ///
    /// If the text is not valid, with everything that is wrong with it.
    #[must_use]
    pub fn yaml(self, id: &str, text: &str) -> Self {
        let job = DagBuilder::from_yaml(id, text).unwrap_or_else(|invalid| panic!("{invalid}\n\n{}", invalid.yaml));
        self.job(job)
    }

    /// Says what the command of a task does, in whichever job: the first word counts for its first attempt, the next for the
    /// second, and the last for all further ones.
    #[must_use]
    pub fn command(mut self, task: impl Into<String>, does: FakeCommand) -> Self {
        self.commands.entry(task.into()).or_default().push(does);
        self
    }

    /// How much may run at a time, and which pools there are. Runs are kept for ever, unless these say otherwise.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        let petit = self.petit.settings(settings);
        Self { petit, ..self }
    }

    /// When simulated time begins; by default at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn begins_at(self, begins_at: Timestamp) -> Self {
        Self { begins_at, ..self }
    }

    /// Starts everything; schedules fire from here on.
    ///
    /// # Panics
    ///
    /// Outside of a paused Tokio runtime, and if the jobs cannot be started: their error says why.
    pub async fn start(self) -> TestHarness {
        match self.try_start().await {
            Ok(harness) => harness,
            Err(error) => panic!("the harness cannot start: {error}"),
        }
    }

    /// As [`Self::start`], for tests of jobs that are refused.
    pub async fn try_start(self) -> Result<TestHarness, PetitError> {
        assert_paused();
        let clock = Arc::new(SimulatedClock::new(self.begins_at));
        let commands = {
            let clock = Arc::clone(&clock);
            FakeCommands::new(self.commands, Arc::new(move || clock.now()))
        };
        let mut number = 0;
        let petit = self
            .petit
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .commands(Arc::new(commands.clone()))
            .random(move || {
                number += 1;
                number
            })
            .start()
            .await?;
        Ok(TestHarness { petit, clock, commands })
    }
}

/// Tokio does not say whether its timer is paused, but the hands of a paused one stand still while nobody awaits anything.
fn assert_paused() {
    let before = Instant::now();
    std::thread::sleep(Duration::from_millis(1));
    assert!(
        before == Instant::now(),
        "a TestHarness needs simulated time: write #[tokio::test(start_paused = true)] above the test"
    );
}

impl TestHarness {
    /// A harness without jobs, to be given some.
    pub fn builder() -> HarnessBuilder {
        HarnessBuilder {
            petit: Petit::builder().keeping_everything(),
            begins_at: Timestamp::from_timestamp(1_767_225_600, 0).expect("an instant of 2026"),
            commands: BTreeMap::new(),
        }
    }

    /// Triggers a job and waits for its run's end, however long that takes in simulated time.
    ///
    /// # Panics
    ///
    /// If the job does not exist or refuses to start, and if the run has not ended after 30 simulated days.
    pub async fn run(&self, job: &str) -> Ran<'_> {
        let run = self.trigger(job, Map::new()).await;
        self.wait(run).await
    }

    /// Triggers a job with params.
    ///
    /// # Panics
    ///
    /// If the job does not exist or refuses to start.
    pub async fn trigger(&self, job: &str, params: Map<String, Value>) -> RunId {
        match self.petit.trigger(job, params).await {
            Ok(run) => run,
            Err(error) => panic!("job `{job}` cannot be triggered: {error}"),
        }
    }

    /// Waits for a run's end.
    ///
    /// # Panics
    ///
    /// If there is no such run, and if it has not ended after 30 simulated days.
    pub async fn wait(&self, run: RunId) -> Ran<'_> {
        match timeout(LONGEST, self.petit.wait(run)).await {
            Ok(Ok(detail)) => self.ran(detail),
            Ok(Err(error)) => panic!("cannot wait for run {run}: {error}"),
            Err(_) => panic!(
                "run {run} has not ended after 30 days: {:?}",
                self.petit.storage().run(run)
            ),
        }
    }

    /// Lets this much simulated time pass, and everything happen that is due in it.
    pub async fn advance(&self, time: Duration) {
        sleep(time).await;
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock, for moving its hands without letting time pass.
    pub fn clock(&self) -> &SimulatedClock {
        &self.clock
    }

    /// The runs of a job, oldest first.
    ///
    /// # Panics
    ///
    /// If `job` is no id.
    pub fn runs(&self, job: &str) -> Vec<Ran<'_>> {
        let job = JobId::new(job).unwrap_or_else(|error| panic!("{error}"));
        let filter = RunFilter {
            job: Some(job),
            ..RunFilter::default()
        };
        let storage = self.petit.storage();
        let runs = storage.runs(&filter).expect("a journal in memory can be read");
        let details = runs.iter().rev().filter_map(|run| {
            let detail = storage.run(run.id).expect("a journal in memory can be read");
            detail.map(|detail| self.ran(detail))
        });
        details.collect()
    }

    /// The words of every command that a task has started, in whichever job and attempt, oldest first.
    pub fn commands(&self, task: &str) -> Vec<Vec<String>> {
        let run = self.commands.run().into_iter();
        let of_task = run.filter(|(AttemptKey { task: other, .. }, _)| other.as_str() == task);
        of_task.map(|(_, words)| words).collect()
    }

    /// Stops as a program stops that embeds Petit: see [`Petit::shutdown`]. The journal can be read afterwards.
    pub async fn shutdown(self, grace: Duration) {
        self.petit.shutdown(grace).await;
    }

    /// All that a program which embeds Petit can do.
    pub fn petit(&self) -> &Petit {
        &self.petit
    }

    fn ran(&self, detail: RunDetail) -> Ran<'_> {
        Ran { harness: self, detail }
    }
}

/// A run of a [`TestHarness`], and what it did up to when it was asked for.
pub struct Ran<'a> {
    harness: &'a TestHarness,
    /// The run as the journal has it.
    pub detail: RunDetail,
}

impl Ran<'_> {
    /// Its id.
    pub fn id(&self) -> RunId {
        self.detail.run.id
    }

    /// How far it is, or how it ended.
    pub fn status(&self) -> RunStatus {
        self.detail.run.status
    }

    /// Whether it succeeded.
    pub fn succeeded(&self) -> bool {
        self.status() == RunStatus::Succeeded
    }

    /// Why it ended as it did, in words.
    pub fn reason(&self) -> Option<&str> {
        self.detail.run.reason.as_deref()
    }

    /// The tasks in the order in which their first attempts began; those that never began are missing.
    pub fn started(&self) -> Vec<&str> {
        let first = self.detail.attempts.iter().filter(|attempt| attempt.attempt == 1);
        first.map(|attempt| attempt.task.as_str()).collect()
    }

    /// The tasks in the order in which they ended, however they ended.
    pub fn ended(&self) -> Vec<&str> {
        let facts = self.harness.petit.storage().facts(0, u32::MAX);
        let facts = facts.expect("a journal in memory can be read").into_iter();
        let ended = facts.filter_map(|fact| match fact.fact {
            Fact::Task(task) if task.run == self.id() => Some(task.task),
            _ => None,
        });
        ended
            .filter_map(|task| Some(self.detail.tasks.iter().find(|other| other.task == task)?.task.as_str()))
            .collect()
    }

    /// How far a task is, or how it ended.
    ///
    /// # Panics
    ///
    /// If the job has no such task, as all the following.
    pub fn state(&self, task: &str) -> TaskState {
        self.task(task).state
    }

    /// What a task published.
    pub fn outputs(&self, task: &str) -> &BTreeMap<String, Value> {
        &self.task(task).outputs
    }

    /// The attempts of a task, in their order.
    pub fn attempts(&self, task: &str) -> Vec<&AttemptRecord> {
        let task = &self.task(task).task;
        let attempts = self.detail.attempts.iter();
        attempts.filter(|attempt| attempt.task == *task).collect()
    }

    /// When each attempt after the first began.
    pub fn retried(&self, task: &str) -> Vec<Timestamp> {
        let attempts = self.attempts(task).into_iter().skip(1);
        attempts.map(|attempt| attempt.granted_at).collect()
    }

    /// What the latest attempt of a task printed, line by line.
    pub fn log(&self, task: &str) -> Vec<String> {
        let Some(latest) = self.attempts(task).last().map(|attempt| attempt.attempt) else {
            return Vec::new();
        };
        let task: &TaskId = &self.task(task).task;
        let log = self.harness.petit.log(self.id(), task, latest);
        log.unwrap_or_else(|error| panic!("{error}"))
    }

    fn task(&self, task: &str) -> &TaskRecord {
        let found = self.detail.tasks.iter().find(|record| record.task.as_str() == task);
        found.unwrap_or_else(|| panic!("the job `{}` has no task `{task}`", self.detail.run.job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "start_paused = true")]
    async fn real_time_is_refused() {
        TestHarness::builder().start().await;
    }
}
