//! Lines over time: samples fall into buckets of equal length, each of which becomes a point.

use chrono::DateTime;
use duckdb::{params_from_iter, types::Value};

use crate::{
    history::{History, HistoryError, values::as_instant},
    view::Series,
};

/// More points than this do not fit on a screen.
const MOST_BUCKETS: i64 = 120;

/// The lengths of buckets, in seconds: those that people count in.
const WIDTHS: [i64; 14] = [
    1, 10, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000, 31_536_000,
];

/// A line for each of `lines` over samples. `samples` is a query for `moment TIMESTAMP` and whatever the lines aggregate;
/// each line has a label and an aggregate. Points stand at the beginning of their buckets.
pub(super) fn over_time(
    history: &History,
    samples: &str,
    values: &[Value],
    lines: &[(&str, &str)],
) -> Result<Vec<Series>, HistoryError> {
    let Some((first, last)) = span(history, samples, values)? else {
        return Ok(Vec::new());
    };
    let width = width((last - first) / 1_000_000).saturating_mul(1_000_000);
    let aggregates: Vec<_> = lines
        .iter()
        .map(|(_, aggregate)| format!("({aggregate})::DOUBLE"))
        .collect();
    let sql = format!(
        "SELECT epoch_us(moment) // {width} * {width} AS bucket, {} FROM ({samples}) GROUP BY bucket ORDER BY bucket",
        aggregates.join(", ")
    );
    let mut series: Vec<Series> = lines
        .iter()
        .map(|(label, _)| Series {
            label: (*label).to_owned(),
            points: Vec::new(),
        })
        .collect();
    let mut ask = || {
        let mut statement = history.connection.prepare(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let Some(at) = DateTime::from_timestamp_micros(row.get(0)?) else {
                continue;
            };
            for (line, series) in series.iter_mut().enumerate() {
                let value: Option<f64> = row.get(line + 1)?;
                series.points.extend(value.map(|value| (at, value)));
            }
        }
        Ok(())
    };
    ask().map_err(history.failed("ask"))?;
    series.retain(|series| !series.points.is_empty());
    Ok(series)
}

/// Instants that a chart marks, each with the value 1: a query for one column of them.
pub(super) fn ticks(history: &History, label: &str, sql: &str, values: &[Value]) -> Result<Series, HistoryError> {
    let found: Vec<Value> = history.asked(sql, values, |row| row.get(0))?;
    Ok(Series {
        label: label.to_owned(),
        points: found.iter().filter_map(as_instant).map(|at| (at, 1.0)).collect(),
    })
}

/// From the first to the last sample, in microseconds; `None` without samples.
pub(super) fn span(history: &History, samples: &str, values: &[Value]) -> Result<Option<(i64, i64)>, HistoryError> {
    let sql = format!("SELECT min(epoch_us(moment)), max(epoch_us(moment)) FROM ({samples})");
    let ends: (Option<i64>, Option<i64>) = history
        .connection
        .query_row(&sql, params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(history.failed("ask"))?;
    Ok(ends.0.zip(ends.1))
}

/// The shortest length by which so many seconds fit on a screen.
fn width(seconds: i64) -> i64 {
    let fits = |width: &i64| seconds / width < MOST_BUCKETS;
    WIDTHS.into_iter().find(fits).unwrap_or(seconds / MOST_BUCKETS + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_the_lengths_people_count_in() {
        for (seconds, expected) in [(0, 1), (119, 1), (120, 10), (86_400, 900), (30 * 86_400, 43_200)] {
            assert_eq!(width(seconds), expected, "{seconds}");
        }
        assert!(i64::MAX / width(i64::MAX) <= MOST_BUCKETS);
    }
}
