//! The rules once more: what must become of every slot, said slowly and without the code under test.
//!
//! The oracle is told what happens (the clock, edits, pauses, deaths, what the executor does) and keeps one entry a slot,
//! where the scheduler keeps a watermark and stretches. It looks at every job at every step, where the scheduler looks at
//! those for which something happened. Taken as given are the share of a slot in its jitter, and the instant at which a
//! run was recorded; the names of outcomes are the only thing that both use.

use std::{collections::BTreeMap, rc::Rc};

use chrono::TimeDelta;

use super::{
    calendar::Calendar,
    stories::{Condition, Overlap, Policy, Spec},
};
use crate::core::{
    Timestamp,
    state::{RunStatus, SlotOutcome, SlotReason},
};

/// How far ahead the last slot may lie for the clock to be waited for.
const FAR: TimeDelta = TimeDelta::hours(3);

/// A run, by what made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Slot(Timestamp),
    /// By hand; counted.
    Hand(u64),
    /// By the success of other jobs, at an instant.
    Made(Timestamp),
}

impl Key {
    fn is_by_hand(self) -> bool {
        match self {
            Self::Hand(_) => true,
            Self::Slot(_) | Self::Made(_) => false,
        }
    }

    fn slot(self) -> Option<Timestamp> {
        match self {
            Self::Slot(slot) => Some(slot),
            Self::Hand(_) | Self::Made(_) => None,
        }
    }
}

/// What the executor is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Start(usize, Key),
    Cancel(usize, Key),
}

/// What became of a slot; `None` while its run has neither started nor ended.
pub type Fate = Option<(SlotOutcome, Option<SlotReason>)>;

/// A version of a job as it is active.
pub struct Version {
    pub spec: Spec,
    pub since: Timestamp,
    pub anchor: Timestamp,
    /// When a slot is to start: its instant and its share of the jitter.
    pub start_of: Box<dyn Fn(Timestamp) -> Timestamp>,
}

impl Version {
    fn lateness(&self, slot: Timestamp, now: Timestamp) -> TimeDelta {
        now - (self.start_of)(slot)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Ordered,
    Running,
}

struct Run {
    key: Key,
    number: u64,
    created: Timestamp,
    version: Rc<Version>,
    phase: Phase,
    cancelling: bool,
    made_up: bool,
    wait_until: Option<Timestamp>,
    /// The same two as they were when the run was recorded.
    recorded: (bool, Option<Timestamp>),
}

impl Run {
    fn turn(&self) -> (Timestamp, bool, Option<Timestamp>, u64) {
        let slot = self.key.slot();
        (self.created, slot.is_none(), slot, self.number)
    }
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at: Timestamp,
    created: Timestamp,
    number: u64,
    status: RunStatus,
}

#[derive(Default)]
struct Job {
    active: Option<Rc<Version>>,
    calendar: Option<Calendar>,
    paused: bool,
    /// Up to here everything is in the ledger.
    mark: Option<Timestamp>,
    /// Before the slot whose place in the ledger may be lost by a crash.
    mark_before: Option<Timestamp>,
    ledger: BTreeMap<Timestamp, Fate>,
    runs: Vec<Run>,
    finished: Option<Ended>,
    succeeded: Option<Ended>,
    /// What the last run used that the success of others made.
    used: Vec<u64>,
}

/// How another job stands for those that need it.
#[derive(Clone, Copy)]
enum Standing {
    Absent,
    Unfinished,
    Settled(Option<Ended>, Option<Ended>),
}

/// What the policy says of one slot.
enum Judged {
    Runs,
    IntoNewest(SlotReason),
    Never(SlotOutcome, SlotReason),
}

pub struct Oracle {
    jobs: Vec<Job>,
    paused: bool,
    /// Since when Petit runs.
    since: Timestamp,
    /// What the clock leapt over last, while Petit ran.
    leap: Option<(Timestamp, Timestamp)>,
    /// Whether something that the leap passed over may be undecided.
    unsettled: bool,
    numbers: u64,
    told: Vec<Told>,
    /// Whether Petit is about to die before it gives the orders that it decides on.
    pub orders_are_lost: bool,
    /// How many slots were started.
    pub started: u64,
}

impl Oracle {
    pub fn new(jobs: usize, now: Timestamp) -> Self {
        Self {
            jobs: std::iter::repeat_with(Job::default).take(jobs).collect(),
            paused: false,
            since: now,
            leap: None,
            unsettled: false,
            numbers: 0,
            told: Vec::new(),
            orders_are_lost: false,
            started: 0,
        }
    }

    /// What the executor should have been told since this was asked last.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// What should be in the ledger of a job.
    pub fn ledger(&self, job: usize) -> &BTreeMap<Timestamp, Fate> {
        &self.jobs[job].ledger
    }

    pub fn unfinished(&self, job: usize) -> Vec<Key> {
        self.jobs[job].runs.iter().map(|run| run.key).collect()
    }

    // The clock.

    /// The clock leapt from what was seen last to what it shows now.
    pub fn leapt(&mut self, from: Timestamp, to: Timestamp) {
        let from = self.leap.filter(|_| self.unsettled).map_or(from, |(first, _)| first);
        self.leap = Some((from, to));
        self.unsettled = true;
    }

    /// Everything due was decided.
    pub fn settled(&mut self) {
        self.unsettled = false;
    }

    /// The clock was put back; slots recorded too far ahead begin again.
    pub fn put_back(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.leap = None;
        self.begin_again(now);
    }

    fn begin_again(&mut self, now: Timestamp) {
        for job in &mut self.jobs {
            for run in &mut job.runs {
                let longest = run.version.spec.needs.iter().map(|need| need.wait).max();
                run.wait_until = run.wait_until.map(|until| until.min(now + longest.unwrap_or_default()));
            }
            if job.mark.is_none_or(|mark| mark <= now + FAR) {
                continue;
            }
            let void = |run: &Run| run.phase == Phase::Waiting && run.key.slot().is_some_and(|slot| slot > now);
            let ended: Vec<Key> = job.runs.iter().filter(|run| void(run)).map(|run| run.key).collect();
            for key in ended {
                job.end(key, RunStatus::Cancelled, now);
                job.ledger.remove(&key.slot().expect("it has one"));
            }
            let ran = |fate: &Fate| fate.is_none_or(|(outcome, _)| outcome == SlotOutcome::Ran);
            job.ledger.retain(|slot, fate| *slot <= now || ran(fate));
            job.mark = Some(now);
        }
    }

    /// Why a slot that is late is so.
    fn absence(&self, version: &Version, slot: Timestamp) -> SlotReason {
        match self.leap {
            Some((from, to)) if slot > self.since && slot > from - version.spec.jitter && slot <= to => {
                SlotReason::Clock
            }
            Some(_) | None => SlotReason::Down,
        }
    }

    // Slots.

    fn hold(&self, job: usize) -> Option<SlotReason> {
        let enabled = self.jobs[job]
            .active
            .as_ref()
            .is_none_or(|version| version.spec.enabled);
        match (enabled, self.paused || self.jobs[job].paused) {
            (false, _) => Some(SlotReason::Disabled),
            (true, true) => Some(SlotReason::Paused),
            (true, false) => None,
        }
    }

    /// The slots that nothing was decided about, up to an instant.
    fn open(&mut self, job: usize, until: Timestamp) -> Vec<Timestamp> {
        let job = &mut self.jobs[job];
        let begins = job.begins();
        let Some(calendar) = job.calendar.as_mut().filter(|_| begins < until) else {
            return Vec::new();
        };
        let slots = calendar.slots_in(begins, until).iter();
        slots.filter(|slot| !job.ledger.contains_key(slot)).copied().collect()
    }

    /// Of those the ones that are due, none before its elders.
    fn due(&mut self, job: usize, until: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        if self.hold(job).is_some() {
            return Vec::new();
        }
        let Some(version) = self.jobs[job].active.clone() else {
            return Vec::new();
        };
        let mut open = self.open(job, until.min(now));
        let ready = open.iter().take_while(|slot| (version.start_of)(**slot) <= now).count();
        open.truncate(ready);
        open
    }

    /// Rule 10, slot by slot. What waits in line already counts against the limit.
    fn judge(&self, job: usize, version: &Version, slots: &[Timestamp], now: Timestamp) -> Vec<Judged> {
        let spec = &version.spec;
        let newest = slots.last().copied();
        let waits = |run: &&Run| run.phase == Phase::Waiting && run.key.slot().is_some();
        let mut made_up = self.jobs[job].runs.iter().filter(waits).count();
        let mut judged = Vec::with_capacity(slots.len());
        for slot in slots.iter().copied() {
            let is_newest = Some(slot) == newest;
            judged.push(if is_newest && version.lateness(slot, now) <= spec.grace {
                Judged::Runs
            } else if now - slot > spec.window {
                Judged::Never(SlotOutcome::Missed, SlotReason::Window)
            } else {
                match spec.policy {
                    Policy::Skip => Judged::Never(SlotOutcome::Missed, self.absence(version, slot)),
                    Policy::Once if is_newest => Judged::Runs,
                    Policy::Once => Judged::IntoNewest(self.absence(version, slot)),
                    Policy::All if made_up < spec.limit => {
                        made_up += 1;
                        Judged::Runs
                    }
                    Policy::All => Judged::Never(SlotOutcome::Missed, SlotReason::Limit),
                }
            });
        }
        judged
    }

    /// Decides what is due. `next` says which versions are about to take over: slots of a schedule that is replaced are due
    /// up to that instant, are judged by the version of their time, and run with the new one.
    pub fn tick(&mut self, next: &[Option<Rc<Version>>], now: Timestamp) {
        let due: Vec<Vec<Timestamp>> = (0..self.jobs.len())
            .map(|job| self.due(job, self.ends(job, next, now), now))
            .collect();
        if due.iter().all(Vec::is_empty) {
            return;
        }
        let judged: Vec<Vec<Judged>> = due
            .iter()
            .enumerate()
            .map(|(job, slots)| match &self.jobs[job].active {
                Some(version) => self.judge(job, version, slots, now),
                None => Vec::new(),
            })
            .collect();
        let runs = |judged: &&Judged| matches!(judged, Judged::Runs);
        let starts: Vec<usize> = judged.iter().map(|judged| judged.iter().filter(runs).count()).collect();
        let standings: Vec<Standing> = (0..self.jobs.len())
            .map(|job| self.standing(job, starts[job] > 0, due[job].last().copied(), now))
            .collect();
        for (job, (slots, judged)) in due.iter().zip(judged).enumerate() {
            let Some(active) = self.jobs[job].active.clone() else {
                continue;
            };
            let Some(last) = slots.last() else { continue };
            let bound = next[job].clone().unwrap_or(active);
            let in_line = starts[job] > 1;
            let mut merged = Vec::new();
            let mut newest_is_in = false;
            for (slot, judged) in slots.iter().copied().zip(judged) {
                match judged {
                    Judged::Runs => newest_is_in = self.admit(job, slot, &bound, in_line, &standings, now),
                    Judged::IntoNewest(reason) => merged.push((slot, reason)),
                    Judged::Never(outcome, reason) => self.jobs[job].decide(slot, outcome, Some(reason)),
                }
            }
            let outcome = if newest_is_in {
                SlotOutcome::Merged
            } else {
                SlotOutcome::Missed
            };
            for (slot, reason) in merged {
                self.jobs[job].decide(slot, outcome, Some(reason));
            }
            self.jobs[job].mark_to(*last);
        }
    }

    fn ends(&self, job: usize, next: &[Option<Rc<Version>>], now: Timestamp) -> Timestamp {
        match (&self.jobs[job].active, &next[job]) {
            (Some(old), Some(newer)) if newer.since > old.since => newer.since.min(now),
            (_, _) => now,
        }
    }

    /// The disk is full: what was claimed before may start all the same, if nothing is in its way. Says which jobs did.
    pub fn tick_unrecorded(&mut self, started: &[(usize, Timestamp)], now: Timestamp) {
        for (job, slot) in started {
            let due = self.due(*job, now, now);
            assert_eq!(
                due,
                [*slot],
                "job-{job} starts what was claimed, and nothing else is due"
            );
            let version = self.jobs[*job].active.clone().expect("it is active");
            assert!(
                matches!(self.judge(*job, &version, &due, now)[..], [Judged::Runs]),
                "job-{job} at {slot} was not to run"
            );
            assert!(
                version.spec.needs.is_empty()
                    && (version.spec.overlap == Overlap::Allow || self.jobs[*job].runs.is_empty()),
                "job-{job} at {slot}: something was in the way"
            );
            self.admit(*job, *slot, &version, false, &[], now);
            self.jobs[*job].mark_to(*slot);
        }
    }

    fn admit(
        &mut self,
        job: usize,
        slot: Timestamp,
        bound: &Rc<Version>,
        in_line: bool,
        standings: &[Standing],
        now: Timestamp,
    ) -> bool {
        let overlap = bound.spec.overlap;
        if overlap == Overlap::Skip && !in_line && !self.jobs[job].runs.is_empty() {
            self.jobs[job].decide(slot, SlotOutcome::Skipped, Some(SlotReason::Overlap));
            return false;
        }
        let wait = unmet(bound, standings, now);
        if wait == Some(TimeDelta::zero()) {
            self.jobs[job].decide(slot, SlotOutcome::Skipped, Some(SlotReason::Dependency));
            return false;
        }
        self.numbers += 1;
        let made_up = bound.spec.policy == Policy::All && bound.lateness(slot, now) > bound.spec.grace;
        let wait_until = wait.map(|wait| now + wait);
        let mut run = Run {
            key: Key::Slot(slot),
            number: self.numbers,
            created: now,
            version: Rc::clone(bound),
            phase: Phase::Waiting,
            cancelling: false,
            made_up,
            wait_until,
            recorded: (made_up, wait_until),
        };
        let ahead = &self.jobs[job].runs;
        let backlog_waits = ahead.iter().any(|run| run.phase == Phase::Waiting && run.made_up);
        if wait.is_none() && (ahead.is_empty() || overlap == Overlap::Allow) {
            run.phase = Phase::Ordered;
            self.told.push(Told::Start(job, run.key));
        } else if wait.is_none() && overlap == Overlap::Replace && !in_line && !backlog_waits {
            self.replace(job, None, now);
        } else if !in_line && (overlap == Overlap::Queue || overlap == Overlap::Replace) {
            self.take_places(job, now);
        }
        self.jobs[job].ledger.insert(slot, None);
        self.jobs[job].runs.push(run);
        true
    }

    /// A newer run that nobody asked for takes the place of an older one that waits.
    fn take_places(&mut self, job: usize, now: Timestamp) {
        let waits = |run: &&Run| run.phase == Phase::Waiting && !run.key.is_by_hand() && !run.made_up;
        let older: Vec<Key> = self.jobs[job].runs.iter().filter(waits).map(|run| run.key).collect();
        for key in older {
            self.never_starts(job, key, SlotOutcome::Merged, SlotReason::Overlap, now);
        }
    }

    /// Every older run of a job ends for a newcomer. Whether that was news for any of them.
    fn replace(&mut self, job: usize, newcomer: Option<Key>, now: Timestamp) -> bool {
        let others = self.jobs[job].runs.iter().filter(|run| Some(run.key) != newcomer);
        let older: Vec<(Key, Phase, bool)> = others.map(|run| (run.key, run.phase, run.cancelling)).collect();
        self.make_way(job, &older, now)
    }

    fn make_way(&mut self, job: usize, older: &[(Key, Phase, bool)], now: Timestamp) -> bool {
        let mut news = false;
        for (key, phase, cancelling) in older.iter().copied() {
            match phase {
                Phase::Waiting => self.never_starts(job, key, SlotOutcome::Skipped, SlotReason::Overlap, now),
                Phase::Ordered | Phase::Running if cancelling => continue,
                Phase::Ordered | Phase::Running => self.cancel(job, key, SlotReason::Overlap, now),
            }
            news = true;
        }
        news
    }

    /// A run that waits ends.
    fn never_starts(&mut self, job: usize, key: Key, outcome: SlotOutcome, reason: SlotReason, now: Timestamp) {
        let job = &mut self.jobs[job];
        job.end(key, RunStatus::Cancelled, now);
        if let Some(slot) = key.slot() {
            job.decide(slot, outcome, Some(reason));
        }
    }

    /// A run that was handed on is to end. One that has not started ends at once.
    fn cancel(&mut self, job: usize, key: Key, reason: SlotReason, now: Timestamp) {
        if self.orders_are_lost {
            return;
        }
        self.told.push(Told::Cancel(job, key));
        let run = self.jobs[job].run_mut(key);
        run.cancelling = true;
        match run.phase {
            Phase::Running => {}
            Phase::Ordered | Phase::Waiting => self.never_starts(job, key, SlotOutcome::Skipped, reason, now),
        }
    }

    // Runs that wait.

    /// `due` is the last slot that is decided this very moment, and `starts` whether one of those runs.
    fn standing(&mut self, job: usize, starts: bool, due: Option<Timestamp>, now: Timestamp) -> Standing {
        if self.jobs[job].active.is_none() {
            return Standing::Absent;
        }
        let by_itself = self.jobs[job].runs.iter().any(|run| !run.key.is_by_hand());
        let held = self.hold(job).is_some();
        let undecided = |oracle: &mut Self| {
            let open = oracle.open(job, now);
            open.iter().any(|slot| due.is_none_or(|due| *slot > due))
        };
        if by_itself || starts || (!held && undecided(self)) {
            return Standing::Unfinished;
        }
        Standing::Settled(self.jobs[job].finished, self.jobs[job].succeeded)
    }

    fn standings_now(&mut self, version: &Version, now: Timestamp) -> Vec<Standing> {
        if version.spec.needs.is_empty() {
            return Vec::new();
        }
        (0..self.jobs.len())
            .map(|job| self.standing(job, false, None, now))
            .collect()
    }

    /// Starts, ends and makes whatever can be, until nothing more can.
    pub fn stir(&mut self, now: Timestamp) {
        for _ in 0..100_000 {
            if !(0..self.jobs.len()).any(|job| self.stir_job(job, now)) {
                return;
            }
        }
        panic!("no end of runs at {now}");
    }

    fn stir_job(&mut self, job: usize, now: Timestamp) -> bool {
        if self.jobs[job].runs.iter().all(|run| run.phase != Phase::Waiting) {
            return self.make(job, now);
        }
        self.jobs[job].runs.sort_by_key(Run::turn);
        let all = &self.jobs[job].runs;
        // Slots that were decided at once stand in one line.
        let mut at_once: BTreeMap<Timestamp, usize> = BTreeMap::new();
        for run in all.iter().filter(|run| run.key.slot().is_some()) {
            *at_once.entry(run.created).or_default() += if run.made_up { 2 } else { 1 };
        }
        let handed_on = all.iter().filter(|run| run.phase != Phase::Waiting);
        let mut ahead: Vec<(Key, Phase, bool)> = handed_on.map(|run| (run.key, run.phase, run.cancelling)).collect();
        let backlog_waits = all.iter().any(|run| run.phase == Phase::Waiting && run.made_up);
        let waiting: Vec<Key> = all
            .iter()
            .filter(|run| run.phase == Phase::Waiting)
            .map(|run| run.key)
            .collect();
        for key in waiting {
            let run = self.jobs[job].run_mut(key);
            let (version, created, until, made_up) =
                (Rc::clone(&run.version), run.created, run.wait_until, run.made_up);
            let in_line = made_up || (key.slot().is_some() && at_once[&created] > 1);
            let standings = self.standings_now(&version, now);
            let wait = if key.slot().is_some() {
                unmet(&version, &standings, now)
            } else {
                None
            };
            // One that somebody had started beside it is waited for, and not ended.
            let turn = self.jobs[job].run_mut(key).turn();
            let runs = &self.jobs[job].runs;
            let before = |other: Key| runs.iter().any(|run| run.key == other && run.turn() < turn);
            let replaces = version.spec.overlap == Overlap::Replace && !in_line && !backlog_waits;
            let older: Vec<(Key, Phase, bool)> = if replaces {
                ahead.iter().filter(|(other, ..)| before(*other)).copied().collect()
            } else {
                Vec::new()
            };
            if let Some(wait) = wait {
                let until = until.unwrap_or(created + wait);
                self.jobs[job].run_mut(key).wait_until = Some(until);
                if until <= now {
                    self.never_starts(job, key, SlotOutcome::Skipped, SlotReason::Dependency, now);
                    return true;
                }
            } else if ahead.is_empty() || version.spec.overlap == Overlap::Allow {
                self.jobs[job].run_mut(key).phase = Phase::Ordered;
                self.told.push(Told::Start(job, key));
                return true;
            } else if version.spec.overlap == Overlap::Replace
                && !in_line
                && !backlog_waits
                && self.make_way(job, &older, now)
            {
                return true;
            }
            ahead.push((key, Phase::Waiting, false));
        }
        self.make(job, now)
    }

    /// A job that needs others and has no schedule runs once all of them have met their condition since its last such run.
    fn make(&mut self, job: usize, now: Timestamp) -> bool {
        let Some(version) = self.jobs[job].active.clone() else {
            return false;
        };
        if version.spec.times.is_some() || version.spec.needs.is_empty() || self.hold(job).is_some() {
            return false;
        }
        let standings = self.standings_now(&version, now);
        let begins = self.jobs[job].begins().max(version.anchor);
        let used = &self.jobs[job].used;
        let mut consumed = Vec::new();
        for need in &version.spec.needs {
            match met(need.condition, need.window, standings[need.job], now) {
                Some(run) if run.at > begins && !used.contains(&run.number) => consumed.push(run.number),
                Some(_) | None => return false,
            }
        }
        self.numbers += 1;
        let key = Key::Made(now);
        self.jobs[job].used = consumed;
        let run = Run {
            key,
            number: self.numbers,
            created: now,
            version: Rc::clone(&version),
            phase: Phase::Waiting,
            cancelling: false,
            made_up: false,
            wait_until: None,
            recorded: (false, None),
        };
        self.enter(job, run, version.spec.overlap, now);
        true
    }

    /// A run that no slot made. Whether it is let in.
    fn enter(&mut self, job: usize, mut run: Run, overlap: Overlap, now: Timestamp) -> bool {
        let ahead = &self.jobs[job].runs;
        let backlog_waits = ahead.iter().any(|run| run.phase == Phase::Waiting && run.made_up);
        let key = run.key;
        let free = ahead.is_empty() || overlap == Overlap::Allow;
        match overlap {
            Overlap::Skip if !free => {
                if !key.is_by_hand() {
                    self.jobs[job].runs.push(run);
                    self.jobs[job].end(key, RunStatus::Cancelled, now);
                }
                return false;
            }
            Overlap::Skip | Overlap::Queue | Overlap::Replace | Overlap::Allow if free => {
                run.phase = Phase::Ordered;
                self.told.push(Told::Start(job, key));
            }
            Overlap::Replace if !backlog_waits => {
                self.replace(job, None, now);
            }
            Overlap::Queue | Overlap::Replace if !key.is_by_hand() => self.take_places(job, now),
            Overlap::Skip | Overlap::Queue | Overlap::Replace | Overlap::Allow => {}
        }
        self.jobs[job].runs.push(run);
        true
    }

    // Commands.

    /// Somebody asks for a run. Whether there will be one.
    pub fn trigger(&mut self, job: usize, key: Key, ignore_overlap: bool, now: Timestamp) -> bool {
        let Some(version) = self.jobs[job].active.clone() else {
            return false;
        };
        self.numbers += 1;
        let overlap = if ignore_overlap {
            Overlap::Allow
        } else {
            version.spec.overlap
        };
        let run = Run {
            key,
            number: self.numbers,
            created: now,
            version,
            phase: Phase::Waiting,
            cancelling: false,
            made_up: false,
            wait_until: None,
            recorded: (false, None),
        };
        self.enter(job, run, overlap, now)
    }

    /// Somebody ends a run.
    pub fn cancel_by_hand(&mut self, job: usize, key: Key, now: Timestamp) {
        match self.jobs[job].run_mut(key).phase {
            Phase::Waiting => self.never_starts(job, key, SlotOutcome::Skipped, SlotReason::Cancelled, now),
            Phase::Ordered | Phase::Running => self.cancel(job, key, SlotReason::Cancelled, now),
        }
    }

    /// Somebody ends a run that is claimed ahead of its instant.
    pub fn cancel_claimed(&mut self, job: usize, slot: Timestamp) {
        self.jobs[job]
            .ledger
            .insert(slot, Some((SlotOutcome::Skipped, Some(SlotReason::Cancelled))));
    }

    pub fn pause(&mut self, job: Option<usize>, now: Timestamp) {
        match job {
            Some(job) => self.jobs[job].paused = true,
            None => self.paused = true,
        }
        for job in job.map_or(0..self.jobs.len(), |job| job..job + 1) {
            if self.jobs[job].active.is_some() {
                self.let_go(job, SlotReason::Paused, now);
            }
        }
    }

    pub fn resume(&mut self, job: Option<usize>, now: Timestamp) {
        let holds: Vec<Option<SlotReason>> = (0..self.jobs.len()).map(|job| self.hold(job)).collect();
        match job {
            Some(job) => self.jobs[job].paused = false,
            None => self.paused = false,
        }
        for (job, before) in holds.into_iter().enumerate() {
            if let Some(reason) = before
                && self.hold(job) != before
            {
                self.skip_until(job, now, reason);
            }
        }
    }

    pub fn is_paused(&self, job: Option<usize>) -> bool {
        job.map_or(self.paused, |job| self.jobs[job].paused)
    }

    /// Runs that nobody asked for and that have not started do not start.
    fn let_go(&mut self, job: usize, reason: SlotReason, now: Timestamp) {
        let unstarted = |run: &&Run| run.phase != Phase::Running && !run.key.is_by_hand();
        let runs: Vec<(Key, Phase)> = self.jobs[job]
            .runs
            .iter()
            .filter(unstarted)
            .map(|run| (run.key, run.phase))
            .collect();
        for (key, phase) in runs {
            match phase {
                Phase::Waiting => self.never_starts(job, key, SlotOutcome::Skipped, reason, now),
                Phase::Ordered | Phase::Running => self.cancel(job, key, reason, now),
            }
        }
    }

    fn skip_until(&mut self, job: usize, until: Timestamp, reason: SlotReason) {
        for slot in self.open(job, until) {
            self.jobs[job].decide(slot, SlotOutcome::Skipped, Some(reason));
        }
        if self.jobs[job].active.is_some() {
            self.jobs[job].mark_to(until);
        }
    }

    /// A job's file changed, came or went.
    pub fn edit(&mut self, job: usize, newer: Option<Rc<Version>>, now: Timestamp) {
        let before = self.hold(job);
        if let Some(old) = self.jobs[job].active.clone() {
            match &newer {
                None => {
                    self.let_go(job, SlotReason::Removed, now);
                    self.skip_until(job, now, before.unwrap_or(SlotReason::Removed));
                }
                Some(newer) => {
                    if !newer.spec.enabled {
                        self.let_go(job, SlotReason::Disabled, now);
                    }
                    let another = newer.since > old.since;
                    let until = if another { newer.since.min(now) } else { now };
                    let paused = (self.paused || self.jobs[job].paused).then_some(SlotReason::Paused);
                    let after = if newer.spec.enabled {
                        paused
                    } else {
                        Some(SlotReason::Disabled)
                    };
                    match before {
                        Some(reason) if another || after != before => self.skip_until(job, until, reason),
                        None if another => self.skip_until(job, until, SlotReason::Removed),
                        Some(_) | None => {}
                    }
                }
            }
        }
        let of = |version: &Rc<Version>| {
            let Spec { times, zone, .. } = &version.spec;
            Some(Calendar::new(times.clone()?, *zone, version.anchor, version.since))
        };
        self.jobs[job].calendar = newer.as_ref().and_then(of);
        self.jobs[job].active = newer;
    }

    // Runs.

    /// With the first claim of a job, from when its schedule counts is recorded.
    pub fn claimed_first(&mut self, job: usize, begins: Timestamp) {
        self.jobs[job].mark_to(begins);
    }

    /// A run of a slot was recorded a little before its instant.
    pub fn was_created(&mut self, job: usize, key: Key, at: Timestamp) {
        if let Some(run) = self.jobs[job].runs.iter_mut().find(|run| run.key == key) {
            run.created = at;
        }
    }

    pub fn started(&mut self, job: usize, key: Key) {
        self.jobs[job].run_mut(key).phase = Phase::Running;
        if let Some(slot) = key.slot() {
            self.started += 1;
            self.jobs[job].decide(slot, SlotOutcome::Ran, None);
        }
    }

    pub fn ended(&mut self, job: usize, key: Key, status: RunStatus, now: Timestamp) {
        self.jobs[job].end(key, status, now);
    }

    // Death.

    /// Petit is gone. Of the jobs in `lost`, that the last slot was decided was not recorded.
    pub fn died(&mut self, lost: &[(usize, Timestamp)]) {
        self.told.clear();
        self.orders_are_lost = false;
        for (job, slot) in lost {
            let job = &mut self.jobs[*job];
            job.runs.retain(|run| run.key != Key::Slot(*slot));
            job.ledger.remove(slot);
            job.mark = job.mark_before;
        }
        for job in &mut self.jobs {
            for run in &mut job.runs {
                run.cancelling = false;
                (run.made_up, run.wait_until) = run.recorded;
                if run.phase == Phase::Ordered {
                    run.phase = Phase::Waiting;
                }
            }
            // One that was handed on before the clock was put back, and never started, comes again in its time.
            let ahead = |run: &Run| run.phase == Phase::Waiting && run.key.slot() > job.mark;
            let ahead: Vec<Key> = job.runs.iter().filter(|run| ahead(run)).map(|run| run.key).collect();
            job.runs.retain(|run| !ahead.contains(&run.key));
            job.ledger.retain(|slot, _| !ahead.contains(&Key::Slot(*slot)));
        }
    }

    /// Petit is back. A slot that was claimed and never started is a late slot like any other, unless it still has to wait.
    pub fn came_back(&mut self, now: Timestamp) {
        self.since = now;
        self.leap = None;
        self.unsettled = false;
        self.begin_again(now);
        // What is decided for one job says nothing of another: all of them are judged as they stand now.
        let count = self.jobs.len();
        let standings: Vec<Standing> = (0..count).map(|job| self.standing(job, false, None, now)).collect();
        for job in 0..count {
            self.recover(job, &standings, now);
        }
    }

    fn recover(&mut self, job: usize, standings: &[Standing], now: Timestamp) {
        self.jobs[job].runs.sort_by_key(Run::turn);
        let hold = if self.jobs[job].active.is_some() {
            self.hold(job)
        } else {
            Some(SlotReason::Removed)
        };
        let mut free = Vec::new();
        let mut in_the_way = self.jobs[job].runs.iter().any(|run| run.phase == Phase::Running);
        let mut backlog_waits = false;
        let waiting = self.jobs[job].runs.iter().filter(|run| run.phase == Phase::Waiting);
        let waiting: Vec<(Key, Rc<Version>, Option<Timestamp>, Timestamp)> = waiting
            .map(|run| (run.key, Rc::clone(&run.version), run.wait_until, run.created))
            .collect();
        for (key, version, until, created) in waiting {
            let made_up = self.jobs[job].run_mut(key).made_up;
            if key.is_by_hand() {
                in_the_way = true;
                continue;
            }
            if let Some(reason) = hold {
                self.never_starts(job, key, SlotOutcome::Skipped, reason, now);
                continue;
            }
            let needs = if key.slot().is_some() {
                unmet(&version, standings, now)
            } else {
                None
            };
            let waits_for_others = needs.is_some_and(|wait| until.unwrap_or(created + wait) > now);
            let waits_for_turn = needs.is_none()
                && in_the_way
                && match version.spec.overlap {
                    Overlap::Skip | Overlap::Queue => true,
                    Overlap::Replace => backlog_waits,
                    Overlap::Allow => false,
                };
            if waits_for_others || waits_for_turn {
                in_the_way = true;
                backlog_waits |= made_up;
            } else if let Some(slot) = key.slot() {
                free.push((slot, version));
            }
        }
        free.sort_by_key(|(slot, _)| *slot);
        let newest_left = free.last().map(|(slot, _)| *slot);
        let newly_due = self.due(job, now, now);
        let newer_runs = match &self.jobs[job].active {
            Some(version) => self
                .judge(job, version, &newly_due, now)
                .iter()
                .any(|judged| matches!(judged, Judged::Runs)),
            None => false,
        };
        for (slot, version) in free {
            let spec = &version.spec;
            let is_newest = !newer_runs && Some(slot) == newest_left;
            let in_time = version.lateness(slot, now) <= spec.grace;
            let key = Key::Slot(slot);
            if !in_time && now - slot > spec.window {
                self.never_starts(job, key, SlotOutcome::Missed, SlotReason::Window, now);
                continue;
            }
            match spec.policy {
                // They are made up for one by one.
                Policy::All => self.jobs[job].run_mut(key).made_up |= !in_time,
                Policy::Skip if in_time && is_newest => {}
                Policy::Once if is_newest => {}
                Policy::Skip => self.never_starts(job, key, SlotOutcome::Missed, SlotReason::Down, now),
                Policy::Once => self.never_starts(job, key, SlotOutcome::Merged, SlotReason::Down, now),
            }
        }
    }
}

impl Job {
    fn begins(&self) -> Timestamp {
        let since = self.active.as_ref().map_or(Timestamp::MIN_UTC, |version| version.since);
        self.mark.map_or(since, |mark| mark.max(since))
    }

    fn mark_to(&mut self, at: Timestamp) {
        self.mark_before = self.mark;
        self.mark = Some(self.mark.map_or(at, |mark| mark.max(at)));
    }

    fn decide(&mut self, slot: Timestamp, outcome: SlotOutcome, reason: Option<SlotReason>) {
        let before = self.ledger.insert(slot, Some((outcome, reason)));
        assert!(matches!(before, None | Some(None)), "{slot} is decided twice");
    }

    fn run_mut(&mut self, key: Key) -> &mut Run {
        self.runs
            .iter_mut()
            .find(|run| run.key == key)
            .unwrap_or_else(|| panic!("no run {key:?}"))
    }

    fn end(&mut self, key: Key, status: RunStatus, now: Timestamp) {
        let position = self.runs.iter().position(|run| run.key == key);
        let run = self.runs.remove(position.unwrap_or_else(|| panic!("no run {key:?}")));
        let ended = Ended {
            at: now,
            created: run.created,
            number: run.number,
            status,
        };
        let latest = |before: Option<Ended>| {
            let order = |run: &Ended| (run.at, run.created.timestamp_millis(), run.number);
            Some(before.filter(|before| order(before) > order(&ended)).unwrap_or(ended))
        };
        self.finished = latest(self.finished);
        if status == RunStatus::Succeeded {
            self.succeeded = latest(self.succeeded);
        }
    }
}

/// The run of another job by which a need is met.
fn met(condition: Condition, window: TimeDelta, standing: Standing, now: Timestamp) -> Option<Ended> {
    let Standing::Settled(finished, succeeded) = standing else {
        return None;
    };
    match condition {
        Condition::LastComplete => finished,
        Condition::LastSuccess => finished.filter(|run| run.status == RunStatus::Succeeded),
        Condition::WithinWindow => succeeded.filter(|run| now - run.at <= window),
    }
}

/// How long may be waited for what a job needs and has not: the least of the waits; `None` if it has all.
fn unmet(version: &Version, standings: &[Standing], now: Timestamp) -> Option<TimeDelta> {
    let needs = version.spec.needs.iter();
    let lacking = needs.filter(|need| met(need.condition, need.window, standings[need.job], now).is_none());
    lacking.map(|need| need.wait).min()
}
