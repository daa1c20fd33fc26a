//! What the views make of a journal: one job with a handful of runs, asked as the daemon asks.

use std::sync::Arc;

use chrono_tz::Tz;

use super::*;
use crate::{
    core::{
        active::ActiveJob,
        ending::Ending,
        id::TaskId,
        record::{ActiveRecord, AttemptRecord, RunRecord, SpecRecord, TaskRecord},
        spec::JobSpec,
        state::{TaskState, Trigger},
    },
    reconcile::Watching,
    storage::{Change, Memory},
};

const YAML: &str = "
tasks:
  extract: {command: [x]}
  check: {command: [x], depends_on: [extract]}
  load: {command: [x], depends_on: [extract], resources: {memory: 64MiB}}
";

fn at(second: i64) -> Timestamp {
    let midnight: Timestamp = "2026-03-01T00:00:00Z".parse().expect("an instant");
    midnight + chrono::TimeDelta::seconds(second)
}

fn run_id(n: i64) -> RunId {
    RunId::from_parts(at(n), 1)
}

fn name(task: &str) -> TaskId {
    task.parse().expect("a name")
}

struct Desk {
    storage: Memory,
    active: ActiveSet,
    sync: SyncStatus,
}

impl Desk {
    fn new() -> Self {
        let spec: JobSpec = serde_yaml::from_str(YAML).expect("the test's own YAML");
        let job = Arc::new(Job::new(spec, &JobId::new("etl").expect("a slug"), Tz::UTC).expect("a valid job"));
        let record = ActiveRecord {
            job: job.id.clone(),
            file: "etl.yaml".to_owned(),
            spec_hash: job.hash.clone(),
            generation: 1,
            applied_at: at(0),
            anchor: at(0),
            scheduled_since: at(0),
        };
        let spec = SpecRecord {
            hash: job.hash.clone(),
            job: job.id.clone(),
            canonical: job.spec.canonical(),
            yaml: YAML.to_owned(),
            first_seen: at(0),
        };
        let active = ActiveSet::from([(job.id.clone(), Arc::new(ActiveJob { job, record }))]);
        let sync = SyncStatus::unknown("/srv/jobs.d".to_owned(), Watching::Native, &active, at(0));
        let desk = Self {
            storage: Memory::default(),
            active,
            sync,
        };
        desk.commit(vec![Change::PutSpec(spec)]);
        desk
    }

    fn commit(&self, changes: Vec<Change>) {
        self.storage.commit(changes).wait_blocking().expect("good changes");
    }

    fn sources(&self, now: Timestamp) -> Sources<'_> {
        Sources {
            storage: &self.storage,
            active: &self.active,
            sync: &self.sync,
            pauses: Vec::new(),
            now,
        }
    }

    fn entry(&self) -> &ActiveJob {
        self.active.values().next().expect("one job")
    }

    /// A run that began at `n`, with its first tasks' attempts: how long each took, or that it still goes on.
    fn run(&self, n: i64, tasks: &[(&str, Option<i64>)], status: RunStatus) {
        let (run, job) = (run_id(n), &self.entry().job);
        let record = RunRecord::queued(run, job.id.clone(), job.hash.clone(), Trigger::Manual, at(n));
        let pending = TaskRecord::of_new_run(job, run);
        let mut changes = vec![
            Change::CreateRun {
                run: record,
                tasks: pending.clone(),
            },
            Change::StartRun { run, at: at(n) },
        ];
        let mut start = at(n);
        let mut last = start;
        for (task, took) in tasks {
            let launched = AttemptRecord {
                started_at: Some(start),
                pid: Some(4711),
                pid_start: Some(7),
                ..AttemptRecord::granted(run, name(task), 1, start)
            };
            changes.push(Change::LaunchAttempt(launched.clone()));
            let end = took.map(|took| start + chrono::TimeDelta::seconds(took));
            changes.extend(end.map(|end| {
                Change::EndAttempt(AttemptRecord {
                    ended_at: Some(end),
                    ending: Some(Ending::Exited(0)),
                    ..launched
                })
            }));
            let before = pending
                .iter()
                .find(|one| one.task == name(task))
                .expect("a task of the job");
            changes.push(Change::SetTask(TaskRecord {
                state: if end.is_some() {
                    TaskState::Succeeded
                } else {
                    TaskState::Running
                },
                attempts: 1,
                ..before.clone()
            }));
            last = last.max(end.unwrap_or(last));
            // What stands after `extract` waits for it and for nothing else.
            if *task == "extract" {
                start = end.unwrap_or(start);
            }
        }
        if status.is_finished() {
            changes.push(Change::EndRun {
                run,
                status,
                at: last,
                reason: None,
            });
        }
        self.commit(changes);
    }
}

const ALL: [(&str, Option<i64>); 3] = [("extract", Some(2)), ("check", Some(1)), ("load", Some(3))];

#[test]
fn a_run_stands_among_the_others_with_its_path_and_its_differences() {
    let desk = Desk::new();
    for n in [10, 20, 30] {
        desk.run(n, &ALL, RunStatus::Succeeded);
    }
    let slow = [("extract", Some(2)), ("check", Some(9)), ("load", Some(3))];
    desk.run(40, &slow, RunStatus::Failed);
    desk.run(50, &ALL, RunStatus::Succeeded);
    let run = desk.sources(at(99)).run(run_id(40)).expect("there");
    let context = run.context.expect("whole");
    assert_eq!((context.previous, context.next), (Some(run_id(30)), Some(run_id(50))));
    assert_eq!(context.last_good, Some(run_id(30)));
    assert_eq!(context.critical_path, [name("extract"), name("check")]);
    let texts: Vec<&str> = context.differences.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(
        texts,
        ["the run took 11s, its p95 is 5s", "check took 9s, its p95 is 1s"]
    );
    let listed = desk.sources(at(99)).runs(&RunFilter::default()).expect("reads");
    assert!(listed.iter().all(|run| run.context.is_none()), "a listing is short");
}

#[test]
fn the_path_of_a_version_that_is_gone_is_told_from_the_journal() {
    let mut desk = Desk::new();
    desk.run(10, &ALL, RunStatus::Succeeded);
    desk.active.clear();
    let run = desk.sources(at(99)).run(run_id(10)).expect("there");
    let path = run.context.expect("whole").critical_path;
    assert_eq!(path, [name("extract"), name("load")]);
}

#[test]
fn the_status_tells_what_runs_what_is_usual_and_how_the_day_went() {
    let desk = Desk::new();
    for n in [10, 20, 30] {
        desk.run(n, &ALL, RunStatus::Succeeded);
    }
    desk.run(2_000, &ALL, RunStatus::Failed);
    desk.run(4_000, &[("extract", Some(2)), ("load", None)], RunStatus::Running);
    let status = desk.sources(at(4_010)).status(None).expect("reads");
    let [running] = status.running.as_slice() else {
        panic!("one task runs: {:?}", status.running)
    };
    assert_eq!(
        (running.task.as_str(), running.attempt, running.since),
        ("load", 1, at(4_002))
    );
    assert_eq!((running.pid, running.pid_start), (Some(4711), Some(7)));
    assert_eq!(running.usual.p50_ms, Some(3_000));
    assert_eq!(running.memory_reserved_bytes, Some(64 << 20));
    assert_eq!((running.memory_bytes, running.memory_limit_bytes), (None, None));
    // The half hours from midnight on are the last three of the day that ends at ten past one.
    let day = &status.last_day;
    assert_eq!((day.len(), day[45].from), (48, at(0)));
    assert_eq!((day[45].succeeded, day[46].failed, day[47].going), (3, 1, 1));
    let rest = |half: &HalfHour| half.succeeded + half.failed + half.cancelled + half.going;
    assert_eq!(day.iter().map(rest).sum::<u64>(), 5);
}

#[test]
fn a_job_comes_with_its_latest_runs_and_its_tasks_by_run() {
    let desk = Desk::new();
    for n in 1..=25 {
        desk.run(n * 10, &ALL, RunStatus::Succeeded);
    }
    let sources = desk.sources(at(999));
    let jobs = sources.jobs().expect("reads");
    let latest: Vec<RunId> = jobs[0].last_runs.iter().map(|run| run.id).collect();
    assert_eq!(latest, (6..=25).rev().map(|n| run_id(n * 10)).collect::<Vec<_>>());
    assert_eq!((jobs[0].usual.p50_ms, jobs[0].usual.p95_ms), (Some(5_000), Some(5_000)));
    let detail = sources.job(&jobs[0].id).expect("there");
    assert_eq!(detail.grid.runs, jobs[0].last_runs);
    let lines: Vec<(&str, usize, Option<i64>)> = detail
        .grid
        .tasks
        .iter()
        .map(|line| (line.id.as_str(), line.states.len(), line.usual.p50_ms))
        .collect();
    assert_eq!(
        lines,
        [
            ("extract", 20, Some(2_000)),
            ("check", 20, Some(1_000)),
            ("load", 20, Some(3_000))
        ]
    );
}

#[test]
fn a_run_is_due_at_its_slot_though_it_was_written_down_before_and_late_when_it_came_late() {
    let desk = Desk::new();
    desk.run(100, &[], RunStatus::Succeeded);
    let found = desk.storage.run(run_id(100)).expect("a read").expect("it is there");
    let due = |slot| {
        let run = RunRecord {
            slot,
            ..found.run.clone()
        };
        RunView::from(run).due_at()
    };
    assert_eq!(due(None), at(100));
    assert_eq!(due(Some(at(101))), at(101));
    assert_eq!(due(Some(at(40))), at(100), "it made up for a missed slot");
}
