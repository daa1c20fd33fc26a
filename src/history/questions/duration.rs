//! How long runs take; with `task=`, how long the attempts of those tasks take.

use duckdb::types::Value;

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter, Series},
};

/// Runs that started and ended, however they ended: a failure takes time too, and `status=succeeded` leaves it out.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let by_task = !filter.tasks.is_empty();
    let (samples, values, of) = if by_task {
        let attempts = Conditions::of_attempts(filter, now);
        let samples = format!(
            "SELECT job, task, ended_at AS moment, ending <> 'exited' OR exit_code <> 0 AS failed,
                    (epoch_us(ended_at) - epoch_us(started_at)) / 1000.0 AS ms
             FROM attempts WHERE started_at IS NOT NULL AND ended_at IS NOT NULL AND {}",
            attempts.sql()
        );
        (samples, attempts.values, "job, task")
    } else {
        let runs = Conditions::of_runs(filter, now);
        let samples = format!(
            "SELECT job, ended_at AS moment, status <> 'succeeded' AS failed,
                    (epoch_us(ended_at) - epoch_us(started_at)) / 1000.0 AS ms
             FROM runs WHERE started_at IS NOT NULL AND ended_at IS NOT NULL AND {}",
            runs.sql()
        );
        (samples, runs.values, "job")
    };
    let ranked = history.ranked(
        &format!(
            "SELECT {of}, count(*), count(*) FILTER (failed), round(quantile_cont(ms, 0.5))::BIGINT,
                    round(quantile_cont(ms, 0.95))::BIGINT AS p95, round(quantile_cont(ms, 0.99))::BIGINT,
                    round(max(ms))::BIGINT, max(moment)
             FROM ({samples}) GROUP BY {of} ORDER BY p95 DESC, {of}"
        ),
        &values,
    )?;
    let lines = [
        ("p50", "quantile_cont(ms, 0.5)"),
        ("p95", "quantile_cont(ms, 0.95)"),
        ("p99", "quantile_cont(ms, 0.99)"),
    ];
    let mut series = series::over_time(history, &samples, &values, &lines)?;
    series.extend(changes(history, filter, &samples, &values)?);
    let task = by_task.then_some(("task", ColumnKind::Text));
    let shown: Vec<_> = [("job", ColumnKind::Text)]
        .into_iter()
        .chain(task)
        .chain([
            (if by_task { "attempts" } else { "runs" }, ColumnKind::Count),
            ("failed", ColumnKind::Count),
            ("p50_ms", ColumnKind::Millis),
            ("p95_ms", ColumnKind::Millis),
            ("p99_ms", ColumnKind::Millis),
            ("max_ms", ColumnKind::Millis),
            ("newest", ColumnKind::Time),
        ])
        .collect();
    Ok(Found {
        columns: columns(&shown),
        ranked,
        series,
        ignored: Vec::new(),
    })
}

/// When the specs of these jobs changed, within the time of the samples. A job's first version changes nothing.
fn changes(
    history: &History,
    filter: &Filter,
    samples: &str,
    values: &[Value],
) -> Result<Option<Series>, HistoryError> {
    let Some((first, last)) = series::span(history, samples, values)? else {
        return Ok(None);
    };
    let mut jobs = Conditions::default();
    jobs.named("job", &filter.jobs);
    let sql = format!(
        "SELECT first_seen FROM (
             SELECT first_seen, row_number() OVER (PARTITION BY job ORDER BY first_seen) AS version FROM specs WHERE {}
         ) WHERE version > 1 AND epoch_us(first_seen) BETWEEN {first} AND {last} ORDER BY first_seen",
        jobs.sql()
    );
    let ticks = series::ticks(history, "changes", &sql, &jobs.values)?;
    Ok((!ticks.points.is_empty()).then_some(ticks))
}
