//! What the files ask for: each settled content judged once.
//!
//! Goes in: the settled view of the folder. Comes out: for each file a job, or what is wrong with it. Each file is judged by
//! itself; what several of them say together (one id twice, a reference to nothing) is for `plan`. Reading is behind
//! us, and what is active is not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{self, AssertUnwindSafe},
    sync::{Arc, OnceLock},
};

use super::{
    scan::{Blob, Content, Refusal},
    settle::Settled,
};
use crate::{
    config::{
        diagnostic::{Diagnostic, Finding, locate},
        set::{Member, check_set},
        share,
    },
    core::{
        active::ActiveSet,
        id::{JobId, SetHasher, SpecHash},
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
#[derive(Debug, Default)]
pub struct Desired {
    /// The files by their path below the folder.
    pub files: BTreeMap<Arc<str>, DesiredFile>,
    /// Subfolders about which nothing is known.
    pub blind: BTreeMap<String, String>,
    /// Whether the folder says that it may be empty.
    pub allow_empty: bool,
    /// The hash of the rest, once it was asked for.
    hash: OnceLock<SpecHash>,
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
    /// What these files ask for together.
    pub fn new(files: BTreeMap<Arc<str>, DesiredFile>, blind: BTreeMap<String, String>, allow_empty: bool) -> Self {
        Self {
            files,
            blind,
            allow_empty,
            hash: OnceLock::new(),
        }
    }

    /// An identity of everything from which a plan is made.
    pub fn hash(&self) -> &SpecHash {
        self.hash.get_or_init(|| {
            let mut hasher = SetHasher::default();
            hasher.add(if self.allow_empty { b"may be empty\0" } else { b"\0" });
            // No path holds a zero byte, so that it parts what belongs to one file from the next.
            for (path, file) in &self.files {
                hasher.add(path.as_bytes());
                hasher.add(if file.missing { b"\0missing " } else { b"\0present " });
                match &file.state {
                    FileState::Job(version) => {
                        hasher.add(b"job ");
                        hasher.add(version.job.hash.as_str().as_bytes());
                    }
                    FileState::Invalid(faults) => {
                        hasher.add(b"invalid ");
                        hasher.add(faults.text.as_str().as_bytes());
                    }
                    FileState::Refused(refusal) => {
                        hasher.add(b"refused ");
                        hasher.add(refusal.to_string().as_bytes());
                    }
                    FileState::Unsettled => hasher.add(b"unsettled "),
                }
                hasher.add(b"\0");
            }
            for folder in self.blind.keys() {
                hasher.add(folder.as_bytes());
                hasher.add(b"\0blind\0");
            }
            hasher.finish()
        })
    }

    /// What files are to each other (two with one id, a reference to nothing, jobs that wait for each other), with its
    /// place in each of them. The plan decides by itself what follows from that; this is to show people where it stands.
    pub fn mutual(&self, active: &ActiveSet) -> BTreeMap<String, Vec<Diagnostic>> {
        let stated = self
            .files
            .values()
            .filter(|file| !file.missing)
            .filter_map(|file| match &file.state {
                FileState::Job(version) => Some(version),
                FileState::Invalid(_) | FileState::Refused(_) | FileState::Unsettled => None,
            });
        let mut members: Vec<Member<'_>> = stated
            .map(|version| Member {
                file: &version.file,
                job: &version.job,
                yaml: std::str::from_utf8(&version.text.bytes).unwrap_or_default(),
            })
            .collect();
        let ids: BTreeSet<&JobId> = members.iter().map(|member| &member.job.id).collect();
        members.extend(
            active
                .iter()
                .filter(|(id, _)| !ids.contains(id))
                .map(|(_, active)| Member {
                    file: &active.record.file,
                    job: &active.job,
                    yaml: "",
                }),
        );
        let mut found: BTreeMap<String, Vec<Diagnostic>> = BTreeMap::new();
        for diagnostic in check_set(&members) {
            found.entry(diagnostic.file.clone()).or_default().push(diagnostic);
        }
        found
    }
}

/// Judges contents, each once.
pub struct Judge {
    check: Arc<Check>,
    last: Arc<Desired>,
}

impl Judge {
    /// A judge that asks `check`.
    pub fn new(check: Arc<Check>) -> Self {
        Self {
            check,
            last: Arc::default(),
        }
    }

    /// What was judged last.
    #[cfg(test)]
    pub(super) fn last(&self) -> &Desired {
        &self.last
    }

    /// Judges the settled view. What was judged before and still stands is not judged again.
    pub fn judge(&mut self, settled: &Settled, allow_empty: bool) -> Arc<Desired> {
        // Both maps are in the order of their paths, so that one walk finds what stands beside what.
        let mut before = self.last.files.iter().peekable();
        let mut new: Vec<(&Arc<str>, &Arc<Blob>)> = Vec::new();
        let mut files: Vec<(Arc<str>, DesiredFile)> = Vec::with_capacity(settled.files.len());
        for (path, file) in &*settled.files {
            while before.next_if(|(other, _)| *other < path).is_some() {}
            let judged = before.next_if(|(other, _)| *other == path).map(|(_, file)| &file.state);
            let state = match &file.content {
                Some(Content::Bytes(blob)) => match judged.filter(|state| state.is_of(&blob.hash)) {
                    Some(state) => state.clone(),
                    None => {
                        new.push((path, blob));
                        FileState::Unsettled
                    }
                },
                Some(Content::Refused(refusal)) => FileState::Refused(refusal.clone()),
                None => FileState::Unsettled,
            };
            let missing = file.missing;
            files.push((Arc::clone(path), DesiredFile { state, missing }));
        }
        let judged = share::each(&new, |(path, blob)| judge_one(&*self.check, path, blob));
        let mut verdicts = new.iter().zip(judged).peekable();
        for (path, file) in &mut files {
            if let Some((_, state)) = verdicts.next_if(|((judged, _), _)| *judged == path) {
                file.state = state;
            }
        }
        self.last = Arc::new(Desired::new(
            files.into_iter().collect(),
            settled.blind.clone(),
            allow_empty,
        ));
        Arc::clone(&self.last)
    }
}

impl FileState {
    /// Whether this is what was found about the text of this hash.
    fn is_of(&self, text: &SpecHash) -> bool {
        match self {
            Self::Job(version) => version.text.hash == *text,
            Self::Invalid(faults) => faults.text == *text,
            Self::Refused(_) | Self::Unsettled => false,
        }
    }
}

fn judge_one(check: &Check, path: &str, blob: &Arc<Blob>) -> FileState {
    // One file on which a check fails must not end the following of all others.
    let verdict = panic::catch_unwind(AssertUnwindSafe(|| check(path, &blob.bytes)));
    let Verdict { id, job, diagnostics } = verdict.unwrap_or_else(|_| Verdict {
        id: None,
        job: None,
        diagnostics: locate(
            path,
            "",
            vec![
                Finding::error(
                    0..0,
                    "internal",
                    "Petit failed on this file, which is a mistake in Petit",
                )
                .hint("please report it with the file"),
            ],
        ),
    });
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::reconcile::settle::SettledFile;

    fn settled(n: usize, text: &str) -> Settled {
        let file = |i: usize| {
            let content = Some(Content::Bytes(Arc::new(Blob::new(format!("{text}{i}").into_bytes()))));
            (
                format!("{i:03}.yaml").into(),
                SettledFile {
                    content,
                    missing: false,
                },
            )
        };
        Settled {
            files: Arc::new((0..n).map(file).collect()),
            ..Settled::default()
        }
    }

    #[test]
    fn each_content_is_judged_once_and_shared_work_stays_in_order() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut judge = Judge::new(Arc::new(move |path: &str, _: &[u8]| {
            count.fetch_add(1, Ordering::Relaxed);
            Verdict {
                id: JobId::new(path.trim_end_matches(".yaml")).ok(),
                job: None,
                diagnostics: Vec::new(),
            }
        }));
        let mut view = settled(200, "x");
        let desired = judge.judge(&view, false);
        for (path, file) in &desired.files {
            let FileState::Invalid(faults) = &file.state else {
                panic!("{file:?}");
            };
            assert_eq!(faults.id.as_ref().map(JobId::as_str), path.strip_suffix(".yaml"));
        }
        let one = settled(1, "y").files["000.yaml"].clone();
        Arc::make_mut(&mut view.files).insert("007.yaml".into(), one);
        judge.judge(&view, false);
        assert_eq!(asked.load(Ordering::Relaxed), 201);
    }

    #[test]
    fn a_check_that_fails_makes_its_file_invalid() {
        let mut judge = Judge::new(Arc::new(|_: &str, _: &[u8]| {
            panic!("a mistake in Petit, made for this test")
        }));
        let desired = judge.judge(&settled(1, "x"), false);
        let FileState::Invalid(faults) = &desired.files["000.yaml"].state else {
            panic!("{desired:?}");
        };
        assert_eq!(faults.diagnostics[0].code, "internal");
    }
}
