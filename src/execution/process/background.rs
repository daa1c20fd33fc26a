//! How a process that a daemon started for itself steps back behind the tasks and the daemon.
//!
//! It knows nothing of what such a process does. Nothing here can fail for good: a process that keeps its priority is in
//! the way, and still right.

use std::fs;

use super::sys;

/// As far as `nice` goes by default.
const NICE: i32 = 10;

/// Lowers the priority of this process, has it pass over SIGTERM, and gives it a name of 15 bytes at most, because the one
/// that the kernel took from the path `/proc/self/exe` tells nobody anything. To be called before there are other threads.
///
/// A service manager that stops the daemon sends SIGTERM to all processes of the service; this one has the daemon to tell
/// it when to stop, at a point where nothing has to be done again.
pub(crate) fn serve_in_background(name: &str) {
    let _ = sys::lower_priority(NICE);
    // A leader of a session is its own group of the scheduler where the kernel makes these, and `nice` counts within the
    // group alone.
    let _ = fs::write("/proc/self/autogroup", NICE.to_string());
    let _ = fs::write("/proc/self/comm", name);
    let _ = sys::ignore_signal(libc::SIGTERM);
}
