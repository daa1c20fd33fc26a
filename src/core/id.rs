//! Names of things, each a type of its own so that one cannot stand where another is meant.
//!
//! Checked on the way in; an id that exists is well-formed. Names and hashes are shared, not copied, because the rooms hand
//! them on ten thousand at a time. Nothing here knows where ids are stored or shown.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What an id of a job or a task looks like, as a regular expression for the schema and for messages.
pub const SLUG_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// A name that is not a slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: expected 1 to 63 lower-case letters, digits, `-` and `_`, the first a letter or digit")]
pub struct InvalidId(pub String);

/// Whether `text` may name a job or a task ([`SLUG_PATTERN`]).
pub fn is_slug(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first && text.len() <= 63 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

macro_rules! slug_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks that `text` is a slug ([`SLUG_PATTERN`]).
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                if is_slug(&text) { Ok(Self(text.into())) } else { Err(InvalidId(text)) }
            }

            /// The id as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": SLUG_PATTERN })
            }
        }
    };
}

slug_id! {
    /// Names a job: unique among the files of `jobs.d`.
    JobId
}

slug_id! {
    /// Names a task within its job.
    TaskId
}

/// Names a run: a ULID, so that ids sort by the time of their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(ulid::Ulid);

impl RunId {
    /// An id made of a creation time and 80 random bits.
    pub fn from_parts(created_at: chrono::DateTime<chrono::Utc>, random: u128) -> Self {
        let millis = u64::try_from(created_at.timestamp_millis()).unwrap_or(0);
        Self(ulid::Ulid::from_parts(millis, random))
    }

    /// When it was made, to the millisecond, by the clock of then.
    pub fn created_at(&self) -> chrono::DateTime<chrono::Utc> {
        let millis = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
        chrono::DateTime::from_timestamp_millis(millis).unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

/// A text that is not a run's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a run: expected 26 letters and digits, as `petit runs` prints them")]
pub struct InvalidRunId(pub String);

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        ulid::Ulid::from_string(text)
            .map(Self)
            .map_err(|_| InvalidRunId(text.to_owned()))
    }
}

/// The SHA-256 of a canonical text, written in hexadecimal: of one spec, or of the whole active set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct SpecHash(Arc<str>);

impl SpecHash {
    /// Hashes a canonical text.
    pub fn of(canonical: &[u8]) -> Self {
        Self::of_parts([canonical])
    }

    /// Hashes the text that the parts make up one after another, without putting it together.
    pub fn of_parts(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        let mut hasher = SetHasher::default();
        for part in parts {
            hasher.add(part.as_ref());
        }
        hasher.finish()
    }

    /// A hash that was stored before.
    pub fn from_stored(hex: String) -> Self {
        Self(hex.into())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits, as shown to people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

/// Makes a [`SpecHash`] of many parts, one after another.
#[derive(Debug, Default)]
pub struct SetHasher(Sha256);

impl SetHasher {
    /// Appends a part to the text that is hashed.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The hash of all that was added.
    pub fn finish(self) -> SpecHash {
        let digits = b"0123456789abcdef";
        let hex = self.0.finalize();
        let hex = hex.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex: String = hex.map(|digit| char::from(digits[usize::from(digit)])).collect();
        SpecHash::from_stored(hex)
    }
}

impl From<String> for SpecHash {
    fn from(hex: String) -> Self {
        Self::from_stored(hex)
    }
}

impl From<SpecHash> for String {
    fn from(hash: SpecHash) -> Self {
        hash.as_str().to_owned()
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_lower_case_and_bounded() {
        for good in ["a", "0", "nightly-etl", "a_b", &"x".repeat(63)] {
            assert!(JobId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "a.b", "é", &"x".repeat(64)] {
            assert!(JobId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn run_ids_sort_by_creation_and_survive_text() {
        let at = |s| chrono::DateTime::from_timestamp(s, 0).expect("a valid instant");
        let (older, newer) = (RunId::from_parts(at(1_000), u128::MAX), RunId::from_parts(at(1_001), 0));
        assert!(older < newer);
        assert_eq!(newer.to_string().parse(), Ok(newer));
        assert!("nope".parse::<RunId>().is_err());
    }
}
