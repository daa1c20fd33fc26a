//! The rows of a whole table that a filter picks, as a query for [`History::export`](super::History::export).

use super::{conditions::Conditions, questions::as_text, schema::Table};
use crate::{core::Timestamp, view::Filter};

/// A query for the rows of a table, and the keys of the filter that mean nothing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableQuery {
    /// The query, in one line.
    pub sql: String,
    /// Keys that were left aside.
    pub ignored: Vec<&'static str>,
}

impl Table {
    /// The rows that a filter picks: of tasks, attempts and outputs those of the runs that it picks. Versions of jobs are
    /// picked by job only, since a run may be of one that is much older.
    pub fn query(&self, filter: &Filter, now: Timestamp) -> TableQuery {
        let mut these = Conditions::default();
        let mut unused = Vec::new();
        let mut unless = |key, given: bool| unused.extend(given.then_some(key));
        match self.name {
            "tasks" | "attempts" | "outputs" => {
                these.named("task", &filter.tasks);
                let without_tasks = Filter {
                    tasks: Vec::new(),
                    ..filter.clone()
                };
                if !without_tasks.is_empty() {
                    let runs = Conditions::of_runs(filter, now);
                    let of_runs = format!("run_id IN (SELECT run_id FROM runs WHERE {})", runs.sql());
                    these.and(of_runs, runs.values);
                }
            }
            "runs" => {
                these = Conditions::of_runs(filter, now);
                unless("task", !filter.tasks.is_empty());
            }
            other => {
                match other {
                    "slots" => {
                        these.named("job", &filter.jobs);
                        these.between("slot", "last_slot", filter, now);
                    }
                    "specs" => {
                        these.named("job", &filter.jobs);
                        unless("since", filter.since.is_some());
                        unless("until", filter.until.is_some());
                    }
                    "pools" => {
                        these.between("since", "since", filter, now);
                        unless("job", !filter.jobs.is_empty());
                    }
                    _ => {
                        these.between("decided_at", "decided_at", filter, now);
                        unless("job", !filter.jobs.is_empty());
                    }
                }
                unless("task", !filter.tasks.is_empty());
                unless("status", !filter.statuses.is_empty());
                unless("trigger", !filter.triggers.is_empty());
                unless("rev", !filter.revisions.is_empty());
            }
        }
        let sql = format!("SELECT * FROM {} WHERE {}", self.name, these.sql());
        TableQuery {
            sql: as_text(&sql, &these.values),
            ignored: unused,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{History, TABLES};

    #[test]
    fn every_table_can_be_asked_with_every_filter() {
        let history = History::of_nothing().expect("a history in memory");
        let now = "2026-01-31T00:00:00Z".parse().expect("an instant");
        for text in [
            "",
            "job=e*",
            "job=it task=l?ad rev=last:2,abcd status=failed trigger=manual since=30d until=1d",
        ] {
            let filter = text.parse().expect(text);
            for table in TABLES {
                let query = table.query(&filter, now);
                let (names, rows) = history.named_rows(&query.sql, &[]).expect(&query.sql);
                assert_eq!((names.len(), rows.len()), (table.columns.len(), 0), "{query:?}");
            }
        }
        let ignored = |table: &str, text: &str| -> Vec<&str> {
            let table = TABLES.iter().find(|known| known.name == table).expect(table);
            table.query(&text.parse().expect(text), now).ignored
        };
        assert_eq!(ignored("attempts", "job=a task=b status=failed"), [""; 0]);
        assert_eq!(ignored("runs", "task=b since=1d"), ["task"]);
        assert_eq!(ignored("specs", "job=a since=1d"), ["since"]);
        assert_eq!(ignored("reconciles", "job=a since=1d"), ["job"]);
    }
}
