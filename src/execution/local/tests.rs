//! Whole runs with real processes and a journal on disk.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    core::{
        job::Job,
        record::AttemptRecord,
        state::{RunStatus, SlotReason, TaskState},
    },
    execution::{
        engine::log_path,
        executor::Handle,
        fixtures::{Bench, capacity, clock, job, states, until},
        output::LogReader,
        process::ProcessId,
        recovery,
    },
    storage::{RunDetail, Sqlite},
};

struct Setup {
    bench: Bench,
    home: tempfile::TempDir,
}

fn setup(tasks: u32) -> Setup {
    let home = tempfile::tempdir().expect("a temporary folder");
    let vault = Vault::new([("OUTER".to_owned(), "hidden-in-outer".to_owned())]);
    let engine = Arc::new(LocalEngine::new(1 << 20, clock()).with_vault(vault));
    let storage = Sqlite::open(&home.path().join("journal.db")).expect("a new journal");
    let bench = Bench::new(home.path(), Arc::new(storage), engine, capacity(tasks));
    Setup { bench, home }
}

fn printed(setup: &Setup, detail: &RunDetail, attempt: &AttemptRecord) -> String {
    let state_dir = setup.home.path().join(".petit");
    let path = log_path(&state_dir, detail.run.id, &attempt.task, attempt.attempt);
    let entries = LogReader::new(path).next_batch().expect("a readable log");
    entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.text).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether a process of this number exists and is not a zombie.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_go_from_task_to_task() {
    let mut setup = setup(8);
    let job = job(
        "etl",
        r#"
params: {}
config: {unit: rows}
env: {WHERE: "${{ config.unit }}"}
tasks:
  extract:
    command: |
      echo "rows=$((6 * 7))" >> "$PETIT_OUTPUT"
      printf 'note<<END\ntwo\nlines\nEND\n' >> "$PETIT_OUTPUT"
  transform:
    depends_on: [extract]
    command: [sh, -c, 'echo "$1 $WHERE" | tee "$PETIT_OUTPUT.txt"; echo "got=$1" >> "$PETIT_OUTPUT"', x, "${{ tasks.extract.outputs.rows }}"]
  report:
    depends_on: [transform]
    command: cat "$PETIT_CONTEXT"
"#,
    );
    let detail = setup.bench.run_to_end(&job).await;
    assert_eq!(detail.run.status, RunStatus::Succeeded, "{detail:?}");
    assert_eq!(detail.tasks[0].outputs["rows"], 42);
    assert_eq!(detail.tasks[0].outputs["note"], "two\nlines");
    assert_eq!(printed(&setup, &detail, &detail.attempts[1]), "42 rows");
    let context: Value = serde_json::from_str(&printed(&setup, &detail, &detail.attempts[2])).expect("JSON");
    assert_eq!(context["tasks"]["transform"]["outputs"]["got"], 42);
    assert_eq!(context["tasks"]["extract"]["status"], "succeeded");
    let first = &detail.attempts[0];
    assert!(
        first.pid.is_some() && first.pid_start.is_some() && first.cpu_user_ms.is_some(),
        "{first:?}"
    );
    assert!(first.started_at <= first.ended_at && first.granted_at <= first.started_at.expect("it started"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_retried_and_then_handled() {
    let mut setup = setup(8);
    let job = job(
        "j",
        r#"
tasks:
  flaky:
    command: '[ "$PETIT_ATTEMPT" = 3 ] || exit 75'
    retry: {retries: 2, delay: 1ms, when: transient}
  broken: {command: exit 4, depends_on: [flaky], retry: {retries: 5, when: transient}}
  alert: {command: [sh, -c, 'echo "$0"', "${{ tasks.broken.status }} ${{ tasks.broken.exit_code }}"], depends_on: [broken], condition: on_failure}
  publish: {command: 'echo nonsense > "$PETIT_OUTPUT"'}
  missing: {command: [petit-no-such-program]}
"#,
    );
    let detail = setup.bench.run_to_end(&job).await;
    assert_eq!(detail.run.status, RunStatus::Failed);
    let of = |task: &str| -> Vec<&AttemptRecord> {
        detail
            .attempts
            .iter()
            .filter(|attempt| attempt.task.as_str() == task)
            .collect()
    };
    let endings = |task| of(task).iter().map(|attempt| attempt.ending).collect::<Vec<_>>();
    let temporary = Some(Ending::Exited(75));
    assert_eq!(endings("flaky"), [temporary, temporary, Some(Ending::Exited(0))]);
    assert_eq!(endings("broken"), [Some(Ending::Exited(4))]);
    assert_eq!(printed(&setup, &detail, of("alert")[0]), "failed 4");
    assert_eq!(endings("publish"), [Some(Ending::BadOutput)]);
    let error = of("publish")[0].error.as_deref().expect("in words");
    assert!(error.contains("line 1"), "{error}");
    assert_eq!(endings("missing"), [Some(Ending::NotFound)]);
}

/// After which something is ended that has to have begun by then: soon enough on a machine with time for it, and else long
/// enough.
const TIMEOUTS: [&str; 3] = ["500ms", "5s", "50s"];

fn words(attempt: &AttemptRecord) -> &str {
    attempt.error.as_deref().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_task_and_nothing_else() {
    let mut setup = setup(8);
    fs::write(
        setup.home.path().join("key"),
        "-----BEGIN-----\nbody-of-the-key\n}\n-----END-----\n",
    )
    .expect("writable");
    let job = job(
        "j",
        r#"
secrets: {KEY: {file: key}, TOKEN: {env: OUTER}}
tasks:
  says:
    command: |
      [ "$(printf %s "$KEY" | wc -l)" = 3 ] && [ "$TOKEN" = hidden-in-"outer" ]
      printf hidden-in; sleep 0.1; printf '%s\n' -outer
      echo "$KEY" >&2
      printf '%s' "$KEY" | sed 's/^/> /' >&2
  publishes: {command: 'printf "token=%s\n" "$TOKEN" >> "$PETIT_OUTPUT"'}
  spells: {command: 'printf "%s" "t=\"hidden\u002din-outer\"" >> "$PETIT_OUTPUT"'}
  garbles: {command: 'echo "$TOKEN" >> "$PETIT_OUTPUT"; exit 3'}
  named: {command: ["./hidden-in-outer"]}
"#,
    );
    let detail = setup.bench.run_to_end(&job).await;
    let of = |task: &str| {
        let found = detail.attempts.iter().find(|attempt| attempt.task.as_str() == task);
        found.expect("it was tried")
    };
    assert_eq!(of("says").ending, Some(Ending::Exited(0)), "{:?}", of("says"));
    let said = printed(&setup, &detail, of("says"));
    let (out, err): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| !line.contains('>') && *line != "}");
    assert!(out.iter().all(|line| *line == "***"), "{said}");
    assert_eq!(err, ["> ***", "> ***", "> }", "> ***"], "{said}");
    for task in ["publishes", "spells"] {
        assert_eq!(of(task).ending, Some(Ending::BadOutput), "{task}");
        assert!(words(of(task)).contains("contains a secret"), "{}", words(of(task)));
    }
    assert_eq!(of("garbles").ending, Some(Ending::Exited(3)));
    assert_eq!(of("named").ending, Some(Ending::NotFound));
    assert!(words(of("named")).contains("***"), "{}", words(of("named")));
    assert!(detail.tasks.iter().all(|task| task.outputs.is_empty()), "{detail:?}");
    let shown = format!("{detail:?}");
    for secret in ["hidden-in-outer", "body-of-the-key"] {
        assert!(!shown.contains(secret), "{shown}");
        let folder = setup.home.path().join(".petit/runs");
        let kept = std::process::Command::new("grep")
            .args(["-r", "-l", "-e", secret])
            .arg(&folder)
            .output();
        assert_eq!(String::from_utf8_lossy(&kept.expect("grep").stdout), "", "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_used_ends_the_attempt_before_its_process() {
    let mut setup = setup(8);
    fs::write(setup.home.path().join("short"), "abc\n").expect("writable");
    let job = job(
        "j",
        "tasks: {a: {command: [touch, ran], secrets: {PIN: {file: short}}}, b: {command: [touch, ran], secrets: {X: {env: NO}}}}",
    );
    let detail = setup.bench.run_to_end(&job).await;
    assert_eq!(detail.run.status, RunStatus::Failed);
    let endings: Vec<_> = detail.attempts.iter().map(|attempt| attempt.ending).collect();
    assert_eq!(endings, [Some(Ending::BadSecret); 2]);
    assert!(
        words(&detail.attempts[0]).contains("`PIN` has no line of at least 4 bytes"),
        "{detail:?}"
    );
    assert!(
        words(&detail.attempts[1]).contains("Petit's own environment has no `NO`"),
        "{detail:?}"
    );
    assert!(!setup.home.path().join("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_only_a_later_task_names_is_kept_from_the_first_task_on() {
    let mut setup = setup(8);
    fs::write(setup.home.path().join("token"), "first-of-all\n").expect("writable");
    let job = job(
        "j",
        r#"
tasks:
  shows: {command: 'cat token; exit 3'}
  publishes: {command: 'echo "k=$(cat token)" >> "$PETIT_OUTPUT"'}
  makes: {command: 'echo made-by-a-task > made; echo "k=$(cat made)" >> "$PETIT_OUTPUT"'}
  later: {secrets: {A: {file: token}, B: {file: made}, C: {file: gone}}, command: [x], depends_on: [shows, publishes, makes]}
"#,
    );
    let detail = setup.bench.run_to_end(&job).await;
    let endings: Vec<_> = detail
        .attempts
        .iter()
        .map(|attempt| (attempt.task.as_str(), attempt.ending))
        .collect();
    for (task, ending) in [
        ("shows", Ending::Exited(3)),
        ("publishes", Ending::BadOutput),
        ("makes", Ending::BadOutput),
    ] {
        assert!(endings.contains(&(task, Some(ending))), "{endings:?}");
    }
    let kept = std::process::Command::new("grep")
        .args(["-r", "-l", "-e", "first-of-all", "-e", "made-by-a-task"])
        .arg(setup.home.path().join(".petit/runs"))
        .output();
    assert_eq!(String::from_utf8_lossy(&kept.expect("grep").stdout), "");
    assert!(!format!("{detail:?}").contains("first-of-all"), "{detail:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_out_of_its_runs_time_is_timed_out_and_says_whose_time_it_was() {
    for timeout in TIMEOUTS {
        let mut setup = setup(8);
        let yaml = format!(
            "{{timeout: {timeout}, tasks: {{a: {{command: sleep 600, retry: {{retries: 3}}}}, b: {{command: [x], depends_on: [a]}}}}}}"
        );
        let detail = setup.bench.run_to_end(&job("j", &yaml)).await;
        assert_eq!(detail.run.status, RunStatus::TimedOut);
        match &detail.attempts[..] {
            [] => {}
            [attempt] => {
                assert_eq!(attempt.ending, Some(Ending::TimedOut));
                assert_eq!(words(attempt), format!("the run took longer than {timeout}"));
                return;
            }
            _ => panic!("it is not tried again: {detail:?}"),
        }
    }
    panic!("no attempt began in the run's time");
}

/// A task that leaves a grandchild, whose number it writes to `pid` in its folder.
const TREE: &str = "(trap '' HUP; exec sleep 300) & echo $! > pid.new; mv pid.new pid; wait";

async fn grandchild(setup: &Setup) -> String {
    let file = setup.home.path().join("pid");
    until("the grandchild to be there", || file.exists()).await;
    fs::read_to_string(file).expect("it exists")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_whole_tree() {
    for timeout in TIMEOUTS {
        let mut setup = setup(8);
        let yaml = format!("{{tasks: {{a: {{command: \"{TREE}\", timeout: {timeout}, kill_grace: 1s}}}}}}");
        let detail = setup.bench.run_to_end(&job("j", &yaml)).await;
        assert_eq!(detail.attempts[0].ending, Some(Ending::TimedOut));
        assert_eq!(detail.run.status, RunStatus::Failed);
        if let Ok(pid) = fs::read_to_string(setup.home.path().join("pid")) {
            assert!(!is_alive(&pid));
            return;
        }
    }
    panic!("the tree never stood before its timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_the_whole_tree() {
    let mut setup = setup(8);
    let yaml = format!("{{tasks: {{a: {{command: \"{TREE}\"}}, b: {{command: [x], depends_on: [a]}}}}}}");
    let run = setup.bench.start(&job("j", &yaml)).await;
    let pid = grandchild(&setup).await;
    assert!(is_alive(&pid));
    assert_eq!(
        setup.bench.handle.cancel(run, "enough", SlotReason::Cancelled).await,
        Ok(true)
    );
    let detail = setup.bench.ended(run).await;
    assert_eq!(
        (detail.run.status, detail.attempts[0].ending),
        (RunStatus::Cancelled, Some(Ending::Cancelled))
    );
    let expected = [("a", TaskState::Cancelled), ("b", TaskState::Cancelled)];
    assert_eq!(states(&detail), expected.into());
    assert!(!is_alive(&pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_run_at_a_time_than_may() {
    let mut setup = setup(8);
    let mut yaml = "max_concurrency: 2\ntasks:\n".to_owned();
    for task in 0..8 {
        yaml.push_str(&format!("  t{task}: {{command: sleep 0.05}}\n"));
    }
    let detail = setup.bench.run_to_end(&job("j", &yaml)).await;
    assert_eq!(detail.run.status, RunStatus::Succeeded);
    let spans: Vec<_> = detail
        .attempts
        .iter()
        .map(|a| (a.started_at.expect("ran"), a.ended_at.expect("ran")))
        .collect();
    for (start, _) in &spans {
        let beside = spans.iter().filter(|(from, to)| from <= start && start < to).count();
        assert!(beside <= 2, "{beside} at {start}");
    }
}

fn many(tasks: usize, line: impl Fn(usize) -> String) -> Arc<Job> {
    let lines: String = (0..tasks).map(line).collect();
    job("many", &format!("tasks:\n{lines}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn long_chains_and_wide_fans_come_through() {
    let mut setup = setup(16);
    let chain = many(200, |task| {
        let above = if task == 0 {
            String::new()
        } else {
            format!(", depends_on: [t{}]", task - 1)
        };
        format!("  t{task}: {{command: [/bin/true]{above}}}\n")
    });
    assert_eq!(setup.bench.run_to_end(&chain).await.run.status, RunStatus::Succeeded);
    let fan = many(300, |task| format!("  t{task}: {{command: [/bin/true]}}\n"));
    let detail = setup.bench.run_to_end(&fan).await;
    assert_eq!((detail.run.status, detail.attempts.len()), (RunStatus::Succeeded, 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlived_petit_is_ended_before_its_run_goes_on() {
    let setup = setup(8);
    let yaml = format!("{{tasks: {{a: {{command: \"{TREE}\", retry: {{retries: 1}}}}}}}}");
    let run = setup.bench.start(&job("j", &yaml)).await;
    let pid = grandchild(&setup).await;
    until("the process to be recorded", || {
        setup.bench.detail(run).attempts[0].pid.is_some()
    })
    .await;
    let left = recovery::recover(setup.bench.storage.unfinished().expect("readable"));
    assert_eq!(left.processes.len(), 1);
    let [ProcessId { pid: recorded, .. }] = left.processes[..] else {
        panic!("one process")
    };
    assert_eq!(Some(recorded), left.going[0].attempts[0].pid);
    recovery::end_leftovers("another instance", &left.processes, Duration::from_millis(500)).await;
    assert!(!is_alive(&pid));
    let handle: &Handle = &setup.bench.handle;
    handle.shutdown(Duration::ZERO).await;
    assert!(setup.bench.detail(run).attempts[0].ending.is_some());
    setup.bench.task.abort();
}

#[test]
fn only_what_may_pass_counts_as_a_shortage() {
    let file = |code| StartProblem::File {
        action: "write",
        path: "context.json".into(),
        source: io::Error::from_raw_os_error(code),
    };
    assert!(file(libc::ENOSPC).is_shortage() && file(libc::EMFILE).is_shortage());
    assert!(!file(libc::EACCES).is_shortage());
    assert!(!StartProblem::Spawn(SpawnError::Empty).is_shortage());
    let ended = NotStarted::from(file(libc::EACCES));
    assert_eq!(ended.ending, Ending::CouldNotSpawn);
    let words = ended.error.expect("in words");
    assert!(words.starts_with("could not write context.json: "), "{words}");
}

#[test]
fn only_a_regular_file_of_a_bounded_size_is_read_as_outputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let read_outputs = |path: &Path| super::read_outputs(path, &Mask::default());
    assert_eq!(read_outputs(&file("missing")), Ok(Outputs::new()));
    fs::write(file("good"), "a=1").expect("a writable folder");
    assert_eq!(read_outputs(&file("good")).expect("well-formed")["a"], 1);
    fs::write(file("large"), vec![b'\n'; outputs::MAX_BYTES + 1]).expect("a writable folder");
    assert_eq!(read_outputs(&file("large")), Err(OutputError::TooLarge.to_string()));
    assert!(!file("large").exists(), "what is refused does not fill the disk");
    std::os::unix::fs::symlink("/dev/zero", file("endless")).expect("a writable folder");
    let error = read_outputs(&file("endless")).expect_err("not a file of its own");
    assert!(error.ends_with("is not a regular file any more"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_ends_what_no_executor_ends_any_more() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let engine = Arc::new(LocalEngine::new(1 << 20, clock()));
    let storage = Sqlite::open(&home.path().join("journal.db")).expect("a new journal");
    let bench = Bench::new(home.path(), Arc::new(storage), engine.clone(), capacity(8));
    let run = bench
        .start(&job(
            "j",
            "tasks: {a: {command: \"trap '' TERM; echo $$ > pid.tmp; mv pid.tmp pid; sleep 600\", kill_grace: 10m}}",
        ))
        .await;
    let file = home.path().join("pid");
    until("the process to say its number", || file.exists()).await;
    let pid = fs::read_to_string(&file).expect("a number");
    bench.task.abort();
    engine.settle().await;
    assert!(!is_alive(&pid), "nothing of {run} is left");
}
