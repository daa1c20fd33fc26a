//! A job's slots as a series of instants: which come next, which came last, how many lie between.
//!
//! A [`Schedule`] only looks forward, one instant at a time. Here are the questions that a ledger asks of it, each
//! answered in a bounded number of steps whatever the distance. Nothing here knows what was recorded or what became of a
//! slot.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Included},
};

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use crate::core::{
    Timestamp,
    active::ActiveJob,
    id::JobId,
    job::Job,
    schedule::{Schedule, Timing},
    units::HumanDuration,
};

/// Beyond so many slots of a cron expression, which can only be counted by walking them, a count is an estimate. It
/// takes a job that fires every second more than a day to get there.
const MOST_COUNTED: usize = 100_000;

/// The slots of one job.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    job: &'a JobId,
    schedule: &'a Schedule,
    anchor: Timestamp,
    jitter: HumanDuration,
    /// Instants that are left out.
    taken: Option<&'a BTreeSet<Timestamp>>,
}

impl<'a> Series<'a> {
    /// The slots of a job, if it has a schedule.
    pub fn of(active: &'a ActiveJob) -> Option<Self> {
        let spec = active.job.spec.schedule.as_ref()?;
        Some(Self {
            job: &active.job.id,
            schedule: active.job.schedule.as_ref()?,
            anchor: active.record.anchor,
            jitter: spec.jitter,
            taken: None,
        })
    }

    /// The same without some instants, which have run already.
    pub fn without(self, taken: &'a BTreeSet<Timestamp>) -> Self {
        let taken = Some(taken).filter(|taken| !taken.is_empty());
        Self { taken, ..self }
    }

    /// The first slot strictly after an instant.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.slots_after(after).next()
    }

    /// The slots in (after, until], in order.
    pub fn slots_in(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> + use<'a> {
        self.slots_after(after).take_while(move |slot| *slot <= until)
    }

    fn slots_after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> + use<'a> {
        let taken = self.taken;
        let is_taken = move |slot: &Timestamp| taken.is_some_and(|taken| taken.contains(slot));
        self.schedule
            .slots_after(after, self.anchor)
            .filter(move |slot| !is_taken(slot))
    }

    /// The last slot in (after, until].
    pub fn last_in(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut last = last_in(self.schedule, self.anchor, after, until)?;
        while self.taken.is_some_and(|taken| taken.contains(&last)) {
            last = last_in(self.schedule, self.anchor, after, last - TimeDelta::milliseconds(1))?;
        }
        Some(last)
    }

    /// How many slots lie in (after, until]: exact for periods, and for cron expressions up to 100,000; beyond that the
    /// rest is taken to be as dense as those, which is exact again if all are equally far from each other.
    pub fn count_in(&self, after: Timestamp, until: Timestamp) -> u64 {
        // What was taken under another schedule is no slot of this one.
        let is_slot = |at: &&Timestamp| {
            let before = **at - TimeDelta::milliseconds(1);
            self.schedule.next_after(before, self.anchor) == Some(**at)
        };
        let left_out = match self.taken {
            Some(taken) if after < until => taken.range((Excluded(after), Included(until))).filter(is_slot).count(),
            Some(_) | None => 0,
        };
        self.count_all(after, until).saturating_sub(left_out as u64)
    }

    fn count_all(&self, after: Timestamp, until: Timestamp) -> u64 {
        if let [Timing::Every(_)] = self.schedule.timings()[..] {
            return self.schedule.count_in(after, until, self.anchor, usize::MAX) as u64;
        }
        let mut slots = self.schedule.slots_in(after, until, self.anchor).take(MOST_COUNTED);
        let Some(first) = slots.next() else { return 0 };
        let (beyond_first, reached) = slots.fold((0u64, first), |(count, _), slot| (count + 1, slot));
        let counted = beyond_first + 1;
        if counted < MOST_COUNTED as u64 {
            return counted;
        }
        let last = last_in(self.schedule, self.anchor, reached, until).unwrap_or(reached);
        let seconds = |from: Timestamp, to: Timestamp| u128::from((to - from).num_seconds().unsigned_abs());
        let rest = u128::from(beyond_first) * seconds(reached, last) / seconds(first, reached).max(1);
        counted.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
    }

    /// When a slot is to be started: its instant and its share of the jitter, which depends on job and slot alone.
    pub fn start_of(&self, slot: Timestamp) -> Timestamp {
        slot + share(self.job, slot, self.jitter)
    }

    /// The longest that a slot may be delayed by jitter.
    pub fn jitter(&self) -> TimeDelta {
        self.jitter.to_delta()
    }
}

/// When a slot of a job is to be started: its instant and its share of the jitter.
pub fn start_of(job: &Job, slot: Timestamp) -> Timestamp {
    let jitter = job.spec.schedule.as_ref().map(|schedule| schedule.jitter);
    slot + share(&job.id, slot, jitter.unwrap_or_default())
}

/// The slots on both sides of an instant: the last before it and the first after it.
pub fn neighbours(schedule: &Schedule, at: Timestamp, anchor: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let before = last_in(schedule, anchor, Timestamp::UNIX_EPOCH, at - TimeDelta::milliseconds(1));
    (before, schedule.next_after(at, anchor))
}

/// Looks back in steps that double, until a slot is found, and then for the last one by halves. Slots are whole seconds,
/// hence all of this is in seconds.
fn last_in(schedule: &Schedule, anchor: Timestamp, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
    let next_after = |instant| schedule.next_after(instant, anchor).filter(|slot| *slot <= until);
    let mut step = TimeDelta::seconds(1);
    let mut found = loop {
        let from = until.checked_sub_signed(step).unwrap_or(after).max(after);
        if let Some(slot) = next_after(from) {
            break slot.timestamp();
        }
        if from == after {
            return None;
        }
        step = step * 2;
    };
    // No slot lies in (nothing_above, until]; `found` is one.
    let mut nothing_above = until.timestamp();
    while found < nothing_above {
        let middle = found + (nothing_above - found) / 2;
        match next_after(Timestamp::from_timestamp(middle, 0)?) {
            Some(slot) => found = slot.timestamp(),
            None => nothing_above = middle,
        }
    }
    Timestamp::from_timestamp(found, 0)
}

fn share(job: &JobId, slot: Timestamp, jitter: HumanDuration) -> TimeDelta {
    if jitter.as_millis() == 0 {
        return TimeDelta::zero();
    }
    let digest = Sha256::new()
        .chain_update(job.as_str())
        .chain_update(slot.timestamp().to_be_bytes())
        .finalize();
    let random = digest
        .iter()
        .take(8)
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    HumanDuration::from_millis(random % jitter.as_millis()).to_delta()
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an RFC 3339 instant")
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::new(vec![Timing::parse(text).expect(text)], Tz::Europe__Berlin).expect(text)
    }

    #[test]
    fn neighbours_lie_on_both_sides() {
        let daily = schedule("0 3 * * *");
        let anchor = Timestamp::UNIX_EPOCH;
        let noon = at("2026-01-10T12:00:00Z");
        assert_eq!(
            neighbours(&daily, noon, anchor),
            (Some(at("2026-01-10T02:00:00Z")), Some(at("2026-01-11T02:00:00Z")))
        );
        let slot = at("2026-01-10T02:00:00Z");
        assert_eq!(neighbours(&daily, slot, anchor).0, Some(at("2026-01-09T02:00:00Z")));
        let every = schedule("@every 1h");
        assert_eq!(neighbours(&every, noon, noon), (None, Some(at("2026-01-10T13:00:00Z"))));
        let leap = schedule("0 0 29 2 *");
        assert_eq!(neighbours(&leap, noon, anchor).0, Some(at("2024-02-28T23:00:00Z")));
    }

    #[test]
    fn a_year_of_seconds_is_counted_at_once() {
        let (id, anchor) = (JobId::new("tick").expect("a slug"), at("2025-01-01T00:00:00Z"));
        let year = anchor + TimeDelta::days(365);
        for text in ["@every 1s", "* * * * * *"] {
            let schedule = schedule(text);
            let series = Series {
                job: &id,
                schedule: &schedule,
                anchor,
                jitter: HumanDuration::default(),
                taken: None,
            };
            assert_eq!(series.count_in(anchor, year), 365 * 86_400, "{text}");
            assert_eq!(series.last_in(anchor, year), Some(year), "{text}");
            // Not from one slot to another, but from the middle between two.
            let (after, until) = (
                anchor + TimeDelta::milliseconds(900),
                year + TimeDelta::milliseconds(100),
            );
            assert_eq!(series.count_in(after, until), 365 * 86_400, "{text}");
        }
    }

    #[test]
    fn jitter_depends_on_job_and_slot_alone() {
        let (a, b) = (JobId::new("a").expect("a slug"), JobId::new("b").expect("a slug"));
        let (slot, jitter) = (at("2026-01-10T02:00:00Z"), HumanDuration::from_secs(30));
        let shares: Vec<TimeDelta> = (0..100)
            .map(|n| share(&a, slot + TimeDelta::minutes(n), jitter))
            .collect();
        assert!(
            shares
                .iter()
                .all(|share| (TimeDelta::zero()..TimeDelta::seconds(30)).contains(share))
        );
        assert!(shares.iter().any(|share| *share > TimeDelta::seconds(20)));
        assert_eq!(share(&a, slot, jitter), shares[0]);
        assert_ne!(share(&b, slot, jitter), shares[0]);
    }

    proptest! {
        #[test]
        fn the_last_slot_is_the_one_that_walking_finds(
            text in prop::sample::select(vec![
                "*/7 * * * *", "30 2 * * *", "0 9 * * MON", "*/20 * 2 * * *", "@every 37s", "@every 2h",
            ]),
            start in 1_700_000_000i64..1_800_000_000,
            length in 0i64..400_000,
        ) {
            let schedule = schedule(text);
            let anchor = Timestamp::from_timestamp(start - 1_000_000, 0).expect("in range");
            let after = Timestamp::from_timestamp(start, 0).expect("in range");
            let until = Timestamp::from_timestamp(start + length, 500_000_000).expect("in range");
            let walked = schedule.slots_in(after, until, anchor).last();
            prop_assert_eq!(last_in(&schedule, anchor, after, until), walked);
        }
    }
}
