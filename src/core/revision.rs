//! Which versions of a job are meant, when runs are picked by the version that they ran.

use std::{fmt, num::NonZeroU32};

/// Versions of a job: the newest so many, or one by the beginning of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionPick {
    /// The so many versions of each job that were last applied for the first time.
    Last(NonZeroU32),
    /// Those whose hash, or whose git commit, begins with these digits.
    Named(String),
}

/// So many digits of a hash name nothing by accident, and are no more than people are shown.
const LEAST_DIGITS: usize = 4;
/// As long as a hash is.
const MOST_DIGITS: usize = 64;

impl RevisionPick {
    /// Reads `last:5`, or the first digits of a hash.
    pub fn new(text: &str) -> Option<Self> {
        if let Some(count) = text.strip_prefix("last:") {
            return count.parse().ok().map(Self::Last);
        }
        let is_hash = (LEAST_DIGITS..=MOST_DIGITS).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self::Named(text.to_owned()))
    }
}

impl fmt::Display for RevisionPick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(count) => write!(f, "last:{count}"),
            Self::Named(digits) => f.write_str(digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_back() {
        for text in ["last:1", "last:500", "abc1", "0123456789abcdef"] {
            assert_eq!(
                RevisionPick::new(text).map(|pick| pick.to_string()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "last:0",
            "last:",
            "last:-1",
            "abc",
            "xyz1",
            "ABC1",
            "latest",
            &"a".repeat(65),
        ] {
            assert_eq!(RevisionPick::new(text), None, "{text}");
        }
    }
}
