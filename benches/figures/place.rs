//! Where things are measured: folders on the disk of the target folder, job files in them, and what the kernel says of a
//! process.
//!
//! Not in `/tmp`, which may be memory, where a commit costs nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use petit::{
    daemon::journal_path,
    storage::{Sqlite, Storage},
};
use tempfile::TempDir;

/// The binary that is measured, built with the profile of releases.
pub const PETIT: &str = env!("CARGO_BIN_EXE_petit");

/// Longer than anything measured here takes.
const DEADLINE: Duration = Duration::from_secs(120);

/// A folder that is gone with the value.
pub fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("Cargo made the target folder")
}

/// A folder with `count` valid files in `jobs.d`, of about 25 lines each, and the paths of these.
pub fn jobs(count: usize) -> (TempDir, Vec<PathBuf>) {
    let folder = folder();
    let jobs_dir = folder.path().join("jobs.d");
    fs::create_dir(&jobs_dir).expect("a new folder");
    let write = |number| {
        let path = jobs_dir.join(format!("job-{number:05}.yaml"));
        fs::write(&path, job_text(number, "nightly")).expect("a writable folder");
        path
    };
    let files = (0..count).map(write).collect();
    // What the kernel saw change less than a debounce ago would have to settle first.
    std::thread::sleep(Duration::from_secs(1));
    (folder, files)
}

/// A job as people write them; `word` is there to be edited. It is due once a year, so that nothing runs meanwhile.
pub fn job_text(number: usize, word: &str) -> String {
    let (minute, hour, day) = (number % 60, number % 24, number % 28 + 1);
    format!(
        r#"# The {word} load of shop {number}.
name: Shop {number}
description: Fetches what shop {number} sold, checks it and loads it.
tags: [shop, {word}]
schedule:
  cron: "{minute} {hour} {day} 2 *"
  timezone: Europe/Berlin
timeout: 30m
overlap: skip
env:
  SHOP: "{number}"
tasks:
  fetch:
    command: [/usr/local/bin/fetch, --shop, "{number}", --to, sales.csv]
    retry: {{retries: 3, delay: 10s}}
    timeout: 5m
  check:
    depends_on: [fetch]
    command: |
      test -s sales.csv
      grep --count ';' sales.csv
  load:
    depends_on: [check]
    command: [/usr/local/bin/load, sales.csv]
"#
    )
}

/// A command in a folder, with an environment that is the same everywhere.
pub fn command(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How long a command takes from its start to its end.
pub fn seconds_of(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let status = command.status().expect("a program that is there");
    let took = begun.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    took.as_secs_f64()
}

/// Asks until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A daemon over a folder; asked to end by its process id when dropped.
pub struct Daemon(Child);

impl Daemon {
    /// Starts one, and waits until `count` jobs are active. It is not asked, since answers take memory: the journal is.
    pub fn start(folder: &Path, count: usize) -> Self {
        let child = command(PETIT, folder).arg("run").spawn().expect("the binary starts");
        let daemon = Self(child);
        let journal = journal_path(&folder.join(".petit"));
        wait_until("all jobs to be active", || {
            let active = Sqlite::open_read_only(&journal).and_then(|journal| journal.active());
            active.is_ok_and(|active| active.len() == count)
        });
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let asked = Command::new("/bin/kill").arg(self.pid().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            // It may have ended by itself; a child that was not waited for keeps its id.
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A size of `/proc/PID/status`, in bytes.
pub fn memory(pid: u32, key: &str) -> f64 {
    memory_of(pid, key).expect("a process that is there")
}

/// As [`memory`], of a process that may have ended.
pub fn memory_of(pid: u32, key: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kibibytes: f64 = line?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The direct child of a process that has this name, at this moment.
#[cfg(feature = "history")]
pub fn child_called(pid: u32, name: &str) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process that is there");
    let children = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let children: Vec<String> = threads.flatten().filter_map(children).collect();
    let pids = children.iter().flat_map(|listed| listed.split_whitespace());
    let called = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    pids.filter(|pid| called(pid)).find_map(|pid| pid.parse().ok())
}

/// How long all threads of a process have been on a processor, in seconds, to the nanosecond where ticks are too coarse.
pub fn processor_time(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process that is there");
    let of_thread = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    threads.flatten().filter_map(of_thread).sum::<f64>() / 1e9
}
