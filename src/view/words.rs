//! Words that several views use for the same thing.

use chrono::SecondsFormat;
use chrono_tz::Tz;

use crate::core::{Timestamp, id::JobId, record::PauseRecord, units::HumanDuration};

/// A time as people of the zone read it, in a form that `petit why` takes back.
pub(super) fn local(at: Timestamp, zone: Tz) -> String {
    if zone == Tz::UTC {
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    } else {
        at.with_timezone(&zone).format("%F %T %Z").to_string()
    }
}

/// A length of time.
pub(super) fn length(long: chrono::TimeDelta) -> String {
    HumanDuration::elapsed(long.num_milliseconds()).to_string()
}

/// Who paused what, when and why.
pub(super) fn who_paused(pause: &PauseRecord, zone: Tz) -> String {
    let what = pause.job.as_ref().map_or("everything", JobId::as_str);
    let reason = pause.reason.as_ref().map(|reason| format!(" ({reason})"));
    format!(
        "{} paused {what} at {}{}",
        pause.by,
        local(pause.since, zone),
        reason.unwrap_or_default()
    )
}

/// Several names as a person would list them.
pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}
