//! Time zones by their IANA names.
//!
//! The database is compiled in, so that an answer does not depend on what the machine has installed; its version is
//! [`ZONE_DATABASE_VERSION`].

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use thiserror::Error;

pub use chrono_tz::IANA_TZDB_VERSION as ZONE_DATABASE_VERSION;

/// A name that is not in the database.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{name}` is not a time zone")]
pub struct UnknownZone {
    /// What was asked for.
    pub name: String,
    /// The known name that comes nearest, if one comes near.
    pub suggestion: Option<&'static str>,
}

/// The zone of exactly this name.
pub fn parse_timezone(name: &str) -> Result<Tz, UnknownZone> {
    Tz::from_str(name).map_err(|_| UnknownZone {
        name: name.to_owned(),
        suggestion: suggest(name),
    })
}

/// The instant as a person in the zone reads it.
pub fn local_time(instant: DateTime<Utc>, zone: Tz) -> DateTime<Tz> {
    instant.with_timezone(&zone)
}

impl UnknownZone {
    /// What may stand there.
    pub fn expected(&self) -> &'static str {
        "a name from the IANA time zone database, such as Europe/Berlin or UTC"
    }

    /// The name that was probably meant, as a question.
    pub fn hint(&self) -> Option<String> {
        let name = self.name.trim();
        if let Some((_, places)) = ABBREVIATIONS.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)) {
            return Some(format!(
                "abbreviations mean different things in different places: name one, such as {places}"
            ));
        }
        if let Some(suggestion) = self.suggestion {
            return Some(format!("did you mean `{suggestion}`?"));
        }
        Some(if name.eq_ignore_ascii_case("local") {
            "name the zone, so that the job means the same on every machine".to_owned()
        } else {
            "name a place, not an offset: its clock changes are then followed".to_owned()
        })
    }
}

/// Abbreviations that are no names of the database, with the places that people most often mean by them.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
    ("BST", "Europe/London"),
    ("CDT", "America/Chicago"),
    ("CEST", "Europe/Berlin or Europe/Paris"),
    ("CST", "America/Chicago or Asia/Shanghai"),
    ("EDT", "America/New_York"),
    ("EEST", "Europe/Helsinki"),
    ("IST", "Asia/Kolkata, Europe/Dublin or Asia/Jerusalem"),
    ("JST", "Asia/Tokyo"),
    ("KST", "Asia/Seoul"),
    ("MDT", "America/Denver"),
    ("MESZ", "Europe/Berlin"),
    ("MEZ", "Europe/Berlin"),
    ("MSK", "Europe/Moscow"),
    ("PDT", "America/Los_Angeles"),
    ("PST", "America/Los_Angeles"),
    ("SGT", "Asia/Singapore"),
];

/// The place that is most likely meant by a name that the database has, if it stands for standard time all year: a
/// schedule in `EST` is an hour off in New York from March to November.
pub fn likely_meant(zone: Tz) -> Option<&'static str> {
    match zone {
        Tz::EST => Some("America/New_York"),
        Tz::MST => Some("America/Denver"),
        _ => None,
    }
}

/// Names are compared in lower case with `_` for blanks, whole or by the city alone. Below this likeness a suggestion
/// would be a guess.
const LEAST_LIKENESS: f64 = 0.88;

fn suggest(name: &str) -> Option<&'static str> {
    let name = name.trim().to_ascii_lowercase().replace(' ', "_");
    if name.is_empty() {
        return None;
    }
    let likeness = |zone: &str| {
        let zone = zone.to_ascii_lowercase();
        let city = zone.rsplit('/').next().unwrap_or_default();
        if zone == name {
            2.0
        } else if city == name {
            1.5
        } else {
            strsim::jaro_winkler(&zone, &name).max(strsim::jaro_winkler(city, &name))
        }
    };
    TZ_VARIANTS
        .iter()
        .map(|zone| (likeness(zone.name()), zone.name()))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_zones_are_answered_with_the_nearest_name() {
        let cases = [
            ("europe/berlin", Some("Europe/Berlin")),
            ("Europe/Berln", Some("Europe/Berlin")),
            ("Berlin", Some("Europe/Berlin")),
            ("America/New York", Some("America/New_York")),
            ("America/NewYork", Some("America/New_York")),
            ("new york", Some("America/New_York")),
            ("utc ", Some("UTC")),
            ("", None),
            ("+02:00", None),
            ("qqqq", None),
        ];
        for (name, suggestion) in cases {
            let error = parse_timezone(name).expect_err(name);
            assert_eq!(error.suggestion, suggestion, "{name}");
        }
    }

    #[test]
    fn every_zone_of_the_database_parses() {
        for zone in TZ_VARIANTS {
            assert_eq!(parse_timezone(zone.name()), Ok(zone));
        }
    }

    #[test]
    fn the_version_of_the_database_begins_with_its_year() {
        let year: u16 = ZONE_DATABASE_VERSION[..4].parse().expect("a year");
        assert!(year >= 2025, "{ZONE_DATABASE_VERSION}");
    }
}
