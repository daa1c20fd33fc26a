//! From the clock on the wall to instants: where the clock of a zone jumps, and what that does to a schedule.
//!
//! A wall time is one instant, or none (the clock jumped over it), or two (the clock went back and showed it again).
//! A *fixed* expression fires once for each time it names: for times that do not exist at the first instant after the
//! gap, for repeated ones at the first pass. An *interval* expression follows the clock: it skips what the clock
//! skipped and fires in both passes.
//!
//! Nothing here keeps state or reads a clock. Only offsets of whole seconds exist, so that searching in whole seconds
//! is exact.

use chrono::offset::{LocalResult, TimeZone};
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, Utc};
use chrono_tz::{GapInfo, Tz};

use super::cron_expr::{CronExpr, Kind};

/// Fires of a fixed expression inside a longer gap are not made up: it is no change of the hour but a missing date.
const LONGEST_GAP_MADE_UP: TimeDelta = TimeDelta::hours(3);
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// The first instant strictly after `after` at which the expression fires in the zone.
pub(super) fn next_fire(expr: &CronExpr, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let start = wall_time(zone, after);
    if expr.kind() == Kind::Interval
        && let Some(repeat) = Repeat::around(zone, start)
        && after < repeat.second_pass
    {
        return next_interval_fire_in_first_pass(expr, zone, start, &repeat);
    }
    let mut wall = start;
    // Each turn consumes a jump of the clock or a match, so that only the end of the calendar can end the search
    // without an answer.
    loop {
        let next = expr.next_wall(wall)?;
        let fire = match zone.from_local_datetime(&next) {
            LocalResult::Single(instant) => Some(instant.to_utc()),
            LocalResult::Ambiguous(first, second) => {
                let (first, second) = (first.to_utc(), second.to_utc());
                match expr.kind() {
                    Kind::Fixed if first > after => Some(first),
                    // The question was asked in the second pass: nothing more until that has ended.
                    Kind::Fixed => {
                        wall = Repeat::between(zone, first, second).wall_end - SECOND;
                        continue;
                    }
                    Kind::Interval if first > after => Some(first),
                    Kind::Interval => Some(second),
                }
            }
            LocalResult::None => {
                let gap = Gap::around(zone, next)?;
                match expr.kind() {
                    Kind::Fixed if gap.length <= LONGEST_GAP_MADE_UP => Some(gap.first_instant_after),
                    Kind::Fixed | Kind::Interval => {
                        wall = gap.wall_end - SECOND;
                        continue;
                    }
                }
            }
        };
        match fire {
            // Two changes close to each other could show a wall time that is ahead of an instant already passed.
            Some(instant) if instant > after => return Some(instant),
            Some(_) | None => wall = next,
        }
    }
}

/// In the first of two passes the wall clock does not grow with time: what comes after it is the second pass from its
/// beginning, not what the wall shows next.
fn next_interval_fire_in_first_pass(
    expr: &CronExpr,
    zone: Tz,
    wall: NaiveDateTime,
    repeat: &Repeat,
) -> Option<DateTime<Utc>> {
    let in_first = expr.next_wall(wall).filter(|next| *next < repeat.wall_end);
    if let Some(next) = in_first {
        return zone
            .from_local_datetime(&next)
            .earliest()
            .map(|instant| instant.to_utc());
    }
    let next = expr.next_wall(repeat.wall_start - SECOND)?;
    if next < repeat.wall_end {
        return zone.from_local_datetime(&next).latest().map(|instant| instant.to_utc());
    }
    // Neither pass holds another fire; from the last second of the second one the wall grows with time again.
    let last_second = repeat.second_pass + (repeat.wall_end - repeat.wall_start) - SECOND;
    next_fire(expr, zone, last_second)
}

/// A stretch of wall time that the clock shows twice: from `wall_start` up to but not including `wall_end`.
struct Repeat {
    wall_start: NaiveDateTime,
    wall_end: NaiveDateTime,
    /// The instant at which the clock goes back from `wall_end` to `wall_start`.
    second_pass: DateTime<Utc>,
}

impl Repeat {
    fn around(zone: Tz, wall: NaiveDateTime) -> Option<Self> {
        match zone.from_local_datetime(&wall) {
            LocalResult::Ambiguous(first, second) => Some(Repeat::between(zone, first.to_utc(), second.to_utc())),
            LocalResult::Single(_) | LocalResult::None => None,
        }
    }

    /// The clock goes back somewhere between the two instants that share a wall time. `chrono_tz` does not say where,
    /// so the instant is searched by halves.
    fn between(zone: Tz, first: DateTime<Utc>, second: DateTime<Utc>) -> Self {
        let offset_at = |seconds: i64| {
            let instant = DateTime::from_timestamp(seconds, 0).expect("it lies between two valid instants");
            offset(zone, instant)
        };
        let (mut before, mut after) = (first.timestamp(), second.timestamp());
        let old = offset_at(before);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if offset_at(middle) == old {
                before = middle;
            } else {
                after = middle;
            }
        }
        let second_pass = DateTime::from_timestamp(after, 0).expect("it lies between two valid instants");
        Repeat {
            wall_start: wall_time(zone, second_pass),
            wall_end: second_pass.naive_utc() + old,
            second_pass,
        }
    }
}

/// A stretch of wall time that the clock jumps over.
struct Gap {
    length: TimeDelta,
    wall_end: NaiveDateTime,
    first_instant_after: DateTime<Utc>,
}

impl Gap {
    fn around(zone: Tz, wall: NaiveDateTime) -> Option<Self> {
        let GapInfo { begin, end } = GapInfo::new(&wall, &zone)?;
        let ((wall_start, _), end) = (begin?, end?);
        let wall_end = end.naive_local();
        Some(Gap {
            length: wall_end - wall_start,
            wall_end,
            first_instant_after: end.to_utc(),
        })
    }
}

fn wall_time(zone: Tz, instant: DateTime<Utc>) -> NaiveDateTime {
    instant.naive_utc() + offset(zone, instant)
}

fn offset(zone: Tz, instant: DateTime<Utc>) -> TimeDelta {
    let offset = zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
    TimeDelta::seconds(i64::from(offset.local_minus_utc()))
}
