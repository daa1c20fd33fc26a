//! What leaves the history because it is too old or too much: found, and taken out in small steps.
//!
//! A step is one transaction of a few thousand runs, between which a caller closes the file, so that others can ask. A run
//! that another one in the history repeats stays as long as that one. What is kept by the settings comes in as a [`Keep`];
//! what becomes of the file, which does not shrink by this, is the business of [`super::rewrite`].

use duckdb::types::Value as Stored;

use super::{
    History, HistoryError,
    values::{At, as_instant},
};
use crate::core::{
    Timestamp,
    id::{JobId, RunId, SpecHash},
    keep::Keep,
};

/// How many runs one step takes out.
pub const RUNS_AT_ONCE: usize = 5_000;

/// Rows beside those of runs, which go by their age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Others {
    /// Slots.
    pub slots: u64,
    /// Versions that no run and no slot names, and that are not the latest of their job.
    pub specs: u64,
    /// Reconciles.
    pub reconciles: u64,
}

impl History {
    /// At most `most` runs that may go, the oldest first; not the `needed`. With `most` they are found in several looks,
    /// the last of which finds none.
    pub fn expired(
        &self,
        keep: Keep,
        needed: &[RunId],
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<RunId>, HistoryError> {
        let mut values = Vec::new();
        let mut limits = Vec::new();
        if let Some(oldest) = keep.oldest(now) {
            limits.push("coalesce(ended_at, created_at) < ?".to_owned());
            values.push(At(oldest).stored());
        }
        let place = match keep.count {
            Some(count) => {
                limits.push(format!("place > {count}"));
                "row_number() OVER (PARTITION BY job ORDER BY created_at DESC, run_id DESC)"
            }
            // Counting all runs out is for those who want to know.
            None => "0",
        };
        if limits.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT run_id FROM (SELECT run_id, created_at, ended_at, {place} AS place FROM runs)
             WHERE ({}) AND run_id NOT IN (SELECT retry_of FROM runs WHERE retry_of IS NOT NULL) AND run_id NOT IN ({})
             ORDER BY created_at, run_id LIMIT {most}",
            limits.join(" OR "),
            listed(needed)
        );
        self.asked(&sql, &values, |row| row.get::<_, String>(0))?
            .iter()
            .map(|id| id.parse::<RunId>().map_err(|error| self.odd(&error)))
            .collect()
    }

    /// Takes runs out, with everything that belongs to them, in one transaction.
    pub fn forget(&mut self, runs: &[RunId]) -> Result<(), HistoryError> {
        let failed = HistoryError::failed("take runs out of", &self.path);
        let listed = listed(runs);
        let mut take_out = || -> duckdb::Result<()> {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(&format!("CREATE OR REPLACE TEMP TABLE gone AS {listed}"))?;
            for table in ["outputs", "attempts", "tasks", "runs"] {
                transaction.execute(
                    &format!("DELETE FROM {table} WHERE run_id IN (SELECT run_id FROM gone)"),
                    [],
                )?;
            }
            transaction.execute_batch("DROP TABLE gone")?;
            transaction.commit()
        };
        take_out().map_err(failed)
    }

    /// How many other rows are older than the settings keep runs. The versions of these jobs that are `active` stay.
    pub fn others(&self, keep: Keep, active: &[SpecHash], now: Timestamp) -> Result<Others, HistoryError> {
        let Some(oldest) = keep.oldest(now) else {
            return Ok(Others::default());
        };
        let count = |(table, condition): (&str, String)| {
            let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
            let found = self.asked(&sql, &[At(oldest).stored()], |row| row.get::<_, u64>(0))?;
            Ok::<_, HistoryError>(found.first().copied().unwrap_or(0))
        };
        let [slots, reconciles, specs] = others(active);
        Ok(Others {
            slots: count(slots)?,
            reconciles: count(reconciles)?,
            specs: count(specs)?,
        })
    }

    /// Takes these out, each kind in a transaction of its own.
    pub fn forget_others(&mut self, keep: Keep, active: &[SpecHash], now: Timestamp) -> Result<(), HistoryError> {
        let Some(oldest) = keep.oldest(now) else { return Ok(()) };
        for (table, condition) in others(active) {
            let sql = format!("DELETE FROM {table} WHERE {condition}");
            self.connection
                .execute(&sql, [At(oldest).stored()])
                .map_err(self.failed("take old rows out of"))?;
        }
        Ok(())
    }

    /// Of these runs those that are here, with their jobs and when they ended.
    pub fn ended(&self, runs: &[RunId]) -> Result<Vec<(RunId, JobId, Timestamp)>, HistoryError> {
        let sql = format!(
            "SELECT run_id, job, coalesce(ended_at, created_at) FROM runs WHERE run_id IN ({})",
            listed(runs)
        );
        let found = self.asked(&sql, &[], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Stored>(2)?,
            ))
        })?;
        found
            .into_iter()
            .map(|(run, job, ended_at)| {
                let run = run.parse::<RunId>().map_err(|error| self.odd(&error))?;
                let job = job.parse::<JobId>().map_err(|error| self.odd(&error))?;
                Ok((run, job, as_instant(&ended_at).unwrap_or_else(|| run.created_at())))
            })
            .collect()
    }

    /// A name that is none, which only somebody else can have written.
    fn odd(&self, error: &dyn std::error::Error) -> HistoryError {
        HistoryError::System {
            operation: "read a row of",
            path: self.path.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()),
        }
    }
}

/// The tables that go by age, each with the condition for what goes; the one parameter is the oldest instant that stays.
fn others(active: &[SpecHash]) -> [(&'static str, String); 3] {
    // Hashes of our own are hexadecimal, but a stored one could be anything.
    let active: Vec<String> = active
        .iter()
        .map(|hash| format!("'{}'", hash.as_str().replace('\'', "''")))
        .collect();
    let specs = format!(
        "first_seen < ? AND hash NOT IN (SELECT spec_hash FROM runs UNION SELECT spec_hash FROM slots)
         AND hash NOT IN ({})
         AND (job, first_seen) NOT IN (SELECT (job, max(first_seen)) FROM specs GROUP BY job)",
        if active.is_empty() {
            "''".to_owned()
        } else {
            active.join(", ")
        }
    );
    [
        ("slots", "last_slot < ?".to_owned()),
        ("reconciles", "decided_at < ?".to_owned()),
        // Behind the slots, which may have been the last to name them.
        ("specs", specs),
    ]
}

/// A query for runs: their ids have no letter that means anything to SQL.
fn listed(runs: &[RunId]) -> String {
    let ids: Vec<String> = runs.iter().map(RunId::to_string).collect();
    format!("SELECT unnest(string_split('{}', ',')) AS run_id", ids.join(","))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Journal, at, fed},
        *,
    };
    use crate::core::state::{RunStatus, SlotOutcome};

    const DAY: i64 = 86_400;

    fn keep(text: &str) -> Keep {
        serde_yaml::from_str(text).expect(text)
    }

    fn count(history: &History, table: &str) -> u64 {
        history.count(&format!("SELECT * FROM {table}")).expect("counts")
    }

    #[test]
    fn runs_go_by_age_and_by_number_with_all_that_belongs_to_them() {
        let mut journal = Journal::default();
        let mut runs = Vec::new();
        for day in 0..6 {
            let job = if day == 2 { "b" } else { "a" };
            runs.push(journal.run(job, day * DAY, (0, 10), RunStatus::Succeeded, &[("load", 0, 5)]));
        }
        let mut history = fed(&journal);
        history
            .connection
            .execute(
                "UPDATE runs SET retry_of = ? WHERE run_id = ?",
                [runs[0].to_string(), runs[5].to_string()],
            )
            .expect("a good statement");
        let now = at(6 * DAY);
        let expired = |history: &History, text: &str, needed: &[RunId], most| {
            history.expired(keep(text), needed, now, most).expect("asks")
        };
        // The first is repeated by the last.
        assert_eq!(expired(&history, "72h", &[], 9), [runs[1], runs[2]]);
        assert_eq!(expired(&history, "72h", &[runs[1]], 9), [runs[2]]);
        assert_eq!(expired(&history, "{count: 2}", &[], 9), [runs[1], runs[3]]);
        assert_eq!(expired(&history, "{count: 2}", &[], 1), [runs[1]]);
        assert_eq!(expired(&history, "{age: 1000d, count: 9}", &[], 9), []);

        history.forget(&runs[..3]).expect("goes");
        assert_eq!((count(&history, "runs"), count(&history, "attempts")), (3, 3));
        let left = history.ended(&runs).expect("asks");
        assert_eq!(left.iter().map(|(run, _, _)| *run).collect::<Vec<_>>(), runs[3..]);
        assert_eq!(left[0].2, at(3 * DAY) + chrono::TimeDelta::milliseconds(10));
    }

    #[test]
    fn the_ledger_and_versions_go_by_age_and_what_is_active_or_latest_stays() {
        let mut journal = Journal::default();
        for version in 2..=5 {
            journal.spec("a", version, i64::from(version));
        }
        let active = journal.spec("a", 3, 3);
        journal.run("a", 9 * DAY, (0, 10), RunStatus::Succeeded, &[]);
        journal.slot("a", 0, SlotOutcome::Ran);
        journal.stretch("a", 1, 5, 5);
        journal.slot("a", 9 * DAY, SlotOutcome::Ran);
        let mut history = fed(&journal);
        let (active, now) = ([active], at(10 * DAY));
        // Version 1 has a run, 3 is active, 5 is the latest.
        let expected = Others {
            slots: 2,
            specs: 2,
            reconciles: 0,
        };
        assert_eq!(history.others(keep("2d"), &active, now).expect("asks"), expected);
        history.forget_others(keep("2d"), &active, now).expect("goes");
        assert_eq!((count(&history, "slots"), count(&history, "specs")), (1, 3));
        assert_eq!(
            history.others(keep("2d"), &active, now).expect("asks"),
            Others::default()
        );
    }
}
