//! The kernel's table of processes, read from `/proc`.
//!
//! Nothing is decided here: who belongs to an attempt is for [`super::tree`] to say. `sysinfo` is not used because it
//! reads several files for each process and tells neither session nor process group. A process that vanishes between
//! two reads is left out. On systems without `/proc` the table is empty.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a process started, for telling it from a later process of the same number.
///
/// The low 40 bits are clock ticks since boot; above them stand 23 bits of the boot's random id, because the same
/// number may start at the same tick of two boots. It fits a signed 64-bit column as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StartTime(u64);

/// One process and no other: numbers are reused, numbers with a start time are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// When the process with it started.
    pub start_time: StartTime,
}

/// What an attempt's environment says it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Whose attempt it is, among several Petits on one machine.
    pub instance: Option<Vec<u8>>,
    /// The run's id.
    pub run: Vec<u8>,
    /// The task's id.
    pub task: Option<Vec<u8>>,
    /// The attempt's number.
    pub attempt: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub id: ProcessId,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    /// It has exited and waits to be collected by its parent.
    pub zombie: bool,
    /// It has no memory image at this moment: it is within `exec`, or about to be a zombie.
    pub between_images: bool,
    pub mark: Option<Mark>,
}

/// Whose environment [`table`] reads. It doubles the cost, and what is older than an attempt cannot belong to it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Marks {
    Skip,
    Since(StartTime),
    All,
}

/// The flag of the kernel's own threads, which never have an image.
const PF_KTHREAD: u64 = 0x0020_0000;

const TICKS: u64 = (1 << 40) - 1;

impl StartTime {
    /// Of no process: what stands where the kernel would not tell.
    pub const UNKNOWN: StartTime = StartTime(0);

    /// A time that was stored before.
    pub fn from_u64(value: u64) -> Self {
        StartTime(value)
    }

    /// The number to store.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    pub(super) fn new(boot: u64, ticks: u64) -> Self {
        StartTime((boot << 40) | (ticks & TICKS))
    }

    /// Whether this start is not before `other`, in the same boot.
    pub(super) fn is_since(self, other: StartTime) -> bool {
        self.0 >> 40 == other.0 >> 40 && self.0 & TICKS >= other.0 & TICKS
    }
}

impl Marks {
    fn include(self, process: &Process) -> bool {
        let wanted = match self {
            Marks::Skip => false,
            Marks::Since(start) => process.id.start_time.is_since(start),
            Marks::All => true,
        };
        wanted && !process.zombie
    }
}

impl Mark {
    /// The variable that names the instance.
    pub const INSTANCE: &str = "PETIT_INSTANCE";
    /// The variable that names the run.
    pub const RUN: &str = "PETIT_RUN_ID";
    /// The variable that names the task.
    pub const TASK: &str = "PETIT_TASK";
    /// The variable that counts the attempt.
    pub const ATTEMPT: &str = "PETIT_ATTEMPT";

    /// The mark in an environment, or `None` when it names no run.
    pub(super) fn of<'a>(env: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Mark> {
        let (mut instance, mut run, mut task, mut attempt) = (None, None, None, None);
        for (name, value) in env {
            let place = match name {
                n if n == Mark::INSTANCE.as_bytes() => &mut instance,
                n if n == Mark::RUN.as_bytes() => &mut run,
                n if n == Mark::TASK.as_bytes() => &mut task,
                n if n == Mark::ATTEMPT.as_bytes() => &mut attempt,
                _ => continue,
            };
            *place = Some(value.to_vec());
        }
        Some(Mark {
            run: run?,
            instance,
            task,
            attempt,
        })
    }
}

/// How often, a millisecond apart, a process is looked at again whose environment is not there yet.
const EXEC_PATIENCE: usize = 100;

/// All processes.
pub(super) fn table(marks: Marks) -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut table: Vec<Process> = folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect();
    adopt(&mut table);
    let mut unread: Vec<&mut Process> = table.iter_mut().filter(|process| marks.include(process)).collect();
    // In the midst of `exec` a process has no environment to read. Who has just left its session and parents would
    // pass for a stranger at that moment, and stay.
    for round in 0..EXEC_PATIENCE {
        unread.retain_mut(|process| !read_mark(process));
        if unread.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(u64::from(round > 0)));
    }
    table
}

/// Looks again at those whose parent exited while the table was being read: by now they have another one.
fn adopt(table: &mut [Process]) {
    let numbers: HashSet<u32> = table.iter().map(|process| process.id.pid).collect();
    let orphans = table
        .iter_mut()
        .filter(|orphan| orphan.parent != 0 && !numbers.contains(&orphan.parent));
    for orphan in orphans {
        if let Some(now) = process(orphan.id.pid).filter(|now| now.id == orphan.id) {
            *orphan = now;
        }
    }
}

/// When the process of this number started.
pub(super) fn start_time(pid: u32) -> Option<StartTime> {
    process(pid).map(|process| process.id.start_time)
}

/// Whether this process, and no later one of its number, has not exited.
pub(super) fn is_alive(id: ProcessId) -> bool {
    process(id.pid).is_some_and(|now| now.id == id && !now.zombie)
}

/// Whether the process has any of these open, which are named as the kernel names them, such as `pipe:[4026]`. Another
/// user's does not say.
pub(super) fn holds(pid: u32, files: &[PathBuf]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut open = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    open.any(|file| files.contains(&file))
}

/// The kernel's name of a file that this process has open.
pub(super) fn name_of(file: &impl AsRawFd) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

fn process(pid: u32) -> Option<Process> {
    let mut text = [0; 1024];
    let length = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut text).ok()?;
    parse_stat(pid, boot_tag(), &text[..length])
}

/// `pid (command) state ppid pgrp session …`, where the command may hold spaces and brackets itself.
fn parse_stat(pid: u32, boot: u64, text: &[u8]) -> Option<Process> {
    let close = text.iter().rposition(|&b| b == b')')?;
    let rest = str::from_utf8(&text[close + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(2)?.parse().ok()?;
    let ticks = fields.nth(12)?.parse().ok()?;
    let environment_end = fields.nth(28);
    let zombie = matches!(state, "Z" | "X" | "x");
    let id = ProcessId {
        pid,
        start_time: StartTime::new(boot, ticks),
    };
    Some(Process {
        id,
        parent,
        group,
        session,
        zombie,
        between_images: environment_end == Some("0") && !zombie && flags & PF_KTHREAD == 0,
        mark: None,
    })
}

/// Reads the mark from the environment. False when the process has none at this moment but will.
fn read_mark(process: &mut Process) -> bool {
    let pid = process.id.pid;
    // Unreadable means another user's: such a process is recognised by its session and parents only.
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else {
        return true;
    };
    if environ.is_empty() {
        return !self::process(pid).is_some_and(|now| now.id == process.id && now.between_images);
    }
    process.mark = Mark::of(environ.split(|&b| b == 0).filter_map(|entry| {
        let equals = entry.iter().position(|&b| b == b'=')?;
        Some((&entry[..equals], &entry[equals + 1..]))
    }));
    true
}

fn boot_tag() -> u64 {
    static TAG: OnceLock<u64> = OnceLock::new();
    *TAG.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.get(..8)
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map_or(0, |word| word & 0x7f_ffff)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_does_not_confuse_the_line() {
        let line = b"42 (a) b (c)) S 7 40 39 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 10";
        let process = parse_stat(42, 5, line).unwrap();
        assert_eq!(
            (process.parent, process.group, process.session, process.zombie),
            (7, 40, 39, false)
        );
        assert_eq!(process.id.start_time, StartTime::new(5, 98765));
        assert!(parse_stat(42, 5, b"42 (x) Z 7 40").is_none());
    }

    #[test]
    fn who_is_within_exec_is_told_from_who_has_no_environment() {
        let between = |flags: u64, environment_end: u64| {
            let line = format!(
                "42 (sh) R 7 40 39 0 -1 {flags}{} 98765{} {environment_end} 0",
                " 0".repeat(12),
                " 0".repeat(28)
            );
            parse_stat(42, 5, line.as_bytes()).unwrap().between_images
        };
        assert!(between(4_194_560, 0));
        assert!(
            !between(4_194_560, 140_729_536_266_219),
            "an empty environment still has a place"
        );
        assert!(!between(PF_KTHREAD | 64, 0), "the kernel's threads never have one");
    }

    #[test]
    fn finds_this_process() {
        let me = std::process::id();
        let table = table(Marks::Skip);
        let own = table.iter().find(|p| p.id.pid == me).unwrap();
        assert_eq!(Some(own.id.start_time), start_time(me));
        assert!(own.id.start_time.as_u64() > 0);
    }

    #[test]
    fn starts_of_different_boots_do_not_compare() {
        let early = StartTime::new(1, 100);
        assert!(StartTime::new(1, 100).is_since(early) && StartTime::new(1, 101).is_since(early));
        assert!(!StartTime::new(1, 99).is_since(early) && !StartTime::new(2, 101).is_since(early));
    }

    #[test]
    fn a_mark_needs_a_run() {
        let env: [(&[u8], &[u8]); 3] = [(b"PETIT_TASK", b"t"), (b"HOME", b"/"), (b"PETIT_RUN_ID", b"r")];
        let mark = Mark::of(env.into_iter()).unwrap();
        assert_eq!(
            mark,
            Mark {
                instance: None,
                run: b"r".into(),
                task: Some(b"t".into()),
                attempt: None
            }
        );
        assert_eq!(Mark::of(env.into_iter().take(2)), None);
    }
}
