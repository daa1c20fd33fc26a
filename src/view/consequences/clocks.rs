//! Changes of the clocks, and what they do to a schedule.
//!
//! The rules are those of `core::schedule`: an expression that names fixed times fires once for each of them, for times
//! that the clock jumps over at the first instant after the jump, for repeated ones in the first pass. One that follows
//! the clock skips what it skips, and fires in both passes. Here it is only told which times of a schedule are touched.

use chrono::{NaiveDateTime, Offset, SecondsFormat, TimeDelta, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::fires::zone;
use crate::core::{
    Timestamp,
    active::ActiveJob,
    schedule::{CronExpr, Schedule, Timing},
};

/// So many times are listed for each fate.
const MOST_LISTED: usize = 60;

/// The clocks of a zone change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockChange {
    /// When.
    pub at: Timestamp,
    /// The zone.
    pub timezone: String,
    /// Which way.
    pub direction: Direction,
    /// What the clocks would show at that instant without it.
    pub clock_before: NaiveDateTime,
    /// What they show with it.
    pub clock_after: NaiveDateTime,
    /// The times of the schedule that it touches; none if it touches none.
    pub touched: Vec<Touched>,
}

/// Which way clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// They jump over times.
    Forward,
    /// They show times again.
    Back,
}

/// Times of a schedule that share a fate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// What becomes of them.
    pub fate: Fate,
    /// How many there are.
    pub count: u64,
    /// The first of them, as the clocks would show them.
    pub times: Vec<NaiveDateTime>,
    /// When it fires instead, if all of them fire at another time.
    pub instead: Option<String>,
}

/// What becomes of a time that the clocks show never or twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It fires when the clocks have jumped.
    Moved,
    /// It does not fire.
    Skipped,
    /// It fires the first time that the clocks show it.
    Once,
    /// It fires each time that the clocks show it.
    Twice,
}

/// The changes of the clocks of a job's zone in (from, until], and what they do to its schedule.
pub(super) fn changes(entry: &ActiveJob, (from, until): (Timestamp, Timestamp)) -> Vec<ClockChange> {
    let zone = zone(entry);
    let Some(schedule) = &entry.job.schedule else {
        return Vec::new();
    };
    let changes = jumps(zone, from, until).into_iter().map(|at| {
        let second = TimeDelta::seconds(1);
        let clock_before = at.naive_utc() + offset(zone, at - second);
        let clock_after = at.naive_utc() + offset(zone, at);
        let direction = if clock_before < clock_after {
            Direction::Forward
        } else {
            Direction::Back
        };
        ClockChange {
            at,
            timezone: zone.name().to_owned(),
            direction,
            clock_before,
            clock_after,
            touched: touched(schedule, at, direction, (clock_before, clock_after)),
        }
    });
    changes.collect()
}

/// The instants in (from, until] from which on the clocks of a zone show another offset.
fn jumps(zone: Tz, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let hour = TimeDelta::hours(1);
    let mut found = Vec::new();
    let mut before = from;
    while before < until {
        let after = (before + hour).min(until);
        if offset(zone, before) != offset(zone, after) {
            found.push(jump_between(zone, before, after));
        }
        before = after;
    }
    found
}

/// The instant of the one change between two, searched by halves; changes happen on whole seconds.
fn jump_between(zone: Tz, before: Timestamp, after: Timestamp) -> Timestamp {
    let instant = |seconds: i64| chrono::DateTime::from_timestamp(seconds, 0).unwrap_or(after);
    let old = offset(zone, before);
    let (mut low, mut high) = (before.timestamp(), after.timestamp());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if offset(zone, instant(middle)) == old {
            low = middle;
        } else {
            high = middle;
        }
    }
    instant(high)
}

fn offset(zone: Tz, at: Timestamp) -> TimeDelta {
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    TimeDelta::seconds(offset.local_minus_utc().into())
}

fn touched(
    schedule: &Schedule,
    at: Timestamp,
    direction: Direction,
    (clock_before, clock_after): (NaiveDateTime, NaiveDateTime),
) -> Vec<Touched> {
    let zone = schedule.zone();
    // The times that the clocks show never, or twice: from the one, up to but not including the other.
    let (first, end) = (clock_before.min(clock_after), clock_before.max(clock_after));
    let mut found: Vec<Touched> = Vec::new();
    for timing in schedule.timings() {
        let expr = match timing {
            Timing::Cron(expr) => expr,
            // Periods count seconds and look at no clock.
            Timing::Every(_) => continue,
        };
        let fate = match (direction, expr.is_interval()) {
            (Direction::Forward, false) if fires_at(&expr, zone, at) => Fate::Moved,
            (Direction::Forward, _) => Fate::Skipped,
            (Direction::Back, false) => Fate::Once,
            (Direction::Back, true) => Fate::Twice,
        };
        for time in named(&expr, first, end) {
            let place = found.iter().position(|touched| touched.fate == fate);
            let place = place.unwrap_or_else(|| {
                found.push(Touched {
                    fate,
                    count: 0,
                    times: Vec::new(),
                    instead: (fate == Fate::Moved)
                        .then(|| at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false)),
                });
                found.len() - 1
            });
            let touched = &mut found[place];
            if !touched.times.contains(&time) {
                touched.count += 1;
                if touched.times.len() < MOST_LISTED {
                    touched.times.push(time);
                }
            }
        }
    }
    found
}

/// The times from `first` up to `end` that an expression names, of a jump of an hour at most 3,600.
fn named(expr: &CronExpr, first: NaiveDateTime, end: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> + '_ {
    let next = |after: NaiveDateTime| expr.next_wall(after);
    std::iter::successors(next(first - TimeDelta::seconds(1)), move |time| next(*time))
        .take_while(move |time| *time < end)
}

fn fires_at(expr: &CronExpr, zone: Tz, at: Timestamp) -> bool {
    let alone = Schedule::new(vec![Timing::Cron(expr.clone())], zone);
    alone.is_ok_and(|alone| alone.next_after(at - TimeDelta::seconds(1), at) == Some(at))
}
