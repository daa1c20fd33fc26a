//! A run among others: its neighbours, the path that decided its end, and what differs from the last run that succeeded.
//!
//! The comparison is of values that are given: it asks nothing of the journal. It is short on purpose, and says only what
//! may explain why this run went another way: another version, other inputs, another ending, a longer wait, a task
//! or a run that took longer than 95 of a hundred of its latest successes.

use std::collections::HashMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    AttemptView, RunView, TaskView,
    critical::{End, critical_path},
    recent::Usual,
};
use crate::core::{
    dag::Dag,
    id::{RunId, TaskId},
    state::TaskState,
    units::HumanDuration,
};

/// A run among others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunContext {
    /// The run of the same job that was created before it.
    pub previous: Option<RunId>,
    /// The one that was created after it.
    pub next: Option<RunId>,
    /// The tasks that decided when it ended, the first one first; while it goes on, when it will.
    pub critical_path: Vec<TaskId>,
    /// The latest run before it that succeeded.
    pub last_good: Option<RunId>,
    /// What differs from that one.
    pub differences: Vec<Difference>,
}

/// Something that differs from the last run that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What it concerns.
    pub kind: DifferenceKind,
    /// The task, if it concerns one.
    pub task: Option<TaskId>,
    /// What was, and what is, in words.
    pub text: String,
}

/// The kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The version of the job.
    Spec,
    /// The git commit of the folder of jobs.
    Revision,
    /// An input.
    Param,
    /// How a task ended.
    Ending,
    /// How long a task waited for its resources.
    Wait,
    /// How long a task took, or the run as a whole.
    Duration,
}

/// The tasks that decided when a run ended.
pub(super) fn path_of(run: &RunView, dag: &Dag) -> Vec<TaskId> {
    let mut ends = vec![None; dag.len()];
    for task in &run.tasks {
        if let (Some(place), Some(last)) = (dag.index_of(task.id.as_str()), task.attempts.last()) {
            // An attempt without an end in a task that is over has no end that is known.
            ends[place] = match last.ended_at {
                Some(at) => Some(End::At(at)),
                None if task.status.is_finished() => None,
                None => Some(End::Open),
            };
        }
    }
    let path = critical_path(dag, &ends);
    path.into_iter().map(|task| dag.id(task).clone()).collect()
}

/// How long the runs of a job and their tasks usually take.
#[derive(Debug, Default)]
pub(super) struct Usually {
    pub run: Usual,
    pub tasks: HashMap<TaskId, Usual>,
}

/// A task that waited so much longer than before is told of.
const LONGER_WAIT: TimeDelta = TimeDelta::seconds(1);

/// What differs in a run from an earlier one.
pub(super) fn differences(run: &RunView, good: &RunView, usually: &Usually) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut add = |kind, task: Option<&TaskId>, text| {
        found.push(Difference {
            kind,
            task: task.cloned(),
            text,
        });
    };
    if run.spec_hash != good.spec_hash {
        let text = format!("the job is {}, was {}", run.spec_hash.short(), good.spec_hash.short());
        add(DifferenceKind::Spec, None, text);
    }
    if run.revision != good.revision {
        let name = |run: &RunView| run.revision.clone().unwrap_or_else(|| "none".to_owned());
        let text = format!("the commit is {}, was {}", name(run), name(good));
        add(DifferenceKind::Revision, None, text);
    }
    for text in params(&run.params, &good.params) {
        add(DifferenceKind::Param, None, text);
    }
    if let Some(text) = slower("the run", run.duration_ms, usually.run) {
        add(DifferenceKind::Duration, None, text);
    }
    for task in &run.tasks {
        let before = good.tasks.iter().find(|before| before.id == task.id);
        if let Some(text) = ending(task, before) {
            add(DifferenceKind::Ending, Some(&task.id), text);
        }
        let (waited, then) = (waited(task), before.map(waited).unwrap_or_default());
        if waited > then + LONGER_WAIT {
            let [waited, then] = [waited, then].map(|wait| HumanDuration::elapsed(wait.num_milliseconds()));
            let text = format!("{} waited {waited} for its resources, {then} then", task.id);
            add(DifferenceKind::Wait, Some(&task.id), text);
        }
        let took = task.attempts.last().and_then(AttemptView::duration_ms);
        let usual = usually.tasks.get(&task.id).copied().unwrap_or_default();
        if let Some(text) = slower(task.id.as_str(), took, usual) {
            add(DifferenceKind::Duration, Some(&task.id), text);
        }
    }
    found
}

fn slower(what: &str, took: Option<i64>, usual: Usual) -> Option<String> {
    let (took, p95) = took.zip(usual.p95_ms)?;
    let [length, usual] = [took, p95].map(|millis| HumanDuration::elapsed(millis).to_string());
    // What reads the same is no difference.
    (took > p95 && length != usual).then(|| format!("{what} took {length}, its p95 is {usual}"))
}

/// How long all attempts of a task together were ready and had no resources.
fn waited(task: &TaskView) -> TimeDelta {
    let waits = task
        .attempts
        .iter()
        .map(|attempt| attempt.granted_at - attempt.queued_at);
    waits.sum()
}

fn params(now: &Map<String, Value>, then: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in now {
        match then.get(name) {
            Some(before) if before == value => {}
            Some(before) => found.push(format!("param {name} is {value}, was {before}")),
            None => found.push(format!("param {name} is {value}, was not there")),
        }
    }
    let gone = then.iter().filter(|(name, _)| !now.contains_key(*name));
    found.extend(gone.map(|(name, before)| format!("param {name} is not there, was {before}")));
    found
}

/// How a task ended otherwise than it did; one that has not ended yet says nothing.
fn ending(task: &TaskView, before: Option<&TaskView>) -> Option<String> {
    if !task.status.is_finished() {
        return None;
    }
    let now = how(task);
    match before.map(how) {
        Some(then) if then == now => None,
        Some(then) => Some(format!("{}: {now}, was {then}", task.id)),
        None => Some(format!("{}: {now}, was not there", task.id)),
    }
}

fn how(task: &TaskView) -> String {
    let tries = match task.attempts.len() {
        0 | 1 => String::new(),
        count => format!(" at try {count}"),
    };
    // That something was skipped or held up is told by its state; how a failure looked, by its attempt.
    match (task.status, task.attempts.last()) {
        (TaskState::Failed | TaskState::Interrupted, Some(last)) => format!("{}{tries}", last.ending_text()),
        (status, _) => format!("{status}{tries}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(hash: &str, params: Value, tasks: Value) -> RunView {
        serde_json::from_value(json!({
            "id": "01K00000000000000000000003", "job": "etl", "status": "failed", "trigger": "manual", "slot": null,
            "spec_hash": hash.repeat(32), "revision": null, "created_at": "2026-11-23T11:59:00Z", "started_at": null,
            "ended_at": null, "duration_ms": null, "params": params, "reason": null, "retry_of": null, "tasks": tasks,
        }))
        .expect("a run")
    }

    fn task(id: &str, status: &str, seconds: &[u32], code: i32) -> Value {
        let attempts: Vec<Value> = (1..)
            .zip(seconds)
            .map(|(number, took)| {
                json!({
                    "run": "01K00000000000000000000003", "task": id, "attempt": number, "ending": "exited",
                    "exit_code": code, "signal": null, "queued_at": "2026-11-23T11:59:00Z",
                    "granted_at": "2026-11-23T11:59:00Z", "started_at": "2026-11-23T11:59:00Z",
                    "ended_at": format!("2026-11-23T11:59:{took:02}Z"), "cpu_user_ms": null, "cpu_system_ms": null,
                    "max_rss_bytes": null, "bytes_out": null, "error": null,
                })
            })
            .collect();
        json!({"id": id, "status": status, "reason": null, "outputs": {}, "attempts": attempts})
    }

    fn texts(run: &RunView, good: &RunView) -> Vec<String> {
        let usual = Usual {
            p50_ms: Some(1_000),
            p95_ms: Some(5_000),
        };
        let usually = Usually {
            run: usual,
            tasks: HashMap::from([("load".parse().expect("a name"), usual)]),
        };
        let found = differences(run, good, &usually);
        found.into_iter().map(|difference| difference.text).collect()
    }

    #[test]
    fn equal_runs_differ_in_nothing() {
        let good = run("ab", json!({"day": 1}), json!([task("load", "succeeded", &[3], 0)]));
        assert_eq!(texts(&good, &good), [""; 0]);
    }

    #[test]
    fn a_long_wait_and_a_long_run_are_told_though_no_task_was_slow() {
        let good = run("ab", json!({}), json!([task("load", "succeeded", &[3], 0)]));
        let mut slow = good.clone();
        slow.duration_ms = Some(19_000);
        slow.tasks[0].attempts[0].queued_at -= TimeDelta::seconds(13);
        let expected = [
            "the run took 19s, its p95 is 5s",
            "load waited 13s for its resources, 0s then",
        ];
        assert_eq!(texts(&slow, &good), expected);
    }

    #[test]
    fn version_inputs_endings_and_slow_tasks_are_told() {
        let good = run(
            "ab",
            json!({"day": 1, "old": true}),
            json!([task("load", "succeeded", &[3], 0), task("mail", "skipped", &[], 0)]),
        );
        let bad = run(
            "cd",
            json!({"day": 2, "new": "x"}),
            json!([
                task("load", "failed", &[2, 9], 3),
                task("mail", "succeeded", &[1], 0),
                task("more", "pending", &[], 0)
            ]),
        );
        assert_eq!(
            texts(&bad, &good),
            [
                "the job is cdcdcdcd, was abababab",
                "param day is 2, was 1",
                "param new is \"x\", was not there",
                "param old is not there, was true",
                "load: exit code 3 at try 2, was succeeded",
                "load took 9s, its p95 is 5s",
                "mail: succeeded, was skipped",
            ]
        );
    }
}
