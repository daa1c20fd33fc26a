//! Rust tasks as the executor runs them: in simulated time where no process is needed, with processes where one is.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    CommandTask, DagBuilder, Ending, Petit, RunStatus, TaskContext, TaskError, TaskNode, TaskState,
    execution::fixtures::until,
    testing::{FakeCommand, Ran, TestHarness},
};

const HOUR: Duration = Duration::from_secs(3600);

/// One task that uses `it`, with more keys.
fn only(keys: &str) -> String {
    format!("tasks: {{only: {{uses: it, {keys}}}}}")
}

fn ending(ran: &Ran<'_>) -> (Option<Ending>, Option<String>) {
    let attempt = ran.attempts("only").pop().expect("it was tried");
    (attempt.ending, attempt.error.clone())
}

/// Waits for an hour without looking at anything, and notes when it is taken away.
struct Stubborn(Arc<AtomicBool>);

impl crate::Task for Stubborn {
    fn run(&self, _: TaskContext) -> crate::TaskFuture<'_> {
        struct Gone(Arc<AtomicBool>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let gone = Gone(Arc::clone(&self.0));
        Box::pin(async move {
            let _gone = gone;
            tokio::time::sleep(HOUR).await;
            Ok(())
        })
    }
}

async fn obedient(context: TaskContext) -> Result<(), TaskError> {
    context.outputs().set("began", true)?;
    context.cancelled().await;
    context.log("told to stop");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_task_says_and_publishes_is_kept_as_a_programs_is() {
    async fn it(context: TaskContext) -> Result<(), TaskError> {
        let execution = context.execution();
        context.log(format!(
            "attempt {} of {}\nsecond line",
            execution.attempt, execution.job
        ));
        context.log_error("oh");
        context.outputs().set("at", execution.scheduled_at)?;
        context.outputs().set("said", context.with::<serde_json::Value>()?)
    }
    let harness = TestHarness::builder()
        .task("it", it)
        .yaml("j", &only("with: {deep: [{job: '${{ run.job }}'}]}"))
        .start()
        .await;
    let ran = harness.run("j").await;
    assert!(ran.succeeded(), "{:?}", ran.detail);
    assert_eq!(ran.log("only"), ["attempt 1 of j", "second line", "oh"]);
    assert_eq!(ran.outputs("only")["said"], serde_json::json!({"deep": [{"job": "j"}]}));
    assert_eq!(
        ran.outputs("only")["at"],
        serde_json::json!(ran.detail.run.scheduled_at)
    );
    let attempt = ran.attempts("only")[0];
    assert_eq!((attempt.pid, attempt.bytes_out), (None, Some(30)));
    assert!(attempt.started_at.is_some() && attempt.ended_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn every_way_to_fail_has_its_name_and_only_what_may_pass_is_tried_again() {
    async fn it(context: TaskContext) -> Result<(), TaskError> {
        match context.inputs().config::<String>("how")?.as_str() {
            "for good" => Err(TaskError::new("no such table").because("the schema changed")),
            "for now" => Err(TaskError::transient("the table is locked")),
            "exit" => Err(TaskError::exited(4, "psql said so")),
            "panic" => panic!("made for this test"),
            other => panic!("no way called {other}"),
        }
    }
    for (how, expected, error, tries) in [
        ("for good", Ending::Failed, "no such table: the schema changed", 1),
        ("for now", Ending::FailedForNow, "the table is locked", 3),
        ("exit", Ending::Exited(4), "psql said so", 1),
        ("panic", Ending::Panicked, "made for this test", 1),
    ] {
        let retry = only("retry: {retries: 2, delay: 10m, when: transient}");
        let harness = TestHarness::builder()
            .task("it", it)
            .yaml("j", &format!("config: {{how: {how}}}\n{retry}"))
            .start()
            .await;
        let began = harness.now();
        let ran = harness.run("j").await;
        assert_eq!(ran.status(), RunStatus::Failed, "{how}");
        assert_eq!(ending(&ran), (Some(expected), Some(error.to_owned())), "{how}");
        assert_eq!(ran.attempts("only").len(), tries, "{how}");
        let waited: Vec<i64> = ran
            .retried("only")
            .iter()
            .map(|at| (*at - began).num_minutes())
            .collect();
        assert_eq!(waited, [10, 20][..tries - 1], "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_is_told_first_and_then_takes_the_task_away() {
    let gone = Arc::new(AtomicBool::new(false));
    for (obeys, took) in [(true, 60), (false, 65)] {
        let builder = TestHarness::builder().yaml("j", &only("timeout: 1m, kill_grace: 5s"));
        let harness = match obeys {
            true => builder.task("it", obedient),
            false => builder.task("it", Stubborn(Arc::clone(&gone))),
        };
        let harness = harness.start().await;
        let ran = harness.run("j").await;
        assert_eq!(ending(&ran), (Some(Ending::TimedOut), None));
        let attempt = ran.attempts("only")[0];
        let length = attempt.ended_at.expect("it ended") - attempt.started_at.expect("it began");
        assert_eq!(length.num_seconds(), took);
        if obeys {
            assert_eq!(ran.log("only"), ["told to stop"]);
            assert_eq!(
                ran.outputs("only")["began"],
                true,
                "what a failed attempt published stays"
            );
        }
    }
    assert!(gone.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_a_shutdown_have_their_own_endings() {
    let build = |keys: &str| {
        TestHarness::builder()
            .task("it", Stubborn(Arc::default()))
            .yaml("j", &only(keys))
    };
    let harness = build("kill_grace: 5s").start().await;
    let run = harness.trigger("j", Default::default()).await;
    harness.advance(Duration::from_secs(1)).await;
    harness.petit().cancel(run, "enough").await.expect("it runs");
    let ran = harness.wait(run).await;
    assert_eq!(
        (ran.status(), ending(&ran).0),
        (RunStatus::Cancelled, Some(Ending::Cancelled))
    );
    assert_eq!(ran.detail.run.ended_at, Some(harness.now()));
    assert_eq!((harness.now() - ran.detail.run.created_at).num_seconds(), 6);

    let harness = build("retry: {retries: 1}").start().await;
    let run = harness.trigger("j", Default::default()).await;
    harness.advance(Duration::from_secs(1)).await;
    let storage = Arc::clone(harness.petit().storage());
    harness.shutdown(Duration::from_secs(3)).await;
    let detail = storage.run(run).expect("readable").expect("created");
    assert_eq!(detail.attempts[0].ending, Some(Ending::Interrupted));
    assert_eq!(detail.tasks[0].state, TaskState::Retrying, "the next start tries again");
}

#[tokio::test(start_paused = true)]
async fn a_command_of_a_task_is_part_of_its_attempt() {
    async fn it(context: TaskContext) -> Result<(), TaskError> {
        context.log("before");
        let published = context
            .run_command(&CommandTask::new(["count", "${{ run.job }}"]))
            .await?;
        context.log(format!("after {}", published["rows"]));
        Ok(())
    }
    let slow = FakeCommand::succeeds().after(HOUR);
    let harness = TestHarness::builder()
        .task("it", it)
        .yaml("j", &only("retry: {retries: 2}, timeout: 10m, kill_grace: 1s"))
        .command("only", FakeCommand::exits(75))
        .command("only", slow)
        .command("only", FakeCommand::succeeds().publishes("rows", 3).prints("counting"))
        .start()
        .await;
    let ran = harness.run("j").await;
    let endings: Vec<_> = ran.attempts("only").iter().map(|attempt| attempt.ending).collect();
    assert_eq!(
        endings,
        [Ending::Exited(75), Ending::TimedOut, Ending::Exited(0)].map(Some)
    );
    assert_eq!(ran.log("only"), ["before", "counting", "after 3"]);
    assert!(ran.outputs("only").is_empty(), "the task published nothing itself");
    assert_eq!(harness.commands("only")[0], ["count", "j"]);
}

#[tokio::test]
async fn a_name_that_is_gone_fails_the_attempt_and_not_petit() {
    let gone = crate::TaskRegistry::default();
    let words = super::unknown_task("lode", &gone);
    assert_eq!(words, "no Rust task is registered as `lode`: this program has none");
    let mut known = crate::TaskRegistry::default();
    known.register("load", obedient).expect("a new name");
    let words = super::unknown_task("lode", &known);
    assert_eq!(words, "no Rust task is registered as `lode`: did you mean `load`?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_a_task_left_alone_ends_with_the_attempt() {
    async fn it(context: TaskContext) -> Result<(), TaskError> {
        let pid = PathBuf::from(context.inputs().config::<String>("pid")?);
        let script = CommandTask::shell("echo hello; echo \"n=$((40 + 2))\" >> \"$PETIT_OUTPUT\"");
        context.outputs().set("n", &context.run_command(&script).await?["n"])?;
        let forgotten = CommandTask::shell("echo $$ > \"$PID\"; exec sleep 300").env("PID", "${{ config.pid }}");
        let inner = context.clone();
        tokio::spawn(async move { inner.run_command(&forgotten).await });
        until("the process to be there", || number_in(&pid).is_some()).await;
        Ok(())
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let file = home.path().join("pid");
    let job = DagBuilder::new("j")
        .config("pid", file.display().to_string())
        .task("only", TaskNode::uses("it"))
        .build()
        .expect("valid");
    let petit = Petit::builder()
        .task("it", it)
        .job(job)
        .start()
        .await
        .expect("it starts");
    let detail = petit.run("j").await.expect("it runs");
    assert_eq!(detail.run.status, RunStatus::Succeeded, "{detail:?}");
    assert_eq!(detail.tasks[0].outputs["n"], 42);
    let lines = petit.log(detail.run.id, &detail.tasks[0].task, 1).expect("a log");
    assert_eq!(lines, ["hello"]);
    let pid = number_in(&file).expect("it wrote it");
    assert!(
        !PathBuf::from(format!("/proc/{pid}")).exists(),
        "nothing of the attempt is left"
    );
    petit.shutdown(Duration::ZERO).await;
}

fn number_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// One thread for the task and one for Petit, however many processors there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_holds_its_thread_does_not_hold_up_its_end() {
    let release = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&release);
    let it = move |_: TaskContext| {
        let held = Arc::clone(&held);
        async move {
            while !held.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(())
        }
    };
    let node = TaskNode::uses("it")
        .timeout(Duration::from_millis(10))
        .kill_grace(Duration::from_millis(10));
    let job = DagBuilder::new("j").task("only", node).build().expect("valid");
    let petit = Petit::builder()
        .task("it", it)
        .job(job)
        .start()
        .await
        .expect("it starts");
    let detail = petit.run("j").await.expect("it runs");
    release.store(true, Ordering::SeqCst);
    assert_eq!(detail.attempts[0].ending, Some(Ending::TimedOut));
    let error = detail.attempts[0].error.as_deref().expect("in words");
    assert!(error.contains("holds its thread"), "{error}");
    petit.shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_reaches_the_task_and_nothing_that_is_kept() {
    async fn it(context: TaskContext) -> Result<(), TaskError> {
        let key = context.env().get("KEY").expect("it was given").clone();
        context.log(format!("the key is {key}"));
        match context.execution().attempt {
            1 => Err(TaskError::new(format!("{key} was refused"))),
            _ => context.outputs().set("key", format!("<{key}>")),
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, "open sesame\n").expect("a writable folder");
    let keys = format!(
        "secrets: {{KEY: {{file: {}}}}}, retry: {{retries: 1, delay: 1s}}",
        file.display()
    );
    let harness = TestHarness::builder()
        .task("it", it)
        .yaml("j", &only(&keys))
        .start()
        .await;
    let ran = harness.run("j").await;
    let attempts = ran.attempts("only");
    assert_eq!(attempts[0].error.as_deref(), Some("*** was refused"));
    assert_eq!(attempts[1].ending, Some(Ending::BadOutput), "{:?}", attempts[1]);
    assert_eq!(ran.log("only"), ["the key is ***"]);
    assert!(!format!("{:?}", ran.detail).contains("sesame"));
    std::fs::remove_file(&file).expect("removable");
    let ran = harness.run("j").await;
    assert_eq!(ending(&ran).0, Some(Ending::BadSecret));
}
