//! Where the screens' answers come from: the daemon, or the stores when none answers, and the files beside them.
//!
//! Each effect becomes a task that sends one message when it is done, so that the loop never waits for anything. Logs are
//! read by [`super::log_feed`].

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_blocking,
    time::sleep,
};

use super::{
    log_feed::Logs,
    message::{Loaded, Message, Order, Want},
    past::KeptView,
    views,
};
use crate::{
    control::{
        CancelRequest, Client, ClientError, Live, PauseRequest, ResumeRequest, RetryRequest, RunsQuery, SyncRequest,
        TriggerRequest,
    },
    core::{
        error_text::chain,
        id::{JobId, RunId},
    },
    scheduler::retry::Choice,
    view::{Answer, JobDetail, JobView, PickedRuns, RunView, StatusView},
};

/// Who knows the past. May take its time; it is called where blocking is fine.
pub trait History: Send + Sync + 'static {
    /// Answers a question about what a filter picks.
    fn ask(&self, question: &str, filter: &str) -> Result<Answer, String>;
    /// The runs that a filter picks.
    fn runs(&self, filter: &str) -> Result<PickedRuns, String>;
    /// One run, whole.
    fn run(&self, id: RunId) -> Result<RunView, String>;
    /// The rows of one query, which can only read.
    fn query(&self, sql: &str) -> Result<Answer, String>;
    /// Writes all rows of a query into a new file, and says how many there are.
    fn export(&self, sql: &str, file: &Path) -> Result<u64, String>;
}

/// What can be known without a daemon. Called where blocking is fine.
pub trait Stores: Send + Sync + 'static {
    /// What the stores say at a glance.
    fn status(&self) -> Result<StatusView, String>;
    /// All jobs.
    fn jobs(&self) -> Result<Vec<JobView>, String>;
    /// One job.
    fn job(&self, id: &JobId) -> Result<JobDetail, String>;
    /// The runs that match.
    fn runs(&self, query: &RunsQuery) -> Result<Vec<RunView>, String>;
    /// One run.
    fn run(&self, id: RunId) -> Result<RunView, String>;
}

/// How many runs of all jobs the screens know.
const RUNS: u32 = 400;
/// How many runs of the open job.
const RUNS_OF_JOB: u32 = 50;
/// How long it takes to look for a daemon again.
const AGAIN: Duration = Duration::from_millis(400);
/// A job file that is larger than this is not one.
const LARGEST_SOURCE: u64 = 1 << 20;

/// The sources, and where what they say is sent.
#[derive(Clone)]
pub struct Feed {
    client: Client,
    stores: Arc<dyn Stores>,
    history: Option<Arc<dyn History>>,
    state_dir: PathBuf,
    user: String,
    messages: mpsc::Sender<Message>,
    logs: Logs,
    /// A question to the history may take a second of both processors, so that they come one after the other.
    asking: Arc<Mutex<()>>,
}

impl Feed {
    /// A feed for the daemon of `state_dir`. `history` is missing from a build without the history.
    pub fn new(
        state_dir: &Path,
        user: String,
        stores: Arc<dyn Stores>,
        history: Option<Arc<dyn History>>,
    ) -> (Self, mpsc::Receiver<Message>) {
        // Whoever waits for room here only waits for a frame to be drawn.
        let (messages, received) = mpsc::channel(256);
        let feed = Self {
            client: Client::new(state_dir),
            stores,
            history,
            state_dir: state_dir.to_owned(),
            user,
            logs: Logs::new(state_dir, messages.clone()),
            messages,
            asking: Arc::default(),
        };
        (feed, received)
    }

    /// Tells what happens in the daemon, looks for it while it is away, and ends when nobody listens.
    pub async fn watch(self) {
        loop {
            let lost = match self.client.events().await {
                Ok(mut events) => {
                    if self.messages.send(Message::Connected).await.is_err() {
                        return;
                    }
                    loop {
                        match events.next().await {
                            Ok(Some(live)) => self.tell(live).await,
                            Ok(None) => break "the daemon has ended".to_owned(),
                            Err(error) => break chain(&error),
                        }
                    }
                }
                Err(error) => chain(&error),
            };
            if self.messages.send(Message::Lost(lost)).await.is_err() {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    async fn tell(&self, live: Live) {
        // The receiver is gone only when the screens are, and then this task ends with them.
        let _ = self.messages.send(Message::Live(live)).await;
    }

    /// Loads something, in a task of its own.
    pub fn load(&self, want: Want) {
        let feed = self.clone();
        tokio::spawn(async move {
            let loaded = feed.loaded(&want).await;
            let _ = feed.messages.send(Message::Loaded(want, loaded)).await;
        });
    }

    async fn loaded(&self, want: &Want) -> Result<Loaded, String> {
        let runs = |job: Option<&JobId>, limit| RunsQuery {
            job: job.cloned(),
            limit: Some(limit),
            ..RunsQuery::default()
        };
        match want {
            Want::Status => {
                let status = self.read(self.client.status().await, |stores| stores.status()).await?;
                Ok(Loaded::Status(Box::new(status)))
            }
            Want::Jobs => Ok(Loaded::Jobs(
                self.read(self.client.jobs().await, |stores| stores.jobs()).await?,
            )),
            Want::Runs => {
                let query = runs(None, RUNS);
                let answer = self.client.runs(&query).await;
                Ok(Loaded::Runs(
                    self.read(answer, move |stores| stores.runs(&query)).await?,
                ))
            }
            Want::Job(id) => {
                let query = runs(Some(id), RUNS_OF_JOB);
                let (job, latest) = tokio::join!(self.client.job(id), self.client.runs(&query));
                let id = id.clone();
                let job = self.read(job, move |stores| stores.job(&id)).await?;
                let latest = self.read(latest, move |stores| stores.runs(&query)).await?;
                Ok(Loaded::Job(Box::new(job), latest))
            }
            Want::Run(id) => {
                let id = *id;
                let read = self.read(self.client.run(id, false).await, move |stores| stores.run(id));
                let run = match read.await {
                    Ok(run) => run,
                    // The journal lets old runs go, the history keeps them.
                    Err(error) => self.past(move |history| history.run(id)).await.map_err(|_| error)?,
                };
                Ok(Loaded::Run(Box::new(run)))
            }
            Want::Source(file) => {
                let status = self.read(self.client.status().await, |stores| stores.status()).await?;
                let path = Path::new(&status.sync.jobs_dir).join(file);
                let failed = move |error| format!("could not read {}: {error}", path.display());
                let path = Path::new(&status.sync.jobs_dir).join(file);
                let read = spawn_blocking(move || read_source(&path))
                    .await
                    .map_err(|panic| panic.to_string())?;
                Ok(Loaded::Source(read.map_err(failed)?))
            }
            Want::Answer { question, filter } => {
                let (question, filter) = (*question, filter.clone());
                self.past(move |history| history.ask(question, &filter))
                    .await
                    .map(Loaded::Answer)
            }
            Want::Picked(filter) => {
                let filter = filter.clone();
                self.past(move |history| history.runs(&filter))
                    .await
                    .map(Loaded::Picked)
            }
            Want::Rows(sql) => {
                let sql = sql.clone();
                self.past(move |history| history.query(&sql)).await.map(Loaded::Rows)
            }
            Want::Views => {
                let folder = self.state_dir.clone();
                let views = spawn_blocking(move || views::load(&folder)).await;
                views.map_err(|panic| panic.to_string())?.map(Loaded::Views)
            }
        }
    }

    /// What the history says. One question at a time, and with whatever patience it takes.
    async fn past<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn History) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let Some(history) = self.history.clone() else {
            return Err("this build has no history: build Petit with the feature `history`".to_owned());
        };
        let _one = self.asking.lock().await;
        let answer = spawn_blocking(move || ask(history.as_ref())).await;
        answer.map_err(|panic| panic.to_string())?
    }

    /// Writes rows into a file, in a task of its own.
    pub fn export(&self, sql: String, file: String) {
        let feed = self.clone();
        tokio::spawn(async move {
            let target = PathBuf::from(&file);
            let written = feed.past(move |history| history.export(&sql, &target)).await;
            let said = written.map(|rows| format!("{rows} rows are in {file}"));
            let _ = feed.messages.send(Message::Obeyed(said)).await;
        });
    }

    /// Keeps a view, in a task of its own.
    pub fn keep(&self, view: KeptView) {
        let feed = self.clone();
        tokio::spawn(async move {
            let (folder, name) = (feed.state_dir.clone(), view.name.clone());
            let kept = spawn_blocking(move || views::keep(&folder, view)).await;
            let kept = kept.map_err(|panic| panic.to_string()).and_then(|kept| kept);
            let said = match kept {
                Ok(views) => {
                    let _ = feed
                        .messages
                        .send(Message::Loaded(Want::Views, Ok(Loaded::Views(views))))
                        .await;
                    Ok(format!("kept as {name}: `M` lists what was kept"))
                }
                Err(problem) => Err(problem),
            };
            let _ = feed.messages.send(Message::Obeyed(said)).await;
        });
    }

    /// The daemon's answer, or that of the stores if there is no daemon.
    async fn read<T: Send + 'static>(
        &self,
        answer: Result<T, ClientError>,
        stored: impl FnOnce(&dyn Stores) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(ClientError::NoDaemon { .. }) => {
                let stores = Arc::clone(&self.stores);
                let answer = spawn_blocking(move || stored(stores.as_ref())).await;
                answer.map_err(|panic| panic.to_string())?
            }
            Err(error) => Err(explain(&error)),
        }
    }

    /// Commands the daemon, in a task of its own.
    pub fn order(&self, order: Order) {
        let feed = self.clone();
        tokio::spawn(async move {
            let obeyed = feed.obeyed(order).await.map_err(|error| explain(&error));
            let _ = feed.messages.send(Message::Obeyed(obeyed)).await;
        });
    }

    /// Asks the daemon what a retry would do, in a task of its own.
    pub fn plan_retry(&self, run: RunId) {
        let feed = self.clone();
        tokio::spawn(async move {
            let planned = feed.client.retry(&feed.retry(run, true)).await;
            let planned = planned.map(Box::new).map_err(|error| explain(&error));
            let _ = feed.messages.send(Message::RetryPlanned(run, planned)).await;
        });
    }

    fn retry(&self, run: RunId, dry_run: bool) -> RetryRequest {
        RetryRequest {
            run,
            choice: Choice::Failed,
            ignore_overlap: false,
            dry_run,
            by: self.user.clone(),
        }
    }

    async fn obeyed(&self, order: Order) -> Result<String, ClientError> {
        let by = self.user.clone();
        match order {
            Order::Trigger(job) => {
                let request = TriggerRequest {
                    job: job.clone(),
                    params: serde_json::Map::new(),
                    ignore_overlap: false,
                    by,
                };
                let made = self.client.trigger(&request).await?;
                let notes: String = made.notes.iter().map(|note| format!("; {note}")).collect();
                Ok(format!("run {} of {job}{notes}", made.run))
            }
            Order::Pause(job) => {
                let said = format!("{job} is paused: `p` resumes it, `U` undoes that from anywhere");
                let request = PauseRequest {
                    job: Some(job),
                    by,
                    reason: None,
                };
                self.client.pause(&request).await.map(|()| said)
            }
            Order::Resume(job) => {
                let said = format!("{job} is resumed: `p` pauses it again, `U` undoes that from anywhere");
                self.client
                    .resume(&ResumeRequest { job: Some(job), by })
                    .await
                    .map(|()| said)
            }
            Order::Cancel(run) => {
                self.client.cancel(&CancelRequest::Run(run)).await?;
                Ok(format!("run {run} is being cancelled"))
            }
            Order::Retry(run) => {
                let made = self.client.retry(&self.retry(run, false)).await?;
                let notes: String = made.notes.iter().map(|note| format!("; {note}")).collect();
                let new = made.run.map_or_else(String::new, |new| format!(" as {new}"));
                Ok(format!("run {run} is retried{new}{notes}"))
            }
            Order::Sync => {
                self.client
                    .sync(&SyncRequest {
                        wait: true,
                        by: Some(self.user.clone()),
                        ..SyncRequest::default()
                    })
                    .await?;
                Ok("the files were looked at".to_owned())
            }
            Order::Approve(plan) => {
                let request = SyncRequest {
                    wait: true,
                    approve: Some(plan.clone()),
                    by: Some(self.user.clone()),
                    ..SyncRequest::default()
                };
                self.client.sync(&request).await?;
                Ok(format!("plan {plan} is approved"))
            }
        }
    }

    /// Where logs are read.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Stops reading.
    pub fn stop(&self) {
        self.logs.stop();
    }
}

/// An error with what to do about it, in one line.
fn explain(error: &ClientError) -> String {
    let hints = match error {
        ClientError::Refused(refusal) => refusal.hints.as_slice(),
        ClientError::NoDaemon { .. }
        | ClientError::Connect { .. }
        | ClientError::Broken { .. }
        | ClientError::Foreign { .. } => &[],
    };
    let hints: String = hints.iter().map(|hint| format!("; {hint}")).collect();
    format!("{}{hints}", chain(error))
}

fn read_source(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_SOURCE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
