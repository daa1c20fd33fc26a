//! The engine of tasks written in Rust: each attempt is a Tokio task of this process.
//!
//! It looks the task up by the name in `uses`, gives it a context, and watches over it as `local` does over a process: a
//! timeout or a stop first says so through the [`Cancellation`](crate::core::task::Cancellation), and after `kill_grace`
//! takes the task away where it waits. What it logs goes into the attempt's file, what it published is the attempt's, and
//! neither holds a secret. A command that it runs is an attempt of the engine of commands, and never outlives it.
//!
//! A future can be dropped only where it awaits. A task that holds its thread goes on after its attempt has ended, which is
//! said in the attempt's error: nobody can end a thread, and waiting for it could hold up Petit for ever.

mod host;

use std::{any::Any, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, sleep_until, timeout},
};

use self::host::AttemptHost;
use super::{
    Clock,
    engine::{Attempt, AttemptEnd, AttemptKey, Engine, Report, Reports, RustWork, Stop, Usage, Work},
    output::{LogWriter, Mask},
    outputs::with_secret,
    secrets::Vault,
    stops::Stops,
};
use crate::core::{
    ending::Ending,
    error_text::chain,
    suggest::did_you_mean,
    task::{Canceller, ContextParts, ContextWriter, Execution, TaskContext, TaskError, TaskRegistry},
};

/// How long a task that was taken away may still hold its thread before its attempt ends without it.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Runs attempts of registered tasks. Clones are the same engine.
#[derive(Clone)]
pub struct RustEngine {
    tasks: Arc<TaskRegistry>,
    commands: Arc<dyn Engine>,
    log_size: u64,
    clock: Clock,
    vault: Vault,
    stops: Stops,
}

impl RustEngine {
    /// An engine for these tasks, whose commands run in `commands` and whose attempts' logs grow to at most `log_size`
    /// bytes each.
    pub fn new(tasks: Arc<TaskRegistry>, commands: Arc<dyn Engine>, log_size: u64, clock: Clock) -> Self {
        Self {
            tasks,
            commands,
            log_size,
            clock,
            vault: Vault::default(),
            stops: Stops::default(),
        }
    }

    /// The same engine, whose attempts' secrets are read through this vault, which should be that of its commands.
    #[must_use]
    pub fn with_vault(mut self, vault: Vault) -> Self {
        self.vault = vault;
        self
    }

    /// Ends at once every attempt that still runs, and resolves when they are gone.
    pub async fn settle(&self) {
        self.stops.end_all().await;
    }

    async fn carry_out(&self, attempt: &Attempt, stop: watch::Receiver<Option<Stop>>, reports: &Reports) -> AttemptEnd {
        let Work::Rust(work) = &attempt.work else {
            let words = "this engine runs tasks written in Rust, and the task is a command".to_owned();
            return AttemptEnd::without_process(Ending::NotFound, (self.clock)(), Some(words));
        };
        let Some(task) = self.tasks.get(&work.uses) else {
            let words = unknown_task(&work.uses, &self.tasks);
            return AttemptEnd::without_process(Ending::NotFound, (self.clock)(), Some(words));
        };
        let given = self.secrets_of(attempt).await;
        let mask = Arc::new(self.vault.mask(&attempt.secrets));
        let mut env = attempt.env.clone();
        match given {
            Ok(given) => env.extend(given),
            Err(words) => {
                let words = Some(mask.hide(&words));
                return AttemptEnd::without_process(Ending::BadSecret, (self.clock)(), words);
            }
        }
        let log = LogWriter::new(attempt.folder.log(), self.log_size).masked(Arc::clone(&mask));
        let host = AttemptHost::new(attempt, Arc::clone(&self.commands), log, Arc::clone(&self.clock));
        let (canceller, cancellation) = Canceller::new();
        let context = TaskContext::new(ContextParts {
            execution: execution(attempt, work),
            with: work.with.clone(),
            env,
            working_dir: attempt.working_dir.clone(),
            values: attempt.context.clone(),
            cancellation,
            host: Arc::clone(&host) as _,
        });
        let outputs = context.outputs().clone();
        let _ = reports.send(Report::Started {
            key: attempt.key.clone(),
            at: (self.clock)(),
            process: None,
        });
        let running = tokio::spawn(async move { task.run(context).await });
        let watched = Watch {
            attempt,
            stop,
            canceller,
            host: &host,
        };
        let (ending, error) = watched.until_end(running).await;
        host.close().await;
        self.conclude(ending, error, &outputs, &host, &mask)
    }

    /// The values of its secrets, as they are now.
    async fn secrets_of(&self, attempt: &Attempt) -> Result<Vec<(String, String)>, String> {
        if attempt.secrets.hidden.is_empty() {
            return Ok(Vec::new());
        }
        let (vault, secrets) = (self.vault.clone(), attempt.secrets.clone());
        let read = tokio::task::spawn_blocking(move || vault.read(&secrets)).await;
        let read = read.map_err(|panic| format!("could not read its secrets: {panic}"))?;
        read.map_err(|error| chain(&error))
    }

    fn conclude(
        &self,
        ending: Ending,
        error: Option<String>,
        outputs: &ContextWriter,
        host: &AttemptHost,
        mask: &Mask,
    ) -> AttemptEnd {
        let mut outputs = outputs.close();
        let mut told = None;
        if outputs.values().any(|value| mask.finds_in(value)) {
            outputs.clear();
            told = Some(with_secret("published"));
        }
        let ending = match (ending, &told) {
            (ending, Some(_)) if ending.is_success() => Ending::BadOutput,
            (ending, _) => ending,
        };
        let (bytes_out, log_error) = host.finish();
        let log = log_error.map(|error| format!("its log is not complete: {error}"));
        let error: Vec<String> = error.into_iter().chain(told).chain(log).collect();
        AttemptEnd {
            ending,
            at: (self.clock)(),
            error: (!error.is_empty()).then(|| mask.hide(&error.join("; "))),
            outputs,
            usage: Usage {
                bytes_out: Some(bytes_out),
                ..Usage::default()
            },
        }
    }
}

impl Engine for RustEngine {
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

/// What there is to say about a name under which nothing is registered.
pub fn unknown_task(name: &str, tasks: &TaskRegistry) -> String {
    let known = match (did_you_mean(name, tasks.names()), tasks.is_empty()) {
        (Some(hint), _) => hint,
        (None, true) => "this program has none".to_owned(),
        (None, false) => {
            let names: Vec<String> = tasks.names().map(|name| format!("`{name}`")).collect();
            format!("there is {}", names.join(", "))
        }
    };
    format!("no Rust task is registered as `{name}`: {known}")
}

fn execution(attempt: &Attempt, work: &RustWork) -> Execution {
    let AttemptKey { run, task, attempt } = &attempt.key;
    Execution {
        job: work.job.clone(),
        run: *run,
        task: task.clone(),
        attempt: *attempt,
        scheduled_at: work.scheduled_at,
        revision: work.revision.clone(),
    }
}

type Returned = Result<Result<(), TaskError>, JoinError>;

/// What is watched over while a task runs.
struct Watch<'a> {
    attempt: &'a Attempt,
    stop: watch::Receiver<Option<Stop>>,
    canceller: Canceller,
    host: &'a AttemptHost,
}

impl Watch<'_> {
    /// Waits until the task returns, or until it is taken away. The first reason to stop gives the ending its name, also
    /// when the task returns well after it: what it did then is not what it was to do.
    async fn until_end(mut self, mut running: JoinHandle<Result<(), TaskError>>) -> (Ending, Option<String>) {
        let started = Instant::now();
        let mut told: Option<Ending> = None;
        let mut deadline = self.attempt.timeout.map(|timeout| started + timeout);
        loop {
            // The end stands first: a task that has returned is not also timed out. Each branch is cancel safe.
            tokio::select! {
                biased;
                returned = &mut running => return match told {
                    Some(ending) => (ending, None),
                    None => ending_of(returned),
                },
                Some(why) = ordered(&mut self.stop) => {
                    let grace = match why {
                        Stop::Cancelled | Stop::TimedOut | Stop::Interrupted => self.attempt.kill_grace,
                        Stop::InterruptedAtOnce => Duration::ZERO,
                    };
                    let latest = Instant::now() + grace;
                    deadline = Some(match told {
                        Some(_) => deadline.map_or(latest, |deadline| deadline.min(latest)),
                        None => latest,
                    });
                    told.get_or_insert(ending_of_stop(why));
                    self.tell(why);
                }
                () = sleep_until(deadline.unwrap_or(started)), if deadline.is_some() => match told {
                    None => {
                        deadline = Some(Instant::now() + self.attempt.kill_grace);
                        told = Some(Ending::TimedOut);
                        self.tell(Stop::Cancelled);
                    }
                    Some(ending) => return (ending, take_away(running).await),
                },
            }
        }
    }

    /// Tells the task, and the command that it runs, to stop.
    fn tell(&self, why: Stop) {
        self.canceller.cancel();
        self.host.stop_command(why);
    }
}

/// The next order to stop. `None` when there can be none any more.
async fn ordered(stop: &mut watch::Receiver<Option<Stop>>) -> Option<Stop> {
    loop {
        if stop.changed().await.is_err() {
            return std::future::pending().await;
        }
        let order = *stop.borrow_and_update();
        if order.is_some() {
            return order;
        }
    }
}

/// Drops the task's future where it waits.
async fn take_away(running: JoinHandle<Result<(), TaskError>>) -> Option<String> {
    running.abort();
    let gone = timeout(LETTING_GO, running).await.is_ok();
    (!gone).then(|| "it holds its thread and could not be ended: it goes on until it returns".to_owned())
}

const fn ending_of_stop(why: Stop) -> Ending {
    match why {
        Stop::Cancelled => Ending::Cancelled,
        Stop::TimedOut => Ending::TimedOut,
        Stop::Interrupted | Stop::InterruptedAtOnce => Ending::Interrupted,
    }
}

/// How a task ended that nobody told to stop.
fn ending_of(returned: Returned) -> (Ending, Option<String>) {
    match returned {
        Ok(Ok(())) => (Ending::Exited(0), None),
        Ok(Err(error)) => (error.ending(), Some(chain(&error))),
        Err(gone) => match gone.try_into_panic() {
            Ok(panic) => (Ending::Panicked, panic_words(panic.as_ref())),
            // The runtime is being shut down, and with it this process.
            Err(_) => (Ending::Interrupted, None),
        },
    }
}

fn panic_words(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
}

#[cfg(test)]
mod tests;
