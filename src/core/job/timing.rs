//! From the schedule as written to the [`Schedule`] that fires.
//!
//! Also brings the written form to one canonical shape, so that two ways of saying the same have one hash: `@every 15m`
//! becomes `every`, and the zone is written down exactly when it is not UTC. The second also makes a spec mean the same
//! when it comes back from the journal under other settings.

use chrono_tz::Tz;

use super::Violation;
use crate::core::{
    schedule::{Every, Schedule, ScheduleError, Timing, likely_meant, likely_slips, parse_timezone},
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
            let (code, pointer) = match error {
                ScheduleError::Empty => ("missing-key", "/schedule".to_owned()),
                // The key comes after all entries of `cron`.
                ScheduleError::EveryNotAlone { index, .. } if index == spec.cron.len() => {
                    ("every", "/schedule/every".to_owned())
                }
                ScheduleError::EveryNotAlone { index, .. } => ("every", format!("/schedule/cron/{index}")),
                ScheduleError::Never { index, .. } => ("never-fires", format!("/schedule/cron/{index}")),
            };
            found.push(Violation {
                expected: Some(error.expected().to_owned()),
                hint: error.hint().map(str::to_owned),
                ..Violation::new(pointer, code, error.to_string())
            });
        })
        .ok()
}

/// What is valid and yet seldom meant.
pub fn slips(schedule: &Schedule) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(place) = likely_meant(schedule.zone()) {
        found.push(Violation {
            hint: Some(format!("did you mean `{place}`?")),
            ..Violation::new(
                "/schedule/timezone",
                "zone-slip",
                format!("`{}` is standard time all year, without summer time", schedule.zone()),
            )
        });
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::HumanDuration;

    fn read_spec(cron: &[&str], every: Option<HumanDuration>) -> (Option<Schedule>, ScheduleSpec, Vec<Violation>) {
        let mut spec = ScheduleSpec {
            cron: cron.iter().map(|text| (*text).to_owned()).collect(),
            every,
            ..ScheduleSpec::default()
        };
        let mut found = Vec::new();
        let schedule = read(&mut spec, Tz::UTC, &mut found);
        (schedule, spec, found)
    }

    #[test]
    fn both_ways_of_writing_a_period_are_one() {
        let (schedule, spec, _) = read_spec(&[], Some(HumanDuration::from_secs(90)));
        assert!(schedule.is_some());
        let (same, same_spec, _) = read_spec(&["@every 1m30s"], None);
        assert_eq!((same, same_spec), (schedule, spec));
    }

    #[test]
    fn every_fault_is_told_at_the_entry_that_it_concerns() {
        let minute = HumanDuration::from_secs(60);
        for (cron, every, places) in [
            (
                &["* * * *", "@daily", "0 25 * * *"][..],
                Some(HumanDuration::from_millis(10)),
                &["/schedule/cron/0", "/schedule/cron/2", "/schedule/every"][..],
            ),
            (&[], None, &["/schedule"]),
            (&["@daily", "0 0 30 2 *"], None, &["/schedule/cron/1"]),
            (&["@daily", "@every 1m"], None, &["/schedule/cron/1"]),
            (&["@daily"], Some(minute), &["/schedule/every"]),
        ] {
            let (schedule, _, found) = read_spec(cron, every);
            assert_eq!(schedule, None, "{cron:?}");
            let pointers: Vec<&str> = found.iter().map(|violation| violation.pointer.as_str()).collect();
            assert_eq!(pointers, places, "{cron:?}");
            assert!(found.iter().all(|violation| violation.expected.is_some()), "{found:?}");
        }
    }
}
