//! What the files ask for: each settled content judged once.
//!
//! Goes in: the settled view of the folder. Comes out: for each file a job, or what is wrong with it. Each file is judged by
//! itself; what several of them say together (one id twice, a reference to nothing) is for `plan`. Reading is behind
//! us, and what is active is not known here.

use std::{collections::BTreeMap, fmt::Write, num::NonZero, sync::Arc, thread};

use super::{
    scan::{Blob, Content, Refusal},
    settle::Settled,
};
use crate::{
    config::diagnostic::Diagnostic,
    core::{
        id::{JobId, SpecHash},
        job::Job,
    },
};

/// Judges one file: its path below the folder of jobs, and its bytes.
pub type Check = dyn Fn(&str, &[u8]) -> Verdict + Send + Sync;

/// What is to be said about one content of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The id that it gives its job, as far as that can be told.
    pub id: Option<JobId>,
    /// The job, if there is no error.
    pub job: Option<Arc<Job>>,
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// What all files together ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// The files by their path below the folder.
    pub files: BTreeMap<String, DesiredFile>,
    /// Subfolders about which nothing is known.
    pub blind: BTreeMap<String, String>,
    /// Whether the folder says that it may be empty.
    pub allow_empty: bool,
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredFile {
    /// What it asks for.
    pub state: FileState,
    /// Whether it was not found lately, though its removal does not count yet.
    pub missing: bool,
}

/// What a file asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum FileState {
    /// A job.
    Job(Arc<Version>),
    /// Nothing that can be followed: there are errors in it.
    Invalid(Arc<Faults>),
    /// Nothing that is known: it cannot be read.
    Refused(Refusal),
    /// Nothing yet: no content of it has settled.
    Unsettled,
}

/// A job as one file states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// The file.
    pub file: String,
    /// The job.
    pub job: Arc<Job>,
    /// The text.
    pub text: Arc<Blob>,
    /// Warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// The id that it gives its job, as far as that can be told.
    pub id: Option<JobId>,
    /// The hash of its text.
    pub text: SpecHash,
    /// The errors, and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Desired {
    /// An identity of everything from which a plan is made.
    pub fn hash(&self) -> SpecHash {
        let mut text = format!("allow_empty {}\n", self.allow_empty);
        for (path, file) in &self.files {
            let (kind, content) = match &file.state {
                FileState::Job(version) => ("job", version.job.hash.to_string()),
                FileState::Invalid(faults) => ("invalid", faults.text.to_string()),
                FileState::Refused(refusal) => ("refused", refusal.to_string()),
                FileState::Unsettled => ("unsettled", String::new()),
            };
            writeln!(text, "{path:?} {kind} {} {content:?}", file.missing).expect("writing to a String does not fail");
        }
        for folder in self.blind.keys() {
            writeln!(text, "{folder:?} blind").expect("writing to a String does not fail");
        }
        SpecHash::of(text.as_bytes())
    }
}

/// Judges contents, each once.
pub struct Judge {
    check: Arc<Check>,
    known: BTreeMap<String, (SpecHash, FileState)>,
}

/// From so many new contents on, judging is shared among the processors.
const WORTH_SHARING: usize = 64;

impl Judge {
    /// A judge that asks `check`.
    pub fn new(check: Arc<Check>) -> Self {
        Self {
            check,
            known: BTreeMap::new(),
        }
    }

    /// Judges the settled view. What was judged before and still stands is not judged again.
    pub fn judge(&mut self, settled: &Settled, allow_empty: bool) -> Desired {
        let new: Vec<(&String, &Arc<Blob>)> = settled
            .files
            .iter()
            .filter_map(|(path, file)| Some((path, file.content.as_ref()?.bytes()?)))
            .filter(|(path, blob)| self.known.get(*path).is_none_or(|(hash, _)| *hash != blob.hash))
            .collect();
        for ((path, blob), state) in new.iter().zip(judge_all(&*self.check, &new)) {
            self.known.insert((*path).clone(), (blob.hash.clone(), state));
        }
        self.known.retain(|path, _| settled.files.contains_key(path));
        let files = settled.files.iter().map(|(path, file)| {
            let state = match &file.content {
                Some(Content::Bytes(_)) => self
                    .known
                    .get(path)
                    .map_or(FileState::Unsettled, |(_, state)| state.clone()),
                Some(Content::Refused(refusal)) => FileState::Refused(refusal.clone()),
                None => FileState::Unsettled,
            };
            let missing = file.missing;
            (path.clone(), DesiredFile { state, missing })
        });
        Desired {
            files: files.collect(),
            blind: settled.blind.clone(),
            allow_empty,
        }
    }
}

/// Judges contents in their order.
fn judge_all(check: &Check, new: &[(&String, &Arc<Blob>)]) -> Vec<FileState> {
    let one = |(path, blob): &(&String, &Arc<Blob>)| judge_one(check, path, blob);
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    if new.len() < WORTH_SHARING || workers == 1 {
        return new.iter().map(one).collect();
    }
    thread::scope(|scope| {
        let share = new.len().div_ceil(workers);
        let parts: Vec<_> = new
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(one).collect::<Vec<_>>()))
            .collect();
        let join = |part: thread::ScopedJoinHandle<'_, Vec<FileState>>| match part.join() {
            Ok(states) => states,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        parts.into_iter().flat_map(join).collect()
    })
}

fn judge_one(check: &Check, path: &str, blob: &Arc<Blob>) -> FileState {
    let Verdict { id, job, diagnostics } = check(path, &blob.bytes);
    match job {
        Some(job) => FileState::Job(Arc::new(Version {
            file: path.to_owned(),
            job,
            text: Arc::clone(blob),
            diagnostics,
        })),
        None => FileState::Invalid(Arc::new(Faults {
            id,
            text: blob.hash.clone(),
            diagnostics,
        })),
    }
}
