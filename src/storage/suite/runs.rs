//! Runs with their tasks and attempts, and the ways to look for them.

use serde_json::json;

use super::{
    super::{Change, RunDetail, RunFilter, Storage, StorageError},
    fixtures::*,
    for_each_backend,
};
use crate::{
    core::{
        ending::Ending,
        pattern::Pattern,
        record::{AttemptRecord, RunRecord, SpecRecord, TaskRecord},
        revision::RevisionPick,
        state::{RunStatus, TaskState, Trigger},
    },
    events::Fact,
};

for_each_backend! {
    a_run_goes_its_way_and_each_ending_is_one_fact,
    what_has_ended_does_not_change,
    changes_of_what_is_not_there_are_refused,
    what_is_there_is_not_made_again,
    an_attempt_that_was_never_launched_ends_whole,
    runs_are_filtered_and_read_newest_first,
    runs_are_picked_by_the_version_that_they_ran,
    unfinished_runs_read_whole_and_oldest_first,
    the_latest_runs_go_by_their_end,
    a_retry_keeps_what_it_reuses_and_says_no_fact_of_it,
}

fn a_run_goes_its_way_and_each_ending_is_one_fact(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    let run = RunRecord {
        params: json!({"day": "2026-01-01", "n": 3, "deep": {"list": [true, null]}})
            .as_object()
            .expect("a map")
            .clone(),
        consumed: vec![run_id(8), run_id(9)],
        retry_of: Some(run_id(7)),
        revision: Some("abc".into()),
        slot: Some(at(5)),
        wait_until: Some(at(500)),
        ..queued(1, "a")
    };
    let (load, clean) = (pending(1, "load"), pending(1, "clean"));
    done(
        journal,
        vec![Change::CreateRun {
            run: run.clone(),
            tasks: vec![load.clone(), clean.clone()],
        }],
    );
    let whole = || journal.run(run_id(1)).expect("reads").expect("a run");
    assert_eq!(
        whole(),
        RunDetail {
            run: run.clone(),
            tasks: vec![load.clone(), clean.clone()],
            attempts: vec![]
        },
        "tasks stand in the order of the file, not of their names"
    );

    done(
        journal,
        vec![Change::NoteRun {
            run: run_id(1),
            reason: Some("waits for `b`".into()),
        }],
    );
    assert_eq!(
        whole().run,
        RunRecord {
            reason: Some("waits for `b`".into()),
            ..run.clone()
        }
    );

    let running = TaskRecord {
        state: TaskState::Running,
        attempts: 1,
        ..load.clone()
    };
    done(
        journal,
        vec![
            Change::StartRun {
                run: run_id(1),
                at: at(12),
            },
            Change::SetTask(running.clone()),
            Change::LaunchAttempt(launched(1, "load", 1)),
        ],
    );
    let going = RunRecord {
        status: RunStatus::Running,
        started_at: Some(at(12)),
        reason: None,
        ..run
    };
    assert_eq!(
        whole(),
        RunDetail {
            run: going.clone(),
            tasks: vec![running, clean.clone()],
            attempts: vec![launched(1, "load", 1)]
        }
    );
    done(
        journal,
        vec![Change::StartRun {
            run: run_id(1),
            at: at(99),
        }],
    );
    assert_eq!(whole().run, going, "a second start changes nothing");

    done(journal, vec![start_attempt(1, "load", 1)]);
    let started = AttemptRecord {
        started_at: Some(at(13)),
        pid: Some(4711),
        pid_start: Some(1 << 40),
        ..launched(1, "load", 1)
    };
    assert_eq!(whole().attempts, std::slice::from_ref(&started));

    let attempt = AttemptRecord {
        ended_at: Some(at(14)),
        ending: Some(Ending::Signalled(9)),
        cpu_user_ms: Some(1),
        cpu_system_ms: Some(2),
        max_rss_bytes: Some(3),
        bytes_out: Some(0),
        error: Some("killed".into()),
        ..started
    };
    let failed = TaskRecord {
        state: TaskState::Failed,
        attempts: 1,
        outputs: [("rows".to_owned(), json!(12))].into(),
        reason: Some("killed by signal 9".into()),
        ..load
    };
    let skipped = TaskRecord {
        state: TaskState::UpstreamFailed,
        ..clean
    };
    done(
        journal,
        vec![
            Change::EndAttempt(attempt.clone()),
            Change::SetTask(failed.clone()),
            Change::SetTask(skipped.clone()),
            end(1, RunStatus::Failed, 15),
        ],
    );
    let ended = RunRecord {
        status: RunStatus::Failed,
        ended_at: Some(at(15)),
        reason: Some("it is over".into()),
        ..going
    };
    assert_eq!(
        whole(),
        RunDetail {
            run: ended.clone(),
            tasks: vec![failed.clone(), skipped.clone()],
            attempts: vec![attempt.clone()]
        }
    );
    assert_eq!(
        facts(journal)[1..],
        [
            Fact::Attempt(attempt),
            Fact::Task(failed),
            Fact::Task(skipped),
            Fact::Run(ended)
        ]
    );
}

fn what_has_ended_does_not_change(journal: &dyn Storage) {
    ended_run(journal);
    let before = (journal.run(run_id(1)).expect("reads"), facts(journal));
    for change in [
        end(1, RunStatus::Cancelled, 90),
        Change::StartRun {
            run: run_id(1),
            at: at(90),
        },
        Change::NoteRun {
            run: run_id(1),
            reason: None,
        },
        Change::SetTask(pending(1, "t")),
        Change::EndAttempt(ended(1, "t", 1)),
        start_attempt(1, "t", 1),
    ] {
        missing(journal, vec![change]);
    }
    assert_eq!((journal.run(run_id(1)).expect("reads"), facts(journal)), before);
}

fn changes_of_what_is_not_there_are_refused(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), create(queued(1, "a"))]);
    let before = journal.run(run_id(1)).expect("reads");
    for change in [
        end(2, RunStatus::Failed, 15),
        Change::StartRun {
            run: run_id(2),
            at: at(90),
        },
        Change::NoteRun {
            run: run_id(2),
            reason: None,
        },
        Change::SetTask(pending(1, "other")),
        Change::SetTask(pending(2, "t")),
        Change::LaunchAttempt(launched(1, "other", 1)),
        Change::LaunchAttempt(launched(2, "t", 1)),
        Change::EndAttempt(ended(1, "other", 1)),
        start_attempt(1, "t", 1),
        Change::CreateRun {
            run: queued(2, "a"),
            tasks: vec![pending(1, "more")],
        },
    ] {
        missing(journal, vec![change]);
    }
    assert_eq!(journal.run(run_id(1)).expect("reads"), before);
    assert_eq!(journal.run(run_id(2)).expect("reads"), None);
}

fn what_is_there_is_not_made_again(journal: &dyn Storage) {
    done(
        journal,
        vec![
            put_spec("a", 1),
            create(queued(1, "a")),
            Change::LaunchAttempt(launched(1, "t", 1)),
        ],
    );
    let before = journal.run(run_id(1)).expect("reads");
    for change in [
        create(RunRecord {
            reason: Some("another".into()),
            ..queued(1, "a")
        }),
        Change::LaunchAttempt(AttemptRecord {
            granted_at: at(99),
            ..launched(1, "t", 1)
        }),
        Change::CreateRun {
            run: queued(2, "a"),
            tasks: vec![pending(2, "t"), pending(2, "t")],
        },
    ] {
        let error = commit(journal, vec![change]).expect_err("there already");
        assert!(matches!(error, StorageError::Exists { .. }), "{error}");
    }
    assert_eq!(journal.run(run_id(1)).expect("reads"), before);
    assert_eq!(journal.run(run_id(2)).expect("reads"), None);
}

fn an_attempt_that_was_never_launched_ends_whole(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), create(queued(1, "a"))]);
    let attempt = AttemptRecord {
        ending: Some(Ending::BadInput),
        started_at: None,
        ..ended(1, "t", 1)
    };
    done(journal, vec![Change::EndAttempt(attempt.clone())]);
    done(journal, vec![Change::LaunchAttempt(launched(1, "t", 2))]);
    let attempts = journal.run(run_id(1)).expect("reads").expect("a run").attempts;
    assert_eq!(
        attempts,
        [attempt.clone(), launched(1, "t", 2)],
        "in the order in which they began"
    );
    assert_eq!(facts(journal)[1..], [Fact::Attempt(attempt)]);
}

fn runs_are_picked_by_the_version_that_they_ran(journal: &dyn Storage) {
    // The second version came before the first, and `b` has one only.
    for (name, version, second) in [("a", 1, 30), ("a", 2, 20), ("a", 3, 40), ("b", 1, 10)] {
        let spec = SpecRecord {
            first_seen: at(second),
            ..spec(name, version)
        };
        done(journal, vec![Change::PutSpec(spec)]);
    }
    for (n, name, version) in [(1, "a", 1), (2, "a", 2), (3, "a", 3), (4, "b", 1), (5, "a", 1)] {
        let run = RunRecord {
            spec_hash: spec(name, version).hash,
            created_at: at(10 + i64::try_from(n).expect("small")),
            revision: (n == 2).then(|| "c0ffee12".to_owned()),
            ..queued(n, name)
        };
        done(journal, vec![create(run)]);
    }
    let picked = |picks: &[&str]| -> Vec<_> {
        let filter = RunFilter {
            revisions: picks.iter().map(|pick| RevisionPick::new(pick).expect(pick)).collect(),
            ..RunFilter::default()
        };
        let runs = journal.runs(&filter).expect("reads");
        runs.into_iter().map(|run| run.id).collect()
    };
    let prefix = spec("b", 1).hash.as_str()[..12].to_owned();
    for (picks, expected) in [
        (vec!["last:1"], vec![4, 3]),
        (vec!["last:2"], vec![5, 4, 3, 1]),
        (vec!["last:9"], vec![5, 4, 3, 2, 1]),
        (vec!["c0ffee"], vec![2]),
        (vec![prefix.as_str(), "c0ffee"], vec![4, 2]),
        (vec!["0ffee"], vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(run_id).collect();
        assert_eq!(picked(&picks), expected, "{picks:?}");
    }
}

fn runs_are_filtered_and_read_newest_first(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), put_spec("b", 1)]);
    let made = |n: u64, name, second| RunRecord {
        created_at: at(second),
        ..queued(n, name)
    };
    let by_hand = RunRecord {
        trigger: Trigger::Manual,
        ..made(3, "a", 30)
    };
    // 5 and 4 were created at the same instant: the id decides.
    for run in [
        made(2, "b", 20),
        made(1, "a", 10),
        by_hand,
        made(5, "a", 40),
        made(4, "b", 40),
    ] {
        done(journal, vec![create(run)]);
    }
    done(
        journal,
        vec![end(1, RunStatus::Failed, 50), end(2, RunStatus::Succeeded, 51)],
    );
    let ids = |filter: RunFilter| -> Vec<_> {
        journal
            .runs(&filter)
            .expect("reads")
            .into_iter()
            .map(|run| run.id)
            .collect()
    };
    let filter = RunFilter::default;
    assert_eq!(ids(filter()), [5, 4, 3, 2, 1].map(run_id));
    assert_eq!(
        ids(RunFilter {
            job: Some(job("a")),
            ..filter()
        }),
        [5, 3, 1].map(run_id)
    );
    assert_eq!(
        ids(RunFilter {
            triggers: vec![Trigger::Manual],
            ..filter()
        }),
        [run_id(3)]
    );
    assert_eq!(
        ids(RunFilter {
            until: Some(at(30)),
            ..filter()
        }),
        [2, 1].map(run_id)
    );
    let patterns = |text: &str| vec![Pattern::new(text).expect("a pattern")];
    assert_eq!(
        ids(RunFilter {
            jobs: patterns("b*"),
            ..filter()
        }),
        [4, 2].map(run_id)
    );
    let of_task = |text: &str| {
        ids(RunFilter {
            tasks: patterns(text),
            ..filter()
        })
    };
    assert_eq!((of_task("?").len(), of_task("nobody").len()), (5, 0));
    assert_eq!(
        ids(RunFilter {
            since: Some(at(30)),
            ..filter()
        }),
        [5, 4, 3].map(run_id)
    );
    assert_eq!(
        ids(RunFilter {
            limit: Some(2),
            ..filter()
        }),
        [5, 4].map(run_id)
    );
    assert_eq!(
        ids(RunFilter {
            limit: Some(0),
            ..filter()
        }),
        []
    );
    let statuses = vec![RunStatus::Failed, RunStatus::Succeeded];
    assert_eq!(
        ids(RunFilter {
            statuses: statuses.clone(),
            ..filter()
        }),
        [2, 1].map(run_id)
    );
    let everything = RunFilter {
        job: Some(job("a")),
        jobs: patterns("*"),
        tasks: patterns("*"),
        statuses,
        triggers: vec![Trigger::Schedule, Trigger::Manual],
        revisions: vec![RevisionPick::new("last:1").expect("a version")],
        since: Some(at(10)),
        until: Some(at(20)),
        retry_of: None,
        limit: Some(5),
    };
    assert_eq!(ids(everything), [run_id(1)]);
}

fn unfinished_runs_read_whole_and_oldest_first(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    for (n, second) in [(1, 30), (2, 10), (3, 20)] {
        done(
            journal,
            vec![create(RunRecord {
                created_at: at(second),
                ..queued(n, "a")
            })],
        );
    }
    done(
        journal,
        vec![
            end(3, RunStatus::Cancelled, 50),
            Change::StartRun {
                run: run_id(2),
                at: at(40),
            },
        ],
    );
    let unfinished = journal.unfinished().expect("reads");
    assert_eq!(
        unfinished.iter().map(|detail| detail.run.id).collect::<Vec<_>>(),
        [2, 1].map(run_id)
    );
    for detail in unfinished {
        assert_eq!(journal.run(detail.run.id).expect("reads"), Some(detail));
    }
}

fn the_latest_runs_go_by_their_end(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), put_spec("b", 1)]);
    let of_dependency = RunRecord {
        trigger: Trigger::Dependency,
        created_at: at(19),
        ..queued(4, "a")
    };
    for run in [
        queued(1, "a"),
        queued(2, "a"),
        queued(3, "a"),
        of_dependency,
        queued(5, "b"),
    ] {
        done(journal, vec![create(run)]);
    }
    // The first succeeded last; the second succeeded before; the third failed last of all.
    for change in [
        end(2, RunStatus::Succeeded, 50),
        end(1, RunStatus::Succeeded, 60),
        end(3, RunStatus::TimedOut, 70),
        end(5, RunStatus::Succeeded, 80),
    ] {
        done(journal, vec![change]);
    }
    let latest = journal.latest(&job("a")).expect("reads");
    let id = |run: Option<RunRecord>| run.map(|run| run.id);
    assert_eq!(id(latest.finished), Some(run_id(3)));
    assert_eq!(id(latest.succeeded), Some(run_id(1)));
    assert_eq!(id(latest.by_dependency), Some(run_id(4)));
    // Recorded after the clock was put back.
    let newer = RunRecord {
        trigger: Trigger::Dependency,
        created_at: at(15),
        ..queued(6, "a")
    };
    done(journal, vec![create(newer)]);
    let latest = journal.latest(&job("a")).expect("reads");
    assert_eq!(id(latest.by_dependency), Some(run_id(6)));
}

fn a_retry_keeps_what_it_reuses_and_says_no_fact_of_it(journal: &dyn Storage) {
    ended_run(journal);
    let before = facts(journal);
    let retry = |n| RunRecord {
        trigger: Trigger::Retry,
        retry_of: Some(run_id(1)),
        ..queued(n, "a")
    };
    let reused = TaskRecord {
        state: TaskState::Succeeded,
        outputs: [("rows".to_owned(), json!(12))].into(),
        reused_from: Some(run_id(1)),
        ..pending(2, "t")
    };
    let (tasks, again) = (vec![reused.clone(), pending(2, "u")], retry(3));
    done(
        journal,
        vec![
            Change::CreateRun {
                run: retry(2),
                tasks: tasks.clone(),
            },
            create(again),
            create(queued(4, "a")),
        ],
    );
    let unfinished = journal.unfinished().expect("reads");
    assert_eq!(unfinished[0].tasks, tasks, "a crash loses nothing of it");
    assert_eq!(facts(journal), before, "its end is a fact of the run in which it ended");
    missing(journal, vec![Change::SetTask(reused)]);
    let retries = RunFilter {
        retry_of: Some(run_id(1)),
        ..RunFilter::default()
    };
    let retries = journal.runs(&retries).expect("reads");
    assert_eq!(retries.iter().map(|run| run.id).collect::<Vec<_>>(), [3, 2].map(run_id));
}

/// A run with a task and an attempt, all of which have ended.
fn ended_run(journal: &dyn Storage) {
    done(
        journal,
        vec![
            put_spec("a", 1),
            create(queued(1, "a")),
            Change::LaunchAttempt(launched(1, "t", 1)),
            Change::EndAttempt(ended(1, "t", 1)),
            Change::SetTask(TaskRecord {
                state: TaskState::Succeeded,
                ..pending(1, "t")
            }),
            end(1, RunStatus::Succeeded, 20),
        ],
    );
}
