//! A schedule as a job file writes it, checked.
//!
//! All faults are told at once, each with the entry that it concerns; which line of which file that is, is known to
//! those who read it. The zone has been settled before, since the settings may supply it.

use std::ops::Range;

use chrono_tz::Tz;
use thiserror::Error;

use super::{CronError, Every, EveryError, Schedule, ScheduleError, Timing};
use crate::core::spec::ScheduleSpec;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecFault {
    /// The entry of `cron` with this index cannot be read.
    #[error("{error}")]
    Cron { index: usize, error: CronError },
    #[error("{0}")]
    Every(EveryError),
    /// Each entry can be read, but one of them, or all together, make no schedule.
    #[error("{0}")]
    Schedule(ScheduleError),
}

impl Schedule {
    /// Checks a schedule as written; `zone` is the one its spec names, or the settings'.
    pub fn from_spec(spec: &ScheduleSpec, zone: Tz) -> Result<Self, Vec<SpecFault>> {
        let (mut timings, mut faults) = (Vec::new(), Vec::new());
        for (index, text) in spec.cron.iter().enumerate() {
            match Timing::parse(text) {
                Ok(timing) => timings.push(timing),
                Err(error) => faults.push(SpecFault::Cron { index, error }),
            }
        }
        // It comes last, so that an index of a timing is the index of its `cron` entry.
        match spec.every.map(Every::new) {
            Some(Ok(every)) => timings.push(Timing::Every(every)),
            Some(Err(error)) => faults.push(SpecFault::Every(error)),
            None => {}
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Schedule::new(timings, zone).map_err(|error| vec![SpecFault::Schedule(error)])
    }
}

impl SpecFault {
    /// The entry of `cron` that is at fault, unless it is `every` or the whole.
    pub fn cron_index(&self) -> Option<usize> {
        match self {
            SpecFault::Cron { index, .. } | SpecFault::Schedule(ScheduleError::Never { index, .. }) => Some(*index),
            SpecFault::Every(_) | SpecFault::Schedule(ScheduleError::Empty | ScheduleError::EveryNotAlone { .. }) => {
                None
            }
        }
    }

    /// The bytes inside that entry, if not all of it is meant.
    pub fn within(&self) -> Option<Range<usize>> {
        match self {
            SpecFault::Cron { error, .. } => Some(error.range()),
            SpecFault::Every(_) | SpecFault::Schedule(_) => None,
        }
    }

    /// A stable name of the kind of fault.
    pub fn code(&self) -> &'static str {
        match self {
            SpecFault::Cron { .. } => "invalid-cron",
            SpecFault::Every(_) => "invalid-period",
            SpecFault::Schedule(ScheduleError::Empty) => "empty-schedule",
            SpecFault::Schedule(ScheduleError::EveryNotAlone { .. }) => "period-not-alone",
            SpecFault::Schedule(ScheduleError::Never { .. }) => "never-fires",
        }
    }

    pub fn message(&self) -> String {
        self.to_string()
    }

    pub fn expected(&self) -> String {
        match self {
            SpecFault::Cron { error, .. } => error.expected(),
            SpecFault::Every(error) => error.expected().to_owned(),
            SpecFault::Schedule(error) => error.expected().to_owned(),
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            SpecFault::Cron { error, .. } => error.hint(),
            SpecFault::Every(error) => error.hint().map(str::to_owned),
            SpecFault::Schedule(error) => error.hint().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::HumanDuration;

    fn spec(cron: &[&str], every: Option<HumanDuration>) -> ScheduleSpec {
        ScheduleSpec {
            cron: cron.iter().map(|text| (*text).to_owned()).collect(),
            every,
            ..ScheduleSpec::default()
        }
    }

    #[test]
    fn both_ways_of_writing_a_period_are_one() {
        let key = Schedule::from_spec(&spec(&[], Some(HumanDuration::from_secs(90))), Tz::UTC);
        let text = Schedule::from_spec(&spec(&["@every 1m30s"], None), Tz::UTC);
        assert!(key.is_ok());
        assert_eq!(key, text);
    }

    #[test]
    fn all_faults_are_told_with_the_entry_they_concern() {
        let faults = Schedule::from_spec(
            &spec(
                &["* * * *", "@daily", "0 25 * * *"],
                Some(HumanDuration::from_millis(10)),
            ),
            Tz::UTC,
        )
        .expect_err("three faults");
        let told: Vec<_> = faults
            .iter()
            .map(|fault| (fault.code(), fault.cron_index(), fault.within()))
            .collect();
        assert_eq!(
            told,
            [
                ("invalid-cron", Some(0), Some(0..7)),
                ("invalid-cron", Some(2), Some(2..4)),
                ("invalid-period", None, None),
            ]
        );
    }

    #[test]
    fn entries_that_make_no_schedule_together_are_one_fault() {
        let cases = [
            (spec(&[], None), "empty-schedule", None),
            (spec(&["@daily", "0 0 30 2 *"], None), "never-fires", Some(1)),
            (
                spec(&["@daily"], Some(HumanDuration::from_secs(60))),
                "period-not-alone",
                None,
            ),
        ];
        for (spec, code, index) in cases {
            let faults = Schedule::from_spec(&spec, Tz::UTC).expect_err(code);
            assert_eq!(faults.len(), 1);
            assert_eq!((faults[0].code(), faults[0].cron_index()), (code, index));
            assert!(faults[0].hint().is_some() && !faults[0].message().is_empty());
        }
    }
}
