//! Where a command that only reads gets its answer: the daemon, or the stores when none runs.

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use chrono::Utc;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CliError, Exit, Globals, globals::Place};
use crate::{
    control::{Client, ClientError, NextQuery, RunsQuery, WhyQuery},
    core::{
        capacity::SystemResources,
        error_text::chain,
        id::{JobId, RunId},
    },
    daemon::journal_path,
    reconcile,
    storage::{Sqlite, Storage},
    view::{JobDetail, JobView, NextView, PlanView, RunView, Sources, StatusView, Why},
};

/// The daemon of the state folder that the options name, for commands. Whether it runs shows when it is asked.
pub fn client(globals: &Globals) -> Result<Client, CliError> {
    Ok(Client::new(&globals.place()?.state_dir))
}

/// Who gives commands, for the record.
pub fn user() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| "someone".to_owned())
}

/// What hears Ctrl-C, from the first wait of a command to its end. Were each wait to listen anew, one that is heard together
/// with an answer would be lost, and the next wait would go on as if nobody had pressed it.
static INTERRUPTS: Mutex<Option<Signal>> = Mutex::new(None);

/// Waits for an answer; Ctrl-C ends the wait, or the next one if the answer is there already.
pub fn block_on<T, E: Into<CliError>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("could not start", &error))?;
    runtime.block_on(async {
        listen().map_err(|error| CliError::failed("could not listen for signals", &error))?;
        tokio::select! {
            biased;
            // First, since what it says may have to be known: a run that was made, to end it.
            answer = answer => answer.map_err(Into::into),
            () = interrupted() => Err(CliError::new(Exit::Interrupted, "interrupted", "interrupted")),
        }
    })
}

/// Begins to listen for Ctrl-C, unless that was done already. Must be called within a tokio runtime.
fn listen() -> std::io::Result<()> {
    let mut interrupts = INTERRUPTS.lock().unwrap_or_else(PoisonError::into_inner);
    if interrupts.is_none() {
        *interrupts = Some(signal(SignalKind::interrupt())?);
    }
    Ok(())
}

/// Waits for a Ctrl-C that nobody was told of yet.
async fn interrupted() {
    poll_fn(|context| {
        let mut interrupts = INTERRUPTS.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = interrupts.as_mut().map(|signal| signal.poll_recv(context));
        heard.map_or(Poll::Pending, |heard| heard.map(|_| ()))
    })
    .await;
}

/// What whoever waits for a run gets when the daemon goes away: the run, if it was let end before that. Otherwise the run is
/// not lost with the daemon, and the error says so.
pub async fn last_word(place: &Place, error: CliError, run: RunId) -> Result<RunView, CliError> {
    if !matches!(error.code, "no_daemon" | "hung_up" | "shutting_down") {
        return Err(error);
    }
    if let Ok(stores) = Source::stores(place)
        && let Ok(view) = stores.run_now(run).await
        && view.status.is_finished()
    {
        return Ok(view);
    }
    let message = format!("the daemon went away before run {run} had ended: {}", error.message);
    Err(unfinished(run, message))
}

/// What whoever follows a run gets that nobody carries out.
pub fn left_behind(run: RunId) -> CliError {
    unfinished(
        run,
        format!("no daemon runs, and the last one went away before run {run} had ended"),
    )
}

fn unfinished(run: RunId, message: String) -> CliError {
    CliError::new(Exit::NoDaemon, "no_daemon", message)
        .hint("a daemon that comes back goes on with it, as far as the `retry` of its tasks allows: `petit run` starts one")
        .hint(format!("`petit show {run}` says how it stands"))
}

/// Who answers.
pub enum Source {
    /// A running daemon.
    Daemon(Client),
    /// The journal and the files, as they are.
    Stores(Box<Stores>),
}

/// What can be known without a daemon.
pub struct Stores {
    storage: Arc<dyn Storage>,
    offline: reconcile::Offline,
}

impl Source {
    /// Looks whether a daemon answers, and opens the stores if none does.
    pub fn open(globals: &Globals) -> Result<Self, CliError> {
        let place = globals.place()?;
        let client = Client::new(&place.state_dir);
        match block_on::<_, ClientError>(async { client.ping().await }) {
            Ok(()) => Ok(Self::Daemon(client)),
            Err(error) if error.exit == Exit::NoDaemon => {
                let stores = Self::stores(&place)?;
                globals
                    .output()
                    .remark("no daemon runs: this is what the journal and the files say");
                Ok(stores)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the stores, whether or not a daemon runs.
    pub fn stores(place: &Place) -> Result<Self, CliError> {
        Stores::open(place).map(|stores| Self::Stores(Box::new(stores)))
    }

    /// The daemon at a glance.
    pub fn status(&self) -> Result<StatusView, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.status()),
            Self::Stores(stores) => Ok(stores.sources()?.status(None)?),
        }
    }

    /// All jobs.
    pub fn jobs(&self) -> Result<Vec<JobView>, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.jobs()),
            Self::Stores(stores) => Ok(stores.sources()?.jobs()?),
        }
    }

    /// One job, whole.
    pub fn job(&self, id: &JobId) -> Result<JobDetail, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.job(id)),
            Self::Stores(stores) => Ok(stores.sources()?.job(id)?),
        }
    }

    /// The runs that match.
    pub fn runs(&self, query: &RunsQuery) -> Result<Vec<RunView>, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.runs(query)),
            Self::Stores(stores) => Ok(stores.sources()?.runs(&query.clone().of_runs(Utc::now()))?),
        }
    }

    /// One run, whole.
    pub fn run(&self, id: RunId) -> Result<RunView, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.run(id, false)),
            // Nobody is waited for. Screens ask so, which may have heard a Ctrl-C that was meant for a pager.
            Self::Stores(stores) => stores.run(id),
        }
    }

    /// The same for a command that asks again and again.
    pub async fn run_now(&self, id: RunId) -> Result<RunView, CliError> {
        match self {
            Self::Daemon(client) => Ok(client.run(id, false).await?),
            Self::Stores(stores) => stores.run(id),
        }
    }

    /// Fires to come.
    pub fn next(&self, query: &NextQuery) -> Result<NextView, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.next(query)),
            Self::Stores(stores) => {
                Ok(stores
                    .sources()?
                    .next(query.job.as_ref(), query.after.unwrap_or_else(Utc::now), query.count)?)
            }
        }
    }

    /// What became of a slot.
    pub fn why(&self, query: &WhyQuery) -> Result<Why, CliError> {
        match self {
            Self::Daemon(client) => block_on(client.why(query)),
            Self::Stores(stores) => Ok(stores.sources()?.why(&query.job, query.at)?),
        }
    }
}

impl Stores {
    /// Opens the journal for reading, and looks once at the files.
    pub fn open(place: &Place) -> Result<Self, CliError> {
        let journal = journal_path(&place.state_dir);
        let storage: Arc<dyn Storage> = if journal.exists() {
            Arc::new(Sqlite::open_read_only(&journal)?)
        } else {
            Arc::new(crate::storage::Memory::default())
        };
        let options = place.reconcile_options();
        let offline = reconcile::offline(storage.as_ref(), &options, Utc::now())?;
        Ok(Self { storage, offline })
    }

    /// What the files would change on a machine that has `capacity`.
    pub fn plan(self, capacity: &SystemResources) -> Result<PlanView, CliError> {
        let proposal = self.offline.plan;
        proposal
            .map(|proposal| PlanView::of(proposal, capacity))
            .map_err(|error| CliError::new(Exit::Failed, "unavailable", chain(&error)))
    }

    fn run(&self, id: RunId) -> Result<RunView, CliError> {
        Ok(self.sources()?.run(id)?)
    }

    fn sources(&self) -> Result<Sources<'_>, CliError> {
        self.sources_over(self.storage.as_ref())
    }

    /// The journal.
    #[cfg(feature = "history")]
    pub fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// What views are made of, with another storage in the place of the journal that says more than it.
    pub fn sources_over<'a>(&'a self, storage: &'a dyn Storage) -> Result<Sources<'a>, CliError> {
        Ok(Sources {
            storage,
            active: &self.offline.active,
            sync: &self.offline.status,
            pauses: storage.pauses()?,
            now: Utc::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    /// Runs twice: once as the test, and once more in a process of its own, as the one that gets the signal.
    #[test]
    fn a_ctrl_c_that_comes_with_an_answer_ends_the_next_wait() {
        const INNER: &str = "PETIT_TEST_IS_INNER";
        const NAME: &str = "cli::source::tests::a_ctrl_c_that_comes_with_an_answer_ends_the_next_wait";
        if std::env::var_os(INNER).is_none() {
            let binary = std::env::current_exe().expect("a running program");
            let inner = Command::new(binary).args(["--exact", NAME]).env(INNER, "1").output();
            let inner = inner.expect("it starts");
            assert!(inner.status.success(), "{inner:?}");
            return;
        }
        let answered = block_on(async {
            let mut heard = signal(SignalKind::interrupt()).expect("a signal that can be heard");
            let sent = Command::new("/bin/kill")
                .args(["-s", "INT", &std::process::id().to_string()])
                .status();
            assert!(sent.expect("kill is everywhere").success());
            heard.recv().await;
            Ok::<_, CliError>("an answer")
        });
        assert_eq!(answered, Ok("an answer"));
        let next = block_on(async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            Ok::<_, CliError>("nothing was heard")
        });
        assert_eq!(next.map_err(|error| error.exit), Err(Exit::Interrupted));
    }
}
