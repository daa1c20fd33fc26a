//! A fresh place for one test of the whole binary: folders of its own, a cleared environment, and a daemon that ends
//! with the test.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    iter, mem,
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use petit::{
    core::{
        id::{JobId, SpecHash},
        record::SlotRecord,
        state::{SlotOutcome, SlotReason},
    },
    storage::{Change, Sqlite, Storage},
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for anything: far longer than it takes, so that a busy machine fails nothing.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// A folder with `jobs.d` and `.petit` below it.
pub struct Place {
    folder: TempDir,
    /// Further variables of every command.
    pub env: Vec<(String, String)>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("petit-")
            .tempdir()
            .expect("a temporary folder");
        fs::create_dir(folder.path().join("jobs.d")).expect("a folder of jobs");
        Self {
            folder,
            env: Vec::new(),
        }
    }

    /// Slots of these seconds in the journal, which is made when it is missing.
    pub fn put_slots(&self, seconds: Range<i64>) {
        let folder = self.path().join(".petit");
        fs::create_dir_all(&folder).expect("a writable folder");
        let journal = Sqlite::open(&folder.join("journal.db")).expect("a journal");
        let begin: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().expect("an instant");
        let slot = |second| {
            Change::PutSlot(SlotRecord {
                job: JobId::new("a").expect("a name"),
                at: begin + TimeDelta::seconds(second),
                outcome: Some(SlotOutcome::Skipped),
                reason: Some(SlotReason::Overlap),
                detail: None,
                decided_at: Some(begin),
                run: None,
                spec_hash: SpecHash::of(b""),
            })
        };
        let committed = journal.commit(seconds.map(slot).collect()).wait_blocking();
        committed.expect("a journal that takes it");
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn job_file(&self, name: &str) -> PathBuf {
        self.path().join("jobs.d").join(name)
    }

    /// Saves a job file as an editor does: beside it, then renamed over it.
    pub fn save(&self, name: &str, text: &str) {
        let beside = self.job_file(&format!(".{name}.tmp"));
        fs::write(&beside, text).expect("a writable folder");
        fs::rename(&beside, self.job_file(name)).expect("a rename within a folder");
    }

    /// The binary, in this place.
    pub fn petit(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_petit"));
        command
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.path())
            .env("USER", "tester");
        // DuckDB's library is found through the binary's own search path; the others are for coverage and sanitizers.
        command.envs(self.env.iter().cloned());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        let output = self.petit(args).output().expect("the binary starts");
        Done::new(args, output)
    }

    /// Starts a command that goes on for a while.
    pub fn start(&self, args: &[&str]) -> Going {
        let mut child = self
            .petit(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Going {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            stdout: Heard::from(child.stdout.take().expect("a pipe")),
            stderr: Heard::from(child.stderr.take().expect("a pipe")),
            child,
        }
    }

    /// What a command prints with `--format json`; it must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["--format", "json"]);
        let done = self.run(&args);
        assert_eq!(done.code, 0, "{done:?}");
        done.json()
    }

    /// Starts a daemon and waits until it answers.
    pub fn daemon(&self) -> Daemon<'_> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path().join("daemon.log"));
        let log = log.expect("a writable folder");
        let child = self
            .petit(&["run"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut daemon = Daemon { place: self, child };
        wait_for("the daemon to answer", || {
            if let Some(status) = daemon.child.try_wait().expect("a child of ours") {
                panic!("the daemon ended with {status}:\n{}", self.daemon_log());
            }
            self.run(&["status", "--format", "json"])
                .json_if_done()
                .filter(|status| status["daemon"]["pid"] == daemon.pid())
        });
        daemon
    }

    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.path().join("daemon.log")).unwrap_or_default()
    }

    /// Waits until the job is active in the version that its file holds.
    pub fn wait_synced(&self, job: &str) -> Value {
        wait_for(&format!("{job} to be synced"), || {
            self.job(job).filter(|job| job["sync"] == "synced")
        })
    }

    /// The job as `list` shows it.
    pub fn job(&self, id: &str) -> Option<Value> {
        let jobs = self.json(&["list"]);
        jobs.as_array()
            .expect("a listing")
            .iter()
            .find(|job| job["id"] == id)
            .cloned()
    }

    /// The runs of a job, newest first.
    pub fn runs(&self, job: &str) -> Vec<Value> {
        self.json(&["runs", job]).as_array().expect("a listing").clone()
    }

    /// Waits for the first run of a job that fits.
    pub fn wait_run(&self, job: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("a run of {job} that {what}"), || {
            self.runs(job).into_iter().find(|run| fits(run))
        })
    }
}

/// A command that ended.
#[derive(Debug)]
pub struct Done {
    pub args: Vec<String>,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    fn new(args: &[&str], output: Output) -> Self {
        Self {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("petit prints UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("petit prints UTF-8"),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    fn json_if_done(&self) -> Option<Value> {
        (self.code == 0).then(|| self.json())
    }
}

/// A command under way, whose output is read as it comes; killed when dropped.
pub struct Going {
    args: Vec<String>,
    child: Child,
    stdout: Heard,
    stderr: Heard,
}

impl Going {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has printed a text, such as the end of a line; everything that it has printed by then.
    pub fn prints(&self, text: &str) -> String {
        self.stdout.wait(text)
    }

    /// The same of what it says on standard error.
    pub fn says(&self, text: &str) -> String {
        self.stderr.wait(text)
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Done {
        let what = format!("the end of {:?}", self.args);
        let status = wait_for(&what, || self.child.try_wait().expect("a child of ours"));
        Done {
            args: mem::take(&mut self.args),
            code: status.code().unwrap_or(-1),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, read on a thread.
struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl Heard {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&text);
        let reading = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            text,
            reading: Some(reading),
        }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn wait(&self, text: &str) -> String {
        wait_for(&format!("the text {text:?}"), || {
            Some(self.so_far()).filter(|heard| heard.contains(text))
        })
    }

    fn whole(&mut self) -> String {
        if let Some(reading) = self.reading.take() {
            reading.join().expect("no panic");
        }
        self.so_far()
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon<'a> {
    place: &'a Place,
    child: Child,
}

impl Daemon<'_> {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has a file open whose path begins so, or has a child that does.
    pub fn has_open(&self, path: &Path) -> bool {
        iter::once(self.pid())
            .chain(self.children())
            .any(|pid| has_open(pid, path))
    }

    /// Its direct children at this moment.
    pub fn children(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten();
        let listed = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
        let listed: Vec<String> = threads.flatten().filter_map(listed).collect();
        listed
            .iter()
            .flat_map(|pids| pids.split_whitespace())
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// The same, and waits until nobody has its files open any more: a child of its own may outlive it for a moment.
    pub fn kill_and_wait(self) {
        // One that stands still starts no more children.
        stop(self.pid());
        let children = self.children();
        let files = self.place.path().join(".petit");
        self.kill();
        wait_for("the daemon's children to let its files go", || {
            (!children.iter().any(|pid| has_open(*pid, &files))).then_some(())
        });
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGTERM; the daemon's exit code.
    pub fn stop(self) -> i32 {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until the daemon ends; its exit code.
    pub fn ended(mut self) -> i32 {
        let status = wait_for("the daemon to stop", || self.child.try_wait().expect("a child of ours"));
        status.code().unwrap_or(-1)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.place.daemon_log());
        }
    }
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("/bin/kill").args(["-s", name, &pid.to_string()]).status();
    assert!(status.expect("kill is everywhere").success());
}

/// SIGSTOP, and waits until the process stands still.
pub fn stop(pid: u32) {
    signal(pid, "STOP");
    wait_for("the process to stand still", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.starts_with('T').then_some(())
    });
}

/// Whether a process has a file open whose path begins so.
fn has_open(pid: u32, path: &Path) -> bool {
    let begins = path.to_string_lossy().into_owned();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|open| open.to_string_lossy().starts_with(&begins))
}

/// A mounted file system of 8 MB; unmounted when dropped.
pub struct Small(PathBuf);

impl Small {
    /// Why not, if nothing can be mounted here.
    pub fn mount(at: &Path) -> Result<Self, String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(at);
        let output = mount.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(Self(at.to_owned()));
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut file = File::create(&filler).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        filler
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily, as the daemon may not be quite gone.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Asks until there is an answer, or panics after [`DEADLINE`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
