//! A cron expression: five or six fields, or a shortcut, and the wall times that they admit.
//!
//! Text goes in; out comes the next matching wall time after another one. A wall time here is a reading of a calendar
//! and a clock on the wall, with no zone: which instant it is, and whether it is one at all, is settled in
//! [`super::clock`].
//!
//! The time of the day is looked up in the parsed sets; the `cron` crate does the arithmetic of the calendar, from one
//! date to the next. It never sees the user's text, since its dialect is another one (weekdays from 1, glued fields,
//! years), but explicit lists made from the parsed sets; and it is fed wall time as if it were UTC, so that its own
//! handling of zones, which can answer with the past inside a repeated hour, is never reached.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::error::{CronError, CronErrorKind};
use super::field::{Field, FieldSet, place};

/// The years of the `cron` crate.
const FIRST_YEAR: i32 = 1970;
const LAST_YEAR: i32 = 2100;

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

/// A cron expression of five or six fields, or a shortcut, that can be read; whether any date matches is another question.
#[derive(Clone, Debug)]
pub struct CronExpr {
    source: String,
    fields: Box<Fields>,
    kind: Kind,
    calendar: Calendar,
}

/// How a schedule behaves when the clock on the wall jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Names times of the day: each is kept once, however the clock jumps.
    Fixed,
    /// Its second, minute or hour begins with `*`: it follows the clock wherever that goes.
    Interval,
}

/// The six sets, the second being 0 where the expression has five fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fields {
    pub second: FieldSet,
    pub minute: FieldSet,
    pub hour: FieldSet,
    pub day_of_month: FieldSet,
    pub month: FieldSet,
    pub day_of_week: FieldSet,
}

/// The crate's schedules of the dates that an expression admits, each at midnight. It always requires both day fields, so
/// that "either of them" takes two schedules, of which the earlier answer counts.
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

impl Hash for CronExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fields.hash(state);
    }
}

impl CronExpr {
    /// Parses one expression; the error says which of its bytes are wrong and what may stand there.
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

    /// Whether it follows the clock on the wall, skipping what that skips and firing again in what it repeats.
    pub fn is_interval(&self) -> bool {
        match self.kind {
            Kind::Fixed => false,
            Kind::Interval => true,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The first wall time strictly after `wall` that the expression admits, through the year 2100.
    pub fn next_wall(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        let (date, fields) = (wall.date(), &self.fields);
        if fields.admit_date(date)
            && let Some(time) = fields.next_time(wall.time())
        {
            return Some(date.and_time(time));
        }
        let date = self.calendar.next_date(date)?;
        Some(date.and_time(fields.first_time()))
    }

    /// Whether any date through 2100 matches. The calendar repeats within 28 years, so that what matches at all
    /// matches in the future as well.
    pub fn can_match(&self) -> bool {
        let before_all = NaiveDate::from_ymd_opt(FIRST_YEAR - 1, 12, 31).expect("a date of every calendar");
        self.calendar.next_date(before_all).is_some()
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

    fn admit_date(&self, date: NaiveDate) -> bool {
        let by_date = self.day_of_month.contains(small(date.day()));
        let by_weekday = self.day_of_week.contains(small(date.weekday().num_days_from_sunday()));
        let day = if self.either_day() {
            by_date || by_weekday
        } else {
            by_date && by_weekday
        };
        day && self.month.contains(small(date.month())) && (FIRST_YEAR..=LAST_YEAR).contains(&date.year())
    }

    /// The first admitted time of the same day strictly after another.
    fn next_time(&self, after: NaiveTime) -> Option<NaiveTime> {
        let [hour, minute, second] = [after.hour(), after.minute(), after.second()].map(small);
        if self.hour.contains(hour) {
            if self.minute.contains(minute)
                && let Some(second) = self.second.first_from(second + 1)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = self.minute.first_from(minute + 1) {
                return Some(time(hour, minute, self.second.first()));
            }
        }
        let hour = self.hour.first_from(hour + 1)?;
        Some(time(hour, self.minute.first(), self.second.first()))
    }

    fn first_time(&self) -> NaiveTime {
        time(self.hour.first(), self.minute.first(), self.second.first())
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
        let months = list(&fields.month, 0);
        let schedule = |dates: &str, weekdays: &str| {
            let schedule = cron::Schedule::from_str(&format!("0 0 0 {dates} {months} {weekdays}"));
            Box::new(schedule.expect("non-empty lists of values inside their fields are the crate's dialect"))
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

    /// The first admitted date strictly after another.
    fn next_date(&self, after: NaiveDate) -> Option<NaiveDate> {
        let midnight = after.and_time(NaiveTime::MIN).and_utc();
        let next = |schedule: &cron::Schedule| schedule.after(&midnight).next();
        let next = match self {
            Calendar::Both(schedule) => next(schedule),
            Calendar::Either { by_date, by_weekday } => [next(by_date), next(by_weekday)].into_iter().flatten().min(),
        };
        next.map(|midnight| midnight.date_naive())
    }
}

/// The parts of dates and times fit: the largest is 60, one past the last minute.
fn small(part: u32) -> u8 {
    u8::try_from(part).expect("parts of dates and times are below 100")
}

fn time(hour: u8, minute: u8, second: u8) -> NaiveTime {
    let time = NaiveTime::from_hms_opt(hour.into(), minute.into(), second.into());
    time.expect("the sets hold no other values than hours, minutes and seconds have")
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
