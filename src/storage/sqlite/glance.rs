//! A few columns of many runs: the statements behind [`super::super::glance`], each made for an index.

use chrono::TimeDelta;
use rusqlite::{Row, params};

use super::{
    super::{
        StorageError,
        glance::{Beside, RunGlance, Tally, TaskGlance},
    },
    rows::instant_if_any,
    tables::Tables,
    values::{Json, Micros},
};
use crate::core::{
    Timestamp,
    id::{JobId, RunId},
    record::RunRecord,
};

// For each job one descent of `runs_by_job` and as many steps as there are runs to show, however many the journal holds. A
// window function would have to number every run there is: of a thousand jobs with a thousand runs each it took sixty times
// as long (6 s against 0.1 s).
pub(super) const LATEST_OF_EACH: &str = "
    SELECT runs.id, runs.job, runs.status, runs.created_at, runs.started_at, runs.ended_at
    FROM json_each(?1) AS jobs
    JOIN runs ON runs.rowid IN
        (SELECT rowid FROM runs WHERE job = jobs.value ORDER BY created_at DESC, id DESC LIMIT ?2)
    ORDER BY jobs.key, runs.created_at DESC, runs.id DESC";

pub(super) const LATEST_TASKS: &str = "
    WITH latest AS (SELECT id, created_at FROM runs WHERE job = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2)
    SELECT tasks.run, tasks.task, tasks.state, tasks.attempts, attempts.started_at, attempts.ended_at
    FROM latest
    JOIN tasks ON tasks.run = latest.id
    LEFT JOIN attempts ON attempts.run = tasks.run AND attempts.task = tasks.task AND attempts.attempt = tasks.attempts
    ORDER BY latest.created_at DESC, latest.id DESC, tasks.position";

pub(super) const PREVIOUS: &str = "SELECT id FROM runs WHERE job = ?1 AND (created_at, id) < (?2, ?3)
                                   ORDER BY created_at DESC, id DESC LIMIT 1";
pub(super) const NEXT: &str = "SELECT id FROM runs WHERE job = ?1 AND (created_at, id) > (?2, ?3)
                               ORDER BY created_at, id LIMIT 1";
pub(super) const LAST_GOOD: &str = "SELECT id FROM runs INDEXED BY runs_by_job
                                    WHERE job = ?1 AND (created_at, id) < (?2, ?3) AND status = 'succeeded'
                                    ORDER BY created_at DESC, id DESC LIMIT 1";

pub(super) const TALLY: &str = "
    SELECT stretch, status, sum(runs) AS runs FROM (
        SELECT (created_at - ?1) / ?2 AS stretch, status, count(*) AS runs
        FROM runs WHERE created_at >= ?1 GROUP BY stretch, status
        UNION ALL SELECT (minute - ?1) / ?2, status, runs FROM tallies WHERE minute >= ?1
    ) GROUP BY stretch, status ORDER BY stretch, status";

pub(super) fn latest_of_each(tables: Tables<'_>, jobs: &[JobId], most: u32) -> Result<Vec<RunGlance>, StorageError> {
    tables.all("runs", LATEST_OF_EACH, params![Json(jobs), most], run)
}

pub(super) fn latest_tasks(tables: Tables<'_>, job: &JobId, most: u32) -> Result<Vec<TaskGlance>, StorageError> {
    tables.all("tasks", LATEST_TASKS, params![job, most], task)
}

pub(super) fn beside(tables: Tables<'_>, run: &RunRecord) -> Result<Beside, StorageError> {
    let one = |sql| {
        tables.first("runs", sql, params![run.job, Micros(run.created_at), run.id], |row| {
            row.get::<_, RunId>("id")
        })
    };
    Ok(Beside {
        previous: one(PREVIOUS)?,
        next: one(NEXT)?,
        last_good: one(LAST_GOOD)?,
    })
}

pub(super) fn tally(tables: Tables<'_>, since: Timestamp, stretch: TimeDelta) -> Result<Vec<Tally>, StorageError> {
    let width = stretch.num_microseconds().unwrap_or(i64::MAX).max(1);
    tables.all("runs", TALLY, params![Micros(since), width], |row| {
        Ok(Tally {
            stretch: row.get("stretch")?,
            status: row.get("status")?,
            runs: row.get::<_, super::values::Count>("runs")?.0,
        })
    })
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunGlance> {
    Ok(RunGlance {
        id: row.get("id")?,
        job: row.get("job")?,
        status: row.get("status")?,
        created_at: row.get::<_, Micros>("created_at")?.0,
        started_at: instant_if_any(row, "started_at")?,
        ended_at: instant_if_any(row, "ended_at")?,
    })
}

fn task(row: &Row<'_>) -> rusqlite::Result<TaskGlance> {
    Ok(TaskGlance {
        run: row.get("run")?,
        task: row.get("task")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        started_at: instant_if_any(row, "started_at")?,
        ended_at: instant_if_any(row, "ended_at")?,
    })
}
