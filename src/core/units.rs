//! Durations and sizes as people write them in YAML: `90s`, `1h30m`, `512MiB`.
//!
//! Reading is strict and agrees with the pattern that the schema carries; writing gives the shortest exact form, so that
//! one value has one canonical text.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The form of a duration, as a regular expression. Its bounds keep every duration that matches it inside 64 bits, so
/// that the schema accepts exactly what [`HumanDuration`] reads.
pub const DURATION_PATTERN: &str = "^([0-9]{1,9}(ms|s|m|h|d)){1,10}$";
/// The form of a size, as a regular expression; bounded as [`DURATION_PATTERN`] is.
pub const SIZE_PATTERN: &str = "^([0-9]{1,12}(B|kB|MB|KiB|MiB)|[0-9]{1,10}(GB|GiB)|[0-9]{1,7}(TB|TiB))$";

/// A text that is neither a duration nor a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// Not of the form of [`DURATION_PATTERN`].
    #[error("`{0}` is not a duration: expected numbers with the units ms, s, m, h or d, such as `90s` or `1h30m`")]
    Duration(String),
    /// Not of the form of [`SIZE_PATTERN`].
    #[error("`{0}` is not a size: expected a number with a unit, such as `512MiB` or `2GB`")]
    Size(String),
}

/// A length of time, to the millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(u64);

/// Longer durations are read as this one, 999,999,999 days, so that whatever was read has a canonical text.
const LONGEST: u64 = 999_999_999 * 86_400_000;

/// How many numbers with units a duration may have ([`DURATION_PATTERN`]).
const MOST_PARTS: u32 = 10;

/// Milliseconds in each unit, from the largest; the order in which a duration is written.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl HumanDuration {
    /// A number of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A number of seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// A time that passed, as people want to read it: to the millisecond below ten seconds, else to the second. A clock
    /// that was set back in between makes it nothing.
    pub fn elapsed(millis: i64) -> Self {
        let millis = u64::try_from(millis).unwrap_or(0);
        Self(if millis < 10_000 {
            millis
        } else {
            millis / 1_000 * 1_000
        })
    }

    /// The whole length in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// For timers.
    pub const fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// For arithmetic on instants; capped at about 292 million years.
    pub fn to_delta(self) -> chrono::TimeDelta {
        chrono::TimeDelta::milliseconds(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl FromStr for HumanDuration {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let invalid = || InvalidUnit::Duration(text.to_owned());
        if text.is_empty() {
            return Err(invalid());
        }
        let (mut rest, mut total, mut parts) = (text, 0u64, 0);
        while !rest.is_empty() {
            parts += 1;
            if parts > MOST_PARTS {
                return Err(invalid());
            }
            let (number, unit, after) = split_number(rest, &["ms", "s", "m", "h", "d"], 9).ok_or_else(invalid)?;
            let millis = DURATION_UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, m)| *m)
                .ok_or_else(invalid)?;
            total = number
                .checked_mul(millis)
                .and_then(|n| total.checked_add(n))
                .ok_or_else(invalid)?;
            rest = after;
        }
        Ok(Self(total.min(LONGEST)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut text = String::new();
        for (unit, millis) in DURATION_UNITS {
            let count = rest / millis;
            rest %= millis;
            if count > 0 {
                text.push_str(&format!("{count}{unit}"));
            }
        }
        f.pad(if text.is_empty() { "0s" } else { &text })
    }
}

/// An amount of memory or storage, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

/// Bytes in each unit, and the most digits that may stand before it ([`SIZE_PATTERN`]).
const SIZE_UNITS: [(&str, u64, usize); 9] = [
    ("TiB", 1 << 40, 7),
    ("TB", 1_000_000_000_000, 7),
    ("GiB", 1 << 30, 10),
    ("GB", 1_000_000_000, 10),
    ("MiB", 1 << 20, 12),
    ("MB", 1_000_000, 12),
    ("KiB", 1 << 10, 12),
    ("kB", 1_000, 12),
    ("B", 1, 12),
];

impl ByteSize {
    /// A number of bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let invalid = || InvalidUnit::Size(text.to_owned());
        let names = SIZE_UNITS.map(|(name, _, _)| name);
        let (number, unit, rest) = split_number(text, &names, 12).ok_or_else(invalid)?;
        let (_, bytes, digits) = SIZE_UNITS
            .into_iter()
            .find(|(name, _, _)| *name == unit)
            .ok_or_else(invalid)?;
        match number.checked_mul(bytes) {
            Some(total) if rest.is_empty() && text.len() - unit.len() <= digits => Ok(Self(total)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The unit that leaves the smallest number: 2,000,000,000 is `2GB`, although it is a whole number of KiB too.
        let (unit, bytes, _) = SIZE_UNITS
            .into_iter()
            .filter(|(_, bytes, _)| self.0 > 0 && self.0.is_multiple_of(*bytes))
            .max_by_key(|(_, bytes, _)| *bytes)
            .unwrap_or(("B", 1, 12));
        f.pad(&format!("{}{unit}", self.0 / bytes))
    }
}

/// A number of bytes as people want to read it, such as `12.3 MiB`.
pub fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    // Tenths of a unit, in whole numbers: what is read here is never calculated with.
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1_024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Takes digits and the longest of `units` from the front of `text`: the number, the unit and what follows.
fn split_number<'a>(text: &'a str, units: &[&str], most_digits: usize) -> Option<(u64, &'a str, &'a str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > most_digits {
        return None;
    }
    let (number, rest) = text.split_at(digits);
    let unit = units
        .iter()
        .filter(|unit| rest.starts_with(**unit))
        .map(|unit| unit.len())
        .max()?;
    let (unit, rest) = rest.split_at(unit);
    Some((number.parse().ok()?, unit, rest))
}

macro_rules! as_text {
    ($name:ident, $pattern:expr, $example:expr) => {
        impl TryFrom<String> for $name {
            type Error = InvalidUnit;

            fn try_from(text: String) -> Result<Self, InvalidUnit> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

as_text!(HumanDuration, DURATION_PATTERN, "1h30m");
as_text!(ByteSize, SIZE_PATTERN, "512MiB");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis, canonical) in [
            ("90s", 90_000, "1m30s"),
            ("5m", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("2d", 172_800_000, "2d"),
            ("150ms", 150, "150ms"),
            ("0s", 0, "0s"),
            ("1s1s", 2_000, "2s"),
        ] {
            let duration: HumanDuration = text.parse().expect(text);
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), canonical, "{text}");
        }
        for (millis, text) in [(-5, "0s"), (1_234, "1s234ms"), (61_234, "1m1s")] {
            assert_eq!(HumanDuration::elapsed(millis).to_string(), text);
        }
        for bad in ["", "5", "m", "5 m", "-5m", "1.5h", "5M", "5m ", "5w", "9999999999s"] {
            assert!(bad.parse::<HumanDuration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        let words = [0, 1_023, 1_024, 12_900_000, 5 << 30].map(bytes_in_words);
        assert_eq!(words, ["0 B", "1023 B", "1.0 KiB", "12.3 MiB", "5.0 GiB"]);
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, canonical) in [
            ("512MiB", 512 << 20, "512MiB"),
            ("2GB", 2_000_000_000, "2GB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("10kB", 10_000, "10kB"),
            ("7B", 7, "7B"),
            ("0B", 0, "0B"),
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!(
                (size.as_bytes(), size.to_string()),
                (bytes, canonical.to_owned()),
                "{text}"
            );
        }
        for bad in ["", "5", "MiB", "5 MiB", "1.5GiB", "5mb", "5MiBx", "999999999999TiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn canonical_texts_read_back_as_they_were(n in 0u64..=86_400_000 * 999_999_999) {
            prop_assert_eq!(HumanDuration::from_millis(n).to_string().parse(), Ok(HumanDuration::from_millis(n)));
        }

        #[test]
        fn what_matches_a_pattern_is_read_and_written_back(
            duration in &DURATION_PATTERN[1..DURATION_PATTERN.len() - 1],
            size in &SIZE_PATTERN[1..SIZE_PATTERN.len() - 1],
        ) {
            let (duration, size): (HumanDuration, ByteSize) =
                (duration.parse().expect("matches"), size.parse().expect("matches"));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
