//! Memory limits by the kernel's own means: a control group for each attempt that has a limit.
//!
//! This needs a part of the cgroup v2 tree that belongs to Petit: one that systemd delegated to its unit
//! (`Delegate=memory`), or one in which Petit is alone, as in a container of its own. [`Cgroups::claim`] looks for it, and
//! returns nothing where there is none; then [`scales`](super::scales) alone watch the limit. Processes of a group may not
//! stand beside its subgroups, so Petit moves itself into one.
//!
//! A process is put into its group right after it was started, because `posix_spawn` cannot start it there. What it forks
//! in between is moved too; what slips through even so is still weighed with its tree.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::sys;

/// A part of the tree in which Petit may make groups.
#[derive(Debug, Clone)]
pub struct Cgroups {
    base: PathBuf,
}

/// The group of one attempt. Dropped, it is removed with everybody in it.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

/// The subgroup that Petit itself moves to.
const OWN: &str = "petit";
/// How the names of attempts' groups begin.
const ATTEMPT: &str = "attempt-";
/// How often, a millisecond apart, a group is tried to be removed whose processes have just been killed.
const REMOVE_TRIES: usize = 200;
/// How many rounds of children are moved at most: a tree that forks faster than this is found by the scales.
const MOVE_ROUNDS: usize = 8;

impl Cgroups {
    /// Takes possession of what belongs to this process, if anything does. For the daemon only: the process is moved.
    pub fn claim() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::claim_at(&place(&own, &mounts)?, std::process::id(), is_delegated)
    }

    fn claim_at(own: &Path, me: u32, is_delegated: impl Fn(&Path) -> bool) -> Option<Self> {
        let has_memory = |group: &Path| {
            words(&group.join("cgroup.controllers"))
                .iter()
                .any(|word| word == "memory")
        };
        // With `DelegateSubgroup=` systemd starts Petit in a subgroup already, and the unit's own group is the one above.
        if let Some(above) = own.parent().filter(|above| is_delegated(above) && has_memory(above))
            && !is_delegated(own)
        {
            return Self::prepare(above, None);
        }
        let is_alone = words(&own.join("cgroup.procs")) == [me.to_string()];
        (has_memory(own) && (is_delegated(own) || is_alone))
            .then(|| Self::prepare(own, Some(me)))
            .flatten()
    }

    fn prepare(base: &Path, to_move: Option<u32>) -> Option<Self> {
        let leaf = base.join(OWN);
        let prepared = (|| {
            if let Some(me) = to_move {
                make(&leaf)?;
                let others = words(&base.join("cgroup.procs"));
                for process in others.iter().filter(|process| **process != me.to_string()) {
                    // One that is gone by now need not be moved.
                    let _ = fs::write(leaf.join("cgroup.procs"), process);
                }
                fs::write(leaf.join("cgroup.procs"), me.to_string())?;
            }
            fs::write(base.join("cgroup.subtree_control"), "+memory")
        })();
        if let Err(error) = prepared {
            tracing::debug!(group = %base.display(), %error, "memory limits are watched without a control group");
            if let Some(me) = to_move {
                // Back to where it came from; if that fails too, it is as well off where it is.
                let _ = fs::write(base.join("cgroup.procs"), me.to_string());
                let _ = fs::remove_dir(&leaf);
            }
            return None;
        }
        let this = Self { base: base.to_owned() };
        this.remove_leftovers();
        Some(this)
    }

    /// Groups of a Petit that died, with whoever is still in them.
    fn remove_leftovers(&self) {
        let Ok(entries) = fs::read_dir(&self.base) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(ATTEMPT) {
                drop(Group { path: entry.path() });
            }
        }
    }

    /// A new group with this limit, in bytes. Beyond it the kernel kills everybody in it.
    pub(super) fn group(&self, limit: u64) -> io::Result<Group> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // With Petit's own number, since leftovers of the one before may take a moment to go.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{ATTEMPT}{}-{number}", std::process::id());
        let group = Group {
            path: self.base.join(name),
        };
        fs::create_dir(&group.path)?;
        fs::write(group.path.join("memory.max"), limit.to_string())?;
        fs::write(group.path.join("memory.oom.group"), "1")?;
        // A kernel without swap accounting has no such file, and swapping is no way round a limit elsewhere.
        let _ = fs::write(group.path.join("memory.swap.max"), "0");
        Ok(group)
    }
}

impl Group {
    /// Moves a process that was just started, and the children that it has already.
    pub(super) fn enter(&self, leader: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), leader.to_string())?;
        let mut parents = vec![leader.to_string()];
        for _ in 0..MOVE_ROUNDS {
            let children = |parent: &String| words(Path::new(&format!("/proc/{parent}/task/{parent}/children")));
            let found: Vec<String> = parents.iter().flat_map(children).collect();
            if found.is_empty() {
                break;
            }
            for child in &found {
                // One that is gone by now need not be moved.
                let _ = fs::write(self.path.join("cgroup.procs"), child);
            }
            parents = found;
        }
        Ok(())
    }

    /// The most memory that it ever held, in bytes; unknown to kernels before 5.19.
    pub(super) fn peak(&self) -> Option<u64> {
        words(&self.path.join("memory.peak")).first()?.parse().ok()
    }

    /// Whether the kernel has killed it for its memory.
    pub(super) fn was_killed(&self) -> bool {
        let events = words(&self.path.join("memory.events"));
        let counts = events.chunks_exact(2);
        counts
            .filter(|pair| ["oom_kill", "oom_group_kill"].contains(&pair[0].as_str()))
            .any(|pair| pair[1] != "0")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Usually everybody is gone, and this removes it at once.
        if fs::remove_dir(&self.path).is_ok() {
            return;
        }
        let path = self.path.clone();
        let remove = move || {
            for _ in 0..REMOVE_TRIES {
                let _ = fs::write(path.join("cgroup.kill"), "1");
                match fs::remove_dir(&path) {
                    Ok(()) => return,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
            tracing::debug!(group = %path.display(), "a control group could not be removed");
        };
        // Death takes a moment even after a kill, and a drop must not block.
        let _ = thread::Builder::new().name("cgroup".into()).spawn(remove);
    }
}

/// Where in the file system this process's group is: the line `0::` of its groups, below the mount of that tree.
fn place(own: &str, mounts: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        // `… root mount-point options [optional fields] - type …`
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        if !kind.starts_with("cgroup2 ") {
            return None;
        }
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(mount).join(below))
    })
}

/// Whether systemd says that the group is its unit's own business.
fn is_delegated(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"]
        .iter()
        .any(|name| sys::extended_attribute(group, name).is_ok_and(|value| value == b"1"))
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The words of a small file of the kernel; none where it cannot be read.
fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a group, whose files take whatever is written.
    fn group(folder: &Path, controllers: &str, processes: &str) {
        fs::create_dir_all(folder).expect("a writable folder");
        for (file, text) in [("cgroup.controllers", controllers), ("cgroup.procs", processes)] {
            fs::write(folder.join(file), text).expect("a writable folder");
        }
    }

    #[test]
    fn the_group_is_found_below_the_mount_of_its_tree() {
        let mounts = "24 30 0:22 / /proc rw,relatime - proc proc rw\n\
                      31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let own = "1:name=systemd:/x\n0::/system.slice/petit.service\n";
        let found = place(own, mounts).expect("it is there");
        assert_eq!(found, Path::new("/sys/fs/cgroup/system.slice/petit.service"));
        let part = "31 23 0:27 /docker/abc /sys/fs/cgroup ro shared:3 - cgroup2 cgroup ro\n";
        assert_eq!(place("0::/docker/abc\n", part), Some("/sys/fs/cgroup".into()));
        assert_eq!(place("0::/elsewhere\n", part), None);
        assert_eq!(place("4:memory:/x\n", mounts), None, "only the old tree");
    }

    #[test]
    fn only_what_is_petits_own_is_claimed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let claim = |name: &str, delegated: &str| {
            let delegated = at(delegated);
            Cgroups::claim_at(&at(name), 42, |group| group == delegated).map(|claimed| claimed.base)
        };
        group(&at("shared"), "cpu memory", "41\n42\n");
        group(&at("poor"), "cpu pids", "42\n");
        group(&at("alone"), "cpu memory", "42\n");
        group(&at("unit"), "memory", "42\n43\n");
        group(&at("unit2"), "memory", "");
        group(&at("unit2/main"), "memory", "42\n");
        assert_eq!(claim("shared", "-"), None);
        assert_eq!(claim("poor", "-"), None);
        assert_eq!(claim("alone", "-"), Some(at("alone")));
        assert_eq!(claim("unit", "unit"), Some(at("unit")));
        assert_eq!(claim("unit2/main", "unit2"), Some(at("unit2")));
        let text = |file: &str| fs::read_to_string(at(file)).unwrap_or_default();
        assert_eq!(text("unit/petit/cgroup.procs"), "42");
        assert_eq!(text("unit/cgroup.subtree_control"), "+memory");
        assert!(!at("unit2/petit").exists(), "it stands in a subgroup already");
    }

    #[test]
    fn a_group_carries_the_limit_and_says_what_became_of_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cgroups = Cgroups {
            base: folder.path().to_owned(),
        };
        let group = cgroups.group(64 << 20).expect("a writable folder");
        let path = group.path.clone();
        let text = |file: &str| fs::read_to_string(path.join(file)).expect("written");
        assert_eq!(
            (text("memory.max"), text("memory.oom.group")),
            ("67108864".into(), "1".into())
        );
        assert_eq!((group.peak(), group.was_killed()), (None, false));
        group.enter(std::process::id()).expect("a writable folder");
        fs::write(path.join("memory.peak"), "1234\n").expect("a writable folder");
        fs::write(
            path.join("memory.events"),
            "low 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n",
        )
        .expect("a writable folder");
        assert_eq!((group.peak(), group.was_killed()), (Some(1234), true));
        fs::write(path.join("memory.events"), "max 12\noom 0\noom_kill 0\n").expect("a writable folder");
        assert!(!group.was_killed(), "it came up to its limit and lived");
        // What is no real group does not vanish by itself.
        std::mem::forget(group);
    }
}
