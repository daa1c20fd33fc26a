//! Small records to test with, and short ways to commit and to read.

use chrono::DateTime;

use super::super::{Change, Clock, NumberedFact, RunFilter, Storage, StorageError};
use crate::{
    core::{
        Timestamp,
        ending::Ending,
        id::{JobId, RunId, SpecHash, TaskId},
        record::{
            ActiveRecord, Actor, AttemptRecord, ChangeKind, FileChange, PauseRecord, ReconcileRecord, ReconcileResult,
            RunRecord, SlotRecord, SpecRecord, StretchRecord, TaskRecord,
        },
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    events::Fact,
};

pub(crate) fn at(second: i64) -> Timestamp {
    DateTime::from_timestamp(1_767_225_600 + second, 0).expect("a valid instant")
}

pub(crate) fn stopped_clock() -> Clock {
    Box::new(|| at(1_000))
}

pub(crate) fn job(name: &str) -> JobId {
    JobId::new(name).expect("a good name")
}

pub(crate) fn task_id(name: &str) -> TaskId {
    TaskId::new(name).expect("a good name")
}

pub(crate) fn run_id(n: u64) -> RunId {
    RunId::from_parts(at(0), n.into())
}

pub(crate) fn spec(name: &str, version: u64) -> SpecRecord {
    let canonical = format!(r#"{{"name":"{name}","version":{version}}}"#);
    SpecRecord {
        hash: SpecHash::of(canonical.as_bytes()),
        job: job(name),
        canonical,
        yaml: format!("# {name}\nversion: {version}\n"),
        first_seen: at(1),
    }
}

pub(crate) fn put_spec(name: &str, version: u64) -> Change {
    Change::PutSpec(spec(name, version))
}

pub(crate) fn active(name: &str, version: u64) -> ActiveRecord {
    ActiveRecord {
        job: job(name),
        file: format!("{name}.yaml"),
        spec_hash: spec(name, version).hash,
        generation: version,
        applied_at: at(2),
        anchor: at(3),
        scheduled_since: at(4),
    }
}

pub(crate) fn reconcile(second: i64) -> ReconcileRecord {
    ReconcileRecord {
        at: at(second),
        actor: Actor::Command,
        by: Some("ada".into()),
        plan_id: format!("plan-{second}"),
        result: ReconcileResult::Partly,
        actions: vec!["add a".into(), "remove \"b\"".into()],
        files: vec![FileChange {
            file: "a.yaml".into(),
            job: Some(job("a")),
            change: ChangeKind::Add,
            old_hash: None,
            new_hash: Some(SpecHash::of(b"a")),
        }],
        revision: Some("abc-dirty".into()),
        old_set: SpecHash::of(b"old"),
        new_set: SpecHash::of(b"new"),
        duration_ms: 7,
    }
}

pub(crate) fn claim(name: &str, second: i64) -> SlotRecord {
    SlotRecord {
        job: job(name),
        at: at(second),
        outcome: None,
        reason: None,
        detail: None,
        decided_at: None,
        run: Some(run_id(1)),
        spec_hash: spec(name, 1).hash,
    }
}

pub(crate) fn decide(name: &str, second: i64, outcome: SlotOutcome) -> Change {
    Change::DecideSlot {
        job: job(name),
        at: at(second),
        outcome,
        reason: Some(SlotReason::Overlap),
        detail: Some("run 1 is going".into()),
        decided_at: at(second + 1),
    }
}

pub(crate) fn stretch(name: &str, from: i64, to: i64) -> StretchRecord {
    StretchRecord {
        job: job(name),
        from: at(from),
        to: at(to),
        slots: 3,
        outcome: SlotOutcome::Missed,
        reason: SlotReason::Down,
        run: None,
        decided_at: at(to + 1),
        spec_hash: spec(name, 1).hash,
    }
}

/// A run of the first version of a job.
pub(crate) fn queued(n: u64, name: &str) -> RunRecord {
    RunRecord::queued(run_id(n), job(name), spec(name, 1).hash, Trigger::Schedule, at(10))
}

/// [`queued`] at another instant than the beginning.
pub(crate) fn created(n: u64, job: &str, second: i64) -> RunRecord {
    RunRecord {
        created_at: at(second),
        ..queued(n, job)
    }
}

pub(crate) fn pending(n: u64, name: &str) -> TaskRecord {
    TaskRecord::pending(run_id(n), task_id(name))
}

/// Creates a run with one task, `t`.
pub(crate) fn create(run: RunRecord) -> Change {
    let task = TaskRecord {
        run: run.id,
        ..pending(0, "t")
    };
    Change::CreateRun { run, tasks: vec![task] }
}

pub(crate) fn end(n: u64, status: RunStatus, second: i64) -> Change {
    Change::EndRun {
        run: run_id(n),
        status,
        at: at(second),
        reason: Some("it is over".into()),
    }
}

pub(crate) fn launched(n: u64, task: &str, attempt: u32) -> AttemptRecord {
    AttemptRecord {
        queued_at: at(11),
        ..AttemptRecord::granted(run_id(n), task_id(task), attempt, at(12))
    }
}

pub(crate) fn start_attempt(n: u64, task: &str, attempt: u32) -> Change {
    Change::StartAttempt {
        run: run_id(n),
        task: task_id(task),
        attempt,
        at: at(13),
        pid: Some(4711),
        pid_start: Some(1 << 40),
    }
}

pub(crate) fn ended(n: u64, task: &str, attempt: u32) -> AttemptRecord {
    AttemptRecord {
        started_at: Some(at(13)),
        ended_at: Some(at(14)),
        ending: Some(Ending::Exited(0)),
        ..launched(n, task, attempt)
    }
}

pub(crate) fn pause(name: Option<&str>, second: i64) -> PauseRecord {
    PauseRecord {
        job: name.map(job),
        since: at(second),
        by: "me".into(),
        reason: Some("a holiday".into()),
    }
}

pub(crate) fn commit(journal: &dyn Storage, changes: Vec<Change>) -> Result<(), StorageError> {
    journal.commit(changes).wait_blocking()
}

pub(crate) fn done(journal: &dyn Storage, changes: Vec<Change>) {
    commit(journal, changes).expect("the changes are good");
}

pub(crate) fn missing(journal: &dyn Storage, changes: Vec<Change>) {
    let error = commit(journal, changes.clone()).expect_err("refused");
    assert!(matches!(error, StorageError::Missing { .. }), "{error} for {changes:?}");
}

pub(crate) fn facts(journal: &dyn Storage) -> Vec<Fact> {
    journal
        .facts(0, u32::MAX)
        .expect("reads")
        .into_iter()
        .map(|NumberedFact { fact, .. }| fact)
        .collect()
}

pub(crate) fn slots(journal: &dyn Storage, name: &str) -> Vec<SlotRecord> {
    journal.slots(&job(name), at(-1_000_000), at(1_000_000)).expect("reads")
}

/// The answer to every read but that of the journal's id, about the names that these fixtures use.
pub(crate) fn everything(journal: &dyn Storage) -> Vec<String> {
    fn answer(answer: Result<impl std::fmt::Debug, StorageError>) -> String {
        format!("{:?}", answer.expect("reads"))
    }
    let (from, to) = (at(-1_000), at(1_000));
    let mut answers = vec![
        answer(journal.active()),
        answer(journal.pauses()),
        answer(journal.watermarks()),
        answer(journal.runs(&RunFilter::default())),
        answer(journal.unfinished()),
        answer(journal.claimed()),
        answer(journal.beyond_watermark()),
        answer(journal.reconciles(u32::MAX)),
        answer(journal.facts(0, u32::MAX)),
    ];
    for name in ["a", "b"] {
        answers.push(answer(journal.slots(&job(name), from, to)));
        answers.push(answer(journal.stretches(&job(name), from, to)));
        answers.push(answer(journal.latest(&job(name))));
        answers.extend((1..=3).map(|version| answer(journal.spec(&spec(name, version).hash))));
    }
    answers.extend((1..=4).map(|n| answer(journal.run(run_id(n)))));
    answers
}
