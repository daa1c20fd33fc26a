//! Where attempts run. The executor knows this trait and nothing of processes; an engine knows nothing of graphs,
//! retries or the journal.
//!
//! In goes an [`Attempt`], ready to be carried out; out come [`Report`]s: at most one that it started, exactly one that
//! it ended, whatever happens to it. `local` is the engine of this machine's processes, `rust` that of tasks written in
//! Rust, and `engines` hands each attempt to the one that can carry it out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::secrets::Secrets;
use crate::core::{
    Timestamp,
    ending::Ending,
    id::{JobId, RunId, TaskId},
};

/// Names an attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptKey {
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// Counts from 1.
    pub attempt: u32,
}

/// Where the files of an attempt lie: one folder each, below `runs/<run>` of the state directory, so that a run's
/// traces are removed by removing one folder. The dot cannot be in a task's id, so two attempts never share a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFolder(PathBuf);

impl AttemptFolder {
    /// The folder of an attempt.
    pub fn new(state_dir: &Path, key: &AttemptKey) -> Self {
        let runs = state_dir.join("runs").join(key.run.to_string());
        Self(runs.join(format!("{}.{}", key.task, key.attempt)))
    }

    /// A folder of a part of the attempt, with files of its own.
    pub fn inside(&self, part: &str) -> Self {
        Self(self.0.join(part))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the attempt printed, in the CRI log format.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The file named by `$PETIT_OUTPUT`.
    pub fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    /// The file named by `$PETIT_CONTEXT`.
    pub fn context(&self) -> PathBuf {
        self.0.join("context.json")
    }
}

/// Where an attempt's log lies; `petit logs` reads it there.
pub fn log_path(state_dir: &Path, run: RunId, task: &TaskId, attempt: u32) -> PathBuf {
    let key = AttemptKey {
        run,
        task: task.clone(),
        attempt,
    };
    AttemptFolder::new(state_dir, &key).log()
}

/// An attempt with everything rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Which one.
    pub key: AttemptKey,
    /// What it does.
    pub work: Work,
    /// The whole environment but for the secrets.
    pub env: BTreeMap<String, String>,
    /// Where the engine finds the values that it adds to the environment and hides everywhere else.
    pub secrets: Secrets,
    /// Where it runs.
    pub working_dir: PathBuf,
    /// What the file named by `$PETIT_CONTEXT` says.
    pub context: Value,
    /// Where its files lie.
    pub folder: AttemptFolder,
    /// The longest it may take, from its start.
    pub timeout: Option<Duration>,
    /// The most memory that it may hold with everything that it starts, in bytes.
    pub memory_limit: Option<u64>,
    /// The time between asking it to end and ending it.
    pub kill_grace: Duration,
}

/// What an attempt does.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// A program and its arguments; never empty.
    Command(Vec<String>),
    /// A task written in Rust.
    Rust(RustWork),
}

/// A task written in Rust, with what only such a task is told.
#[derive(Debug, Clone, PartialEq)]
pub struct RustWork {
    /// The name under which it is registered.
    pub uses: String,
    /// What the job's file says in `with`, its expressions replaced.
    pub with: Map<String, Value>,
    /// The job.
    pub job: JobId,
    /// The slot, or the run's creation.
    pub scheduled_at: Timestamp,
    /// The git commit of the folder of jobs.
    pub revision: Option<String>,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnd {
    /// How it ended.
    pub ending: Ending,
    /// When; for an attempt that never started, when that was clear.
    pub at: Timestamp,
    /// The ending in words, where the name says too little.
    pub error: Option<String>,
    /// What it published.
    pub outputs: BTreeMap<String, Value>,
    /// What it used.
    pub usage: Usage,
}

/// What an attempt used, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode, in milliseconds.
    pub cpu_user_ms: Option<u64>,
    /// Processor time in the kernel, in milliseconds.
    pub cpu_system_ms: Option<u64>,
    /// The most memory that its processes were seen to hold, in bytes.
    pub max_rss_bytes: Option<u64>,
    /// How much it printed, in bytes.
    pub bytes_out: Option<u64>,
}

impl AttemptEnd {
    /// An end without outputs and without a process whose use could be known.
    pub fn without_process(ending: Ending, at: Timestamp, error: Option<String>) -> Self {
        Self {
            ending,
            at,
            error,
            outputs: BTreeMap::new(),
            usage: Usage::default(),
        }
    }
}

/// The process of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMark {
    /// Its id, which is also its session and group.
    pub pid: u32,
    /// Its start time in the kernel's ticks since boot, if the kernel told: with `pid`, its identity.
    pub start: Option<u64>,
}

/// What an engine tells of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// It runs.
    Started {
        /// Which attempt.
        key: AttemptKey,
        /// When.
        at: Timestamp,
        /// Its process, if it is one of its own.
        process: Option<ProcessMark>,
    },
    /// It is over, and nothing of it is left.
    Ended {
        /// Which attempt.
        key: AttemptKey,
        /// How.
        end: AttemptEnd,
    },
    /// It cannot be started for now: the system is short of processes, memory or descriptors. The engine goes on
    /// trying; `None` when the shortage is over.
    Delayed {
        /// Which attempt.
        key: AttemptKey,
        /// What is short.
        because: Option<String>,
    },
}

/// Where an engine sends its reports. Unbounded, because an attempt sends a handful and the number of attempts is
/// bounded by `max_concurrency`; a bound could only make an ended attempt wait to say so.
pub type Reports = mpsc::UnboundedSender<Report>;

/// Why an attempt is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its run was cancelled.
    Cancelled,
    /// Its run is out of time.
    TimedOut,
    /// Petit stops; the task may be tried again by the next one.
    Interrupted,
    /// As `Interrupted`, without the rest of its grace.
    InterruptedAtOnce,
}

/// Runs attempts.
pub trait Engine: Send + Sync {
    /// Starts an attempt and returns at once. Exactly one [`Report::Ended`] follows.
    fn start(&self, attempt: Attempt, reports: Reports);

    /// Asks an attempt to end: SIGTERM, its grace, SIGKILL, or what corresponds to it. Returns at once; the attempt's end
    /// is reported as every other. The first reason counts. Harmless for one that has ended.
    fn stop(&self, key: &AttemptKey, why: Stop);
}
