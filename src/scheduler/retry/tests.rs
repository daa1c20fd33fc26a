//! Divisions in a table, and what every division must be in a property.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    core::{spec::JobSpec, state::RunStatus},
    scheduler::fixtures::{at, finished, run_id},
};

const DIAMOND: &str = "
env: {A: x}
config: {size: 1}
tasks:
  extract: {command: [extract]}
  clean: {command: [clean], depends_on: [extract]}
  load: {command: [load], depends_on: [extract], timeout: 5s}
  report: {command: [report], depends_on: [clean, load], condition: all_done}
  alone: {command: [alone]}
";

fn job(yaml: &str) -> Job {
    let spec: JobSpec = serde_yaml::from_str(yaml).expect("the test's own YAML");
    Job::new(spec, &"job".parse().expect("a slug"), chrono_tz::UTC).expect("a valid job")
}

fn run(number: u128) -> RunRecord {
    finished("job", number, RunStatus::Failed, at("2026-01-10T10:00:00Z"))
}

fn ended(job: &Job, states: &BTreeMap<&str, TaskState>) -> Vec<TaskRecord> {
    let tasks = TaskRecord::of_new_run(job, run_id(1)).into_iter();
    tasks
        .map(|task| TaskRecord {
            state: states.get(task.task.as_str()).copied().unwrap_or(TaskState::Succeeded),
            attempts: 2,
            outputs: [("of".to_owned(), json!(task.task))].into(),
            ..task
        })
        .collect()
}

/// What a retry of a run of `before`, whose tasks succeeded but for `states`, does with `today`.
fn told(before: Option<&str>, today: &str, states: &[(&str, TaskState)], choice: &Choice) -> Result<String, NoRetry> {
    let then = job(before.unwrap_or(DIAMOND));
    let today = job(today);
    let tasks = ended(&then, &states.iter().copied().collect());
    let question = Question {
        old: &run(1),
        old_tasks: &tasks,
        before: before.map(|_| &then),
        new: &run(2),
        today: &today,
    };
    divide(&question, choice).map(|division| {
        let again = division
            .again
            .iter()
            .map(|again| format!("{} {}", again.task, again.why));
        let reused = division.reused.iter().map(|task| format!("{} reused", task.task));
        again.chain(reused).collect::<Vec<_>>().join("; ")
    })
}

fn from(task: &str) -> Choice {
    Choice::From(task.parse().expect("a slug"))
}

#[test]
fn each_choice_runs_what_it_says_and_what_comes_after() {
    use TaskState::{Cancelled, Failed, Interrupted, Skipped, UpstreamFailed};
    let load_failed = [("load", Failed)];
    type Case<'a> = (&'a [(&'a str, TaskState)], Choice, &'a str);
    let cases: [Case<'_>; 8] = [
        (
            &load_failed,
            Choice::Whole,
            "extract asked for; clean asked for; load asked for; report asked for; alone asked for",
        ),
        (
            &load_failed,
            Choice::Failed,
            "load ended failed; report comes after `load`; extract reused; clean reused; alone reused",
        ),
        (
            &load_failed,
            from("clean"),
            "clean asked for; load ended failed; report comes after `clean`; extract reused; alone reused",
        ),
        (
            &[],
            from("report"),
            "report asked for; extract reused; clean reused; load reused; alone reused",
        ),
        (
            &[("extract", Failed), ("clean", UpstreamFailed), ("load", UpstreamFailed)],
            from("load"),
            "extract ended failed; clean ended upstream_failed; load asked for; report comes after `clean`; alone reused",
        ),
        (
            &[("clean", Skipped), ("alone", Interrupted)],
            Choice::Failed,
            "alone ended interrupted; extract reused; clean reused; load reused; report reused",
        ),
        (
            &[("report", Cancelled)],
            Choice::Failed,
            "report ended cancelled; extract reused; clean reused; load reused; alone reused",
        ),
        (
            &[("extract", Failed)],
            Choice::Failed,
            "extract ended failed; clean comes after `extract`; load comes after `extract`; report comes after `clean`; \
             alone reused",
        ),
    ];
    for (states, choice, expected) in cases {
        assert_eq!(
            told(Some(DIAMOND), DIAMOND, states, &choice).as_deref(),
            Ok(expected),
            "{choice:?} of {states:?}"
        );
    }
}

#[test]
fn what_changed_runs_again_with_what_comes_after() {
    let with = |from: &str, to: &str| DIAMOND.replace(from, to);
    let all = |why: &str| {
        format!("load ended failed; extract {why}; clean {why}; report {why}; alone {why}")
            .split("; ")
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let reused = "load ended failed; report comes after `load`; extract reused; clean reused; alone reused";
    let load = [("load", TaskState::Failed)];
    let tell = |before: Option<&str>, today: &str| told(before, today, &load, &Choice::Failed).expect("load failed");

    // What says nothing about the work that was done.
    for (from, to) in [
        ("timeout: 5s", "timeout: 9s"),
        ("env: {A: x}", "defaults: {timeout: 1h}\nenv: {A: x}"),
        ("[clean],", "[clean], description: sweeps, retry: {retries: 3},"),
        ("[alone]", "[alone], resources: {cpu: 2}"),
        (
            "env: {A: x}",
            "name: Other\npriority: 4\nschedule: '@daily'\nenv: {A: x}",
        ),
    ] {
        assert_eq!(tell(Some(DIAMOND), &with(from, to)), reused, "{to}");
    }
    assert_eq!(
        tell(Some(DIAMOND), &with("[clean]", "[clean, hard]")),
        "clean its spec has changed; load ended failed; report comes after `clean`; extract reused; alone reused"
    );
    assert_eq!(
        tell(Some(DIAMOND), &with("[alone]", "[alone], env: {B: y}")),
        "load ended failed; report comes after `load`; alone its spec has changed; extract reused; clean reused"
    );
    assert_eq!(
        tell(Some(DIAMOND), &format!("{DIAMOND}  extra: {{command: [x]}}\n")),
        "load ended failed; report comes after `load`; extra is new since then; extract reused; clean reused; alone reused"
    );
    let told_of_all = |told: String| told.split("; ").map(str::to_owned).collect::<BTreeSet<_>>();
    for (today, why) in [
        (with("A: x", "A: y"), "the job's env has changed"),
        (with("size: 1", "size: 2"), "the job's config has changed"),
        (
            with("env:", "schedule: {cron: '@daily', timezone: Asia/Tokyo}\nenv:"),
            "the job's time zone has changed",
        ),
    ] {
        assert_eq!(told_of_all(tell(Some(DIAMOND), &today)), all(why));
    }
    let lost = "the version that ran then cannot be read";
    assert_eq!(told_of_all(tell(None, DIAMOND)), all(lost));
}

#[test]
fn other_params_are_other_inputs() {
    let (job, old) = (job(DIAMOND), run(1));
    let mut new = run(2);
    new.params.insert("day".to_owned(), Value::from("today"));
    let question = Question {
        old: &old,
        old_tasks: &ended(&job, &BTreeMap::new()),
        before: Some(&job),
        new: &new,
        today: &job,
    };
    let division = divide(&question, &from("alone")).expect("something to do");
    assert_eq!(division.reused, []);
    assert_eq!(division.again[0].why.to_string(), "the run's params have changed");
}

#[test]
fn what_cannot_be_retried_says_why() {
    let fails = |states: &[(&str, TaskState)], today: &str, choice: &Choice| {
        told(Some(DIAMOND), today, states, choice).expect_err("refused")
    };
    assert_eq!(fails(&[], DIAMOND, &Choice::Failed), NoRetry::NothingFailed(run_id(1)));
    let changed = DIAMOND.replace("[clean]", "[clean, more]");
    assert_eq!(
        told(Some(DIAMOND), &changed, &[], &Choice::Failed).as_deref(),
        Ok("clean its spec has changed; report comes after `clean`; extract reused; load reused; alone reused"),
        "what has changed since runs though nothing failed"
    );
    let without = DIAMOND.replace("  alone: {command: [alone]}\n", "");
    let alone = [("alone", TaskState::Failed)];
    assert_eq!(
        fails(&alone, &without, &Choice::Failed),
        NoRetry::NothingLeft(run_id(1))
    );
    let NoRetry::UnknownTask { known, suggestion, .. } = fails(&[], DIAMOND, &from("lod")) else {
        panic!("no such task");
    };
    assert_eq!((known.len(), suggestion.as_deref()), (5, Some("did you mean `load`?")));

    let job = job(DIAMOND);
    let going = RunRecord {
        status: RunStatus::Running,
        ..run(1)
    };
    let question = Question {
        old: &going,
        old_tasks: &ended(&job, &BTreeMap::new()),
        before: Some(&job),
        new: &run(2),
        today: &job,
    };
    assert_eq!(divide(&question, &Choice::Whole), Err(NoRetry::StillGoing(run_id(1))));
}

#[test]
fn a_task_that_was_reused_before_keeps_the_run_that_did_the_work() {
    let job = job(DIAMOND);
    let mut tasks = ended(&job, &[("load", TaskState::Failed)].into());
    tasks[0].reused_from = Some(run_id(9));
    let question = Question {
        old: &run(1),
        old_tasks: &tasks,
        before: Some(&job),
        new: &run(2),
        today: &job,
    };
    let division = divide(&question, &Choice::Failed).expect("load failed");
    let [extract, clean, _] = &division.reused[..] else {
        panic!("three are reused: {division:?}");
    };
    assert_eq!(
        *extract,
        TaskRecord {
            run: run_id(2),
            attempts: 0,
            ..tasks[0].clone()
        }
    );
    assert_eq!((clean.run, clean.reused_from), (run_id(2), Some(run_id(1))));
}

/// A graph of tasks, each above or beside the later ones: what each depends on, how it ended, and whether it was edited.
#[derive(Debug, Clone)]
struct Drawn {
    tasks: Vec<(Vec<bool>, TaskState, bool)>,
    choice: usize,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let endings: Vec<TaskState> = TaskState::ALL
        .iter()
        .copied()
        .filter(|state| state.is_finished())
        .collect();
    let state = prop_oneof![3 => Just(TaskState::Succeeded), 2 => prop::sample::select(endings)];
    let task = (
        prop::collection::vec(prop::bool::weighted(0.3), 8),
        state,
        prop::bool::weighted(0.15),
    );
    (prop::collection::vec(task, 1..8), 0..10_usize).prop_map(|(tasks, choice)| Drawn { tasks, choice })
}

fn yaml(drawn: &Drawn, edited: bool) -> String {
    let mut yaml = "tasks:\n".to_owned();
    for (index, (above, _, edit)) in drawn.tasks.iter().enumerate() {
        let above: Vec<String> = (0..index).filter(|&i| above[i]).map(|i| format!("t{i}")).collect();
        let word = if edited && *edit { "new" } else { "old" };
        yaml += &format!(
            "  t{index}: {{command: [{word}], depends_on: [{}]}}\n",
            above.join(", ")
        );
    }
    yaml
}

proptest! {
    #[test]
    fn a_division_is_whole_closed_and_no_larger_than_it_must_be(drawn in drawn()) {
        let (before, today) = (job(&yaml(&drawn, false)), job(&yaml(&drawn, true)));
        let states: Vec<TaskState> = drawn.tasks.iter().map(|(_, state, _)| *state).collect();
        let mut tasks = ended(&before, &BTreeMap::new());
        for (task, state) in tasks.iter_mut().zip(&states) {
            task.state = *state;
        }
        let choice = match drawn.choice {
            0 => Choice::Whole,
            1..=4 => Choice::Failed,
            n => from(&format!("t{}", n % drawn.tasks.len())),
        };
        let question = Question {
            old: &run(1),
            old_tasks: &tasks,
            before: Some(&before),
            new: &run(2),
            today: &today,
        };
        let done = |state: TaskState| matches!(state, TaskState::Succeeded | TaskState::Skipped);
        let division = match divide(&question, &choice) {
            Ok(division) => division,
            Err(refused) => {
                prop_assert_eq!(refused, NoRetry::NothingFailed(run_id(1)));
                prop_assert!(choice == Choice::Failed && states.iter().all(|state| done(*state)));
                return Ok(());
            }
        };
        let again: BTreeSet<&str> = division.again.iter().map(|again| again.task.as_str()).collect();
        let reused: BTreeMap<&str, &TaskRecord> =
            division.reused.iter().map(|task| (task.task.as_str(), task)).collect();
        prop_assert_eq!(again.len() + reused.len(), today.dag.len());
        for index in 0..today.dag.len() {
            let id = today.dag.id(index).as_str();
            let above: Vec<&str> = today.dag.upstream(index).iter().map(|&up| today.dag.id(up).as_str()).collect();
            let above_runs = above.iter().any(|up| again.contains(up));
            let asked = match &choice {
                Choice::Whole => true,
                Choice::Failed => false,
                Choice::From(task) => task.as_str() == id,
            };
            let same = before.task(index) == today.task(index);
            let must = asked || !done(states[index]) || !same;
            prop_assert_eq!(again.contains(id), must || above_runs, "{}", id);
            prop_assert_ne!(again.contains(id), reused.contains_key(id), "{}", id);
            if let Some(task) = reused.get(id) {
                prop_assert_eq!((task.run, task.reused_from), (run_id(2), Some(run_id(1))));
                prop_assert_eq!((&task.outputs, task.state), (&tasks[index].outputs, states[index]));
            }
        }
    }
}
