//! `petit next --cron`: the fires of an expression that belongs to no job.

use chrono::{DateTime, FixedOffset, Offset, Utc};
use thiserror::Error;

use super::{CronError, Schedule, ScheduleError, Timing, UnknownZone, local_time, parse_timezone};

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PreviewError {
    #[error(transparent)]
    Timing(#[from] CronError),
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
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
