//! Which slots did not run, by day, job and reason. Days are those of UTC.

use super::{Found, columns, series};
use crate::{
    core::{Timestamp, state::SlotOutcome},
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// Everything but `ran`: skipped, missed, merged, refused. Slots in a row that share a fate count on the day of the first
/// of them; `first` and `last` say from when to when they reach.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let mut slots = Conditions::default();
    slots.named("job", &filter.jobs);
    slots.between("slot", "last_slot", filter, now);
    let samples = format!(
        "SELECT *, slot AS moment FROM slots WHERE outcome IS NOT NULL AND outcome <> 'ran' AND {}",
        slots.sql()
    );
    let ranked = history.ranked(
        &format!(
            "SELECT slot::DATE AS day, job, outcome, reason, sum(slots)::BIGINT AS missed, min(slot), max(last_slot),
                    arg_max(detail, decided_at)
             FROM ({samples}) GROUP BY day, job, outcome, reason
             ORDER BY missed DESC, day DESC, job, outcome, reason"
        ),
        &slots.values,
    )?;
    let lines: Vec<(&str, String)> = SlotOutcome::ALL
        .iter()
        .filter(|outcome| **outcome != SlotOutcome::Ran)
        .map(|outcome| (outcome.as_str(), format!("sum(slots) FILTER (outcome = '{outcome}')")))
        .collect();
    let lines: Vec<_> = lines.iter().map(|(label, sum)| (*label, sum.as_str())).collect();
    let ignored = [
        ("task", filter.tasks.is_empty()),
        ("status", filter.statuses.is_empty()),
        ("trigger", filter.triggers.is_empty()),
        ("rev", filter.revisions.is_empty()),
    ];
    Ok(Found {
        columns: columns(&[
            ("day", ColumnKind::Text),
            ("job", ColumnKind::Text),
            ("outcome", ColumnKind::Text),
            ("reason", ColumnKind::Text),
            ("slots", ColumnKind::Count),
            ("first", ColumnKind::Time),
            ("last", ColumnKind::Time),
            ("detail", ColumnKind::Text),
        ]),
        ranked,
        series: series::over_time(history, &samples, &slots.values, &lines)?,
        ignored: ignored
            .into_iter()
            .filter(|(_, unused)| !unused)
            .map(|(key, _)| key)
            .collect(),
    })
}
