//! Where a command that asks about the past gets its answer: the history, brought up to date from the journal first.
//!
//! A running daemon is not asked: the journal can be read beside it, and whoever opens the history brings it up to date.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};

use super::{CliError, Exit, Globals, output::Output};
use crate::{
    core::error_text::chain,
    daemon::journal_path,
    history::{self, History, HistoryError, SqlError},
    storage::{Sqlite, Storage},
};

/// How long to wait for another process that has the history open: longer than a catch-up or a question takes.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Opens the history of the state folder that the options name, up to date.
pub fn open(globals: &Globals) -> Result<History, CliError> {
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
        return Ok(History::of_nothing()?);
    }
    let journal = journal.as_ref().map(|journal| journal as &dyn Storage);
    Ok(history::for_reading(&file, journal, PATIENCE, Utc::now())?)
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
