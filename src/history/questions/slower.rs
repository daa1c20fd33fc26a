//! Which change of a job made what slower: the medians of its versions, each against the one before it.
//!
//! A version that comes back after another one is a version of its own: that an edit was taken back is a change as well. What
//! a version is, only its hash says; `petit diff` shows what two of them are about.

use duckdb::types::Value;

use super::{Found, Ranked, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter, Series},
};

/// Fewer samples than this say little about a median. A version with fewer is passed over, and what it changed counts as a
/// change of the next one.
const LEAST: u32 = 20;

/// By how many standard errors medians must differ: thousands of pairs are compared, the error is itself uncertain, and what
/// chance makes of one long job would stand before the true loss of a short one.
const SURE: u32 = 4;

/// Attempts that passed, by task, and whole runs that succeeded, which have no task here. A row is a change that made one of
/// them slower by more than chance would, the most time lost since first. What a change did to several tasks stands
/// together, and a run goes behind the tasks that explain it.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let (samples, values) = samples(filter, now);
    let told_apart = told_apart(&samples, &returns(history, filter, now)?);
    // The standard error of a median comes from the quartiles, so that a few outliers do not hide a change. The greater of
    // both sides counts for each: quartiles that lie close together by chance must not make a change of noise. Revisions are
    // looked up for the few changes that are found rather than carried through all samples.
    let ranked = history.ranked(
        &format!(
            "WITH versions AS (
                 SELECT job, task, spec_hash, returned, min(moment) AS begun, count(*) AS n,
                        quantile_cont(ms, [0.25, 0.5, 0.75]) AS q, q[2] AS middle,
                        0.93 * (q[3] - q[1]) / sqrt(n) AS error
                 FROM ({told_apart}) GROUP BY job, task, spec_hash, returned HAVING n >= {LEAST}
             ), pairs AS (
                 SELECT *, lag(middle) OVER before AS was, lag(error) OVER before AS error_was, lag(n) OVER before AS n_was,
                        lag(spec_hash) OVER before AS hash_was
                 FROM versions WINDOW before AS (PARTITION BY job, task ORDER BY begun, spec_hash)
             ), slower AS (
                 SELECT *, (middle - was) * n AS lost FROM pairs
                 WHERE middle - was > {SURE} * sqrt(2) * greatest(error, error_was)
             ), weighed AS (
                 SELECT *, max(lost) OVER change AS worst,
                        CASE WHEN task IS NULL THEN lost - coalesce(sum(lost) FILTER (task IS NOT NULL) OVER change, 0)
                             ELSE lost END AS own
                 FROM slower WINDOW change AS (PARTITION BY job, spec_hash, returned)
             )
             SELECT job, task, begun, round(was, 1), round(middle, 1), round(middle / nullif(was, 0) - 1, 4),
                    round(lost)::BIGINT, n_was, n,
                    (SELECT min(revision) FROM runs WHERE runs.spec_hash = weighed.spec_hash AND created_at = begun),
                    left(hash_was, 12), left(spec_hash, 12),
                    concat_ws(' ', 'petit diff', job, left(hash_was, 12), left(spec_hash, 12))
             FROM weighed ORDER BY worst DESC, job, spec_hash, returned, own DESC, task"
        ),
        &values,
    )?;
    Ok(Found {
        columns: columns(&[
            ("job", ColumnKind::Text),
            ("task", ColumnKind::Text),
            ("since", ColumnKind::Time),
            ("before_ms", ColumnKind::Millis),
            ("after_ms", ColumnKind::Millis),
            ("slower", ColumnKind::Ratio),
            ("lost_ms", ColumnKind::Millis),
            ("samples_before", ColumnKind::Count),
            ("samples_after", ColumnKind::Count),
            ("revision", ColumnKind::Text),
            ("old_spec", ColumnKind::Text),
            ("new_spec", ColumnKind::Text),
            ("diff", ColumnKind::Text),
        ]),
        series: worst(history, &samples, &values, &ranked)?,
        ranked,
        ignored: Vec::new(),
    })
}

/// Times, each with the version that it was measured of. A run that repeats another runs the version of that one, also when
/// a newer one is long in use, and would stand on the wrong side of a change.
fn samples(filter: &Filter, now: Timestamp) -> (String, Vec<Value>) {
    let attempts = Conditions::of_attempts(filter, now);
    let mut text = format!(
        "SELECT job, task, run_spec_hash AS spec_hash, run_created_at AS moment,
                (epoch_us(ended_at) - epoch_us(started_at)) / 1000.0 AS ms
         FROM attempts WHERE {} AND run_trigger <> 'retry' AND ending = 'exited' AND exit_code = 0
            AND started_at IS NOT NULL AND ended_at IS NOT NULL",
        attempts.sql()
    );
    let mut values = attempts.values;
    if filter.tasks.is_empty() {
        let runs = Conditions::of_runs(filter, now);
        text = format!(
            "{text} UNION ALL
             SELECT job, NULL, spec_hash, created_at, (epoch_us(ended_at) - epoch_us(started_at)) / 1000.0
             FROM runs WHERE {} AND trigger <> 'retry' AND status = 'succeeded'
                AND started_at IS NOT NULL AND ended_at IS NOT NULL",
            runs.sql()
        );
        values.extend(runs.values);
    }
    (text, values)
}

/// A version that came back after another one had run, and the first run of it from then on.
struct Return {
    spec_hash: String,
    at: String,
}

/// The returns among the runs of these jobs. Only jobs whose versions do not simply follow each other are looked at run by
/// run.
fn returns(history: &History, filter: &Filter, now: Timestamp) -> Result<Vec<Return>, HistoryError> {
    let of_jobs = Filter {
        statuses: Vec::new(),
        triggers: Vec::new(),
        ..filter.clone()
    };
    let runs = Conditions::of_runs(&of_jobs, now);
    let sql = format!(
        "WITH picked AS NOT MATERIALIZED (
             SELECT run_id, job, spec_hash, created_at FROM runs WHERE trigger <> 'retry' AND {}
         ), versions AS (
             SELECT job, spec_hash, min(created_at) AS begun, max(created_at) AS ended FROM picked GROUP BY job, spec_hash
         ), mixed AS (
             SELECT job FROM (SELECT job, begun, lag(ended) OVER (PARTITION BY job ORDER BY begun, spec_hash) AS before FROM versions)
             WHERE begun < before
         ), steps AS (
             SELECT *, lag(spec_hash) OVER (PARTITION BY job ORDER BY created_at, run_id) AS was
             FROM picked WHERE job IN (FROM mixed)
         )
         SELECT spec_hash, created_at::VARCHAR FROM steps JOIN versions USING (job, spec_hash)
         WHERE was <> spec_hash AND created_at > begun ORDER BY spec_hash, created_at",
        runs.sql()
    );
    let (_, rows) = history.named_rows(&sql, &runs.values)?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let found = rows.iter().filter_map(|row| {
        Some(Return {
            spec_hash: text(&row[0])?,
            at: text(&row[1])?,
        })
    });
    Ok(found.collect())
}

/// The samples with how often the version of each had returned by then.
fn told_apart(samples: &str, returns: &[Return]) -> String {
    if returns.is_empty() {
        return format!("SELECT *, 0 AS returned FROM ({samples})");
    }
    let returns: Vec<_> = returns
        .iter()
        .map(|Return { spec_hash, at }| format!("('{}', TIMESTAMP '{at}')", spec_hash.replace('\'', "''")))
        .collect();
    format!(
        "SELECT samples.*, coalesce(len(list_filter(instants, lambda instant: instant <= moment)), 0) AS returned
         FROM ({samples}) AS samples LEFT JOIN (
             SELECT spec_hash, list(instant) AS instants FROM (VALUES {}) AS known(spec_hash, instant) GROUP BY spec_hash
         ) USING (spec_hash)",
        returns.join(", ")
    )
}

/// What the first row is about, over time.
fn worst(history: &History, samples: &str, values: &[Value], ranked: &Ranked) -> Result<Vec<Series>, HistoryError> {
    let Some(row) = ranked.rows.first() else {
        return Ok(Vec::new());
    };
    let text = |at: usize| row[at].as_str().map(|text| Value::Text(text.to_owned()));
    let of_row = format!("SELECT * FROM ({samples}) WHERE job = ? AND task IS NOT DISTINCT FROM ?");
    let named = [text(0).unwrap_or(Value::Null), text(1).unwrap_or(Value::Null)];
    let values = [values, &named].concat();
    let name: Vec<_> = row[..2].iter().filter_map(|value| value.as_str()).collect();
    let label = format!("{} p50", name.join("/"));
    let mut lines = series::over_time(history, &of_row, &values, &[(&label, "quantile_cont(ms, 0.5)")])?;
    let change = text(2).map(|since| series::ticks(history, "change", "SELECT ?::TIMESTAMP", &[since]));
    lines.extend(change.transpose()?);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::{Filter, Question},
    };

    /// A job whose `load` took 1.0 s in 20 runs, of which one was far off, and takes 1.4 s in the next 20. Its `extract`
    /// stays as it is. In between a version ran three times only, and an old run was repeated at the end.
    fn history() -> Hand {
        let hand = Hand::new();
        for n in 0..44_i64 {
            let (spec, load) = match n {
                7 => ("old", 9_000),
                0..20 => ("old", 1_000 + n % 3),
                20..23 => ("mistake", 5_000),
                43 => ("old", 9_000),
                _ => ("new", 1_400 + n % 3),
            };
            let run = format!("run-{n}");
            let trigger = if n == 43 { "retry" } else { "schedule" };
            let begun = n * 60_000;
            hand.run(
                &run,
                "etl",
                spec,
                trigger,
                "succeeded",
                [begun, begun, begun + 100 + load],
            );
            hand.attempt(&run, "etl", "extract", 1, 0, [begun, begun, begun, begun + 100]);
            let begun = begun + 100;
            hand.attempt(&run, "etl", "load", 1, 0, [begun, begun, begun, begun + load]);
        }
        hand
    }

    #[test]
    fn a_change_names_the_task_that_it_made_slower_and_the_run_behind_it() {
        insta::assert_snapshot!(text(&history().ask(Question::Slower, "")));
    }

    #[test]
    fn an_edit_that_is_taken_back_is_a_change_too() {
        let hand = Hand::new();
        for n in 0..90_i64 {
            let (spec, took) = match n {
                0..30 => ("slow", 2_000),
                30..60 => ("quick", 1_000),
                _ => ("slow", 2_000),
            };
            let (run, begun) = (format!("run-{n}"), n * 60_000);
            let times = [begun, begun, begun + took + n % 3];
            hand.run(&run, "etl", spec, "schedule", "succeeded", times);
        }
        let rows = hand.ask(Question::Slower, "").rows;
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row[2].as_str(), row[8].as_i64(), row[11].as_str()))
            .collect();
        assert_eq!(found, [(Some("2026-01-01T01:00:00Z"), Some(30), Some("slow"))]);
    }

    #[test]
    fn what_chance_explains_is_no_change() {
        let hand = Hand::new();
        for n in 0..60_i64 {
            let spec = if n < 30 { "old" } else { "new" };
            // Spread over a second, and ten milliseconds apart.
            let took = (n * 37 % 30) * 33 + if n < 30 { 0 } else { 10 };
            let (run, begun) = (format!("run-{n}"), n * 60_000);
            hand.run(
                &run,
                "etl",
                spec,
                "schedule",
                "succeeded",
                [begun, begun, begun + 1_000 + took],
            );
        }
        assert!(hand.ask(Question::Slower, "").rows.is_empty());
    }

    #[test]
    fn with_a_task_whole_runs_are_left_out() {
        let rows = history().ask(Question::Slower, "task=l*").rows;
        let found: Vec<_> = rows.iter().map(|row| row[1].as_str()).collect();
        assert_eq!(found, [Some("load")]);
        assert_eq!(history().ask(Question::Slower, "task=extract").rows.len(), 0);
        let few: Filter = "until=2026-01-01T00:19:00Z".parse().expect("a filter");
        assert_eq!(history().ask(Question::Slower, &few.to_string()).rows.len(), 0);
    }
}
