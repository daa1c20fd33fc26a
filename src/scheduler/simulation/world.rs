//! A machine on which Petit runs, without time, disk or processes: it drives the desk as the loop does, tells the oracle what
//! happens, and holds what comes of it against what should.
//!
//! There are two clocks, of which only the one on the wall can be moved. What the executor does happens in time of the steady
//! one, as processes do.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use chrono::{SubsecRound, TimeDelta};

use super::{
    calendar::{Calendar, Times},
    oracle::{Key, Oracle, Told, Version},
    stories::{Act, Death, Spec},
};
use crate::{
    core::{
        Timestamp,
        active::{ActiveJob, ActiveSet},
        id::{JobId, RunId, SpecHash},
        job::Job,
        record::{PauseRecord, RunRecord},
        state::{RunStatus, SlotOutcome, SlotReason, Trigger},
    },
    scheduler::{
        desk::{Around, Batch, Beyond, Desk, Order, Past},
        fixtures::{active_at, spec_record},
        presence::{Moved, Vigil},
        series,
    },
    storage::{Change, LatestRuns, Memory, Storage},
    testing::story::Dice,
};

const MEMORY_ANSWERS: &str = "memory answers";

/// From when a version counts, its anchor, and what it says.
type Count = (Timestamp, Timestamp, Spec);

/// A version that counted from one instant to another, the first excluded.
struct Regime {
    job: usize,
    version: Rc<Version>,
    until: Option<Timestamp>,
}

pub struct World {
    storage: Memory,
    latest: BTreeMap<JobId, LatestRuns>,
    desk: Option<Desk>,
    vigil: Vigil,
    oracle: Oracle,
    set: ActiveSet,
    versions: Vec<Option<Rc<Version>>>,
    regimes: Vec<Regime>,
    pub now: Timestamp,
    steady: i64,
    dice: Dice,
    random: u128,
    by_hand: BTreeMap<RunId, u64>,
    /// What was handed to the journal and not waited for.
    late: Vec<Change>,
    full: bool,
    crash: Option<Death>,
    put_back: bool,
    pace: Pace,
    /// When each run that was ordered starts, and how long it will take.
    ordered: BTreeMap<(i64, u128), (RunRecord, i64)>,
    /// When each run that started ends, and how.
    running: BTreeMap<(i64, u128), (RunRecord, RunStatus)>,
    started: BTreeSet<(usize, Timestamp)>,
    /// Which slots were started and when, in their order.
    pub history: Vec<(Timestamp, Timestamp)>,
    said: Vec<(Told, Timestamp)>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    start_after: i64,
    take: i64,
    failures: u64,
    cancel_takes: i64,
}

/// What a story came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tale {
    pub slots: u64,
    pub started: u64,
}

impl World {
    pub fn new(now: Timestamp, jobs: usize, dice: Dice) -> Self {
        let now = now.trunc_subsecs(3);
        let mut world = Self {
            storage: Memory::default(),
            latest: BTreeMap::new(),
            desk: None,
            vigil: Vigil::new(now, Duration::ZERO),
            oracle: Oracle::new(jobs, now),
            set: ActiveSet::new(),
            versions: vec![None; jobs],
            regimes: Vec::new(),
            now,
            steady: 0,
            dice,
            random: 0,
            by_hand: BTreeMap::new(),
            late: Vec::new(),
            full: false,
            crash: None,
            put_back: false,
            pace: Pace {
                start_after: 0,
                take: 300,
                failures: 0,
                cancel_takes: 0,
            },
            ordered: BTreeMap::new(),
            running: BTreeMap::new(),
            started: BTreeSet::new(),
            history: Vec::new(),
            said: Vec::new(),
        };
        world.wake_up();
        world
    }

    fn desk(&mut self) -> &mut Desk {
        self.desk.as_mut().expect("Petit runs")
    }

    fn advance(&mut self, millis: i64) {
        self.now += TimeDelta::milliseconds(millis);
        self.steady += millis;
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.steady).expect("it only grows"))
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let mut all = std::mem::take(&mut self.late);
        all.extend(changes);
        let (mut made, mut ended) = (Vec::new(), Vec::new());
        for change in &all {
            match change {
                Change::CreateRun { run, .. } if run.trigger == Trigger::Dependency => made.push(run.clone()),
                Change::EndRun { run, .. } => ended.push(*run),
                _ => {}
            }
        }
        let done = self.storage.commit(all).wait_blocking();
        done.expect("a commit that the rules allow");
        for run in made {
            let latest = self.latest.entry(run.job.clone()).or_default();
            latest.by_dependency = Some(run);
        }
        for run in ended {
            self.note_latest(run);
        }
    }

    /// The journal in memory looks through all runs to say which is the latest: too long for stories of so many.
    fn note_latest(&mut self, run: RunId) {
        let detail = self.storage.run(run).expect(MEMORY_ANSWERS);
        let run = detail.expect("it was committed").run;
        let latest = self.latest.entry(run.job.clone()).or_default();
        let end = |run: &RunRecord| (run.ended_at, run.id);
        let put = |place: &mut Option<RunRecord>| {
            if place.as_ref().is_none_or(|before| end(before) <= end(&run)) {
                *place = Some(run.clone());
            }
        };
        if run.status.is_finished() {
            put(&mut latest.finished);
        }
        if run.status == RunStatus::Succeeded {
            put(&mut latest.succeeded);
        }
    }

    fn decide<T>(&mut self, question: impl FnOnce(&Desk, &mut Around<'_>) -> T) -> T {
        let (latest, random) = (&self.latest, &mut self.random);
        let mut around = Around {
            now: self.now,
            presence: self.vigil.presence(),
            random: &mut || {
                *random += 1;
                *random
            },
            latest: &|job| Ok(latest.get(job).cloned().unwrap_or_default()),
            revision: None,
            tells_secret: &|_, _| false,
        };
        question(self.desk.as_ref().expect("Petit runs"), &mut around)
    }

    fn key_of(&self, run: &RunRecord) -> Key {
        match (run.trigger, run.slot) {
            (Trigger::Schedule, Some(slot)) => Key::Slot(slot),
            (Trigger::Dependency, None) => Key::Made(run.created_at),
            (Trigger::Manual, None) => Key::Hand(self.by_hand[&run.id]),
            (trigger, slot) => panic!("a run by {trigger} for {slot:?}"),
        }
    }

    // The loop.

    /// Commits batches in one transaction and lets them take effect; `false` if Petit died of it.
    fn carry_out(&mut self, batches: Vec<Batch>) -> bool {
        let crash = if batches.is_empty() { None } else { self.crash.take() };
        if crash == Some(Death::Decided) {
            self.die();
            return false;
        }
        let changes: Vec<Change> = batches.iter().flat_map(|batch| batch.changes.iter().cloned()).collect();
        if !changes.is_empty() {
            self.commit(changes);
        }
        if crash.is_some() {
            return false;
        }
        batches.into_iter().for_each(|batch| self.take_effect(batch));
        true
    }

    fn take_effect(&mut self, batch: Batch) {
        self.desk().apply(&batch);
        for order in batch.orders {
            self.random += 1;
            match order {
                Order::Start { run, .. } => {
                    self.said
                        .push((Told::Start(number(&run.job), self.key_of(&run)), run.created_at));
                    let starts = self.steady + self.pace.start_after;
                    self.ordered.insert((starts, self.random), (*run, self.pace.take));
                }
                Order::Cancel { run, unstarted, .. } => self.cancelled(run, unstarted),
            }
        }
    }

    /// The executor hears that a run is to end.
    fn cancelled(&mut self, run: RunId, unstarted: SlotReason) {
        let of_run = |record: &RunRecord| record.id == run;
        if let Some(key) = self
            .ordered
            .iter()
            .find(|(_, (record, _))| of_run(record))
            .map(|(key, _)| *key)
        {
            let (record, _) = self.ordered.remove(&key).expect("it was found");
            self.said.push((
                Told::Cancel(number(&record.job), self.key_of(&record)),
                record.created_at,
            ));
            let skipped = self.decided(&record, SlotOutcome::Skipped, Some(unstarted));
            self.commit(skipped.into_iter().collect());
            self.end(&record, RunStatus::Cancelled);
        } else if let Some(key) = self
            .running
            .iter()
            .find(|(_, (record, _))| of_run(record))
            .map(|(key, _)| *key)
        {
            let (record, _) = self.running.remove(&key).expect("it was found");
            self.said.push((
                Told::Cancel(number(&record.job), self.key_of(&record)),
                record.created_at,
            ));
            let ends = key.0.min(self.steady + self.pace.cancel_takes);
            self.running.insert((ends, self.random), (record, RunStatus::Cancelled));
        }
    }

    fn decided(&self, run: &RunRecord, outcome: SlotOutcome, reason: Option<SlotReason>) -> Option<Change> {
        Some(Change::DecideSlot {
            job: run.job.clone(),
            at: run.slot?,
            outcome,
            reason,
            detail: None,
            decided_at: self.now,
        })
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
        let job = number(&run.job);
        if let Some(slot) = run.slot {
            assert!(
                self.started.insert((job, slot)),
                "`{}` at {slot} started twice",
                run.job
            );
            self.history.push((slot, self.now));
        }
        let mut changes = vec![Change::StartRun {
            run: run.id,
            at: self.now,
        }];
        changes.extend(self.decided(&run, SlotOutcome::Ran, None));
        self.commit(changes);
        self.desk().run_moved(&run.job, run.id, RunStatus::Running);
        self.oracle.started(job, self.key_of(&run));
        self.random += 1;
        let status = if self.dice.chance(self.pace.failures) {
            RunStatus::Failed
        } else {
            RunStatus::Succeeded
        };
        self.running.insert((self.steady + take, self.random), (run, status));
    }

    /// Looks at both clocks.
    fn look(&mut self, seen: Timestamp) {
        match self.vigil.look(self.now, self.steady()) {
            Moved::Not => {}
            Moved::Forwards => self.oracle.leapt(seen, self.now),
            Moved::Backwards => {
                self.put_back = true;
                self.oracle.put_back(self.now);
            }
        }
        if std::mem::take(&mut self.put_back) {
            self.start_again();
        }
    }

    fn start_again(&mut self) {
        let now = self.now;
        self.desk().put_back(now);
        let jobs = self.desk().far_ahead(now);
        let begin_again = |world: &mut Self, job: &JobId| {
            let storage = &world.storage;
            let stretches = storage.stretches(job, now, Timestamp::MAX_UTC).expect(MEMORY_ANSWERS);
            let from = stretches
                .iter()
                .map(|stretch| stretch.from)
                .min()
                .unwrap_or(now)
                .min(now);
            let versions = stretches.iter().map(|stretch| &stretch.spec_hash);
            let beyond = Beyond {
                versions: versions.map(|hash| (hash.clone(), world.version(hash))).collect(),
                slots: storage.slots(job, from, Timestamp::MAX_UTC).expect(MEMORY_ANSWERS),
                stretches,
            };
            world.desk().start_again(job, &beyond, now)
        };
        let batches = jobs.iter().map(|job| begin_again(self, job)).collect();
        self.carry_out(batches);
    }

    /// As the loop does it. `seen` is what the clock on the wall showed when it was looked at last.
    fn step(&mut self) {
        let (set, versions) = (std::mem::take(&mut self.set), std::mem::take(&mut self.versions));
        self.step_to(&set, &versions, &[]);
        (self.set, self.versions) = (set, versions);
    }

    fn step_to(&mut self, next: &ActiveSet, versions: &[Option<Rc<Version>>], changed: &[usize]) {
        let due = self
            .decide(|desk, around| desk.tick(next, around))
            .expect(MEMORY_ANSWERS);
        let (recorded, rest): (Vec<Batch>, Vec<Batch>) = due.into_iter().partition(|batch| batch.recorded);
        let mut unrecorded = Vec::new();
        for batch in recorded {
            let started = batch.orders.iter().filter_map(|order| match order {
                Order::Start { run, .. } => Some((number(&run.job), run.slot?)),
                Order::Cancel { .. } => None,
            });
            unrecorded.extend(started);
            self.late.extend(batch.changes.iter().cloned());
            self.take_effect(batch);
        }
        if self.full {
            self.oracle.tick_unrecorded(&unrecorded, self.now);
            return self.compare();
        }
        self.oracle.orders_are_lost = self.crash == Some(Death::Committed) && !rest.is_empty();
        let decided = self.crash != Some(Death::Decided) || rest.is_empty();
        if decided {
            self.oracle.tick(versions, self.now);
        } else {
            self.oracle.tick_unrecorded(&unrecorded, self.now);
        }
        if !self.carry_out(rest) {
            return self.die();
        }
        if !changed.is_empty() {
            let now = self.now;
            let edits = self.desk().edit(next, now);
            self.carry_out(edits);
            self.desk().swap(next);
            for job in changed {
                self.oracle.edit(*job, versions[*job].clone(), self.now);
            }
        }
        self.stir();
        let claims = self.decide(|desk, around| desk.claim_ahead(around));
        if self.crash != Some(Death::Decided) {
            for change in claims.iter().flat_map(|batch| &batch.changes) {
                if let Change::SetWatermark { job, at } = change {
                    self.oracle.claimed_first(number(job), *at);
                }
            }
        }
        if !self.carry_out(claims) {
            self.compare();
            return self.die();
        }
        self.vigil.settled();
        self.oracle.settled();
        self.compare();
    }

    fn stir(&mut self) {
        // A death is told at the decisions before and after.
        let crash = self.crash.take();
        for _ in 0..100_000 {
            let now = self.now;
            let stirred = self.desk().stirred(now);
            if stirred.is_empty() {
                self.crash = crash;
                return self.oracle.stir(now);
            }
            for job in stirred {
                while let Some(batch) = self
                    .decide(|desk, around| desk.look_at(&job, around))
                    .expect(MEMORY_ANSWERS)
                {
                    self.carry_out(vec![batch]);
                }
                self.desk().settled(&job);
            }
        }
        panic!("no end of decisions at {}", self.now);
    }

    fn compare(&mut self) {
        let mut said = std::mem::take(&mut self.said);
        let mut told = self.oracle.told();
        for (what, created) in &said {
            if let Told::Start(job, key) = what {
                self.oracle.was_created(*job, *key, *created);
            }
        }
        said.sort();
        told.sort();
        let said: Vec<Told> = said.into_iter().map(|(told, _)| told).collect();
        assert_eq!(
            said, told,
            "at {}: what was ordered, and what should have been",
            self.now
        );
    }

    /// Lets time pass.
    pub fn pass(&mut self, millis: i64) {
        let until = self.steady + millis;
        loop {
            let now = self.now;
            let wake = self
                .desk()
                .next_wake(now)
                .map(|wake| self.steady + (wake - now).num_milliseconds());
            let wake = if self.full {
                Some(
                    wake.filter(|wake| *wake > self.steady)
                        .map_or(self.steady + 7_000, |wake| wake.min(self.steady + 7_000)),
                )
            } else {
                wake
            };
            let executor = !self.full;
            let starts = self
                .ordered
                .first_key_value()
                .map(|((at, _), _)| *at)
                .filter(|_| executor);
            let ends = self
                .running
                .first_key_value()
                .map(|((at, _), _)| *at)
                .filter(|_| executor);
            let next = [wake, starts, ends]
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= until);
            let Some(next) = next else {
                self.advance(until - self.steady);
                self.look(self.now);
                return self.step();
            };
            self.advance((next - self.steady).max(0));
            if starts.is_some_and(|at| at <= self.steady) {
                let (_, (run, take)) = self.ordered.pop_first().expect("it was there");
                self.start(run, take);
            } else if ends.is_some_and(|at| at <= self.steady) {
                let (_, (run, status)) = self.running.pop_first().expect("it was there");
                self.end(&run, status);
                self.oracle.ended(number(&run.job), self.key_of(&run), status, self.now);
            }
            self.look(self.now);
            self.step();
        }
    }

    // What happens.

    pub fn live(&mut self, act: Act) {
        match act {
            // Slots are whole seconds: sometimes what comes next falls between a claim and its instant.
            Act::Pass { millis } => {
                let wish = self.now + TimeDelta::milliseconds(millis);
                let offset = *self.dice.pick(&[0, 137, 901, 950, 999]);
                let end = wish.trunc_subsecs(0) + TimeDelta::milliseconds(1_000 + offset);
                self.pass((end - self.now).num_milliseconds());
            }
            Act::Leap { seconds, unnoticed } => self.moves(seconds, unnoticed),
            Act::PutBack { seconds, unnoticed } => self.moves(-seconds, unnoticed),
            Act::Die { at, seconds } => {
                if at != Death::Idle {
                    self.die_deciding(at);
                }
                if self.desk.is_some() {
                    self.die();
                }
                self.now += TimeDelta::seconds(seconds);
                self.wake_up();
                self.step();
                self.begin_schedules_again();
            }
            Act::Pause { job } => self.pause(job),
            Act::Resume { job } => self.resume(job),
            Act::Write { job, spec, lag } => self.write(job, Some(*spec), lag),
            Act::Remove { job } => self.write(job, None, 0),
            Act::Trigger { job, ignore_overlap } => self.trigger(job, ignore_overlap),
            Act::Cancel { job } => self.cancel(job),
            Act::DiskFull { seconds } => {
                self.full = true;
                self.pass(seconds * 1_000);
                self.full = false;
                self.step();
            }
            Act::Pace {
                start_after,
                take,
                failures,
                cancel_takes,
            } => {
                self.pace = Pace {
                    start_after,
                    take,
                    failures,
                    cancel_takes,
                }
            }
        }
    }

    /// The clock on the wall moves; the loop sees it when it wakes, which it does every half minute.
    fn moves(&mut self, seconds: i64, unnoticed: i64) {
        let seen = self.now;
        self.now += TimeDelta::seconds(seconds);
        self.advance(unnoticed);
        self.look(seen);
        self.step();
        self.begin_schedules_again();
    }

    /// Dies over its next decision.
    fn die_deciding(&mut self, at: Death) {
        let now = self.now;
        let wake = self.desk().next_wake(now).map(|wake| (wake - now).num_milliseconds());
        let Some(wake) = wake.filter(|wake| (1..4_000_000).contains(wake)) else {
            return;
        };
        self.pass(wake - 1);
        self.advance(1);
        self.look(self.now);
        self.crash = Some(at);
        self.step();
        self.crash = None;
    }

    fn die(&mut self) {
        if self.desk.take().is_none() {
            return;
        }
        self.ordered.clear();
        self.said.clear();
        let lost = self.late.drain(..).filter_map(|change| match change {
            Change::SetWatermark { job, at } => Some((number(&job), at)),
            _ => None,
        });
        self.oracle.died(&lost.collect::<Vec<_>>());
    }

    fn version(&self, hash: &SpecHash) -> Arc<Job> {
        let record = self
            .storage
            .spec(hash)
            .expect(MEMORY_ANSWERS)
            .expect("every version is kept");
        Arc::new(Job::from_canonical(&record.canonical).expect("it was valid"))
    }

    fn wake_up(&mut self) {
        self.vigil = Vigil::new(self.now, self.steady());
        for (key, (run, status)) in std::mem::take(&mut self.running) {
            // Some are taken up again.
            if self.dice.chance(50) {
                self.end(&run, RunStatus::Interrupted);
                let key = self.key_of(&run);
                self.oracle
                    .ended(number(&run.job), key, RunStatus::Interrupted, self.now);
            } else {
                self.running.insert(key, (run, status));
            }
        }
        let unfinished = self.storage.unfinished().expect(MEMORY_ANSWERS);
        let bound = unfinished.iter().map(|detail| &detail.run.spec_hash);
        let bound = bound.map(|hash| (hash.clone(), self.version(hash)));
        let past = Past {
            watermarks: self.storage.watermarks().expect(MEMORY_ANSWERS),
            beyond_watermark: self.storage.beyond_watermark().expect(MEMORY_ANSWERS),
            pauses: self.storage.pauses().expect(MEMORY_ANSWERS),
            bound: bound.collect(),
            unfinished,
        };
        self.desk = Some(Desk::new(&self.set, past));
        self.start_again();
        let claimed = self.storage.claimed().expect(MEMORY_ANSWERS);
        let batches = self
            .decide(|desk, around| desk.recover(&claimed, around))
            .expect(MEMORY_ANSWERS);
        self.carry_out(batches);
        self.oracle.came_back(self.now);
    }

    /// What reconcile does: an edit of the schedule, enabling, and a file's return count from now.
    pub fn write(&mut self, job: usize, spec: Option<Spec>, lag: i64) {
        // Two edits of a job have two instants.
        self.advance(1);
        let since = self.now;
        let old = self.versions[job].clone();
        let new = spec.map(|spec| {
            let same = old
                .as_ref()
                .filter(|old| old.spec.times == spec.times && old.spec.zone == spec.zone);
            let goes_on = same.filter(|old| old.spec.enabled || !spec.enabled);
            let anchor = same.map_or(since, |old| old.anchor);
            (goes_on.map_or(since, |old| old.since), anchor, spec)
        });
        self.advance(lag);
        self.publish(&[(job, new)], since);
    }

    /// What reconcile does after the clock was put back far: schedules that count from a future that was taken back count
    /// from now, and periods keep their beat.
    fn begin_schedules_again(&mut self) {
        let now = self.now;
        let mut changed = Vec::new();
        for (job, version) in self.versions.iter().enumerate() {
            let Some(version) = version
                .as_ref()
                .filter(|version| version.since.max(version.anchor) > now + TimeDelta::hours(3))
            else {
                continue;
            };
            let mut anchor = version.anchor;
            match version.spec.times {
                Some(Times::Every(period)) => {
                    while anchor > now {
                        anchor -= period;
                    }
                }
                Some(Times::Crons(_)) | None => anchor = anchor.min(now),
            }
            changed.push((job, Some((version.since.min(now), anchor, version.spec.clone()))));
        }
        if !changed.is_empty() {
            self.publish(&changed, now);
        }
    }

    fn publish(&mut self, changes: &[(usize, Option<Count>)], at: Timestamp) {
        let mut next = self.set.clone();
        let mut versions = self.versions.clone();
        for (job, new) in changes {
            let id = name(*job);
            let before = versions[*job].take();
            next.remove(&id);
            if let Some((since, anchor, spec)) = new {
                let mut active: ActiveJob = (*active_at(id.as_str(), &spec.yaml(), at)).clone();
                (active.record.scheduled_since, active.record.anchor) = (*since, *anchor);
                let bound = Arc::clone(&active.job);
                let jittered = !spec.jitter.is_zero();
                versions[*job] = Some(Rc::new(Version {
                    spec: spec.clone(),
                    since: *since,
                    anchor: *anchor,
                    start_of: Box::new(move |slot| if jittered { series::start_of(&bound, slot) } else { slot }),
                }));
                self.commit(vec![
                    Change::PutSpec(spec_record(&active)),
                    Change::SetActive(active.record.clone()),
                ]);
                next.insert(id, Arc::new(active));
            }
            let goes_on =
                before.is_some() && versions[*job].as_ref().map(|new| new.since) == before.map(|old| old.since);
            if !goes_on {
                let open = self
                    .regimes
                    .iter_mut()
                    .find(|regime| regime.job == *job && regime.until.is_none());
                if let Some(open) = open {
                    // A job that goes is gone when the scheduler hears of it.
                    open.until = Some(new.as_ref().map_or(self.now, |_| at));
                }
                self.regimes.extend(versions[*job].iter().map(|version| Regime {
                    job: *job,
                    version: Rc::clone(version),
                    until: None,
                }));
            }
        }
        self.look(self.now);
        let changed: Vec<usize> = changes.iter().map(|(job, _)| *job).collect();
        self.step_to(&next, &versions, &changed);
        (self.set, self.versions) = (next, versions);
    }

    fn pause(&mut self, job: Option<usize>) {
        self.step();
        let (job_id, since) = (job.map(name), self.now);
        let batch = self.desk().pause(PauseRecord {
            job: job_id,
            since,
            by: "somebody".to_owned(),
            reason: None,
        });
        self.carry_out(vec![batch]);
        self.oracle.pause(job, since);
        self.step();
    }

    fn resume(&mut self, job: Option<usize>) {
        self.step();
        let now = self.now;
        let batch = self.desk().resume(job.map(name).as_ref(), now);
        assert_eq!(
            batch.is_some(),
            self.oracle.is_paused(job),
            "whether there is a pause to end"
        );
        if let Some(batch) = batch {
            assert!(batch.orders.is_empty(), "resuming starts nothing");
            self.carry_out(vec![batch]);
            self.oracle.resume(job, now);
        }
        self.step();
    }

    fn trigger(&mut self, job: usize, ignore_overlap: bool) {
        self.advance(1);
        self.look(self.now);
        self.step();
        let made = self.decide(|desk, around| desk.trigger(&name(job), serde_json::Map::new(), ignore_overlap, around));
        let count = self.by_hand.len() as u64;
        let expected = self.oracle.trigger(job, Key::Hand(count), ignore_overlap, self.now);
        assert_eq!(
            made.is_ok(),
            expected,
            "whether job-{job} may be triggered at {}",
            self.now
        );
        if let Ok((batch, triggered)) = made {
            self.by_hand.insert(triggered.run, count);
            self.carry_out(vec![batch]);
        }
        self.step();
    }

    fn cancel(&mut self, job: usize) {
        self.step();
        let mut unfinished = self.storage.unfinished().expect(MEMORY_ANSWERS);
        unfinished.retain(|detail| number(&detail.run.job) == job);
        if unfinished.is_empty() {
            return;
        }
        let chosen = unfinished.swap_remove(self.dice.index(unfinished.len())).run;
        let now = self.now;
        let batch = self.desk().cancel(chosen.id, "somebody wished it".to_owned(), now);
        self.carry_out(vec![batch]);
        let key = self.key_of(&chosen);
        match key {
            Key::Slot(slot) if !self.oracle.unfinished(job).contains(&key) => self.oracle.cancel_claimed(job, slot),
            Key::Slot(_) | Key::Hand(_) | Key::Made(_) => self.oracle.cancel_by_hand(job, key, now),
        }
        self.step();
    }

    // The end.

    /// Ends every pause and hold and lets every run end, so that each slot must have its outcome.
    pub fn settle(&mut self) {
        let jobs = self.versions.len();
        for job in std::iter::once(None).chain((0..jobs).map(Some)) {
            self.resume(job);
        }
        (self.pace.start_after, self.pace.take, self.pace.cancel_takes) = (0, 0, 0);
        self.pass(1_000);
        for job in 0..jobs {
            self.write(job, None, 0);
        }
        // Longer than any run.
        self.pass(4_000_000);
    }

    /// How many slots of a job became what, save those that ran.
    pub fn passed(&self, job: usize) -> BTreeMap<(SlotOutcome, Option<SlotReason>), usize> {
        let mut passed = BTreeMap::new();
        for fate in self
            .oracle
            .ledger(job)
            .values()
            .flatten()
            .filter(|(outcome, _)| *outcome != SlotOutcome::Ran)
        {
            *passed.entry(*fate).or_default() += 1;
        }
        passed
    }

    /// Holds the ledger against what should be in it.
    pub fn audit(&mut self, was_put_back: bool) -> Tale {
        let mut slots = 0;
        assert_eq!(
            self.storage.claimed().expect(MEMORY_ANSWERS),
            [],
            "a slot without an outcome"
        );
        assert_eq!(
            self.storage.unfinished().expect(MEMORY_ANSWERS),
            [],
            "a run without an end"
        );
        for job in 0..self.versions.len() {
            slots += self.audit_job(job);
            if !was_put_back {
                self.audit_schedules(job);
            }
        }
        Tale {
            slots,
            started: self.started.len() as u64,
        }
    }

    fn audit_job(&self, job: usize) -> u64 {
        let id = name(job);
        let expected = self.oracle.ledger(job);
        let rows = self
            .storage
            .slots(&id, Timestamp::MIN_UTC, Timestamp::MAX_UTC)
            .expect(MEMORY_ANSWERS);
        let mut left: BTreeMap<Timestamp, _> = expected.clone();
        for row in &rows {
            let fate = left.remove(&row.at);
            let fate = fate.unwrap_or_else(|| panic!("`{id}` at {} should have no row: {row:?}", row.at));
            assert_eq!(
                row.outcome.map(|outcome| (outcome, row.reason)),
                fate,
                "what became of {row:?}"
            );
            let started = self.started.contains(&(job, row.at));
            assert_eq!(row.outcome == Some(SlotOutcome::Ran), started, "{row:?}");
        }
        for stretch in self
            .storage
            .stretches(&id, Timestamp::MIN_UTC, Timestamp::MAX_UTC)
            .expect(MEMORY_ANSWERS)
        {
            let covered: Vec<(Timestamp, _)> = left
                .range(stretch.from..=stretch.to)
                .map(|(at, fate)| (*at, *fate))
                .collect();
            assert_eq!(
                covered.len() as u64,
                stretch.slots,
                "how many slots there are in {stretch:?}"
            );
            assert_eq!(covered.first().map(|(at, _)| *at), Some(stretch.from), "{stretch:?}");
            assert_eq!(covered.last().map(|(at, _)| *at), Some(stretch.to), "{stretch:?}");
            for (at, fate) in covered {
                assert_eq!(
                    fate,
                    Some((stretch.outcome, Some(stretch.reason))),
                    "what became of {at} in {stretch:?}"
                );
                left.remove(&at);
            }
        }
        assert_eq!(left, BTreeMap::new(), "slots of `{id}` without an outcome");
        expected.len() as u64
    }

    /// That the ledger has the slots of every version that was active, and no others: a walk from the edits alone.
    fn audit_schedules(&self, job: usize) {
        let mut expected = BTreeSet::new();
        for regime in self.regimes.iter().filter(|regime| regime.job == job) {
            let Version {
                spec, since, anchor, ..
            } = &*regime.version;
            let Some(times) = spec.times.clone() else { continue };
            let mut calendar = Calendar::new(times, spec.zone, *anchor, *since);
            expected.extend(
                calendar
                    .slots_in(*since, regime.until.unwrap_or(self.now))
                    .iter()
                    .copied(),
            );
        }
        let recorded: BTreeSet<Timestamp> = self.oracle.ledger(job).keys().copied().collect();
        let odd: Vec<_> = expected.symmetric_difference(&recorded).take(5).collect();
        assert!(
            odd.is_empty(),
            "job-{job}: of the slots and the ledger only one has {odd:?}"
        );
    }
}

fn name(job: usize) -> JobId {
    JobId::new(format!("job-{job}")).expect("a slug")
}

fn number(job: &JobId) -> usize {
    let number = job.as_str().strip_prefix("job-").and_then(|number| number.parse().ok());
    number.expect("a job of the story")
}
