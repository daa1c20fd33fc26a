//! When a job is due: the vocabulary of schedules.
//!
//! Text becomes a [`Timing`], timings in a zone become a [`Schedule`], and a schedule answers which instant comes next
//! after another. Nothing here reads a clock, keeps what has run, or knows what a job is; every instant that matters
//! (the question, the anchor of a period) is an argument, and the same question always has the same answer.
//!
//! Instants are UTC, in whole seconds, and an answer is strictly after its question.

mod clock;
mod cron_expr;
mod error;
mod every;
mod field;
mod preview;
mod slip;
mod zone;

#[cfg(test)]
mod cron_expr_tests;
#[cfg(test)]
mod oracle_tests;

use std::fmt;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use thiserror::Error;

pub use cron_expr::CronExpr;
pub use error::CronError;
use error::CronErrorKind;
pub use every::{Every, EveryError};
pub use field::Field;
pub use preview::{PreviewError, preview};
pub use slip::{Slip, SlipKind, likely_slips};
pub use zone::{UnknownZone, ZONE_DATABASE_VERSION, likely_meant, local_time, parse_timezone};

/// One statement of when: times on the calendar, or a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Times on the calendar.
    Cron(CronExpr),
    /// A period.
    Every(Every),
}

/// All that makes a job due by time: several cron expressions in one zone, or one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    rule: Rule,
    zone: Tz,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Never empty, and each of them matches some date.
    Cron(Vec<CronExpr>),
    Every(Every),
}

/// Why timings, each good by itself, make no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// There is no timing.
    #[error("the schedule names no time")]
    Empty,
    /// A period tolerates nothing beside it, since its instants count from an anchor.
    #[error("the period `@every {every}` stands beside other timings")]
    EveryNotAlone {
        /// Which of the timings it is.
        index: usize,
        /// The period.
        every: Every,
    },
    /// An expression can be read and means no date, such as 30 February.
    #[error("`{expr}` matches no date through the year 2100")]
    Never {
        /// Which of the timings it is.
        index: usize,
        /// The expression as written.
        expr: String,
    },
}

impl Timing {
    /// Parses a cron expression, a shortcut, or `@every DURATION`.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let trimmed = text.trim_ascii();
        let period = match trimmed.strip_prefix("@every") {
            Some(rest) if rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_whitespace()) => rest.trim_ascii(),
            Some(_) | None => return CronExpr::parse(text).map(Timing::Cron),
        };
        cron_expr::check_bytes(text)?;
        match Every::parse(period) {
            Ok(every) => Ok(Timing::Every(every)),
            Err(error) => {
                let range = field::place(period, text);
                Err(CronError::new(CronErrorKind::Every(error), range))
            }
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timing::Cron(expr) => expr.fmt(f),
            Timing::Every(every) => write!(f, "@every {every}"),
        }
    }
}

impl Schedule {
    /// Either one period, or any number of cron expressions of which each matches some date.
    pub fn new(timings: Vec<Timing>, zone: Tz) -> Result<Self, ScheduleError> {
        if let [Timing::Every(every)] = timings[..] {
            return Ok(Schedule {
                rule: Rule::Every(every),
                zone,
            });
        }
        let mut expressions = Vec::with_capacity(timings.len());
        for (index, timing) in timings.into_iter().enumerate() {
            match timing {
                Timing::Every(every) => return Err(ScheduleError::EveryNotAlone { index, every }),
                Timing::Cron(expr) if expr.can_match() => expressions.push(expr),
                Timing::Cron(expr) => {
                    let expr = expr.source().to_owned();
                    return Err(ScheduleError::Never { index, expr });
                }
            }
        }
        if expressions.is_empty() {
            return Err(ScheduleError::Empty);
        }
        Ok(Schedule {
            rule: Rule::Cron(expressions),
            zone,
        })
    }

    /// The zone whose clock the cron expressions follow, and in which instants are shown.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// What it was made of.
    pub fn timings(&self) -> Vec<Timing> {
        match &self.rule {
            Rule::Cron(expressions) => expressions.iter().cloned().map(Timing::Cron).collect(),
            Rule::Every(every) => vec![Timing::Every(*every)],
        }
    }

    /// The first instant strictly after `after`; of several expressions the earliest. Only a period looks at `anchor`.
    /// `None` means that nothing comes before the year 2101.
    pub fn next_after(&self, after: DateTime<Utc>, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.rule {
            Rule::Cron(expressions) => expressions
                .iter()
                .filter_map(|expr| clock::next_fire(expr, self.zone, after))
                .min(),
            Rule::Every(every) => every.next_after(after, anchor),
        }
    }

    /// Every instant after `after`, in order, each once.
    pub fn slots_after(&self, after: DateTime<Utc>, anchor: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        std::iter::successors(self.next_after(after, anchor), move |&slot| {
            self.next_after(slot, anchor)
        })
    }

    /// The instants in (after, until], in order.
    pub fn slots_in(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        anchor: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        self.slots_after(after, anchor).take_while(move |&slot| slot <= until)
    }

    /// How many instants lie in (after, until], counting no further than `limit`.
    pub fn count_in(&self, after: DateTime<Utc>, until: DateTime<Utc>, anchor: DateTime<Utc>, limit: usize) -> usize {
        match &self.rule {
            Rule::Cron(_) => self.slots_in(after, until, anchor).take(limit).count(),
            Rule::Every(every) => {
                let count = every.passed(until, anchor) - every.passed(after, anchor);
                usize::try_from(count).map_or(0, |count| count.min(limit))
            }
        }
    }
}

impl ScheduleError {
    /// What may stand there.
    pub fn expected(&self) -> &'static str {
        match self {
            ScheduleError::Empty => "at least one cron expression, or a period",
            ScheduleError::EveryNotAlone { .. } => "one period, or any number of cron expressions",
            ScheduleError::Never { .. } => "an expression that matches at least one date",
        }
    }

    /// What to write instead, where that can be told.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ScheduleError::Empty => Some("leave `schedule` away for a job that only runs by hand or after others"),
            ScheduleError::EveryNotAlone { .. } => Some("give the period a job of its own"),
            ScheduleError::Never { .. } => Some(
                "check the day against the months: April, June, September and November have 30 days, February 28 or 29",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an RFC 3339 instant")
    }

    fn schedule(timings: &[&str], zone: Tz) -> Result<Schedule, ScheduleError> {
        let timings = timings.iter().map(|text| Timing::parse(text).expect(text)).collect();
        Schedule::new(timings, zone)
    }

    #[test]
    fn several_expressions_answer_as_one_series_without_duplicates() {
        let both = schedule(&["0 */6 * * *", "0 0,3 * * *"], Tz::UTC).expect("valid");
        let (after, until) = (at("2024-01-01T00:00:00Z"), at("2024-01-02T00:00:00Z"));
        let hours: Vec<String> = both
            .slots_in(after, until, after)
            .map(|slot| slot.format("%d %H").to_string())
            .collect();
        assert_eq!(hours, ["01 03", "01 06", "01 12", "01 18", "02 00"]);
        assert_eq!(both.count_in(after, until, after, 100), 5);
        assert_eq!(both.count_in(after, until, after, 3), 3);
        assert_eq!(both.count_in(until, after, after, 3), 0);
    }

    #[test]
    fn a_period_is_counted_without_walking_it() {
        let every = schedule(&["@every 7s"], Tz::UTC).expect("valid");
        let (anchor, after) = (at("2020-01-01T00:00:00Z"), at("2020-02-03T04:05:06Z"));
        for hours in 0..3 {
            let until = after + chrono::TimeDelta::hours(hours);
            let walked = every.slots_in(after, until, anchor).count();
            assert_eq!(every.count_in(after, until, anchor, usize::MAX), walked);
        }
        let far = at("2990-01-01T00:00:00Z");
        assert_eq!(every.count_in(after, far, anchor, 1000), 1000);
        assert_eq!(every.count_in(far, after, anchor, 1000), 0);
    }

    #[test]
    fn what_cannot_be_a_schedule_is_refused_by_name() {
        assert_eq!(schedule(&[], Tz::UTC), Err(ScheduleError::Empty));
        assert_eq!(
            schedule(&["@daily", "0 0 31 2 *"], Tz::UTC),
            Err(ScheduleError::Never {
                index: 1,
                expr: "0 0 31 2 *".to_owned()
            })
        );
        let every = Every::parse("5m").expect("a duration");
        for (timings, index) in [
            (["@every 5m", "@daily"], 0),
            (["@daily", "@every 5m"], 1),
            (["@every 5m"; 2], 0),
        ] {
            assert_eq!(
                schedule(&timings, Tz::UTC),
                Err(ScheduleError::EveryNotAlone { index, every })
            );
        }
    }

    #[test]
    fn a_faulty_period_points_at_its_duration() {
        let cases = [
            ("@every", EveryError::Missing, 6..6),
            ("@every 0s", EveryError::TooShort, 7..9),
            (
                " @every  5x ",
                EveryError::NotADuration { found: "5x".to_owned() },
                9..11,
            ),
            (
                "@every 1h 5m",
                EveryError::NotADuration {
                    found: "1h 5m".to_owned(),
                },
                7..12,
            ),
        ];
        for (text, fault, range) in cases {
            let error = Timing::parse(text).expect_err(text);
            assert_eq!(
                (error.kind(), error.range()),
                (&CronErrorKind::Every(fault), range),
                "{text}"
            );
        }
        let glued = Timing::parse("@every5m").expect_err("no blank");
        assert!(matches!(glued.kind(), CronErrorKind::UnknownShortcut { .. }));
    }

    #[test]
    fn the_calendar_ends_with_the_year_2100() {
        let yearly = schedule(&["@yearly"], Tz::UTC).expect("valid");
        let anchor = at("2024-01-01T00:00:00Z");
        assert_eq!(
            yearly.next_after(at("2099-06-01T00:00:00Z"), anchor),
            Some(at("2100-01-01T00:00:00Z"))
        );
        assert_eq!(yearly.next_after(at("2100-06-01T00:00:00Z"), anchor), None);
    }

    #[test]
    fn preview_shows_the_offset_of_each_fire() {
        let fires = preview("30 2 * * *", "Europe/Berlin", at("2024-03-29T12:00:00Z"), 3).expect("valid");
        let fires: Vec<String> = fires.iter().map(DateTime::to_rfc3339).collect();
        assert_eq!(
            fires,
            [
                "2024-03-30T02:30:00+01:00",
                "2024-03-31T03:00:00+02:00",
                "2024-04-01T02:30:00+02:00"
            ]
        );
        let error = |expr, zone| preview(expr, zone, at("2024-03-29T12:00:00Z"), 1).expect_err("faulty");
        assert!(matches!(error("* * *", "UTC"), PreviewError::Timing(_)));
        assert!(matches!(error("@daily", "Mars"), PreviewError::Zone(_)));
        assert!(matches!(error("0 0 30 2 *", "UTC"), PreviewError::Schedule(_)));
    }
}
