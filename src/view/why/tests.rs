//! What is answered, sentence by sentence, from a ledger of a few rows. The snapshots are there to be read: a person who
//! has never seen Petit should understand each line.

use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::{
    core::{
        id::RunId,
        job::Job,
        record::{ActiveRecord, Actor, ReconcileRecord, ReconcileResult, SpecRecord, TaskRecord},
        spec::JobSpec,
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    reconcile::{Health, Standing, SyncState},
    storage::{Change, Memory},
};

const NOW: &str = "2026-03-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// An instant of the first of March.
fn hour(time: &str) -> Timestamp {
    at(&format!("2026-03-01T{time}Z"))
}

/// A job that has been active since midnight, and its journal.
struct Ledger {
    storage: Memory,
    entry: ActiveJob,
    status: Option<JobStatus>,
    pause: Option<PauseRecord>,
    is_active: bool,
}

impl Ledger {
    fn of(yaml: &str) -> Self {
        let spec: JobSpec = serde_yaml::from_str(yaml).expect("the test's own YAML");
        let job = Job::new(spec, &JobId::new("etl").expect("a slug"), Tz::UTC).expect("a valid job");
        let since = hour("00:00:00");
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
            status: None,
            pause: None,
            is_active: true,
        };
        ledger.commit(vec![Change::PutSpec(spec)]);
        ledger
    }

    fn hourly() -> Self {
        Self::of("schedule: '0 * * * *'\ntasks: {a: {command: [a]}}")
    }

    fn commit(&self, changes: Vec<Change>) {
        self.storage
            .commit(changes)
            .wait_blocking()
            .expect("a commit of the test");
    }

    fn row(&self, at: Timestamp, outcome: Option<SlotOutcome>, reason: Option<SlotReason>) -> SlotRecord {
        SlotRecord {
            job: self.entry.job.id.clone(),
            at,
            outcome,
            reason,
            detail: None,
            decided_at: outcome.map(|_| at),
            run: None,
            spec_hash: self.entry.job.hash.clone(),
        }
    }

    fn put(&self, time: &str, outcome: SlotOutcome, reason: SlotReason, detail: Option<&str>) {
        self.commit(vec![Change::PutSlot(SlotRecord {
            detail: detail.map(str::to_owned),
            ..self.row(hour(time), Some(outcome), Some(reason))
        })]);
    }

    fn stretch(&self, from: &str, to: &str, slots: u64, outcome: SlotOutcome, reason: SlotReason, run: Option<RunId>) {
        self.commit(vec![Change::PutStretch(StretchRecord {
            job: self.entry.job.id.clone(),
            from: hour(from),
            to: hour(to),
            slots,
            outcome,
            reason,
            run,
            decided_at: hour(to),
            spec_hash: self.entry.job.hash.clone(),
        })]);
    }

    /// A queued run.
    fn create(&self, number: u128, trigger: Trigger, created: &str, change: impl FnOnce(&mut RunRecord)) -> RunId {
        let created_at = hour(created);
        let mut run = RunRecord {
            slot: (trigger == Trigger::Schedule).then_some(created_at),
            ..RunRecord::queued(
                RunId::from_parts(created_at, number),
                self.entry.job.id.clone(),
                self.entry.job.hash.clone(),
                trigger,
                created_at,
            )
        };
        change(&mut run);
        let id = run.id;
        let slot = run.slot.map(|slot| SlotRecord {
            run: Some(id),
            ..self.row(slot, None, None)
        });
        let create = Change::CreateRun {
            tasks: TaskRecord::of_new_run(&self.entry.job, id),
            run,
        };
        self.commit(std::iter::once(create).chain(slot.map(Change::PutSlot)).collect());
        id
    }

    fn start(&self, run: RunId, slot: Option<&str>, late: TimeDelta) {
        let record = self.storage.run(run).expect("a journal").expect("a run").run;
        let started = record.created_at + late;
        let ran = slot.map(|slot| Change::DecideSlot {
            job: self.entry.job.id.clone(),
            at: hour(slot),
            outcome: SlotOutcome::Ran,
            reason: None,
            detail: None,
            decided_at: started,
        });
        self.commit(
            std::iter::once(Change::StartRun { run, at: started })
                .chain(ran)
                .collect(),
        );
    }

    fn end(&self, run: RunId, status: RunStatus, took: TimeDelta, reason: Option<&str>) {
        let record = self.storage.run(run).expect("a journal").expect("a run").run;
        self.commit(vec![Change::EndRun {
            run,
            status,
            at: record.started_at.unwrap_or(record.created_at) + took,
            reason: reason.map(str::to_owned),
        }]);
    }

    fn pause(mut self, job: Option<&str>, since: &str, reason: Option<&str>) -> Self {
        self.pause = Some(PauseRecord {
            job: job.map(|job| JobId::new(job).expect("a slug")),
            since: hour(since),
            by: "ada".to_owned(),
            reason: reason.map(str::to_owned),
        });
        self
    }

    fn standing(mut self, sync: SyncState, message: &str) -> Self {
        self.status = Some(JobStatus {
            job: self.entry.job.id.clone(),
            file: "etl.yaml".to_owned(),
            standing: Standing {
                sync,
                health: Health::Degraded,
                message: Some(message.to_owned()),
                hint: None,
                line: None,
                column: None,
                since: hour("00:00:00"),
            },
            spec_hash: None,
            generation: None,
        });
        self
    }

    fn why(&self, time: Option<&str>) -> Why {
        let question = Question {
            storage: &self.storage,
            job: &self.entry.job.id,
            entry: self.is_active.then_some(&self.entry),
            status: self.status.as_ref(),
            pause: self.pause.as_ref(),
            now: at(NOW),
        };
        why(&question, time.map(|time| time.parse().expect("a time"))).expect("a readable journal")
    }

    /// Questions and answers, as somebody would see them one after another.
    fn ask(&self, times: &[&str]) -> String {
        let asked = times.iter().map(|time| {
            let time = (!time.is_empty()).then_some(*time);
            let answer = self.why(time).answer;
            format!("$ petit why etl {}\n{answer}\n", time.unwrap_or_default())
        });
        asked.collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn each_outcome_for_each_reason_is_a_sentence() {
    let ledger = Ledger::hourly();
    let mut said = String::new();
    for &outcome in SlotOutcome::ALL {
        for reason in std::iter::once(None).chain(SlotReason::ALL.iter().copied().map(Some)) {
            let slot = ledger.row(hour("01:00:00"), Some(outcome), reason);
            let sentence = sentence::of_slot(&slot, None, Tz::UTC);
            assert!(sentence.ends_with('.') && sentence.contains("01:00:00"), "{sentence}");
            assert!(sentence.matches("because").count() <= 1, "{sentence}");
            // What ran has no reason, and each reason reads alike whatever it led to.
            if outcome != SlotOutcome::Ran && (outcome == SlotOutcome::Skipped || reason == Some(SlotReason::Down)) {
                said += &format!("{sentence}\n");
            }
        }
    }
    insta::assert_snapshot!(said);
}

#[test]
fn slots_that_did_not_run_say_why() {
    use SlotOutcome::{Merged, Missed, Refused, Skipped};
    let ledger = Ledger::hourly();
    let details = [
        (Skipped, SlotReason::Overlap, "run 01ABC of the job was still going"),
        (
            Merged,
            SlotReason::Overlap,
            "run 01ABC of a newer slot took its place while it waited",
        ),
        (
            Skipped,
            SlotReason::Dependency,
            "the latest run of job `ingest`, which it depends on, failed (01ABC)",
        ),
        (Skipped, SlotReason::Paused, "the job was paused by ada: moving disks"),
        (Skipped, SlotReason::Disabled, "the job was disabled"),
        (Skipped, SlotReason::Removed, "the job was removed"),
        (Skipped, SlotReason::Cancelled, "cancelled by ada"),
        (
            Missed,
            SlotReason::Down,
            "Petit stopped after claiming the slot and before its run started",
        ),
        (Refused, SlotReason::Invalid, "params.day: there is no variable `dya`"),
    ];
    for (i, (outcome, reason, detail)) in details.into_iter().enumerate() {
        ledger.put(&format!("{:02}:00:00", i + 1), outcome, reason, Some(detail));
    }
    ledger.put("10:00:00", Missed, SlotReason::Window, None);
    ledger.put("11:00:00", Missed, SlotReason::Limit, None);
    let times = (1..=11).map(|hour| format!("{hour:02}:00")).collect::<Vec<_>>();
    insta::assert_snapshot!(ledger.ask(&times.iter().map(String::as_str).collect::<Vec<_>>()));
}

#[test]
fn a_slot_that_ran_names_its_run_and_how_it_went() {
    let ledger = Ledger::hourly();
    let run = ledger.create(1, Trigger::Schedule, "01:00:00", |_| {});
    let queued = ledger.ask(&["01:00"]);
    ledger.start(run, Some("01:00:00"), TimeDelta::milliseconds(12));
    let running = ledger.ask(&["01:00"]);
    let failed = Some("task `a`: exit code 3");
    ledger.end(run, RunStatus::Failed, TimeDelta::seconds(75), failed);
    let waits = ledger.create(2, Trigger::Schedule, "11:00:00", |run| {
        run.reason = Some("job `ingest`, which it depends on, has not run yet".to_owned());
        run.wait_until = Some(hour("12:30:00"));
    });
    ledger.stretch(
        "08:00:00",
        "10:00:00",
        3,
        SlotOutcome::Merged,
        SlotReason::Down,
        Some(waits),
    );
    ledger.stretch("07:00:00", "07:00:00", 1, SlotOutcome::Missed, SlotReason::Window, None);
    let ended = ledger.ask(&["01:00", "07:00", "09:00", "11:00"]);
    insta::assert_snapshot!([queued, running, ended].join("\n"));
    assert_eq!(ledger.why(Some("01:00")).slot.and_then(|slot| slot.run), Some(run));
    assert_eq!(ledger.why(Some("09:00")).stretch.map(|stretch| stretch.slots), Some(3));
}

#[test]
fn a_stretch_answers_for_its_slots_alone() {
    let ledger = Ledger::hourly();
    ledger.stretch(
        "03:00:00",
        "06:00:00",
        4,
        SlotOutcome::Skipped,
        SlotReason::Paused,
        None,
    );
    insta::assert_snapshot!(ledger.ask(&["04:00", "04:30"]));
}

/// The rows were written under another schedule than the one that is active.
#[test]
fn a_stretch_is_judged_by_the_schedule_of_its_time() {
    let old = Ledger::of("schedule: {every: 25m}\ntasks: {a: {command: [a]}}");
    old.stretch("03:25:00", "05:05:00", 5, SlotOutcome::Missed, SlotReason::Down, None);
    let mut edited = Ledger::hourly();
    edited.storage = old.storage;
    edited.entry.record.generation = 2;
    edited.entry.record.scheduled_since = hour("06:00:00");
    insta::assert_snapshot!(edited.ask(&["03:50", "03:55", "05:00"]));
}

#[test]
fn other_times_are_answered_with_what_is_around_them() {
    let ledger = Ledger::hourly();
    let run = ledger.create(1, Trigger::Schedule, "11:00:00", |_| {});
    ledger.start(run, Some("11:00:00"), TimeDelta::milliseconds(3));
    ledger.end(run, RunStatus::Succeeded, TimeDelta::seconds(2), None);
    let by_hand = ledger.create(2, Trigger::Manual, "11:17:20", |_| {});
    ledger.start(by_hand, None, TimeDelta::milliseconds(5));
    ledger.end(by_hand, RunStatus::Succeeded, TimeDelta::minutes(4), None);
    insta::assert_snapshot!(ledger.ask(&[
        "11:17",
        "11:20",
        "11:40",
        "-5m",
        "12:30",
        "yesterday 23:00",
        "yesterday 22:30"
    ]));
}

#[test]
fn a_slot_to_come_says_when_it_runs_and_what_may_hold_it() {
    let plain = Ledger::hourly().ask(&["14:00", "tomorrow 03:00", "+2h"]);
    let jitter =
        Ledger::of("schedule: {cron: '0 * * * *', jitter: 10m}\ntasks: {a: {command: [a]}}").ask(&["14:00", "12:00"]);
    let wants = "schedule: '0 * * * *'\noverlap: queue\ndepends_on: [{job: ingest, wait: 30m}, {job: clean, condition: \
                 within_window, window: 1d}]\ntasks: {a: {command: [a]}}";
    let wants = Ledger::of(wants).standing(SyncState::Blocked, "there is no job `clean`");
    let run = wants.create(1, Trigger::Schedule, "11:00:00", |_| {});
    wants.start(run, Some("11:00:00"), TimeDelta::milliseconds(3));
    let wants = wants.ask(&["13:00"]);
    insta::assert_snapshot!([plain, jitter, wants].join("\n"));
}

#[test]
fn what_holds_a_job_is_named_with_who_and_why() {
    let paused = Ledger::hourly().pause(Some("etl"), "11:30:00", Some("moving disks"));
    paused.put("10:00:00", SlotOutcome::Missed, SlotReason::Down, None);
    let paused = paused.ask(&["11:00", "12:00", "14:00", ""]);
    let all = Ledger::hourly().pause(None, "11:30:00", None).ask(&["14:00", ""]);
    let disabled =
        Ledger::of("enabled: false\nschedule: '0 * * * *'\ntasks: {a: {command: [a]}}").ask(&["11:00", "14:00"]);
    insta::assert_snapshot!([paused, all, disabled].join("\n"));
}

#[test]
fn without_a_time_the_latest_slot_is_meant_or_the_first_to_come() {
    let ledger = Ledger::hourly();
    let nothing = ledger.ask(&[""]);
    ledger.put("01:00:00", SlotOutcome::Missed, SlotReason::Down, None);
    insta::assert_snapshot!([nothing, ledger.ask(&[""])].join("\n"));
}

#[test]
fn a_job_without_a_schedule_says_what_makes_it_run() {
    let by_hand = Ledger::of("tasks: {a: {command: [a]}}");
    let never = by_hand.ask(&["04:00"]);
    let run = by_hand.create(1, Trigger::Manual, "09:00:00", |_| {});
    by_hand.start(run, None, TimeDelta::milliseconds(4));
    by_hand.end(
        run,
        RunStatus::Cancelled,
        TimeDelta::seconds(9),
        Some("cancelled by ada"),
    );
    let once = by_hand.ask(&["", "09:00"]);
    let after = Ledger::of("depends_on: [{job: ingest}, {job: clean}]\ntasks: {a: {command: [a]}}");
    let ingest = JobId::new("ingest").expect("a slug");
    let upstream = after.create(2, Trigger::Manual, "10:00:00", |run| run.job = ingest.clone());
    after.start(upstream, None, TimeDelta::milliseconds(1));
    after.end(upstream, RunStatus::Succeeded, TimeDelta::minutes(1), None);
    let waits = after.ask(&[""]);
    let run = after.create(3, Trigger::Dependency, "10:01:00", |run| run.consumed = vec![upstream]);
    after.start(run, None, TimeDelta::milliseconds(1));
    let again = after.pause(None, "11:00:00", None).ask(&["", "10:01"]);
    insta::assert_snapshot!([never, once, waits, again].join("\n"));
}

#[test]
fn a_job_that_is_not_active_is_answered_from_what_it_left() {
    let mut gone = Ledger::of("schedule: {cron: '0 * * * *', timezone: Europe/Berlin}\ntasks: {a: {command: [a]}}");
    gone.is_active = false;
    gone.put("01:00:00", SlotOutcome::Skipped, SlotReason::Overlap, None);
    gone.commit(vec![Change::Reconcile(ReconcileRecord {
        at: hour("01:30:00"),
        actor: Actor::Watcher,
        by: None,
        plan_id: "abc".to_owned(),
        result: ReconcileResult::Applied,
        actions: vec!["remove etl (etl.yaml is gone)".to_owned()],
        files: Vec::new(),
        revision: None,
        old_set: gone.entry.job.hash.clone(),
        new_set: gone.entry.job.hash.clone(),
        duration_ms: 1,
    })]);
    let mut bad = Ledger::hourly().standing(
        SyncState::Invalid,
        "etl.yaml has errors, and no good version of it was ever applied",
    );
    bad.is_active = false;
    insta::assert_snapshot!([gone.ask(&["", "02:00", "03:00"]), bad.ask(&["03:00"])].join("\n"));
}

/// Berlin's clocks jump on the last Sunday of March and go back on that of October.
#[test]
fn times_are_those_of_the_jobs_zone_also_when_its_clocks_jump() {
    let mut ledger = Ledger::of("schedule: {cron: '30 2 * * *', timezone: Europe/Berlin}\ntasks: {a: {command: [a]}}");
    ledger.entry.record.scheduled_since = at("2026-02-01T00:00:00Z");
    insta::assert_snapshot!(ledger.ask(&["02:30", "2026-03-29 02:30", "2026-03-29 03:00", "2026-10-25 02:30"]));
}
