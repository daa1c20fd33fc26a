//! Runs out of the history: those that a filter picks, and one with all that is kept of it.
//!
//! The journal lets finished runs go after a while; what a screen shows of an older one comes from here, in the same shape.

use duckdb::types::Value as Stored;
use serde_json::{Map, Value};

use super::{History, HistoryError, conditions::Conditions, questions::as_text, values::At};
use crate::{
    core::{Timestamp, id::RunId, record::RunRecord},
    storage::Beside,
    view::{Filter, PickedRuns, RunView},
};

/// The columns of a run, by the names that a view has for them.
const RUN: &str = "run_id AS id, job, status, trigger, slot, spec_hash, revision, created_at, started_at, ended_at,
    ((epoch_us(ended_at) - epoch_us(started_at)) // 1000)::BIGINT AS duration_ms, params, reason, retry_of";

impl History {
    /// The runs that a filter picks, newest first, without their tasks, and at most `limit` of them.
    pub fn picked(&self, filter: &Filter, now: Timestamp, limit: usize) -> Result<PickedRuns, HistoryError> {
        let runs = Conditions::of_runs_with_tasks(filter, now);
        let all = format!(
            "SELECT {RUN} FROM runs WHERE {} ORDER BY created_at DESC, run_id DESC",
            runs.sql()
        );
        let limited = format!("{all} LIMIT {}", limit.saturating_add(1));
        let mut found: Vec<RunView> = self
            .objects(&limited, &runs.values)?
            .into_iter()
            .filter_map(run)
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(PickedRuns {
            runs: found,
            more,
            sql: as_text(&all, &runs.values),
            as_of: self.as_of().unwrap_or(now),
        })
    }

    /// One run with its tasks and attempts, if it is kept here.
    pub fn run(&self, id: RunId) -> Result<Option<RunView>, HistoryError> {
        let id = [Stored::Text(id.to_string())];
        let Some(mut object) = self
            .objects(&format!("SELECT {RUN} FROM runs WHERE run_id = ?"), &id)?
            .pop()
        else {
            return Ok(None);
        };
        let attempts = self.objects(
            "SELECT run_id AS run, task, attempt, ending, exit_code, signal, queued_at, granted_at, started_at, ended_at,
                    cpu_user_ms, cpu_system_ms, max_rss_bytes, bytes_out, error
             FROM attempts WHERE run_id = ? ORDER BY task, attempt",
            &id,
        )?;
        let outputs = self.objects(
            "SELECT task, name, number, text FROM outputs WHERE run_id = ? ORDER BY fact",
            &id,
        )?;
        // The history does not keep the order of the file; the order in which tasks ended is the next best.
        let tasks = "SELECT task AS id, state AS status, reason FROM tasks WHERE run_id = ? ORDER BY fact";
        let mut tasks = self.objects(tasks, &id)?;
        for task in &mut tasks {
            let of_task = |row: &&Map<String, Value>| row.get("task") == task.get("id");
            let own: Vec<Value> = attempts.iter().filter(of_task).cloned().map(Value::Object).collect();
            let published: Map<String, Value> = outputs.iter().filter(of_task).filter_map(output).collect();
            task.insert("attempts".to_owned(), own.into());
            task.insert("outputs".to_owned(), published.into());
        }
        object.insert("tasks".to_owned(), tasks.into_iter().map(Value::Object).collect());
        Ok(run(object))
    }

    /// The runs that repeat one, newest first, without their tasks.
    pub(super) fn retries_of(&self, run: RunId) -> Result<Vec<RunView>, HistoryError> {
        let sql = format!("SELECT {RUN} FROM runs WHERE retry_of = ? ORDER BY created_at DESC, run_id DESC");
        let found = self.objects(&sql, &[Stored::Text(run.to_string())])?;
        Ok(found.into_iter().filter_map(self::run).collect())
    }

    /// The neighbours of a run among those of its job.
    pub(super) fn beside(&self, run: &RunRecord) -> Result<Beside, HistoryError> {
        let place = [
            Stored::Text(run.job.to_string()),
            At(run.created_at).stored(),
            Stored::Text(run.id.to_string()),
        ];
        let one = |condition: &str, order: &str| {
            let sql = format!(
                "SELECT run_id FROM runs WHERE job = ? AND (created_at, run_id) {condition}
                 ORDER BY created_at {order}, run_id {order} LIMIT 1"
            );
            let found = self.objects(&sql, &place)?.pop();
            Ok::<_, HistoryError>(found.and_then(|row| row.get("run_id")?.as_str()?.parse().ok()))
        };
        Ok(Beside {
            previous: one("< (?, ?)", "DESC")?,
            next: one("> (?, ?)", "")?,
            last_good: one("< (?, ?) AND status = 'succeeded'", "DESC")?,
        })
    }

    /// Rows as objects by the names of their columns.
    pub(super) fn objects(&self, sql: &str, values: &[Stored]) -> Result<Vec<Map<String, Value>>, HistoryError> {
        let (names, rows) = self.named_rows(sql, values)?;
        let object = |row: Vec<Value>| names.iter().cloned().zip(row).collect();
        Ok(rows.into_iter().map(object).collect())
    }
}

/// What is kept is what a view holds, so that it reads as one; a row of a later version that does not is left out.
fn run(mut object: Map<String, Value>) -> Option<RunView> {
    let params = object.get("params").and_then(Value::as_str).unwrap_or("{}");
    let params: Value = serde_json::from_str(params).ok()?;
    object.insert("params".to_owned(), params);
    object.entry("tasks").or_insert_with(|| Value::Array(Vec::new()));
    serde_json::from_value(Value::Object(object)).ok()
}

fn output(row: &Map<String, Value>) -> Option<(String, Value)> {
    let name = row.get("name")?.as_str()?.to_owned();
    let value = row
        .get("number")
        .filter(|number| !number.is_null())
        .or_else(|| row.get("text"))?;
    Some((name, value.clone()))
}
