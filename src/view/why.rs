//! What became of a slot, in a sentence: the answer of `petit why`.
//!
//! Reads the ledger and says what it finds; it never guesses. A time that is no slot is answered with its neighbours.

use chrono::{SecondsFormat, TimeDelta};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    core::{
        Timestamp,
        active::ActiveJob,
        id::{JobId, RunId, SpecHash},
        record::{PauseRecord, RunRecord, SlotRecord, StretchRecord},
        schedule::Schedule,
        state::{RunStatus, SlotOutcome, SlotReason},
        units::HumanDuration,
    },
    scheduler::neighbours,
    storage::{Storage, StorageError},
};

/// A slot of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotView {
    /// The job.
    pub job: JobId,
    /// The scheduled instant.
    pub at: Timestamp,
    /// What became of it; `null` while its run has not started.
    pub outcome: Option<SlotOutcome>,
    /// Why it did not run as scheduled.
    pub reason: Option<SlotReason>,
    /// The reason in words.
    pub detail: Option<String>,
    /// When that was decided.
    pub decided_at: Option<Timestamp>,
    /// The run of it, or the one it was merged into.
    pub run: Option<RunId>,
    /// The version of the job by which it was judged.
    pub spec_hash: SpecHash,
}

impl From<SlotRecord> for SlotView {
    fn from(slot: SlotRecord) -> Self {
        let SlotRecord {
            job,
            at,
            outcome,
            reason,
            detail,
            decided_at,
            run,
            spec_hash,
        } = slot;
        Self {
            job,
            at,
            outcome,
            reason,
            detail,
            decided_at,
            run,
            spec_hash,
        }
    }
}

/// The answer to "what became of it?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The job.
    pub job: JobId,
    /// The time that was asked about.
    pub at: Timestamp,
    /// The answer, in a sentence.
    pub answer: String,
    /// The slot, if the time is one and it has its own row.
    pub slot: Option<SlotView>,
    /// The slot before the time.
    pub previous: Option<Timestamp>,
    /// The slot after the time.
    pub next: Option<Timestamp>,
}

/// How far back the latest slot is looked for.
const LOOK_BACK: TimeDelta = TimeDelta::days(366);

/// Explains the slot of `job` at `at`, or without `at` the latest that is in the ledger. `entry` is the job as it is active,
/// if it is.
pub(super) fn why(
    storage: &dyn Storage,
    job: &JobId,
    entry: Option<&ActiveJob>,
    pauses: &[PauseRecord],
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Why, StorageError> {
    let asked = match at {
        Some(at) => Some(at),
        None => latest_slot(storage, job, now)?,
    };
    let at = asked.unwrap_or(now);
    let slot = storage.slots(job, at, at)?.into_iter().next();
    let stretch = storage.stretches(job, at, at)?.into_iter().next();
    let run = match slot.as_ref().and_then(|slot| slot.run) {
        Some(run) => storage.run(run)?.map(|detail| detail.run),
        None => None,
    };
    let around = Around::of(entry, at);
    let paused = pauses.iter().find(|pause| pause.covers(job));
    let zone = entry
        .and_then(|entry| entry.job.schedule.as_ref())
        .map_or(Tz::UTC, Schedule::zone);
    let answer = match (&slot, &stretch, entry) {
        (Some(slot), _, _) => of_slot(slot, run.as_ref(), zone),
        (None, Some(stretch), _) if around.is_slot => of_stretch(stretch, at, zone),
        (None, _, Some(entry)) if asked.is_none() => of_no_slot_yet(entry, paused, &around, now, zone),
        (None, _, Some(entry)) => of_no_row(entry, paused, &around, at, now, zone),
        (None, _, None) => format!("{job} is not active: no good version of its file was ever applied."),
    };
    Ok(Why {
        job: job.clone(),
        at,
        answer,
        slot: slot.map(SlotView::from),
        previous: around.previous,
        next: around.next,
    })
}

/// The slots about a time.
struct Around {
    is_slot: bool,
    previous: Option<Timestamp>,
    next: Option<Timestamp>,
}

impl Around {
    fn of(entry: Option<&ActiveJob>, at: Timestamp) -> Self {
        let Some((entry, schedule)) = entry.and_then(|entry| Some((entry, entry.job.schedule.as_ref()?))) else {
            return Self {
                is_slot: false,
                previous: None,
                next: None,
            };
        };
        let anchor = entry.record.anchor;
        let (previous, next) = neighbours(schedule, at, anchor);
        let is_slot = schedule.next_after(at - TimeDelta::milliseconds(1), anchor) == Some(at);
        Self {
            is_slot,
            previous,
            next,
        }
    }
}

fn latest_slot(storage: &dyn Storage, job: &JobId, now: Timestamp) -> Result<Option<Timestamp>, StorageError> {
    let from = now - LOOK_BACK;
    let slot = storage.slots(job, from, now)?.last().map(|slot| slot.at);
    let stretch = storage.stretches(job, from, now)?.last().map(|stretch| stretch.to);
    Ok(slot.max(stretch))
}

fn of_slot(slot: &SlotRecord, run: Option<&RunRecord>, zone: Tz) -> String {
    let (job, when) = (&slot.job, local(slot.at, zone));
    let detail = slot
        .detail
        .as_ref()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let run_id = slot.run.map_or_else(|| "a run".to_owned(), |run| format!("run {run}"));
    match slot.outcome {
        None => {
            let waits = run
                .and_then(|run| run.reason.as_deref())
                .unwrap_or("it waits for its turn");
            format!("The slot of {job} at {when} is claimed, and {run_id} has not started yet: {waits}.")
        }
        Some(SlotOutcome::Ran) => format!(
            "{job} ran at {when}{}.",
            run.map(|run| how(run, slot.at)).unwrap_or_default()
        ),
        Some(SlotOutcome::Skipped) => {
            format!("{job} was skipped at {when}, {}{detail}.", because(slot.reason))
        }
        Some(SlotOutcome::Missed) => format!("{job} missed its slot at {when}, {}{detail}.", because(slot.reason)),
        Some(SlotOutcome::Merged) => {
            format!(
                "The slot of {job} at {when} was merged into {run_id}, {}{detail}.",
                because(slot.reason)
            )
        }
        Some(SlotOutcome::Refused) => format!("{job} could not run at {when}, {}{detail}.", because(slot.reason)),
    }
}

fn how(run: &RunRecord, slot: Timestamp) -> String {
    let late = run
        .started_at
        .map_or(String::new(), |start| format!(" {} late", lateness(start - slot)));
    let ended = match (run.status, run.started_at.zip(run.ended_at)) {
        (RunStatus::Queued | RunStatus::Running, _) | (_, None) => format!(" and is {}", run.status),
        (status, Some((start, end))) => {
            format!(
                " and {} after {}",
                past(status),
                seconds((end - start).num_milliseconds())
            )
        }
    };
    let reason = run
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!(": run {} started{late}{ended}{reason}", run.id)
}

fn lateness(late: TimeDelta) -> String {
    let millis = late.num_milliseconds().max(0);
    if millis < 1_000 {
        format!("{millis} ms")
    } else {
        seconds(millis)
    }
}

const fn past(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "is queued",
        RunStatus::Running => "is running",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "was cancelled",
        RunStatus::Interrupted => "was interrupted",
        RunStatus::TimedOut => "timed out",
    }
}

fn because(reason: Option<SlotReason>) -> &'static str {
    match reason {
        None => "for no recorded reason",
        Some(SlotReason::Overlap) => "because a run of it was still going",
        Some(SlotReason::Paused) => "because it was paused",
        Some(SlotReason::Down) => "because Petit was not running",
        Some(SlotReason::Dependency) => "because a job it depends on had not met its condition",
        Some(SlotReason::Clock) => "because the machine's clock was moved",
        Some(SlotReason::Limit) => "because there were more late slots than its limit",
        Some(SlotReason::Window) => "because it was older than the window for late slots",
        Some(SlotReason::Disabled) => "because the job was disabled",
        Some(SlotReason::Removed) => "because the job was removed",
        Some(SlotReason::Cancelled) => "because it was cancelled before it started",
        Some(SlotReason::Invalid) => "because its parameters could not be rendered",
    }
}

fn of_stretch(stretch: &StretchRecord, at: Timestamp, zone: Tz) -> String {
    let (job, when) = (&stretch.job, local(at, zone));
    let among = format!(
        "one of {} such slots from {} to {}",
        stretch.slots,
        local(stretch.from, zone),
        local(stretch.to, zone)
    );
    match (stretch.outcome, stretch.run) {
        (SlotOutcome::Merged, Some(run)) => {
            format!(
                "The slot of {job} at {when} was merged into run {run}, {}; {among}.",
                because(Some(stretch.reason))
            )
        }
        (outcome, _) => format!(
            "The slot of {job} at {when} was {outcome}, {}; {among}.",
            because(Some(stretch.reason))
        ),
    }
}

fn of_no_row(
    entry: &ActiveJob,
    paused: Option<&PauseRecord>,
    around: &Around,
    at: Timestamp,
    now: Timestamp,
    zone: Tz,
) -> String {
    let job = &entry.job.id;
    let when = local(at, zone);
    let Some(_) = &entry.job.schedule else {
        return if entry.job.spec.depends_on.is_empty() {
            format!("{job} has no schedule: it runs only when `petit trigger {job}` asks for it.")
        } else {
            let upstream: Vec<&str> = entry.job.spec.depends_on.iter().map(|dep| dep.job.as_str()).collect();
            format!(
                "{job} has no schedule: it runs each time that all of these have newly succeeded: {}.",
                upstream.join(", ")
            )
        };
    };
    if !around.is_slot {
        let name = |slot: Option<Timestamp>| slot.map_or_else(|| "none".to_owned(), |slot| local(slot, zone));
        return format!(
            "{when} is no slot of {job}: the one before it is {}, the one after it {}.",
            name(around.previous),
            name(around.next)
        );
    }
    if at > now {
        return if !entry.job.spec.enabled {
            format!(
                "{job} will not fire at {when}: the job is disabled in {}.",
                entry.record.file
            )
        } else if let Some(pause) = paused {
            format!(
                "{job} will not fire at {when} unless it is resumed: {}.",
                who_paused(pause, zone)
            )
        } else {
            format!(
                "{job} will fire at {when}, in {}.",
                seconds((at - now).num_milliseconds())
            )
        };
    }
    if at <= entry.record.scheduled_since {
        return format!(
            "{job} had no slot at {when} yet: its present schedule counts from {}.",
            local(entry.record.scheduled_since, zone)
        );
    }
    // A pause is one row, which is written when it ends.
    if !entry.job.spec.enabled {
        return format!(
            "{job} was skipped at {when}, because the job is disabled in {}.",
            entry.record.file
        );
    }
    if let Some(pause) = paused.filter(|pause| pause.since <= at) {
        return format!(
            "{job} was skipped at {when}, because it is paused: {}.",
            who_paused(pause, zone)
        );
    }
    format!(
        "The slot of {job} at {when} has no row in the journal yet: it is due and not decided, or Petit is not running."
    )
}

fn who_paused(pause: &PauseRecord, zone: Tz) -> String {
    let reason = pause
        .reason
        .as_ref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    format!("{} paused it at {}{reason}", pause.by, local(pause.since, zone))
}

/// Nothing was asked about but the job itself, and none of its slots came yet: the first one is what there is to tell.
fn of_no_slot_yet(
    entry: &ActiveJob,
    paused: Option<&PauseRecord>,
    around: &Around,
    now: Timestamp,
    zone: Tz,
) -> String {
    match around.next {
        None => of_no_row(entry, paused, around, now, now, zone),
        Some(first) => {
            let first = of_no_row(entry, paused, &Around::of(Some(entry), first), first, now, zone);
            format!("The journal has no slot of {} yet. {first}", entry.job.id)
        }
    }
}

/// A time as people of the job's zone read it.
fn local(at: Timestamp, zone: Tz) -> String {
    let local = at.with_timezone(&zone);
    if zone == Tz::UTC {
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    } else {
        local.format("%F %T %Z").to_string()
    }
}

fn seconds(millis: i64) -> String {
    HumanDuration::elapsed(millis).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Map;

    use super::*;
    use crate::{
        core::{
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
}
