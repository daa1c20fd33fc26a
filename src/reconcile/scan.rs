//! One look at the folder of jobs: which files there are, and what stands in them.
//!
//! Goes in: the folder's path and the clock's reading. Comes out: a [`Look`], or [`SourceUnavailable`] when the folder
//! itself cannot be listed, which is never the same as an empty folder. This file does not know what a job is, what was
//! there before (but for the last look, which saves reading), or whether a content is finished: that is for `settle`.
//! How the folders are walked is in [`walk`], how a file is read in [`read`].

mod read;
mod walk;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use self::{
    read::read_all,
    walk::{Found, Walk},
};
use super::watch::WatchList;
use crate::core::id::SpecHash;

/// The largest job file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// The most job files below one folder.
pub const MAX_FILES: usize = 100_000;
/// How deep a job file may lie.
pub const MAX_DEPTH: usize = 32;

/// Two writes closer than this may bear the same timestamp: a tick of the kernel's clock, with room to spare.
const TIMESTAMP_TICK: Duration = Duration::from_millis(50);

/// The files of a look by their path below the folder. Two looks that saw the same share one map.
pub type SeenFiles = Arc<BTreeMap<Arc<str>, Seen>>;

/// What one look saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Which folder was looked at; its path may lead to another one later.
    pub folder: FolderId,
    /// Whether the folder says, by a file `.allow-empty`, that it may be empty.
    pub allow_empty: bool,
    /// Whether git is in the middle of changing the files.
    pub git_busy: bool,
    /// The job files.
    pub files: SeenFiles,
    /// Subfolders that could not be looked into, and why. What lies below them is unknown, not gone.
    pub blind: BTreeMap<String, String>,
    /// Where the next change can show itself.
    pub watch: WatchList,
    /// How long the look took: a file was read at some instant of it.
    pub took: Duration,
}

/// A folder's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderId {
    device: u64,
    inode: u64,
}

/// A file as one look saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What tells this state of the file from another without reading it.
    pub stamp: Stamp,
    /// When the kernel last saw the file change.
    pub changed_at: SystemTime,
    /// What stands in it.
    pub content: Content,
}

/// What changes whenever a file is replaced or written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What stands in a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// Its bytes.
    Bytes(Arc<Blob>),
    /// Nothing that may be used.
    Refused(Refusal),
}

/// Bytes with their hash.
#[derive(PartialEq, Eq)]
pub struct Blob {
    /// The hash of `bytes`.
    pub hash: SpecHash,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why a file's content may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The system does not give it.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// A device, a pipe, a socket.
    #[error("is not a regular file")]
    NotAFile,
    /// Over [`MAX_FILE_BYTES`].
    #[error("has {0} bytes, and a job file may have 1 MiB: move scripts and data into files of their own")]
    TooLarge(u64),
    /// Below more than [`MAX_DEPTH`] folders.
    #[error("lies more than 32 folders deep: move it up")]
    TooDeep,
    /// One of more than [`MAX_FILES`].
    #[error("is one of more than 100000 job files: the first 100000 by name are read")]
    TooMany,
    /// Somebody else may write it, and Petit runs as root.
    #[error(
        "{0}, and Petit runs as root what stands in it: let only root write it (`chown root`, `chmod go-w`), or start \
         Petit with `--insecure-permissions`"
    )]
    Insecure(String),
    /// A name that cannot be written in YAML, JSON or on a screen.
    #[error("has a name that is not UTF-8: rename it")]
    BadName,
}

/// The folder of jobs cannot be listed, so nothing is known about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the folder of jobs {} {problem}", path.display())]
pub struct SourceUnavailable {
    /// The folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl Content {
    /// The bytes, if there are any to use.
    pub fn bytes(&self) -> Option<&Arc<Blob>> {
        match self {
            Self::Bytes(blob) => Some(blob),
            Self::Refused(_) => None,
        }
    }

    /// Whether the file has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_some_and(|blob| blob.bytes.is_empty())
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(a), Self::Bytes(b)) => Arc::ptr_eq(a, b) || a.hash == b.hash,
            (Self::Refused(a), Self::Refused(b)) => a == b,
            (Self::Bytes(_), Self::Refused(_)) | (Self::Refused(_), Self::Bytes(_)) => false,
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.hash.short(), self.bytes.len())
    }
}

impl Blob {
    /// Bytes, hashed.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            hash: SpecHash::of(&bytes),
            bytes,
        }
    }
}

impl Look {
    /// Refuses a folder with nothing in it that took the place of `known`, the one in which files were last found: that
    /// is not the user's empty folder, but what is left when a file system is unmounted, or what a program made anew
    /// because it missed the old one. After a start nobody knows which folder it was, and a file system that is not
    /// mounted yet looks the same; `has_jobs` says that there were files in it. What cannot be looked into is no file.
    pub(super) fn unless_replaced(
        self,
        root: &Path,
        known: Option<FolderId>,
        has_jobs: bool,
    ) -> Result<Self, SourceUnavailable> {
        let happened = match known {
            Some(folder) if folder != self.folder => "was replaced by an empty one",
            None if has_jobs => "is empty, and jobs from it were active before the start",
            Some(_) | None => return Ok(self),
        };
        if !self.files.is_empty() || self.allow_empty {
            return Ok(self);
        }
        Err(SourceUnavailable {
            path: root.to_owned(),
            problem: format!("{happened}: if that is meant, put a file `.allow-empty` into it"),
        })
    }
}

/// What the files of a folder may be trusted with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whoever may write them.
    #[default]
    Anyone,
    /// Only what nobody but root may write, because root runs what stands in them.
    OnlyRoot,
}

/// Looks at one folder again and again, and reads only what changed since the last time.
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    trust: Trust,
    last: SeenFiles,
    /// The clock at the last look.
    looked_at: SystemTime,
}

impl Scanner {
    /// A scanner of the folder at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            trust: Trust::Anyone,
            last: SeenFiles::default(),
            looked_at: SystemTime::UNIX_EPOCH,
        }
    }

    /// Trusts files as `trust` says, and not anyone's.
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Reads every file anew at the next look: for file systems whose stamps are told late or never.
    pub fn distrust_stamps(&mut self) {
        self.looked_at = SystemTime::UNIX_EPOCH;
    }

    /// Lists the folder to any depth and reads what is new. `now` is the clock that the file system stamps files with.
    pub fn look(&mut self, now: SystemTime) -> Result<Look, SourceUnavailable> {
        let began = Instant::now();
        let unavailable = |problem: String| SourceUnavailable {
            path: self.root.clone(),
            problem,
        };
        let folder = fs::metadata(&self.root).map_err(|error| unavailable(describe(&error)))?;
        if !folder.is_dir() {
            return Err(unavailable("is not a folder".to_owned()));
        }
        self.trust
            .judge(&folder)
            .map_err(|distrust| unavailable(distrust.to_string()))?;
        let walk = Walk::of(&self.root, &folder, self.trust).map_err(unavailable)?;
        let mut look = Look {
            folder: FolderId::of(&folder),
            allow_empty: self.root.join(".allow-empty").exists(),
            git_busy: git_is_busy(&self.root),
            files: self.files(walk.found),
            blind: walk.blind,
            watch: walk.watch,
            took: Duration::ZERO,
        };
        look.took = began.elapsed();
        // A folder that was swapped during the walk gives a mixture of two states, each half of it real: the next look,
        // which this error makes the caller take, sees one.
        match fs::metadata(&self.root) {
            Ok(after) if FolderId::of(&after) == look.folder => {}
            Ok(_) => return Err(unavailable("was replaced while it was read".to_owned())),
            Err(error) => return Err(unavailable(describe(&error))),
        }
        self.last = Arc::clone(&look.files);
        self.looked_at = now;
        Ok(look)
    }

    /// What stands in the files that were found: as the last look saw it where the stamp says so, and read otherwise.
    /// When nothing is different, it is the last look's very map.
    fn files(&self, mut found: Vec<Found>) -> SeenFiles {
        if found.len() > MAX_FILES {
            found.sort_by(|a, b| a.path.cmp(&b.path));
            for file in &mut found[MAX_FILES..] {
                file.state = walk::State::Refused(Refusal::TooMany);
            }
        }
        // Most looks end here, and nothing was copied for them.
        let is_known = |file: &Found| match (self.last.get(&*file.path), &file.state) {
            (Some(last), walk::State::Stamped(stamp)) => self.still_stands(last, *stamp),
            (Some(last), walk::State::Refused(refusal)) => last.content == Content::Refused(refusal.clone()),
            (None, _) => false,
        };
        if found.len() == self.last.len() && found.iter().all(is_known) {
            return Arc::clone(&self.last);
        }
        let mut same = found.len() == self.last.len();
        let mut files = Vec::with_capacity(found.len());
        let mut unread = Vec::new();
        for file in found {
            let last = self.last.get_key_value(&*file.path);
            match (last, file.state) {
                (Some((path, last)), walk::State::Stamped(stamp)) if self.still_stands(last, stamp) => {
                    files.push((Arc::clone(path), last.clone()));
                }
                (_, walk::State::Stamped(_)) => unread.push(file.path),
                (Some((path, last)), walk::State::Refused(refusal))
                    if last.content == Content::Refused(refusal.clone()) =>
                {
                    files.push((Arc::clone(path), last.clone()));
                }
                (_, walk::State::Refused(refusal)) => {
                    same = false;
                    files.push((file.path.into(), Seen::refused(refusal)));
                }
            }
        }
        for (path, seen) in read_all(&self.root, unread, self.trust) {
            match self.last.get_key_value(&*path) {
                // A fresh file that was read again.
                Some((path, last)) if *last == seen => files.push((Arc::clone(path), last.clone())),
                Some(_) | None => {
                    same = false;
                    files.push((path.into(), seen));
                }
            }
        }
        // A file that went away between being listed and being read makes the number differ too.
        if same && files.len() == self.last.len() {
            return Arc::clone(&self.last);
        }
        Arc::new(files.into_iter().collect())
    }

    /// Whether a file of this stamp holds what the last look saw.
    fn still_stands(&self, last: &Seen, stamp: Stamp) -> bool {
        last.still_stands(stamp, self.looked_at)
    }
}

impl Trust {
    /// What this process may trust: as root, only what nobody else may write.
    pub fn of_this_process() -> Self {
        // The owner of a process' own folder below /proc is the one on whose behalf it acts.
        match fs::metadata("/proc/self") {
            Ok(process) if process.uid() == 0 => Self::OnlyRoot,
            Ok(_) | Err(_) => Self::Anyone,
        }
    }

    /// Whether a file or folder may be trusted.
    pub fn judge(self, metadata: &Metadata) -> Result<(), Refusal> {
        let mode = metadata.mode();
        let who = match self {
            Self::Anyone => None,
            Self::OnlyRoot if metadata.uid() != 0 => Some(format!("belongs to user {}", metadata.uid())),
            Self::OnlyRoot if mode & 0o002 != 0 => Some("may be written by everyone".to_owned()),
            Self::OnlyRoot if mode & 0o020 != 0 && metadata.gid() != 0 => {
                Some(format!("may be written by group {}", metadata.gid()))
            }
            Self::OnlyRoot => None,
        };
        who.map_or(Ok(()), |who| Err(Refusal::Insecure(who)))
    }
}

/// Whether a file of this name holds a job. What editors leave behind (`4913`, `x.yaml~`, `.#x.yaml`, `.x.yaml.swp`,
/// `#x.yaml#`) is hidden or has another ending.
pub fn is_job_file(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let ending = [&b".yaml"[..], b".yml"].iter().any(|ending| bytes.ends_with(ending));
    ending && !is_hidden(name) && !bytes.starts_with(b"#")
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

impl FolderId {
    /// The device that the folder's file system has.
    pub(super) fn device(self) -> u64 {
        self.device
    }

    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

#[cfg(test)]
impl FolderId {
    pub(super) fn for_test(inode: u64) -> Self {
        Self { device: 1, inode }
    }
}

#[cfg(test)]
impl Stamp {
    pub(super) fn for_test(inode: u64, size: u64, changed: (i64, i64)) -> Self {
        Self {
            inode,
            size,
            modified: changed,
            changed,
            ..Self::default()
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn changed_at(&self) -> SystemTime {
        let (seconds, nanos) = self.changed;
        let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH + whole + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

impl Seen {
    fn new(stamp: Stamp, content: Content) -> Self {
        Self {
            stamp,
            changed_at: stamp.changed_at(),
            content,
        }
    }

    fn refused(refusal: Refusal) -> Self {
        Self {
            stamp: Stamp::default(),
            changed_at: SystemTime::UNIX_EPOCH,
            content: Content::Refused(refusal),
        }
    }

    /// Whether the file changed while it was read.
    pub(super) fn is_torn(&self) -> bool {
        self.stamp == Stamp::default() && self.content.bytes().is_some()
    }

    /// Whether a file of this stamp holds what was seen by a look at `looked_at`.
    pub(super) fn still_stands(&self, stamp: Stamp, looked_at: SystemTime) -> bool {
        let readable = !matches!(self.content, Content::Refused(Refusal::Unreadable(_)));
        self.stamp == stamp && readable && !self.may_hide_a_write(looked_at)
    }

    /// Whether the file may be written once more without a change of its stamp: a second write of the same size within
    /// one tick of the clock. Such a file is read again at the next look.
    fn may_hide_a_write(&self, now: SystemTime) -> bool {
        match now.duration_since(self.changed_at) {
            Ok(age) => age < TIMESTAMP_TICK,
            Err(_) => true,
        }
    }
}

/// What an error says of a file or folder, as the end of a sentence that begins with its path.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether git holds its index's lock in the repository around the folder. Only looks: takes no lock itself.
fn git_is_busy(root: &Path) -> bool {
    let Ok(real) = fs::canonicalize(root) else {
        return false;
    };
    let Some(dot_git) = real
        .ancestors()
        .map(|folder| folder.join(".git"))
        .find(|git| git.exists())
    else {
        return false;
    };
    // In a linked worktree `.git` is a file that names the real folder.
    let folder = match fs::read_to_string(&dot_git) {
        Ok(text) => match text.trim().strip_prefix("gitdir: ") {
            Some(linked) => dot_git.with_file_name(linked),
            None => return false,
        },
        Err(_) => dot_git,
    };
    folder.join("index.lock").exists()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3_600)
    }

    fn names(look: &Look) -> Vec<&str> {
        look.files.keys().map(|path| &**path).collect()
    }

    #[test]
    fn leftovers_are_not_jobs() {
        for good in ["a.yaml", "b.yml", "x y.yaml"] {
            assert!(is_job_file(OsStr::new(good)), "{good}");
        }
        for bad in [
            "4913",
            "a.yaml~",
            ".#a.yaml",
            ".a.yaml.swp",
            "#a.yaml#",
            ".a.yaml",
            "a.yaml.bak",
            "yaml",
            "#a.yaml",
        ] {
            assert!(!is_job_file(OsStr::new(bad)), "{bad}");
        }
    }

    #[test]
    fn a_missing_folder_is_unavailable_and_an_empty_one_is_empty() {
        let temp = tempfile::tempdir().expect("a folder");
        assert!(
            Scanner::new(temp.path())
                .look(later())
                .expect("a look")
                .files
                .is_empty()
        );
        let missing = Scanner::new(temp.path().join("gone"))
            .look(later())
            .expect_err("missing");
        assert!(missing.to_string().ends_with("does not exist"), "{missing}");
        fs::write(temp.path().join("file"), "").expect("a file");
        assert!(Scanner::new(temp.path().join("file")).look(later()).is_err());
    }

    #[test]
    fn links_into_hidden_folders_are_followed_and_the_folders_are_not() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path();
        fs::create_dir_all(root.join("..2024/deep")).expect("folders");
        fs::create_dir_all(root.join("sub/.git")).expect("folders");
        fs::write(root.join("..2024/a.yaml"), "a").expect("a file");
        fs::write(root.join("sub/b.yml"), "b").expect("a file");
        fs::write(root.join("sub/.git/c.yaml"), "c").expect("a file");
        symlink("..2024", root.join("..data")).expect("a link");
        symlink("..data/a.yaml", root.join("a.yaml")).expect("a link");
        symlink("..", root.join("sub/loop")).expect("a link");
        symlink("nowhere", root.join("d.yaml")).expect("a link");
        symlink("nowhere", root.join("e")).expect("a link");
        let look = Scanner::new(root).look(later()).expect("a look");
        assert_eq!(names(&look), ["a.yaml", "d.yaml", "sub/b.yml"]);
        assert_eq!(look.files["a.yaml"].content.bytes().expect("bytes").bytes, b"a");
        assert!(matches!(
            &look.files["d.yaml"].content,
            Content::Refused(Refusal::Unreadable(_))
        ));
        assert_eq!(look.blind.keys().collect::<Vec<_>>(), ["e"]);
    }

    #[test]
    fn what_is_over_the_budget_is_an_error_of_that_file() {
        let temp = tempfile::tempdir().expect("a folder");
        fs::write(temp.path().join("big.yaml"), vec![b'#'; 1 + (1 << 20)]).expect("a file");
        let deep = temp.path().join(vec!["d"; MAX_DEPTH].join("/"));
        fs::create_dir_all(&deep).expect("folders");
        fs::write(deep.join("deep.yaml"), "x").expect("a file");
        fs::write(temp.path().join("ok.yaml"), "x").expect("a file");
        let look = Scanner::new(temp.path()).look(later()).expect("a look");
        assert_eq!(
            look.files["big.yaml"].content,
            Content::Refused(Refusal::TooLarge(1 + (1 << 20)))
        );
        let refused = look
            .files
            .values()
            .filter(|seen| seen.content.bytes().is_none())
            .count();
        assert_eq!((look.files.len(), refused), (3, 2));
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_block() {
        let temp = tempfile::tempdir().expect("a folder");
        let made = std::process::Command::new("mkfifo")
            .arg(temp.path().join("p.yaml"))
            .status();
        assert!(made.expect("mkfifo runs").success());
        let look = Scanner::new(temp.path()).look(later()).expect("a look");
        assert_eq!(look.files["p.yaml"].content, Content::Refused(Refusal::NotAFile));
    }

    #[test]
    fn a_file_is_read_again_while_its_timestamp_is_fresh() {
        let temp = tempfile::tempdir().expect("a folder");
        let path = temp.path().join("a.yaml");
        fs::write(&path, "one").expect("a file");
        let written = Stamp::of(&fs::metadata(&path).expect("a file")).changed_at();
        let mut scanner = Scanner::new(temp.path());
        let fresh = scanner.look(written + Duration::from_millis(1)).expect("a look");
        let seen = &fresh.files["a.yaml"];
        assert!(
            !scanner.still_stands(seen, seen.stamp),
            "a fresh file must not be trusted to its stamp"
        );
        let first = scanner.look(later()).expect("a look");
        let second = scanner.look(later()).expect("a look");
        let (first, second) = (
            first.files["a.yaml"].content.bytes(),
            second.files["a.yaml"].content.bytes(),
        );
        assert!(
            Arc::ptr_eq(first.expect("bytes"), second.expect("bytes")),
            "an old file is not read twice"
        );
    }

    #[test]
    fn a_folder_without_permission_hides_its_files_and_does_not_remove_them() {
        let temp = tempfile::tempdir().expect("a folder");
        let sub = temp.path().join("sub");
        fs::create_dir(&sub).expect("a folder");
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o000)).expect("permissions");
        let refused = fs::read_dir(&sub).is_err();
        let look = Scanner::new(temp.path()).look(later()).expect("a look");
        fs::set_permissions(&sub, fs::Permissions::from_mode(0o755)).expect("permissions");
        // Root reads everything, so that there is nothing to be blind to.
        assert_eq!(look.blind.contains_key("sub"), refused);
    }

    #[test]
    fn git_is_seen_at_work() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = temp.path().join("jobs.d");
        fs::create_dir_all(temp.path().join(".git")).expect("a folder");
        fs::create_dir(&root).expect("a folder");
        assert!(!Scanner::new(&root).look(later()).expect("a look").git_busy);
        fs::write(temp.path().join(".git/index.lock"), "").expect("a file");
        assert!(Scanner::new(&root).look(later()).expect("a look").git_busy);
    }
}
