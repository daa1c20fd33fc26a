//! How much memory attempts hold at this moment: one look at the process table for all of them.
//!
//! Resident sizes are added up as the kernel gives them, so that pages which several processes of a tree share count for
//! each. The kernel could share them out fairly (`smaps_rollup`), but walks every page table for it, which slows down the
//! process that is looked at. Marks are not read either: what left its session and whose parents are gone is not counted.

use std::{collections::HashSet, fs};

use super::{
    procfs::{self, Marks, ProcessId},
    tree::{Claim, members},
};

/// The resident memory in bytes of each of these leaders' trees; none where nothing of the tree is left, or on systems
/// without `/proc`. Reads files, so it may take some milliseconds.
pub fn resident_memory(leaders: &[ProcessId]) -> Vec<Option<u64>> {
    if leaders.is_empty() {
        return Vec::new();
    }
    let table = procfs::table(Marks::Skip);
    let of_tree = |leader: &ProcessId| {
        let claim = Claim {
            leader: Some(*leader),
            mark: None,
        };
        let tree = members(&table, &[claim], &HashSet::new(), std::process::id());
        let sizes: Vec<u64> = tree.iter().filter_map(|process| resident(process.id.pid)).collect();
        (!sizes.is_empty()).then(|| sizes.iter().sum())
    };
    leaders.iter().map(of_tree).collect()
}

fn resident(pid: u32) -> Option<u64> {
    vm_rss(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The line `VmRSS:  1234 kB`, which a zombie does not have.
fn vm_rss(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_size_is_read_in_kibibytes() {
        assert_eq!(vm_rss("Name:\tsh\nVmRSS:\t    1240 kB\nThreads:\t1\n"), Some(1_269_760));
        assert_eq!(vm_rss("Name:\tsh\nState:\tZ (zombie)\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tree_weighs_as_much_as_its_processes_and_a_stranger_nothing() {
        use std::{
            io::{BufRead, BufReader},
            os::unix::process::CommandExt,
            process::{Command, Stdio},
        };

        // Says a line once its child lives too.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & echo; wait"])
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let mut output = BufReader::new(shell.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("a line");
        let leader = ProcessId {
            pid: shell.id(),
            start_time: procfs::start_time(shell.id()).expect("it lives"),
        };
        let gone = ProcessId {
            start_time: procfs::StartTime::UNKNOWN,
            ..leader
        };
        let weights = resident_memory(&[leader, gone]);
        let alone = resident(leader.pid);
        super::super::sys::signal_group(leader.pid, libc::SIGKILL).expect("its own group");
        shell.wait().expect("reaped");
        assert!(
            weights[0] > alone && alone > Some(0),
            "{weights:?}, the shell alone {alone:?}"
        );
        assert_eq!(weights[1], None, "another process of that number");
        // Its child was killed with it, and is reaped by whoever takes orphans in.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while resident_memory(&[leader]) != [None] {
            assert!(
                std::time::Instant::now() < deadline,
                "a group that has ended weighs something"
            );
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
