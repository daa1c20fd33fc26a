//! The engine of this machine: each attempt is a process of its own session.
//!
//! Makes the attempt's folder, starts the process, watches over it with [`process`], and reads what it
//! published. It knows nothing of runs, retries or the journal. A shortage of the system (no processes, descriptors,
//! memory or disk space left) is not the task's failure: starting is tried again with growing pauses, and reported as
//! a delay, before it counts as one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    Clock,
    engine::{Attempt, AttemptEnd, AttemptKey, Engine, ProcessMark, Report, Reports, Stop, Usage, Work},
    outputs::{self, OutputError},
    process::{self, AttemptSpec, Command, Ended, Processes, Running, SpawnError, StartTime},
    stops::Stops,
};
use crate::core::{ending::Ending, error_text::chain};

/// The first pause after which starting is tried again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// How long starting is tried before the attempt ends as one that could not be started.
const PATIENCE: Duration = Duration::from_secs(60);

type Outputs = BTreeMap<String, Value>;

/// Runs attempts as processes.
#[derive(Clone)]
pub struct LocalEngine {
    processes: Processes,
    log_size: u64,
    clock: Clock,
    stops: Stops,
}

impl LocalEngine {
    /// An engine whose attempts' logs grow to at most `log_size` bytes each.
    pub fn new(log_size: u64, clock: Clock) -> Self {
        Self {
            processes: Processes::new(),
            log_size,
            clock,
            stops: Stops::default(),
        }
    }

    /// Ends at once every attempt that still runs, and whatever short ones left behind: the last thing to do before Petit
    /// exits. After an orderly shutdown no attempt runs; after an executor that failed, or could not wait for the journal,
    /// nobody else ends them.
    pub async fn settle(&self) {
        self.stops.end_all().await;
        self.processes.settle().await;
    }

    async fn carry_out(&self, attempt: &Attempt, stop: watch::Receiver<Option<Stop>>, reports: &Reports) -> AttemptEnd {
        let Work::Command(argv) = &attempt.work else {
            let words = "this engine runs commands, and the task is one written in Rust".to_owned();
            return AttemptEnd::without_process(Ending::NotFound, (self.clock)(), Some(words));
        };
        let mut stop = stop;
        let running = match self.start_process(attempt, argv, &mut stop, reports).await {
            Ok(running) => running,
            Err(NotStarted { ending, error }) => return AttemptEnd::without_process(ending, (self.clock)(), error),
        };
        let id = running.id();
        let process = ProcessMark {
            pid: id.pid,
            start: (id.start_time != StartTime::UNKNOWN).then(|| id.start_time.as_u64()),
        };
        let _ = reports.send(Report::Started {
            key: attempt.key.clone(),
            at: running.started_at(),
            process: Some(process),
        });
        let ended = watch_over(running, stop).await;
        let output = attempt.folder.output();
        let published = tokio::task::spawn_blocking(move || read_outputs(&output)).await;
        let published = published.unwrap_or_else(|error| Err(format!("could not read what it published: {error}")));
        conclude(attempt, ended, published)
    }

    /// Makes the folder and the process; tries again while the system is short of something.
    async fn start_process(
        &self,
        attempt: &Attempt,
        argv: &[String],
        stop: &mut watch::Receiver<Option<Stop>>,
        reports: &Reports,
    ) -> Result<Running, NotStarted> {
        let give_up_at = Instant::now() + PATIENCE;
        let delayed = |because| {
            let key = attempt.key.clone();
            let _ = reports.send(Report::Delayed { key, because });
        };
        let mut pause = FIRST_PAUSE;
        let mut was_delayed = false;
        loop {
            if let Some(why) = *stop.borrow() {
                return Err(NotStarted::stopped(why));
            }
            let problem = match self.try_to_start(attempt, argv).await {
                Ok(running) => {
                    if was_delayed {
                        delayed(None);
                    }
                    return Ok(running);
                }
                Err(problem) => problem,
            };
            if !problem.is_shortage() || Instant::now() >= give_up_at {
                if was_delayed {
                    delayed(None);
                }
                return Err(problem.into());
            }
            was_delayed = true;
            delayed(Some(chain(&problem)));
            tokio::select! {
                () = sleep(pause) => {}
                // An error means that nobody can stop it any more; then only the pause counts, once more at most.
                _ = stop.changed() => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn try_to_start(&self, attempt: &Attempt, argv: &[String]) -> Result<Running, StartProblem> {
        let folder = attempt.folder.clone();
        let context = attempt.context.to_string();
        let prepare = tokio::task::spawn_blocking(move || {
            let write = |path: PathBuf, text: &str| {
                fs::write(&path, text).map_err(|source| StartProblem::File {
                    action: "write",
                    path,
                    source,
                })
            };
            fs::create_dir_all(folder.path()).map_err(|source| StartProblem::File {
                action: "create",
                path: folder.path().to_owned(),
                source,
            })?;
            write(folder.context(), &context)?;
            write(folder.output(), "")
        });
        prepare.await.unwrap_or_else(|error| {
            Err(StartProblem::File {
                action: "prepare",
                path: attempt.folder.path().to_owned(),
                source: io::Error::other(error),
            })
        })?;
        let env = attempt
            .env
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let spec = AttemptSpec {
            command: Command {
                argv: argv.iter().map(OsString::from).collect(),
                env: env.collect(),
                working_dir: attempt.working_dir.clone(),
            },
            kill_grace: attempt.kill_grace,
            timeout: attempt.timeout,
            log: attempt.folder.log(),
            log_size: self.log_size,
        };
        self.processes.start(spec).map_err(StartProblem::Spawn)
    }
}

impl Engine for LocalEngine {
    fn start(&self, attempt: Attempt, reports: Reports) {
        let engine = self.clone();
        let stop = self.stops.begin(&attempt.key);
        tokio::spawn(async move {
            let end = engine.carry_out(&attempt, stop, &reports).await;
            engine.stops.ended(&attempt.key);
            let _ = reports.send(Report::Ended { key: attempt.key, end });
        });
    }

    fn stop(&self, key: &AttemptKey, why: Stop) {
        self.stops.stop(key, why);
    }
}

/// Waits for the end, and passes on what is said meanwhile.
async fn watch_over(running: Running, mut stop: watch::Receiver<Option<Stop>>) -> Ended {
    let canceller = running.canceller();
    let pass_on = async move {
        loop {
            match *stop.borrow_and_update() {
                None => {}
                Some(Stop::Cancelled) => canceller.stop(process::Stop::Cancelled),
                Some(Stop::Interrupted) => canceller.stop(process::Stop::Interrupted),
                Some(Stop::InterruptedAtOnce) => canceller.kill(process::Stop::Interrupted),
            }
            if stop.changed().await.is_err() {
                return std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        ended = running.wait() => ended,
        () = pass_on => unreachable!("it passes on until the attempt has ended"),
    }
}

/// What became of the attempt, its outputs considered: one that succeeded with outputs that cannot be taken has failed,
/// since the tasks after it would miss them; one that failed keeps its own ending.
fn conclude(attempt: &Attempt, ended: Ended, published: Result<Outputs, String>) -> AttemptEnd {
    let (outputs, refused) = match published {
        Ok(outputs) => (outputs, None),
        Err(refused) => (Outputs::new(), Some(refused)),
    };
    let ending = match (ended.ending, &refused) {
        (ending, Some(_)) if ending.is_success() => Ending::BadOutput,
        (ending, _) => ending,
    };
    if !ended.survivors.is_empty() {
        let AttemptKey { run, task, attempt } = &attempt.key;
        tracing::warn!(%run, %task, attempt, survivors = ?ended.survivors, "processes survived SIGKILL");
    }
    let log = ended.log_error.map(|error| format!("its log is not complete: {error}"));
    let error: Vec<String> = refused.into_iter().chain(log).collect();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    AttemptEnd {
        ending,
        at: ended.ended_at,
        error: (!error.is_empty()).then(|| error.join("; ")),
        outputs,
        usage: Usage {
            cpu_user_ms: ended.usage.map(|usage| millis(usage.cpu_user)),
            cpu_system_ms: ended.usage.map(|usage| millis(usage.cpu_system)),
            max_rss_bytes: ended.usage.and_then(|usage| usage.max_rss_bytes),
            bytes_out: Some(ended.bytes_out),
        },
    }
}

/// Reads at most a byte more than is allowed, however large the file has become. A task may remove the file: then it
/// published nothing. Nobody waits here for a task that put a pipe in its place: only regular files are read.
fn read_outputs(path: &Path) -> Result<Outputs, String> {
    let unreadable = |error: io::Error| format!("could not read {}: {error}", path.display());
    let most = u64::try_from(outputs::MAX_BYTES).unwrap_or(u64::MAX) + 1;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outputs::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(about) if about.len() >= most => return Err(OutputError::TooLarge.to_string()),
        Ok(about) if !about.is_file() => return Err(format!("{} is not a regular file any more", path.display())),
        Ok(about) if about.len() == 0 => return Ok(Outputs::new()),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    outputs::parse(&bytes).map_err(|error| error.to_string())
}

/// Why there is no process, as the attempt's ending.
struct NotStarted {
    ending: Ending,
    error: Option<String>,
}

impl NotStarted {
    fn stopped(why: Stop) -> Self {
        let ending = match why {
            Stop::Cancelled => Ending::Cancelled,
            Stop::Interrupted | Stop::InterruptedAtOnce => Ending::Interrupted,
        };
        Self { ending, error: None }
    }
}

#[derive(Debug, thiserror::Error)]
enum StartProblem {
    #[error("could not {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Spawn(SpawnError),
}

impl StartProblem {
    /// Whether it may pass by itself.
    fn is_shortage(&self) -> bool {
        let source = match self {
            Self::File { source, .. } | Self::Spawn(SpawnError::System { source, .. }) => source,
            Self::Spawn(
                SpawnError::Empty
                | SpawnError::NulByte { .. }
                | SpawnError::NotInPath { .. }
                | SpawnError::NotFound { .. }
                | SpawnError::NotPermitted { .. }
                | SpawnError::WorkingDir { .. },
            ) => return false,
        };
        let short = [
            libc::EAGAIN,
            libc::ENOMEM,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOSPC,
            libc::EDQUOT,
        ];
        source.raw_os_error().is_some_and(|code| short.contains(&code))
    }
}

impl From<StartProblem> for NotStarted {
    fn from(problem: StartProblem) -> Self {
        let ending = match &problem {
            StartProblem::File { .. } => Ending::CouldNotSpawn,
            StartProblem::Spawn(error) => error.ending(),
        };
        Self {
            ending,
            error: Some(chain(&problem)),
        }
    }
}

#[cfg(test)]
mod tests;
