//! How long something is kept that nobody needs any more: what `retention` in the settings says of runs and of logs.
//!
//! A limit by age, by number, or by both, of which the stricter counts. What is kept in any case, such as what has not
//! ended, is decided where the thing itself is known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Timestamp, spec::given, units::HumanDuration};

/// How long runs are kept, or their logs. At least one of its limits is set when it was read from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "KeepInput", into = "KeepInput")]
#[schemars(with = "KeepInput")]
pub struct Keep {
    /// No longer than this after its end.
    pub age: Option<HumanDuration>,
    /// Of each job, no more than so many: the latest.
    pub count: Option<u32>,
}

impl Keep {
    /// No limit.
    pub const FOR_EVER: Self = Self { age: None, count: None };

    /// A limit by age alone.
    pub const fn days(days: u64) -> Self {
        Self {
            age: Some(HumanDuration::from_secs(days * 86_400)),
            count: None,
        }
    }

    /// What ended before this instant is too old; `None` if nothing ever is.
    pub fn oldest(&self, now: Timestamp) -> Option<Timestamp> {
        now.checked_sub_signed(self.age?.to_delta())
    }

    /// Whether something may go that ended at `ended_at` and has so many later ones of its job.
    pub fn lets_go(&self, ended_at: Timestamp, later: usize, now: Timestamp) -> bool {
        self.oldest(now).is_some_and(|oldest| ended_at < oldest)
            || self.count.is_some_and(|count| later >= count as usize)
    }

    /// The limit in words, such as `90d` or `90d, the latest 1000 of each job`.
    pub fn in_words(&self) -> String {
        let age = self.age.map(|age| age.to_string());
        let count = self.count.map(|count| format!("the latest {count} of each job"));
        let limits: Vec<String> = age.into_iter().chain(count).collect();
        if limits.is_empty() {
            return "for ever".to_owned();
        }
        limits.join(", ")
    }
}

/// The two ways in which it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum KeepInput {
    /// Only an age.
    Age(HumanDuration),
    /// An age, a number, or both.
    Limits(KeepLimits),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
struct KeepLimits {
    /// No longer than this after the end.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    age: Option<HumanDuration>,
    /// Of each job, the latest so many.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    count: Option<u32>,
}

impl From<KeepInput> for Keep {
    fn from(input: KeepInput) -> Self {
        match input {
            KeepInput::Age(age) => Self {
                age: Some(age),
                count: None,
            },
            KeepInput::Limits(KeepLimits { age, count }) => Self { age, count },
        }
    }
}

impl From<Keep> for KeepInput {
    fn from(Keep { age, count }: Keep) -> Self {
        match (age, count) {
            (Some(age), None) => Self::Age(age),
            (age, count) => Self::Limits(KeepLimits { age, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn keep(text: &str) -> Keep {
        serde_yaml::from_str(text).expect(text)
    }

    #[test]
    fn an_age_a_number_or_both() {
        assert_eq!(keep("90d"), Keep::days(90));
        let both = keep("{age: 90d, count: 1000}");
        assert_eq!((both.age, both.count), (Keep::days(90).age, Some(1_000)));
        assert_eq!(keep("{count: 5}").age, None);
        for written in [Keep::days(90), both, keep("{count: 5}")] {
            let text = serde_json::to_string(&written).expect("writes");
            assert_eq!(serde_json::from_str::<Keep>(&text).expect("reads"), written, "{text}");
        }
        assert_eq!(both.in_words(), "90d, the latest 1000 of each job");
    }

    #[test]
    fn the_stricter_limit_counts() {
        let now = "2026-04-01T00:00:00Z".parse().expect("an instant");
        let ago = |days| now - TimeDelta::days(days);
        let both = keep("{age: 30d, count: 2}");
        for (ended, later, goes) in [(29, 0, false), (31, 0, true), (1, 1, false), (1, 2, true)] {
            assert_eq!(
                both.lets_go(ago(ended), later, now),
                goes,
                "{ended} days, {later} later"
            );
        }
        assert!(!keep("{count: 2}").lets_go(ago(9_999), 1, now));
    }
}
