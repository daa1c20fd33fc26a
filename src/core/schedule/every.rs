//! A period in elapsed time: `@every 1h30m`, or the key `every: 15m`.
//!
//! Zones and clock changes do not touch it. It counts from an anchor that it is given (the instant at which the job was
//! first applied) and does not keep; the instants are `anchor + k·period` for k = 1, 2, …

use std::fmt;

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::core::units::HumanDuration;

/// A whole number of seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Every {
    seconds: i64,
}

/// Why a text or a length of time is no period.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EveryError {
    /// Nothing follows `@every`.
    #[error("the period is missing")]
    Missing,
    /// What follows it is no duration.
    #[error("`{found}` is not a duration")]
    NotADuration {
        /// What stands there.
        found: String,
    },
    /// Less than one second, zero included.
    #[error("the period is shorter than a second")]
    TooShort,
    /// Slots are whole seconds, so their distance has to be.
    #[error("the period is not a whole number of seconds")]
    Fractional,
    /// More than a hundred years.
    #[error("the period is longer than a hundred years")]
    TooLong,
}

/// Far beyond any use, and small enough that the arithmetic on instants cannot overflow.
const LONGEST: HumanDuration = HumanDuration::from_secs(100 * 366 * 86_400);

impl Every {
    /// Checks that the period is a whole number of seconds within the bounds.
    pub fn new(period: HumanDuration) -> Result<Self, EveryError> {
        if period < HumanDuration::from_secs(1) {
            return Err(EveryError::TooShort);
        }
        if !period.as_millis().is_multiple_of(1000) {
            return Err(EveryError::Fractional);
        }
        if period > LONGEST {
            return Err(EveryError::TooLong);
        }
        let seconds = i64::try_from(period.as_millis() / 1000).map_err(|_| EveryError::TooLong)?;
        Ok(Every { seconds })
    }

    /// Parses what follows `@every`.
    pub fn parse(text: &str) -> Result<Self, EveryError> {
        if text.is_empty() {
            return Err(EveryError::Missing);
        }
        match text.parse() {
            Ok(period) => Every::new(period),
            Err(_) => Err(EveryError::NotADuration { found: text.to_owned() }),
        }
    }

    /// Its length.
    pub fn period(self) -> HumanDuration {
        HumanDuration::from_secs(self.seconds.unsigned_abs())
    }

    /// The first instant of the series strictly after `after`. A fraction of a second in the anchor is dropped, so
    /// that every instant is a whole second.
    pub fn next_after(self, after: DateTime<Utc>, anchor: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let count = self.passed(after, anchor) + 1;
        let since_anchor = count.checked_mul(self.seconds)?;
        DateTime::from_timestamp(anchor.timestamp().checked_add(since_anchor)?, 0)
    }

    /// How many instants of the series lie in (anchor, until].
    pub(super) fn passed(self, until: DateTime<Utc>, anchor: DateTime<Utc>) -> i64 {
        let elapsed = until.timestamp().saturating_sub(anchor.timestamp());
        elapsed.div_euclid(self.seconds).max(0)
    }
}

impl EveryError {
    /// What may stand there.
    pub fn expected(&self) -> &'static str {
        match self {
            EveryError::Missing | EveryError::NotADuration { .. } => {
                "a duration in whole numbers of d, h, m and s, without blanks"
            }
            EveryError::TooShort => "one second or more",
            EveryError::Fractional => "a whole number of seconds",
            EveryError::TooLong => "a hundred years or less",
        }
    }

    /// What to write instead, where that can be told.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            EveryError::Missing | EveryError::NotADuration { .. } => Some("for example `15m` or `1h30m`"),
            EveryError::TooShort => Some("for work that never rests, run a service"),
            EveryError::Fractional | EveryError::TooLong => None,
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.period().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in chrono's range")
    }

    #[test]
    fn the_series_counts_from_its_anchor_and_begins_one_period_later() {
        let every = Every::parse("1m").expect("a duration");
        assert_eq!(every.next_after(at(1000), at(1000)), Some(at(1060)));
        assert_eq!(every.next_after(at(1059), at(1000)), Some(at(1060)));
        assert_eq!(every.next_after(at(1060), at(1000)), Some(at(1120)));
        assert_eq!(every.next_after(at(-5000), at(1000)), Some(at(1060)));
    }

    #[test]
    fn fractions_of_a_second_in_anchor_and_question_do_not_reach_the_answer() {
        let every = Every::parse("10s").expect("a duration");
        let millis = |ms| DateTime::from_timestamp_millis(ms).expect("in chrono's range");
        assert_eq!(every.next_after(millis(1_000_999), millis(1_000_700)), Some(at(1010)));
        assert_eq!(every.next_after(millis(1_009_999), millis(1_000_700)), Some(at(1010)));
        assert_eq!(every.next_after(millis(1_010_000), millis(1_000_700)), Some(at(1020)));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let every = Every::new(LONGEST).expect("allowed");
        assert_eq!(
            every.next_after(DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC),
            None
        );
    }

    #[test]
    fn it_prints_what_it_parses() {
        for text in ["1s", "15m", "1h30m", "1d2h3m4s"] {
            assert_eq!(Every::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(Every::parse("90s").expect("90s").to_string(), "1m30s");
    }

    #[test]
    fn each_fault_has_its_name() {
        let not = |found: &str| EveryError::NotADuration {
            found: found.to_owned(),
        };
        let cases = [
            ("", EveryError::Missing),
            ("5", not("5")),
            ("m", not("m")),
            ("5 m", not("5 m")),
            ("-5m", not("-5m")),
            ("5w", not("5w")),
            ("1.5h", not("1.5h")),
            ("99999999999999999999s", not("99999999999999999999s")),
            ("0s", EveryError::TooShort),
            ("999ms", EveryError::TooShort),
            ("1500ms", EveryError::Fractional),
            ("40000d", EveryError::TooLong),
        ];
        for (text, fault) in cases {
            assert_eq!(Every::parse(text), Err(fault), "{text}");
        }
    }
}
