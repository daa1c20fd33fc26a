//! Runs played step by step against the machine alone: single stories, and scenarios at random against an independent
//! account of how each task must end.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    core::{
        capacity::SystemResources,
        id::{JobId, SpecHash},
        id::{RunId, TaskId},
        spec::{JobSpec, RetryCondition, RetryPolicy},
        state::Trigger,
    },
    execution::{
        admission::{Admission, Request, TaskKey},
        engine::AttemptEnd,
    },
};

fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(second, 0).expect("a valid instant")
}

fn job(yaml: &str) -> Arc<Job> {
    let spec: JobSpec = serde_yaml::from_str(yaml).expect("the test's own YAML");
    let id = JobId::new("j").expect("a slug");
    Arc::new(Job::new(spec, &id, chrono_tz::UTC).expect("a valid job"))
}

fn record(job: &Job) -> RunRecord {
    RunRecord {
        slot: Some(at(0)),
        ..RunRecord::queued(
            RunId::from_parts(at(0), 1),
            job.id.clone(),
            SpecHash::of(b""),
            Trigger::Schedule,
            at(0),
        )
    }
}

fn machine(job: &Arc<Job>) -> RunMachine {
    let run = record(job);
    let tasks = TaskRecord::of_new_run(job, run.id);
    let attempts = Vec::new();
    RunMachine::new(Arc::clone(job), RunDetail { run, tasks, attempts })
}

fn end(task: TaskIndex, attempt: u32, ending: Ending, now: Timestamp) -> Input {
    let end = AttemptEnd::without_process(ending, now, None);
    Input::Ended { task, attempt, end }
}

/// The effects that are not changes of the journal, in short.
fn deeds(effects: &[Effect]) -> Vec<String> {
    let deed = |effect: &Effect| match effect {
        Effect::Journal(_) => None,
        Effect::Request { task, .. } => Some(format!("request {task}")),
        Effect::Withdraw(task) => Some(format!("withdraw {task}")),
        Effect::Release(task) => Some(format!("release {task}")),
        Effect::Launch { task, attempt } => Some(format!("launch {task}.{attempt}")),
        Effect::Kill { task, attempt, why } => Some(format!("kill {task}.{attempt} {why:?}")),
        Effect::Arm { at, timer } => Some(format!("arm {} {timer:?}", at.timestamp())),
        Effect::Finish => Some("finish".to_owned()),
    };
    effects.iter().filter_map(deed).collect()
}

fn states(machine: &RunMachine) -> Vec<&'static str> {
    (0..machine.tasks.len())
        .map(|task| machine.state(task).as_str())
        .collect()
}

/// What the journal has after these changes: a little of what `storage` does.
fn apply(detail: &mut RunDetail, effects: &[Effect]) {
    for effect in effects {
        let Effect::Journal(change) = effect else { continue };
        match change.clone() {
            Change::StartRun { at, .. } => {
                detail.run.started_at = Some(at);
                detail.run.status = RunStatus::Running;
            }
            Change::NoteRun { reason, .. } => detail.run.reason = reason,
            Change::EndRun { status, at, .. } => {
                detail.run.status = status;
                detail.run.ended_at = Some(at);
            }
            Change::SetTask(record) => {
                let row = detail.tasks.iter_mut().find(|row| row.task == record.task);
                *row.expect("created with the run") = record;
            }
            Change::LaunchAttempt(record) => detail.attempts.push(record),
            Change::EndAttempt(record) => {
                let same = |row: &&mut AttemptRecord| row.task == record.task && row.attempt == record.attempt;
                let row = detail.attempts.iter_mut().find(same).expect("launched before");
                row.clone_from(&record);
            }
            Change::DecideSlot { .. } | Change::StartAttempt { .. } => {}
            other => panic!("a run does not make this change: {other:?}"),
        }
    }
}

const CHAIN: &str = "
tasks:
  a: {command: [a], retry: {retries: 1, delay: 5s}}
  b: {command: [b], depends_on: [a]}
";

/// A run that retries one in which these tasks had ended.
fn retrying(job: &Arc<Job>, reused: &[(&str, TaskState)]) -> RunMachine {
    let run = record(job);
    let mut tasks = TaskRecord::of_new_run(job, run.id);
    for (name, state) in reused {
        let task = job.dag.index_of(name).expect("a task of the job");
        tasks[task].state = *state;
        tasks[task].reused_from = Some(RunId::from_parts(at(0), 2));
    }
    let attempts = Vec::new();
    RunMachine::new(Arc::clone(job), RunDetail { run, tasks, attempts })
}

#[test]
fn a_retry_begins_behind_what_it_reuses() {
    let job = job(
        "tasks: {a: {command: x}, b: {command: x, depends_on: [a]}, c: {command: x, depends_on: [a, b]}, \
                   d: {command: x, depends_on: [a], condition: on_failure}}",
    );
    let mut run = retrying(&job, &[("a", TaskState::Succeeded), ("d", TaskState::Skipped)]);
    assert_eq!(
        run.last_ending(0),
        Some(Ending::Exited(0)),
        "`tasks.a.exit_code` can be asked for"
    );
    assert_eq!(run.last_ending(3), None);
    let begun = run.begin(at(1));
    assert_eq!(deeds(&begun), ["request 1"]);
    let changed = begun.iter().filter_map(|effect| match effect {
        Effect::Journal(Change::SetTask(task)) => Some(task.task.as_str()),
        _ => None,
    });
    assert_eq!(changed.collect::<Vec<_>>(), ["b"], "the others ended before");
    run.step(Input::Granted(1), at(2));
    assert_eq!(
        deeds(&run.step(end(1, 1, Ending::Exited(0), at(3)), at(3))),
        ["release 1", "request 2"]
    );
    run.step(Input::Granted(2), at(4));
    assert_eq!(
        deeds(&run.step(end(2, 1, Ending::Exited(0), at(5)), at(5))),
        ["release 2", "finish"]
    );
    assert_eq!(states(&run), ["succeeded", "succeeded", "succeeded", "skipped"]);
    assert_eq!(run.run().status, RunStatus::Succeeded);
}

#[test]
fn a_retry_that_is_cancelled_leaves_what_it_reuses() {
    let job = job("tasks: {a: {command: x}, b: {command: x, depends_on: [a]}}");
    let mut run = retrying(&job, &[("a", TaskState::Succeeded)]);
    run.begin(at(1));
    let cancel = Input::Cancel {
        reason: "enough".to_owned(),
        unstarted: SlotReason::Cancelled,
    };
    assert_eq!(deeds(&run.step(cancel, at(2))), ["withdraw 1", "finish"]);
    assert_eq!(states(&run), ["succeeded", "cancelled"]);
}

#[test]
fn a_chain_runs_in_order() {
    let job = job(CHAIN);
    let mut machine = machine(&job);
    assert_eq!(deeds(&machine.begin(at(0))), ["request 0"]);
    let granted = machine.step(Input::Granted(0), at(1));
    assert_eq!(deeds(&granted), ["launch 0.1"]);
    assert!(
        matches!(
            granted.as_slice(),
            [
                Effect::Journal(Change::StartRun { .. }),
                Effect::Journal(Change::DecideSlot {
                    outcome: SlotOutcome::Ran,
                    ..
                }),
                Effect::Journal(Change::SetTask(_)),
                Effect::Journal(Change::LaunchAttempt(_)),
                Effect::Launch { .. }
            ]
        ),
        "{granted:?}"
    );
    assert_eq!(
        deeds(&machine.step(end(0, 1, Ending::Exited(0), at(2)), at(2))),
        ["release 0", "request 1"]
    );
    assert_eq!(deeds(&machine.step(Input::Granted(1), at(3))), ["launch 1.1"]);
    assert_eq!(
        deeds(&machine.step(end(1, 1, Ending::Exited(0), at(4)), at(4))),
        ["release 1", "finish"]
    );
    assert_eq!(machine.run().status, RunStatus::Succeeded);
    assert_eq!(
        machine.step(
            Input::Cancel {
                reason: "late".into(),
                unstarted: SlotReason::Cancelled
            },
            at(5)
        ),
        []
    );
}

#[test]
fn a_failure_is_tried_again_after_its_delay_and_holds_nothing_meanwhile() {
    let job = job(CHAIN);
    let mut machine = machine(&job);
    machine.begin(at(0));
    machine.step(Input::Granted(0), at(1));
    let failed = machine.step(end(0, 1, Ending::Exited(3), at(2)), at(2));
    assert_eq!(deeds(&failed), ["release 0", "arm 7 Retry { task: 0, attempts: 1 }"]);
    assert_eq!(machine.task(0).reason.as_deref(), Some("exit code 3"));
    let due = Input::Due(Timer::Retry { task: 0, attempts: 1 });
    assert_eq!(deeds(&machine.step(due.clone(), at(7))), ["request 0"]);
    assert_eq!(deeds(&machine.step(due, at(7))), [""; 0], "the same timer twice");
    assert_eq!(deeds(&machine.step(Input::Granted(0), at(8))), ["launch 0.2"]);
    assert_eq!(
        machine.step(end(0, 1, Ending::Exited(0), at(8)), at(8)),
        [],
        "an older attempt's end"
    );
    machine.step(end(0, 2, Ending::Signalled(9), at(9)), at(9));
    assert_eq!(states(&machine), ["failed", "upstream_failed"]);
    assert_eq!(machine.run().status, RunStatus::Failed);
    assert_eq!(machine.run().reason.as_deref(), Some("task `a`: killed by signal 9"));
}

#[test]
fn conditions_are_judged_by_how_upstream_tasks_ended() {
    let job = job("
tasks:
  ok: {command: [x]}
  bad: {command: [x]}
  after: {command: [x], depends_on: [ok, bad]}
  alert: {command: [x], depends_on: [after], condition: on_failure}
  calm: {command: [x], depends_on: [ok], condition: on_failure}
  quiet: {command: [x], depends_on: [calm]}
  report: {command: [x], depends_on: [ok, bad, calm], condition: all_done}
");
    let mut machine = machine(&job);
    assert_eq!(deeds(&machine.begin(at(0))), ["request 0", "request 1"]);
    machine.step(Input::Granted(0), at(1));
    machine.step(Input::Granted(1), at(1));
    assert_eq!(
        deeds(&machine.step(end(0, 1, Ending::Exited(0), at(2)), at(2))),
        ["release 0"]
    );
    let failed = machine.step(end(1, 1, Ending::Exited(1), at(2)), at(2));
    assert_eq!(deeds(&failed), ["release 1", "request 6", "request 3"]);
    for task in [6, 3] {
        machine.step(Input::Granted(task), at(3));
        machine.step(end(task, 1, Ending::Exited(0), at(4)), at(4));
    }
    let expected = [
        "succeeded",
        "failed",
        "upstream_failed",
        "succeeded",
        "skipped",
        "skipped",
        "succeeded",
    ];
    assert_eq!(states(&machine), expected);
    assert_eq!(
        machine.run().status,
        RunStatus::Failed,
        "a handler does not turn red into green"
    );
}

const WITH_CLEANUP: &str = "
timeout: 10s
tasks:
  work: {command: [x], retry: {retries: 3}}
  next: {command: [x], depends_on: [work]}
  cleanup: {command: [x], depends_on: [next], condition: always, retry: {retries: 1}}
";

#[test]
fn a_run_out_of_time_ends_its_tasks_and_then_cleans_up() {
    let job = job(WITH_CLEANUP);
    let mut machine = machine(&job);
    machine.begin(at(0));
    assert_eq!(
        deeds(&machine.step(Input::Granted(0), at(1))),
        ["arm 11 Timeout", "launch 0.1"]
    );
    assert_eq!(
        deeds(&machine.step(Input::Due(Timer::Timeout), at(11))),
        ["kill 0.1 TimedOut"]
    );
    assert_eq!(
        machine.step(
            Input::Cancel {
                reason: "me too".into(),
                unstarted: SlotReason::Cancelled,
            },
            at(11)
        ),
        [],
        "it is being stopped already"
    );
    let ended = machine.step(end(0, 1, Ending::TimedOut, at(12)), at(12));
    assert_eq!(
        deeds(&ended),
        ["release 0", "request 2"],
        "what is out of time is not tried again"
    );
    let recorded = ended.iter().find_map(|effect| match effect {
        Effect::Journal(Change::EndAttempt(record)) => Some((record.ending, record.error.as_deref())),
        _ => None,
    });
    assert_eq!(
        recorded,
        Some((Some(Ending::TimedOut), Some("the run took longer than 10s")))
    );
    machine.step(Input::Granted(2), at(13));
    let failed = machine.step(end(2, 1, Ending::Exited(1), at(14)), at(14));
    assert_eq!(
        deeds(&failed),
        ["release 2", "arm 14 Retry { task: 2, attempts: 1 }"],
        "cleaning up is tried again"
    );
    machine.step(Input::Due(Timer::Retry { task: 2, attempts: 1 }), at(14));
    machine.step(Input::Granted(2), at(14));
    machine.step(end(2, 2, Ending::Exited(0), at(15)), at(15));
    assert_eq!(states(&machine), ["cancelled", "cancelled", "succeeded"]);
    assert_eq!(machine.run().status, RunStatus::TimedOut);
    assert_eq!(machine.run().reason.as_deref(), Some("took longer than 10s"));
}

#[test]
fn a_run_that_never_started_leaves_no_slot_without_an_outcome() {
    let job = job("tasks: {a: {command: [x]}}");
    let mut first = machine(&job);
    first.begin(at(0));
    let cancelled = first.step(
        Input::Cancel {
            reason: "by hand".into(),
            unstarted: SlotReason::Cancelled,
        },
        at(1),
    );
    let decided = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Journal(Change::DecideSlot { outcome, detail, .. }) => Some((*outcome, detail.clone())),
            _ => None,
        })
    };
    let detail = "cancelled before a task started: by hand".to_owned();
    assert_eq!(decided(&cancelled), Some((SlotOutcome::Skipped, Some(detail))));
    let mut second = machine(&job);
    second.begin(at(0));
    let refused = second.step(
        Input::Refused {
            task: 0,
            reason: "too large".into(),
        },
        at(1),
    );
    assert_eq!(
        decided(&refused).map(|(outcome, _)| outcome),
        Some(SlotOutcome::Refused)
    );
    assert_eq!(second.run().status, RunStatus::Failed);
}

#[test]
fn a_run_that_petit_left_goes_on_as_far_as_retries_allow() {
    let job = job("
tasks:
  twice: {command: [x], retry: {retries: 1, delay: 5s, when: transient}}
  once: {command: [x]}
  after: {command: [x], depends_on: [once]}
");
    let run = record(&job);
    let mut detail = RunDetail {
        tasks: TaskRecord::of_new_run(&job, run.id),
        run,
        attempts: Vec::new(),
    };
    let mut before = RunMachine::new(Arc::clone(&job), detail.clone());
    apply(&mut detail, &before.begin(at(0)));
    apply(&mut detail, &before.step(Input::Granted(0), at(1)));
    apply(&mut detail, &before.step(Input::Granted(1), at(1)));
    let mut after = RunMachine::new(Arc::clone(&job), detail.clone());
    let resumed = after.begin(at(100));
    assert_eq!(
        deeds(&resumed),
        ["release 0", "arm 105 Retry { task: 0, attempts: 1 }", "release 1"]
    );
    assert_eq!(states(&after), ["retrying", "interrupted", "upstream_failed"]);
    apply(&mut detail, &resumed);
    let mut again = RunMachine::new(job, detail);
    assert_eq!(deeds(&again.begin(at(101))), ["arm 105 Retry { task: 0, attempts: 1 }"]);
    again.step(Input::Due(Timer::Retry { task: 0, attempts: 1 }), at(105));
    again.step(Input::Granted(0), at(106));
    again.step(end(0, 2, Ending::Exited(0), at(107)), at(107));
    assert_eq!(again.run().status, RunStatus::Interrupted);
}

#[test]
fn a_cancel_survives_a_crash() {
    let job = job(WITH_CLEANUP);
    let run = record(&job);
    let mut detail = RunDetail {
        tasks: TaskRecord::of_new_run(&job, run.id),
        run,
        attempts: Vec::new(),
    };
    let mut before = RunMachine::new(Arc::clone(&job), detail.clone());
    apply(&mut detail, &before.begin(at(0)));
    apply(&mut detail, &before.step(Input::Granted(0), at(1)));
    apply(
        &mut detail,
        &before.step(
            Input::Cancel {
                reason: "by hand".into(),
                unstarted: SlotReason::Cancelled,
            },
            at(2),
        ),
    );
    let mut after = RunMachine::new(job, detail);
    after.begin(at(3));
    assert_eq!(states(&after), ["cancelled", "cancelled", "waiting"]);
    after.step(Input::Granted(2), at(4));
    after.step(end(2, 1, Ending::Exited(0), at(5)), at(5));
    assert_eq!(
        (after.run().status, after.run().reason.as_deref()),
        (RunStatus::Cancelled, Some("by hand"))
    );
}

#[test]
fn ten_thousand_skipped_tasks_do_not_overflow_the_stack() {
    let mut yaml = "tasks:\n  t0: {command: [x]}\n".to_owned();
    for task in 1..10_000 {
        yaml.push_str(&format!("  t{task}: {{command: [x], depends_on: [t{}]}}\n", task - 1));
    }
    let mut machine = machine(&job(&yaml));
    machine.begin(at(0));
    machine.step(Input::Granted(0), at(1));
    machine.step(end(0, 1, Ending::Exited(1), at(2)), at(2));
    assert_eq!(machine.run().status, RunStatus::Failed);
    assert_eq!(machine.state(9_999), TaskState::UpstreamFailed);
}

/// A random run: its graph, how each attempt of each task ends, and in which order things happen.
#[derive(Debug, Clone)]
struct Scenario {
    tasks: Vec<RandomTask>,
    max_concurrency: u32,
    cancel_after: Option<usize>,
    restart_after: Option<usize>,
    choices: Vec<usize>,
}

#[derive(Debug, Clone)]
struct RandomTask {
    upstream: Vec<usize>,
    condition: Condition,
    retry: RetryPolicy,
    endings: Vec<Ending>,
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let ending = prop_oneof![
        4 => Just(Ending::Exited(0)),
        1 => Just(Ending::Exited(1)),
        1 => Just(Ending::Exited(75)),
        1 => Just(Ending::TimedOut),
        1 => Just(Ending::NotFound),
        1 => Just(Ending::Interrupted),
    ];
    let condition = prop_oneof![
        4 => Just(Condition::AllSuccess),
        1 => Just(Condition::OnFailure),
        1 => Just(Condition::AllDone),
        1 => Just(Condition::Always),
    ];
    let when = prop_oneof![
        Just(RetryCondition::Always),
        Just(RetryCondition::Transient),
        Just(RetryCondition::Never)
    ];
    let retry = (0..3u32, when).prop_map(|(retries, when)| RetryPolicy {
        retries,
        when,
        ..RetryPolicy::default()
    });
    let task = (any::<u16>(), condition, retry, proptest::collection::vec(ending, 4));
    let tasks = proptest::collection::vec(task, 1..12).prop_map(|tasks| {
        let random = |(index, (bits, condition, retry, endings)): (usize, (u16, _, _, _))| RandomTask {
            upstream: (0..index).filter(|up| bits >> up & 1 == 1).collect(),
            condition,
            retry,
            endings,
        };
        tasks.into_iter().enumerate().map(random).collect()
    });
    let choices = proptest::collection::vec(any::<usize>(), 200);
    let sometime = || proptest::option::weighted(0.3, 0..20usize);
    (tasks, 1..4u32, sometime(), sometime(), choices).prop_map(
        |(tasks, max_concurrency, cancel_after, restart_after, choices)| Scenario {
            tasks,
            max_concurrency,
            cancel_after,
            restart_after,
            choices,
        },
    )
}

impl Scenario {
    fn job(&self) -> Arc<Job> {
        use crate::core::spec::{CommandSpec, TaskSpec};
        let mut spec: JobSpec = serde_yaml::from_str("tasks: {}").expect("YAML");
        spec.max_concurrency = Some(self.max_concurrency);
        let id = |index: usize| TaskId::new(format!("t{index}")).expect("a slug");
        for (index, task) in self.tasks.iter().enumerate() {
            let entry = TaskSpec {
                command: Some(CommandSpec::Argv(vec!["x".to_owned()])),
                depends_on: task.upstream.iter().map(|up| id(*up)).collect(),
                condition: task.condition,
                retry: Some(task.retry),
                ..TaskSpec::default()
            };
            spec.tasks.insert(id(index), entry);
        }
        let id = JobId::new("j").expect("a slug");
        Arc::new(Job::new(spec, &id, chrono_tz::UTC).expect("a valid job"))
    }

    /// How a task ends in a run that nobody disturbs, by definition and not by steps.
    fn final_state(&self, task: usize) -> TaskState {
        let task = &self.tasks[task];
        let upstream: Vec<TaskState> = task.upstream.iter().map(|up| self.final_state(*up)).collect();
        let red = |state: &TaskState| {
            matches!(
                state,
                TaskState::Failed | TaskState::UpstreamFailed | TaskState::Interrupted
            )
        };
        let runs = match task.condition {
            Condition::AllSuccess => upstream.iter().all(|state| *state == TaskState::Succeeded),
            Condition::OnFailure => upstream.iter().any(red),
            Condition::AllDone | Condition::Always => true,
        };
        if !runs {
            let upstream_failed = task.condition == Condition::AllSuccess && upstream.iter().any(red);
            return if upstream_failed {
                TaskState::UpstreamFailed
            } else {
                TaskState::Skipped
            };
        }
        let tries = 1 + task.retry.retries as usize;
        let again = |ending: &Ending| match task.retry.when {
            RetryCondition::Always => !ending.is_success(),
            RetryCondition::Transient => ending.is_transient(),
            RetryCondition::Never => false,
        };
        let mut endings = task.endings.iter().take(tries);
        let last = endings
            .clone()
            .find(|ending| !again(ending))
            .or_else(|| endings.next_back());
        match last.expect("at least one try") {
            Ending::Exited(0) => TaskState::Succeeded,
            Ending::Interrupted => TaskState::Interrupted,
            _ => TaskState::Failed,
        }
    }
}

/// Carries out a scenario; returns the finished machine and what was launched, with whether the run was being
/// cancelled then.
fn play(scenario: &Scenario) -> (RunMachine, Vec<(TaskIndex, u32, bool)>) {
    let job = scenario.job();
    let run = record(&job);
    let mut detail = RunDetail {
        tasks: TaskRecord::of_new_run(&job, run.id),
        run: run.clone(),
        attempts: Vec::new(),
    };
    let mut machine = RunMachine::new(Arc::clone(&job), detail.clone());
    let capacity = SystemResources {
        tasks: 100,
        cpu_millis: 0,
        memory_bytes: 0,
        pools: BTreeMap::new(),
    };
    let mut admission = Admission::new(capacity.clone());
    let (mut running, mut timers, mut launched) = (Vec::<(TaskIndex, u32)>::new(), Vec::<Timer>::new(), Vec::new());
    let mut killed: HashMap<TaskIndex, u32> = HashMap::new();
    let mut cancelled = false;
    let mut effects = machine.begin(at(0));
    for step in 1.. {
        let now = at(i64::try_from(step).expect("few steps"));
        assert!(step < 500, "the run does not end");
        loop {
            apply(&mut detail, &effects);
            for effect in std::mem::take(&mut effects) {
                let key = |task| TaskKey { run: run.id, task };
                match effect {
                    Effect::Journal(_) => {}
                    Effect::Request { task, since } => {
                        let resources = &job.task(task).resources;
                        let request = Request::new(key(task), 0, since, job.spec.max_concurrency, resources);
                        admission.request(request).expect("asks for one place");
                    }
                    Effect::Withdraw(task) => admission.withdraw(key(task)),
                    Effect::Release(task) => admission.release(key(task)),
                    Effect::Launch { task, attempt } => {
                        launched.push((task, attempt, cancelled));
                        running.push((task, attempt));
                    }
                    Effect::Kill { task, attempt, .. } => drop(killed.insert(task, attempt)),
                    Effect::Arm { timer, .. } => timers.push(timer),
                    Effect::Finish => {
                        assert!(running.is_empty(), "finished while {running:?} run");
                        return (machine, launched);
                    }
                }
            }
            let granted = admission.admit();
            if granted.is_empty() {
                break;
            }
            for key in granted {
                effects.extend(machine.step(Input::Granted(key.task), now));
            }
        }
        assert!(running.len() <= scenario.max_concurrency as usize, "{running:?}");
        if scenario.restart_after == Some(step) {
            // Those that were running are interrupted, whatever the script says, so this scenario has no oracle.
            machine = RunMachine::new(Arc::clone(&job), detail.clone());
            admission = Admission::new(capacity.clone());
            (running, timers) = (Vec::new(), Vec::new());
            effects = machine.begin(now);
            continue;
        }
        if scenario.cancel_after == Some(step) {
            cancelled = true;
            effects = machine.step(
                Input::Cancel {
                    reason: "enough".into(),
                    unstarted: SlotReason::Cancelled,
                },
                now,
            );
            continue;
        }
        let possible = running.len() + timers.len();
        assert!(possible > 0, "nothing can happen any more, and the run has not ended");
        let choice = scenario.choices[step % scenario.choices.len()] % possible;
        effects = if choice < running.len() {
            let (task, attempt) = running.swap_remove(choice);
            let scripted = scenario.tasks[task].endings[attempt as usize - 1];
            let ending = if killed.get(&task) == Some(&attempt) {
                Ending::Cancelled
            } else {
                scripted
            };
            machine.step(end(task, attempt, ending, now), now)
        } else {
            let timer = timers.swap_remove(choice - running.len());
            machine.step(Input::Due(timer), now)
        };
    }
    unreachable!("the steps above have no end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn runs_end_as_their_definition_says(mut scenario in scenarios()) {
        (scenario.cancel_after, scenario.restart_after) = (None, None);
        let (machine, launched) = play(&scenario);
        let expected: Vec<TaskState> = (0..scenario.tasks.len()).map(|task| scenario.final_state(task)).collect();
        let actual: Vec<TaskState> = (0..scenario.tasks.len()).map(|task| machine.state(task)).collect();
        prop_assert_eq!(&actual, &expected);
        let has = |state| expected.contains(&state);
        let status = match (has(TaskState::Failed), has(TaskState::Interrupted)) {
            (true, _) => RunStatus::Failed,
            (false, true) => RunStatus::Interrupted,
            (false, false) => RunStatus::Succeeded,
        };
        prop_assert_eq!(machine.run().status, status);
        for (task, attempt, _) in launched {
            prop_assert!(attempt <= 1 + scenario.tasks[task].retry.retries);
        }
    }

    #[test]
    fn runs_end_whatever_disturbs_them(scenario in scenarios()) {
        let (machine, launched) = play(&scenario);
        prop_assert!(machine.run().status.is_finished());
        for (task, attempt, cancelled) in launched {
            prop_assert!(attempt <= 1 + scenario.tasks[task].retry.retries);
            prop_assert!(!cancelled || scenario.tasks[task].condition == Condition::Always);
        }
        for (task, random) in scenario.tasks.iter().enumerate() {
            let state = machine.state(task);
            prop_assert!(state.is_finished());
            if random.condition == Condition::Always {
                prop_assert!(!matches!(state, TaskState::Cancelled | TaskState::Skipped | TaskState::UpstreamFailed));
            }
        }
    }
}
