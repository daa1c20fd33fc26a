//! Which contents count: nothing that is still being written, and no removal that may be half of a save.
//!
//! Pure: goes in one look after another, each with its instant; comes out what is settled by now ([`Settled`]) and when
//! to look again. It knows nothing of YAML or jobs, and a content that has settled stays until another one has.
//!
//! The rules. A content counts when two looks at least `debounce` apart saw the same stamp and the same bytes. What is
//! ready waits for what still changes, so that files saved together become one plan, but no longer than
//! [`PATIENCE`]. An empty file is the middle of a save until it has been empty for [`EMPTY`]. A removal counts when the
//! file was missing in two looks with [`REMOVAL`] between them, and together with those of files that went right after
//! it. In the very first look, a file that the kernel saw change longer than `debounce` ago counts at once, because a
//! second look could tell no more than its time does.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::scan::{Content, Look, Seen, SeenFiles, Stamp};

/// The longest that settled files wait for one that keeps changing.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long a file must be missing to count as removed.
pub const REMOVAL: Duration = Duration::from_secs(2);
/// Files that went missing less than this apart are removed together, so that a look in the middle of `rm *.yaml` does not
/// let the first of them pass as few.
pub const TOGETHER: Duration = Duration::from_millis(500);
/// How long a file must be empty to be taken for finished.
pub const EMPTY: Duration = Duration::from_secs(2);
/// How long a file may change before that is a condition, and git may work before it is no longer waited for.
pub const TOO_LONG: Duration = Duration::from_secs(10);

/// The files of a settled view by their path below the folder. Views that say the same of them share one map.
pub type SettledFiles = Arc<BTreeMap<Arc<str>, SettledFile>>;

/// The settled view of the folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settled {
    /// Every file that is there or may be.
    pub files: SettledFiles,
    /// Subfolders that could not be looked into, and why.
    pub blind: BTreeMap<String, String>,
    /// Files whose content has not settled, and since how long.
    pub changing: Vec<Unsettled>,
    /// Files that are missing, whose removal does not count yet.
    pub leaving: Vec<String>,
    /// Whether git is waited for.
    pub git_busy: bool,
    /// Whether this differs from the view before in what a plan is made of.
    pub changed: bool,
    /// When another look can settle something more.
    pub look_again: Option<Instant>,
}

/// One file of the settled view.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledFile {
    /// The content that counts; `None` while none has settled yet.
    pub content: Option<Content>,
    /// Whether the latest look did not find the file.
    pub missing: bool,
}

/// A file that keeps changing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    /// The file.
    pub file: String,
    /// Since how long.
    pub for_long: Duration,
}

impl Unsettled {
    /// Whether it has changed for so long that somebody should know.
    pub fn is_overdue(&self) -> bool {
        self.for_long >= TOO_LONG
    }
}

impl Settled {
    /// A look taken at its word, as if everything in it had settled: for a dry look at what an edit would do.
    pub fn as_seen(look: &Look) -> Self {
        let settled = |seen: &Seen| SettledFile {
            content: Some(seen.content.clone()),
            missing: false,
        };
        let files = look.files.iter().map(|(path, seen)| (Arc::clone(path), settled(seen)));
        Self {
            files: Arc::new(files.collect()),
            blind: look.blind.clone(),
            changed: true,
            ..Self::default()
        }
    }

    /// Whether nothing is on its way any more.
    pub fn is_quiet(&self) -> bool {
        self.changing.is_empty() && self.leaving.is_empty() && !self.git_busy
    }
}

/// What earlier looks saw.
#[derive(Debug)]
pub struct Settle {
    debounce: Duration,
    files: BTreeMap<Arc<str>, File>,
    blind: BTreeMap<String, String>,
    looked: bool,
    git_since: Option<Instant>,
    /// When git was last seen at work. What it wrote or took away until then was waiting for git, and counts from here on
    /// together.
    git_until: Option<Instant>,
    /// What the last look saw.
    seen: SeenFiles,
    /// What was said last.
    view: SettledFiles,
    /// How many files have a candidate or are missing.
    on_their_way: usize,
    /// Whether files that were said to be missing are not known to be since.
    lost_sight: bool,
}

/// One file's way from being seen to counting.
#[derive(Debug, Default)]
struct File {
    /// What counts.
    accepted: Option<Content>,
    /// What was seen last, if it is something else.
    candidate: Option<Candidate>,
    /// Since when looks have not found it.
    missing_since: Option<Instant>,
}

#[derive(Debug)]
struct Candidate {
    stamp: Stamp,
    content: Content,
    /// When these very bytes were first seen.
    since: Instant,
    /// When the file first differed from what counts.
    changing_since: Instant,
    /// From when the candidate may count.
    ready_at: Instant,
}

impl Settle {
    /// Begins with the files that the journal's active jobs come from: one that is not found has to be missed for as
    /// long as any other before its job is removed.
    pub fn new(debounce: Duration, known: impl IntoIterator<Item = String>) -> Self {
        Self {
            debounce,
            files: known.into_iter().map(|file| (file.into(), File::default())).collect(),
            blind: BTreeMap::new(),
            looked: false,
            git_since: None,
            git_until: None,
            seen: SeenFiles::default(),
            view: SettledFiles::default(),
            on_their_way: 0,
            lost_sight: false,
        }
    }

    /// The folder could not be looked at: what was missing before is not known to be missing now.
    pub fn lose_sight(&mut self) {
        for file in self.files.values_mut() {
            self.lost_sight |= file.missing_since.take().is_some();
        }
    }

    /// Takes in a look that began at `now`, when the file system's clock read `wall`.
    pub fn observe(&mut self, look: &Look, now: Instant, wall: SystemTime) -> Settled {
        let first = !std::mem::replace(&mut self.looked, true);
        let mut changed = first | std::mem::take(&mut self.lost_sight) | (self.blind != look.blind);
        let git_before = self.git_since.take();
        if look.git_busy {
            self.git_since = git_before.or(Some(now));
        }
        let git_busy = self.git_since.is_some_and(|since| now - since < TOO_LONG);
        // The first look after git still counts: it finds what git did since the one before.
        if git_busy || (git_before.is_some() && !look.git_busy) {
            self.git_until = Some(now);
        }
        // When nothing was on its way and the look saw what the last one saw, every file would be found to be what it
        // is: accepted is what was seen, and nothing has to wait for a time to pass.
        let nothing_new = !changed && self.on_their_way == 0 && Arc::ptr_eq(&self.seen, &look.files);
        if nothing_new {
            return self.view(now, git_busy, false);
        }
        self.blind.clone_from(&look.blind);
        self.seen = Arc::clone(&look.files);
        let mut added = false;
        for (path, seen) in &*look.files {
            // Few files are new, and an entry would take another reference to each path.
            let file = match self.files.get_mut(&**path) {
                Some(file) => file,
                None => {
                    added = true;
                    self.files.entry(Arc::clone(path)).or_default()
                }
            };
            changed |= file.missing_since.take().is_some();
            let long_ago = first
                && wall
                    .duration_since(seen.changed_at)
                    .is_ok_and(|age| age > self.debounce);
            file.see(seen, now, look.took, self.debounce, long_ago);
        }
        for (path, file) in &mut self.files {
            // What this look did not see, it did not see twice; and what was being written when the file went away will
            // never be whole.
            file.candidate.take_if(|_| !look.files.contains_key(&**path));
        }
        if !git_busy {
            changed |= self.accept(now);
        }
        changed |= self.miss(look, now, git_busy);
        let on_its_way = |file: &&File| file.candidate.is_some() || file.missing_since.is_some();
        self.on_their_way = self.files.values().filter(on_its_way).count();
        if changed || added {
            let settled = |file: &File| SettledFile {
                content: file.accepted.clone(),
                missing: file.missing_since.is_some(),
            };
            let files = self.files.iter().map(|(path, file)| (Arc::clone(path), settled(file)));
            self.view = Arc::new(files.collect());
        }
        self.view(now, git_busy, changed)
    }

    /// Lets candidates count: all that are ready, once nothing else is on its way or the first has waited long enough.
    fn accept(&mut self, now: Instant) -> bool {
        let candidates = || self.files.values().filter_map(|file| file.candidate.as_ref());
        // An empty file may stay so for long, and nobody saves other files together with it.
        let busy = candidates().any(|candidate| now < candidate.ready_at && !candidate.content.is_empty());
        let waited = candidates()
            .filter(|candidate| now >= candidate.ready_at)
            .any(|candidate| now - self.after_git(candidate.since) >= PATIENCE);
        if busy && !waited {
            return false;
        }
        let mut changed = false;
        for file in self.files.values_mut() {
            if let Some(candidate) = file.candidate.take_if(|candidate| now >= candidate.ready_at) {
                file.accepted = Some(candidate.content);
                changed = true;
            }
        }
        changed
    }

    /// Notes what the look did not find, and forgets what has been missing long enough.
    fn miss(&mut self, look: &Look, now: Instant, git_busy: bool) -> bool {
        let mut changed = false;
        let git_until = self.git_until;
        let after_git = |since: Instant| git_until.map_or(since, |git| since.max(git));
        let missing = self.files.values().filter_map(|file| file.missing_since);
        let next = missing.map(after_git).filter(|since| now - *since < REMOVAL).min();
        self.files.retain(|path, file| {
            if look.files.contains_key(&**path) {
                return true;
            }
            if look.is_blind_to(path) {
                changed |= file.missing_since.take().is_some();
                return true;
            }
            changed |= file.missing_since.is_none();
            // The folder may have been listed at the very end of this look, and may be at the very beginning of the next.
            let since = *file.missing_since.get_or_insert(now + look.took);
            let since = after_git(since);
            let is_last = next.is_none_or(|next| next - since >= TOGETHER);
            let gone = now - since >= REMOVAL && is_last && !git_busy;
            changed |= gone;
            !gone
        });
        changed
    }

    fn after_git(&self, since: Instant) -> Instant {
        self.git_until.map_or(since, |git| since.max(git))
    }

    fn view(&self, now: Instant, git_busy: bool, changed: bool) -> Settled {
        let mut settled = Settled {
            files: Arc::clone(&self.view),
            blind: self.blind.clone(),
            git_busy,
            changed,
            ..Settled::default()
        };
        let mut look_again: Option<Instant> = git_busy.then(|| now + self.debounce);
        if self.on_their_way > 0 {
            for (path, file) in &self.files {
                if let Some(candidate) = &file.candidate {
                    let at = if now < candidate.ready_at {
                        candidate.ready_at
                    } else {
                        // Ready, and waiting for others: until one of those is ready or its patience ends.
                        (self.after_git(candidate.since) + PATIENCE).max(now + self.debounce)
                    };
                    look_again = Some(look_again.map_or(at, |other| other.min(at)));
                    settled.changing.push(Unsettled {
                        file: path.to_string(),
                        for_long: now - candidate.changing_since,
                    });
                }
                if let Some(since) = file.missing_since {
                    let at = (self.after_git(since) + REMOVAL).max(now + self.debounce);
                    look_again = Some(look_again.map_or(at, |other| other.min(at)));
                    settled.leaving.push(path.to_string());
                }
            }
        }
        settled.look_again = look_again;
        settled
    }
}

impl File {
    fn see(&mut self, seen: &Seen, now: Instant, took: Duration, debounce: Duration, long_ago: bool) {
        if self.accepted.as_ref() == Some(&seen.content) {
            // The same bytes once more, perhaps in a new file: whatever was on its way is off.
            self.candidate = None;
            return;
        }
        let same = |candidate: &Candidate| {
            !seen.is_torn() && candidate.stamp == seen.stamp && candidate.content == seen.content
        };
        if self.candidate.as_ref().is_some_and(same) {
            return;
        }
        let changing_since = self
            .candidate
            .as_ref()
            .map_or(now, |candidate| candidate.changing_since);
        // The file may have been read at the very end of this look, and may be at the very beginning of the next.
        let wait = match (seen.content.is_empty(), long_ago) {
            (true, _) => took + EMPTY,
            (false, true) => Duration::ZERO,
            (false, false) => took + debounce,
        };
        self.candidate = Some(Candidate {
            stamp: seen.stamp,
            content: seen.content.clone(),
            since: now,
            changing_since,
            ready_at: now + wait,
        });
    }
}

impl Look {
    /// Whether a file of this path may be there without the look having seen it.
    fn is_blind_to(&self, path: &str) -> bool {
        self.blind.keys().any(|folder| is_below(path, folder))
    }
}

/// Whether `path` lies in `folder` or below it.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
