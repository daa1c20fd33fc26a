//! What holds for every commit, whatever is in it.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{Change, LatestRuns, Memory, RunFilter, Storage, StorageError},
    fixtures::*,
    for_each_backend,
};
use crate::{
    core::{
        record::{SlotRecord, TaskRecord},
        state::{RunStatus, SlotOutcome, TaskState},
    },
    events::Fact,
};

for_each_backend! {
    a_new_journal_is_empty_and_has_an_id,
    a_refused_commit_leaves_nothing_behind,
    facts_read_on_from_a_number,
    instants_are_kept_to_the_microsecond,
    commits_of_many_threads_are_all_there,
}

fn a_new_journal_is_empty_and_has_an_id(journal: &dyn Storage) {
    assert_eq!(journal.journal_id().expect("an id").len(), 32);
    assert_eq!(journal.active().expect("reads"), []);
    assert_eq!(journal.pauses().expect("reads"), []);
    assert_eq!(journal.watermarks().expect("reads"), []);
    assert_eq!(journal.runs(&RunFilter::default()).expect("reads"), []);
    assert_eq!(journal.unfinished().expect("reads"), []);
    assert_eq!(journal.claimed().expect("reads"), []);
    assert_eq!(journal.reconciles(9).expect("reads"), []);
    assert_eq!(facts(journal), []);
    assert_eq!(journal.spec(&spec("a", 1).hash).expect("reads"), None);
    assert_eq!(journal.run(run_id(1)).expect("reads"), None);
    assert_eq!(journal.latest(&job("a")).expect("reads"), LatestRuns::default());
}

fn a_refused_commit_leaves_nothing_behind(journal: &dyn Storage) {
    done(
        journal,
        vec![
            put_spec("a", 1),
            put_spec("a", 2),
            create(queued(1, "a")),
            Change::PutSlot(claim("a", 10)),
        ],
    );
    done(
        journal,
        vec![
            Change::LaunchAttempt(launched(1, "t", 1)),
            Change::SetActive(active("a", 1)),
        ],
    );
    done(
        journal,
        vec![
            Change::Pause(pause(None, 1)),
            Change::SetWatermark {
                job: job("a"),
                at: at(5),
            },
        ],
    );
    let before = everything(journal);
    // One change of each kind, all of them good, and then one that is not.
    let mut changes = vec![
        put_spec("b", 1),
        Change::SetActive(active("a", 2)),
        Change::SetActive(active("b", 1)),
        Change::RemoveActive(job("a")),
        Change::Reconcile(reconcile(1)),
        Change::PutSlot(SlotRecord {
            outcome: Some(SlotOutcome::Missed),
            ..claim("b", 1)
        }),
        decide("a", 10, SlotOutcome::Ran),
        Change::PutStretch(stretch("a", 1, 2)),
        Change::SetWatermark {
            job: job("a"),
            at: at(6),
        },
        Change::SetWatermark {
            job: job("b"),
            at: at(6),
        },
        create(queued(2, "b")),
        Change::StartRun {
            run: run_id(1),
            at: at(12),
        },
        Change::NoteRun {
            run: run_id(1),
            reason: Some("waits".into()),
        },
        start_attempt(1, "t", 1),
        Change::EndAttempt(ended(1, "t", 1)),
        Change::LaunchAttempt(launched(1, "t", 2)),
        Change::SetTask(TaskRecord {
            state: TaskState::Succeeded,
            ..pending(1, "t")
        }),
        end(1, RunStatus::Succeeded, 20),
        Change::Pause(pause(None, 2)),
        Change::Pause(pause(Some("a"), 2)),
        Change::Resume(None),
    ];
    changes.push(Change::PutSlot(claim("b", 1)));
    let error = commit(journal, changes.clone()).expect_err("the slot is taken by the same commit");
    assert!(matches!(error, StorageError::SlotTaken { .. }), "{error}");
    assert_eq!(everything(journal), before);

    changes.pop();
    done(journal, changes);
    let numbers: Vec<_> = journal
        .facts(0, 99)
        .expect("reads")
        .iter()
        .map(|fact| fact.number)
        .collect();
    assert_eq!(
        numbers,
        (1..=10).collect::<Vec<_>>(),
        "the refused commit has used up no numbers"
    );
}

fn facts_read_on_from_a_number(journal: &dyn Storage) {
    for second in 1..=5 {
        done(journal, vec![Change::Reconcile(reconcile(second))]);
    }
    let read = |after, limit| journal.facts(after, limit).expect("reads");
    assert_eq!(read(0, 99).len(), 5);
    let some = read(2, 2);
    assert_eq!(some.iter().map(|fact| fact.number).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(some[0].fact, Fact::Reconcile(reconcile(3)));
    assert_eq!(some[0].at, stopped_clock()());
    assert_eq!(read(5, 9), []);
    assert_eq!(read(0, 0), []);
}

fn instants_are_kept_to_the_microsecond(journal: &dyn Storage) {
    let fine = |second| at(second) + chrono::TimeDelta::nanoseconds(1_999);
    let cut = |second| at(second) + chrono::TimeDelta::microseconds(1);
    let slot = SlotRecord {
        at: fine(10),
        outcome: Some(SlotOutcome::Ran),
        decided_at: Some(fine(11)),
        ..claim("a", 10)
    };
    done(
        journal,
        vec![
            Change::PutSlot(slot.clone()),
            Change::SetWatermark {
                job: job("a"),
                at: fine(10),
            },
        ],
    );
    let kept = SlotRecord {
        at: cut(10),
        decided_at: Some(cut(11)),
        ..slot.clone()
    };
    assert_eq!(slots(journal, "a"), std::slice::from_ref(&kept));
    assert_eq!(facts(journal), [Fact::Slot(kept)], "the fact says the same as the row");
    assert_eq!(journal.watermarks().expect("reads"), [(job("a"), cut(10))]);
    commit(journal, vec![Change::PutSlot(slot)]).expect_err("the same slot");
    // Before 1970 as well, cut off means earlier.
    let early = claim("b", 0).at - chrono::TimeDelta::days(30_000) + chrono::TimeDelta::nanoseconds(1_999);
    done(
        journal,
        vec![Change::PutSlot(SlotRecord {
            at: early,
            ..claim("b", 0)
        })],
    );
    assert_eq!(
        journal.claimed().expect("reads")[0].at,
        early - chrono::TimeDelta::nanoseconds(999)
    );
}

fn commits_of_many_threads_are_all_there(journal: &dyn Storage) {
    const THREADS: u64 = 64;
    const EACH: i64 = 20;
    let name = |thread| format!("job-{thread}");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for second in 0..EACH {
                    // Everyone wants this one; whoever comes too late must not hurt those in the same batch.
                    let contended = commit(journal, vec![Change::PutSlot(claim("shared", second))]);
                    assert!(
                        matches!(contended, Ok(()) | Err(StorageError::SlotTaken { .. })),
                        "{contended:?}"
                    );
                    let slot = SlotRecord {
                        outcome: Some(SlotOutcome::Ran),
                        ..claim(&name(thread), second)
                    };
                    done(journal, vec![Change::PutSlot(slot)]);
                    let seen = journal
                        .slots(&job(&name(thread)), at(second), at(second))
                        .expect("reads");
                    assert_eq!(seen.len(), 1, "an acknowledged commit is seen at once");
                }
            });
        }
    });
    assert_eq!(slots(journal, "shared").len(), usize::try_from(EACH).expect("small"));
    let facts = journal.facts(0, u32::MAX).expect("reads");
    let total = i64::try_from(THREADS).expect("small") * EACH;
    assert!(
        facts.iter().map(|fact| fact.number).eq(1..=total),
        "numbers grow by one"
    );
    let named: BTreeSet<_> = facts
        .iter()
        .map(|fact| match &fact.fact {
            Fact::Slot(slot) => (slot.job.clone(), slot.at),
            other => panic!("only slots were recorded, not {other:?}"),
        })
        .collect();
    assert_eq!(named.len(), facts.len(), "each slot is one fact");
}

#[test]
fn a_journal_can_be_shared_and_outlives_a_dropped_answer() {
    let journal: Arc<dyn Storage> = Arc::new(Memory::default());
    drop(journal.commit(vec![put_spec("a", 1)]));
    assert!(journal.spec(&spec("a", 1).hash).expect("reads").is_some());
    assert_ne!(
        journal.journal_id().expect("an id"),
        Memory::default().journal_id().expect("an id")
    );
}
