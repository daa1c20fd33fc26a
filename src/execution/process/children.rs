//! Starting children, waiting for them, and collecting those that are not ours.
//!
//! All waiting of the process happens here. A known child is waited for through its pidfd and collected by its owner.
//! A *stranger* is an orphan that this process adopted as subreaper or as PID 1; only [`collect_strangers`] collects
//! those, and only the daemon calls it, because from then on a child that somebody started in another way would be
//! taken for a stranger. A blocking `waitid` for any child, the usual reaper, was rejected: it cannot skip a child
//! whose owner still wants it, and it takes the exits of `std::process::Command` away.
//!
//! Two locks keep a fast child from being taken for a stranger: whoever spawns holds `spawning` shared from before the
//! process exists until it is known; whoever collects a stranger, or asks who is none, holds it alone.

use std::ffi::{CString, OsString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::procfs::{self, Process, ProcessId, StartTime};
use super::strays::{Census, Fate, Kin};
use super::tree::pause_after;
use super::{lookup, sys};
use crate::core::ending::Ending;

/// What to execute. There is no shell, and the environment is exactly the given one.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program, which is looked for in the `PATH` of `env` unless it has a `/`, and its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The folder in which it begins.
    pub working_dir: PathBuf,
}

/// The reading ends of a child's standard output and standard error.
#[derive(Debug)]
pub struct Output {
    /// What it says.
    pub stdout: pipe::Receiver,
    /// What it complains about.
    pub stderr: pipe::Receiver,
}

/// Why a command did not become a process.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There are no words.
    #[error("the command is empty: expected a program and its arguments")]
    Empty,
    /// The kernel ends its texts with this byte.
    #[error("{what} contains a NUL byte, which no process can be given")]
    NulByte {
        /// The part that has it.
        what: &'static str,
    },
    /// A name without `/` is in no folder of the `PATH`.
    #[error("program `{program}` was not found in the task's PATH ({path})")]
    NotInPath {
        /// The name that was looked for.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The file is missing, or what its first line names is.
    #[error("program {} does not exist, or its interpreter does not", program.display())]
    NotFound {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not executable, or not for this user.
    #[error("program {} may not be executed", program.display())]
    NotPermitted {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not exist, is no folder, or may not be entered.
    #[error("working directory {} cannot be entered", path.display())]
    WorkingDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something ran short (processes, descriptors, memory), or the system has another reason.
    #[error("the system could not start {}", program.display())]
    System {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A child that has been started. Dropped before it was collected, it is killed with its group.
#[derive(Debug)]
pub struct Child {
    id: ProcessId,
    watch: Watch,
    collected: bool,
    /// What `ru_maxrss` starts from, see [`Usage::max_rss_bytes`].
    own_max_rss: u64,
}

/// What the kernel says of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// A child's exit.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    /// How it came about.
    pub status: ExitStatus,
    /// What the child had cost by then.
    pub usage: Usage,
}

/// The kernel's accounting of a process and of the descendants that it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub cpu_user: Duration,
    /// Processor time in the kernel.
    pub cpu_system: Duration,
    /// The largest resident size of any one of them, in bytes.
    ///
    /// `None` when the process stayed below Petit's own peak: until its `exec` a child shares Petit's memory, and the
    /// kernel counts that into the child's peak.
    pub max_rss_bytes: Option<u64>,
}

#[derive(Debug)]
enum Watch {
    Pidfd(AsyncFd<OwnedFd>),
    /// Without a pidfd (another system, or descriptors ran out) a thread of the blocking pool waits.
    Thread(JoinHandle<io::Result<()>>),
    Exited,
}

/// A program of the user's that was started by other means than [`spawn`] and has the terminal. Dropped once it has been
/// waited for. What it leaves behind is not Petit's to end.
#[derive(Debug)]
pub struct Lent {
    pid: u32,
    since: StartTime,
}

struct Registry {
    spawning: RwLock<()>,
    census: Mutex<Census>,
}

/// Children belong to the whole process, so their registry does as well.
static CHILDREN: Registry = Registry {
    spawning: RwLock::new(()),
    census: Mutex::new(Census::new()),
};

/// How long strangers that exited may wait for each other, so that one look serves many.
const STRANGERS_PAUSE: Duration = Duration::from_millis(100);

/// Starts a command as the leader of a new session, with `/dev/null` as its input. Must be called within a tokio
/// runtime. It blocks until the program is executed, some hundred microseconds.
pub fn spawn(command: &Command) -> Result<(Child, Output), SpawnError> {
    start(command, Kin::Helper, None)
}

/// As [`spawn`], but what is written into the returned pipe is the child's input. However this process ends, the kernel
/// closes the pipe, and a child that reads learns of it.
pub fn spawn_with_input(command: &Command) -> Result<(Child, PipeWriter, Output), SpawnError> {
    let (input_end, input) = io::pipe().map_err(|source| SpawnError::System {
        program: command.argv.first().map(PathBuf::from).unwrap_or_default(),
        source,
    })?;
    let (child, output) = start(command, Kin::Helper, Some(input_end))?;
    Ok((child, input, output))
}

/// As [`spawn`], the leader of an attempt, who may leave strays behind.
pub(super) fn spawn_attempt(command: &Command) -> Result<(Child, Output), SpawnError> {
    let kin = Kin::Attempt {
        since: StartTime::UNKNOWN,
        ends_by: None,
    };
    start(command, kin, None)
}

fn start(command: &Command, kin: Kin, stdin: Option<PipeReader>) -> Result<(Child, Output), SpawnError> {
    let program = find_program(command)?;
    let argv = command
        .argv
        .iter()
        .map(|word| c_string(word.clone(), "the command"))
        .collect::<Result<Vec<_>, _>>()?;
    let env = command.env.iter().map(c_entry).collect::<Result<Vec<_>, _>>()?;
    let path = c_string(program.clone().into_os_string(), "the program's path")?;
    let working_dir = c_string(command.working_dir.clone().into_os_string(), "the working directory")?;
    let system = |source| SpawnError::System {
        program: program.clone(),
        source,
    };
    // Everything that can run short is taken before the process exists: a failure means that nothing ran.
    let (stdout, stdout_end) = output_pipe().map_err(system)?;
    let (stderr, stderr_end) = output_pipe().map_err(system)?;
    let image = sys::Image {
        program: &path,
        argv: &argv,
        env: &env,
        working_dir: &working_dir,
        stdin: stdin.as_ref().map(AsFd::as_fd),
        stdout: stdout_end.as_fd(),
        stderr: stderr_end.as_fd(),
    };
    let pid = {
        let _shared = CHILDREN.spawning.read().unwrap_or_else(PoisonError::into_inner);
        let pid = sys::spawn(&image).map_err(|source| diagnose(source, &program, &command.working_dir))?;
        CHILDREN.census().known.insert(pid, kin);
        pid
    };
    // Asked after the child has become its program, so that what Petit grew by until then is not taken for the child's.
    let own_max_rss = sys::own_max_rss_bytes();
    let id = ProcessId {
        pid,
        start_time: procfs::start_time(pid).unwrap_or(StartTime::UNKNOWN),
    };
    CHILDREN.census().began(id);
    let watch = Watch::new(pid);
    Ok((
        Child {
            id,
            watch,
            collected: false,
            own_max_rss,
        },
        Output { stdout, stderr },
    ))
}

/// Makes this process the subreaper of its descendants and collects, from now on, every orphan it adopts.
///
/// For the daemon only: children started by other means than [`spawn`] and [`lend`] would be collected too.
pub fn collect_strangers() -> io::Result<JoinHandle<()>> {
    sys::become_subreaper()?;
    // The first process of a container also adopts what others started in it, and can tell nobody's leftovers.
    CHILDREN.census().adopts = std::process::id() != 1;
    let mut exits = signal(SignalKind::child())?;
    Ok(tokio::spawn(async move {
        loop {
            // The signal says "look again" and nothing more: signals merge, and this look collects whatever is there.
            let before = sys::thread_time();
            collect_exited_strangers();
            let cost = sys::thread_time().saturating_sub(before);
            tokio::time::sleep(STRANGERS_PAUSE.max(pause_after(cost))).await;
            if exits.recv().await.is_none() {
                return;
            }
        }
    }))
}

/// Starts a program to which the terminal is lent. Its exit is its caller's to collect, as with any child of `std`.
pub fn lend(start: impl FnOnce() -> io::Result<std::process::Child>) -> io::Result<(std::process::Child, Lent)> {
    let _shared = CHILDREN.spawning.read().unwrap_or_else(PoisonError::into_inner);
    let child = start()?;
    let pid = child.id();
    // Of a program that is gone already nobody knows when it began; then whatever comes is left alone.
    let since = procfs::start_time(pid).unwrap_or(StartTime::UNKNOWN);
    let mut census = CHILDREN.census();
    census.known.insert(pid, Kin::Helper);
    census.lent.push(since);
    Ok((child, Lent { pid, since }))
}

/// What is to become of each stray in a table of processes that was read before, on a machine where they can be told.
pub(super) fn fates_of_strays(table: &[Process]) -> Vec<(ProcessId, Fate)> {
    let me = std::process::id();
    // Nobody who is known is a stray, so that most looks hold up no spawning.
    if CHILDREN.census().fates(table, me).is_empty() {
        return Vec::new();
    }
    let census = {
        // Whoever is in the table and is being started at this moment becomes known first.
        let _alone = CHILDREN.spawning.write().unwrap_or_else(PoisonError::into_inner);
        CHILDREN.census().clone()
    };
    let mut fates = census.fates(table, me);
    // A child that was collected since the table was read is not known any more, and no stray either.
    fates.retain(|(id, _)| procfs::is_alive(*id));
    fates
}

/// Of processes that were found to have a file of Petit's open, those that Petit did not start itself. Until its `exec` a
/// child has a copy of every descriptor of Petit's, in a session of its own already, and holds none of them beyond that.
pub(super) fn not_started_here(mut found: Vec<ProcessId>) -> Vec<ProcessId> {
    if found.is_empty() {
        return found;
    }
    // Whoever was found and is being started at this moment becomes known first.
    let _alone = CHILDREN.spawning.write().unwrap_or_else(PoisonError::into_inner);
    let census = CHILDREN.census();
    found.retain(|id| !census.known.contains_key(&id.pid));
    found
}

/// The tree of an attempt is being ended from now on, and has to be gone by then.
pub(super) fn being_ended(leader: u32, by: Instant) {
    if let Some(Kin::Attempt { ends_by, .. }) = CHILDREN.census().known.get_mut(&leader) {
        *ends_by = Some(by);
    }
}

/// These could not be ended: nobody tries it again by exclusion.
pub(super) fn give_up(survivors: &[ProcessId]) {
    CHILDREN.census().spared.extend(survivors);
}

impl Child {
    /// The process.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Resolves once the process has exited, and leaves it uncollected: its number cannot be reused until
    /// [`Child::collect`]. Cancel safe.
    pub async fn exited(&mut self) {
        match &mut self.watch {
            Watch::Exited => return,
            // A pidfd can only fail to become readable when the runtime shuts down, and then nobody polls this.
            Watch::Pidfd(pidfd) => drop(pidfd.readable().await),
            Watch::Thread(thread) => drop(thread.await),
        }
        self.watch = Watch::Exited;
    }

    /// Waits for the exit and collects it.
    pub async fn wait(mut self) -> io::Result<Exit> {
        self.exited().await;
        self.collect()
    }

    /// Collects the exit. It fails only when somebody else took it, or when SIGCHLD is ignored.
    pub fn collect(mut self) -> io::Result<Exit> {
        self.collected = true;
        let collected = {
            // Forgotten first: once collected, the number may be given to the next child at any moment.
            let mut census = CHILDREN.census();
            census.known.remove(&self.id.pid);
            sys::collect(self.id.pid, false)?
        };
        let collected = collected.ok_or_else(|| io::Error::other("the process has not exited"))?;
        let status = std::process::ExitStatus::from_raw(collected.status);
        let status = match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Exited(code),
            (None, signal) => ExitStatus::Signalled(signal.unwrap_or(0)),
        };
        let max_rss_bytes = Some(collected.max_rss_bytes).filter(|bytes| *bytes > self.own_max_rss);
        let usage = Usage {
            cpu_user: collected.cpu_user,
            cpu_system: collected.cpu_system,
            max_rss_bytes,
        };
        Ok(Exit { status, usage })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.collected {
            return;
        }
        let pid = self.id.pid;
        // The group may be gone already; the leader is not collected, so the number is still its own.
        let _ = sys::signal_group(pid, libc::SIGKILL);
        let collect = move || {
            let _ = sys::wait_until_exited(pid);
            let mut census = CHILDREN.census();
            census.known.remove(&pid);
            let _ = sys::collect(pid, false);
        };
        // Death takes a moment even after SIGKILL, and a drop must not block. Without a thread a zombie is left.
        let _ = std::thread::Builder::new().name("collect".into()).spawn(collect);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (pid, since) = (self.pid, self.since);
        // Whoever began meanwhile and is nobody's may be its own.
        let table = procfs::table(procfs::Marks::Skip);
        let strays = fates_of_strays(&table).into_iter().map(|(id, _)| id);
        let its = strays.filter(|id| since == StartTime::UNKNOWN || id.start_time.is_since(since));
        let its: Vec<ProcessId> = its.collect();
        let mut census = CHILDREN.census();
        census.known.remove(&pid);
        census.spared.extend(its);
        if let Some(at) = census.lent.iter().position(|lent| *lent == since) {
            census.lent.swap_remove(at);
        }
    }
}

impl SpawnError {
    /// The ending of an attempt that got no further than this.
    pub fn ending(&self) -> Ending {
        match self {
            SpawnError::Empty | SpawnError::NotInPath { .. } | SpawnError::NotFound { .. } => Ending::NotFound,
            SpawnError::NotPermitted { .. } | SpawnError::NulByte { .. } => Ending::NotPermitted,
            SpawnError::WorkingDir { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Ending::NotPermitted
            }
            SpawnError::WorkingDir { .. } => Ending::NotFound,
            SpawnError::System { .. } => Ending::CouldNotSpawn,
        }
    }
}

impl Watch {
    fn new(pid: u32) -> Self {
        let pidfd = sys::pidfd_open(pid).and_then(sys::watch_pidfd);
        match pidfd {
            Ok(pidfd) => Watch::Pidfd(pidfd),
            Err(_) => Watch::Thread(tokio::task::spawn_blocking(move || sys::wait_until_exited(pid))),
        }
    }
}

impl Registry {
    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collect_exited_strangers() {
    while let Ok(Some(pid)) = sys::peek_exited() {
        if !collect_stranger(pid) {
            // A known child whose owner is not done with it hides the exits behind it: look at all of them.
            let me = std::process::id();
            let table = procfs::table(procfs::Marks::Skip);
            for process in table.iter().filter(|p| p.parent == me && p.zombie) {
                collect_stranger(process.id.pid);
            }
            return;
        }
    }
}

/// Collects an exited child unless it is a known one.
fn collect_stranger(pid: u32) -> bool {
    let _alone = CHILDREN.spawning.write().unwrap_or_else(PoisonError::into_inner);
    let census = CHILDREN.census();
    !census.known.contains_key(&pid) && matches!(sys::collect(pid, false), Ok(Some(_)))
}

fn output_pipe() -> io::Result<(pipe::Receiver, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer))
}

fn find_program(command: &Command) -> Result<PathBuf, SpawnError> {
    let word = command.argv.first().ok_or(SpawnError::Empty)?;
    let path = command
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.as_os_str());
    match lookup::program(word, path, &command.working_dir) {
        lookup::Found::Program(program) => Ok(program),
        lookup::Found::NotExecutable(program) => Err(SpawnError::NotPermitted {
            program,
            source: io::ErrorKind::PermissionDenied.into(),
        }),
        lookup::Found::Nowhere => Err(check_working_dir(&command.working_dir).err().unwrap_or_else(|| {
            let path = path.map_or("not set".into(), |path| path.to_string_lossy().into_owned());
            SpawnError::NotInPath {
                program: word.to_string_lossy().into_owned(),
                path,
            }
        })),
    }
}

/// `posix_spawn` returns one number for a failed `chdir` and a failed `exec`; what it meant is found out afterwards.
fn diagnose(source: io::Error, program: &Path, working_dir: &Path) -> SpawnError {
    if let Err(error) = check_working_dir(working_dir) {
        return error;
    }
    let program = program.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
            SpawnError::NotFound { program, source }
        }
        Some(libc::EACCES | libc::EPERM | libc::ENOEXEC) => SpawnError::NotPermitted { program, source },
        _ => SpawnError::System { program, source },
    }
}

fn check_working_dir(path: &Path) -> Result<(), SpawnError> {
    // With the dot appended the question needs the right to search the folder, as `chdir` does.
    let entered = std::fs::metadata(path.join("."));
    entered.map(drop).map_err(|source| SpawnError::WorkingDir {
        path: path.to_owned(),
        source,
    })
}

fn c_string(text: OsString, what: &'static str) -> Result<CString, SpawnError> {
    CString::new(text.into_vec()).map_err(|_| SpawnError::NulByte { what })
}

fn c_entry((name, value): &(OsString, OsString)) -> Result<CString, SpawnError> {
    let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
    CString::new(entry).map_err(|_| SpawnError::NulByte {
        what: "the environment",
    })
}
