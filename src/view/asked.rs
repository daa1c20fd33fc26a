//! A time as people ask about it: `03:00`, `yesterday 03:00`, `-2h`, or an instant with its offset.
//!
//! Only its form is read here. Which instant it is depends on the zone of the job that is asked about and on the moment
//! of the question, which come as arguments; so the same text means the same whoever sends it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Days, LocalResult, NaiveDateTime, NaiveTime, SecondsFormat, SubsecRound, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};

use crate::core::{Timestamp, units::HumanDuration};

/// A time as people ask about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AskedTime {
    /// RFC 3339, with its offset.
    Instant(Timestamp),
    /// A date and a time on the clocks of the job's zone.
    Wall(NaiveDateTime),
    /// A time on the clocks of the job's zone, of a day that is near.
    Day(Day, NaiveTime),
    /// So long ago.
    Ago(HumanDuration),
    /// So far ahead.
    Ahead(HumanDuration),
}

/// A day by its distance from today in the job's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// The day before.
    Yesterday,
    /// Today.
    Today,
    /// The day after.
    Tomorrow,
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 02:00, `yesterday 02:00`, `2026-01-31 02:00`, 2026-01-31T02:00:00Z, `now` or -2h")]
pub struct NotATime;

/// The instant that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The instant.
    pub at: Timestamp,
    /// What should be known about the choice of it, in a sentence.
    pub note: Option<String>,
}

impl AskedTime {
    /// The instant that this means in a zone at a moment. A time that the clocks jump over means the first instant after
    /// the gap, where a schedule that names it fires; a repeated one means its first pass.
    pub fn resolve(self, zone: Tz, now: Timestamp) -> Resolved {
        let sure = |at| Resolved { at, note: None };
        // Slots are whole seconds, and answers are told in them.
        let second = now.trunc_subsecs(0);
        match self {
            Self::Instant(at) => sure(at),
            Self::Ago(long) => sure(
                second
                    .checked_sub_signed(long.to_delta())
                    .unwrap_or(DateTime::UNIX_EPOCH),
            ),
            Self::Ahead(long) => sure(second.checked_add_signed(long.to_delta()).unwrap_or(second)),
            Self::Wall(wall) => on_the_clock(wall, zone),
            Self::Day(day, time) => {
                let today = now.with_timezone(&zone).date_naive();
                let date = match day {
                    Day::Yesterday => today.checked_sub_days(Days::new(1)),
                    Day::Today => Some(today),
                    Day::Tomorrow => today.checked_add_days(Days::new(1)),
                };
                on_the_clock(date.unwrap_or(today).and_time(time), zone)
            }
        }
    }
}

fn on_the_clock(wall: NaiveDateTime, zone: Tz) -> Resolved {
    let name = zone.name();
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) => Resolved {
            at: at.to_utc(),
            note: None,
        },
        LocalResult::Ambiguous(first, second) => Resolved {
            at: first.to_utc(),
            note: Some(format!(
                "The clocks of {name} show {wall} twice; this is about the first time, the second one is {}.",
                second.to_rfc3339_opts(SecondsFormat::Secs, true)
            )),
        },
        LocalResult::None => {
            let after = GapInfo::new(&wall, &zone).and_then(|gap| gap.end);
            let at = after.map_or_else(|| wall.and_utc(), |after| after.to_utc());
            Resolved {
                at,
                note: Some(format!(
                    "The clocks of {name} jump over {wall}; this is about the first instant after the jump."
                )),
            }
        }
    }
}

impl FromStr for AskedTime {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let text = text.trim();
        if text == "now" {
            return Ok(Self::Ago(HumanDuration::default()));
        }
        if let Some(long) = text.strip_prefix('-') {
            return long.parse().map(Self::Ago).map_err(|_| NotATime);
        }
        if let Some(long) = text.strip_prefix('+') {
            return long.parse().map(Self::Ahead).map_err(|_| NotATime);
        }
        if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::Instant(instant.with_timezone(&Utc)));
        }
        let with_date = [
            "%Y-%m-%d %H:%M:%S",
            "%Y-%m-%d %H:%M",
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%dT%H:%M",
        ];
        let wall = with_date
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
        if let Some(wall) = wall {
            return Ok(Self::Wall(wall));
        }
        let (day, time) = match text.split_once(' ') {
            Some(("yesterday", time)) => (Day::Yesterday, time),
            Some(("today", time)) => (Day::Today, time),
            Some(("tomorrow", time)) => (Day::Tomorrow, time),
            Some(_) => return Err(NotATime),
            None => (Day::Today, text),
        };
        let time = ["%H:%M:%S", "%H:%M"]
            .iter()
            .find_map(|format| NaiveTime::parse_from_str(time.trim(), format).ok())
            .ok_or(NotATime)?;
        Ok(Self::Day(day, time))
    }
}

impl fmt::Display for AskedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            Self::Wall(wall) => write!(f, "{}", wall.format("%Y-%m-%dT%H:%M:%S")),
            Self::Day(day, time) => {
                let day = match day {
                    Day::Yesterday => "yesterday",
                    Day::Today => "today",
                    Day::Tomorrow => "tomorrow",
                };
                write!(f, "{day} {}", time.format("%H:%M:%S"))
            }
            Self::Ago(long) => write!(f, "-{long}"),
            Self::Ahead(long) => write!(f, "+{long}"),
        }
    }
}

impl TryFrom<String> for AskedTime {
    type Error = NotATime;

    fn try_from(text: String) -> Result<Self, NotATime> {
        text.parse()
    }
}

impl From<AskedTime> for String {
    fn from(time: AskedTime) -> Self {
        time.to_string()
    }
}

impl From<Timestamp> for AskedTime {
    fn from(at: Timestamp) -> Self {
        Self::Instant(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Resolved {
        // 01:30 in Berlin: there, it is already the 31st.
        let now = "2026-01-31T00:30:00.750Z".parse().expect("an instant");
        let asked: AskedTime = text.parse().expect(text);
        assert_eq!(asked.to_string().parse(), Ok(asked), "{text} survives the socket");
        asked.resolve(Tz::Europe__Berlin, now)
    }

    #[test]
    fn times_are_those_of_the_jobs_zone() {
        for (text, utc) in [
            ("2026-01-31T02:00:00Z", "2026-01-31T02:00:00Z"),
            ("2026-01-31T02:00:00.250+01:00", "2026-01-31T01:00:00.250Z"),
            ("2026-07-01 02:00", "2026-07-01T00:00:00Z"),
            ("2026-07-01T02:00:05", "2026-07-01T00:00:05Z"),
            ("02:00", "2026-01-31T01:00:00Z"),
            ("02:00:30", "2026-01-31T01:00:30Z"),
            ("today 00:10", "2026-01-30T23:10:00Z"),
            ("yesterday 03:00", "2026-01-30T02:00:00Z"),
            ("tomorrow 03:00", "2026-02-01T02:00:00Z"),
            ("now", "2026-01-31T00:30:00Z"),
            ("-2h", "2026-01-30T22:30:00Z"),
            ("+1d12h", "2026-02-01T12:30:00Z"),
        ] {
            let found = resolved(text);
            assert_eq!(found.at.to_rfc3339_opts(SecondsFormat::AutoSi, true), utc, "{text}");
            assert_eq!(found.note, None, "{text}");
        }
    }

    #[test]
    fn times_that_a_clock_shows_never_or_twice_are_chosen_and_said() {
        let jumped = resolved("2026-03-29 02:30");
        assert_eq!(jumped.at.to_rfc3339(), "2026-03-29T01:00:00+00:00");
        let note = jumped.note.expect("a word on it");
        assert!(note.contains("jump over 2026-03-29 02:30:00"), "{note}");
        let twice = resolved("2026-10-25 02:30");
        assert_eq!(twice.at.to_rfc3339(), "2026-10-25T00:30:00+00:00");
        let note = twice.note.expect("a word on it");
        assert!(note.contains("the second one is 2026-10-25T02:30:00+01:00"), "{note}");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "25:00", "someday 03:00", "2h", "-2", "+", "2026-01-31"] {
            assert_eq!(text.parse::<AskedTime>(), Err(NotATime), "{text}");
        }
    }
}
