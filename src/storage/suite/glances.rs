//! A few columns of many runs: the latest of each job, their tasks, the neighbours of one, how many stand so.

use chrono::TimeDelta;

use super::{
    super::{Beside, Change, RunGlance, Storage, Tally},
    fixtures::*,
    for_each_backend,
};
use crate::core::{
    record::TaskRecord,
    state::{RunStatus, TaskState},
};

for_each_backend! {
    a_busy_job_does_not_starve_the_others,
    tasks_of_the_latest_runs_come_with_their_last_attempt,
    a_run_stands_between_its_neighbours,
    runs_are_counted_by_stretch_and_status,
}

fn a_busy_job_does_not_starve_the_others(journal: &dyn Storage) {
    done(journal, ["busy", "calm", "idle"].map(|job| put_spec(job, 1)).into());
    done(journal, vec![create(created(1, "calm", 1))]);
    for n in 2..12 {
        done(journal, vec![create(created(n, "busy", n as i64))]);
    }
    done(journal, vec![end(1, RunStatus::Failed, 30)]);
    let ids = |most| -> Vec<_> {
        let latest = journal.latest_of_each(&["calm", "idle", "busy", "unknown"].map(job), most);
        latest.expect("reads").iter().map(|run| run.id).collect()
    };
    assert_eq!(ids(3), [1, 11, 10, 9].map(run_id), "by job as asked, the newest first");
    assert_eq!(ids(0), []);
    let latest = journal.latest_of_each(&[job("calm")], 3).expect("reads");
    let expected = RunGlance {
        status: RunStatus::Failed,
        ended_at: Some(at(30)),
        ..RunGlance::from(&created(1, "calm", 1))
    };
    assert_eq!(latest, [expected]);
    assert_eq!(journal.latest_of_each(&[], 3).expect("reads"), []);
}

fn tasks_of_the_latest_runs_come_with_their_last_attempt(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), put_spec("b", 1)]);
    for n in 1..4 {
        let tasks = vec![pending(n, "load"), pending(n, "clean")];
        let run = created(n, "a", n as i64);
        done(journal, vec![Change::CreateRun { run, tasks }]);
    }
    done(journal, vec![create(queued(9, "b"))]);
    let retried = TaskRecord {
        state: TaskState::Succeeded,
        attempts: 2,
        ..pending(3, "load")
    };
    done(
        journal,
        vec![
            Change::LaunchAttempt(launched(3, "load", 1)),
            start_attempt(3, "load", 1),
            Change::EndAttempt(ended(3, "load", 1)),
            Change::LaunchAttempt(launched(3, "load", 2)),
            start_attempt(3, "load", 2),
            Change::SetTask(retried),
        ],
    );
    let tasks = journal.latest_tasks(&job("a"), 2).expect("reads");
    let named: Vec<_> = tasks.iter().map(|task| (task.run, task.task.as_str())).collect();
    let expected = [(3, "load"), (3, "clean"), (2, "load"), (2, "clean")];
    assert_eq!(named, expected.map(|(n, task)| (run_id(n), task)));
    let load = &tasks[0];
    assert_eq!((load.state, load.attempts), (TaskState::Succeeded, 2));
    assert_eq!(
        (load.started_at, load.ended_at),
        (Some(at(13)), None),
        "of its second attempt"
    );
    let clean = &tasks[1];
    assert_eq!(
        (clean.state, clean.attempts, clean.started_at),
        (TaskState::Pending, 0, None)
    );
}

fn a_run_stands_between_its_neighbours(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), put_spec("b", 1)]);
    // Two were created at the same instant, and one of another job in between.
    for (n, job, second) in [(1, "a", 1), (2, "a", 2), (3, "a", 2), (4, "b", 2), (5, "a", 3)] {
        done(journal, vec![create(created(n, job, second))]);
    }
    done(
        journal,
        vec![end(1, RunStatus::Succeeded, 8), end(2, RunStatus::Failed, 9)],
    );
    let beside = |n| {
        let run = journal.run(run_id(n)).expect("reads").expect("a run").run;
        journal.beside(&run).expect("reads")
    };
    let expected = |previous: Option<u64>, next: Option<u64>, good: Option<u64>| Beside {
        previous: previous.map(run_id),
        next: next.map(run_id),
        last_good: good.map(run_id),
    };
    assert_eq!(beside(1), expected(None, Some(2), None), "not itself");
    assert_eq!(beside(2), expected(Some(1), Some(3), Some(1)));
    assert_eq!(beside(3), expected(Some(2), Some(5), Some(1)));
    assert_eq!(beside(5), expected(Some(3), None, Some(1)));
    assert_eq!(beside(4), Beside::default());
}

fn runs_are_counted_by_stretch_and_status(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    for (n, second) in [(1, 9), (2, 10), (3, 11), (4, 19), (5, 20), (6, 45)] {
        done(journal, vec![create(created(n, "a", second))]);
    }
    done(
        journal,
        vec![end(3, RunStatus::Failed, 50), end(4, RunStatus::Failed, 50)],
    );
    let tally = |stretch, status, runs| Tally { stretch, status, runs };
    assert_eq!(
        journal.tally(at(10), TimeDelta::seconds(10)).expect("reads"),
        [
            tally(0, RunStatus::Failed, 2),
            tally(0, RunStatus::Queued, 1),
            tally(1, RunStatus::Queued, 1),
            tally(3, RunStatus::Queued, 1),
        ]
    );
}
