//! Numbers that tasks published, over time: rows loaded, files written. Texts are kept as well, for `petit sql`.

use super::{Found, Ranked, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter, Series},
};
use duckdb::types::Value;

/// So many outputs have a line.
const MOST_LINES: usize = 6;

/// By job, task and name; the one first whose latest value is furthest from its usual one. An output that was published
/// only once has no usual value to be far from.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let outputs = Conditions::of_outputs(filter, now);
    let samples = format!(
        "SELECT job, task, name, number, published_at AS moment FROM outputs WHERE number IS NOT NULL AND {}",
        outputs.sql()
    );
    let values = outputs.values;
    let ranked = history.ranked(
        &format!(
            "WITH named AS (
                 SELECT job, task, name, count(*) AS n, arg_max(number, moment) AS latest, median(number) AS middle,
                        min(number) AS least, max(number) AS most, avg(number) AS mean, max(moment) AS newest,
                        CASE WHEN n > 1 THEN latest / nullif(middle, 0) - 1 END AS off
                 FROM ({samples}) GROUP BY job, task, name
             )
             SELECT job, task, name, n, latest, middle, least, most, round(mean, 3), round(off, 4), newest
             FROM named ORDER BY abs(off) DESC NULLS LAST, job, task, name"
        ),
        &values,
    )?;
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("task", ColumnKind::Text),
            ("output", ColumnKind::Text),
            ("published", ColumnKind::Count),
            ("latest", ColumnKind::Count),
            ("median", ColumnKind::Count),
            ("least", ColumnKind::Count),
            ("most", ColumnKind::Count),
            ("mean", ColumnKind::Count),
            ("off", ColumnKind::Ratio),
            ("newest", ColumnKind::Time),
        ]),
        series: lines(history, &samples, &values, &ranked)?,
        ranked,
        ignored: Vec::new(),
    })
}

/// The means of the first rows' outputs over time.
fn lines(history: &History, samples: &str, values: &[Value], ranked: &Ranked) -> Result<Vec<Series>, HistoryError> {
    let first = || ranked.rows.iter().take(MOST_LINES);
    let names = first().map(|row| -> [&str; 3] { [0, 1, 2].map(|at| row[at].as_str().unwrap_or_default()) });
    let (labels, means): (Vec<_>, Vec<_>) = names
        .map(|[job, task, name]| {
            let quoted = [job, task, name].map(|text| format!("'{}'", text.replace('\'', "''")));
            let [of_job, of_task, named] = quoted;
            (
                format!("{job}/{task} {name}"),
                format!("avg(number) FILTER (job = {of_job} AND task = {of_task} AND name = {named})"),
            )
        })
        .unzip();
    let lines: Vec<_> = labels
        .iter()
        .map(String::as_str)
        .zip(means.iter().map(String::as_str))
        .collect();
    series::over_time(history, samples, values, &lines)
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::Question,
    };

    /// `load` publishes 100, 110 and then 20 rows; `it's` one number, with a name that has a quote, and a text.
    fn history() -> Hand {
        let hand = Hand::new();
        for (n, rows) in [100, 110, 20].into_iter().enumerate() {
            let at = i64::try_from(n).expect("small") * 60_000;
            hand.run(&format!("r{n}"), "etl", "s", "schedule", "succeeded", [at, at, at]);
            hand.sql(&format!(
                "INSERT INTO outputs BY NAME SELECT 'r{n}' AS run_id, 'etl' AS job, 'load' AS task, 'rows' AS name,
                     {rows} AS number, make_timestamp_ms(1767225600000 + {at}) AS published_at, 'j' AS journal, 0 AS fact,
                     published_at AS run_created_at"
            ));
        }
        for (name, value) in [("it''s", "1.5 AS number"), ("file", "'x.csv' AS text")] {
            hand.sql(&format!(
                "INSERT INTO outputs BY NAME SELECT 'r0' AS run_id, 'etl' AS job, 'load' AS task, '{name}' AS name,
                     {value}, make_timestamp_ms(1767225600000) AS published_at, 'j' AS journal, 0 AS fact,
                     published_at AS run_created_at"
            ));
        }
        hand
    }

    #[test]
    fn what_is_published_is_followed_over_time() {
        insta::assert_snapshot!(text(&history().ask(Question::Outputs, "")));
        assert_eq!(history().ask(Question::Outputs, "task=other").rows.len(), 0);
        assert_eq!(
            history().ask(Question::Outputs, "until=2026-01-01T00:01:30Z").rows[0][3],
            2
        );
    }
}
