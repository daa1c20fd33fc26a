//! Whatever is committed, both backends answer alike.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::{Change, Elsewhere, Memory, PruneRule, RunFilter, Sqlite, Storage},
    fixtures::*,
};
use crate::core::{
    keep::Keep,
    pattern::Pattern,
    record::{AttemptRecord, RunRecord, SlotRecord, SupersedeRecord, TaskRecord},
    revision::RevisionPick,
    state::{RunStatus, SlotOutcome, SlotReason, TaskState, Trigger},
    units::HumanDuration,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_backends_answer_alike(commits in vec(vec(change(), 1..4), 1..60), filter in filter(), rule in rule()) {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = Memory::with_clock(stopped_clock());
        let sqlite = Sqlite::open_with_clock(&folder.path().join("journal.db"), stopped_clock()).expect("opens");
        // What everything else refers to, so that more than refusals happen.
        let begin = vec![put_spec("a", 1), put_spec("b", 1), create(queued(1, "a"))];
        // Handed in without waiting, so that SQLite commits them in batches.
        let answers: Vec<_> = std::iter::once(begin)
            .chain(commits)
            .map(|changes| (memory.commit(changes.clone()), sqlite.commit(changes)))
            .collect();
        for (of_memory, of_sqlite) in answers {
            let texts = [of_memory, of_sqlite].map(|ack| ack.wait_blocking().map_err(|error| error.to_string()));
            prop_assert_eq!(&texts[0], &texts[1]);
        }
        prop_assert_eq!(everything(&memory), everything(&sqlite));
        let runs = [&memory as &dyn Storage, &sqlite].map(|journal| journal.runs(&filter).expect("reads"));
        prop_assert_eq!(&runs[0], &runs[1]);
        let found = [&memory as &dyn Storage, &sqlite].map(|journal| journal.prunable(&rule).expect("looks"));
        prop_assert_eq!(&found[0], &found[1]);
        for (journal, found) in [&memory as &dyn Storage, &sqlite].into_iter().zip(found) {
            found.steps().for_each(|step| done(journal, vec![step]));
        }
        prop_assert_eq!(everything(&memory), everything(&sqlite));
        prop_assert_eq!(memory.pruned_to().expect("reads"), sqlite.pruned_to().expect("reads"));
    }
}

fn rule() -> impl Strategy<Value = PruneRule> {
    let elsewhere = prop_oneof![Just(Elsewhere::Nowhere), (0_i64..40).prop_map(Elsewhere::History)];
    (elsewhere, proptest::option::of(1_u32..4), 0_i64..8).prop_map(|(elsewhere, count, seconds)| PruneRule {
        now: at(7),
        elsewhere,
        keep: Keep {
            age: Some(HumanDuration::from_millis(seconds.unsigned_abs() * 1_000)),
            count,
        },
    })
}

/// A change about few names and instants, so that changes meet.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    let name = || select(vec!["a", "b"]);
    let (second, n, attempt) = (|| 0_i64..6, || 1_u64..4, || 1_u32..3);
    prop_oneof![
        1 => (name(), 1_u64..3).prop_map(|(name, version)| put_spec(name, version)),
        1 => (name(), 1_u64..3).prop_map(|(name, version)| Change::SetActive(active(name, version))),
        1 => name().prop_map(|name| Change::RemoveActive(job(name))),
        1 => second().prop_map(|second| Change::Reconcile(reconcile(second))),
        4 => (name(), second(), outcome()).prop_map(|(name, second, outcome)| {
            Change::PutSlot(SlotRecord { outcome, reason: outcome.map(|_| SlotReason::Clock), ..claim(name, second) })
        }),
        2 => (name(), second(), select(SlotOutcome::ALL)).prop_map(|(name, second, outcome)| decide(name, second, outcome)),
        1 => (name(), second(), second()).prop_map(|(name, from, to)| Change::PutStretch(stretch(name, from, from + to))),
        1 => (name(), second()).prop_map(|(name, second)| Change::SetWatermark { job: job(name), at: at(second) }),
        1 => (name(), second()).prop_map(|(name, second)| Change::Unclaim { job: job(name), at: at(second) }),
        1 => (name(), second()).prop_map(|(name, second)| {
            Change::Supersede(SupersedeRecord { job: job(name), after: at(second) })
        }),
        3 => (n(), name(), second(), select(Trigger::ALL), proptest::option::of(n())).prop_map(
            |(n, name, second, trigger, repeats)| {
                let retry_of = repeats.map(run_id);
                create(RunRecord { created_at: at(second), trigger, retry_of, ..queued(n, name) })
            }
        ),
        1 => (n(), second()).prop_map(|(n, second)| Change::StartRun { run: run_id(n), at: at(second) }),
        1 => (n(), any::<Option<String>>()).prop_map(|(n, reason)| Change::NoteRun { run: run_id(n), reason }),
        1 => (n(), finished(), second()).prop_map(|(n, status, second)| end(n, status, second)),
        3 => (n(), select(TaskState::ALL), any::<(String, i32, bool)>()).prop_map(|(n, state, (key, value, reused))| {
            let outputs = [(key, value.into())].into();
            let reused_from = reused.then(|| run_id(n + 1));
            Change::SetTask(TaskRecord { state, outputs, reused_from, ..pending(n, "t") })
        }),
        3 => (n(), attempt()).prop_map(|(n, attempt)| Change::LaunchAttempt(launched(n, "t", attempt))),
        2 => (n(), attempt()).prop_map(|(n, attempt)| start_attempt(n, "t", attempt)),
        2 => (n(), attempt(), any::<u32>()).prop_map(|(n, attempt, bytes)| {
            Change::EndAttempt(AttemptRecord { bytes_out: Some(bytes.into()), ..ended(n, "t", attempt) })
        }),
        1 => (proptest::option::of(name()), second()).prop_map(|(name, second)| Change::Pause(pause(name, second))),
        1 => proptest::option::of(name()).prop_map(|name| Change::Resume(name.map(job))),
    ]
}

fn outcome() -> impl Strategy<Value = Option<SlotOutcome>> {
    proptest::option::of(select(SlotOutcome::ALL))
}

fn finished() -> impl Strategy<Value = RunStatus> {
    select(RunStatus::ALL).prop_filter("a run ends finished", |status| status.is_finished())
}

fn filter() -> impl Strategy<Value = RunFilter> {
    use proptest::option::of;
    let parts = (
        of(select(vec!["a", "b"])),
        vec(select(RunStatus::ALL), 0..3),
        vec(select(Trigger::ALL), 0..2),
        of(0_i64..6),
        of(0_i64..6),
        of(1_u64..4),
        of(0_u32..4),
        [patterns(), patterns()],
        revisions(),
    );
    parts.prop_map(
        |(name, statuses, triggers, since, until, retry_of, limit, [jobs, tasks], revisions)| RunFilter {
            job: name.map(job),
            jobs,
            tasks,
            statuses,
            triggers,
            revisions,
            since: since.map(at),
            until: until.map(at),
            retry_of: retry_of.map(run_id),
            limit,
        },
    )
}

fn revisions() -> impl Strategy<Value = Vec<RevisionPick>> {
    let pick = select(vec!["last:1", "last:2", "abcd", "0123"]);
    vec(pick.prop_map(|text| RevisionPick::new(text).expect("a version")), 0..2)
}

fn patterns() -> impl Strategy<Value = Vec<Pattern>> {
    let pattern = select(vec!["a", "b*", "?", "*", "a*", "zz"]);
    vec(pattern.prop_map(|text| Pattern::new(text).expect("a pattern")), 0..2)
}
