//! When Petit was there to start slots, and when it was not: the difference between `down` and `clock`.
//!
//! A slot that nobody looked at in time is late for one of two reasons. Either Petit did not run (or ran and could not
//! record what was due, which comes to the same for the slot: nobody was there to run it), or it ran while the clock on
//! the wall leapt over the slot, because the machine slept or somebody moved the hands. [`Presence`] is what is known of
//! this, as a value; [`Vigil`] finds it out from two clocks, of which one cannot be moved. Neither reads a clock itself.

use std::time::Duration;

use chrono::TimeDelta;

use crate::core::{Timestamp, state::SlotReason};

/// Two clocks that differ by more than this since they were last compared have been moved against each other. Far more
/// than a busy machine lets pass between reading the one and the other, far less than anybody would call late.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(250);

/// Why nobody looked at a slot in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Petit was not running, or could not record what was due.
    Down,
    /// The clock leapt over it while Petit ran: the machine slept, or its clock was moved.
    Clock,
}

impl Absence {
    /// The reason as the ledger names it.
    pub const fn reason(self) -> SlotReason {
        match self {
            Self::Down => SlotReason::Down,
            Self::Clock => SlotReason::Clock,
        }
    }
}

/// A stretch that the clock on the wall leapt over, its beginning excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leap {
    /// What the clock showed before.
    pub from: Timestamp,
    /// What it showed after.
    pub to: Timestamp,
}

/// What Petit was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Since when this Petit runs.
    pub since: Timestamp,
    /// The latest leap of the clock since then.
    pub leap: Option<Leap>,
}

impl Presence {
    /// A Petit that runs since an instant, under a clock that has not leapt.
    pub const fn since(since: Timestamp) -> Self {
        Self { since, leap: None }
    }

    /// Why slots in (after, until] that are late are so, as parts of that stretch in their order. A slot that its jitter
    /// still held back when the clock leapt was leapt over too.
    pub(super) fn absences(
        &self,
        after: Timestamp,
        until: Timestamp,
        jitter: TimeDelta,
    ) -> [(Timestamp, Timestamp, Absence); 3] {
        let within = |at: Timestamp| at.clamp(after, until.max(after));
        let (from, to) = match self.leap {
            Some(leap) => {
                let from = within(self.since.max(leap.from - jitter));
                (from, within(leap.to).max(from))
            }
            None => (after, after),
        };
        [
            (after, from, Absence::Down),
            (from, to, Absence::Clock),
            (to, until, Absence::Down),
        ]
    }
}

/// How the clock on the wall was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It ran as clocks do.
    Not,
    /// It leapt forwards, or the machine slept.
    Forwards,
    /// It was put back.
    Backwards,
}

/// Compares the clock on the wall with one that cannot be moved.
#[derive(Debug)]
pub struct Vigil {
    presence: Presence,
    wall: Timestamp,
    steady: Duration,
    /// Whether slots may be undecided that an earlier leap passed over.
    unsettled: bool,
}

impl Vigil {
    /// Begins to compare. `steady` counts from any instant, and not while the machine sleeps.
    pub const fn new(wall: Timestamp, steady: Duration) -> Self {
        Self {
            presence: Presence::since(wall),
            wall,
            steady,
            unsettled: false,
        }
    }

    /// Takes in what both clocks show now.
    pub fn look(&mut self, wall: Timestamp, steady: Duration) -> Moved {
        let elapsed = TimeDelta::from_std(steady.saturating_sub(self.steady)).unwrap_or(TimeDelta::MAX);
        let shift = (wall - self.wall) - elapsed;
        let seen = std::mem::replace(&mut self.wall, wall);
        self.steady = steady;
        if shift > TOLERANCE {
            let earlier = self.presence.leap.filter(|_| self.unsettled);
            let from = earlier.map_or(seen, |leap| leap.from);
            self.presence.leap = Some(Leap { from, to: wall });
            self.unsettled = true;
            Moved::Forwards
        } else if shift < -TOLERANCE {
            // What was known is dated by a clock that no longer counts.
            self.presence = Presence::since(self.presence.since.min(wall));
            Moved::Backwards
        } else {
            Moved::Not
        }
    }

    /// Everything that was due is decided, so that another leap is another.
    pub fn settled(&mut self) {
        self.unsettled = false;
    }

    /// What is known so far.
    pub const fn presence(&self) -> Presence {
        self.presence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixtures::at;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_a_clock_that_was_moved_is_a_leap() {
        let begin = at("2026-01-10T10:00:00Z");
        let mut vigil = Vigil::new(begin, seconds(7));
        let later = |s: i64| begin + TimeDelta::seconds(s);
        assert_eq!(vigil.look(later(3_600), seconds(3_607)), Moved::Not);
        assert_eq!(vigil.presence(), Presence::since(begin));

        assert_eq!(vigil.look(later(7_200), seconds(3_617)), Moved::Forwards);
        let slept = Leap {
            from: later(3_600),
            to: later(7_200),
        };
        assert_eq!(vigil.presence().leap, Some(slept));
        // Nothing was decided in between: both belong together.
        assert_eq!(vigil.look(later(9_000), seconds(3_618)), Moved::Forwards);
        assert_eq!(
            vigil.presence().leap,
            Some(Leap {
                from: later(3_600),
                to: later(9_000)
            })
        );
        vigil.settled();
        assert_eq!(vigil.look(later(9_500), seconds(3_619)), Moved::Forwards);
        assert_eq!(
            vigil.presence().leap,
            Some(Leap {
                from: later(9_000),
                to: later(9_500)
            })
        );

        assert_eq!(vigil.look(later(-60), seconds(3_620)), Moved::Backwards);
        assert_eq!(vigil.presence(), Presence::since(later(-60)));
    }

    #[test]
    fn each_part_of_a_stretch_has_its_own_reason() {
        let presence = Presence {
            since: at("2026-01-10T10:00:00Z"),
            leap: Some(Leap {
                from: at("2026-01-10T11:00:00Z"),
                to: at("2026-01-10T12:00:00Z"),
            }),
        };
        let (after, until) = (at("2026-01-10T09:00:00Z"), at("2026-01-10T13:00:00Z"));
        let parts = |after, until, jitter| {
            presence
                .absences(after, until, TimeDelta::minutes(jitter))
                .into_iter()
                .filter(|(from, to, _)| from < to)
                .map(|(from, to, why)| format!("{}-{} {why:?}", from.format("%H:%M"), to.format("%H:%M")))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            parts(after, until, 0),
            ["09:00-11:00 Down", "11:00-12:00 Clock", "12:00-13:00 Down"]
        );
        assert_eq!(
            parts(after, until, 10),
            ["09:00-10:50 Down", "10:50-12:00 Clock", "12:00-13:00 Down"]
        );
        // What was due before Petit ran is not the clock's fault, whatever the jitter.
        assert_eq!(parts(after, until, 90)[0], "09:00-10:00 Down");
        assert_eq!(
            parts(at("2026-01-10T11:30:00Z"), at("2026-01-10T11:40:00Z"), 0),
            ["11:30-11:40 Clock"]
        );
        assert_eq!(parts(until, until + TimeDelta::hours(1), 0), ["13:00-14:00 Down"]);
    }
}
