//! A cron expression: five or six fields, or a shortcut, and the wall times that they admit.
//!
//! Text goes in; out comes the next matching wall time after another one. A wall time here is a reading of a calendar
//! and a clock on the wall, with no zone: which instant it is, and whether it is one at all, is settled in
//! [`super::clock`].
//!
//! The `cron` crate does the arithmetic of the calendar. It never sees the user's text, since its dialect is another
//! one (weekdays from 1, glued fields, years), but explicit lists made from the parsed sets; and it is fed wall time
//! as if it were UTC, so that its own handling of zones, which can answer with the past inside a repeated hour, is
//! never reached.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, TimeDelta};

use super::error::{CronError, CronErrorKind};
use super::field::{Field, FieldSet, place};

pub(super) const MAX_BYTES: usize = 1024;

pub(super) const SHORTCUTS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

#[derive(Clone, Debug)]
pub struct CronExpr {
    source: String,
    fields: Box<Fields>,
    kind: Kind,
    calendar: Calendar,
}

/// How a schedule behaves when the clock on the wall jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names times of the day: each is kept once, however the clock jumps.
    Fixed,
    /// Its second, minute or hour begins with `*`: it follows the clock wherever that goes.
    Interval,
}

/// The six sets, the second being 0 where the expression has five fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub second: FieldSet,
    pub minute: FieldSet,
    pub hour: FieldSet,
    pub day_of_month: FieldSet,
    pub month: FieldSet,
    pub day_of_week: FieldSet,
}

/// The crate's schedules behind an expression. It always requires both day fields, so that "either of them" takes two
/// schedules, of which the earlier answer counts.
#[derive(Clone, Debug)]
enum Calendar {
    Both(Box<cron::Schedule>),
    Either {
        by_date: Box<cron::Schedule>,
        by_weekday: Box<cron::Schedule>,
    },
}

/// Two expressions are equal when they mean the same, whatever their spelling.
impl PartialEq for CronExpr {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Eq for CronExpr {}

impl CronExpr {
    pub fn parse(text: &str) -> Result<Self, CronError> {
        check_bytes(text)?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let fields = match words.first() {
            None => return Err(CronError::new(CronErrorKind::Empty, 0..text.len())),
            Some(word) if word.starts_with('@') => parse_shortcut(word, &words, text)?,
            Some(word) if word.contains('=') => {
                return Err(CronError::new(CronErrorKind::InlineZone, place(word, text)));
            }
            Some(_) => Fields::parse(&words, text)?,
        };
        let interval = [&fields.second, &fields.minute, &fields.hour]
            .iter()
            .any(|field| field.is_starred());
        Ok(CronExpr {
            source: text.to_owned(),
            kind: if interval { Kind::Interval } else { Kind::Fixed },
            calendar: Calendar::new(&fields),
            fields: Box::new(fields),
        })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The first wall time strictly after `wall` that the expression admits, through the year 2100.
    pub fn next_wall(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        let wall = wall.and_utc();
        let next = |schedule: &cron::Schedule| schedule.after(&wall).next();
        let next = match &self.calendar {
            Calendar::Both(schedule) => next(schedule),
            Calendar::Either { by_date, by_weekday } => [next(by_date), next(by_weekday)].into_iter().flatten().min(),
        };
        next.map(|instant| instant.naive_utc())
    }

    /// Whether any date through 2100 matches. The calendar repeats within 28 years, so that what matches at all
    /// matches in the future as well.
    pub fn can_match(&self) -> bool {
        let before_all = DateTime::UNIX_EPOCH.naive_utc() - TimeDelta::seconds(1);
        self.next_wall(before_all).is_some()
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// A shortcut cannot be a slip of the pen.
    pub(super) fn is_shortcut(&self) -> bool {
        self.source.trim_start().starts_with('@')
    }
}

impl fmt::Display for CronExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Fields {
    fn parse(words: &[&str], whole: &str) -> Result<Self, CronError> {
        let (second, rest) = match words {
            [second, rest @ ..] if rest.len() == 5 => (FieldSet::parse(Field::Second, second, whole)?, rest),
            rest => (FieldSet::second_zero(), rest),
        };
        let [minute, hour, day_of_month, month, day_of_week] = rest else {
            return Err(wrong_count(words, whole));
        };
        Ok(Fields {
            second,
            minute: FieldSet::parse(Field::Minute, minute, whole)?,
            hour: FieldSet::parse(Field::Hour, hour, whole)?,
            day_of_month: FieldSet::parse(Field::DayOfMonth, day_of_month, whole)?,
            month: FieldSet::parse(Field::Month, month, whole)?,
            day_of_week: FieldSet::parse(Field::DayOfWeek, day_of_week, whole)?,
        })
    }

    fn placed_at(self, range: &Range<usize>) -> Self {
        let place = |field: FieldSet| field.placed_at(range.clone());
        Fields {
            second: place(self.second),
            minute: place(self.minute),
            hour: place(self.hour),
            day_of_month: place(self.day_of_month),
            month: place(self.month),
            day_of_week: place(self.day_of_week),
        }
    }

    /// Whether a day matches when one of the day fields does, rather than both.
    pub(super) fn either_day(&self) -> bool {
        !self.day_of_month.is_starred() && !self.day_of_week.is_starred()
    }
}

impl Calendar {
    fn new(fields: &Fields) -> Self {
        let dates = list(&fields.day_of_month, 0);
        // The crate counts weekdays from 1, Sunday.
        let weekdays = list(&fields.day_of_week, 1);
        let schedule = |dates: &str, weekdays: &str| {
            let text = format!(
                "{} {} {} {dates} {} {weekdays}",
                list(&fields.second, 0),
                list(&fields.minute, 0),
                list(&fields.hour, 0),
                list(&fields.month, 0),
            );
            let schedule = cron::Schedule::from_str(&text);
            Box::new(schedule.expect("six non-empty lists of values inside their fields are the crate's dialect"))
        };
        if fields.either_day() {
            Calendar::Either {
                by_date: schedule(&dates, "*"),
                by_weekday: schedule("*", &weekdays),
            }
        } else {
            Calendar::Both(schedule(&dates, &weekdays))
        }
    }
}

/// A set in the crate's dialect. A full set is `*`, which the crate stores without a tree of values and tests fastest.
fn list(field: &FieldSet, shift: u8) -> String {
    if field.is_full() {
        return "*".to_owned();
    }
    let values: Vec<String> = field.values().map(|value| (value + shift).to_string()).collect();
    values.join(",")
}

pub(super) fn check_bytes(text: &str) -> Result<(), CronError> {
    if text.len() > MAX_BYTES {
        let bytes = text.len();
        return Err(CronError::new(CronErrorKind::TooLong { bytes }, 0..bytes));
    }
    match text.char_indices().find(|(_, found)| !found.is_ascii()) {
        Some((start, found)) => {
            let range = start..start + found.len_utf8();
            Err(CronError::new(CronErrorKind::NotAscii { found }, range))
        }
        None => Ok(()),
    }
}

fn parse_shortcut(word: &str, words: &[&str], whole: &str) -> Result<Fields, CronError> {
    let range = place(word, whole);
    let kind = match (word, SHORTCUTS.iter().find(|(name, _)| *name == word)) {
        (_, Some((_, expansion))) if words.len() == 1 => {
            let words: Vec<&str> = expansion.split(' ').collect();
            return Ok(Fields::parse(&words, expansion)?.placed_at(&range));
        }
        (_, Some(_)) => {
            let range = place(words[1], whole).start..place(words[words.len() - 1], whole).end;
            let shortcut = word.to_owned();
            return Err(CronError::new(CronErrorKind::ShortcutWithMore { shortcut }, range));
        }
        ("@reboot", None) => CronErrorKind::Reboot,
        ("@every", None) => CronErrorKind::EveryIsNotCron,
        (found, None) => CronErrorKind::UnknownShortcut {
            found: found.to_owned(),
        },
    };
    Err(CronError::new(kind, range))
}

fn wrong_count(words: &[&str], whole: &str) -> CronError {
    if let [.., year] = words
        && words.len() == 7
    {
        return CronError::new(CronErrorKind::YearField, place(year, whole));
    }
    let spaced = words
        .iter()
        .any(|word| word.starts_with(['-', ',', '/']) || word.ends_with(['-', ',', '/']));
    let found = words.len();
    let range = match words {
        [first, .., last] => place(first, whole).start..place(last, whole).end,
        [only] => place(only, whole),
        [] => 0..whole.len(),
    };
    CronError::new(CronErrorKind::FieldCount { found, spaced }, range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CronErrorKind as E;

    fn parse(text: &str) -> CronExpr {
        CronExpr::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_error_has_its_kind_and_points_at_its_bytes() {
        let second = Field::Second;
        let (minute, hour) = (Field::Minute, Field::Hour);
        let (date, month, weekday) = (Field::DayOfMonth, Field::Month, Field::DayOfWeek);
        let own = str::to_owned;
        let long = "0 ".repeat(600);
        let backward = |field, from, to, instead| E::BackwardRange {
            field,
            from: own(from),
            to: own(to),
            instead: own(instead),
        };
        let malformed = |field, found| E::Malformed {
            field,
            found: own(found),
        };
        let cases: Vec<(&str, E, Range<usize>)> = vec![
            ("", E::Empty, 0..0),
            ("  \t", E::Empty, 0..3),
            (&long, E::TooLong { bytes: 1200 }, 0..1200),
            ("\u{ff10} 0 * * *", E::NotAscii { found: '\u{ff10}' }, 0..3),
            (
                "* * * *",
                E::FieldCount {
                    found: 4,
                    spaced: false,
                },
                0..7,
            ),
            (
                "******",
                E::FieldCount {
                    found: 1,
                    spaced: false,
                },
                0..6,
            ),
            (" 0 0 0 1 - 5 * *", E::FieldCount { found: 8, spaced: true }, 1..16),
            ("* * * * * * *", E::YearField, 12..13),
            ("0 0 12 1 1 2026", E::YearField, 11..15),
            ("@DAILY", E::UnknownShortcut { found: own("@DAILY") }, 0..6),
            ("@reboot", E::Reboot, 0..7),
            ("@every 5m", E::EveryIsNotCron, 0..6),
            (
                "@daily 5 6",
                E::ShortcutWithMore {
                    shortcut: own("@daily"),
                },
                7..10,
            ),
            ("TZ=UTC 0 0 * * *", E::InlineZone, 0..6),
            (",1 * * * *", E::EmptyItem { field: minute }, 0..0),
            ("1,,2 * * * *", E::EmptyItem { field: minute }, 2..2),
            ("1, * * * *", E::EmptyItem { field: minute }, 2..2),
            ("-1 * * * *", malformed(minute, "-1"), 0..2),
            ("1- * * * *", malformed(minute, "1-"), 0..2),
            ("1.5 * * * *", malformed(minute, "1.5"), 0..3),
            ("*//2 * * * *", malformed(minute, "*//2"), 0..4),
            ("*/ * * * *", malformed(minute, "*/"), 0..2),
            ("*5 * * * *", malformed(minute, "*5"), 0..2),
            ("1-2-3 * * * *", malformed(minute, "2-3"), 2..5),
            ("0 0 ?/2 * *", malformed(date, "?/2"), 4..7),
            ("0 0 * * mon;", malformed(weekday, "mon;"), 8..12),
            (
                "* 5 j * * *",
                E::UnknownName {
                    field: hour,
                    found: own("j"),
                },
                4..5,
            ),
            (
                "0 0 * * MONDAY",
                E::UnknownName {
                    field: weekday,
                    found: own("MONDAY"),
                },
                8..14,
            ),
            (
                "60 * * * * *",
                E::OutOfRange {
                    field: second,
                    value: own("60"),
                },
                0..2,
            ),
            (
                "0 24 * * *",
                E::OutOfRange {
                    field: hour,
                    value: own("24"),
                },
                2..4,
            ),
            (
                "0 0 0 * *",
                E::OutOfRange {
                    field: date,
                    value: own("0"),
                },
                4..5,
            ),
            (
                "* * * 0 *",
                E::OutOfRange {
                    field: month,
                    value: own("0"),
                },
                6..7,
            ),
            (
                "* * * * 1,8",
                E::OutOfRange {
                    field: weekday,
                    value: own("8"),
                },
                10..11,
            ),
            (
                "300 * * * *",
                E::OutOfRange {
                    field: minute,
                    value: own("300"),
                },
                0..3,
            ),
            ("0 0 * * FRI-MON", backward(weekday, "FRI", "MON", "FRI-SUN,MON"), 8..15),
            ("0 0 * * 5-2/2", backward(weekday, "5", "2", "5-7,1-2"), 8..11),
            (
                "0 0 * NOV-FEB *",
                backward(month, "NOV", "FEB", "NOV-DEC,JAN-FEB"),
                6..13,
            ),
            ("0 22-2 * * *", backward(hour, "22", "2", "22-23,0-2"), 2..6),
            ("15/0 * * * *", E::StepZero { field: minute }, 3..4),
            (
                "*/90 * * * *",
                E::StepTooLarge {
                    field: minute,
                    step: own("90"),
                },
                2..4,
            ),
            (
                "*/900 * * * *",
                E::StepTooLarge {
                    field: minute,
                    step: own("900"),
                },
                2..5,
            ),
            (
                "0 0 L * *",
                E::Unsupported {
                    field: date,
                    symbol: 'L',
                },
                4..5,
            ),
            (
                "0 0 L-3 * *",
                E::Unsupported {
                    field: date,
                    symbol: 'L',
                },
                4..5,
            ),
            (
                "0 0 * * friL",
                E::Unsupported {
                    field: weekday,
                    symbol: 'L',
                },
                8..12,
            ),
            (
                "0 0 15W * *",
                E::Unsupported {
                    field: date,
                    symbol: 'W',
                },
                4..7,
            ),
            (
                "0 0 * * FRI#2",
                E::Unsupported {
                    field: weekday,
                    symbol: '#',
                },
                8..13,
            ),
            (
                "H 0 * * *",
                E::Unsupported {
                    field: minute,
                    symbol: 'H',
                },
                0..1,
            ),
            (
                "H(0-7)/2 0 * * *",
                E::Unsupported {
                    field: minute,
                    symbol: 'H',
                },
                0..3,
            ),
            (
                "0~30 0 * * *",
                E::Unsupported {
                    field: minute,
                    symbol: '~',
                },
                0..4,
            ),
            ("? * * * *", E::QuestionMark { field: minute }, 0..1),
            ("0 0 * ? *", E::QuestionMark { field: month }, 6..7),
        ];
        for (text, kind, range) in cases {
            let error = CronExpr::parse(text).expect_err(text);
            assert_eq!((error.kind(), error.range()), (&kind, range), "{text}");
            assert!(!error.expected().is_empty(), "{text}");
        }
    }

    #[test]
    fn what_people_bring_from_other_crons_is_answered_with_a_hint() {
        let cases = [
            ("@DAILY", "did you mean `@daily`?"),
            ("@hourli", "did you mean `@hourly`?"),
            ("0 0 * * FRI-MON", "write `FRI-SUN,MON`"),
            ("0 0 * * MONDAY", "names have three letters: `MON`"),
            (
                "0 0 0 1 - 5 * *",
                "write lists and ranges without blanks: `1-5`, `1,15`",
            ),
            ("******", "separate the fields with blanks"),
            (
                "@daily 5",
                "`@daily` is `0 0 * * *`; write the fields out to change them",
            ),
            ("0 24 * * *", "midnight is hour 0 of the next day"),
            ("? * * * *", "write `*`"),
        ];
        for (text, hint) in cases {
            let error = CronExpr::parse(text).expect_err(text);
            assert_eq!(error.hint().as_deref(), Some(hint), "{text}");
        }
        for text in [
            "",
            "*/0 * * * *",
            "*/90 * * * *",
            "L * * * *",
            "0 0 1W * *",
            "0 0 * * 1#1",
            "H * * * *",
            "~ * * * *",
            "* * * * * * *",
            "@reboot",
            "TZ=UTC * * * * *",
        ] {
            let error = CronExpr::parse(text).expect_err(text);
            assert!(error.hint().is_some(), "{text}");
        }
    }

    #[test]
    fn spellings_of_the_same_sets_are_equal() {
        let same = [
            ("@daily", "0 0 0 * * *"),
            ("0 0 * * FRI-SUN", "0 0 * * 5,6,0"),
            ("0 0 * * 5-0", "0 0 * * 5-7"),
            ("0 0 * * 7/2", "0 0 * * 0,2,4,6"),
            ("0 0 * * 1/2", "0 0 * * 1,3,5"),
            ("0 0 1 jan,JUL ?", "00  00 01\t1,7 *"),
            ("0/30 * * * *", "0,30 * * * *"),
            ("2-5,4-8 1 * * *", "2-8 1 * * *"),
        ];
        for (left, right) in same {
            assert_eq!(parse(left), parse(right), "{left} and {right}");
        }
    }

    #[test]
    fn a_star_at_the_front_is_part_of_the_meaning() {
        assert_ne!(parse("*/30 * * * *"), parse("0,30 0-23 * * *"));
        assert_eq!(parse("*,5 1 * * *").kind(), Kind::Interval);
        assert_eq!(parse("5,* 1 * * *").kind(), Kind::Fixed);
        assert_eq!(parse("5 1 * * *").kind(), Kind::Fixed);
        assert_eq!(parse("@hourly").kind(), Kind::Interval);
    }

    #[test]
    fn what_never_matches_says_so() {
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 ?"] {
            assert!(!parse(never).can_match(), "{never}");
        }
        for rare in ["0 0 29 2 *", "0 0 29 2 */6", "0 0 30 2 MON"] {
            assert!(parse(rare).can_match(), "{rare}");
        }
    }
}
