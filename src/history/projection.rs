//! Facts on their way from the journal into the history, each exactly once.
//!
//! A batch of facts, what was missing before it, and the cursor behind it are one transaction. The cursor is the journal's
//! id and a number; one row of `cursors` for each journal that ever fed this file, so that a journal that was begun anew
//! starts at its own beginning and takes nothing away from the other's rows.

use std::{path::Path, time::Duration};

use duckdb::{OptionalExt, params};

use super::{
    History, HistoryError,
    file::move_aside,
    rows::{AppendError, Known, append},
    values::{At, as_instant},
};
use crate::{
    core::Timestamp,
    storage::{NumberedFact, Storage},
};

/// How many facts are one transaction: enough that its cost does not show, few enough that they fit into a few megabytes
/// and that a daemon which stops can stop soon.
const BATCH: u32 = 10_000;

/// What a catch-up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    /// How many facts were taken in.
    pub facts: u64,
    /// Whether none are left.
    pub complete: bool,
}

impl History {
    /// Takes in every fact of `journal` that is not here yet, batch by batch while `go_on` says so. An open history that
    /// only reads stays as it is.
    pub fn catch_up(
        &mut self,
        journal: &dyn Storage,
        now: Timestamp,
        go_on: impl Fn() -> bool,
    ) -> Result<CatchUp, HistoryError> {
        let mut caught_up = CatchUp {
            facts: 0,
            complete: false,
        };
        let id = journal.journal_id()?;
        let mut known = Known::new(journal);
        if self.held_by.is_some() {
            let behind = self.begins_at(&id, journal)?.map_or(0, |cursor| cursor.number);
            caught_up.complete = journal.facts(behind, 1)?.is_empty();
        }
        while !caught_up.complete && self.held_by.is_none() {
            let cursor = self.begins_at(&id, journal)?;
            let facts = journal.facts(cursor.map_or(0, |cursor| cursor.number), BATCH)?;
            if !facts.is_empty() {
                let is_new = self.cursor(&id)?.is_none() && self.has_other_journals(&id)?;
                let mut breaks = breaks(cursor, is_new, &facts);
                if caught_up.facts == 0 {
                    breaks.extend(rewound(cursor, journal)?);
                }
                self.take_in(&id, &facts, &breaks, &mut known, now)?;
                self.notes.extend(breaks.iter().filter_map(Break::note));
            }
            caught_up.facts += facts.len() as u64;
            caught_up.complete = facts.len() < BATCH as usize;
            if !go_on() {
                break;
            }
        }
        self.behind = !caught_up.complete;
        if caught_up.complete {
            self.as_of = Some(now);
        } else {
            self.as_of = self.last_fed()?;
            self.notes.extend(self.held_by.as_ref().map(|holder| {
                format!("the history is held by {holder}, so what happened since could not be added to it")
            }));
        }
        Ok(caught_up)
    }

    /// When the last fact that is here was committed.
    pub(super) fn last_fed(&self) -> Result<Option<Timestamp>, HistoryError> {
        let latest = "SELECT max(fact_at) FROM cursors";
        let at = self.connection.query_row(latest, [], |row| row.get(0));
        Ok(as_instant(&at.map_err(self.failed("read"))?))
    }

    fn cursor(&self, journal: &str) -> Result<Option<Cursor>, HistoryError> {
        let of_journal = "SELECT number, fact_at FROM cursors WHERE journal = ?";
        self.connection
            .query_row(of_journal, [journal], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map(|found| {
                found.map(|(number, at)| Cursor {
                    number,
                    at: as_instant(&at),
                })
            })
            .map_err(self.failed("read"))
    }

    /// Behind which fact of a journal to go on. One that continues others, which were damaged, has their last facts under the
    /// same numbers: what came here from them does not come again.
    fn begins_at(&self, id: &str, journal: &dyn Storage) -> Result<Option<Cursor>, HistoryError> {
        if let Some(cursor) = self.cursor(id)? {
            return Ok(Some(cursor));
        }
        let mut furthest: Option<Cursor> = None;
        for (former, last) in journal.continues()? {
            // Of a journal that lost its id, it can only be the one that fed this file last.
            let known = if former.is_empty() {
                let latest = "SELECT journal FROM cursors ORDER BY fed_at DESC LIMIT 1";
                let latest = self
                    .connection
                    .query_row(latest, [], |row| row.get::<_, String>(0))
                    .optional();
                latest.map_err(self.failed("read"))?
            } else {
                Some(former)
            };
            let Some(known) = known else { continue };
            let cursor = self.cursor(&known)?.map(|cursor| {
                // Facts beyond the last that was saved are others than those that came here under these numbers.
                if cursor.number > last {
                    Cursor { number: last, at: None }
                } else {
                    cursor
                }
            });
            furthest = furthest.into_iter().chain(cursor).max_by_key(|cursor| cursor.number);
        }
        Ok(furthest)
    }

    /// Whether another journal has fed the file before.
    fn has_other_journals(&self, journal: &str) -> Result<bool, HistoryError> {
        let others = "SELECT count(*) > 0 FROM cursors WHERE journal <> ?";
        self.connection
            .query_row(others, [journal], |row| row.get(0))
            .map_err(self.failed("read"))
    }

    fn take_in(
        &mut self,
        journal: &str,
        facts: &[NumberedFact],
        breaks: &[Break],
        known: &mut Known<'_>,
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        known.learn(facts);
        let Some(last) = facts.last() else { return Ok(()) };
        let path = self.path.clone();
        let failed = |source| HistoryError::failed("add to", &path)(source);
        // Dropped without a commit, as on every error below, it is rolled back.
        let transaction = self.connection.transaction().map_err(failed)?;
        append(&transaction, journal, facts, known).map_err(|error| match error {
            AppendError::Journal(error) => error.into(),
            AppendError::Database(error) => failed(error),
        })?;
        let write = || -> duckdb::Result<()> {
            for Break { kind, after, next } in breaks {
                let row = "INSERT INTO breaks VALUES (?, ?, ?, ?, ?)";
                transaction.execute(row, params![journal, kind.as_str(), after, next, At(now)])?;
            }
            let moved = transaction.execute(
                "UPDATE cursors SET number = ?, fact_at = ?, fed_at = ? WHERE journal = ?",
                params![last.number, At(last.at), At(now), journal],
            )?;
            if moved == 0 {
                let row = "INSERT INTO cursors VALUES (?, ?, ?, ?)";
                transaction.execute(row, params![journal, last.number, At(last.at), At(now)])?;
            }
            Ok(())
        };
        write().map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

/// Opens the history and brings it up to date: what a command does before it asks. A damaged file is moved aside, also
/// when the damage only shows while facts are added. Without a journal it is opened as it is. `go_on` is as in
/// [`History::catch_up`].
pub fn up_to_date(
    path: &Path,
    journal: Option<&dyn Storage>,
    patience: Duration,
    now: Timestamp,
    go_on: impl Fn() -> bool,
) -> Result<History, HistoryError> {
    let feed = || {
        let mut history = History::open(path, patience)?;
        if let Some(journal) = journal {
            history.catch_up(journal, now, &go_on)?;
        }
        Ok(history)
    };
    match feed() {
        Err(HistoryError::Damaged { source, .. }) => {
            let damage = move_aside(path, &source)?;
            let mut history = feed()?;
            history.notes.extend(damage.map(|damage| damage.to_string()));
            Ok(history)
        }
        ended => ended,
    }
}

/// Up to which fact of a journal everything is here.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cursor {
    number: i64,
    /// When that fact was committed, if that is known.
    at: Option<Timestamp>,
}

/// A place at which facts may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Break {
    kind: BreakKind,
    after: i64,
    next: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakKind {
    /// Another journal fed this file before.
    NewJournal,
    /// Facts were gone from the journal before they came here.
    Gap,
    /// The journal is an older copy of itself: it gave numbers a second time.
    Rewound,
}

impl BreakKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::NewJournal => "new_journal",
            Self::Gap => "gap",
            Self::Rewound => "rewound",
        }
    }
}

impl Break {
    fn note(&self) -> Option<String> {
        match self.kind {
            // Nothing is missing: all of the new journal is here, and all that there was of the old one.
            BreakKind::NewJournal => None,
            BreakKind::Gap => Some(format!(
                "facts {} to {} of the journal were gone before they came into the history",
                self.after + 1,
                self.next - 1
            )),
            BreakKind::Rewound => Some(format!(
                "the journal was put back to an earlier state, and what it then counted up to fact {} is not in the history",
                self.after
            )),
        }
    }
}

/// The breaks before and within facts that follow the cursor.
fn breaks(cursor: Option<Cursor>, is_new: bool, facts: &[NumberedFact]) -> Vec<Break> {
    let mut found = Vec::new();
    let mut after = cursor.map_or(0, |cursor| cursor.number);
    if is_new {
        found.extend(facts.first().map(|first| Break {
            kind: BreakKind::NewJournal,
            after,
            next: first.number,
        }));
    }
    for fact in facts {
        if fact.number != after + 1 {
            found.push(Break {
                kind: BreakKind::Gap,
                after,
                next: fact.number,
            });
        }
        after = fact.number;
    }
    found
}

/// Whether the fact at the cursor is another one than the one that was taken in.
fn rewound(cursor: Option<Cursor>, journal: &dyn Storage) -> Result<Option<Break>, HistoryError> {
    let Some((cursor, at)) = cursor.and_then(|cursor| Some((cursor, cursor.at?))) else {
        return Ok(None);
    };
    let there = journal.facts(cursor.number - 1, 1)?;
    Ok(there
        .first()
        .filter(|fact| fact.number == cursor.number && fact.at != at)
        .map(|fact| Break {
            kind: BreakKind::Rewound,
            after: fact.number,
            next: fact.number + 1,
        }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::record::SpecRecord, events::Fact};

    fn facts(numbers: impl IntoIterator<Item = i64>) -> Vec<NumberedFact> {
        let at = Timestamp::UNIX_EPOCH;
        let fact = Fact::Spec(SpecRecord {
            hash: crate::core::id::SpecHash::of(b""),
            job: crate::core::id::JobId::new("a").expect("a name"),
            canonical: String::new(),
            yaml: String::new(),
            first_seen: at,
        });
        let numbered = |number| NumberedFact {
            number,
            at,
            fact: fact.clone(),
        };
        numbers.into_iter().map(numbered).collect()
    }

    #[test]
    fn breaks_are_found_before_and_within_facts() {
        let cursor = |number| Some(Cursor { number, at: None });
        let summary = |cursor, others, numbers: &[i64]| -> Vec<_> {
            breaks(cursor, others, &facts(numbers.iter().copied()))
                .iter()
                .map(|found| (found.kind.as_str(), found.after, found.next))
                .collect()
        };
        assert_eq!(summary(None, false, &[1, 2, 3]), []);
        assert_eq!(summary(cursor(3), false, &[4, 5]), []);
        assert_eq!(summary(cursor(3), true, &[4, 5]), [("new_journal", 3, 4)]);
        assert_eq!(summary(None, false, &[7]), [("gap", 0, 7)]);
        assert_eq!(summary(None, true, &[1]), [("new_journal", 0, 1)]);
        assert_eq!(summary(None, true, &[5]), [("new_journal", 0, 5), ("gap", 0, 5)]);
        assert_eq!(summary(cursor(3), false, &[4, 9, 12]), [("gap", 4, 9), ("gap", 9, 12)]);
    }
}
