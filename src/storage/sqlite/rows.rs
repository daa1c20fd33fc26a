//! Rows as records: how a row of each table is read.
//!
//! Columns are read by name, so that a migration may add one. A row that does not read as what it should be is an error of
//! its column, never a panic.

use rusqlite::{Error, Row, types::Type};

use super::{
    super::NumberedFact,
    values::{Count, Json, Micros},
};
use crate::{
    core::{
        Timestamp,
        ending::Ending,
        id::JobId,
        record::{
            ActiveRecord, AttemptRecord, PauseRecord, ReconcileRecord, RemovedRecord, RunRecord, SlotRecord,
            SpecRecord, StretchRecord, TaskRecord,
        },
    },
    events::Fact,
};

pub(super) fn spec(row: &Row<'_>) -> rusqlite::Result<SpecRecord> {
    Ok(SpecRecord {
        hash: row.get("hash")?,
        job: row.get("job")?,
        canonical: row.get("canonical")?,
        yaml: row.get("yaml")?,
        first_seen: instant(row, "first_seen")?,
    })
}

pub(super) fn active(row: &Row<'_>) -> rusqlite::Result<ActiveRecord> {
    Ok(ActiveRecord {
        job: row.get("job")?,
        file: row.get("file")?,
        spec_hash: row.get("spec_hash")?,
        generation: row.get::<_, Count>("generation")?.0,
        applied_at: instant(row, "applied_at")?,
        anchor: instant(row, "anchor")?,
        scheduled_since: instant(row, "scheduled_since")?,
    })
}

pub(super) fn removed(row: &Row<'_>) -> rusqlite::Result<RemovedRecord> {
    Ok(RemovedRecord {
        active: active(row)?,
        removed_at: instant(row, "removed_at")?,
    })
}

pub(super) fn reconcile(row: &Row<'_>) -> rusqlite::Result<ReconcileRecord> {
    Ok(ReconcileRecord {
        at: instant(row, "at")?,
        actor: row.get("actor")?,
        by: row.get("asked_by")?,
        plan_id: row.get("plan_id")?,
        result: row.get("result")?,
        actions: row.get::<_, Json<_>>("actions")?.0,
        files: row.get::<_, Json<_>>("files")?.0,
        revision: row.get("revision")?,
        old_set: row.get("old_set")?,
        new_set: row.get("new_set")?,
        duration_ms: row.get::<_, Count>("duration_ms")?.0,
    })
}

pub(super) fn slot(row: &Row<'_>) -> rusqlite::Result<SlotRecord> {
    Ok(SlotRecord {
        job: row.get("job")?,
        at: instant(row, "at")?,
        outcome: row.get("outcome")?,
        reason: row.get("reason")?,
        detail: row.get("detail")?,
        decided_at: instant_if_any(row, "decided_at")?,
        run: row.get("run")?,
        spec_hash: row.get("spec_hash")?,
    })
}

pub(super) fn stretch(row: &Row<'_>) -> rusqlite::Result<StretchRecord> {
    Ok(StretchRecord {
        job: row.get("job")?,
        from: instant(row, "first_at")?,
        to: instant(row, "last_at")?,
        slots: row.get::<_, Count>("slots")?.0,
        outcome: row.get("outcome")?,
        reason: row.get("reason")?,
        run: row.get("run")?,
        decided_at: instant(row, "decided_at")?,
        spec_hash: row.get("spec_hash")?,
    })
}

pub(super) fn watermark(row: &Row<'_>) -> rusqlite::Result<(JobId, Timestamp)> {
    Ok((row.get("job")?, instant(row, "at")?))
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        id: row.get("id")?,
        job: row.get("job")?,
        status: row.get("status")?,
        trigger: row.get("trigger")?,
        slot: instant_if_any(row, "slot")?,
        scheduled_at: instant(row, "scheduled_at")?,
        spec_hash: row.get("spec_hash")?,
        revision: row.get("revision")?,
        created_at: instant(row, "created_at")?,
        started_at: instant_if_any(row, "started_at")?,
        ended_at: instant_if_any(row, "ended_at")?,
        params: row.get::<_, Json<_>>("params")?.0,
        consumed: row.get::<_, Json<_>>("consumed")?.0,
        retry_of: row.get("retry_of")?,
        wait_until: instant_if_any(row, "wait_until")?,
        reason: row.get("reason")?,
    })
}

pub(super) fn task(row: &Row<'_>) -> rusqlite::Result<TaskRecord> {
    Ok(TaskRecord {
        run: row.get("run")?,
        task: row.get("task")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        retry_at: instant_if_any(row, "retry_at")?,
        outputs: row.get::<_, Json<_>>("outputs")?.0,
        reason: row.get("reason")?,
        reused_from: row.get("reused_from")?,
    })
}

pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    Ok(AttemptRecord {
        run: row.get("run")?,
        task: row.get("task")?,
        attempt: row.get("attempt")?,
        queued_at: instant(row, "queued_at")?,
        granted_at: instant(row, "granted_at")?,
        started_at: instant_if_any(row, "started_at")?,
        ended_at: instant_if_any(row, "ended_at")?,
        ending: ending(row)?,
        pid: row.get("pid")?,
        pid_start: count_if_any(row, "pid_start")?,
        cpu_user_ms: count_if_any(row, "cpu_user_ms")?,
        cpu_system_ms: count_if_any(row, "cpu_system_ms")?,
        max_rss_bytes: count_if_any(row, "max_rss_bytes")?,
        bytes_out: count_if_any(row, "bytes_out")?,
        error: row.get("error")?,
    })
}

pub(super) fn pause(row: &Row<'_>) -> rusqlite::Result<PauseRecord> {
    Ok(PauseRecord {
        job: row.get("job")?,
        since: instant(row, "since")?,
        by: row.get("paused_by")?,
        reason: row.get("reason")?,
    })
}

pub(super) fn fact(row: &Row<'_>) -> rusqlite::Result<NumberedFact> {
    let kind: String = row.get("kind")?;
    let fact = match kind.as_str() {
        "spec" => Fact::Spec(row.get::<_, Json<_>>("body")?.0),
        "reconcile" => Fact::Reconcile(row.get::<_, Json<_>>("body")?.0),
        "slot" => Fact::Slot(row.get::<_, Json<_>>("body")?.0),
        "stretch" => Fact::Stretch(row.get::<_, Json<_>>("body")?.0),
        "supersede" => Fact::Supersede(row.get::<_, Json<_>>("body")?.0),
        "run" => Fact::Run(row.get::<_, Json<_>>("body")?.0),
        "task" => Fact::Task(row.get::<_, Json<_>>("body")?.0),
        "attempt" => Fact::Attempt(row.get::<_, Json<_>>("body")?.0),
        "pools" => Fact::Pools(row.get::<_, Json<_>>("body")?.0),
        _ => {
            return Err(unknown(
                row,
                "kind",
                format!("`{kind}` is no kind of fact that is known"),
            ));
        }
    };
    Ok(NumberedFact {
        number: row.get("number")?,
        at: instant(row, "at")?,
        fact,
    })
}

fn ending(row: &Row<'_>) -> rusqlite::Result<Option<Ending>> {
    let Some(name) = row.get::<_, Option<String>>("ending")? else {
        return Ok(None);
    };
    match Ending::from_parts(&name, row.get("exit_code")?, row.get("signal")?) {
        Some(ending) => Ok(Some(ending)),
        None => Err(unknown(
            row,
            "ending",
            format!("`{name}` is no ending that is known, or lacks its code or signal"),
        )),
    }
}

fn instant(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(row.get::<_, Micros>(column)?.0)
}

pub(super) fn instant_if_any(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<Micros>>(column)?.map(|Micros(at)| at))
}

fn count_if_any(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<Count>>(column)?.map(|Count(count)| count))
}

fn unknown(row: &Row<'_>, column: &str, problem: String) -> Error {
    match row.as_ref().column_index(column) {
        Ok(index) => Error::FromSqlConversionFailure(index, Type::Text, problem.into()),
        Err(error) => error,
    }
}
