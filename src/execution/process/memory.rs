//! How much memory attempts hold at this moment: one look at the process table for all of them.
//!
//! Resident sizes are added up as the kernel gives them, so that pages which several processes of a tree share count for
//! each. The kernel can share them out fairly (`smaps_rollup`), but walks every page table for it, which slows down the
//! process that is looked at; so it is only asked before a tree is ended for its size ([`fair`]). Marks are read for trees
//! with a limit only: in those without, what left its session and whose parents are gone is not counted.

use std::{collections::HashSet, fs};

use super::{
    procfs::{self, Marks, ProcessId},
    tree::{Claim, members},
};

/// The resident memory in bytes of each of these leaders' trees; none where nothing of the tree is left, or on systems
/// without `/proc`. Reads files, so it may take some milliseconds.
pub fn resident_memory(leaders: &[ProcessId]) -> Vec<Option<u64>> {
    let claims: Vec<Claim> = leaders
        .iter()
        .map(|leader| Claim {
            leader: Some(*leader),
            mark: None,
        })
        .collect();
    weigh(&claims, Marks::Skip)
        .into_iter()
        .map(|weight| weight.map(|weight| weight.resident))
        .collect()
}

/// What a tree holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weight {
    /// What its processes hold at this moment, in bytes, shared pages counted for each.
    pub resident: u64,
    /// The most that any one of them ever held, in bytes.
    pub largest: u64,
    processes: Vec<u32>,
}

/// The weight of each of these trees; none where nothing of the tree is left.
pub(super) fn weigh(claims: &[Claim], marks: Marks) -> Vec<Option<Weight>> {
    if claims.is_empty() {
        return Vec::new();
    }
    let table = procfs::table(marks);
    let of_tree = |claim: &Claim| {
        let tree = members(&table, std::slice::from_ref(claim), &HashSet::new(), std::process::id());
        let sizes: Vec<(u32, u64, u64)> = tree
            .iter()
            .filter_map(|process| sizes(process.id.pid).map(|(now, most)| (process.id.pid, now, most)))
            .collect();
        (!sizes.is_empty()).then(|| Weight {
            resident: sizes.iter().map(|(_, now, _)| now).sum(),
            largest: sizes.iter().map(|(_, _, most)| *most).max().unwrap_or(0),
            processes: sizes.iter().map(|(pid, _, _)| *pid).collect(),
        })
    };
    claims.iter().map(of_tree).collect()
}

/// What the tree holds at this moment, in bytes, with shared pages shared out among those who share them.
pub(super) fn fair(weight: &Weight) -> u64 {
    let share = |pid: &u32| {
        let fair = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
        // Another user's process does not tell; then its pages count as its own.
        fair.and_then(|text| kibibytes(&text, "Pss:"))
            .or_else(|| sizes(*pid).map(|(now, _)| now))
    };
    weight.processes.iter().filter_map(share).sum()
}

/// The resident size of a process, and the largest that it had.
fn sizes(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let now = kibibytes(&status, "VmRSS:")?;
    Some((now, kibibytes(&status, "VmHWM:").unwrap_or(now)))
}

/// A line such as `VmRSS:  1234 kB`, which a zombie does not have.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_size_is_read_in_kibibytes() {
        let rss = |text: &str| kibibytes(text, "VmRSS:");
        assert_eq!(rss("Name:\tsh\nVmRSS:\t    1240 kB\nThreads:\t1\n"), Some(1_269_760));
        assert_eq!(rss("Name:\tsh\nState:\tZ (zombie)\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_tree_weighs_as_much_as_its_processes_and_a_stranger_nothing() {
        use std::{
            io::{BufRead, BufReader},
            os::unix::process::CommandExt,
            process::{Command, Stdio},
            time::{Duration, Instant},
        };

        fn until(what: &str, is_so: impl Fn() -> bool) {
            let deadline = Instant::now() + Duration::from_secs(300);
            while !is_so() {
                assert!(Instant::now() < deadline, "waited too long: {what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }

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
        let claim = Claim {
            leader: Some(leader),
            mark: None,
        };
        // The child may be within its `exec` while it is weighed, and then weighs nothing.
        until("a tree weighs more than its leader", || {
            let alone = sizes(leader.pid).map(|(now, _)| now);
            alone > Some(0) && resident_memory(&[leader])[0] > alone
        });
        until("they share the code of the C library", || {
            let whole = weigh(std::slice::from_ref(&claim), Marks::Skip).remove(0);
            let whole = whole.expect("they live");
            fair(&whole) < whole.resident
        });
        assert_eq!(resident_memory(&[gone]), [None], "another process of that number");
        super::super::sys::signal_group(leader.pid, libc::SIGKILL).expect("its own group");
        shell.wait().expect("reaped");
        // Its child was killed with it, and is reaped by whoever takes orphans in.
        until("a group that has ended weighs nothing", || {
            resident_memory(&[leader]) == [None]
        });
    }
}
