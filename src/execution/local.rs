//! The engine of this machine: each attempt is a process of its own session.
//!
//! Makes the attempt's folder, reads its secrets, starts the process, watches over it with [`process`], and reads what it
//! published. Nothing that leaves here holds a secret. It knows nothing of runs, retries or the journal. A shortage of the
//! system (no processes, descriptors, memory or disk space left) is not the task's failure: starting is tried again with
//! growing pauses, and reported as a delay, before it counts as one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
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
    output::Mask,
    outputs::{self, OutputError},
    process::{self, AttemptSpec, Cgroups, Command, Ended, Processes, Running, SpawnError, StartTime},
    secrets::{SecretError, Vault},
    stops::Stops,
};
use crate::core::{ending::Ending, error_text::chain, units::ByteSize};

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
    vault: Vault,
    stops: Stops,
}

impl LocalEngine {
    /// An engine whose attempts' logs grow to at most `log_size` bytes each.
    pub fn new(log_size: u64, clock: Clock) -> Self {
        Self {
            processes: Processes::new(),
            log_size,
            clock,
            vault: Vault::default(),
            stops: Stops::default(),
        }
    }

    /// The same engine, whose attempts' limits the kernel enforces.
    #[must_use]
    pub fn with_cgroups(mut self, cgroups: Option<Cgroups>) -> Self {
        self.processes = self.processes.with_cgroups(cgroups);
        self
    }

    /// The same engine, whose attempts' secrets are read through this vault. Without one no variable of Petit's own
    /// environment can be a secret.
    #[must_use]
    pub fn with_vault(mut self, vault: Vault) -> Self {
        self.vault = vault;
        self
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
        let started = self.start_process(attempt, argv, &mut stop, reports).await;
        let running = match started {
            Ok(running) => running,
            Err(NotStarted { ending, error }) => {
                let error = error.map(|error| self.vault.mask(&attempt.secrets).hide(&error));
                return AttemptEnd::without_process(ending, (self.clock)(), error);
            }
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
        let published = self.published(attempt).await;
        // Made anew: a secret may have been exchanged meanwhile, or have come to be.
        let mask = self.vault.mask(&attempt.secrets);
        let mut end = conclude(attempt, ended, published);
        end.error = end.error.map(|error| mask.hide(&error));
        end
    }

    /// What it published. Most attempts publish nothing, and to look whether there is anything is quicker than to wake the
    /// thread that would: this stands between a task and the next one of a chain.
    async fn published(&self, attempt: &Attempt) -> Result<Outputs, String> {
        let output = attempt.folder.output();
        if fs::symlink_metadata(&output).is_ok_and(|about| about.is_file() && about.len() == 0) {
            return Ok(Outputs::new());
        }
        let (vault, secrets) = (self.vault.clone(), attempt.secrets.clone());
        let read = tokio::task::spawn_blocking(move || {
            // What a task has just made may be the secret of one after it.
            vault.look(&secrets);
            read_outputs(&output, &vault.mask(&secrets))
        });
        let read = read.await;
        read.unwrap_or_else(|error| Err(format!("could not read what it published: {error}")))
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
            delayed(Some(self.vault.mask(&attempt.secrets).hide(&chain(&problem))));
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
        let (vault, secrets) = (self.vault.clone(), attempt.secrets.clone());
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
            write(folder.output(), "")?;
            vault.read(&secrets).map_err(StartProblem::Secret)
        });
        let secrets = prepare.await.unwrap_or_else(|error| {
            Err(StartProblem::File {
                action: "prepare",
                path: attempt.folder.path().to_owned(),
                source: io::Error::other(error),
            })
        })?;
        let mut env = attempt.env.clone();
        env.extend(secrets);
        let env = env
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let spec = AttemptSpec {
            command: Command {
                argv: argv.iter().map(OsString::from).collect(),
                env: env.collect(),
                working_dir: attempt.working_dir.clone(),
            },
            kill_grace: attempt.kill_grace,
            timeout: attempt.timeout,
            memory_limit: attempt.memory_limit,
            log: attempt.folder.log(),
            log_size: self.log_size,
            mask: Arc::new(self.vault.mask(&attempt.secrets)),
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
                Some(Stop::TimedOut) => canceller.stop(process::Stop::TimedOut),
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
    let too_large = attempt
        .memory_limit
        .filter(|_| ended.ending == Ending::OverMemory)
        .map(|limit| over_memory(limit, ended.peak_memory));
    let log = ended.log_error.map(|error| format!("its log is not complete: {error}"));
    let error: Vec<String> = too_large.into_iter().chain(refused).chain(log).collect();
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    AttemptEnd {
        ending,
        at: ended.ended_at,
        error: (!error.is_empty()).then(|| error.join("; ")),
        outputs,
        usage: Usage {
            cpu_user_ms: ended.usage.map(|usage| millis(usage.cpu_user)),
            cpu_system_ms: ended.usage.map(|usage| millis(usage.cpu_system)),
            max_rss_bytes: ended.peak_memory,
            bytes_out: Some(ended.bytes_out),
        },
    }
}

/// Both in whole MiB: figures of the last byte would pretend to more than was measured.
fn over_memory(limit: u64, peak: Option<u64>) -> String {
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let held = peak.map_or_else(String::new, |peak| format!("held {} MiB, ", mebibytes(peak)));
    let limit = ByteSize::from_bytes(limit);
    format!("it and what it started {held}more than `limits.memory` allows ({limit})")
}

/// What the task published. A file that holds a secret is removed: outputs are kept and shown, and secrets are not.
fn read_outputs(path: &Path, mask: &Mask) -> Result<Outputs, String> {
    let bytes = read_published(path)?;
    let secret = || {
        // If it cannot be removed, the file is as private as the rest of the state folder.
        let _ = fs::remove_file(path);
        Err(outputs::with_secret("wrote to $PETIT_OUTPUT"))
    };
    if mask.finds(&bytes) {
        return secret();
    }
    let outputs = outputs::parse(&bytes).map_err(|error| error.to_string())?;
    // A value that was written as JSON may spell a secret with escapes.
    if outputs.values().any(|value| mask.finds_in(value)) {
        return secret();
    }
    Ok(outputs)
}

/// Reads at most a byte more than is allowed, however large the file has become. A task may remove the file: then it
/// published nothing. Nobody waits here for a task that put a pipe in its place: only regular files are read.
fn read_published(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("could not read {}: {error}", path.display());
    let most = u64::try_from(outputs::MAX_BYTES).unwrap_or(u64::MAX) + 1;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
        Ok(about) if about.len() >= most => return Err(too_large(path)),
        Ok(about) if !about.is_file() => return Err(format!("{} is not a regular file any more", path.display())),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > outputs::MAX_BYTES {
        return Err(too_large(path));
    }
    Ok(bytes)
}

/// Refuses a file that is too large. It is of no use to anybody, and a task could fill the state folder with it.
fn too_large(path: &Path) -> String {
    // If it cannot be removed, whatever removes the attempt's folder will say so.
    let _ = fs::remove_file(path);
    OutputError::TooLarge.to_string()
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
            Stop::TimedOut => Ending::TimedOut,
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
    Secret(SecretError),
    #[error(transparent)]
    Spawn(SpawnError),
}

impl StartProblem {
    /// Whether it may pass by itself.
    fn is_shortage(&self) -> bool {
        let source = match self {
            Self::File { source, .. }
            | Self::Secret(SecretError::Read { source, .. })
            | Self::Spawn(SpawnError::System { source, .. }) => source,
            Self::Secret(
                SecretError::NotAFile { .. }
                | SecretError::NotSet { .. }
                | SecretError::TooShort { .. }
                | SecretError::TooLong { .. }
                | SecretError::NotText { .. },
            ) => return false,
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
            StartProblem::Secret(_) => Ending::BadSecret,
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
