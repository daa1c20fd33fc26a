//! The folders of runs: which are there, which may go, and how they go.
//!
//! A run has one folder below `runs` in the state folder, with a folder for each attempt in it: its log, and the files by
//! which it was given and gave data. It knows no journal: what is known of the runs comes in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use crate::core::{
    Timestamp,
    id::{JobId, RunId},
    keep::Keep,
};

/// What is known of a run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// Its job.
    pub job: JobId,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// A folder of logs that could not be looked through or removed.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} {}", path.display())]
pub struct FolderError {
    /// What was attempted.
    pub operation: &'static str,
    /// The folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// For how long the folder of a run that nobody knows stays, where no age is set: its rows may only be in a history that was
/// set aside.
const UNKNOWN: Keep = Keep::days(30);

/// The runs that have a folder, the oldest first.
pub fn of_runs(state_dir: &Path) -> Result<Vec<RunId>, FolderError> {
    let path = folder(state_dir);
    let failed = |source| FolderError {
        operation: "look into",
        path: path.clone(),
        source,
    };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        // What is not called as a run is not ours.
        runs.extend(
            entry
                .map_err(failed)?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<RunId>().ok()),
        );
    }
    runs.sort_unstable();
    Ok(runs)
}

/// Of these runs those whose folders may go. `ended` has what is known of those that have ended; `needed` are those that
/// have not, and those that they refer to. A run that nobody knows has lost its rows, and goes by its age.
pub fn may_go(
    runs: &[RunId],
    ended: &HashMap<RunId, EndedRun>,
    needed: &HashSet<RunId>,
    keep: Keep,
    now: Timestamp,
) -> Vec<RunId> {
    let mut of_jobs: BTreeMap<&JobId, Vec<(Timestamp, RunId)>> = BTreeMap::new();
    let mut gone: HashSet<RunId> = HashSet::new();
    for run in runs.iter().filter(|run| !needed.contains(run)) {
        match ended.get(run) {
            Some(known) => of_jobs.entry(&known.job).or_default().push((known.ended_at, *run)),
            None => {
                let age = Keep {
                    age: keep.age.or(UNKNOWN.age),
                    count: None,
                };
                gone.extend(age.lets_go(run.created_at(), 0, now).then_some(*run));
            }
        }
    }
    for runs in of_jobs.values_mut() {
        runs.sort_unstable();
        let newest_first = runs.iter().rev().enumerate();
        gone.extend(
            newest_first
                .filter(|(later, (ended_at, _))| keep.lets_go(*ended_at, *later, now))
                .map(|(_, (_, run))| *run),
        );
    }
    runs.iter().copied().filter(|run| gone.contains(run)).collect()
}

/// How large the files of a run are; nothing, if it has none.
pub fn size(state_dir: &Path, run: RunId) -> u64 {
    let files = WalkDir::new(of_run(state_dir, run)).into_iter().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

/// Removes the folder of a run, and says how large its files were; `None`, if it has none.
pub fn remove(state_dir: &Path, run: RunId) -> Result<Option<u64>, FolderError> {
    let path = of_run(state_dir, run);
    if !path.exists() {
        return Ok(None);
    }
    let freed = size(state_dir, run);
    match fs::remove_dir_all(&path) {
        Ok(()) => Ok(Some(freed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError {
            operation: "remove",
            path,
            source,
        }),
    }
}

/// Where the folder of a run is.
pub fn of_run(state_dir: &Path, run: RunId) -> PathBuf {
    folder(state_dir).join(run.to_string())
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("runs")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::execution::log_path;

    fn now() -> Timestamp {
        "2026-04-01T00:00:00Z".parse().expect("an instant")
    }

    fn run(days_ago: i64, n: u128) -> RunId {
        RunId::from_parts(now() - TimeDelta::days(days_ago), n)
    }

    fn keep(text: &str) -> Keep {
        serde_yaml::from_str(text).expect(text)
    }

    #[test]
    fn logs_go_by_age_and_by_number_and_what_goes_on_keeps_its_own() {
        // The second of `a` was made long ago and has only just ended; of the last nothing is known.
        let runs = [run(50, 1), run(40, 2), run(35, 3), run(20, 4), run(10, 5), run(45, 6)];
        let known = |job: &str, days| EndedRun {
            job: JobId::new(job).expect("a name"),
            ended_at: now() - TimeDelta::days(days),
        };
        let ended = HashMap::from([
            (runs[0], known("a", 50)),
            (runs[1], known("a", 5)),
            (runs[2], known("b", 35)),
            (runs[3], known("a", 20)),
            (runs[4], known("a", 10)),
        ]);
        let going = |needed: &[usize], text| {
            let needed = needed.iter().map(|&n| runs[n]).collect();
            let gone = may_go(&runs, &ended, &needed, keep(text), now());
            (0..runs.len()).filter(|&n| gone.contains(&runs[n])).collect::<Vec<_>>()
        };
        assert_eq!(going(&[], "30d"), [0, 2, 5]);
        assert_eq!(going(&[0, 5], "30d"), [2]);
        assert_eq!(going(&[], "{count: 2}"), [0, 3, 5]);
        assert_eq!(going(&[], "{age: 60d, count: 2}"), [0, 3]);
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let state = tempfile::tempdir().expect("a folder");
        assert_eq!(of_runs(state.path()).expect("none yet"), []);
        let (one, other) = (run(2, 1), run(1, 1));
        for run in [other, one] {
            let log = log_path(state.path(), run, &"t".parse().expect("a slug"), 1);
            fs::create_dir_all(log.parent().expect("a folder")).expect("writable");
            fs::write(log, "12345").expect("writable");
        }
        fs::create_dir(state.path().join("runs/of somebody else")).expect("writable");
        assert_eq!(of_runs(state.path()).expect("two"), [one, other]);
        assert_eq!(remove(state.path(), one).expect("goes"), Some(5));
        assert_eq!(remove(state.path(), one).expect("is gone"), None);
        assert_eq!(of_runs(state.path()).expect("one"), [other]);
    }
}
