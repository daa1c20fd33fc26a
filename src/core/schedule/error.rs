//! What can be wrong with the text of a timing, said so that a person can mend it.
//!
//! Every kind carries what its sentence needs; where the text stands in a file is not known here. A [`CronError`] adds
//! the bytes inside the expression, and a layer above adds the file and draws the arrow.

use std::ops::Range;

use thiserror::Error;

use super::Field;
use super::cron_expr::{MAX_BYTES, SHORTCUTS};
use super::every::EveryError;
use crate::core::suggest::nearest;

/// Why the text is no timing, and which of its bytes say so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct CronError {
    kind: CronErrorKind,
    range: Range<usize>,
}

/// Its `Display` is the message of the error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum CronErrorKind {
    #[error("the cron expression is empty")]
    Empty,
    #[error("the cron expression is {bytes} bytes long")]
    TooLong { bytes: usize },
    #[error("`{found}` is not an ASCII character")]
    NotAscii { found: char },
    #[error("the cron expression has {found} field{}", if *.found == 1 { "" } else { "s" })]
    FieldCount {
        found: usize,
        /// A comma or a hyphen stands alone, as if a list or a range had been spaced out.
        spaced: bool,
    },
    #[error("Petit has no year field")]
    YearField,
    #[error("`{found}` is not a shortcut")]
    UnknownShortcut { found: String },
    #[error("`@reboot` is not a time")]
    Reboot,
    #[error("`@every` is not a cron expression")]
    EveryIsNotCron,
    #[error("the shortcut `{shortcut}` stands alone")]
    ShortcutWithMore { shortcut: String },
    #[error("a cron expression cannot set its time zone")]
    InlineZone,
    #[error("an item of the {field} field is empty")]
    EmptyItem { field: Field },
    #[error("`{found}` is not understood in the {field} field")]
    Malformed { field: Field, found: String },
    #[error("`{found}` is not a name in the {field} field")]
    UnknownName { field: Field, found: String },
    #[error("{value} is out of range for the {field} field")]
    OutOfRange { field: Field, value: String },
    #[error("the range `{from}-{to}` in the {field} field runs backwards")]
    BackwardRange {
        field: Field,
        from: String,
        to: String,
        /// The forward ranges that say the same.
        instead: String,
    },
    #[error("a step of 0 in the {field} field never moves on")]
    StepZero { field: Field },
    #[error("the step {step} is larger than the {field} field")]
    StepTooLarge { field: Field, step: String },
    #[error("`{symbol}` in the {field} field is not supported")]
    Unsupported { field: Field, symbol: char },
    #[error("`?` may not stand in the {field} field")]
    QuestionMark { field: Field },
    #[error("{0}")]
    Every(EveryError),
}

impl CronError {
    pub(super) fn new(kind: CronErrorKind, range: Range<usize>) -> Self {
        CronError { kind, range }
    }

    #[cfg(test)]
    pub(super) fn kind(&self) -> &CronErrorKind {
        &self.kind
    }

    /// The bytes of the expression that the message is about; empty where something is missing.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// What is wrong, in a sentence.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// What may stand in that place.
    pub fn expected(&self) -> String {
        self.kind.expected()
    }

    /// What to write instead, where that can be told.
    pub fn hint(&self) -> Option<String> {
        self.kind.hint()
    }
}

impl CronErrorKind {
    fn expected(&self) -> String {
        match self {
            CronErrorKind::Empty
            | CronErrorKind::FieldCount { .. }
            | CronErrorKind::YearField
            | CronErrorKind::EveryIsNotCron
            | CronErrorKind::InlineZone => {
                "five fields (minute hour day month weekday), or six with the second first, or a shortcut".to_owned()
            }
            CronErrorKind::TooLong { .. } => format!("at most {MAX_BYTES} bytes"),
            CronErrorKind::NotAscii { .. } => "ASCII digits, three-letter names and the signs * , - / ?".to_owned(),
            CronErrorKind::UnknownShortcut { .. } | CronErrorKind::Reboot => {
                let names: Vec<&str> = SHORTCUTS.iter().map(|(name, _)| *name).collect();
                format!("one of {}, or @every with a duration", names.join(", "))
            }
            CronErrorKind::ShortcutWithMore { .. } => "nothing before or after a shortcut".to_owned(),
            CronErrorKind::EmptyItem { field }
            | CronErrorKind::Malformed { field, .. }
            | CronErrorKind::Unsupported { field, .. } => items(*field),
            CronErrorKind::UnknownName { field, .. } | CronErrorKind::OutOfRange { field, .. } => values(*field),
            CronErrorKind::BackwardRange { .. } => "a range that runs forwards".to_owned(),
            CronErrorKind::StepZero { field } | CronErrorKind::StepTooLarge { field, .. } => {
                format!("a step from 1 to {}", field.max())
            }
            CronErrorKind::QuestionMark { .. } => "`?` in one of the two day fields only".to_owned(),
            CronErrorKind::Every(error) => error.expected().to_owned(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CronErrorKind::Empty => Some("write `@daily`, or `0 2 * * *` for 02:00 every day".to_owned()),
            CronErrorKind::TooLong { .. } => {
                Some("list several expressions under `cron`; the job runs when any of them is due".to_owned())
            }
            CronErrorKind::NotAscii { .. } => {
                Some("retype it; text copied from a page often brings such characters along".to_owned())
            }
            CronErrorKind::FieldCount { spaced: true, .. } => {
                Some("write lists and ranges without blanks: `1-5`, `1,15`".to_owned())
            }
            CronErrorKind::FieldCount { found: 1, .. } => {
                Some("separate the fields with blanks; a shortcut begins with `@`, as in `@daily`".to_owned())
            }
            CronErrorKind::FieldCount { found, .. } if *found < 5 => {
                Some("write `*` for each field that may be anything; for a period write `every: 5m`".to_owned())
            }
            CronErrorKind::FieldCount { .. } => Some("remove what is too much".to_owned()),
            CronErrorKind::YearField => {
                Some("leave the year away; to stop a job after a date, disable or remove it then".to_owned())
            }
            CronErrorKind::UnknownShortcut { found } => {
                nearest_shortcut(found).map(|name| format!("did you mean `{name}`?"))
            }
            CronErrorKind::Reboot => Some(
                "give the job a time; to run something at boot, let the service manager call `petit run`".to_owned(),
            ),
            CronErrorKind::EveryIsNotCron => Some("write `every: 15m` instead of `cron`".to_owned()),
            CronErrorKind::ShortcutWithMore { shortcut } => SHORTCUTS
                .iter()
                .find(|(name, _)| name == shortcut)
                .map(|(_, fields)| format!("`{shortcut}` is `{fields}`; write the fields out to change them")),
            CronErrorKind::InlineZone => Some("set `timezone` beside `cron` in the schedule".to_owned()),
            CronErrorKind::EmptyItem { .. } => {
                Some("remove the stray comma; a list is written without blanks: `1,5`".to_owned())
            }
            CronErrorKind::Malformed { found, .. } if found.contains(':') => {
                Some("write a time of day as minute and hour: 02:30 is `30 2 * * *`".to_owned())
            }
            CronErrorKind::Malformed { .. } => {
                Some("write a value `5`, a list `1,15`, a range `1-5` or steps `*/5`".to_owned())
            }
            CronErrorKind::UnknownName { field, found } => Some(match field.similar_name(found) {
                Some(name) => format!("names have three letters: `{name}`"),
                None => "write the number, or the first three letters of an English name".to_owned(),
            }),
            CronErrorKind::OutOfRange { field, value } => match value.as_str() {
                "24" if *field == Field::Hour => Some("midnight is hour 0 of the next day".to_owned()),
                "60" if matches!(field, Field::Second | Field::Minute) => Some(format!("the {field} after 59 is 0")),
                "0" if field.min() == 1 => Some(format!("the {field} field begins with 1")),
                _ => Some(format!("the largest value of the {field} field is {}", field.max())),
            },
            CronErrorKind::BackwardRange { instead, .. } => Some(format!("write `{instead}`")),
            CronErrorKind::StepZero { .. } => Some("remove the step, or write a step of 1 or more".to_owned()),
            CronErrorKind::StepTooLarge { .. } => {
                Some("steps start again with each field; for a period of any length use `every`".to_owned())
            }
            CronErrorKind::Unsupported { symbol, .. } => Some(unsupported_hint(*symbol).to_owned()),
            CronErrorKind::QuestionMark { .. } => Some("write `*`".to_owned()),
            CronErrorKind::Every(error) => error.hint().map(str::to_owned),
        }
    }
}

fn values(field: Field) -> String {
    let (min, max) = (field.min(), field.max());
    match field {
        Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth => {
            format!("a number from {min} to {max}")
        }
        Field::Month => format!("a number from {min} to {max}, or JAN to DEC"),
        Field::DayOfWeek => format!("a number from {min} to {max} (0 and 7 are Sunday), or SUN to SAT"),
    }
}

fn items(field: Field) -> String {
    format!(
        "`*`, a value or a range, each with an optional /step ({})",
        values(field)
    )
}

fn unsupported_hint(symbol: char) -> &'static str {
    match symbol {
        'L' => "run on `28-31` and let the first task see whether tomorrow is in another month",
        'W' => "run on `MON-FRI` and let the first task check the date",
        '#' => "run on that weekday and let the first task check the date: the second one lies in 8 to 14",
        'H' | '~' => "choose a value; to spread jobs over time, give the schedule a jitter",
        _ => "write the values out",
    }
}

fn nearest_shortcut(found: &str) -> Option<&'static str> {
    nearest(found, SHORTCUTS.iter().map(|(name, _)| *name).chain(["@every"]))
}
