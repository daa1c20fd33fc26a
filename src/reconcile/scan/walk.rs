//! Listing the folder and all below it: which job files there are, and which folders and links that depended on.
//!
//! Each entry costs one question to the kernel, asked relative to its folder, and names that cannot be jobs cost none.
//! Nothing is opened here but folders.

use std::{
    collections::BTreeMap,
    fs::{self, DirEntry, Metadata},
    io,
    path::{Path, PathBuf},
};

use super::{FolderId, MAX_DEPTH, Refusal, Stamp, Trust, describe, is_hidden, is_job_file};
use crate::reconcile::watch::WatchList;

/// What was found.
pub(super) struct Walk {
    /// The job files, in no order.
    pub(super) found: Vec<Found>,
    /// Subfolders that could not be looked into, and why.
    pub(super) blind: BTreeMap<String, String>,
    /// Where the next change can show itself.
    pub(super) watch: WatchList,
    trust: Trust,
}

/// A job file.
pub(super) struct Found {
    /// Its path below the folder of jobs.
    pub(super) path: String,
    /// What can be said without opening it.
    pub(super) state: State,
}

/// What can be said of a file without opening it.
pub(super) enum State {
    /// Which state of the file it is.
    Stamped(Stamp),
    /// That it may not be used.
    Refused(Refusal),
}

/// A folder on the way from the folder of jobs to where the walk is.
struct Folder<'a> {
    path: &'a Path,
    /// The path below the folder of jobs, with a slash at its end unless it is empty.
    below: &'a str,
    id: FolderId,
    depth: usize,
    parent: Option<&'a Folder<'a>>,
}

impl Walk {
    /// Walks through the folder at `root`. An error says that the listing is not to be trusted, and why.
    pub(super) fn of(root: &Path, metadata: &Metadata, trust: Trust) -> Result<Self, String> {
        let mut walk = Self {
            found: Vec::new(),
            blind: BTreeMap::new(),
            watch: WatchList::of_path(root),
            trust,
        };
        let folder = Folder {
            path: root,
            below: "",
            id: FolderId::of(metadata),
            depth: 0,
            parent: None,
        };
        match walk.folder(&folder) {
            Ok(()) => Ok(walk),
            Err(Trouble::Opening(error) | Trouble::Listing(error)) => Err(describe(&error)),
        }
    }

    fn folder(&mut self, folder: &Folder<'_>) -> Result<(), Trouble> {
        let entries = fs::read_dir(folder.path).map_err(Trouble::Opening)?;
        self.watch.add_folder(folder.path, folder.id);
        for entry in entries {
            self.entry(folder, &entry.map_err(Trouble::Listing)?)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &Folder<'_>, entry: &DirEntry) -> Result<(), Trouble> {
        let name = entry.file_name();
        if is_hidden(&name) {
            return Ok(());
        }
        let is_job = is_job_file(&name);
        let Ok(kind) = entry.file_type() else {
            // It is gone since it was listed.
            return Ok(());
        };
        if kind.is_file() && !is_job {
            return Ok(());
        }
        let below = || [folder.below, &*name.to_string_lossy()].concat();
        let metadata = if kind.is_symlink() {
            fs::metadata(entry.path())
        } else {
            entry.metadata()
        };
        let metadata = match metadata {
            Ok(metadata) => metadata,
            Err(_) if fs::symlink_metadata(entry.path()).is_err() => return Ok(()),
            Err(error) if is_job => {
                self.watch_link(kind, entry);
                self.refuse(below(), Refusal::Unreadable(describe(&error)));
                return Ok(());
            }
            Err(error) => {
                self.blind.insert(below(), describe(&error));
                return Ok(());
            }
        };
        if metadata.is_dir() {
            return self.subfolder(folder, &entry.path(), below(), &metadata);
        }
        if !is_job {
            return Ok(());
        }
        self.watch_link(kind, entry);
        let path = below();
        if name.to_str().is_none() || folder.below.contains(char::REPLACEMENT_CHARACTER) {
            self.refuse(path, Refusal::BadName);
        } else if folder.depth >= MAX_DEPTH {
            self.refuse(path, Refusal::TooDeep);
        } else if !metadata.is_file() {
            self.refuse(path, Refusal::NotAFile);
        } else {
            let state = State::Stamped(Stamp::of(&metadata));
            self.found.push(Found { path, state });
        }
        Ok(())
    }

    fn subfolder(
        &mut self,
        parent: &Folder<'_>,
        path: &Path,
        mut below: String,
        metadata: &Metadata,
    ) -> Result<(), Trouble> {
        let id = FolderId::of(metadata);
        let mut ancestors = std::iter::successors(Some(parent), |folder| folder.parent);
        if ancestors.any(|folder| folder.id == id) {
            // A link that leads back to where the walk came from.
            return Ok(());
        }
        if parent.depth >= MAX_DEPTH {
            self.blind.insert(below, Refusal::TooDeep.to_string());
            return Ok(());
        }
        if let Err(distrust) = self.trust.judge(metadata) {
            self.watch.add_folder(path, id);
            self.blind.insert(below, distrust.to_string());
            return Ok(());
        }
        below.push('/');
        let folder = Folder {
            path,
            below: &below,
            id,
            depth: parent.depth + 1,
            parent: Some(parent),
        };
        match self.folder(&folder) {
            Err(Trouble::Opening(_)) if fs::symlink_metadata(path).is_err() => Ok(()),
            Err(Trouble::Opening(error)) => {
                below.pop();
                self.blind.insert(below, describe(&error));
                Ok(())
            }
            // What was not listed cannot be told from what is not there.
            listed @ (Ok(()) | Err(Trouble::Listing(_))) => listed,
        }
    }

    fn watch_link(&mut self, kind: fs::FileType, entry: &DirEntry) {
        if kind.is_symlink() {
            let path: PathBuf = entry.path();
            self.watch.add_link(&path);
        }
    }

    fn refuse(&mut self, path: String, refusal: Refusal) {
        let state = State::Refused(refusal);
        self.found.push(Found { path, state });
    }
}

/// Why a folder could not be listed.
enum Trouble {
    /// It could not be opened.
    Opening(io::Error),
    /// Its listing broke off.
    Listing(io::Error),
}
