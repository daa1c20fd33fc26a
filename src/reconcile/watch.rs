//! Waking the reconciler when a file may have changed.
//!
//! A watch says "look again" and nothing else: which file, and what happened to it, is left unsaid on purpose, because
//! events are dropped, merged and reordered by kernels and editors alike. Goes in: the folders and links on which the
//! last look depended ([`WatchList`]). Comes out: calls of one function. When the kernel gives no watches, the service
//! polls instead, and [`Watching`] says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use notify::{
    ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use serde::{Deserialize, Serialize};

use super::{mounts::Mounts, scan::FolderId};

/// Links are followed so many times, as the kernel does, before a path is taken for a loop.
const MAX_LINKS: usize = 40;

/// How changes of the files are noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Watching {
    /// The kernel tells.
    Native,
    /// Nobody tells: the folder is listed once a second.
    Polling {
        /// Why.
        reason: String,
    },
}

/// Which way of noticing changes to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// The kernel's, and polling where there is none.
    #[default]
    Native,
    /// Polling, whatever the kernel offers.
    Polling,
}

/// Everything that a look depended on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WatchList {
    /// Folders in which any change counts, by their real path.
    folders: BTreeMap<PathBuf, FolderId>,
    /// Single names in folders that are otherwise none of our business: links on the way to a folder or file, and what
    /// they lead to. Each is a real folder's path with the name.
    names: BTreeSet<PathBuf>,
}

impl WatchList {
    /// What the existence and the meaning of `root` depend on, whether it exists or not.
    pub fn of_path(root: &Path) -> Self {
        let mut list = Self::default();
        list.add_link(root);
        list
    }

    /// Adds a folder in which any change counts.
    pub fn add_folder(&mut self, path: &Path, id: FolderId) {
        if let Ok(real) = fs::canonicalize(path) {
            self.folders.insert(real, id);
        }
    }

    /// Adds every link on the way to `path`, and what it leads to: the flip of any of them gives the path a new meaning.
    pub fn add_link(&mut self, path: &Path) {
        let Ok(path) = std::path::absolute(path) else {
            return;
        };
        let mut path = path;
        for _ in 0..MAX_LINKS {
            match first_link(&path) {
                Some((link, leads_to)) => {
                    self.add_name(&link);
                    path = leads_to;
                }
                None => break,
            }
        }
        self.add_name(&path);
    }

    fn add_name(&mut self, path: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name())
            && let Ok(folder) = fs::canonicalize(folder)
        {
            self.names.insert(folder.join(name));
        }
    }

    /// The folders to watch.
    fn wanted(&self) -> BTreeMap<PathBuf, FolderId> {
        let parents = self.names.iter().filter_map(|name| name.parent()).filter_map(|folder| {
            let id = FolderId::of(&fs::metadata(folder).ok()?);
            Some((folder.to_path_buf(), id))
        });
        let mut wanted: BTreeMap<PathBuf, FolderId> = parents.collect();
        wanted.extend(self.folders.iter().map(|(path, id)| (path.clone(), *id)));
        wanted
    }

    /// The file systems on which the folders lie, by their device.
    fn devices(&self) -> BTreeSet<u64> {
        self.folders.values().map(|folder| folder.device()).collect()
    }

    /// Whether a change of this path counts.
    fn concerns(&self, path: &Path) -> bool {
        let inside = path.parent().is_some_and(|folder| self.folders.contains_key(folder));
        inside || self.folders.contains_key(path) || self.names.contains(path)
    }
}

/// The first link among the components of `path`, and `path` with that link followed.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut so_far = PathBuf::new();
    let mut components = path.components();
    while let Some(component) = components.next() {
        match component {
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
                so_far.push(component);
            }
            Component::Normal(name) => {
                let target = fs::read_link(so_far.join(name));
                if let Ok(target) = target {
                    let leads_to = so_far.join(target).join(components.as_path());
                    return Some((so_far.join(name), leads_to));
                }
                so_far.push(name);
            }
        }
    }
    None
}

/// Calls a function whenever something on the list may have changed.
pub struct Watch {
    mode: WatchMode,
    watching: Watching,
    native: Option<RecommendedWatcher>,
    armed: BTreeMap<PathBuf, FolderId>,
    /// The file systems on which the folders lay when they were last judged, and why one of them tells too little.
    judged: BTreeSet<u64>,
    silent: Option<String>,
    shared: Arc<Shared>,
}

/// What the watcher's own thread needs.
struct Shared {
    list: Mutex<WatchList>,
    failed: AtomicBool,
    dirty: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("watching", &self.watching)
            .field("armed", &self.armed)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch of nothing yet. `dirty` is called from another thread and must not wait.
    pub fn new(mode: WatchMode, dirty: impl Fn() + Send + Sync + 'static) -> Self {
        let watching = match mode {
            WatchMode::Native => Watching::Native,
            WatchMode::Polling => Watching::Polling {
                reason: "asked for".to_owned(),
            },
        };
        let shared = Shared {
            list: Mutex::default(),
            failed: AtomicBool::new(false),
            dirty: Box::new(dirty),
        };
        Self {
            mode,
            watching,
            native: None,
            armed: BTreeMap::new(),
            judged: BTreeSet::new(),
            silent: None,
            shared: Arc::new(shared),
        }
    }

    /// How changes are noticed now.
    pub fn watching(&self) -> &Watching {
        &self.watching
    }

    /// Whether files may change without a change of what is told of them, so that only reading them shows it: a file
    /// system of another machine is asked for its stamps now and then, and for its contents when they are opened.
    pub fn only_contents_tell(&self) -> bool {
        self.silent.is_some()
    }

    /// Watches what is on the list and nothing else. With `afresh`, watches that the kernel may have dropped are set
    /// again, and a native watcher is tried where there was none.
    ///
    /// Returns whether a folder is watched that was not: what happened in it since it was listed went unseen, so the
    /// caller looks once more.
    pub fn arm(&mut self, list: &WatchList, afresh: bool) -> bool {
        if self.shared.failed.swap(false, Ordering::Relaxed) {
            self.native = None;
            self.armed.clear();
        }
        match (self.mode, &self.native, &self.watching) {
            (WatchMode::Polling, _, _) => return false,
            (WatchMode::Native, None, Watching::Polling { .. }) if !afresh && list.devices() == self.judged => {
                return false;
            }
            (WatchMode::Native, _, _) => {}
        }
        self.shared
            .list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(list);
        self.judge_mounts(list, afresh);
        let wanted = list.wanted();
        let had_watcher = self.native.is_some();
        let mut armed = self.try_arm(&wanted, afresh);
        // A watcher that used to work and does not now may only have lost its thread or its descriptor.
        if armed.as_ref().is_err_and(|error| had_watcher && !is_limit(error)) {
            self.native = None;
            self.armed.clear();
            armed = self.try_arm(&wanted, true);
        }
        let (watching, added) = match (armed, &self.silent) {
            (Ok(added), None) => (Watching::Native, added),
            // Events of this machine's own changes are still worth having.
            (armed, Some(reason)) => (Watching::Polling { reason: reason.clone() }, armed.unwrap_or(false)),
            (Err(error), None) => {
                self.native = None;
                self.armed.clear();
                let reason = why_not(error);
                (Watching::Polling { reason }, false)
            }
        };
        if let Watching::Polling { reason } = &watching
            && watching != self.watching
        {
            tracing::warn!(
                reason,
                "no file events; the folder of jobs is looked at again and again instead"
            );
        }
        self.watching = watching;
        added
    }

    /// Finds out whether the folders lie where changes are not told. Asked again now and then, since another file system
    /// may be mounted over one.
    fn judge_mounts(&mut self, list: &WatchList, afresh: bool) {
        let devices = list.devices();
        if afresh || devices != self.judged {
            self.silent = Mounts::of_this_process().silent(&devices);
            self.judged = devices;
        }
    }

    fn try_arm(&mut self, wanted: &BTreeMap<PathBuf, FolderId>, afresh: bool) -> notify::Result<bool> {
        let watcher = match &mut self.native {
            Some(watcher) => watcher,
            None => {
                let shared = Arc::clone(&self.shared);
                self.native
                    .insert(notify::recommended_watcher(move |event| shared.hear(&event))?)
            }
        };
        self.armed.retain(|path, id| {
            let keep = wanted.get(path) == Some(id);
            if !keep {
                // The kernel has dropped the watch of a folder that is gone, so that this may well fail.
                let _ = watcher.unwatch(path);
            }
            keep
        });
        let mut added = false;
        for (path, id) in wanted {
            if self.armed.contains_key(path) && !afresh {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => added |= self.armed.insert(path.clone(), *id).is_none(),
                Err(error) if is_gone(&error) => {
                    self.armed.remove(path);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(added)
    }
}

/// Whether the system gives no more watches, which a new watcher would not change.
fn is_limit(error: &notify::Error) -> bool {
    matches!(error.kind, ErrorKind::MaxFilesWatch)
}

fn why_not(error: notify::Error) -> String {
    match error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system's limit of watches is reached: raise fs.inotify.max_user_watches".to_owned()
        }
        ErrorKind::Io(error) => error.to_string(),
        ErrorKind::Generic(_) | ErrorKind::PathNotFound | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => {
            error.to_string()
        }
    }
}

/// Whether a folder went away between being listed and being watched, which its parent's watch tells.
fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        ErrorKind::Generic(_) | ErrorKind::InvalidConfig(_) | ErrorKind::MaxFilesWatch => false,
    }
}

impl Shared {
    fn hear(&self, event: &notify::Result<notify::Event>) {
        let counts = match event {
            // A full queue comes as an event without a path.
            Ok(event) if event.need_rescan() || event.paths.is_empty() => true,
            Ok(event) => {
                let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
                !is_reading(&event.kind) && event.paths.iter().any(|path| list.concerns(path))
            }
            Err(_) => {
                self.failed.store(true, Ordering::Relaxed);
                true
            }
        };
        if counts {
            (self.dirty)();
        }
    }
}

/// Whether the event tells of a read, as every look makes many: it would wake the reconciler for ever.
fn is_reading(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        sync::mpsc::{Receiver, channel},
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::reconcile::scan::Scanner;

    fn watch() -> (Watch, Receiver<()>) {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let watch = Watch::new(WatchMode::Native, move || {
            let _ = sender.lock().expect("not poisoned").send(());
        });
        (watch, receiver)
    }

    fn wakes(receiver: &Receiver<()>) -> bool {
        receiver.recv_timeout(Duration::from_secs(300)).is_ok()
    }

    #[test]
    fn every_link_on_the_way_is_watched() {
        let temp = tempfile::tempdir().expect("a folder");
        let real = fs::canonicalize(temp.path()).expect("a path");
        fs::create_dir_all(real.join("rev1/jobs.d")).expect("folders");
        symlink("rev1", real.join("current")).expect("a link");
        symlink("current/jobs.d", real.join("jobs")).expect("a link");
        let list = WatchList::of_path(&real.join("jobs"));
        for name in ["jobs", "current", "rev1/jobs.d"] {
            assert!(list.names.contains(&real.join(name)), "{name}: {list:?}");
        }
        assert_eq!(list.wanted().keys().collect::<Vec<_>>(), [&real, &real.join("rev1")]);
    }

    #[test]
    fn a_loop_of_links_ends() {
        let temp = tempfile::tempdir().expect("a folder");
        symlink("b", temp.path().join("a")).expect("a link");
        symlink("a", temp.path().join("b")).expect("a link");
        assert_eq!(WatchList::of_path(&temp.path().join("a")).names.len(), 2);
    }

    #[test]
    fn a_write_a_flip_and_the_return_of_the_folder_wake() {
        let temp = tempfile::tempdir().expect("a folder");
        for rev in ["rev1", "rev2"] {
            fs::create_dir_all(temp.path().join(rev)).expect("folders");
        }
        let root = temp.path().join("jobs.d");
        symlink("rev1", &root).expect("a link");
        let mut scanner = Scanner::new(&root);
        let (mut watch, receiver) = watch();
        let look = scanner.look(SystemTime::now()).expect("a look");
        assert!(watch.arm(&look.watch, false));
        if *watch.watching() != Watching::Native {
            println!("skipped: {:?}", watch.watching());
            return;
        }
        assert!(!watch.arm(&look.watch, true), "the same list adds nothing");
        scanner.look(SystemTime::now()).expect("a look");
        fs::write(temp.path().join("rev1/a.yaml"), "x").expect("a file");
        assert!(wakes(&receiver), "a write");

        symlink("rev2", temp.path().join("next")).expect("a link");
        fs::rename(temp.path().join("next"), &root).expect("a flip");
        assert!(wakes(&receiver), "a flip");

        fs::remove_file(&root).expect("removed");
        watch.arm(&WatchList::of_path(&root), false);
        while receiver.try_recv().is_ok() {}
        fs::create_dir(&root).expect("a folder");
        assert!(wakes(&receiver), "the folder's return");
    }

    #[test]
    fn a_watcher_that_died_is_started_again() {
        let temp = tempfile::tempdir().expect("a folder");
        let (mut watch, receiver) = watch();
        let look = Scanner::new(temp.path()).look(SystemTime::now()).expect("a look");
        watch.arm(&look.watch, false);
        if *watch.watching() != Watching::Native {
            println!("skipped: {:?}", watch.watching());
            return;
        }
        watch
            .shared
            .hear(&Err(notify::Error::generic("the queue's descriptor is gone")));
        assert!(wakes(&receiver), "its death");
        assert!(
            watch.arm(&look.watch, false),
            "a new watcher has seen nothing of what happened before it"
        );
        while receiver.try_recv().is_ok() {}
        fs::write(temp.path().join("a.yaml"), "x").expect("a file");
        assert!(wakes(&receiver), "a write");
        assert_eq!(*watch.watching(), Watching::Native);
    }

    #[test]
    fn reading_and_the_neighbours_of_the_folder_are_not_changes() {
        assert!(is_reading(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_reading(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        let temp = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(temp.path()).expect("a path").join("jobs.d");
        fs::create_dir(&root).expect("a folder");
        let list = Scanner::new(&root).look(SystemTime::now()).expect("a look").watch;
        assert!(list.concerns(&root.join("a.yaml")) && list.concerns(&root));
        assert!(!list.concerns(&root.with_file_name("daemon.log")));
    }
}
