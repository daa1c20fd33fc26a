//! Which file systems tell of changes, and which only of those that this machine makes.
//!
//! The kernel gives watches on nearly everything, also where another machine or a program in user space changes files
//! behind its back and no event ever comes. So the type of the file system is asked for, in `/proc/self/mountinfo`, where
//! each mount stands with the device that `stat` gives for the files in it. What does not stand there (a subvolume of
//! btrfs has a device of its own) is taken for a local disk, and so is everything where there is no such file.

use std::{collections::BTreeSet, fs};

/// Types of file systems whose files change without this kernel's doing. Local disks that a program drives (`fuseblk`) are
/// not among them: they change through this kernel alone.
const SILENT: [&str; 18] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "prl_fs",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// The mounts of a process.
pub(super) struct Mounts(String);

impl Mounts {
    /// Those of this process, as they are now.
    pub(super) fn of_this_process() -> Self {
        Self(fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    /// Why changes on one of these devices may go untold, if they may.
    pub(super) fn silent(&self, devices: &BTreeSet<u64>) -> Option<String> {
        let numbers: BTreeSet<(u32, u32)> = devices
            .iter()
            .map(|device| (libc::major(*device), libc::minor(*device)))
            .collect();
        let mut mounts = self.0.lines().filter_map(mount);
        let (_, kind) = mounts.find(|(number, kind)| numbers.contains(number) && is_silent(kind))?;
        Some(format!(
            "the folder lies on a file system of type {kind}, which does not tell what others change there"
        ))
    }
}

/// The device and the type of the file system of one line.
fn mount(line: &str) -> Option<((u32, u32), &str)> {
    let (before, after) = line.split_once(" - ")?;
    let (major, minor) = before.split(' ').nth(2)?.split_once(':')?;
    let kind = after.split(' ').next()?;
    Some(((major.parse().ok()?, minor.parse().ok()?), kind))
}

fn is_silent(kind: &str) -> bool {
    SILENT.contains(&kind) || kind.starts_with("fuse.") || kind == "vboxsf"
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        40 22 0:52 / /srv/jobs rw,relatime shared:9 master:2 - nfs4 nas:/jobs rw,vers=4.2\n\
        41 22 0:53 / /home/me/remote rw - fuse.sshfs me@host: rw\n\
        42 22 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw\n\
        43 22 0:54 / /a\\040folder rw - tmpfs tmpfs rw\n";

    fn silent(major: u32, minor: u32) -> Option<String> {
        Mounts(MOUNTS.to_owned()).silent(&[libc::makedev(major, minor)].into())
    }

    #[test]
    fn only_what_others_can_change_is_silent() {
        assert!(silent(0, 52).expect("silent").contains("nfs4"));
        assert!(silent(0, 53).expect("silent").contains("fuse.sshfs"));
        for (major, minor) in [(254, 0), (8, 17), (0, 54), (0, 99)] {
            assert_eq!(silent(major, minor), None, "{major}:{minor}");
        }
    }

    #[test]
    fn one_silent_folder_among_several_is_enough() {
        let devices = [libc::makedev(254, 0), libc::makedev(0, 52)].into();
        assert!(Mounts(MOUNTS.to_owned()).silent(&devices).is_some());
    }
}
