//! What the engine does for a task that runs: its log, and its commands.
//!
//! A command is an attempt of the engine of commands, in a folder of its own inside the attempt's; its log is copied into
//! the task's while it grows, since a log has one writer. The lock of the commands is held until a command has ended, also
//! when the task has lost interest in it, so that "no command is left" is "the lock is free".

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc},
    time::{MissedTickBehavior, interval},
};

use crate::{
    core::{
        ending::Ending,
        task::{CommandFuture, Host, ReadyCommand, TaskError},
    },
    execution::{
        Clock,
        engine::{Attempt, AttemptEnd, Engine, Report, Stop, Work},
        output::{LogReader, LogWriter, Stream},
    },
};

/// How often a command's output is copied into the task's log.
const COPY: Duration = Duration::from_millis(100);

/// The host of one attempt.
pub(super) struct AttemptHost {
    attempt: Attempt,
    commands: Arc<dyn Engine>,
    log: Log,
    /// One command at a time: they share the attempt's name.
    command: Arc<AsyncMutex<()>>,
    /// No other command may begin.
    closed: AtomicBool,
    number: AtomicU32,
}

impl AttemptHost {
    pub(super) fn new(attempt: &Attempt, commands: Arc<dyn Engine>, writer: LogWriter, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            attempt: attempt.clone(),
            commands,
            log: Log {
                writer: Arc::new(Mutex::new(writer)),
                clock,
            },
            command: Arc::default(),
            closed: AtomicBool::new(false),
            number: AtomicU32::new(0),
        })
    }

    /// Ends the command that runs, if one does, and lets no other begin.
    pub(super) fn stop_command(&self, why: Stop) {
        self.closed.store(true, Ordering::SeqCst);
        self.commands.stop(&self.attempt.key, why);
    }

    /// Waits until no command is left. One that the task has left alone is ended.
    pub(super) async fn close(&self) {
        self.stop_command(Stop::Cancelled);
        drop(self.command.lock().await);
    }

    /// Completes the log: how much was printed, and what is wrong with the file, if anything is.
    pub(super) fn finish(&self) -> (u64, Option<String>) {
        let mut log = self.log.writer();
        log.finish((self.log.clock)());
        (log.bytes_in(), log.error())
    }

    /// The command as an attempt of the engine of commands.
    fn attempt_of(&self, command: ReadyCommand) -> Attempt {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let folder = self.attempt.folder.inside(&format!("command-{number}"));
        let mut env = command.env;
        for (name, path) in [("PETIT_OUTPUT", folder.output()), ("PETIT_CONTEXT", folder.context())] {
            env.insert(name.to_owned(), path.to_string_lossy().into_owned());
        }
        Attempt {
            work: Work::Command(command.argv),
            env,
            working_dir: command.working_dir,
            folder,
            // The task's own time is what counts.
            timeout: None,
            ..self.attempt.clone()
        }
    }
}

impl Host for AttemptHost {
    fn log(&self, text: &str) {
        self.log.line(Stream::Stdout, text);
    }

    fn log_error(&self, text: &str) {
        self.log.line(Stream::Stderr, text);
    }

    fn run_command(&self, command: ReadyCommand) -> CommandFuture<'_> {
        Box::pin(async move {
            let program = command.argv.first().cloned().unwrap_or_default();
            let turn = Arc::clone(&self.command).lock_owned().await;
            let stopped = || TaskError::ended(Ending::Cancelled, format!("`{program}`: the task was told to stop"));
            if self.closed.load(Ordering::SeqCst) {
                return Err(stopped());
            }
            let attempt = self.attempt_of(command);
            let (reports, heard) = mpsc::unbounded_channel();
            let copy = Copy {
                reader: LogReader::new(attempt.folder.log()),
                log: self.log.clone(),
            };
            let folder = attempt.folder.clone();
            self.commands.start(attempt, reports);
            // The word may have come between the look and the start.
            if self.closed.load(Ordering::SeqCst) {
                self.commands.stop(&self.attempt.key, Stop::Cancelled);
            }
            let watching = tokio::spawn(async move {
                let end = copy.until_end(heard, turn).await;
                // What was said is in the task's log, and what was published in `end`.
                let _ = fs::remove_dir_all(folder.path());
                end
            });
            match watching.await {
                Ok(Some(end)) => outcome(&program, end),
                Ok(None) | Err(_) => Err(stopped()),
            }
        })
    }
}

/// What the end of a command means to the task that ran it.
fn outcome(program: &str, end: AttemptEnd) -> Result<BTreeMap<String, Value>, TaskError> {
    if end.ending.is_success() {
        return Ok(end.outputs);
    }
    let words = match end.error {
        Some(error) => format!("`{program}`: {}: {error}", end.ending),
        None => format!("`{program}`: {}", end.ending),
    };
    Err(TaskError::ended(end.ending, words))
}

/// The attempt's log. Clones write to the same.
#[derive(Clone)]
struct Log {
    writer: Arc<Mutex<LogWriter>>,
    clock: Clock,
}

impl Log {
    fn line(&self, stream: Stream, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.writer()
            .write(stream, format!("{text}{end}").as_bytes(), (self.clock)());
    }

    fn writer(&self) -> MutexGuard<'_, LogWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies what a command says.
struct Copy {
    reader: LogReader,
    log: Log,
}

impl Copy {
    /// Copies until the command has ended. `None` when its engine is gone.
    async fn until_end(
        mut self,
        mut heard: mpsc::UnboundedReceiver<Report>,
        turn: OwnedMutexGuard<()>,
    ) -> Option<AttemptEnd> {
        let mut look = interval(COPY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                report = heard.recv() => match report {
                    Some(Report::Ended { end, .. }) => break Some(end),
                    Some(Report::Started { .. } | Report::Delayed { .. }) => {}
                    None => break None,
                },
                _ = look.tick() => self.copy(),
            }
        };
        self.copy();
        drop(turn);
        end
    }

    /// Copies what is new. What cannot be read now is tried again with the next look.
    fn copy(&mut self) {
        while let Ok(entries) = self.reader.next_batch() {
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                let mut text = entry.text;
                if !entry.partial {
                    text.push(b'\n');
                }
                self.log.writer().write(entry.stream, &text, entry.at);
            }
        }
    }
}
