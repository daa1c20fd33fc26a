//! Where a command that asks about the past gets its answer: the history, brought up to date from the journal first.
//!
//! A running daemon is not asked: the journal can be read beside it, and whoever opens the history brings it up to date.
//! Beside somebody who reads the history it can be read as it is, and is soon. Beside somebody who writes to it nothing can
//! be read at all; mostly that is a child of the daemon's, which lets it go in a moment, or in some seconds where all
//! processors are busy, as it goes behind the tasks. So that one is waited for longer.

use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};

use super::{CliError, Exit, Globals, output::Output};
use crate::{
    core::error_text::chain,
    daemon::journal_path,
    history::{self, History, HistoryError, Holder, Reader, SqlError},
    storage::{Sqlite, Storage},
};

/// How long to wait for another process that has the history open: longer than a catch-up or a question takes.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for one that writes.
const PATIENCE_WITH_A_WRITER: Duration = Duration::from_secs(30);
/// How long one attempt among several waits that is to hear Ctrl-C in between.
pub const MOMENT: Duration = Duration::from_millis(100);

/// Opens the history of the state folder that the options name, up to date.
pub fn open(globals: &Globals) -> Result<History, CliError> {
    opened(globals, Ok)
}

/// The same for a user's own query.
pub fn reader(globals: &Globals) -> Result<Reader, CliError> {
    opened(globals, |history| history.into_reader(PATIENCE))
}

/// Tries again while somebody writes to the history, and says whom it waits for when that takes longer than one expects.
/// `attempt` waits a little itself; `holder` tells who was in its way, or nobody if that is not what is wrong.
pub fn patiently<T, E>(
    output: &Output,
    holder: impl Fn(&E) -> Option<&Holder>,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let waited = begun.elapsed();
        match holder(&error) {
            Some(holder) if waited < PATIENCE_WITH_A_WRITER => {
                if !told && waited >= PATIENCE {
                    told = true;
                    output.remark(&format!("waiting for {holder}, which writes to the history"));
                }
            }
            Some(_) | None => return Err(error),
        }
    }
}

fn opened<T>(globals: &Globals, then: impl Fn(History) -> Result<T, HistoryError>) -> Result<T, CliError> {
    let place = globals.place()?;
    let output = globals.output();
    let (journal, file) = (journal_path(&place.state_dir), history::history_path(&place.state_dir));
    let journal = match Sqlite::open_read_only(&journal) {
        Ok(journal) => Some(journal),
        // Without the journal, what is already in the history can still be asked.
        Err(error) if journal.exists() && file.exists() => {
            output.warn_incomplete(&format!("this is what the history already had: {}", chain(&error)));
            None
        }
        Err(error) if journal.exists() => return Err(error.into()),
        Err(_) => None,
    };
    if journal.is_none() && !file.exists() {
        output.remark(&format!(
            "there is no history in {} yet: it begins when `petit run` has run a job",
            place.state_dir.display()
        ));
        return Ok(then(History::of_nothing()?)?);
    }
    let journal = journal.as_ref().map(|journal| journal as &dyn Storage);
    let attempt = || then(history::for_reading(&file, journal, PATIENCE, Utc::now())?);
    Ok(patiently(&output, HistoryError::holder, attempt)?)
}

/// Says what keeps answers from being complete, and how old they are then.
pub fn tell_notes(output: &Output, history: &History) {
    for note in history.notes() {
        let as_of = history.as_of();
        let as_of = as_of.map(|at| format!("as of {}: ", at.to_rfc3339_opts(SecondsFormat::Secs, true)));
        output.warn_incomplete(&format!("{}{note}", as_of.unwrap_or_default()));
    }
}

impl From<HistoryError> for CliError {
    fn from(error: HistoryError) -> Self {
        let this = Self::new(Exit::Failed, "history", chain(&error));
        match error {
            HistoryError::Held { .. } => {
                this.hint("it is the one that writes to it, so nobody else can read: close it, and ask again")
            }
            HistoryError::Newer { .. } => {
                this.hint("use the version of Petit that wrote it, or a newer one; the file was left as it is")
            }
            HistoryError::Damaged { .. } => {
                this.hint("move the file away: the next question begins a new one with what the journal still has")
            }
            HistoryError::Journal(error) => error.into(),
            HistoryError::System { .. } | HistoryError::Database { .. } => this,
        }
    }
}

impl From<SqlError> for CliError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::NotOneQuery(_) => Self::new(Exit::Usage, "not_one_query", error.to_string())
                .hint("`petit sql` only reads; `petit sql .schema` lists what there is to read"),
            SqlError::TooLarge(_) => Self::new(Exit::Failed, "too_large", error.to_string())
                .hint("ask for fewer rows or columns, or sum them up before they are sorted"),
            SqlError::Refused(_) => {
                let refused = Self::new(Exit::Negative, "refused", error.to_string());
                if wants_zones(&error.to_string()) {
                    refused.hint(
                        "this build knows no time zones: every instant in the tables is UTC without a zone, and so is \
                         `now()::TIMESTAMP`",
                    )
                } else {
                    refused.hint("`petit sql .schema` lists the tables and their columns")
                }
            }
        }
    }
}

/// Whether DuckDB lacks what it needs for zones, as far as its words tell. The sources that `bundled` compiles come without
/// the extension that has them; the prebuilt library has it.
fn wants_zones(refusal: &str) -> bool {
    cfg!(feature = "bundled")
        && ["icu extension", "extension 'icu'", "TIMESTAMP WITH TIME ZONE"]
            .iter()
            .any(|word| refusal.contains(word))
}
