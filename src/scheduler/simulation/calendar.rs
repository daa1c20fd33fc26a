//! Which instants a schedule names, by walking through the time that the clock on the wall shows.
//!
//! Every minute is asked what the clock of the zone showed then, and whether that was meant; nothing looks ahead, nothing
//! parses an expression, and the only thing in common with the code under test is the zone database. Slow, and short
//! enough to be read against rules 3 to 8.

use std::fmt;

use chrono::{Datelike, DurationRound, NaiveDateTime, SubsecRound, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;

use crate::core::Timestamp;

/// What one field of an expression allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    Any,
    /// Every so many, from the field's least value on.
    Step(u32),
    Only(Vec<u32>),
    Span(u32, u32),
}

impl Field {
    fn allows(&self, value: u32, least: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Step(step) => (value - least).is_multiple_of(*step),
            Self::Only(values) => values.contains(&value),
            Self::Span(first, last) => (*first..=*last).contains(&value),
        }
    }

    fn begins_with_star(&self) -> bool {
        match self {
            Self::Any | Self::Step(_) => true,
            Self::Only(_) | Self::Span(..) => false,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Step(step) => write!(f, "*/{step}"),
            Self::Span(first, last) => write!(f, "{first}-{last}"),
            Self::Only(values) => {
                let values: Vec<String> = values.iter().map(u32::to_string).collect();
                f.write_str(&values.join(","))
            }
        }
    }
}

/// A cron expression; every month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub second: Field,
    pub minute: Field,
    pub hour: Field,
    pub day: Field,
    pub weekday: Field,
}

impl Cron {
    fn follows_the_clock(&self) -> bool {
        self.second.begins_with_star() || self.minute.begins_with_star() || self.hour.begins_with_star()
    }

    fn means_minute(&self, wall: NaiveDateTime) -> bool {
        let day = self.day.allows(wall.day(), 1);
        let weekday = self.weekday.allows(wall.weekday().num_days_from_sunday(), 0);
        let either = !self.day.begins_with_star() && !self.weekday.begins_with_star();
        self.minute.allows(wall.minute(), 0)
            && self.hour.allows(wall.hour(), 0)
            && if either { day || weekday } else { day && weekday }
    }

    /// The instants of the minute that begins at `minute`.
    fn in_minute(&self, minute: Timestamp, zone: Tz) -> Vec<Timestamp> {
        let wall_at = |instant: Timestamp| zone.from_utc_datetime(&instant.naive_utc()).naive_local();
        let wall = wall_at(minute);
        let before = wall_at(minute - MINUTE);
        let jumped = wall - before - MINUTE;
        let mut fires = Vec::new();
        if !self.follows_the_clock() && jumped > TimeDelta::zero() && jumped <= TimeDelta::hours(3) {
            let mut missing = before + MINUTE;
            while missing < wall {
                if self.means_minute(missing) {
                    fires.push(minute);
                    break;
                }
                missing += MINUTE;
            }
        }
        if !self.means_minute(wall) {
            return fires;
        }
        let shown_before = || (1..=12).any(|quarter| wall_at(minute - MINUTE * 15 * quarter) == wall);
        if !self.follows_the_clock() && shown_before() {
            return fires;
        }
        let seconds = (0..60).filter(|second| self.second.allows(*second, 0));
        fires.extend(seconds.map(|second| minute + TimeDelta::seconds(i64::from(second))));
        fires.dedup();
        fires
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            second,
            minute,
            hour,
            day,
            weekday,
        } = self;
        write!(f, "{second} {minute} {hour} {day} * {weekday}")
    }
}

/// When a job fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Times {
    Every(TimeDelta),
    Crons(Vec<Cron>),
}

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// The instants of a schedule from one on, walked as far as somebody asked.
#[derive(Debug)]
pub struct Calendar {
    times: Times,
    zone: Tz,
    anchor: Timestamp,
    slots: Vec<Timestamp>,
    walked: Timestamp,
}

impl Calendar {
    /// The instants after `since`.
    pub fn new(times: Times, zone: Tz, anchor: Timestamp, since: Timestamp) -> Self {
        Self {
            times,
            zone,
            anchor: anchor.trunc_subsecs(0),
            slots: Vec::new(),
            walked: since,
        }
    }

    /// The instants in (after, until].
    pub fn slots_in(&mut self, after: Timestamp, until: Timestamp) -> &[Timestamp] {
        while self.walked < until {
            let to = self.walked + TimeDelta::hours(6);
            self.walk(to);
        }
        let first = self.slots.partition_point(|slot| *slot <= after);
        let last = self.slots.partition_point(|slot| *slot <= until);
        &self.slots[first.min(last)..last]
    }

    fn walk(&mut self, to: Timestamp) {
        let (from, anchor) = (self.walked, self.anchor);
        let mut found = Vec::new();
        match &self.times {
            Times::Every(period) => {
                let so_far = (from - anchor).num_milliseconds().div_euclid(period.num_milliseconds());
                let mut count = i32::try_from(so_far.max(0)).expect("no story is that long");
                loop {
                    count += 1;
                    let slot = anchor + *period * count;
                    if slot > to {
                        break;
                    }
                    found.push(slot);
                }
            }
            Times::Crons(crons) => {
                let mut minute = from.duration_trunc(MINUTE).expect("a minute");
                while minute <= to {
                    found.extend(crons.iter().flat_map(|cron| cron.in_minute(minute, self.zone)));
                    minute += MINUTE;
                }
                found.sort();
                found.dedup();
            }
        }
        self.slots
            .extend(found.into_iter().filter(|slot| *slot > from && *slot <= to));
        self.walked = to;
    }
}
