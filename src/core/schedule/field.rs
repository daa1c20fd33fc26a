//! One field of a cron expression: which values it may hold, and how its text becomes a set of them.
//!
//! A field knows nothing of its neighbours. The rule that joins the two day fields and the difference between fixed
//! and interval schedules belong to [`super::CronExpr`]. Text goes in with its place inside the whole expression, a
//! [`FieldSet`] or a [`CronError`] that points at the guilty bytes comes out.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use super::error::{CronError, CronErrorKind};

/// The fields in the order in which a six-field expression writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// 0 to 59; left out of an expression of five fields, where it is 0.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or by name.
    Month,
    /// 0 to 7, or by name; 0 and 7 are Sunday.
    DayOfWeek,
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
/// Sunday stands at both ends, as it does in the numbers.
const WEEKDAYS: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

impl Field {
    /// The smallest value that may be written.
    pub fn min(self) -> u8 {
        match self {
            Field::Second | Field::Minute | Field::Hour | Field::DayOfWeek => 0,
            Field::DayOfMonth | Field::Month => 1,
        }
    }

    /// The largest value that may be written; for weekdays 7, which is Sunday again.
    pub fn max(self) -> u8 {
        match self {
            Field::Second | Field::Minute => 59,
            Field::Hour => 23,
            Field::DayOfMonth => 31,
            Field::Month => 12,
            Field::DayOfWeek => 7,
        }
    }

    /// Where `*` and `n/step` end. It differs from [`Field::max`] for weekdays only, so that Sunday is not met twice.
    pub fn last(self) -> u8 {
        match self {
            Field::DayOfWeek => 6,
            Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Month => self.max(),
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Field::Month => &MONTHS,
            Field::DayOfWeek => &WEEKDAYS,
            Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth => &[],
        }
    }

    fn is_day(self) -> bool {
        matches!(self, Field::DayOfMonth | Field::DayOfWeek)
    }

    /// The three-letter name that a longer or misspelt word most likely meant.
    pub(super) fn similar_name(self, word: &str) -> Option<&'static str> {
        let start = word.get(..3)?;
        self.names()
            .iter()
            .find(|name| name.eq_ignore_ascii_case(start))
            .copied()
    }

    /// The value as a person who wrote `like` would write it: by name if `like` is one, else in digits.
    pub(super) fn spell(self, value: u8, like: &str) -> String {
        let by_name = like.starts_with(|c: char| c.is_ascii_alphabetic());
        match self.names().get(usize::from(value - self.min())) {
            Some(name) if by_name => (*name).to_owned(),
            Some(_) | None => value.to_string(),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day-of-month",
            Field::Month => "month",
            Field::DayOfWeek => "weekday",
        })
    }
}

/// The values that a field admits. It is never empty.
#[derive(Clone, Debug)]
pub struct FieldSet {
    field: Field,
    /// Bit `n` stands for the value `n`; Sunday is bit 0 alone.
    bits: u64,
    /// The text begins with `*` or `?`: not "all values", since `*/2` begins with `*` as well.
    starred: bool,
    range: Range<usize>,
}

/// Where the text came from is no part of what it means.
impl PartialEq for FieldSet {
    fn eq(&self, other: &Self) -> bool {
        self.field == other.field && self.bits == other.bits && self.starred == other.starred
    }
}

impl Eq for FieldSet {}

impl Hash for FieldSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.field, self.bits, self.starred).hash(state);
    }
}

impl FieldSet {
    /// Parses one field. `text` must be a slice of `whole`, which the ranges of errors refer to.
    pub(super) fn parse(field: Field, text: &str, whole: &str) -> Result<Self, CronError> {
        let mut bits = 0;
        for item in text.split(',') {
            let item = Item {
                field,
                text: item,
                whole,
            };
            bits |= item.parse()?;
        }
        Ok(FieldSet {
            field,
            bits,
            starred: text.starts_with(['*', '?']),
            range: place(text, whole),
        })
    }

    /// The set that holds second 0 and nothing else, for expressions that do not write their seconds.
    pub(super) fn second_zero() -> Self {
        FieldSet {
            field: Field::Second,
            bits: 1,
            starred: false,
            range: 0..0,
        }
    }

    /// The same set, said to come from other bytes: the fields of a shortcut all lie in its one word.
    pub(super) fn placed_at(self, range: Range<usize>) -> Self {
        FieldSet { range, ..self }
    }

    pub fn contains(&self, value: u8) -> bool {
        value < 64 && self.bits & (1 << value) != 0
    }

    /// The smallest value that is not below `value`.
    pub(super) fn first_from(&self, value: u8) -> Option<u8> {
        let above = self.bits.checked_shr(value.into())?;
        // Six bits count the places of 64.
        (above != 0).then(|| value + above.trailing_zeros() as u8)
    }

    /// The smallest value.
    pub(super) fn first(&self) -> u8 {
        self.bits.trailing_zeros() as u8
    }

    pub fn values(&self) -> impl Iterator<Item = u8> + '_ {
        (self.field.min()..=self.field.last()).filter(|&value| self.contains(value))
    }

    pub fn is_full(&self) -> bool {
        (self.field.min()..=self.field.last()).all(|value| self.contains(value))
    }

    pub fn is_starred(&self) -> bool {
        self.starred
    }

    /// The bytes of the expression that say so.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// One member of a field's comma-separated list.
struct Item<'a> {
    field: Field,
    text: &'a str,
    whole: &'a str,
}

impl<'a> Item<'a> {
    fn parse(&self) -> Result<u64, CronError> {
        if self.text.is_empty() {
            return Err(self.error(self.text, CronErrorKind::EmptyItem { field: self.field }));
        }
        if let Some(symbol) = self.text.chars().find(|c| matches!(c, '#' | '~')) {
            return Err(self.unsupported(self.text, symbol));
        }
        let (body, step) = match self.text.split_once('/') {
            Some((body, step)) => (body, Some(step)),
            None => (self.text, None),
        };
        let (first, last) = self.bounds(body, step.is_some())?;
        let step = match step {
            Some(text) => self.step(text)?,
            None => 1,
        };
        let bits = (first..=last)
            .step_by(usize::from(step))
            .fold(0_u64, |bits, value| bits | 1 << value);
        Ok(match self.field {
            Field::DayOfWeek => (bits | bits >> 7) & 0x7f,
            Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Month => bits,
        })
    }

    /// The first and the last value of what stands before the step.
    fn bounds(&self, body: &'a str, stepped: bool) -> Result<(u8, u8), CronError> {
        let field = self.field;
        if body == "*" {
            return Ok((field.min(), field.last()));
        }
        if body == "?" {
            if !field.is_day() {
                return Err(self.error(body, CronErrorKind::QuestionMark { field }));
            }
            if stepped {
                return Err(self.malformed(self.text));
            }
            return Ok((field.min(), field.last()));
        }
        if let Some((from, to)) = body.split_once('-') {
            let (first, last) = (self.value(from)?, self.value(to)?);
            let ends_in_sunday = field == Field::DayOfWeek && last == 0 && first > 0;
            let last = if ends_in_sunday { 7 } else { last };
            if first > last {
                let kind = CronErrorKind::BackwardRange {
                    field,
                    from: from.to_owned(),
                    to: to.to_owned(),
                    instead: self.unwrapped(from, to, last),
                };
                return Err(self.error(body, kind));
            }
            return Ok((first, last));
        }
        let value = self.value(body)?;
        if !stepped {
            return Ok((value, value));
        }
        // Sunday written as 7 starts the week like 0 does; otherwise it would lie behind the end of its own range.
        let first = if value > field.last() { field.min() } else { value };
        Ok((first, field.last()))
    }

    /// A backward range, written as the two forward ones it probably meant.
    fn unwrapped(&self, from: &str, to: &str, last: u8) -> String {
        let field = self.field;
        // Sunday ends the first half, so that the second begins on Monday.
        let restart = match field {
            Field::DayOfWeek => 1,
            Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Month => field.min(),
        };
        let end = field.spell(field.max(), from);
        let start = if last == restart {
            String::new()
        } else {
            field.spell(restart, to) + "-"
        };
        format!("{from}-{end},{start}{to}")
    }

    fn step(&self, text: &'a str) -> Result<u8, CronError> {
        let field = self.field;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.malformed(self.text));
        }
        match text.parse::<u8>() {
            Ok(0) => Err(self.error(text, CronErrorKind::StepZero { field })),
            Ok(step) if step <= field.max() => Ok(step),
            Ok(_) | Err(_) => {
                let step = text.to_owned();
                Err(self.error(text, CronErrorKind::StepTooLarge { field, step }))
            }
        }
    }

    /// A number or a name.
    fn value(&self, text: &'a str) -> Result<u8, CronError> {
        let field = self.field;
        if text.is_empty() {
            return Err(self.malformed(self.text));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<u8>() {
                Ok(value) if (field.min()..=field.max()).contains(&value) => Ok(value),
                Ok(_) | Err(_) => Err(self.out_of_range(text)),
            };
        }
        let names = field.names();
        if let Some(index) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            // Twelve names at most, so that the index always fits.
            return Ok(field.min() + index as u8);
        }
        if let Some(symbol) = foreign_symbol(field, text) {
            return Err(self.unsupported(text, symbol));
        }
        if text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            let kind = CronErrorKind::UnknownName {
                field,
                found: text.to_owned(),
            };
            return Err(self.error(text, kind));
        }
        Err(self.malformed(text))
    }

    fn out_of_range(&self, text: &str) -> CronError {
        let field = self.field;
        // Quartz and others end in a year, which then lies where Petit reads the weekday.
        let is_year = field == Field::DayOfWeek && matches!(text.parse::<u16>(), Ok(1970..=2199));
        let kind = if is_year {
            CronErrorKind::YearField
        } else {
            CronErrorKind::OutOfRange {
                field,
                value: text.to_owned(),
            }
        };
        self.error(text, kind)
    }

    fn malformed(&self, text: &str) -> CronError {
        let kind = CronErrorKind::Malformed {
            field: self.field,
            found: text.to_owned(),
        };
        self.error(text, kind)
    }

    fn unsupported(&self, text: &str, symbol: char) -> CronError {
        let field = self.field;
        self.error(text, CronErrorKind::Unsupported { field, symbol })
    }

    fn error(&self, text: &str, kind: CronErrorKind) -> CronError {
        CronError::new(kind, place(text, self.whole))
    }
}

/// The sign of another cron's dialect in a word that is neither a number nor a name: `L`, `15W`, `LW`, `5L`, `FRIL`,
/// `H`, `H(0-7)`.
fn foreign_symbol(field: Field, text: &str) -> Option<char> {
    let named = field.similar_name(text).map_or(text, |name| &text[name.len()..]);
    let rest = named
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .to_ascii_uppercase();
    match rest.as_str() {
        "L" => Some('L'),
        "W" | "LW" | "WL" => Some('W'),
        word if word == "H" || word.starts_with("H(") => Some('H'),
        _ => None,
    }
}

/// The bytes of `whole` that its slice `part` occupies.
pub(super) fn place(part: &str, whole: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}
