//! The processes of a place's tasks, as the kernel tells of them.

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::Place;

/// One process of a task.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskProcess {
    pub pid: u32,
    pub name: String,
    /// Run, task and attempt.
    pub of: (String, String, String),
    /// In ticks since boot.
    pub began: u64,
}

/// All of them, by their environment.
pub fn of_tasks(place: &Place) -> Vec<TaskProcess> {
    let entries = fs::read_dir("/proc").expect("a kernel with /proc");
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| of_task(pid, place.path())).collect()
}

/// The process, if it is one of a task whose home is this folder.
pub fn of_task(pid: u32, home: &Path) -> Option<TaskProcess> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let variables: BTreeMap<&str, &str> = text.split('\0').filter_map(|entry| entry.split_once('=')).collect();
    let of = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let is_ours = variables.get("HOME").is_some_and(|found| Path::new(found) == home);
    is_ours.then_some(TaskProcess {
        pid,
        name: fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned(),
        of: (of("PETIT_RUN_ID")?, of("PETIT_TASK")?, of("PETIT_ATTEMPT")?),
        began: about(pid)?.1,
    })
}

/// The state of a process, as one letter, and when it began, in ticks since boot.
pub fn about(pid: u32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have spaces and parentheses of its own.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let state = fields.next()?.chars().next()?;
    // It is the 22nd of all fields, the state being the third.
    let began = fields.nth(18)?.parse().ok()?;
    Some((state, began))
}
