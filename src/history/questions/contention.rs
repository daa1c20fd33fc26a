//! What each pool of slots was used for, and who waited for it.
//!
//! How many slots a pool has is a setting, which the history does not keep. What it keeps tells nearly the same: a pool for
//! which somebody waits is full, so that the most that were ever held at a time is the size that mattered.

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
    let (from, values) = Conditions::attempts(filter, now, &[]);
    // There are few ways to ask for slots, and many attempts: each way is read once.
    let samples = format!(
        "WITH asking AS (
             SELECT attempts.job AS job, declared_slots, queued_at, granted_at, ended_at
             {from} AND declared_slots IS NOT NULL AND ended_at IS NOT NULL
         ), ways AS (
             SELECT declared_slots, entry.key AS pool, entry.value AS held FROM (
                 SELECT declared_slots, unnest(map_entries(from_json(declared_slots, '\"MAP(VARCHAR, BIGINT)\"'))) AS entry
                 FROM (SELECT DISTINCT declared_slots FROM asking)
             )
         )
         SELECT pool, job, held, granted_at, ended_at, ended_at AS moment,
                (epoch_us(granted_at) - epoch_us(queued_at)) / 1000.0 AS waited,
                held * (epoch_us(ended_at) - epoch_us(granted_at)) / 1000.0 AS used
         FROM asking JOIN ways USING (declared_slots)"
    );
    // At an instant what ends comes first, and gives way to what begins.
    let ranked = history.ranked(
        &format!(
            "WITH samples AS ({samples}),
             steps AS (
                 SELECT pool, granted_at AS moment, held AS change FROM samples
                 UNION ALL SELECT pool, ended_at, -held FROM samples
             ), peaks AS (
                 SELECT pool, max(held) AS most FROM (
                     SELECT pool, sum(change) OVER (PARTITION BY pool ORDER BY moment, change ROWS UNBOUNDED PRECEDING) AS held
                     FROM steps
                 ) GROUP BY pool
             ), pools AS (
                 SELECT pool, sum(used) AS all_used,
                        all_used / nullif((epoch_us(max(ended_at)) - epoch_us(min(granted_at))) / 1000.0, 0) AS mean
                 FROM samples GROUP BY pool
             ), jobs AS (
                 SELECT pool, job, count(*) AS n, sum(used) AS used, count(*) FILTER (waited >= 1) AS kept,
                        sum(waited) AS waited, quantile_cont(waited, 0.95) AS p95
                 FROM samples GROUP BY pool, job
             )
             SELECT pool, job, n, round(used)::BIGINT, round(used / nullif(all_used, 0), 4), kept, round(waited)::BIGINT AS total,
                    round(p95)::BIGINT, most::BIGINT, round(mean, 2), round(mean / nullif(most, 0), 4)
             FROM jobs JOIN pools USING (pool) JOIN peaks USING (pool)
             ORDER BY sum(waited) OVER (PARTITION BY pool) DESC, pool, total DESC, used DESC, job"
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
            ("pool_most", ColumnKind::Count),
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
        hand
    }

    #[test]
    fn who_held_a_pool_and_who_waited_for_it_are_named() {
        insta::assert_snapshot!(text(&history().ask(Question::Contention, "")));
    }

    #[test]
    fn a_pool_shows_what_the_jobs_that_are_picked_did_with_it() {
        let rows = history().ask(Question::Contention, "job=etl").rows;
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0][4], &rows[0][8]), (&1.0.into(), &2.into()));
    }
}
