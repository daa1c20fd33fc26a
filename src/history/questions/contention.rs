//! What each pool of slots was used for, and who waited for it.
//!
//! How many slots a pool has is a setting, which may be another one tomorrow: what was used is held against the sizes of that
//! time. The first size that the history knows also stands for the time before it.

use super::{Found, columns, series};
use crate::{
    core::Timestamp,
    history::{History, HistoryError, conditions::Conditions},
    view::{ColumnKind, Filter},
};

/// By pool and job: how long slots of it were held, and how long attempts that ask for some were kept waiting. Slots count
/// one by one: two of them, held for a second, are two seconds. An attempt that asks for several pools waits for all of
/// them at once, and its wait counts for each; whether it waited for processors or memory instead, nothing says.
pub(super) fn answer(history: &History, filter: &Filter, now: Timestamp) -> Result<Found, HistoryError> {
    let attempts = Conditions::of_attempts(filter, now);
    let asking = format!(
        "declared_slots IS NOT NULL AND ended_at IS NOT NULL AND {}",
        attempts.sql()
    );
    // There are few ways to ask for slots, and many attempts: each way is read once.
    let samples = format!(
        "SELECT pool, job, granted_at, ended_at AS moment,
                (epoch_us(granted_at) - epoch_us(queued_at)) / 1000.0 AS waited,
                held * (epoch_us(ended_at) - epoch_us(granted_at)) / 1000.0 AS used
         FROM attempts JOIN (
             SELECT declared_slots, entry.key AS pool, entry.value AS held FROM (
                 SELECT declared_slots, unnest(map_entries(from_json(declared_slots, '\"MAP(VARCHAR, BIGINT)\"'))) AS entry
                 FROM (SELECT DISTINCT declared_slots FROM attempts WHERE {asking})
             )
         ) USING (declared_slots) WHERE {asking}"
    );
    let values = [attempts.values.clone(), attempts.values].concat();
    let ranked = history.ranked(
        &format!(
            "WITH jobs AS (
                 SELECT pool, job, count(*) AS n, sum(used) AS used, count(*) FILTER (waited >= 1) AS kept,
                        sum(waited) AS waited, quantile_cont(waited, 0.95) AS p95, min(granted_at) AS first, max(moment) AS last
                 FROM ({samples}) GROUP BY pool, job
             ), whole AS (
                 SELECT pool, sum(used) AS all_used, sum(waited) AS all_waited, min(first) AS first, max(last) AS last,
                        all_used / nullif((epoch_us(max(last)) - epoch_us(min(first))) / 1000.0, 0) AS mean
                 FROM jobs GROUP BY pool
             ), sizes AS (
                 SELECT pool, size, lag(since) OVER known IS NULL AS is_first, since, lead(since) OVER known AS until
                 FROM pools WINDOW known AS (PARTITION BY pool ORDER BY since, fact)
             ), spans AS (
                 SELECT pool, size, since, all_used,
                        epoch_us(least(coalesce(until, last), last)) - epoch_us(CASE WHEN is_first THEN first ELSE greatest(since, first) END) AS us
                 FROM sizes JOIN whole USING (pool) WHERE is_first OR since <= last
             ), held_against AS (
                 SELECT pool, arg_max(size, since) AS size, any_value(all_used) * 1000.0 / nullif(sum(size * greatest(us, 0)), 0) AS use
                 FROM spans GROUP BY pool
             )
             SELECT pool, job, n, round(used)::BIGINT, round(used / nullif(all_used, 0), 4), kept, round(waited)::BIGINT AS total,
                    round(p95)::BIGINT, size, round(mean, 2), round(use, 4)
             FROM jobs JOIN whole USING (pool) LEFT JOIN held_against USING (pool)
             ORDER BY all_waited DESC, pool, total DESC, used DESC, job"
        ),
        &values,
    )?;
    let lines = [("waited", "sum(waited)"), ("held", "sum(used)")];
    Ok(Found {
        columns: columns(&[
            ("pool", ColumnKind::Text),
            ("job", ColumnKind::Text),
            ("attempts", ColumnKind::Count),
            ("held_ms", ColumnKind::Millis),
            ("share", ColumnKind::Ratio),
            ("kept_waiting", ColumnKind::Count),
            ("waited_ms", ColumnKind::Millis),
            ("waited_p95_ms", ColumnKind::Millis),
            ("pool_size", ColumnKind::Count),
            ("pool_mean", ColumnKind::Count),
            ("pool_use", ColumnKind::Ratio),
        ]),
        ranked,
        series: series::over_time(history, &samples, &values, &lines)?,
        ignored: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        history::questions::tests::{Hand, text},
        view::Question,
    };

    /// `etl` holds both slots of `db` for 10 s; `report` wants one of them and a licence from the second second on, gets
    /// them at the tenth and holds them for 5 s. `free` asks for nothing.
    fn history() -> Hand {
        let hand = Hand::new();
        for (run, job, times) in [
            ("r1", "etl", [0, 0, 0, 10_000]),
            ("r2", "report", [2_000, 10_000, 10_000, 15_000]),
            ("r3", "free", [0, 0, 0, 60_000]),
        ] {
            hand.run(run, job, "s", "schedule", "succeeded", [times[0], times[1], times[3]]);
            hand.attempt(run, job, "only", 1, 0, times);
        }
        hand.sql("UPDATE attempts SET declared_slots = '{\"db\":2}' WHERE job = 'etl'");
        hand.sql("UPDATE attempts SET declared_slots = '{\"db\":1,\"licence\":1}' WHERE job = 'report'");
        // `db` had two slots, and from the twelfth second on four; of `licence` nobody knows.
        for (pool, size, since) in [("db", 2, -60_000), ("db", 4, 12_000), ("other", 9, 0)] {
            hand.sql(&format!(
                "INSERT INTO pools SELECT '{pool}', {size}, make_timestamp_ms(1767225600000 + {since}), 'j', 0"
            ));
        }
        hand
    }

    #[test]
    fn who_held_a_pool_and_who_waited_for_it_are_named() {
        insta::assert_snapshot!(text(&history().ask(Question::Contention, "")));
    }

    #[test]
    fn the_first_known_size_stands_for_the_time_before_it() {
        let hand = history();
        hand.sql("DELETE FROM pools WHERE size = 2");
        let rows = hand.ask(Question::Contention, "job=etl").rows;
        assert_eq!((&rows[0][8], &rows[0][10]), (&4.into(), &0.5.into()));
    }

    #[test]
    fn a_pool_shows_what_the_jobs_that_are_picked_did_with_it() {
        let rows = history().ask(Question::Contention, "job=etl").rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (&rows[0][4], &rows[0][8], &rows[0][10]),
            (&1.0.into(), &2.into(), &1.0.into())
        );
    }
}
