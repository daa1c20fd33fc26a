//! Which rows may leave, asked of SQLite, and the statements by which they go.
//!
//! The look goes over much of the file, and is made on a connection of its own: neither the writer nor any other reader waits
//! for it. What is needed and why is in [`super::super::prune`].

use std::{fs, ops::Range, path::Path};

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::{
    super::{
        StorageError,
        prune::{Bounds, JournalSize, MOST_FOUND, Prunable, PrunedTo},
    },
    tables::Tables,
    values::{Count, Micros},
};
use crate::core::{
    Timestamp,
    beside::beside,
    id::{JobId, RunId, SpecHash},
};

/// The jobs that have runs: a step for each job and not for each run.
const JOBS: &str = "
    WITH RECURSIVE jobs (job) AS (
        SELECT min(job) FROM runs
        UNION ALL SELECT (SELECT min(job) FROM runs WHERE job > jobs.job) FROM jobs WHERE jobs.job IS NOT NULL
    )";

/// Runs that stay whatever their age. The conditions are, word for word, those of the partial indexes that answer them.
const NEEDED: &str = "
    needed (id) AS MATERIALIZED (
        SELECT (SELECT id FROM runs WHERE job = jobs.job AND status NOT IN ('queued', 'running')
                ORDER BY ended_at DESC, id DESC LIMIT 1) FROM jobs
        UNION ALL
        SELECT (SELECT id FROM runs WHERE job = jobs.job AND status = 'succeeded'
                ORDER BY ended_at DESC, id DESC LIMIT 1) FROM jobs
        UNION ALL
        SELECT (SELECT id FROM runs WHERE job = jobs.job AND trigger = 'dependency' ORDER BY rowid DESC LIMIT 1) FROM jobs
        UNION ALL
        SELECT runs.id FROM jobs CROSS JOIN runs ON runs.rowid IN
            (SELECT rowid FROM runs WHERE job = jobs.job ORDER BY created_at DESC, id DESC LIMIT :shown)
        UNION ALL
        SELECT ifnull(json_extract(body, '$.run'), json_extract(body, '$.id')) FROM facts
        WHERE number > :projected AND kind IN ('run', 'task', 'attempt')
    )";

/// What makes a run one that may go, whatever is asked beside.
const MAY_GO: &str = "status NOT IN ('queued', 'running') AND id NOT IN (SELECT id FROM needed WHERE id IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM runs AS later WHERE later.retry_of = runs.id)";

/// Everything that may go within the bounds.
pub(super) fn find(tables: Tables<'_>, bounds: &Bounds) -> Result<Prunable, StorageError> {
    if let Some(projected) = bounds.projected {
        let there = "SELECT 1 FROM facts WHERE number = ?";
        if tables.first("facts", there, [projected], |_| Ok(()))?.is_none() {
            return Ok(Prunable::default());
        }
    }
    Ok(Prunable {
        runs: runs(tables, bounds)?,
        slots: slots(tables, bounds)?,
        stretches: stretches(tables, bounds)?,
        specs: specs(tables, bounds)?,
        reconciles: reconciles(tables, bounds)?,
        facts: facts(tables, bounds)?,
    })
}

fn runs(tables: Tables<'_>, bounds: &Bounds) -> Result<Vec<RunId>, StorageError> {
    let count = format!("{JOBS} SELECT count(job) AS jobs FROM jobs");
    let jobs = tables.first("runs", &count, [], |row| row.get::<_, u32>("jobs"))?;
    let shown = bounds.shown_each(jobs.unwrap_or(0) as usize);
    // Without a history all that is asked of facts is none.
    let projected = bounds.projected.unwrap_or(i64::MAX);
    let limit = Count(MOST_FOUND as u64);
    let id = |row: &Row<'_>| row.get::<_, RunId>("id");
    let beyond = match bounds.most_runs {
        Some(most) => tables.first(
            "runs",
            "SELECT created_at FROM runs ORDER BY created_at DESC LIMIT 1 OFFSET ?",
            [most.saturating_sub(1)],
            |row| Ok(row.get::<_, Micros>("created_at")?.0),
        )?,
        None => None,
    };
    let mut found = Vec::new();
    if let Some(before) = bounds.runs_before.max(beyond) {
        let sql = format!(
            "{JOBS}, {NEEDED} SELECT id FROM runs WHERE created_at < :before AND ended_at < :before AND {MAY_GO}
             ORDER BY created_at, id LIMIT :limit"
        );
        let values = named_params! {
            ":shown": shown, ":projected": projected, ":before": Micros(before), ":limit": limit,
        };
        found = tables.all("runs", &sql, values, id)?;
    }
    if let Some(count) = bounds.count {
        let sql = format!(
            "{JOBS}, {NEEDED}, placed AS (
                 SELECT id, row_number() OVER (PARTITION BY job ORDER BY created_at DESC, id DESC) AS place FROM runs
             )
             SELECT id FROM runs WHERE id IN (SELECT id FROM placed WHERE place > :count) AND {MAY_GO}
             ORDER BY created_at, id LIMIT :limit"
        );
        let values = named_params! {
            ":shown": shown, ":projected": projected, ":count": count, ":limit": limit,
        };
        let known: std::collections::HashSet<RunId> = found.iter().copied().collect();
        let beyond = tables.all("runs", &sql, values, id)?;
        found.extend(beyond.into_iter().filter(|run| !known.contains(run)));
    }
    Ok(found)
}

fn slots(tables: Tables<'_>, bounds: &Bounds) -> Result<Vec<(JobId, Timestamp)>, StorageError> {
    let beyond = match bounds.most_slots {
        Some(most) => tables.first(
            "slots",
            "SELECT at FROM slots ORDER BY at DESC LIMIT 1 OFFSET ?",
            [most.saturating_sub(1)],
            |row| Ok(row.get::<_, Micros>("at")?.0),
        )?,
        None => None,
    };
    let Some(before) = bounds.slots_before.max(beyond) else {
        return Ok(Vec::new());
    };
    let sql = "
        WITH latest (job, at) AS MATERIALIZED (
            SELECT job, max(at) FROM slots WHERE outcome IS NOT NULL GROUP BY job
        )
        SELECT slots.job, slots.at FROM slots JOIN latest ON latest.job = slots.job
        LEFT JOIN watermarks ON watermarks.job = slots.job
        WHERE slots.outcome IS NOT NULL AND slots.at < :before AND slots.at < latest.at
          AND slots.at <= ifnull(watermarks.at, slots.at)
        ORDER BY slots.at, slots.job LIMIT :limit";
    let values = named_params! { ":before": Micros(before), ":limit": Count(MOST_FOUND as u64) };
    tables.all("slots", sql, values, |row| {
        Ok((row.get("job")?, row.get::<_, Micros>("at")?.0))
    })
}

fn stretches(tables: Tables<'_>, bounds: &Bounds) -> Result<Vec<(JobId, Timestamp, Timestamp)>, StorageError> {
    let Some(before) = bounds.slots_before else {
        return Ok(Vec::new());
    };
    let sql = "
        SELECT DISTINCT job, first_at, last_at FROM stretches
        WHERE last_at < :before
          AND last_at < (SELECT max(last_at) FROM stretches AS others WHERE others.job = stretches.job)
          AND last_at <= ifnull((SELECT at FROM watermarks WHERE watermarks.job = stretches.job), :before)
        ORDER BY job, first_at, last_at LIMIT :limit";
    let values = named_params! { ":before": Micros(before), ":limit": Count(MOST_FOUND as u64) };
    tables.all("stretches", sql, values, |row| {
        let instant = |column| Ok::<_, rusqlite::Error>(row.get::<_, Micros>(column)?.0);
        Ok((row.get("job")?, instant("first_at")?, instant("last_at")?))
    })
}

fn specs(tables: Tables<'_>, bounds: &Bounds) -> Result<Vec<SpecHash>, StorageError> {
    let Some(before) = bounds.runs_before else {
        return Ok(Vec::new());
    };
    let sql = "
        SELECT hash FROM specs
        WHERE first_seen < :before
          AND hash NOT IN (SELECT spec_hash FROM runs UNION SELECT spec_hash FROM active UNION SELECT spec_hash FROM removed
                           UNION SELECT spec_hash FROM slots UNION SELECT spec_hash FROM stretches)
          AND hash NOT IN (SELECT json_extract(body, '$.hash') FROM facts WHERE number > :projected AND kind = 'spec')
        ORDER BY hash LIMIT :limit";
    let values = named_params! {
        ":before": Micros(before), ":projected": bounds.projected.unwrap_or(i64::MAX), ":limit": Count(MOST_FOUND as u64),
    };
    tables.all("specs", sql, values, |row| row.get("hash"))
}

fn reconciles(tables: Tables<'_>, bounds: &Bounds) -> Result<u64, StorageError> {
    let count = tables.first("reconciles", "SELECT count(*) AS rows FROM reconciles", [], |row| {
        Ok(row.get::<_, Count>("rows")?.0)
    })?;
    Ok(count.unwrap_or(0).saturating_sub(bounds.reconciles.into()))
}

fn facts(tables: Tables<'_>, bounds: &Bounds) -> Result<Range<i64>, StorageError> {
    let number = |row: &Row<'_>| row.get::<_, Option<i64>>("number");
    let bound = |sql: &str| Ok::<_, StorageError>(tables.first("facts", sql, [], number)?.flatten());
    let Some(first) = bound("SELECT min(number) AS number FROM facts")? else {
        return Ok(0..0);
    };
    let last = bound("SELECT max(number) AS number FROM facts")?.unwrap_or(first);
    let end = match (bounds.projected, bounds.runs_before) {
        (Some(projected), _) => projected,
        // Facts are dated in their order but for a clock that was put back; whichever stops the walk stays with all behind.
        (None, Some(before)) => {
            let first_kept = "SELECT number FROM facts WHERE at >= ? ORDER BY number LIMIT 1";
            tables
                .first("facts", first_kept, [Micros(before)], number)?
                .flatten()
                .unwrap_or(last)
        }
        (None, None) => first,
    };
    // The last one stays, by which the next gets its number in memory, and a history its place.
    Ok(first..end.min(last).max(first))
}

const PRUNED_RUNS: &str = "runs_pruned_to";
const PRUNED_SLOTS: &str = "slots_pruned_to";

/// Up to when rows have left.
pub(super) fn pruned_to(tables: Tables<'_>) -> Result<PrunedTo, StorageError> {
    let mark = |name: &str| {
        let sql = "SELECT CAST(value AS INTEGER) AS at FROM meta WHERE name = ?";
        tables.first("meta", sql, [name], |row| Ok(row.get::<_, Micros>("at")?.0))
    };
    Ok(PrunedTo {
        runs: mark(PRUNED_RUNS)?,
        slots: mark(PRUNED_SLOTS)?,
    })
}

/// Notes that rows up to these instants have left.
pub(super) fn raise_pruned_to(tables: Tables<'_>, to: PrunedTo) -> Result<(), StorageError> {
    for (name, at) in [(PRUNED_RUNS, to.runs), (PRUNED_SLOTS, to.slots)] {
        if let Some(at) = at {
            tables.write(
                "INSERT INTO meta (name, value) VALUES (?1, CAST(?2 AS TEXT)) ON CONFLICT DO UPDATE
                 SET value = CAST(max(CAST(value AS INTEGER), ?2) AS TEXT)",
                params![name, Micros(at)],
            )?;
        }
    }
    Ok(())
}

/// How much room the file and its log take.
pub(super) fn size(connection: &Connection, path: &Path) -> rusqlite::Result<JournalSize> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| Ok(row.get::<_, Count>(0)?.0));
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    Ok(JournalSize {
        bytes: length(path),
        log_bytes: length(&beside(path, "-wal")),
        free_bytes: pragma("freelist_count")? * pragma("page_size")?,
    })
}

/// Writes the file anew without its free pages. Rows keep their order, and with it the latest run that other jobs made.
pub(super) fn vacuum(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("VACUUM")?;
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .optional()
        .map(drop)
}
