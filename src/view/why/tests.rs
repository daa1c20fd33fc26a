//! What is answered, sentence by sentence, from a ledger of a few rows.

use std::sync::Arc;

use serde_json::Map;

use super::*;
use crate::{
    core::{
        id::RunId,
        job::Job,
        record::{ActiveRecord, SpecRecord, TaskRecord},
        spec::JobSpec,
        state::Trigger,
    },
    storage::{Change, Memory},
};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// A job that has been active since midnight, and its journal.
struct Ledger {
    storage: Memory,
    entry: ActiveJob,
}

impl Ledger {
    fn of(yaml: &str) -> Self {
        let spec: JobSpec = serde_yaml::from_str(yaml).expect("the test's own YAML");
        let job = Job::new(spec, &JobId::new("etl").expect("a slug"), Tz::UTC).expect("a valid job");
        let since = at("2026-03-01T00:00:00Z");
        let record = ActiveRecord {
            job: job.id.clone(),
            file: "etl.yaml".to_owned(),
            spec_hash: job.hash.clone(),
            generation: 1,
            applied_at: since,
            anchor: since,
            scheduled_since: since,
        };
        let spec = SpecRecord {
            hash: job.hash.clone(),
            job: job.id.clone(),
            canonical: job.spec.canonical(),
            yaml: yaml.to_owned(),
            first_seen: since,
        };
        let ledger = Self {
            storage: Memory::default(),
            entry: ActiveJob {
                job: Arc::new(job),
                record,
            },
        };
        ledger.commit(vec![Change::PutSpec(spec)]);
        ledger
    }

    fn commit(&self, changes: Vec<Change>) {
        self.storage
            .commit(changes)
            .wait_blocking()
            .expect("a commit of the test");
    }

    fn slot(&self, instant: &str, outcome: SlotOutcome, reason: Option<SlotReason>, detail: Option<&str>) {
        self.commit(vec![Change::PutSlot(SlotRecord {
            job: self.entry.job.id.clone(),
            at: at(instant),
            outcome: Some(outcome),
            reason,
            detail: detail.map(str::to_owned),
            decided_at: Some(at(instant)),
            run: None,
            spec_hash: self.entry.job.hash.clone(),
        })]);
    }

    fn ask(&self, time: &str, pauses: &[PauseRecord]) -> String {
        self.answer(Some(at(time)), pauses)
    }

    fn answer(&self, time: Option<Timestamp>, pauses: &[PauseRecord]) -> String {
        let now = at("2026-03-01T12:00:00Z");
        let job = &self.entry.job.id;
        why(&self.storage, job, Some(&self.entry), pauses, time, now)
            .expect("a readable journal")
            .answer
    }
}

const HOURLY: &str = "schedule: '0 * * * *'\ntasks: {a: {command: [a]}}";

#[test]
fn slots_that_did_not_run_say_why() {
    let ledger = Ledger::of(HOURLY);
    let overlap = Some(SlotReason::Overlap);
    ledger.slot(
        "2026-03-01T01:00:00Z",
        SlotOutcome::Skipped,
        overlap,
        Some("run 01ABC is in its way"),
    );
    ledger.slot(
        "2026-03-01T02:00:00Z",
        SlotOutcome::Missed,
        Some(SlotReason::Down),
        None,
    );
    assert_eq!(
        ledger.ask("2026-03-01T01:00:00Z", &[]),
        "etl was skipped at 2026-03-01T01:00:00Z, because a run of it was still going: run 01ABC is in its way."
    );
    assert_eq!(
        ledger.ask("2026-03-01T02:00:00Z", &[]),
        "etl missed its slot at 2026-03-01T02:00:00Z, because Petit was not running."
    );
}

#[test]
fn a_slot_that_ran_names_its_run_and_how_it_went() {
    let ledger = Ledger::of(HOURLY);
    let slot = at("2026-03-01T01:00:00Z");
    let run = RunRecord {
        id: RunId::from_parts(slot, 1),
        job: ledger.entry.job.id.clone(),
        status: RunStatus::Queued,
        trigger: Trigger::Schedule,
        slot: Some(slot),
        scheduled_at: slot,
        spec_hash: ledger.entry.job.hash.clone(),
        revision: None,
        created_at: slot,
        started_at: None,
        ended_at: None,
        params: Map::new(),
        consumed: Vec::new(),
        retry_of: None,
        wait_until: None,
        reason: None,
    };
    let started = slot + TimeDelta::milliseconds(12);
    ledger.commit(vec![
        Change::CreateRun {
            tasks: TaskRecord::of_new_run(&ledger.entry.job, run.id),
            run: run.clone(),
        },
        Change::PutSlot(SlotRecord {
            job: run.job.clone(),
            at: slot,
            outcome: None,
            reason: None,
            detail: None,
            decided_at: None,
            run: Some(run.id),
            spec_hash: run.spec_hash.clone(),
        }),
    ]);
    let waits = ledger.ask("2026-03-01T01:00:00Z", &[]);
    assert!(waits.contains("has not started yet"), "{waits}");
    ledger.commit(vec![
        Change::StartRun {
            run: run.id,
            at: started,
        },
        Change::DecideSlot {
            job: run.job.clone(),
            at: slot,
            outcome: SlotOutcome::Ran,
            reason: None,
            detail: None,
            decided_at: started,
        },
        Change::EndRun {
            run: run.id,
            status: RunStatus::Failed,
            at: started + TimeDelta::seconds(75),
            reason: Some("task `a`: exit code 3".to_owned()),
        },
    ]);
    assert_eq!(
        ledger.ask("2026-03-01T01:00:00Z", &[]),
        format!(
            "etl ran at 2026-03-01T01:00:00Z: run {} started 12 ms late and failed after 1m15s (task `a`: exit code 3).",
            run.id
        )
    );
}

#[test]
fn a_stretch_answers_for_each_of_its_slots() {
    let ledger = Ledger::of(HOURLY);
    ledger.commit(vec![Change::PutStretch(StretchRecord {
        job: ledger.entry.job.id.clone(),
        from: at("2026-03-01T03:00:00Z"),
        to: at("2026-03-01T06:00:00Z"),
        slots: 4,
        outcome: SlotOutcome::Skipped,
        reason: SlotReason::Paused,
        run: None,
        decided_at: at("2026-03-01T06:30:00Z"),
        spec_hash: ledger.entry.job.hash.clone(),
    })]);
    assert_eq!(
        ledger.ask("2026-03-01T04:00:00Z", &[]),
        "The slot of etl at 2026-03-01T04:00:00Z was skipped, because it was paused; one of 4 such slots from \
         2026-03-01T03:00:00Z to 2026-03-01T06:00:00Z."
    );
    // Inside the stretch, yet no slot.
    assert!(ledger.ask("2026-03-01T04:30:00Z", &[]).contains("is no slot of etl"));
}

#[test]
fn other_times_are_answered_with_what_is_around_them() {
    let ledger = Ledger::of(HOURLY);
    assert_eq!(
        ledger.ask("2026-03-01T11:17:00Z", &[]),
        "2026-03-01T11:17:00Z is no slot of etl: the one before it is 2026-03-01T11:00:00Z, the one after it \
         2026-03-01T12:00:00Z."
    );
    assert_eq!(
        ledger.ask("2026-03-01T14:00:00Z", &[]),
        "etl will fire at 2026-03-01T14:00:00Z, in 2h."
    );
    let pause = PauseRecord {
        job: None,
        since: at("2026-03-01T11:30:00Z"),
        by: "ada".to_owned(),
        reason: Some("moving disks".to_owned()),
    };
    let paused = ledger.ask("2026-03-01T14:00:00Z", std::slice::from_ref(&pause));
    assert!(
        paused.contains("ada paused it") && paused.contains("(moving disks)"),
        "{paused}"
    );
    assert_eq!(
        ledger.ask("2026-03-01T12:00:00Z", std::slice::from_ref(&pause)),
        "etl was skipped at 2026-03-01T12:00:00Z, because it is paused: ada paused it at 2026-03-01T11:30:00Z \
         (moving disks)."
    );
    let undecided = ledger.ask("2026-03-01T11:00:00Z", &[pause]);
    assert!(undecided.contains("has no row"), "{undecided}");
    let disabled = Ledger::of(&format!("enabled: false\n{HOURLY}")).ask("2026-03-01T11:00:00Z", &[]);
    assert!(
        disabled.contains("because the job is disabled in etl.yaml"),
        "{disabled}"
    );
    let before = ledger.ask("2026-02-28T23:00:00Z", &[]);
    assert!(before.contains("counts from 2026-03-01T00:00:00Z"), "{before}");
}

#[test]
fn without_a_time_the_latest_slot_is_meant_or_the_first_to_come() {
    let ledger = Ledger::of(HOURLY);
    assert_eq!(
        ledger.answer(None, &[]),
        "The journal has no slot of etl yet. etl will fire at 2026-03-01T13:00:00Z, in 1h."
    );
    ledger.slot(
        "2026-03-01T01:00:00Z",
        SlotOutcome::Missed,
        Some(SlotReason::Down),
        None,
    );
    assert!(
        ledger
            .answer(None, &[])
            .starts_with("etl missed its slot at 2026-03-01T01:00:00Z")
    );
    let by_hand = Ledger::of("tasks: {a: {command: [a]}}");
    assert!(by_hand.answer(None, &[]).starts_with("etl has no schedule"));
}

#[test]
fn a_job_without_a_schedule_says_what_makes_it_run() {
    let by_hand = Ledger::of("tasks: {a: {command: [a]}}");
    assert!(by_hand.ask("2026-03-01T04:00:00Z", &[]).contains("`petit trigger etl`"));
    let after = Ledger::of("depends_on: [{job: ingest}]\ntasks: {a: {command: [a]}}");
    assert!(
        after
            .ask("2026-03-01T04:00:00Z", &[])
            .ends_with("have newly succeeded: ingest.")
    );
}
