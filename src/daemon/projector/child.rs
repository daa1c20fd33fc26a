//! A catch-up in a process of its own: both ends of it.
//!
//! DuckDB takes some fifty megabytes the first time that it is used, and a process that has used it never gives them all
//! back: its allocator and its thread pools stay for as long as the library is loaded. A daemon lives for months and uses
//! it for a moment now and then, so it has a child use it, whose memory ends with it. Loading and unloading the library
//! instead was rejected: a release has it linked into the binary, and C++ that is unloaded leaves its threads' memory
//! behind.
//!
//! The child gets a state folder and gives one line of JSON, a [`Report`]; it inherits nothing else. Its input is a pipe
//! that nobody writes to: when it is closed, which the kernel does also for a daemon that was killed, the child stops
//! behind the batch that it is at. What it has written by then is whole, as after any other catch-up.

use std::{
    ffi::OsString,
    io::{self, PipeWriter, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use chrono::Utc;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

use super::report::{self, FailureKind, Report};
use crate::{
    config::settings::Retention,
    core::error_text::chain,
    daemon::{
        gc::{self, Order, Tidied},
        journal_path,
    },
    execution::process::{self, Child, Command, ExitStatus, Output, SpawnError},
    history::{HistoryError, history_path},
    storage::Sqlite,
};

/// The command that is a child's whole command line, before the state folder.
pub(crate) const COMMAND: &str = "catch-up";

/// So much of what a child says is read, which is several times what it has to say.
const MOST_READ: u64 = 1 << 20;

/// What a child is made of.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The program, which carries out [`COMMAND`].
    pub program: PathBuf,
    /// Where journal and history are.
    pub state_dir: PathBuf,
    /// The child's environment.
    pub environment: Vec<(String, String)>,
}

/// The daemon's end: a child that was started.
pub(super) struct Started {
    /// Closed, it tells the child to stop.
    pub input: PipeWriter,
    child: Child,
    output: Output,
}

impl Recipe {
    /// Starts a child that catches up. Must be called within a tokio runtime.
    pub fn start(&self) -> Result<Started, SpawnError> {
        self.start_as(vec![COMMAND.into(), self.state_dir.clone().into()])
    }

    /// Starts a child with another command line. Must be called within a tokio runtime.
    pub fn start_as(&self, words: Vec<OsString>) -> Result<Started, SpawnError> {
        let environment = self.environment.iter();
        let command = Command {
            argv: [self.program.clone().into()].into_iter().chain(words).collect(),
            env: environment.map(|(name, value)| (name.into(), value.into())).collect(),
            working_dir: self.state_dir.clone(),
        };
        let (child, input, output) = process::spawn_with_input(&command)?;
        Ok(Started { input, child, output })
    }
}

impl Started {
    /// What the child has to say in the end, and how it is told to stop before. Dropped half-way, the child is killed.
    pub fn attend(self) -> (impl Future<Output = Report> + use<>, PipeWriter) {
        let Self { input, child, output } = self;
        (attend(child, output), input)
    }

    /// The child, its input and its output, for whoever attends in another way.
    pub fn parts(self) -> (Child, PipeWriter, Output) {
        (self.child, self.input, self.output)
    }
}

async fn attend(child: Child, output: Output) -> Report {
    heard(child, output)
        .await
        .unwrap_or_else(|problem| Report::failed(FailureKind::Silent, problem))
}

/// What a child has to say in the end, or how it ended without a word that is understood.
pub(super) async fn heard<T: DeserializeOwned>(child: Child, output: Output) -> Result<T, String> {
    let Output { stdout, stderr } = output;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (stdout.take(MOST_READ), stderr.take(MOST_READ));
    // What could not be read is missed below.
    let _ = tokio::join!(stdout.read_to_end(&mut said), stderr.read_to_end(&mut complained));
    // One that still talks ends when nobody listens any more.
    drop((stdout, stderr));
    let exit = child.wait().await;
    if let Ok(report) = serde_json::from_slice(&said) {
        return Ok(report);
    }
    let ending = match exit.map(|exit| exit.status) {
        Ok(ExitStatus::Exited(code)) => format!("exited with {code}"),
        Ok(ExitStatus::Signalled(signal)) => format!("was ended by signal {signal}"),
        Err(error) => format!("could not be waited for ({error})"),
    };
    let complaint = String::from_utf8_lossy(&complained);
    let complaint = complaint.trim();
    let colon = if complaint.is_empty() { "" } else { ": " };
    Err(format!("the process that was to do it {ending}{colon}{complaint}"))
}

/// The child's end: catches up until `input` is closed, and returns what there is to say.
pub(crate) fn catch_up_for_a_daemon(state_dir: &Path, input: impl Read + Send + 'static) -> Report {
    let told_to_stop = told_to_stop(input);
    let journal = match Sqlite::open_read_only(&journal_path(state_dir)) {
        Ok(journal) => journal,
        Err(error) => return Report::of(&HistoryError::Journal(error)),
    };
    report::catch_up(&history_path(state_dir), &journal, Utc::now(), || {
        !told_to_stop.load(Ordering::Relaxed)
    })
}

/// The other child's end: tidies until `input` is closed.
pub(crate) fn tidy_for_a_daemon(
    state_dir: &Path,
    retention: Retention,
    dry_run: bool,
    input: impl Read + Send + 'static,
) -> Result<Tidied, String> {
    let told_to_stop = told_to_stop(input);
    let order = Order {
        state_dir: state_dir.to_owned(),
        retention,
        dry_run,
        now: Utc::now(),
    };
    let journal = Sqlite::open_read_only(&journal_path(state_dir)).map_err(|error| chain(&error))?;
    let go_on = || !told_to_stop.load(Ordering::Relaxed);
    gc::tidy(&journal, &order, &go_on).map_err(|error| chain(&error))
}

/// Set once the input is closed.
fn told_to_stop(mut input: impl Read + Send + 'static) -> Arc<AtomicBool> {
    let told_to_stop = Arc::new(AtomicBool::new(false));
    let listen = {
        let told_to_stop = Arc::clone(&told_to_stop);
        move || {
            // Whatever ends it, nobody is there any more who could say so again.
            let _ = io::copy(&mut input, &mut io::sink());
            told_to_stop.store(true, Ordering::Relaxed);
        }
    };
    if thread::Builder::new().name("daemon".into()).spawn(listen).is_err() {
        // Without a thread it takes in one batch, which is never wrong.
        told_to_stop.store(true, Ordering::Relaxed);
    }
    told_to_stop
}

/// What the daemon makes of a child that could not be started.
pub(super) fn not_started(error: &SpawnError) -> Report {
    Report::failed(
        FailureKind::Silent,
        format!("the process that was to do it could not be started: {}", chain(error)),
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A child that is a shell script; it gets [`COMMAND`] and the folder as its arguments.
    fn recipe(folder: &Path, script: &str) -> Recipe {
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a writable folder");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a file of ours");
        Recipe {
            program,
            state_dir: folder.to_owned(),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        }
    }

    /// Starts it until it can be: another test's fork may hold the script open for writing for a moment.
    async fn start(recipe: &Recipe) -> Started {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(300);
        loop {
            match recipe.start() {
                Ok(started) => return started,
                Err(error) if std::time::Instant::now() > deadline => panic!("{}", chain(&error)),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    #[tokio::test]
    async fn a_child_is_told_the_folder_and_its_last_line_is_the_report() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"[ "$1" = catch-up ] && [ "$2" = "$PWD" ] && ls /proc/self/fd | wc -l > descriptors
            echo '{"outcome":"caught_up","facts":2,"cursor":7,"notes":["a hole"]}'"#;
        let (said, _input) = start(&recipe(folder.path(), script)).await.attend();
        let expected = Report::CaughtUp {
            facts: 2,
            cursor: 7,
            notes: vec!["a hole".to_owned()],
        };
        assert_eq!(said.await, expected);
        // The three, and the folder that `ls` reads.
        let descriptors = fs::read_to_string(folder.path().join("descriptors")).expect("it was written");
        assert_eq!(descriptors.trim(), "4");
    }

    #[tokio::test]
    async fn a_child_without_a_word_is_told_by_its_ending_and_its_complaint() {
        let folder = tempfile::tempdir().expect("a folder");
        for (script, says) in [
            ("echo no such symbol >&2; exit 127", "exited with 127: no such symbol"),
            ("kill -9 $$", "was ended by signal 9"),
            ("echo half of a li", "exited with 0"),
        ] {
            let (said, _input) = start(&recipe(folder.path(), script)).await.attend();
            let Report::Failed(failure) = said.await else {
                panic!("{script}")
            };
            assert_eq!(failure.kind, FailureKind::Silent);
            assert!(failure.message.ends_with(says), "{failure:?}");
        }
        let gone = Recipe {
            program: folder.path().join("gone"),
            ..recipe(folder.path(), "")
        };
        let error = gone.start().err().expect("there is no such program");
        let Report::Failed(failure) = not_started(&error) else {
            panic!("it failed")
        };
        assert!(failure.message.contains("could not be started"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_child_learns_that_its_daemon_wants_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = r#"cat; echo '{"outcome":"caught_up","facts":0,"cursor":0,"notes":[]}'"#;
        let (said, input) = start(&recipe(folder.path(), script)).await.attend();
        drop(input);
        assert!(matches!(said.await, Report::CaughtUp { .. }));
    }

    #[test]
    fn without_a_journal_the_child_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let report = catch_up_for_a_daemon(folder.path(), io::empty());
        let Report::Failed(failure) = report else {
            panic!("{report:?}")
        };
        assert_eq!(failure.kind, FailureKind::Journal, "{failure:?}");
        assert!(!history_path(folder.path()).exists(), "no history begins for it");
    }
}
