//! The desk under a simulated clock, against a ledger kept beside it.
//!
//! Random sets of jobs live through downtime, sleep, crashes between a claim and its start, pauses and edits; an executor that
//! starts runs late or not at all takes the orders. In the end each slot of each schedule that was active must have exactly
//! one row, no other instant may have one, and no slot may have been started twice. Which slots there should have been is
//! walked one by one from the edits that were made, which is not how the desk finds them. A failure prints the story that
//! repeats it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{SubsecRound, TimeDelta};
use proptest::prelude::*;

use super::{
    desk::{Around, Batch, Desk, Order, Past},
    fixtures::{active_at, at, spec_record},
    presence::{Leap, Presence},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::JobId,
        job::Job,
        record::{PauseRecord, RunRecord},
        state::{RunStatus, SlotOutcome},
    },
    storage::{Change, Memory, Storage},
};

const SCHEDULES: [&str; 8] = [
    "cron: '*/5 * * * *'",
    "cron: '7 * * * *', misfire: {policy: skip}",
    "cron: ['0 */2 * * *', '30 3 * * *'], timezone: Europe/Berlin",
    "every: 7m, misfire: {policy: skip, grace: 1s}",
    "every: 90s, misfire: {window: 1h}",
    "cron: '*/20 * * * * *', misfire: {grace: 5s}",
    "cron: '*/10 * * * *', jitter: 4m",
    "every: 1h, misfire: {policy: all, limit: 2}",
];
const OVERLAPS: [&str; 4] = ["skip", "queue", "replace", "allow"];
const JOBS: usize = 3;

#[derive(Debug, Clone, Copy)]
struct Version {
    schedule: usize,
    overlap: usize,
    enabled: bool,
}

/// What happens; `job` counts modulo the number of jobs.
#[derive(Debug, Clone)]
enum Act {
    /// Time passes.
    Pass {
        seconds: i64,
        millis: i64,
    },
    /// The machine sleeps, and Petit with it.
    Sleep {
        seconds: i64,
    },
    /// Petit dies, is away, and comes back.
    Die {
        seconds: i64,
    },
    Pause {
        job: Option<usize>,
    },
    Resume {
        job: Option<usize>,
    },
    /// The file of a job changes, or comes back.
    /// The scheduler hears of it late.
    Write {
        job: usize,
        version: Version,
        lag: i64,
    },
    Remove {
        job: usize,
    },
    /// From now on the executor starts runs after so many seconds, and they take so many.
    Pace {
        start_after: i64,
        take: i64,
    },
}

fn version() -> impl Strategy<Value = Version> {
    (0..SCHEDULES.len(), 0..OVERLAPS.len(), prop::bool::weighted(0.8)).prop_map(|(schedule, overlap, enabled)| {
        Version {
            schedule,
            overlap,
            enabled,
        }
    })
}

fn act() -> impl Strategy<Value = Act> {
    let seconds = prop_oneof![3 => 0i64..90, 3 => 60i64..1_000, 1 => 1_000i64..20_000];
    let away = prop_oneof![2 => 0i64..90, 3 => 60i64..2_000, 1 => 2_000i64..200_000];
    let one_or_all = || prop::option::weighted(0.8, 0..JOBS);
    prop_oneof![
        6 => (seconds, prop_oneof![Just(137i64), 901i64..1_000]).prop_map(|(seconds, millis)| Act::Pass { seconds, millis }),
        2 => away.clone().prop_map(|seconds| Act::Sleep { seconds }),
        3 => away.prop_map(|seconds| Act::Die { seconds }),
        1 => one_or_all().prop_map(|job| Act::Pause { job }),
        2 => one_or_all().prop_map(|job| Act::Resume { job }),
        2 => (0..JOBS, version(), prop_oneof![Just(0i64), 0i64..600])
            .prop_map(|(job, version, lag)| Act::Write { job, version, lag }),
        1 => (0..JOBS).prop_map(|job| Act::Remove { job }),
        2 => (0i64..200, 0i64..2_000).prop_map(|(start_after, take)| Act::Pace { start_after, take }),
    ]
}

/// A schedule that counted from one instant to another, the first excluded.
struct Regime {
    active: Arc<ActiveJob>,
    until: Option<Timestamp>,
}

struct World {
    storage: Memory,
    desk: Option<Desk>,
    set: ActiveSet,
    regimes: BTreeMap<JobId, Vec<Regime>>,
    now: Timestamp,
    presence: Presence,
    random: u128,
    start_after: i64,
    take: i64,
    /// When each run that was ordered starts.
    ordered: BTreeMap<(Timestamp, u128), (RunRecord, i64)>,
    /// When each run that started ends.
    running: BTreeMap<(Timestamp, u128), RunRecord>,
    started: BTreeSet<(JobId, Timestamp)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            storage: Memory::default(),
            desk: None,
            set: ActiveSet::new(),
            regimes: BTreeMap::new(),
            now: at("2026-03-28T20:10:00Z"),
            presence: Presence::since(at("2026-03-28T20:10:00Z")),
            random: 0,
            start_after: 0,
            take: 30,
            ordered: BTreeMap::new(),
            running: BTreeMap::new(),
            started: BTreeSet::new(),
        };
        world.wake_up();
        world
    }

    fn id(job: usize) -> JobId {
        JobId::new(format!("job-{job}")).expect("a slug")
    }

    fn commit(&self, changes: Vec<Change>) {
        self.storage
            .commit(changes)
            .wait_blocking()
            .expect("a commit that the rules allow");
    }

    fn decide<T>(&mut self, question: impl FnOnce(&Desk, &mut Around<'_>) -> T) -> T {
        let (storage, random) = (&self.storage, &mut self.random);
        let mut around = Around {
            now: self.now,
            presence: self.presence,
            random: &mut || {
                *random += 1;
                *random
            },
            latest: &|job| storage.latest(job),
            revision: None,
        };
        question(self.desk.as_ref().expect("Petit runs"), &mut around)
    }

    fn carry_out(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            // A crash may come before what need not be waited for is written: here it always does.
            if !batch.recorded {
                self.commit(batch.changes.clone());
            }
            self.desk.as_mut().expect("Petit runs").apply(&batch);
            for order in batch.orders {
                self.random += 1;
                match order {
                    Order::Start { run, .. } => {
                        let starts = self.now + TimeDelta::seconds(self.start_after);
                        self.ordered.insert((starts, self.random), (*run, self.take));
                    }
                    Order::Cancel { run, unstarted, .. } => {
                        let unstarted_run = self.ordered.iter().find(|(_, (record, _))| record.id == run);
                        if let Some((key, (record, _))) = unstarted_run.map(|(key, value)| (*key, value.clone())) {
                            self.ordered.remove(&key);
                            self.decide_slot(&record, SlotOutcome::Skipped, Some(unstarted));
                            self.end(&record, RunStatus::Cancelled);
                        } else if let Some((key, record)) = self.running.iter().find(|(_, record)| record.id == run) {
                            let (key, record) = (*key, record.clone());
                            self.running.remove(&key);
                            self.end(&record, RunStatus::Cancelled);
                        }
                    }
                }
            }
        }
    }

    fn decide_slot(&self, run: &RunRecord, outcome: SlotOutcome, reason: Option<crate::core::state::SlotReason>) {
        if let Some(slot) = run.slot {
            self.commit(vec![Change::DecideSlot {
                job: run.job.clone(),
                at: slot,
                outcome,
                reason,
                detail: None,
                decided_at: self.now,
            }]);
        }
    }

    fn end(&mut self, run: &RunRecord, status: RunStatus) {
        self.commit(vec![Change::EndRun {
            run: run.id,
            status,
            at: self.now,
            reason: None,
        }]);
        if let Some(desk) = &mut self.desk {
            desk.run_moved(&run.job, run.id, status);
        }
    }

    fn start(&mut self, run: RunRecord, take: i64) {
        if let Some(slot) = run.slot {
            assert!(
                self.started.insert((run.job.clone(), slot)),
                "`{}` at {slot} started twice",
                run.job
            );
        }
        self.commit(vec![Change::StartRun {
            run: run.id,
            at: self.now,
        }]);
        self.decide_slot(&run, SlotOutcome::Ran, None);
        self.desk
            .as_mut()
            .expect("Petit runs")
            .run_moved(&run.job, run.id, RunStatus::Running);
        self.random += 1;
        self.running
            .insert((self.now + TimeDelta::seconds(take), self.random), run);
    }

    /// As the loop does it.
    fn step(&mut self) {
        let set = self.set.clone();
        let due = self
            .decide(|desk, around| desk.tick(&set, around))
            .expect("memory answers");
        self.carry_out(due);
        loop {
            let stirred = self.desk.as_mut().expect("Petit runs").stirred(self.now);
            if stirred.is_empty() {
                let claims = self.decide(|desk, around| desk.claim_ahead(around));
                return self.carry_out(claims);
            }
            for job in stirred {
                while let Some(batch) = self
                    .decide(|desk, around| desk.look_at(&job, around))
                    .expect("memory answers")
                {
                    self.carry_out(vec![batch]);
                }
                self.desk.as_mut().expect("Petit runs").settled(&job);
            }
        }
    }

    fn pass(&mut self, until: Timestamp) {
        loop {
            let wake = self.desk.as_ref().expect("Petit runs").next_wake(self.now);
            let starts = self.ordered.first_key_value().map(|((at, _), _)| *at);
            let ends = self.running.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = [wake, starts, ends]
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= until)
            else {
                self.now = until;
                return self.step();
            };
            self.now = self.now.max(next);
            if starts.is_some_and(|at| at <= self.now) {
                let (_, (run, take)) = self.ordered.pop_first().expect("it was there");
                self.start(run, take);
            } else if ends.is_some_and(|at| at <= self.now) {
                let (_, run) = self.running.pop_first().expect("it was there");
                self.end(&run, RunStatus::Succeeded);
            }
            self.step();
        }
    }

    fn die(&mut self) {
        self.desk = None;
        self.ordered.clear();
    }

    fn wake_up(&mut self) {
        self.presence = Presence::since(self.now);
        for (_, run) in std::mem::take(&mut self.running) {
            self.end(&run, RunStatus::Interrupted);
        }
        let unfinished = self.storage.unfinished().expect("memory answers");
        let bound = unfinished.iter().map(|detail| {
            let hash = detail.run.spec_hash.clone();
            let spec = self
                .storage
                .spec(&hash)
                .expect("memory answers")
                .expect("a bound spec is kept");
            let job = Job::from_canonical(&spec.canonical).expect("it was valid");
            (hash, Arc::new(job))
        });
        let past = Past {
            watermarks: self.storage.watermarks().expect("memory answers"),
            beyond_watermark: self.storage.beyond_watermark().expect("memory answers"),
            pauses: self.storage.pauses().expect("memory answers"),
            bound: bound.collect(),
            unfinished,
        };
        self.desk = Some(Desk::new(&self.set, past));
        let claimed = self.storage.claimed().expect("memory answers");
        let batches = self
            .decide(|desk, around| desk.recover(&claimed, around))
            .expect("memory answers");
        self.carry_out(batches);
        self.step();
    }

    /// What reconcile does: an edit of the schedule, enabling, and a file's return count from now.
    fn write(&mut self, job: usize, version: Option<Version>, lag: i64) {
        // Two edits of a job have two instants.
        let since = self.now + TimeDelta::milliseconds(1);
        self.now = since + TimeDelta::seconds(lag);
        let id = Self::id(job);
        let old = self.set.get(&id).cloned();
        let mut new = self.set.clone();
        let mut ends = true;
        match version {
            None => {
                new.remove(&id);
            }
            Some(version) => {
                let yaml = format!(
                    "schedule: {{{}}}\noverlap: {}\nenabled: {}",
                    SCHEDULES[version.schedule], OVERLAPS[version.overlap], version.enabled
                );
                let mut next = (*active_at(id.as_str(), &yaml, since)).clone();
                if let Some(old) = &old {
                    let same = next.job.spec.schedule == old.job.spec.schedule;
                    if same {
                        next.record.anchor = old.record.anchor;
                    }
                    if same && (old.job.spec.enabled || !next.job.spec.enabled) {
                        next.record.scheduled_since = old.record.scheduled_since;
                        ends = false;
                    }
                }
                let next = Arc::new(next);
                self.commit(vec![
                    Change::PutSpec(spec_record(&next)),
                    Change::SetActive(next.record.clone()),
                ]);
                new.insert(id.clone(), next);
            }
        }
        let regimes = self.regimes.entry(id.clone()).or_default();
        if ends {
            if let Some(last) = regimes.last_mut() {
                last.until.get_or_insert(since);
            }
            regimes.extend(new.get(&id).map(|active| Regime {
                active: Arc::clone(active),
                until: None,
            }));
        }
        let due = self
            .decide(|desk, around| desk.tick(&new, around))
            .expect("memory answers");
        self.carry_out(due);
        let edits = self.desk.as_ref().expect("Petit runs").edit(&new, self.now);
        self.carry_out(edits);
        self.desk.as_mut().expect("Petit runs").swap(&new);
        self.set = new;
        self.step();
    }

    fn pause(&mut self, job: Option<JobId>) {
        self.step();
        let batch = self.desk.as_ref().expect("Petit runs").pause(PauseRecord {
            job,
            since: self.now,
            by: "test".to_owned(),
            reason: None,
        });
        self.carry_out(vec![batch]);
        self.step();
    }

    fn resume(&mut self, job: Option<&JobId>) {
        if let Some(batch) = self.desk.as_ref().expect("Petit runs").resume(job, self.now) {
            let orders = batch.orders.len();
            self.carry_out(vec![batch]);
            assert_eq!(orders, 0, "resuming starts nothing");
        }
        self.step();
    }

    fn live(&mut self, act: &Act) {
        match act {
            // Slots are whole seconds: sometimes what comes next falls between a claim and its instant.
            Act::Pass { seconds, millis } => {
                let whole = self.now.trunc_subsecs(0);
                self.pass(whole + TimeDelta::milliseconds(seconds * 1_000 + 1_000 + millis));
            }
            Act::Sleep { seconds } => {
                let from = self.now;
                self.now += TimeDelta::seconds(*seconds);
                self.presence.leap = Some(Leap { from, to: self.now });
                self.step();
            }
            Act::Die { seconds } => {
                self.die();
                self.now += TimeDelta::seconds(*seconds);
                self.wake_up();
            }
            Act::Pause { job } => self.pause(job.map(Self::id)),
            Act::Resume { job } => self.resume(job.map(Self::id).as_ref()),
            Act::Write { job, version, lag } => self.write(*job, Some(*version), *lag),
            Act::Remove { job } => self.write(*job, None, 0),
            Act::Pace { start_after, take } => (self.start_after, self.take) = (*start_after, *take),
        }
    }

    /// Ends every pause and hold and lets every run end, so that each slot must have its outcome.
    fn settle(&mut self) {
        for job in std::iter::once(None).chain((0..JOBS).map(|job| Some(Self::id(job)))) {
            self.resume(job.as_ref());
        }
        for job in 0..JOBS {
            let disabled = self
                .set
                .get(&Self::id(job))
                .is_some_and(|active| !active.job.spec.enabled);
            if disabled {
                self.write(job, None, 0);
            }
        }
        // Longer than any jitter, so that no slot is undecided because of it.
        (self.start_after, self.take) = (0, 0);
        self.pass(self.now + TimeDelta::seconds(1));
        for job in 0..JOBS {
            self.write(job, None, 0);
        }
        self.pass(self.now + TimeDelta::seconds(4_000));
    }

    /// Holds the ledger against the schedules that were active; returns how many slots there were.
    fn audit(&self) -> u64 {
        let mut seen = 0;
        assert_eq!(
            self.storage.claimed().expect("memory answers"),
            [],
            "a slot without an outcome"
        );
        assert_eq!(
            self.storage.unfinished().expect("memory answers"),
            [],
            "a run without an end"
        );
        for (job, regimes) in &self.regimes {
            let mut expected: BTreeSet<Timestamp> = BTreeSet::new();
            for regime in regimes {
                let record = &regime.active.record;
                let schedule = regime.active.job.schedule.as_ref().expect("a schedule");
                let until = regime.until.unwrap_or(self.now);
                expected.extend(schedule.slots_in(record.scheduled_since, until, record.anchor));
            }
            seen += expected.len() as u64;
            let (from, to) = (Timestamp::UNIX_EPOCH, self.now);
            let rows = self.storage.slots(job, from, to).expect("memory answers");
            let mut left = expected.clone();
            for row in &rows {
                assert!(
                    left.remove(&row.at),
                    "`{job}` at {} is no slot, or has two rows: {row:?}",
                    row.at
                );
                assert_eq!(
                    row.outcome == Some(SlotOutcome::Ran),
                    self.started.contains(&(job.clone(), row.at)),
                    "{row:?}"
                );
            }
            for stretch in self.storage.stretches(job, from, to).expect("memory answers") {
                let covered: Vec<Timestamp> = expected.range(stretch.from..=stretch.to).copied().collect();
                assert_eq!(covered.len() as u64, stretch.slots, "{stretch:?}");
                assert_eq!(covered.first(), Some(&stretch.from), "{stretch:?}");
                assert_eq!(covered.last(), Some(&stretch.to), "{stretch:?}");
                assert!(
                    covered.iter().all(|slot| left.remove(slot)),
                    "two outcomes in {stretch:?}"
                );
            }
            assert_eq!(left, BTreeSet::new(), "slots of `{job}` without an outcome");
        }
        seen
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_slot_has_one_outcome_and_at_most_one_start(
        versions in prop::collection::vec(version(), JOBS),
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut world = World::new();
        for (job, version) in versions.into_iter().enumerate() {
            world.write(job, Some(version), 0);
        }
        for act in &acts {
            world.live(act);
        }
        world.settle();
        world.audit();
    }
}
