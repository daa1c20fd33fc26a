//! What a command is asked about and the journal has let go: looked for in the history.
//!
//! Nobody opens the history in vain: it is asked only when something is not in the journal, or when what the journal gave
//! may have holes, because it reaches back beyond the newest row that left. Where it cannot be asked, the answer stays what
//! it was, and is said to be incomplete.

use super::{CliError, Globals, source::Source};
use crate::{
    control::{RunsQuery, WhyQuery},
    core::id::RunId,
    view::{RunView, Why},
};

impl Source {
    /// One run, however old.
    pub fn run_or_older(&self, globals: &Globals, id: RunId) -> Result<RunView, CliError> {
        match self.run(id) {
            Err(unknown) if unknown.code == "not_found" => beyond::run(globals, id).ok_or(unknown),
            answer => answer,
        }
    }

    /// The runs that match, however old.
    pub fn runs_and_older(&self, globals: &Globals, query: &RunsQuery) -> Result<Vec<RunView>, CliError> {
        let found = self.runs(query)?;
        Ok(beyond::runs(globals, query, &found).unwrap_or(found))
    }

    /// What became of a slot, however old.
    pub fn why_or_older(&self, globals: &Globals, query: &WhyQuery) -> Result<Why, CliError> {
        let why = self.why(query)?;
        Ok(beyond::why(globals, query, &why).unwrap_or(why))
    }
}

/// Whether a run is in the history, though not in the journal.
pub fn has_left(globals: &Globals, id: RunId) -> bool {
    beyond::run(globals, id).is_some()
}

#[cfg(not(feature = "history"))]
mod beyond {
    use super::{Globals, RunId, RunView, RunsQuery, Why, WhyQuery};

    pub fn run(_: &Globals, _: RunId) -> Option<RunView> {
        None
    }

    pub fn runs(_: &Globals, _: &RunsQuery, _: &[RunView]) -> Option<Vec<RunView>> {
        None
    }

    pub fn why(_: &Globals, _: &WhyQuery, _: &Why) -> Option<Why> {
        None
    }
}

#[cfg(feature = "history")]
mod beyond {
    use chrono::Utc;

    use super::{Globals, RunId, RunView, RunsQuery, Why, WhyQuery};
    use crate::{
        cli::{CliError, interrupt::heeding, past, source::Stores},
        core::{Timestamp, error_text::chain},
        daemon::journal_path,
        history::{Archive, history_path},
        storage::{PrunedTo, RunFilter, Sqlite, Storage},
        view::{Sources, ViewError},
    };

    pub fn run(globals: &Globals, id: RunId) -> Option<RunView> {
        ask(globals, |sources| sources.run(id))
    }

    pub fn runs(globals: &Globals, query: &RunsQuery, found: &[RunView]) -> Option<Vec<RunView>> {
        let filter = query.clone().of_runs(Utc::now());
        if is_whole(&filter, found, pruned_to(globals).runs) {
            return None;
        }
        ask(globals, |sources| sources.runs(&filter))
    }

    pub fn why(globals: &Globals, query: &WhyQuery, found: &Why) -> Option<Why> {
        let is_answered = found.slot.is_some() || found.stretch.is_some();
        if is_answered || pruned_to(globals).slots.is_none_or(|to| found.at > to) {
            return None;
        }
        ask(globals, |sources| sources.why(&query.job, query.at))
    }

    /// Whether no run can be missing among those that the journal found: each that left was made before an instant, and
    /// either the filter or the last of as many as were asked for does not reach back so far.
    fn is_whole(filter: &RunFilter, found: &[RunView], left_to: Option<Timestamp>) -> bool {
        let Some(left_to) = left_to else { return true };
        let is_full = filter.limit.is_some_and(|limit| found.len() >= limit as usize);
        let ends_before = found.last().is_some_and(|last| last.created_at > left_to);
        filter.since.is_some_and(|since| since > left_to) || (is_full && ends_before)
    }

    /// Up to when the journal of the state folder has let rows go; one that cannot be asked has none to miss.
    fn pruned_to(globals: &Globals) -> PrunedTo {
        let ask = || {
            let journal = journal_path(&globals.place().ok()?.state_dir);
            Sqlite::open_read_only(&journal).ok()?.pruned_to().ok()
        };
        ask().unwrap_or_default()
    }

    /// The answer of journal and history in one; `None` if there is none, or no history.
    fn ask<T>(globals: &Globals, ask: impl FnOnce(&Sources<'_>) -> Result<T, ViewError>) -> Option<T> {
        // Whoever asked the daemon before listens to Ctrl-C only while it waits for an answer of that.
        match heeding(|_| answer(globals, ask)) {
            Ok(answer) => answer,
            Err(error) => {
                let message = format!("this is what the journal still has: {}", error.message);
                globals.output().warn_incomplete(&message);
                None
            }
        }
    }

    fn answer<T>(
        globals: &Globals,
        ask: impl FnOnce(&Sources<'_>) -> Result<T, ViewError>,
    ) -> Result<Option<T>, CliError> {
        let place = globals.place()?;
        if !history_path(&place.state_dir).exists() {
            return Ok(None);
        }
        let history = past::open(globals)?;
        let stores = Stores::open(&place)?;
        let archive = Archive::new(stores.storage(), history, Utc::now());
        let asked = stores.sources_over(&archive).map(|sources| ask(&sources))?;
        if let Some(trouble) = archive.trouble() {
            return Err(trouble.into());
        }
        match asked {
            Ok(answer) => Ok(Some(answer)),
            // What neither has is told by who was asked first.
            Err(ViewError::NoSuchRun { .. } | ViewError::NoSuchJob { .. }) => Ok(None),
            Err(error @ ViewError::Storage(_)) => {
                Err(CliError::new(crate::cli::Exit::Failed, "journal", chain(&error)))
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn at(second: i64) -> Timestamp {
            chrono::DateTime::from_timestamp(second, 0).expect("an instant")
        }

        #[test]
        fn the_history_is_asked_only_where_something_may_be_missing() {
            let run = |second| -> RunView {
                serde_json::from_value(serde_json::json!({
                    "id": "01K00000000000000000000003", "job": "etl", "status": "failed", "trigger": "manual", "slot": null,
                    "spec_hash": "ab", "revision": null, "created_at": at(second), "started_at": null, "ended_at": null,
                    "duration_ms": null, "params": {}, "reason": null, "retry_of": null, "tasks": [],
                }))
                .expect("a run")
            };
            let filter = |limit, since: Option<i64>| RunFilter {
                limit,
                since: since.map(at),
                ..RunFilter::default()
            };
            let newest = [run(90), run(80)];
            for (filter, left_to, expected) in [
                (filter(Some(2), None), None, true),
                (filter(None, None), None, true),
                (filter(Some(2), None), Some(70), true),
                (filter(Some(2), None), Some(80), false),
                (filter(Some(3), None), Some(70), false),
                (filter(None, None), Some(70), false),
                (filter(None, Some(71)), Some(70), true),
                (filter(None, Some(70)), Some(70), false),
            ] {
                let whole = is_whole(&filter, &newest, left_to.map(at));
                assert_eq!(whole, expected, "{filter:?} {left_to:?}");
            }
        }
    }
}
