//! `petit tui`

use std::{
    io::{self, IsTerminal},
    sync::Arc,
};

use tokio::sync::mpsc;

use crate::{
    cli::{
        CliError, Exit, Globals,
        globals::Place,
        source::{self, Source},
    },
    control::RunsQuery,
    core::id::{JobId, RunId},
    tui::{self, Feed, Leaving, Look, TuiError, message::Message},
    view::{JobDetail, JobView, RunView, StatusView},
};

/// Show what runs, every job, its runs and logs, the files and the history, on screens
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Shows the screens until somebody leaves.
pub fn run(globals: &Globals, _: &Args) -> Result<Exit, CliError> {
    let screens = Screens::new(globals, &globals.place()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("could not start", &error))?;
    let left = runtime.block_on(screens.show(false, std::future::pending()));
    // A question to the history may still be going, and nobody waits for it any more.
    runtime.shutdown_background();
    match left? {
        Leaving::Quit | Leaving::Ended => Ok(Exit::Done),
        Leaving::Terminated | Leaving::Interrupted => Ok(Exit::Interrupted),
    }
}

/// The screens of one state folder, ready to be shown.
pub struct Screens {
    look: Look,
    feed: Feed,
    messages: mpsc::Receiver<Message>,
}

impl Screens {
    /// Refuses when there is no terminal, before anything is started.
    pub fn new(globals: &Globals, place: &Place) -> Result<Self, CliError> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(
                CliError::usage("the screens need a terminal: standard input or output is none")
                    .hint("`petit status`, `petit list` and `petit runs` print the same"),
            );
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty());
        let stores = Arc::new(FromStores(place.clone()));
        let (feed, messages) = Feed::new(&place.state_dir, source::user(), stores, history(globals));
        Ok(Self {
            look: Look::new(globals.color.applies_to(&io::stdout()), locale.as_deref()),
            feed,
            messages,
        })
    }

    /// Shows them until somebody leaves or `ended` resolves.
    pub async fn show(self, embedded: bool, ended: impl Future<Output = ()>) -> Result<Leaving, CliError> {
        let shown = tui::run(self.look, embedded, self.feed, self.messages, ended).await;
        shown.map_err(|error| match error {
            TuiError::Terminal { .. } => CliError::failed("could not show the screens", &error),
            TuiError::Panicked => CliError::new(Exit::Failed, "panicked", error.to_string())
                .hint("this is a mistake in Petit: please report it with the message above"),
        })
    }
}

/// What asks the history.
#[cfg(feature = "history")]
fn history(globals: &Globals) -> Option<Arc<dyn tui::History>> {
    // A remark on standard error would be written over the screens.
    let mut quiet = globals.clone();
    quiet.quiet = true;
    Some(Arc::new(past_of_screens::FromHistory(quiet)))
}

/// This build has no history to ask.
#[cfg(not(feature = "history"))]
fn history(_: &Globals) -> Option<Arc<dyn tui::History>> {
    None
}

#[cfg(feature = "history")]
mod past_of_screens {
    //! The history as the screens ask it: opened anew for each question, and closed with the answer.

    use std::path::Path;

    use chrono::Utc;

    use crate::{
        cli::{CliError, Globals, past},
        core::{error_text::chain, id::RunId},
        history::{ExportError, History, history_path},
        tui,
        view::{Answer, Column, ColumnKind, Filter, FilterError, PickedRuns, Question, RunView, UnknownQuestion},
    };

    /// So many rows and runs are shown; an export has all.
    const MOST: usize = 1_000;

    pub struct FromHistory(pub Globals);

    impl FromHistory {
        fn open(&self) -> Result<History, String> {
            past::open(&self.0).map_err(|error| error.message)
        }
    }

    impl tui::History for FromHistory {
        fn ask(&self, question: &str, filter: &str) -> Result<Answer, String> {
            let question: Question = question.parse().map_err(|error: UnknownQuestion| error.to_string())?;
            let filter: Filter = filter.parse().map_err(|error: FilterError| error.to_string())?;
            let asked = self.open()?.ask(question, &filter, Utc::now());
            asked.map_err(|error| chain(&error))
        }

        fn runs(&self, filter: &str) -> Result<PickedRuns, String> {
            let filter: Filter = filter.parse().map_err(|error: FilterError| error.to_string())?;
            let picked = self.open()?.picked(&filter, Utc::now(), MOST);
            picked.map_err(|error| chain(&error))
        }

        fn run(&self, id: RunId) -> Result<RunView, String> {
            let run = self.open()?.run(id).map_err(|error| chain(&error))?;
            run.ok_or_else(|| format!("there is no run `{id}`"))
        }

        fn query(&self, sql: &str) -> Result<Answer, String> {
            let reader = past::reader(&self.0).map_err(|error| error.message)?;
            let found = reader.query(sql, MOST).map_err(|error| CliError::from(error).message)?;
            let column = |name: String| Column {
                name,
                kind: ColumnKind::Text,
            };
            let notes = reader.history().notes().iter().cloned();
            let more = found.more.then(|| format!("only the first {MOST}; `E` exports all"));
            let notes: Vec<String> = notes.chain(more).collect();
            Ok(Answer {
                view: "sql".to_owned(),
                columns: found.columns.into_iter().map(column).collect(),
                rows: found.rows,
                series: Vec::new(),
                as_of: reader.history().as_of().unwrap_or_else(Utc::now),
                note: (!notes.is_empty()).then(|| notes.join("; ")),
                sql: Some(sql.to_owned()),
            })
        }

        fn export(&self, sql: &str, file: &Path) -> Result<u64, String> {
            // Brought up to date, and closed again: the rows are written by a connection that only reads.
            drop(self.open()?);
            let place = self.0.place().map_err(|error| error.message)?;
            let history = history_path(&place.state_dir);
            if !history.exists() {
                return Err("there is no history yet: it begins when a run has ended".to_owned());
            }
            let write = || History::export(&history, sql, file, past::MOMENT);
            past::patiently(&self.0.output(), ExportError::holder, write).map_err(|error| chain(&error))
        }
    }
}

/// Opens the stores anew for each question: nothing of them is held while nobody asks.
struct FromStores(Place);

impl FromStores {
    fn source(&self) -> Result<Source, CliError> {
        Source::stores(&self.0)
    }
}

impl tui::Stores for FromStores {
    fn status(&self) -> Result<StatusView, String> {
        said(self.source().and_then(|source| source.status()))
    }

    fn jobs(&self) -> Result<Vec<JobView>, String> {
        said(self.source().and_then(|source| source.jobs()))
    }

    fn job(&self, id: &JobId) -> Result<JobDetail, String> {
        said(self.source().and_then(|source| source.job(id)))
    }

    fn runs(&self, query: &RunsQuery) -> Result<Vec<RunView>, String> {
        said(self.source().and_then(|source| source.runs(query)))
    }

    fn run(&self, id: RunId) -> Result<RunView, String> {
        said(self.source().and_then(|source| source.run(id)))
    }
}

fn said<T>(result: Result<T, CliError>) -> Result<T, String> {
    result.map_err(|error| error.message)
}
