//! `petit next --cron`: the fires of an expression that belongs to no job.

use chrono::{DateTime, FixedOffset, Offset, Utc};
use thiserror::Error;

use super::{CronError, Schedule, ScheduleError, Timing, UnknownZone, local_time, parse_timezone};

/// Why there are no fires to show.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PreviewError {
    /// The expression is none.
    #[error(transparent)]
    Timing(#[from] CronError),
    /// There is no such zone.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    /// The expression never fires.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

impl PreviewError {
    /// What may stand there.
    pub fn expected(&self) -> String {
        match self {
            Self::Timing(error) => error.expected(),
            Self::Zone(error) => error.expected().to_owned(),
            Self::Schedule(error) => error.expected().to_owned(),
        }
    }

    /// What to write instead, where that can be told.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Timing(error) => error.hint(),
            Self::Zone(error) => error.hint(),
            Self::Schedule(error) => error.hint().map(str::to_owned),
        }
    }
}

/// The first `count` fires after `after`, with the offset that the zone has then. An `@every` counts from `after`,
/// having no job whose anchor it could use.
pub fn preview(
    expr: &str,
    zone: &str,
    after: DateTime<Utc>,
    count: usize,
) -> Result<Vec<DateTime<FixedOffset>>, PreviewError> {
    let timing = Timing::parse(expr)?;
    let zone = parse_timezone(zone)?;
    let schedule = Schedule::new(vec![timing], zone)?;
    let fires = schedule.slots_after(after, after).take(count);
    Ok(fires
        .map(|fire| {
            let local = local_time(fire, zone);
            local.with_timezone(&local.offset().fix())
        })
        .collect())
}
