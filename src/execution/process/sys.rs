//! The system calls that `std` and tokio do not offer, each behind a safe function.
//!
//! `std::process` cannot start a session without leaving its fast path (`pre_exec` forces a fork of the whole
//! address space), and it throws the kernel's accounting away. This file knows nothing of attempts, trees or
//! registries; numbers go in, numbers and `io::Error`s come out.
#![expect(
    unsafe_code,
    reason = "posix_spawn, wait4, waitid, pidfds, prctl, setpriority, signal, fcntl, clock_gettime and getxattr have no safe interface in std"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use libc::{c_char, c_int, c_short, pid_t};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Everything that `posix_spawn` needs, already in C's terms.
pub(super) struct Image<'a> {
    pub program: &'a CStr,
    pub argv: &'a [CString],
    pub env: &'a [CString],
    pub working_dir: &'a CStr,
    /// `/dev/null` when it is to read nothing.
    pub stdin: Option<BorrowedFd<'a>>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
}

/// What the kernel says of a process that has been collected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collected {
    pub status: c_int,
    pub cpu_user: Duration,
    pub cpu_system: Duration,
    pub max_rss_bytes: u64,
}

/// Signals whose disposition a child must not inherit: an *ignored* signal stays ignored over `exec` (handlers do
/// not), Rust ignores SIGPIPE, and `nohup` or a non-interactive shell may have had Petit ignore others.
const RESET_SIGNALS: [c_int; 14] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGXFSZ,
    libc::SIGXCPU,
];

/// Starts a process as the leader of a new session, to which nothing is passed on but the three descriptors.
pub(super) fn spawn(image: &Image<'_>) -> io::Result<u32> {
    let argv = null_terminated(image.argv);
    let env = null_terminated(image.env);
    let actions = FileActions::new(image)?;
    let attributes = Attributes::new()?;
    let mut pid: pid_t = 0;
    // SAFETY: every pointer is to an initialised value that lives until the call returns; both arrays end with a null.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            image.program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            env.as_ptr(),
        )
    })?;
    Ok(pid as u32)
}

/// A descriptor that names this process and no later owner of its number. It becomes readable when the process exits.
#[cfg(target_os = "linux")]
pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes two integers and returns a new descriptor, which nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as pid_t, 0);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd as c_int))
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pidfd_open(_pid: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Registers the descriptor with the runtime, within which this must be called.
pub(super) fn watch_pidfd(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and names the same file until it is dropped, and nothing here replaces it.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(io::Error::from)
}

#[cfg(target_os = "linux")]
pub(super) fn signal_pidfd(pidfd: &OwnedFd, signal: c_int) -> io::Result<()> {
    let info: *const libc::siginfo_t = ptr::null();
    // SAFETY: the descriptor is open, and a null siginfo asks for what `kill` would send.
    let rc = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn signal_pidfd(_pidfd: &OwnedFd, _signal: c_int) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Signals a process group; signal 0 only asks whether the group has anybody left.
pub(super) fn signal_group(group: u32, signal: c_int) -> io::Result<()> {
    // SAFETY: the call takes two integers.
    if unsafe { libc::kill(-(group as pid_t), signal) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Signals whatever process has this number now; the caller has made sure which one that is.
pub(super) fn signal_process(pid: u32, signal: c_int) -> io::Result<()> {
    // SAFETY: the call takes two integers.
    if unsafe { libc::kill(pid as pid_t, signal) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Blocks until the process has exited, and leaves it to be collected.
pub(super) fn wait_until_exited(pid: u32) -> io::Result<()> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: `info` is valid for writing.
        let rc = unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
        if rc == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Some child of this process that has exited and is not collected yet.
pub(super) fn peek_exited() -> io::Result<Option<u32>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOWAIT | libc::WNOHANG;
    // SAFETY: `info` is zeroed, and valid for writing; with WNOHANG and no exit its pid stays zero.
    let pid = unsafe {
        if libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ECHILD) {
                Ok(None)
            } else {
                Err(error)
            };
        }
        info.assume_init().si_pid()
    };
    Ok((pid > 0).then_some(pid as u32))
}

/// Collects one child with its accounting. `None` when it has not exited and `block` is false.
pub(super) fn collect(pid: u32, block: bool) -> io::Result<Option<Collected>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: both pointers are valid for writing, and a zeroed rusage is a valid one.
        let rc = unsafe { libc::wait4(pid as pid_t, &raw mut status, options, usage.as_mut_ptr()) };
        if rc > 0 {
            // SAFETY: zeroed above, and filled by the call.
            let usage = unsafe { usage.assume_init() };
            return Ok(Some(Collected {
                status,
                cpu_user: duration(usage.ru_utime),
                cpu_system: duration(usage.ru_stime),
                max_rss_bytes: rss_bytes(usage.ru_maxrss),
            }));
        }
        if rc == 0 {
            return Ok(None);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The largest resident size that this process ever had.
pub(super) fn own_max_rss_bytes() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for writing; it is zeroed, so that it is initialised even if the call were to fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    rss_bytes(usage.ru_maxrss)
}

/// How much processor time the calling thread has had.
pub(super) fn thread_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` is valid for writing; it is zeroed, so that it is initialised even if the call were to fail.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a file system says of a file under this name; at most 64 bytes of it.
#[cfg(target_os = "linux")]
pub(super) fn extended_attribute(file: &Path, name: &str) -> io::Result<Vec<u8>> {
    let file = CString::new(file.as_os_str().as_bytes())?;
    let name = CString::new(name)?;
    let mut value = vec![0; 64];
    // SAFETY: both texts end with a null, and the buffer is as long as the call is told.
    let length = unsafe { libc::getxattr(file.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    value.truncate(length);
    Ok(value)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn extended_attribute(_file: &Path, _name: &str) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Has orphaned descendants become children of this process instead of init's.
#[cfg(target_os = "linux")]
pub(super) fn become_subreaper() -> io::Result<()> {
    // SAFETY: the call takes integers only.
    let rc = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn become_subreaper() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets a pipe hold so many bytes. Refused to a user whose pipes hold too much already.
#[cfg(target_os = "linux")]
pub(super) fn widen_pipe(pipe: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and no memory is passed.
    if unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn widen_pipe(_pipe: BorrowedFd<'_>, _bytes: c_int) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives the calling thread, and those that it starts from now on, less of a processor that others want too.
#[cfg(feature = "history")]
pub(super) fn lower_priority(nice: c_int) -> io::Result<()> {
    // SAFETY: the call takes integers only; 0 is the caller.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Has the whole process pass over a signal.
#[cfg(feature = "history")]
pub(super) fn ignore_signal(signal: c_int) -> io::Result<()> {
    // SAFETY: to ignore is no handler, so no code of ours runs in a signal's context.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new(image: &Image<'_>) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: `init` fills the value; on failure it is neither used nor destroyed.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            FileActions(actions.assume_init())
        };
        let this = &raw mut actions.0;
        // SAFETY: `this` is initialised, and the strings and descriptors outlive the calls (paths are copied).
        unsafe {
            check(match image.stdin {
                Some(stdin) => libc::posix_spawn_file_actions_adddup2(this, stdin.as_raw_fd(), 0),
                None => libc::posix_spawn_file_actions_addopen(this, 0, c"/dev/null".as_ptr(), libc::O_RDONLY, 0),
            })?;
            check(libc::posix_spawn_file_actions_adddup2(
                this,
                image.stdout.as_raw_fd(),
                1,
            ))?;
            check(libc::posix_spawn_file_actions_adddup2(
                this,
                image.stderr.as_raw_fd(),
                2,
            ))?;
            check(libc::posix_spawn_file_actions_addchdir_np(
                this,
                image.working_dir.as_ptr(),
            ))?;
            // Petit opens everything close-on-exec, but not everything that a host of the library opens is.
            #[cfg(all(target_os = "linux", target_env = "gnu"))]
            check(libc::posix_spawn_file_actions_addclosefrom_np(this, 3))?;
        }
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: `init` fills the value; on failure it is neither used nor destroyed.
        let mut attributes = unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            Attributes(attributes.assume_init())
        };
        let this = &raw mut attributes.0;
        #[cfg(target_os = "linux")]
        let own = libc::POSIX_SPAWN_SETSID;
        #[cfg(not(target_os = "linux"))]
        let own = libc::POSIX_SPAWN_SETPGROUP as c_short;
        let flags = own | libc::POSIX_SPAWN_SETSIGDEF as c_short | libc::POSIX_SPAWN_SETSIGMASK as c_short;
        // SAFETY: `this` is initialised, the sets are initialised by `sigemptyset` before they are read.
        unsafe {
            let mut set = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(this, set.as_ptr()))?;
            for signal in RESET_SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            check(libc::posix_spawnattr_setsigdefault(this, set.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(this, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// The `posix_spawn` family returns its error instead of setting `errno`.
fn check(rc: c_int) -> io::Result<()> {
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(rc))
    }
}

fn null_terminated(strings: &[CString]) -> Vec<*mut c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr().cast_mut())
        .chain([ptr::null_mut()])
        .collect()
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// Linux counts the peak in KiB, macOS in bytes.
fn rss_bytes(max_rss: libc::c_long) -> u64 {
    if cfg!(target_os = "macos") {
        max_rss as u64
    } else {
        max_rss as u64 * 1024
    }
}
