//! What may leave the journal, and what stays for whom.

use super::{
    super::{Change, Elsewhere, Forget, Prunable, PruneRule, PrunedTo, RunFilter, Storage},
    fixtures::*,
    for_each_backend,
};
use crate::core::{
    id::RunId,
    keep::Keep,
    record::{RunRecord, SlotRecord, TaskRecord},
    state::{RunStatus, SlotOutcome, TaskState, Trigger},
};

for_each_backend! {
    runs_leave_a_day_after_their_end_and_a_few_of_each_job_stay,
    what_others_need_stays_whatever_its_age,
    nothing_leaves_that_the_history_does_not_have,
    without_a_history_age_and_number_count,
    the_ledger_keeps_its_last_rows_and_what_lies_beyond_the_watermark,
    versions_go_with_the_last_row_that_names_them,
    what_is_needed_again_since_the_look_is_passed_over,
    a_weekly_dependency_still_finds_the_last_success,
    runs_that_leave_early_are_still_counted,
}

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// As of ten days after the beginning, with a history that has everything.
fn rule(journal: &dyn Storage) -> PruneRule {
    PruneRule {
        now: at(10 * DAY),
        elsewhere: Elsewhere::History(last_fact(journal)),
        keep: Keep::days(90),
    }
}

fn last_fact(journal: &dyn Storage) -> i64 {
    let facts = journal.facts(0, u32::MAX).expect("reads");
    facts.last().map_or(0, |fact| fact.number)
}

fn found(journal: &dyn Storage, rule: &PruneRule) -> Prunable {
    journal.prunable(rule).expect("looks")
}

fn carry_out(journal: &dyn Storage, rule: &PruneRule) {
    found(journal, rule).steps().for_each(|step| done(journal, vec![step]));
}

/// A run of a minute that ended so.
fn ended_run(journal: &dyn Storage, run: RunRecord, status: RunStatus) {
    let (id, ended_at) = (run.id, run.created_at + chrono::TimeDelta::minutes(1));
    let task = TaskRecord {
        run: id,
        state: TaskState::Succeeded,
        ..pending(0, "t")
    };
    let attempt = crate::core::record::AttemptRecord {
        run: id,
        ..ended(0, "t", 1)
    };
    done(
        journal,
        vec![
            create(run),
            Change::EndAttempt(attempt),
            Change::SetTask(task),
            Change::EndRun {
                run: id,
                status,
                at: ended_at,
                reason: None,
            },
        ],
    );
}

fn ids(runs: impl IntoIterator<Item = u64>) -> Vec<RunId> {
    runs.into_iter().map(run_id).collect()
}

fn runs_leave_a_day_after_their_end_and_a_few_of_each_job_stay(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), put_spec("b", 1)]);
    for n in 1..=30 {
        ended_run(journal, created(n, "a", n as i64 * HOUR), RunStatus::Succeeded);
    }
    // These thirty are all of the last day, so that they stay, though they are no longer shown.
    for n in 31..=60 {
        ended_run(journal, created(n, "b", 10 * DAY - n as i64 * 60), RunStatus::Succeeded);
    }
    let rule = rule(journal);
    let may_go = found(journal, &rule);
    assert_eq!(may_go.runs, ids(1..=10), "the oldest, but for twenty");
    assert_eq!(may_go.facts, 1..last_fact(journal));
    carry_out(journal, &rule);
    assert_eq!(
        found(journal, &rule),
        Prunable {
            facts: last_fact(journal)..last_fact(journal),
            ..Prunable::default()
        }
    );
    assert_eq!(journal.runs(&RunFilter::default()).expect("reads").len(), 50);
    assert_eq!(journal.run(run_id(10)).expect("reads"), None);
    assert!(
        journal
            .run(run_id(11))
            .expect("reads")
            .is_some_and(|run| run.attempts.len() == 1)
    );
    let pruned = PrunedTo {
        runs: Some(at(10 * HOUR)),
        slots: None,
    };
    assert_eq!(journal.pruned_to().expect("reads"), pruned);
    // The last fact that the history took in is there, and the next one is not called as one that was.
    assert_eq!(facts(journal).len(), 1);
    let before = last_fact(journal);
    done(journal, vec![Change::Reconcile(reconcile(1))]);
    assert_eq!(last_fact(journal), before + 1);
}

fn what_others_need_stays_whatever_its_age(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    for n in 1..=40 {
        let run = created(n, "a", n as i64 * HOUR);
        let run = match n {
            3 => RunRecord {
                trigger: Trigger::Dependency,
                ..run
            },
            4 => RunRecord {
                retry_of: Some(run_id(5)),
                ..run
            },
            40 => RunRecord {
                retry_of: Some(run_id(4)),
                ..run
            },
            _ => run,
        };
        match n {
            1 => ended_run(journal, run, RunStatus::Succeeded),
            2 => done(journal, vec![create(run)]),
            _ => ended_run(journal, run, RunStatus::Failed),
        }
    }
    let rule = rule(journal);
    // 1 is the latest success, 2 has not ended, 3 was made by other jobs, 4 is repeated by one that is shown, 5 by 4.
    assert_eq!(found(journal, &rule).runs, ids(6..=20));
    let latest = journal.latest(&job("a")).expect("reads");
    carry_out(journal, &rule);
    assert_eq!(journal.latest(&job("a")).expect("reads"), latest);
    assert_eq!(journal.unfinished().expect("reads").len(), 1);
}

fn nothing_leaves_that_the_history_does_not_have(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    let mut projected = 0;
    for n in 1..=40 {
        ended_run(journal, created(n, "a", n as i64 * HOUR), RunStatus::Succeeded);
        if n == 5 {
            // The attempt and the task of 6 are in the history, its end is not.
            projected = last_fact(journal) + 2;
        }
    }
    let rule = PruneRule {
        elsewhere: Elsewhere::History(projected),
        ..rule(journal)
    };
    let may_go = found(journal, &rule);
    assert_eq!((may_go.runs.clone(), may_go.facts), (ids(1..=5), 1..projected));
    carry_out(journal, &rule);
    let left = journal.facts(0, u32::MAX).expect("reads");
    assert_eq!(left.first().map(|fact| fact.number), Some(projected));
    // A history that knows of nothing, and one that was fed by what this journal was before it was put back.
    for number in [0, last_fact(journal) + 1] {
        let distrusted = PruneRule {
            elsewhere: Elsewhere::History(number),
            ..rule
        };
        assert!(found(journal, &distrusted).is_empty());
    }
}

fn without_a_history_age_and_number_count(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    for n in 1..=40 {
        ended_run(journal, created(n, "a", n as i64 * HOUR), RunStatus::Succeeded);
    }
    let rule = |keep| PruneRule {
        now: at(10 * DAY),
        elsewhere: Elsewhere::Nowhere,
        keep,
    };
    let days = |days| found(journal, &rule(Keep::days(days)));
    assert!(days(10).is_empty());
    assert_eq!(days(9).runs, ids(1..=20), "twenty are shown");
    let three = Keep {
        age: None,
        count: Some(3),
    };
    assert_eq!(found(journal, &rule(three)).runs, ids(1..=37));
    assert!(found(journal, &rule(Keep::FOR_EVER)).is_empty());
}

fn the_ledger_keeps_its_last_rows_and_what_lies_beyond_the_watermark(journal: &dyn Storage) {
    let slot = |second| {
        Change::PutSlot(SlotRecord {
            outcome: Some(SlotOutcome::Ran),
            ..claim("a", second)
        })
    };
    done(
        journal,
        vec![
            slot(1),
            slot(2),
            Change::PutSlot(claim("a", 3)),
            slot(4),
            slot(5),
            Change::PutStretch(stretch("a", 6, 7)),
            Change::PutStretch(stretch("a", 8, 9)),
            Change::PutSlot(SlotRecord {
                outcome: Some(SlotOutcome::Ran),
                ..claim("b", 1)
            }),
            Change::SetWatermark {
                job: job("a"),
                at: at(4),
            },
        ],
    );
    let rule = rule(journal);
    let may_go = found(journal, &rule);
    let of_a = |seconds: &[i64]| seconds.iter().map(|&second| (job("a"), at(second))).collect::<Vec<_>>();
    // 3 is not decided, 5 is beyond the watermark and the last as well; `b` has but one.
    assert_eq!(may_go.slots, of_a(&[1, 2, 4]));
    assert_eq!(may_go.stretches, [], "the first is beyond the watermark");
    done(
        journal,
        vec![Change::SetWatermark {
            job: job("a"),
            at: at(9),
        }],
    );
    assert_eq!(found(journal, &rule).stretches, [(job("a"), at(6), at(7))]);
    carry_out(journal, &rule);
    assert_eq!(slots(journal, "a").len(), 2);
    assert_eq!(journal.stretches(&job("a"), at(0), at(99)).expect("reads").len(), 1);
    assert_eq!(journal.pruned_to().expect("reads").slots, Some(at(7)));
    let week = PruneRule {
        now: at(7 * DAY),
        ..rule
    };
    assert!(found(journal, &week).slots.is_empty());
}

fn versions_go_with_the_last_row_that_names_them(journal: &dyn Storage) {
    let late = |version| {
        let mut spec = spec("a", version);
        spec.first_seen = at(10 * DAY - 1);
        Change::PutSpec(spec)
    };
    done(
        journal,
        (1..=6).map(|version| put_spec("a", version)).chain([late(7)]).collect(),
    );
    ended_run(journal, created(1, "a", 1), RunStatus::Succeeded);
    done(
        journal,
        vec![
            Change::SetActive(active("a", 2)),
            Change::SetActive(crate::core::record::ActiveRecord {
                spec_hash: spec("a", 3).hash,
                ..active("b", 1)
            }),
            Change::RemoveActive(job("b")),
            Change::PutSlot(SlotRecord {
                spec_hash: spec("a", 4).hash,
                ..claim("a", 1)
            }),
        ],
    );
    // 1 has a run, 2 is active, 3 was active, 4 has a slot, 7 is of today.
    let mut expected = vec![spec("a", 5).hash, spec("a", 6).hash];
    expected.sort();
    let rule = rule(journal);
    assert_eq!(found(journal, &rule).specs, expected);
    let unfed = PruneRule {
        elsewhere: Elsewhere::History(5),
        ..rule
    };
    assert_eq!(found(journal, &unfed).specs, [spec("a", 5).hash]);
    carry_out(journal, &rule);
    assert_eq!(journal.spec(&spec("a", 5).hash).expect("reads"), None);
    done(journal, vec![put_spec("a", 5)]);
}

fn what_is_needed_again_since_the_look_is_passed_over(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1), put_spec("a", 2)]);
    ended_run(journal, created(1, "a", 1), RunStatus::Failed);
    let again = RunRecord {
        retry_of: Some(run_id(1)),
        ..created(2, "a", 2)
    };
    done(journal, vec![create(again), Change::PutSlot(claim("a", 5))]);
    done(journal, vec![Change::SetActive(active("a", 2))]);
    let before = everything(journal);
    done(
        journal,
        vec![
            Change::Forget(Forget::Runs(ids([1, 2, 9]))),
            Change::Forget(Forget::Slots(vec![(job("a"), at(5)), (job("z"), at(5))])),
            Change::Forget(Forget::Specs(vec![spec("a", 1).hash, spec("a", 2).hash])),
            Change::Forget(Forget::Stretches(vec![(job("a"), at(1), at(2))])),
            Change::Forget(Forget::Reconciles { keep: 100 }),
            Change::Forget(Forget::Facts { below: 0 }),
        ],
    );
    assert_eq!(everything(journal), before);
}

fn a_weekly_dependency_still_finds_the_last_success(journal: &dyn Storage) {
    done(journal, vec![put_spec("weekly", 1), put_spec("busy", 1)]);
    ended_run(journal, created(1, "weekly", 0), RunStatus::Succeeded);
    for n in 2..=40 {
        ended_run(journal, created(n, "busy", n as i64), RunStatus::Succeeded);
    }
    let keep = Keep {
        age: "1h".parse().ok(),
        count: Some(1),
    };
    carry_out(journal, &PruneRule { keep, ..rule(journal) });
    let latest = journal.latest(&job("weekly")).expect("reads");
    assert_eq!(latest.succeeded.map(|run| run.id), Some(run_id(1)));
    assert_eq!(journal.runs(&RunFilter::default()).expect("reads").len(), 2);
}

fn runs_that_leave_early_are_still_counted(journal: &dyn Storage) {
    done(journal, vec![put_spec("a", 1)]);
    for n in 1..=9 {
        let status = if n % 3 == 0 {
            RunStatus::Failed
        } else {
            RunStatus::Succeeded
        };
        ended_run(journal, created(n, "a", n as i64 * 60 + 7), status);
    }
    let tally = || journal.tally(at(120), chrono::TimeDelta::minutes(2)).expect("counts");
    let before = tally();
    let rule = PruneRule {
        now: at(1_000),
        keep: Keep {
            age: None,
            count: Some(1),
        },
        ..rule(journal)
    };
    carry_out(journal, &rule);
    assert_eq!(
        journal.runs(&RunFilter::default()).expect("reads").len(),
        2,
        "the latest, and the latest success"
    );
    assert_eq!(tally(), before);
}
