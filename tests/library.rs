//! Petit inside another program: what such a program builds, registers, hears, and finds again after a restart.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use petit::{
    CommandTask, DagBuilder, Event, JobId, Milestone, Petit, PetitBuilder, PetitError, RunStatus, Storage, TaskContext,
    TaskError, TaskNode, TaskRegistry,
    config::settings::Settings,
    daemon::{self, journal_path},
    reconcile::Trust,
    storage::{Memory, RunFilter, Sqlite},
    testing::{FakeCommand, SimulatedClock, TestHarness},
};
use tokio::{sync::mpsc, time::timeout};

/// Far longer than anything here takes, so that a busy machine fails nothing.
const DEADLINE: Duration = Duration::from_secs(300);

async fn double(context: TaskContext) -> Result<(), TaskError> {
    let n: i64 = context.with::<serde_json::Value>()?["n"]
        .as_i64()
        .ok_or("`n` is no number")?;
    context.outputs().set("n", 2 * n)
}

fn node(n: i64) -> TaskNode {
    TaskNode::uses("double").with("n", n)
}

#[tokio::test]
async fn a_schedule_runs_a_graph_and_a_handler_hears_all_of_it() {
    let heard: Arc<Mutex<Vec<(Milestone, String)>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let job = DagBuilder::new("numbers")
        .schedule("* * * * * *")
        .task("twice", node(21).retries(1, Duration::ZERO))
        .task("fails", TaskNode::uses("fails").retries(1, Duration::ZERO))
        .task(
            "say",
            TaskNode::command(CommandTask::new(["echo", "${{ tasks.twice.outputs.n }}"])).after(["twice"]),
        )
        .build()
        .expect("valid");
    let petit = Petit::builder()
        .task("double", double)
        .task("fails", async |_: TaskContext| {
            Err(TaskError::new("made for this test"))
        })
        .job(job)
        .on_event(move |event: &Event| {
            let subject = match event {
                Event::Run { job, .. } => job.to_string(),
                Event::Task { task, .. } => task.to_string(),
                Event::Slot(_) | Event::Reconcile(_) => return,
            };
            let milestone = event.milestone().map(|milestone| (milestone, subject));
            hears.lock().expect("no test panics with it").extend(milestone);
        })
        .start()
        .await
        .expect("it starts");
    let mut events = petit.events();
    let ended = async {
        loop {
            let event = events.recv().await.expect("a listener that keeps up");
            if let (Some(Milestone::JobFailed), Event::Run { run, .. }) = (event.milestone(), &event) {
                return *run;
            }
        }
    };
    let run = timeout(DEADLINE, ended).await.expect("a run of the schedule");
    let detail = petit.wait(run).await.expect("it ended");
    assert_eq!(detail.run.slot, Some(detail.run.scheduled_at), "the schedule made it");
    assert_eq!(detail.tasks[0].outputs["n"], 42);
    let say = &detail.tasks[2].task;
    assert_eq!(petit.log(run, say, 1).expect("a log"), ["42"]);
    petit.shutdown(Duration::ZERO).await;

    let heard = heard.lock().expect("no test panics with it");
    let of = |subject: &str| -> Vec<Milestone> {
        let of_first_run = heard
            .iter()
            .take_while(|(milestone, _)| *milestone != Milestone::JobFailed);
        let of_subject = of_first_run.filter(|(_, other)| other == subject);
        of_subject.map(|(milestone, _)| *milestone).collect()
    };
    assert_eq!(of("numbers"), [Milestone::JobStarted]);
    assert_eq!(of("twice"), [Milestone::TaskStarted, Milestone::TaskCompleted]);
    assert_eq!(
        of("fails"),
        [
            Milestone::TaskStarted,
            Milestone::TaskRetrying,
            Milestone::TaskStarted,
            Milestone::TaskFailed
        ]
    );
}

#[tokio::test]
async fn what_cannot_run_here_is_refused_with_a_reason() {
    let job = |id: &str, node: TaskNode| DagBuilder::new(id).task("only", node).build().expect("valid by itself");
    let refused = async |petit: petit::PetitBuilder| match petit.start().await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    };
    let unknown = Petit::builder()
        .task("double", double)
        .job(job("a", TaskNode::uses("doubel")));
    let error = refused(unknown).await;
    assert_eq!(
        error.to_string(),
        "the job `a` cannot run here: no Rust task is registered as `doubel` (did you mean `double`?)"
    );
    let twice = Petit::builder()
        .task("double", double)
        .job(job("a", node(1)))
        .job(job("a", node(2)));
    assert!(matches!(refused(twice).await, PetitError::Jobs(why) if why[0].contains("conflict a")));
    let taken = Petit::builder().task("double", double).task("double", double);
    assert!(matches!(refused(taken).await, PetitError::Register(_)));
    let petit = Petit::builder().start().await.expect("nothing is refused");
    let error = petit.run("nobody").await.expect_err("no such job");
    assert_eq!(error.to_string(), "there is no active job `nobody`");
    petit.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_journal_on_disk_knows_yesterdays_jobs() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || -> Arc<dyn Storage> { Arc::new(Sqlite::open(&folder.path().join("journal.db")).expect("a journal")) };
    let start = async |storage: &Arc<dyn Storage>, jobs: Vec<petit::Job>| {
        let mut petit = Petit::builder().task("double", double).storage(Arc::clone(storage));
        for job in jobs {
            petit = petit.job(job);
        }
        petit.start().await.expect("it starts")
    };
    let job = |id: &str, n: i64| DagBuilder::new(id).task("only", node(n)).build().expect("valid");
    let first = {
        let storage = open();
        let petit = start(&storage, vec![job("a", 1), job("b", 1)]).await;
        let detail = petit.run("a").await.expect("it runs");
        petit.shutdown(Duration::ZERO).await;
        detail
    };
    let storage = open();
    let petit = start(&storage, vec![job("a", 2), job("c", 1)]).await;
    let active = storage.active().expect("readable");
    let found: Vec<(&str, u64)> = active
        .iter()
        .map(|record| (record.job.as_str(), record.generation))
        .collect();
    assert_eq!(found, [("a", 2), ("c", 1)]);
    let detail = petit.run("a").await.expect("it runs");
    assert_eq!(
        (
            first.tasks[0].outputs["n"].as_i64(),
            detail.tasks[0].outputs["n"].as_i64()
        ),
        (Some(2), Some(4))
    );
    assert_eq!(storage.runs(&RunFilter::default()).expect("readable").len(), 2);
    petit.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_daemon_with_rust_tasks_takes_them_from_job_files() {
    let place = tempfile::tempdir().expect("a folder");
    let jobs_dir = place.path().join("jobs.d");
    fs::create_dir(&jobs_dir).expect("a folder");
    fs::write(
        jobs_dir.join("numbers.yaml"),
        "schedule: '* * * * * *'\ntasks: {twice: {uses: double, with: {n: 4}}}",
    )
    .expect("written");
    fs::write(
        jobs_dir.join("bad.yaml"),
        "schedule: '* * * * * *'\ntasks: {twice: {uses: treble}}",
    )
    .expect("written");
    let mut tasks = TaskRegistry::default();
    tasks.register("double", double).expect("a new name");
    let options = daemon::Options {
        jobs_dir,
        state_dir: place.path().join("state"),
        settings: Settings::default(),
        trust: Trust::Anyone,
        environment: Vec::new(),
        tasks: Arc::new(tasks),
        catch_up: daemon::CatchUpIn::ThisProcess,
        interrupt: daemon::Interrupt::Stops,
    };
    let journal = journal_path(&options.state_dir);
    let (stop, asked) = mpsc::channel(1);
    let daemon = tokio::spawn(daemon::run(options, asked));
    let succeeded = async {
        while finished(&journal) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, succeeded).await.expect("a run of the schedule");
    stop.send(()).await.expect("it listens");
    daemon.await.expect("no panic").expect("an orderly end");
    let storage = Sqlite::open_read_only(&journal).expect("a journal");
    let jobs: Vec<JobId> = storage
        .active()
        .expect("readable")
        .into_iter()
        .map(|record| record.job)
        .collect();
    assert_eq!(
        jobs,
        ["numbers".parse().expect("a slug")],
        "the other file names a task that nobody registered"
    );
}

/// How many runs have succeeded, by a journal that may not be there yet.
fn finished(journal: &Path) -> usize {
    let Ok(storage) = Sqlite::open_read_only(journal) else {
        return 0;
    };
    let filter = RunFilter {
        statuses: vec![RunStatus::Succeeded],
        ..RunFilter::default()
    };
    storage.runs(&filter).map_or(0, |runs| runs.len())
}

#[tokio::test(start_paused = true)]
async fn a_night_passes_in_simulated_time_and_is_alike_every_time() {
    let night = async || {
        let harness = TestHarness::builder()
            .task("double", double)
            .yaml(
                "nightly",
                "
schedule: {cron: '30 2 * * *', timezone: Europe/Berlin}
tasks:
  extract: {command: [./extract.sh], timeout: 10m, retry: {retries: 2, delay: 5m}}
  twice: {uses: double, with: {n: 3}, depends_on: [extract]}",
            )
            // Spring begins on 29 March, when there is no half past two.
            .begins_at("2026-03-28T00:00:00Z".parse().expect("an instant"))
            .command("extract", FakeCommand::succeeds().after(Duration::from_secs(3600)))
            .command("extract", FakeCommand::succeeds().after(Duration::from_secs(60)))
            .start()
            .await;
        harness.advance(Duration::from_secs(2 * 86_400)).await;
        let runs = harness.runs("nightly");
        assert!(runs.iter().all(|run| run.succeeded() && run.outputs("twice")["n"] == 6));
        runs.iter()
            .map(|run| (run.id(), run.detail.run.slot, run.retried("extract"), run.ended().len()))
            .collect::<Vec<_>>()
    };
    let first = night().await;
    let slots: Vec<String> = first
        .iter()
        .filter_map(|(_, slot, ..)| Some(slot.as_ref()?.to_rfc3339()))
        .collect();
    assert_eq!(slots, ["2026-03-28T01:30:00+00:00", "2026-03-29T01:00:00+00:00"]);
    let again: Vec<String> = first[0].2.iter().map(|at| at.format("%T").to_string()).collect();
    assert_eq!(again, ["01:45:00"]);
    assert_eq!(night().await, first);
}

/// Starts a job that runs each minute, lets some hours pass, and says how many runs, facts and folders of logs are left.
async fn left(petit: PetitBuilder, hours: u64) -> [usize; 3] {
    let folder = tempfile::tempdir().expect("a folder");
    let job = DagBuilder::new("numbers")
        .schedule("* * * * *")
        .task("say", TaskNode::uses("say"));
    let petit = petit
        .clock(Arc::new(SimulatedClock::new(
            "2026-01-01T00:00:00Z".parse().expect("an instant"),
        )))
        .task("say", async |context: TaskContext| {
            context.log("so");
            Ok::<_, TaskError>(())
        })
        .state_dir(folder.path())
        .job(job.build().expect("valid"))
        .start()
        .await
        .expect("it starts");
    tokio::time::sleep(Duration::from_secs(hours * 3_600 + 30)).await;
    let runs = petit.storage().runs(&RunFilter::default()).expect("readable").len();
    let facts = petit.storage().facts(0, u32::MAX).expect("readable").len();
    let folders = fs::read_dir(folder.path().join("runs")).expect("a folder").count();
    petit.shutdown(Duration::ZERO).await;
    [runs, facts, folders]
}

#[tokio::test(start_paused = true)]
async fn a_program_that_goes_on_for_ever_does_not_grow_for_ever() {
    // A look each five minutes leaves those of the last hour, and up to five that became too old since.
    let [runs, facts, folders] = left(Petit::builder(), 3).await;
    assert!((60..=66).contains(&runs), "{runs} runs");
    assert!((60..=66).contains(&folders), "{folders} folders");
    // Slot, run, task and attempt, and the version of the job.
    assert!((4 * 60..=4 * 66 + 1).contains(&facts), "{facts} facts");
    let settings: Settings = serde_json::from_str(r#"{"retention": {"runs": {"count": 25}}}"#).expect("valid");
    let [runs, _, folders] = left(Petit::builder().settings(settings), 1).await;
    assert!((25..=30).contains(&runs), "{runs} runs");
    assert!((25..=30).contains(&folders), "{folders} folders");
    let kept: Arc<dyn Storage> = Arc::new(Memory::default());
    let [runs, _, folders] = left(Petit::builder().storage(kept), 3).await;
    assert_eq!([runs, folders], [180, 180], "one that was given belongs to somebody");
}
