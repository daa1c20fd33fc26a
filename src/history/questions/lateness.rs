//! How late runs start: from the scheduled instant to the first granted task.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// Runs that a schedule made. A slot that ran late because Petit was down counts with all of its lateness.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let runs = Conditions::of_runs(filter, now);
    let samples = format!(
        "SELECT job, started_at AS moment, (epoch_us(started_at) - epoch_us(slot)) / 1000.0 AS ms
         FROM runs WHERE slot IS NOT NULL AND started_at IS NOT NULL AND trigger = 'schedule' AND {}",
        runs.sql()
    );
    // Lateness is a matter of single milliseconds, so their parts are kept.
    let ranked = history.ranked(
        &format!(
            "SELECT job, count(*), round(quantile_cont(ms, 0.5), 3), round(quantile_cont(ms, 0.95), 3) AS p95,
                    round(quantile_cont(ms, 0.99), 3), round(max(ms), 3), max(moment)
             FROM ({samples}) GROUP BY job ORDER BY p95 DESC, job"
        ),
        &runs.values,
    )?;
    let lines = [
        ("p50", "quantile_cont(ms, 0.5)"),
        ("p95", "quantile_cont(ms, 0.95)"),
        ("p99", "quantile_cont(ms, 0.99)"),
    ];
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("runs", ColumnKind::Count),
            ("p50_ms", ColumnKind::Millis),
            ("p95_ms", ColumnKind::Millis),
            ("p99_ms", ColumnKind::Millis),
            ("max_ms", ColumnKind::Millis),
            ("newest", ColumnKind::Time),
        ]),
        ranked,
        series: series::over_time(history, &samples, &runs.values, &lines)?,
        ignored: (!filter.tasks.is_empty()).then_some("task").into_iter().collect(),
    })
}
