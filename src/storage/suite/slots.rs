//! Slots, stretches of them, and watermarks.

use super::{
    super::{Change, Storage, StorageError},
    fixtures::*,
    for_each_backend,
};
use crate::{
    core::{
        record::{SlotRecord, StretchRecord, SupersedeRecord},
        state::{SlotOutcome, SlotReason},
    },
    events::Fact,
};

for_each_backend! {
    a_slot_is_recorded_once,
    a_claimed_slot_is_decided_once,
    slots_read_in_order_within_their_bounds,
    stretches_read_where_they_overlap,
    a_watermark_never_moves_back,
    what_did_not_run_is_superseded,
    a_refused_commit_supersedes_nothing,
    a_claim_that_is_taken_back_was_never_there,
}

fn a_slot_is_recorded_once(journal: &dyn Storage) {
    done(journal, vec![Change::PutSlot(claim("a", 10))]);
    let other = SlotRecord {
        run: Some(run_id(7)),
        ..claim("a", 10)
    };
    let error = commit(journal, vec![Change::PutSlot(other)]).expect_err("taken");
    assert!(
        matches!(&error, StorageError::SlotTaken { job: of, at: slot } if *of == job("a") && *slot == at(10)),
        "{error}"
    );
    assert!(!error.is_passing());
    assert_eq!(slots(journal, "a"), [claim("a", 10)]);
    done(
        journal,
        vec![Change::PutSlot(claim("b", 10)), Change::PutSlot(claim("a", 11))],
    );
    assert_eq!(facts(journal), [], "a claim is not finished");
}

fn a_claimed_slot_is_decided_once(journal: &dyn Storage) {
    done(
        journal,
        vec![
            Change::PutSlot(claim("b", 10)),
            Change::PutSlot(claim("a", 10)),
            Change::PutSlot(claim("a", 9)),
        ],
    );
    assert_eq!(
        journal.claimed().expect("reads"),
        [claim("a", 9), claim("a", 10), claim("b", 10)]
    );

    done(journal, vec![decide("a", 10, SlotOutcome::Skipped)]);
    let decided = SlotRecord {
        outcome: Some(SlotOutcome::Skipped),
        reason: Some(SlotReason::Overlap),
        detail: Some("run 1 is going".into()),
        decided_at: Some(at(11)),
        ..claim("a", 10)
    };
    assert_eq!(journal.claimed().expect("reads"), [claim("a", 9), claim("b", 10)]);
    assert_eq!(slots(journal, "a"), [claim("a", 9), decided.clone()]);

    missing(journal, vec![decide("a", 10, SlotOutcome::Ran)]);
    missing(journal, vec![decide("a", 12, SlotOutcome::Ran)]);
    // One that is decided at once needs no claim.
    let missed = SlotRecord {
        outcome: Some(SlotOutcome::Missed),
        decided_at: Some(at(30)),
        ..claim("a", 20)
    };
    done(journal, vec![Change::PutSlot(missed.clone())]);
    missing(journal, vec![decide("a", 20, SlotOutcome::Ran)]);
    assert_eq!(facts(journal), [Fact::Slot(decided), Fact::Slot(missed)]);
}

fn slots_read_in_order_within_their_bounds(journal: &dyn Storage) {
    for second in [30, 10, 20, 40] {
        done(
            journal,
            vec![
                Change::PutSlot(claim("a", second)),
                Change::PutSlot(claim("ab", second)),
            ],
        );
    }
    let between = |from, to| journal.slots(&job("a"), at(from), at(to)).expect("reads");
    assert_eq!(between(10, 30), [claim("a", 10), claim("a", 20), claim("a", 30)]);
    assert_eq!(between(11, 29), [claim("a", 20)]);
    assert_eq!(between(30, 10), []);
}

fn stretches_read_where_they_overlap(journal: &dyn Storage) {
    let rows = [
        stretch("a", 30, 40),
        stretch("a", 10, 20),
        stretch("a", 15, 16),
        stretch("b", 10, 90),
    ];
    for row in &rows {
        done(journal, vec![Change::PutStretch(row.clone())]);
    }
    let between = |from, to| journal.stretches(&job("a"), at(from), at(to)).expect("reads");
    assert_eq!(between(0, 99), [rows[1].clone(), rows[2].clone(), rows[0].clone()]);
    assert_eq!(between(20, 30), [rows[1].clone(), rows[0].clone()]);
    assert_eq!(between(21, 29), []);
    assert_eq!(facts(journal), rows.map(Fact::Stretch));
}

fn a_watermark_never_moves_back(journal: &dyn Storage) {
    let set = |name, second| Change::SetWatermark {
        job: job(name),
        at: at(second),
    };
    done(journal, vec![set("b", 5), set("a", 20), set("a", 10)]);
    assert_eq!(
        journal.watermarks().expect("reads"),
        [(job("a"), at(20)), (job("b"), at(5))]
    );
    done(journal, vec![set("a", 21)]);
    assert_eq!(
        journal.watermarks().expect("reads"),
        [(job("a"), at(21)), (job("b"), at(5))]
    );
}

fn superseding(name: &str, second: i64) -> SupersedeRecord {
    SupersedeRecord {
        job: job(name),
        after: at(second),
    }
}

/// Slots of `a` on both sides of 20, stretches before, across and behind it, and a neighbour.
fn ledger(journal: &dyn Storage) -> Vec<StretchRecord> {
    let with = |name, second, outcome| SlotRecord {
        outcome,
        ..claim(name, second)
    };
    let slots = [
        with("a", 20, Some(SlotOutcome::Skipped)),
        with("a", 21, Some(SlotOutcome::Ran)),
        with("a", 22, Some(SlotOutcome::Missed)),
        with("a", 23, None),
        with("b", 22, Some(SlotOutcome::Merged)),
    ];
    let stretches = vec![
        stretch("a", 10, 20),
        stretch("a", 15, 21),
        stretch("a", 30, 40),
        stretch("b", 30, 40),
    ];
    let watermark = |name| Change::SetWatermark {
        job: job(name),
        at: at(40),
    };
    let rows = slots.into_iter().map(Change::PutSlot);
    let rows = rows.chain(stretches.iter().cloned().map(Change::PutStretch));
    done(journal, rows.chain([watermark("a"), watermark("b")]).collect());
    stretches
}

fn what_did_not_run_is_superseded(journal: &dyn Storage) {
    let stretches = ledger(journal);
    assert_eq!(journal.beyond_watermark().expect("reads"), []);
    let before = facts(journal).len();
    done(journal, vec![Change::Supersede(superseding("a", 20))]);

    let left: Vec<_> = slots(journal, "a").iter().map(|slot| (slot.at, slot.outcome)).collect();
    assert_eq!(
        left,
        [
            (at(20), Some(SlotOutcome::Skipped)),
            (at(21), Some(SlotOutcome::Ran)),
            (at(23), None)
        ]
    );
    assert_eq!(slots(journal, "b").len(), 1);
    let all = |name| journal.stretches(&job(name), at(0), at(99)).expect("reads");
    assert_eq!(
        (all("a"), all("b")),
        (vec![stretches[0].clone()], vec![stretches[3].clone()])
    );
    assert_eq!(
        journal.watermarks().expect("reads"),
        [(job("a"), at(20)), (job("b"), at(40))]
    );
    assert_eq!(
        journal.beyond_watermark().expect("reads"),
        [(job("a"), at(21)), (job("a"), at(23))]
    );
    assert_eq!(facts(journal)[before..], [Fact::Supersede(superseding("a", 20))]);

    // What was superseded can be recorded again, and what ran cannot.
    done(journal, vec![Change::PutSlot(claim("a", 22))]);
    assert!(commit(journal, vec![Change::PutSlot(claim("a", 21))]).is_err());
    // A job without a watermark gets none from this.
    done(journal, vec![Change::Supersede(superseding("c", 20))]);
    assert_eq!(journal.watermarks().expect("reads").len(), 2);
}

fn a_refused_commit_supersedes_nothing(journal: &dyn Storage) {
    ledger(journal);
    let before = everything(journal);
    let changes = vec![Change::Supersede(superseding("a", 20)), Change::PutSlot(claim("a", 21))];
    assert!(commit(journal, changes).is_err());
    assert_eq!(everything(journal), before);
}

fn a_claim_that_is_taken_back_was_never_there(journal: &dyn Storage) {
    let unclaim = |second| Change::Unclaim {
        job: job("a"),
        at: at(second),
    };
    done(journal, vec![put_spec("a", 1)]);
    let before = everything(journal);
    done(journal, vec![Change::PutSlot(claim("a", 10)), create(queued(1, "a"))]);
    done(journal, vec![unclaim(10)]);
    assert_eq!(everything(journal), before);
    missing(journal, vec![unclaim(10)]);

    // Not of a run that has begun, nor of a slot that is decided.
    done(journal, vec![Change::PutSlot(claim("a", 10)), create(queued(1, "a"))]);
    let start = Change::StartRun {
        run: run_id(1),
        at: at(10),
    };
    done(journal, vec![start]);
    missing(journal, vec![unclaim(10)]);
    done(journal, vec![decide("a", 10, SlotOutcome::Ran)]);
    missing(journal, vec![unclaim(10)]);
    assert_eq!(slots(journal, "a").len(), 1);
}
