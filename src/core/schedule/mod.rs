//! When a job fires. (Signatures for the other rooms; the room itself lands from its branch.)

use chrono_tz::Tz;

use super::{Timestamp, spec::ScheduleSpec};

/// When a job fires.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    zone: Tz,
}

impl Schedule {
    /// Checks a schedule as written; `zone` is the one its spec names, or the settings'.
    pub fn from_spec(_spec: &ScheduleSpec, zone: Tz) -> Result<Self, String> {
        Ok(Self { zone })
    }

    /// The zone of its wall times.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first slot strictly after `after`; `anchor` is where `every` counts from.
    pub fn next_after(&self, _after: Timestamp, _anchor: Timestamp) -> Option<Timestamp> {
        None
    }
}
