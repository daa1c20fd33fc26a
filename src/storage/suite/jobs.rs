//! Versions of jobs, the active set, reconciles and pauses.

use super::{
    super::{Change, Storage},
    fixtures::*,
    for_each_backend,
};
use crate::{
    core::record::{PoolsRecord, SpecRecord},
    events::Fact,
};

for_each_backend! {
    a_spec_is_kept_once,
    the_active_set_is_replaced_job_by_job,
    held_jobs_are_replaced_together,
    only_kept_specs_become_active_or_run,
    reconciles_read_newest_first,
    pauses_are_replaced_and_end,
    sizes_of_pools_are_a_fact_each_time,
}

fn a_spec_is_kept_once(journal: &dyn Storage) {
    let first = spec("a", 1);
    done(journal, vec![Change::PutSpec(first.clone())]);
    let again = SpecRecord {
        yaml: "another text".into(),
        first_seen: at(99),
        ..first.clone()
    };
    done(journal, vec![Change::PutSpec(again)]);
    assert_eq!(journal.spec(&first.hash).expect("reads"), Some(first.clone()));
    assert_eq!(facts(journal), [Fact::Spec(first)]);
}

fn the_active_set_is_replaced_job_by_job(journal: &dyn Storage) {
    done(journal, vec![put_spec("b", 1), put_spec("a", 1), put_spec("a", 2)]);
    done(
        journal,
        vec![Change::SetActive(active("b", 1)), Change::SetActive(active("a", 1))],
    );
    assert_eq!(journal.active().expect("reads"), [active("a", 1), active("b", 1)]);
    done(journal, vec![Change::SetActive(active("a", 2))]);
    assert_eq!(journal.active().expect("reads"), [active("a", 2), active("b", 1)]);
    done(
        journal,
        vec![Change::RemoveActive(job("b")), Change::RemoveActive(job("never-there"))],
    );
    assert_eq!(journal.active().expect("reads"), [active("a", 2)]);
    let removed = journal.removed().expect("reads");
    let was: Vec<_> = removed.iter().map(|removed| removed.active.clone()).collect();
    assert_eq!(was, [active("b", 1)], "what was never active is not removed");
    done(journal, vec![Change::SetActive(active("b", 1))]);
    assert_eq!(journal.removed().expect("reads"), []);
}

fn held_jobs_are_replaced_together(journal: &dyn Storage) {
    assert_eq!(journal.held().expect("reads"), []);
    done(journal, vec![Change::SetHeld(vec![job("b"), job("a")])]);
    assert_eq!(journal.held().expect("reads"), [job("a"), job("b")]);
    done(journal, vec![Change::SetHeld(vec![job("b"), job("c")])]);
    assert_eq!(journal.held().expect("reads"), [job("b"), job("c")]);
    done(journal, vec![Change::SetHeld(Vec::new())]);
    assert_eq!(journal.held().expect("reads"), []);
}

fn only_kept_specs_become_active_or_run(journal: &dyn Storage) {
    missing(journal, vec![Change::SetActive(active("a", 1))]);
    missing(journal, vec![create(queued(1, "a"))]);
    assert_eq!(journal.active().expect("reads"), []);
}

fn reconciles_read_newest_first(journal: &dyn Storage) {
    // The clock may step back; the order is that in which they were recorded.
    let (first, second) = (reconcile(20), reconcile(10));
    done(journal, vec![Change::Reconcile(first.clone())]);
    done(journal, vec![Change::Reconcile(second.clone())]);
    assert_eq!(journal.reconciles(9).expect("reads"), [second.clone(), first.clone()]);
    assert_eq!(journal.reconciles(1).expect("reads"), std::slice::from_ref(&second));
    assert_eq!(facts(journal), [Fact::Reconcile(first), Fact::Reconcile(second)]);
}

fn pauses_are_replaced_and_end(journal: &dyn Storage) {
    done(
        journal,
        vec![
            Change::Pause(pause(Some("b"), 10)),
            Change::Pause(pause(None, 11)),
            Change::Pause(pause(Some("a"), 12)),
            Change::Pause(pause(None, 13)),
        ],
    );
    assert_eq!(
        journal.pauses().expect("reads"),
        [pause(None, 13), pause(Some("a"), 12), pause(Some("b"), 10)]
    );
    done(
        journal,
        vec![
            Change::Resume(None),
            Change::Resume(Some(job("b"))),
            Change::Resume(Some(job("c"))),
        ],
    );
    assert_eq!(journal.pauses().expect("reads"), [pause(Some("a"), 12)]);
}

fn sizes_of_pools_are_a_fact_each_time(journal: &dyn Storage) {
    let pools = PoolsRecord {
        since: at(1),
        sizes: [("db".to_owned(), 3)].into(),
    };
    done(
        journal,
        vec![Change::Pools(pools.clone()), Change::Pools(pools.clone())],
    );
    assert_eq!(facts(journal), [Fact::Pools(pools.clone()), Fact::Pools(pools)]);
}
