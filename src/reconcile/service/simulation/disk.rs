//! A folder of jobs on a machine that is slow, loses events and fails.
//!
//! Holds what is true, and what has yet to happen and when. A look at it takes time, and things happen meanwhile: a file
//! may be read in the middle of being written, and the folder be swapped under the reader's hands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::script::{PATHS, Text};
use crate::{
    reconcile::{
        scan::{Blob, Content, FolderId, Look, Refusal, Seen, SeenFiles, SourceUnavailable, Stamp},
        watch::WatchList,
    },
    testing::story::Dice,
};

/// Instants and lengths of time are microseconds since the story began.
pub type Micros = u64;

/// Milliseconds as [`Micros`].
pub const fn ms(n: u64) -> Micros {
    n * 1_000
}

/// How long a file must be missed to be gone.
const MISSED: Micros = ms(2_000);
/// The kernel's clock for files moves in steps.
const TICK: Micros = ms(4);

/// A file.
#[derive(Debug, Clone)]
pub struct Node {
    inode: u64,
    bytes: Vec<u8>,
    /// What was or is being written; `None` for what nobody has finished.
    pub text: Option<Arc<Text>>,
    /// When it was last written, by the clock of the story; `changed` is by the one on the wall.
    pub written: Micros,
    changed: SystemTime,
    pub unreadable: bool,
}

/// How the folder can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    Here,
    Gone,
    Unreadable,
    /// An empty folder stands in its place.
    Replaced,
}

/// What has yet to happen to the folder.
#[derive(Debug, Clone)]
enum Coming {
    /// An event reaches the reconciler.
    Event,
    /// A writer goes on; the last piece brings the text to its end.
    Piece {
        inode: u64,
        bytes: Vec<u8>,
        whole: Option<Arc<Text>>,
    },
    Create {
        path: String,
        text: Arc<Text>,
    },
    Remove(String),
}

/// What the looks so far have found to be missing.
#[derive(Debug, Clone, Default)]
pub struct Missing {
    /// Since which look every look has found no such file; what nobody could see is not counted.
    since: BTreeMap<String, Micros>,
    /// The files of which it is known that they are gone, until they are seen again.
    gone: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Disk {
    pub now: Micros,
    /// How far the clock on the wall has been moved.
    pub moved: i64,
    pub files: BTreeMap<String, Node>,
    pub mount: Mount,
    pub git_locked: bool,
    pub allow_empty: bool,
    /// Whether `sub` cannot be listed.
    pub sub_unreadable: bool,
    /// Whether the kernel gives watches.
    pub gives_watches: bool,
    /// Whether events arrive at all, and how many of a hundred are lost.
    pub listening: bool,
    pub lost: u64,
    pub lost_events: u64,
    /// How long a look takes at most.
    pub slow: Micros,
    /// Whether a listing may pass over a file that is there.
    pub sloppy: bool,
    pub dice: Dice,
    /// When the last look began.
    pub look_began: Micros,
    /// Events that have arrived and were not told.
    pub arrived: bool,
    folder: u64,
    inodes: u64,
    coming: BTreeMap<(Micros, u64), Coming>,
    sequence: u64,
    passed_over: BTreeSet<String>,
    /// The good texts that each file has held, and since when.
    pub said: Vec<(Micros, String, Arc<Text>)>,
    pub missing: Missing,
    last: SeenFiles,
    looked_at: SystemTime,
}

impl Disk {
    pub fn new(dice: Dice) -> Self {
        Self {
            now: 0,
            moved: 0,
            files: BTreeMap::new(),
            mount: Mount::Here,
            git_locked: false,
            allow_empty: false,
            sub_unreadable: false,
            gives_watches: true,
            listening: true,
            lost: 0,
            lost_events: 0,
            slow: ms(2),
            sloppy: false,
            dice,
            arrived: false,
            look_began: 0,
            folder: 1,
            inodes: 1,
            coming: BTreeMap::new(),
            sequence: 0,
            passed_over: BTreeSet::new(),
            said: Vec::new(),
            missing: Missing::default(),
            last: SeenFiles::default(),
            looked_at: SystemTime::UNIX_EPOCH,
        }
    }

    /// The clock on the wall.
    pub fn wall(&self) -> SystemTime {
        let noon = i64::try_from(1_700_000_000_000_000 + self.now).expect("this century") + self.moved;
        SystemTime::UNIX_EPOCH + Duration::from_micros(noon.unsigned_abs())
    }

    /// When the next thing happens by itself.
    pub fn next(&self) -> Option<Micros> {
        self.coming.first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether somebody is in the middle of writing.
    pub fn is_being_written(&self) -> bool {
        self.coming.values().any(|coming| !matches!(coming, Coming::Event))
    }

    /// Lets time pass, and happen what happens meanwhile.
    pub fn pass(&mut self, until: Micros) {
        while let Some(entry) = self.coming.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), coming) = entry.remove_entry();
            self.now = self.now.max(at);
            match coming {
                Coming::Event => self.arrived = true,
                Coming::Piece { inode, bytes, whole } => self.write_on(inode, &bytes, whole),
                Coming::Create { path, text } => self.put(&path, text),
                Coming::Remove(path) => self.remove(&path),
            }
        }
        self.now = self.now.max(until);
    }

    fn plan_for(&mut self, at: Micros, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((at, self.sequence), coming);
    }

    /// Something happened: the kernel may say so, late, more than once, or not at all.
    pub fn tell(&mut self) {
        if !self.listening || self.dice.chance(self.lost) {
            self.lost_events += 1;
            return;
        }
        for _ in 0..1 + self.dice.below(2) {
            let at_most = if self.dice.chance(10) { 700 } else { 5 };
            let late = self.dice.below(ms(at_most));
            self.plan_for(self.now + late, Coming::Event);
        }
    }

    fn stamp_now(&self) -> SystemTime {
        let into_tick = self.now % TICK;
        self.wall() - Duration::from_micros(into_tick)
    }

    /// A new file in the place of what was there, in one step.
    pub fn put(&mut self, path: &str, text: Arc<Text>) {
        self.inodes += 1;
        let node = Node {
            inode: self.inodes,
            bytes: text.bytes().to_vec(),
            text: Some(text),
            written: self.now,
            changed: self.stamp_now(),
            unreadable: false,
        };
        self.files.insert(path.to_owned(), node);
        self.note_said(path);
        self.tell();
    }

    fn note_said(&mut self, path: &str) {
        let text = self.files.get(path).and_then(|node| node.text.clone());
        if let Some(text) = text.filter(|text| text.is_good) {
            self.said.push((self.now, path.to_owned(), text));
        }
    }

    /// Truncates the file, or creates it, and writes the text piece by piece, with pauses that are shorter than the
    /// time for which a content must stand still.
    pub fn write(&mut self, path: &str, text: Arc<Text>, pieces: u64) {
        if !self.files.contains_key(path) {
            self.put(path, Arc::clone(&text));
        }
        let (wall, now) = (self.stamp_now(), self.now);
        let node = self.files.get_mut(path).expect("there by now");
        (node.bytes, node.text) = (Vec::new(), None);
        (node.changed, node.written) = (wall, now);
        let inode = node.inode;
        self.stop_writing(inode);
        self.tell();
        let mut rest = text.bytes();
        let mut at = self.now;
        for left in (0..pieces).rev() {
            let most = u64::try_from(rest.len()).expect("short");
            // At least a byte is left for the last piece: a text that is all there is whole.
            let cut = if left == 0 { most } else { self.dice.below(most) };
            let (piece, after) = rest.split_at(usize::try_from(cut).expect("short"));
            let whole = (left == 0).then(|| Arc::clone(&text));
            let bytes = piece.to_vec();
            self.plan_for(at, Coming::Piece { inode, bytes, whole });
            at += self.dice.below(ms(120));
            rest = after;
        }
    }

    /// Whoever was writing the file is done: what two writers make of one file means nothing.
    fn stop_writing(&mut self, file: u64) {
        self.coming
            .retain(|_, coming| !matches!(coming, Coming::Piece { inode, .. } if *inode == file));
    }

    fn write_on(&mut self, inode: u64, bytes: &[u8], whole: Option<Arc<Text>>) {
        let (wall, now) = (self.stamp_now(), self.now);
        // Whoever has it open writes on wherever it was moved, and writes into the void once it is gone.
        let Some((path, node)) = self.files.iter_mut().find(|(_, node)| node.inode == inode) else {
            return;
        };
        let path = path.clone();
        node.bytes.extend_from_slice(bytes);
        node.text = whole;
        (node.changed, node.written) = (wall, now);
        self.note_said(&path);
        self.tell();
    }

    /// The kernel notes a change of the file that is none of its content.
    pub fn touch(&mut self, path: &str) {
        let wall = self.stamp_now();
        if let Some(node) = self.files.get_mut(path) {
            node.changed = wall;
            self.tell();
        }
    }

    pub fn truncate(&mut self, path: &str) {
        let (wall, now) = (self.stamp_now(), self.now);
        if let Some(node) = self.files.get_mut(path) {
            (node.bytes, node.text) = (Vec::new(), None);
            (node.changed, node.written) = (wall, now);
            let inode = node.inode;
            self.stop_writing(inode);
            self.tell();
        }
    }

    pub fn remove(&mut self, path: &str) {
        if self.files.remove(path).is_some() {
            self.tell();
        }
    }

    pub fn remove_at(&mut self, path: &str, at: Micros) {
        self.plan_for(at, Coming::Remove(path.to_owned()));
    }

    pub fn create_at(&mut self, path: &str, text: Arc<Text>, at: Micros) {
        let path = path.to_owned();
        self.plan_for(at, Coming::Create { path, text });
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(mut node) = self.files.remove(from) {
            node.changed = self.stamp_now();
            node.written = self.now;
            self.files.insert(to.to_owned(), node);
            self.note_said(to);
            self.tell();
        }
    }

    /// Whether what stands in one file, or will once it is written, may stand in another, so that no job waits for itself.
    pub fn may_hold(&self, from: &str, to: &str) -> bool {
        let text = self.files.get(from).and_then(|node| node.text.as_ref());
        to > "d.yaml" || text.is_some_and(|text| text.needs().is_none())
    }

    /// Another folder in the place of the old one, with the same files anew, as a checkout beside it makes them: none of
    /// them half written.
    pub fn swap_folder(&mut self) {
        self.folder += 1;
        self.files.retain(|_, node| node.text.is_some());
        let changed = self.stamp_now();
        for node in self.files.values_mut() {
            self.inodes += 1;
            (node.inode, node.changed) = (self.inodes, changed);
        }
        self.tell();
    }

    /// Forgets what the process knew that looked until now.
    pub fn restarted(&mut self) {
        (self.last, self.looked_at) = (SeenFiles::default(), SystemTime::UNIX_EPOCH);
        self.missing = Missing::default();
        self.arrived = false;
        self.listening = false;
    }

    fn folder_id(&self) -> Result<FolderId, SourceUnavailable> {
        let unavailable = |problem: &str| SourceUnavailable {
            path: "/simulated/jobs.d".into(),
            problem: problem.to_owned(),
        };
        match self.mount {
            Mount::Here => Ok(FolderId::for_test(self.folder)),
            Mount::Replaced => Ok(FolderId::for_test(u64::MAX - self.folder)),
            Mount::Gone => Err(unavailable("does not exist")),
            Mount::Unreadable => Err(unavailable("gives an input/output error")),
        }
    }

    fn is_hidden(&self, path: &str) -> bool {
        self.sub_unreadable && path.starts_with("sub/")
    }

    /// One look, as the scanner takes it.
    pub fn look(&mut self, wall: SystemTime) -> Result<Look, SourceUnavailable> {
        self.look_began = self.now;
        let looked = self.look_through(wall);
        if looked.is_err() {
            self.missing.since.clear();
        }
        looked
    }

    fn look_through(&mut self, wall: SystemTime) -> Result<Look, SourceUnavailable> {
        let began = self.now;
        let folder = self.folder_id()?;
        let listed: Vec<(String, Stamp)> = match self.mount {
            Mount::Here => self.list(),
            Mount::Gone | Mount::Unreadable | Mount::Replaced => Vec::new(),
        };
        let blind = self
            .sub_unreadable
            .then(|| ("sub".to_owned(), "gives an input/output error".to_owned()));
        let (allow_empty, git_busy) = (self.allow_empty && self.mount == Mount::Here, self.git_locked);
        let mut files = BTreeMap::new();
        let pause = self.slow / (2 * listed.len() as u64 + 1) + 1;
        for (path, stamp) in listed {
            let known = self.last.get_key_value(path.as_str());
            if let Some((path, seen)) = known.filter(|(_, seen)| seen.still_stands(stamp, self.looked_at)) {
                files.insert(Arc::clone(path), seen.clone());
            } else if let Some(seen) = self.read(&path, pause) {
                files.insert(path.into(), seen);
            }
        }
        if self.folder_id() != Ok(folder) {
            return Err(SourceUnavailable {
                path: "/simulated/jobs.d".into(),
                problem: "was replaced while it was read".to_owned(),
            });
        }
        self.note_missing(&files, began);
        if files != *self.last {
            self.last = Arc::new(files);
        }
        self.looked_at = wall;
        Ok(Look {
            folder,
            allow_empty,
            git_busy,
            files: Arc::clone(&self.last),
            blind: blind.into_iter().collect(),
            watch: WatchList::default(),
            took: Duration::from_micros(self.now - began),
        })
    }

    fn list(&mut self) -> Vec<(String, Stamp)> {
        let mut passed_over = BTreeSet::new();
        let mut listed = Vec::new();
        for (path, node) in &self.files {
            if self.is_hidden(path) {
                continue;
            }
            // Twice in a row would be a file that is not there, as far as anybody can tell.
            if self.sloppy && self.dice.chance(2) && !self.passed_over.contains(path) {
                passed_over.insert(path.clone());
                continue;
            }
            listed.push((path.clone(), node.stamp()));
        }
        self.passed_over = passed_over;
        listed
    }

    fn note_missing(&mut self, found: &BTreeMap<Arc<str>, Seen>, began: Micros) {
        for path in PATHS {
            if found.contains_key(path) {
                self.missing.gone.remove(path);
            }
            if found.contains_key(path) || self.is_hidden(path) {
                self.missing.since.remove(path);
                continue;
            }
            let since = *self.missing.since.entry(path.to_owned()).or_insert(began);
            if began - since >= MISSED {
                self.missing.gone.insert(path.to_owned());
            }
        }
    }

    /// Whether it is known that there is no such file.
    pub fn is_gone(&self, path: &str) -> bool {
        self.missing.gone.contains(path)
    }

    /// Reads a file between two pauses: it has a stamp if both sides have the same.
    fn read(&mut self, path: &str, pause: Micros) -> Option<Seen> {
        let wait = self.dice.below(pause);
        self.pass(self.now + wait);
        let (inode, before, bytes) = match self.files.get(path)? {
            node if node.unreadable => {
                return Some(Seen {
                    stamp: Stamp::default(),
                    changed_at: SystemTime::UNIX_EPOCH,
                    content: Content::Refused(Refusal::Unreadable("input/output error".to_owned())),
                });
            }
            node => (node.inode, node.stamp(), node.bytes.clone()),
        };
        let wait = self.dice.below(pause);
        self.pass(self.now + wait);
        // The open file stays the one that was opened, whatever has the path by now.
        let node = self.files.values().find(|node| node.inode == inode)?;
        let after = node.stamp();
        Some(Seen {
            stamp: if before == after { after } else { Stamp::default() },
            changed_at: node.changed,
            content: Content::Bytes(Arc::new(Blob::new(bytes))),
        })
    }
}

impl Node {
    fn stamp(&self) -> Stamp {
        let since = self.changed.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let seconds = i64::try_from(since.as_secs()).expect("this century");
        Stamp::for_test(
            self.inode,
            self.bytes.len() as u64,
            (seconds, i64::from(since.subsec_nanos())),
        )
    }
}
