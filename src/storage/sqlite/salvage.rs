//! What can still be read of a damaged journal, copied into a new one.
//!
//! Table by table, in the order in which rows refer to each other. A table is read from its beginning until its damage, then
//! from its end; where rows are numbered, what lies between is searched for further rows. Each row is judged by itself: it is
//! kept if it reads as what it should be and what it refers to was kept. The new journal has an id of its own, since facts
//! that were lost would else share their numbers with facts to come; it remembers which journals it continues, so that the
//! history takes nothing in twice.
//!
//! Afterwards what is left must not do harm. A run that had not ended and of which something may be missing is ended, as
//! nobody can say what of it ran already; a job whose mark of recorded slots is lost begins at this moment, and not with
//! slots that may have run.
//!
//! Knows nothing of where the files stand and what becomes of them (see [`super::damage`]). The damaged file is only read.

use std::path::Path;

use rusqlite::{
    Connection, Error, ErrorCode, OptionalExtension, Row, Statement, named_params, params, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    super::{Change, RunDetail, StorageError, apply},
    damage::{Lost, SavedTable, is_damage},
    rows, schema,
    tables::Tables,
    values::Count,
};
use crate::core::{
    Timestamp,
    ending::Ending,
    id::SpecHash,
    record::{AttemptRecord, TaskRecord},
    state::{RunStatus, TaskState},
};

/// Tells whether a row reads as what it should be.
type Check = fn(&Row<'_>) -> rusqlite::Result<bool>;

/// Every table but `meta`: what is referred to stands before what refers to it.
const TABLES: [(&str, Check); 13] = [
    ("specs", |row| {
        let spec = rows::spec(row)?;
        Ok(SpecHash::of(spec.canonical.as_bytes()) == spec.hash)
    }),
    ("active", |row| rows::active(row).map(|_| true)),
    ("pauses", |row| rows::pause(row).map(|_| true)),
    ("watermarks", |row| rows::watermark(row).map(|_| true)),
    ("removed", |row| rows::removed(row).map(|_| true)),
    ("held", |row| row.get::<_, crate::core::id::JobId>("job").map(|_| true)),
    ("runs", |row| rows::run(row).map(|_| true)),
    ("tasks", |row| rows::task(row).map(|_| true)),
    ("attempts", |row| rows::attempt(row).map(|_| true)),
    ("slots", |row| rows::slot(row).map(|_| true)),
    ("stretches", |row| rows::stretch(row).map(|_| true)),
    ("reconciles", |row| rows::reconcile(row).map(|_| true)),
    ("facts", |row| rows::fact(row).map(|_| true)),
];

pub(super) const LOST: &str = "the journal was damaged, and nobody can say how far this had come";

/// Makes a new journal at `to` of what can be read at `from`, and says what that is.
pub(super) fn copy(from: &Path, to: &Path, now: Timestamp) -> Result<Vec<SavedTable>, StorageError> {
    let target = schema::make(to)?;
    let source = schema::open_damaged(from).map_err(|source| StorageError::database("read", from, source))?;
    let work = || -> Result<Vec<SavedTable>, Stopped> {
        target.execute_batch("BEGIN IMMEDIATE")?;
        let saved = TABLES.map(|(name, check)| copy_table(&source, &target, name, check));
        let saved: Vec<SavedTable> = saved.into_iter().collect::<Result<_, _>>()?;
        continue_numbers(&source, &target)?;
        let changes = settle(&target, to, &saved, now)?;
        apply::commit(&mut Tables::new(&target, to), &changes, now)?;
        target.execute_batch("COMMIT")?;
        Ok(saved)
    };
    let saved = work().map_err(|stopped| match stopped {
        Stopped::Database(source) => StorageError::database("save what is left of", from, source),
        Stopped::Storage(error) => error,
    })?;
    target
        .close()
        .map_err(|(_, source)| StorageError::database("save what is left of", from, source))?;
    Ok(saved)
}

/// Something other than damage is in the way, such as a full disk.
enum Stopped {
    Database(Error),
    Storage(StorageError),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

fn copy_table(
    source: &Connection,
    target: &Connection,
    name: &'static str,
    check: Check,
) -> Result<SavedTable, Stopped> {
    let mut saved = SavedTable {
        table: name,
        saved: 0,
        lost: Lost::Nothing,
    };
    let Some(shape) = damaged(Shape::of(source, target, name))? else {
        saved.lost = Lost::Unknown;
        return Ok(saved);
    };
    // An older journal has fewer tables, and nothing of theirs is lost.
    if shape.columns.is_empty() {
        return Ok(saved);
    }
    let mut copier = Copier {
        source,
        savepoint: target,
        insert: target.prepare(&shape.insert(name))?,
        check,
        kept: 0,
        refused: 0,
    };
    let whole = match &shape.number {
        Some(number) => copier.numbered(name, &shape, number)?,
        None => copier.both_ends(name, &shape)?,
    };
    saved.saved = copier.kept;
    let total = format!("SELECT count(*) FROM {name}");
    saved.lost = match (whole, copier.refused) {
        (true, 0) => Lost::Nothing,
        (true, refused) => Lost::Rows(refused),
        // An index may be whole where the table is not.
        (false, _) => damaged(source.query_row(&total, [], |row| row.get::<_, Count>(0)))?
            .filter(|total| total.0 > saved.saved)
            .map_or(Lost::Unknown, |total| Lost::Rows(total.0 - saved.saved)),
    };
    Ok(saved)
}

/// The answer, unless there is none because of damage.
fn damaged<T>(answer: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        // A table that the damaged catalogue does not name is an error of the statement.
        Err(error) if is_damage(&error) || error.sqlite_error_code() == Some(ErrorCode::Unknown) => Ok(None),
        Err(
            Error::QueryReturnedNoRows
            | Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..)
            | Error::IntegralValueOutOfRange(..),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a table is read and written.
struct Shape {
    /// The columns that both journals have.
    columns: Vec<String>,
    /// What stands behind the table's name, so that the table itself is read and no index.
    itself: &'static str,
    /// The columns by which its rows stand in order.
    order: Vec<String>,
    /// The first of these, where it is a number.
    number: Option<String>,
}

impl Shape {
    fn of(source: &Connection, target: &Connection, table: &str) -> rusqlite::Result<Self> {
        let columns = |connection: &Connection| -> rusqlite::Result<Vec<(String, String, u32)>> {
            let mut statement = connection.prepare("SELECT name, type, pk FROM pragma_table_info(?)")?;
            let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            columns.collect()
        };
        let known = columns(target)?;
        let found = columns(source)?;
        let with_rowid: bool = source
            .query_row("SELECT NOT wr FROM pragma_table_list WHERE name = ?", [table], |row| {
                row.get(0)
            })
            .optional()?
            .unwrap_or(true);
        let mut key: Vec<_> = found.iter().filter(|(_, _, place)| *place > 0).collect();
        key.sort_by_key(|(_, _, place)| *place);
        let mut shared: Vec<String> = found
            .iter()
            .filter(|(name, ..)| known.iter().any(|(known, ..)| known == name))
            .map(|(name, ..)| name.clone())
            .collect();
        if with_rowid {
            let is_number = matches!(&key[..], [(_, kind, _)] if kind == "INTEGER");
            // Rows are read in the order of this number too, so they must keep it.
            if !is_number && !shared.is_empty() {
                shared.push("rowid".to_owned());
            }
            return Ok(Self {
                columns: shared,
                itself: "NOT INDEXED",
                order: vec!["rowid".to_owned()],
                number: Some("rowid".to_owned()),
            });
        }
        let number = key.first().filter(|(_, kind, _)| kind == "INTEGER");
        Ok(Self {
            columns: shared,
            itself: "",
            number: number.map(|(name, ..)| name.clone()),
            order: key.iter().map(|(name, ..)| name.clone()).collect(),
        })
    }

    fn insert(&self, table: &str) -> String {
        let (columns, marks) = (self.columns.join(", "), vec!["?"; self.columns.len()].join(", "));
        format!("INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING RETURNING *")
    }

    /// Rows from one end: the number by which they stand, or 0, and their columns.
    fn select(&self, table: &str, way: &str, condition: &str) -> String {
        let number = self.number.as_deref().unwrap_or("0");
        let (columns, itself) = (self.columns.join(", "), self.itself);
        let order: Vec<_> = self.order.iter().map(|column| format!("{column} {way}")).collect();
        let order = order.join(", ");
        format!("SELECT {number}, {columns} FROM {table} {itself} {condition} ORDER BY {order}")
    }
}

/// How far a way through a table led.
struct Way {
    /// The number of the last row.
    last: Option<i64>,
    /// Whether it ended at the table's end and not at damage.
    whole: bool,
}

struct Copier<'a> {
    source: &'a Connection,
    savepoint: &'a Connection,
    insert: Statement<'a>,
    check: Check,
    kept: u64,
    /// Rows that could be read and not be kept.
    refused: u64,
}

impl Copier<'_> {
    /// Reads a table whose rows have no numbers. Says whether all of it was read.
    fn both_ends(&mut self, table: &str, shape: &Shape) -> Result<bool, Stopped> {
        let up = self.walk(&shape.select(table, "ASC", ""), None, true)?;
        if !up.whole {
            self.walk(&shape.select(table, "DESC", ""), None, false)?;
        }
        Ok(up.whole)
    }

    /// Reads a table whose rows have numbers. Says whether all of it was read.
    fn numbered(&mut self, table: &str, shape: &Shape, number: &str) -> Result<bool, Stopped> {
        let above = shape.select(table, "ASC", &format!("WHERE {number} > ?"));
        let below = shape.select(table, "DESC", &format!("WHERE {number} < ?"));
        let up = self.walk(&above, Some(i64::MIN), true)?;
        if up.whole {
            return Ok(true);
        }
        let down = self.walk(&below, Some(i64::MAX), false)?;
        let (Some(mut low), Some(high)) = (up.last, down.last) else {
            return Ok(false);
        };
        let itself = shape.itself;
        let probe = format!("SELECT {number} FROM {table} {itself} WHERE {number} > ? ORDER BY {number} LIMIT 1");
        let source = self.source;
        let Some(mut probe) = damaged(source.prepare(&probe))? else {
            return Ok(false);
        };
        let mut is_readable =
            |from: i64| damaged(probe.query_row([from], |row| row.get::<_, i64>(0))).map(|found| found.is_some());
        while let Some(from) = first_readable(low, high, &mut is_readable)? {
            let way = self.walk(&above, Some(from), true)?;
            low = way.last.map_or(from, |last| last.max(from));
            if way.whole {
                break;
            }
        }
        Ok(false)
    }

    /// Keeps the rows of a query until its end, or until damage.
    fn walk(&mut self, query: &str, from: Option<i64>, upwards: bool) -> Result<Way, Stopped> {
        let mut way = Way {
            last: None,
            whole: false,
        };
        let source = self.source;
        let Some(mut statement) = damaged(source.prepare(query))? else {
            return Ok(way);
        };
        let Some(mut found) = damaged(statement.query(params_from_iter(from)))? else {
            return Ok(way);
        };
        while let Some(row) = damaged(found.next())? {
            let Some(row) = row else {
                way.whole = true;
                break;
            };
            let Some(number) = damaged(row.get::<_, i64>(0))? else {
                break;
            };
            // Pages that were mixed up would lead in circles.
            let goes_on = |last| if upwards { last <= number } else { last >= number };
            if !way.last.is_none_or(goes_on) {
                break;
            }
            way.last = Some(number);
            self.keep(row)?;
        }
        Ok(way)
    }

    fn keep(&mut self, row: &Row<'_>) -> Result<(), Stopped> {
        let count = self.insert.parameter_count();
        let values: Vec<ValueRef<'_>> = (1..=count)
            .map(|column| row.get_ref(column))
            .collect::<Result<_, _>>()?;
        self.savepoint.prepare_cached("SAVEPOINT one")?.execute([])?;
        let check = self.check;
        let judged = {
            let values = values.into_iter().map(ToSqlOutput::Borrowed);
            let mut inserted = self.insert.query(params_from_iter(values))?;
            inserted.next().map(|row| row.map(check))
        };
        let is_kept = match judged {
            Ok(Some(Ok(true))) => {
                self.kept += 1;
                true
            }
            // It was met from the other end already.
            Ok(None) => true,
            Ok(Some(Ok(false) | Err(_))) => false,
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => false,
                Some(_) | None => return Err(error.into()),
            },
        };
        if !is_kept {
            self.refused += 1;
            self.savepoint.prepare_cached("ROLLBACK TO one")?.execute([])?;
        }
        self.savepoint.prepare_cached("RELEASE one")?.execute([])?;
        Ok(())
    }
}

/// The first number above `low` and below `high` from which on rows can be read again, as far as growing steps meet it.
fn first_readable<E>(
    low: i64,
    high: i64,
    is_readable: &mut impl FnMut(i64) -> Result<bool, E>,
) -> Result<Option<i64>, E> {
    let (mut damaged, mut step) = (low, 1_i64);
    let mut readable = loop {
        let next = damaged.saturating_add(step);
        if next >= high.saturating_sub(1) {
            return Ok(None);
        }
        if is_readable(next)? {
            break next;
        }
        (damaged, step) = (next, step.saturating_mul(2));
    };
    while readable - damaged > 1 {
        let middle = damaged + (readable - damaged) / 2;
        if is_readable(middle)? {
            readable = middle;
        } else {
            damaged = middle;
        }
    }
    Ok(Some(readable))
}

/// Writes down which journals this one continues, and up to which fact: what they told the history up to there it need not
/// hear again.
fn continue_numbers(source: &Connection, target: &Connection) -> Result<(), Stopped> {
    let last: i64 = target.query_row("SELECT ifnull(max(number), 0) FROM facts", [], |row| row.get(0))?;
    let pairs = |sql: &str| -> rusqlite::Result<Vec<(String, i64)>> {
        let mut statement = source.prepare(sql)?;
        let pairs = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        pairs.collect()
    };
    let id = damaged(source.query_row("SELECT value FROM meta WHERE name = 'journal_id'", [], |row| row.get(0)))?;
    let id: String = id.unwrap_or_default();
    let earlier = damaged(pairs(
        "SELECT substr(name, 11), CAST(value AS INTEGER) FROM meta WHERE name GLOB 'continues.*'",
    ))?;
    for (id, number) in earlier.into_iter().flatten().chain([(id, last)]) {
        target.execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES ('continues.' || :id, :number)",
            named_params! { ":id": id, ":number": number.min(last).to_string() },
        )?;
    }
    Ok(())
}

/// What must happen to what was saved before anything goes on from it.
fn settle(target: &Connection, path: &Path, saved: &[SavedTable], now: Timestamp) -> Result<Vec<Change>, Stopped> {
    let is_whole = |tables: &[&str]| {
        let mut saved = saved.iter().filter(|saved| tables.contains(&saved.table));
        saved.all(|saved| saved.lost == Lost::Nothing)
    };
    let tables = Tables::new(target, path);
    let mut changes = Vec::new();
    if !is_whole(&["tasks", "attempts"]) {
        for run in tables.all("runs", super::UNFINISHED, [], rows::run)? {
            changes.extend(end(super::detail(tables, run)?, now));
        }
    }
    if !is_whole(&["watermarks", "slots"]) {
        let unmarked = "SELECT job FROM active WHERE job NOT IN (SELECT job FROM watermarks)";
        let jobs = tables.all("active", unmarked, params![], |row| row.get("job"))?;
        changes.extend(jobs.into_iter().map(|job| Change::SetWatermark { job, at: now }));
    }
    Ok(changes)
}

/// Ends a run with everything in it that has not ended.
fn end(detail: RunDetail, now: Timestamp) -> Vec<Change> {
    let RunDetail { run, tasks, attempts } = detail;
    let open = attempts.into_iter().filter(|attempt| attempt.ending.is_none());
    let attempts = open.map(|attempt| {
        Change::EndAttempt(AttemptRecord {
            ended_at: Some(now),
            ending: Some(Ending::Interrupted),
            error: Some(LOST.to_owned()),
            ..attempt
        })
    });
    let tasks = tasks.into_iter().filter(|task| !task.state.is_finished()).map(|task| {
        Change::SetTask(TaskRecord {
            state: TaskState::Interrupted,
            retry_at: None,
            reason: Some(LOST.to_owned()),
            ..task
        })
    });
    let run = Change::EndRun {
        run: run.id,
        status: RunStatus::Interrupted,
        at: now,
        reason: Some(LOST.to_owned()),
    };
    attempts.chain(tasks).chain([run]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_rows_between_damaged_ones_are_found() {
        let searched = |readable: std::ops::Range<i64>, low, high| {
            first_readable(low, high, &mut |from| Ok::<_, ()>(readable.contains(&from))).expect("answers")
        };
        assert_eq!(searched(117..900, 100, 1_000), Some(117));
        assert_eq!(searched(101..900, 100, 1_000), Some(101));
        assert_eq!(searched(0..0, 100, 1_000), None);
        assert_eq!(searched(0..0, i64::MIN, i64::MAX), None);
        assert_eq!(searched(5_000..6_000, 100, 101), None);
    }
}
