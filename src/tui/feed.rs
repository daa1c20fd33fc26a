//! Where the screens' answers come from: the daemon, or the stores when none answers, and the files beside them.
//!
//! Each effect becomes a task that sends one message when it is done, so that the loop never waits for anything. Only one
//! log is read at a time; its reader stops with the next one.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc},
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};

use super::{
    log::LogLine,
    state::{Loaded, LogId, Message, Order, Want},
};
use crate::{
    control::{
        CancelRequest, Client, ClientError, Live, PauseRequest, ResumeRequest, RunsQuery, SyncRequest, TriggerRequest,
    },
    core::{
        error_text::chain,
        harmless::harmless,
        id::{JobId, RunId},
    },
    execution::{
        log_path,
        output::{Entry, LogReader, Stream},
    },
    view::{Answer, JobDetail, JobView, RunView, StatusView},
};

/// Asks the history: the question and the filter in, the answer out. May take its time; it is called where blocking is fine.
pub type Ask = Arc<dyn Fn(&str, &str) -> Result<Answer, String> + Send + Sync>;

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
/// How long it takes to look for a daemon again, and at a log.
const AGAIN: Duration = Duration::from_millis(400);
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// A job file that is larger than this is not one.
const LARGEST_SOURCE: u64 = 1 << 20;

/// The sources, and where what they say is sent.
#[derive(Clone)]
pub struct Feed {
    client: Client,
    stores: Arc<dyn Stores>,
    ask: Option<Ask>,
    state_dir: PathBuf,
    user: String,
    messages: mpsc::Sender<Message>,
    /// The reader of the open log.
    reading: Arc<std::sync::Mutex<Option<AbortHandle>>>,
    /// A question to the history may take a second of both processors, so that they come one after the other.
    asking: Arc<Mutex<()>>,
}

impl Feed {
    /// A feed for the daemon of `state_dir`. `ask` is missing from a build without the history.
    pub fn new(
        state_dir: &Path,
        user: String,
        stores: Arc<dyn Stores>,
        ask: Option<Ask>,
    ) -> (Self, mpsc::Receiver<Message>) {
        // Whoever waits for room here only waits for a frame to be drawn.
        let (messages, received) = mpsc::channel(256);
        let feed = Self {
            client: Client::new(state_dir),
            stores,
            ask,
            state_dir: state_dir.to_owned(),
            user,
            messages,
            reading: Arc::default(),
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
                let run = self
                    .read(self.client.run(id, false).await, move |stores| stores.run(id))
                    .await?;
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
                let Some(ask) = self.ask.clone() else {
                    return Err("this build has no history: build Petit with the feature `history`".to_owned());
                };
                let (question, filter) = (*question, filter.clone());
                let _one = self.asking.lock().await;
                let answer = spawn_blocking(move || ask(question, &filter)).await;
                Ok(Loaded::Answer(answer.map_err(|panic| panic.to_string())??))
            }
        }
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
                let said = format!("{job} is paused: `p` resumes it");
                let request = PauseRequest {
                    job: Some(job),
                    by,
                    reason: None,
                };
                self.client.pause(&request).await.map(|()| said)
            }
            Order::Resume(job) => {
                let said = format!("{job} is resumed: `p` pauses it again");
                self.client
                    .resume(&ResumeRequest { job: Some(job), by })
                    .await
                    .map(|()| said)
            }
            Order::Cancel(run) => {
                self.client.cancel(&CancelRequest::Run(run)).await?;
                Ok(format!("run {run} is being cancelled"))
            }
            Order::Sync => {
                self.client
                    .sync(&SyncRequest {
                        wait: true,
                        approve: None,
                    })
                    .await?;
                Ok("the files were looked at".to_owned())
            }
            Order::Approve(plan) => {
                let request = SyncRequest {
                    wait: true,
                    approve: Some(plan.clone()),
                };
                self.client.sync(&request).await?;
                Ok(format!("plan {plan} is approved"))
            }
        }
    }

    /// Reads a log as it grows, and no other one any more.
    pub fn follow(&self, of: LogId) {
        let path = log_path(&self.state_dir, of.run, &of.task, of.attempt);
        let task = tokio::spawn(follow(of, path, self.messages.clone()));
        self.read_only(Some(task.abort_handle()));
    }

    /// Stops reading.
    pub fn stop(&self) {
        self.read_only(None);
    }

    fn read_only(&self, reader: Option<AbortHandle>) {
        let mut reading = self.reading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *reading, reader) {
            before.abort();
        }
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

async fn follow(of: LogId, path: PathBuf, messages: mpsc::Sender<Message>) {
    let mut reader = LogReader::new(path.clone());
    let mut begun = HashMap::new();
    loop {
        let read = spawn_blocking(move || {
            let batch = reader.next_batch();
            (reader, batch)
        });
        let Ok((back, batch)) = read.await else { return };
        reader = back;
        let lines: Vec<LogLine> = match batch {
            Ok(entries) if entries.is_empty() => {
                sleep(LOOK_EVERY).await;
                continue;
            }
            Ok(entries) => entries
                .into_iter()
                .filter_map(|entry| whole_line(&mut begun, entry))
                .collect(),
            Err(error) => {
                let problem = format!("could not read {}: {error}", path.display());
                let _ = messages.send(Message::LogFailed(of, problem)).await;
                return;
            }
        };
        if messages.send(Message::Log(of.clone(), lines)).await.is_err() {
            return;
        }
    }
}

/// A line may come in several entries; one that never ends is cut here, since nobody reads so far to the right.
fn whole_line(begun: &mut HashMap<Stream, Vec<u8>>, entry: Entry) -> Option<LogLine> {
    const LONGEST: usize = 64 * 1024;
    let text = begun.entry(entry.stream).or_default();
    let room = LONGEST.saturating_sub(text.len());
    text.extend(entry.text.into_iter().take(room));
    if entry.partial {
        return None;
    }
    let text = std::mem::take(text);
    Some(LogLine {
        at: entry.at,
        stream: entry.stream,
        text: harmless(&text),
    })
}
