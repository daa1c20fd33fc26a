//! From the schedule as written to the [`Schedule`] that fires.
//!
//! Also brings the written form to one canonical shape, so that two ways of saying the same have one hash: `@every 15m`
//! becomes `every`, and the zone is written down exactly when it is not UTC. The second also makes a spec mean the same
//! when it comes back from the journal under other settings.

use chrono_tz::Tz;

use super::Violation;
use crate::core::{
    schedule::{Every, Schedule, ScheduleError, Timing, likely_slips, parse_timezone},
    spec::ScheduleSpec,
};

/// Checks `spec`, brings it to its canonical shape, and makes the schedule if nothing is wrong.
pub fn read(spec: &mut ScheduleSpec, default_zone: Tz, found: &mut Vec<Violation>) -> Option<Schedule> {
    let before = found.len();
    let zone = match &spec.timezone {
        None => default_zone,
        Some(name) => match parse_timezone(name) {
            Ok(zone) => zone,
            Err(error) => {
                found.push(Violation {
                    expected: Some(error.expected().to_owned()),
                    hint: error.hint(),
                    ..Violation::new("/schedule/timezone", "unknown-timezone", error.to_string())
                });
                default_zone
            }
        },
    };
    spec.timezone = (zone != Tz::UTC).then(|| zone.name().to_owned());
    let mut timings = Vec::with_capacity(spec.cron.len().max(1));
    for (i, text) in spec.cron.iter().enumerate() {
        match Timing::parse(text) {
            Ok(timing) => timings.push(timing),
            Err(error) => found.push(Violation {
                expected: Some(error.expected()),
                hint: error.hint(),
                within: Some(error.range()),
                ..Violation::new(format!("/schedule/cron/{i}"), "cron", error.message())
            }),
        }
    }
    if let Some(period) = spec.every {
        match Every::new(period) {
            Ok(every) => timings.push(Timing::Every(every)),
            Err(error) => found.push(Violation {
                expected: Some(error.expected().to_owned()),
                hint: error.hint().map(str::to_owned),
                ..Violation::new("/schedule/every", "every", error.to_string())
            }),
        }
    }
    if found.len() > before {
        return None;
    }
    if let [Timing::Every(every)] = timings[..] {
        spec.cron.clear();
        spec.every = Some(every.period());
    }
    Schedule::new(timings, zone)
        .map_err(|error| {
            let pointer = match error {
                ScheduleError::Empty => "/schedule".to_owned(),
                ScheduleError::EveryNotAlone { index, .. } | ScheduleError::Never { index, .. } => {
                    format!("/schedule/cron/{index}")
                }
            };
            found.push(Violation {
                expected: Some(error.expected().to_owned()),
                hint: error.hint().map(str::to_owned),
                ..Violation::new(pointer, "never-fires", error.to_string())
            });
        })
        .ok()
}

/// What is valid and yet seldom meant.
pub fn slips(schedule: &Schedule) -> Vec<Violation> {
    let mut found = Vec::new();
    for (i, timing) in schedule.timings().iter().enumerate() {
        let Timing::Cron(expr) = timing else { continue };
        found.extend(likely_slips(expr).into_iter().map(|slip| Violation {
            hint: Some(slip.hint),
            within: Some(slip.range),
            ..Violation::new(format!("/schedule/cron/{i}"), "cron-slip", slip.message)
        }));
    }
    found
}
