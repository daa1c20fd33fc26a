//! What somebody waits for who asked for a sync: the very content that was in the folder when they asked.
//!
//! Pure: goes in one look after another with what has settled and how the files stand; comes out, for each file that was
//! there when it was asked, what became of that content. Files that come or change later hold nobody up: a content that
//! was applied and is replaced afterwards was applied all the same, and one that is replaced before it could settle is
//! said to have been. What was missing when it was asked is waited for as well, since its removal is a part of what the
//! folder said.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    scan::{Look, SeenFiles},
    settle::{Settled, Unsettled},
    status::{FileStatus, Source, Standing, SyncState, SyncStatus},
};
use crate::core::id::{JobId, SpecHash};

/// A file that was in the folder when a sync was asked for, or whose removal was on its way then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AwaitedFile {
    /// The file.
    pub file: String,
    /// The hash of the content that it had; `null` for one that was gone or could not be read.
    pub file_hash: Option<SpecHash>,
    /// Its job, as far as it is known.
    pub job: Option<JobId>,
    /// What became of that content.
    pub outcome: AwaitedOutcome,
    /// How the file stood when that was decided.
    pub sync: Option<SyncState>,
    /// Why it is not in sync, in a sentence.
    pub message: Option<String>,
    /// The line of the first error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<usize>,
    /// The column of the first error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<usize>,
}

/// What became of a content that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwaitedOutcome {
    /// It is what is active; of a file that was gone, its job is not active any more.
    Synced,
    /// It is not followed: see the message.
    Refused,
    /// The file was changed again before its content could be applied.
    Superseded,
    /// It was not decided when the wait ended.
    Undecided,
}

/// The content that one sync waits for.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Only these are waited for, if there are any.
    only: BTreeSet<String>,
    /// What was in the folder; `None` until the first look at which no git was at work.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    files: SeenFiles,
    /// Those of them that are waited for.
    awaited: BTreeSet<Arc<str>>,
    /// Files from which jobs are active, or that were seen before, and that were not there.
    gone: BTreeSet<String>,
    /// Files that were named, of which nothing is known.
    unknown: BTreeSet<String>,
    /// Whether there may be more files that are waited for, in a subfolder that could not be looked into.
    is_blind: bool,
    /// What became of the files, by path.
    decided: BTreeMap<Arc<str>, Decided>,
    gone_decided: BTreeMap<String, Decided>,
}

/// What became of one file.
#[derive(Debug, Clone)]
struct Decided {
    outcome: AwaitedOutcome,
    job: Option<JobId>,
    standing: Option<Standing>,
}

impl Awaited {
    /// Waits for these files, or for all if none is named.
    pub fn only(files: impl IntoIterator<Item = String>) -> Self {
        Self {
            only: files.into_iter().collect(),
            asked: None,
        }
    }

    /// Takes in another look, and how the files stand after it.
    pub fn observe(&mut self, look: &Look, settled: &Settled, status: &SyncStatus) {
        if self.asked.is_none() && settled.git_busy {
            return;
        }
        let asked = self
            .asked
            .get_or_insert_with(|| Asked::at(&self.only, look, settled, status));
        asked.observe(look, settled, status);
    }

    /// Whether everything is decided.
    pub fn is_over(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| {
            asked.decided.len() == asked.awaited.len() && asked.gone_decided.len() == asked.gone.len()
        })
    }

    /// Whether all of it is followed now. A removal that is held is a part of what the whole folder says, also where the
    /// job's file is there and states another.
    pub fn is_synced(&self, status: &SyncStatus) -> bool {
        let saw_all = self.asked.as_ref().is_some_and(|asked| !asked.is_blind);
        let nothing_held = !self.only.is_empty() || status.waiting_plan.is_none();
        let synced = |file: &AwaitedFile| file.outcome == AwaitedOutcome::Synced;
        let available = status.source == Source::Ok;
        available && saw_all && nothing_held && self.is_over() && self.outcomes().iter().all(synced)
    }

    /// What became of each file, by path.
    pub fn outcomes(&self) -> Vec<AwaitedFile> {
        let Some(asked) = &self.asked else {
            return Vec::new();
        };
        let files = asked.awaited.iter().map(|path| {
            let content = asked.files.get(path).and_then(|seen| seen.content.bytes());
            outcome(path, content.map(|blob| blob.hash.clone()), asked.decided.get(path))
        });
        let gone = asked
            .gone
            .iter()
            .map(|file| outcome(file, None, asked.gone_decided.get(file)));
        let unknown = Decided {
            outcome: AwaitedOutcome::Refused,
            job: None,
            standing: None,
        };
        let unknown = asked.unknown.iter().map(|file| outcome(file, None, Some(&unknown)));
        let mut all: Vec<AwaitedFile> = files.chain(gone).chain(unknown).collect();
        all.sort_by(|a, b| a.file.cmp(&b.file));
        all
    }
}

impl Asked {
    fn at(only: &BTreeSet<String>, look: &Look, settled: &Settled, status: &SyncStatus) -> Self {
        let is_meant = |file: &str| only.is_empty() || only.contains(file);
        let active = status.jobs.iter().filter(|job| job.generation.is_some());
        let known = active.map(|job| &job.file).chain(&settled.leaving);
        let gone = known.filter(|file| is_meant(file) && !look.files.contains_key(file.as_str()));
        let gone: BTreeSet<String> = gone.cloned().collect();
        let unknown = only
            .iter()
            .filter(|file| !gone.contains(*file) && !look.files.contains_key(file.as_str()));
        Self {
            unknown: unknown.cloned().collect(),
            is_blind: only.is_empty() && !look.blind.is_empty(),
            awaited: look.files.keys().filter(|file| is_meant(file)).cloned().collect(),
            files: Arc::clone(&look.files),
            gone,
            decided: BTreeMap::new(),
            gone_decided: BTreeMap::new(),
        }
    }

    fn observe(&mut self, look: &Look, settled: &Settled, status: &SyncStatus) {
        let changing: BTreeMap<&str, &Unsettled> = settled
            .changing
            .iter()
            .map(|unsettled| (unsettled.file.as_str(), unsettled))
            .collect();
        let leaving: BTreeSet<&str> = settled.leaving.iter().map(String::as_str).collect();
        for (path, asked) in self.files.iter().filter(|(path, _)| self.awaited.contains(*path)) {
            let here = look.files.get(path).is_some_and(|seen| seen.content == asked.content);
            let on_its_way = changing.get(&**path).copied();
            let counts = settled
                .files
                .get(path)
                .is_some_and(|file| !file.missing && file.content.as_ref() == Some(&asked.content));
            let decided = match (counts && here, on_its_way) {
                (true, None) => file_status(status, path).map(Decided::by),
                // It has changed for so long that nobody can say when it ends.
                (_, Some(unsettled)) if unsettled.is_overdue() => Some(Decided::undecidable(path, status)),
                (_, _) if here || leaving.contains(&**path) && counts => None,
                // Another content took its place. Had this one been applied before, that stands.
                (_, _) => Some(Decided::superseded(path, status)),
            };
            match decided {
                Some(decided) if decided.outcome == AwaitedOutcome::Superseded => {
                    self.decided.entry(Arc::clone(path)).or_insert(decided);
                }
                Some(decided) => {
                    self.decided.insert(Arc::clone(path), decided);
                }
                None => {}
            }
        }
        for file in &self.gone {
            if leaving.contains(file.as_str()) {
                continue;
            }
            if look.files.contains_key(file.as_str()) {
                // It came back before its removal counted. Had that taken effect before, it stands.
                let superseded = Decided::superseded(file, status);
                self.gone_decided.entry(file.clone()).or_insert(superseded);
                continue;
            }
            let decided = match status.jobs.iter().find(|job| job.file == *file) {
                Some(job) => Decided {
                    outcome: outcome_of(&job.standing),
                    job: Some(job.job.clone()),
                    standing: Some(job.standing.clone()),
                },
                None => Decided {
                    outcome: AwaitedOutcome::Synced,
                    job: None,
                    standing: None,
                },
            };
            self.gone_decided.insert(file.clone(), decided);
        }
    }
}

impl Decided {
    fn by(file: &FileStatus) -> Self {
        Self {
            outcome: outcome_of(&file.standing),
            job: file.job.clone(),
            standing: Some(file.standing.clone()),
        }
    }

    fn undecidable(path: &str, status: &SyncStatus) -> Self {
        let file = file_status(status, path);
        Self {
            outcome: AwaitedOutcome::Refused,
            job: file.and_then(|file| file.job.clone()),
            standing: file.map(|file| Standing {
                message: Some("keeps changing, and is not applied until it stays the same".to_owned()),
                ..file.standing.clone()
            }),
        }
    }

    fn superseded(path: &str, status: &SyncStatus) -> Self {
        Self {
            outcome: AwaitedOutcome::Superseded,
            job: file_status(status, path).and_then(|file| file.job.clone()),
            standing: None,
        }
    }
}

fn outcome_of(standing: &Standing) -> AwaitedOutcome {
    match standing.sync {
        SyncState::Synced => AwaitedOutcome::Synced,
        SyncState::OutOfSync
        | SyncState::Invalid
        | SyncState::Conflict
        | SyncState::Blocked
        | SyncState::Held
        | SyncState::Paused
        | SyncState::Unknown => AwaitedOutcome::Refused,
    }
}

/// A file's status; they are in the order of their paths.
fn file_status<'a>(status: &'a SyncStatus, path: &str) -> Option<&'a FileStatus> {
    let place = status.files.binary_search_by(|file| file.file.as_str().cmp(path));
    place.ok().map(|place| &status.files[place])
}

fn outcome(file: &str, file_hash: Option<SpecHash>, decided: Option<&Decided>) -> AwaitedFile {
    let standing = decided.and_then(|decided| decided.standing.as_ref());
    let outcome = decided.map_or(AwaitedOutcome::Undecided, |decided| decided.outcome);
    let message = match outcome {
        AwaitedOutcome::Synced => None,
        AwaitedOutcome::Refused => {
            let unknown = "is not in the folder of jobs, and no job is active from it";
            standing.map_or_else(|| Some(unknown.to_owned()), |standing| standing.message.clone())
        }
        AwaitedOutcome::Superseded => Some("was changed again before its content could be applied".to_owned()),
        AwaitedOutcome::Undecided => Some("was still changing when the wait ended".to_owned()),
    };
    let place = standing.filter(|_| outcome == AwaitedOutcome::Refused);
    AwaitedFile {
        file: file.to_owned(),
        file_hash,
        job: decided.and_then(|decided| decided.job.clone()),
        outcome,
        sync: standing.map(|standing| standing.sync),
        message,
        line: place.and_then(|standing| standing.line),
        column: place.and_then(|standing| standing.column),
    }
}
