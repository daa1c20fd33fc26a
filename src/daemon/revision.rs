//! The revision of the folder of jobs: the commit that is checked out, and whether the job files are those of the commit.
//!
//! Git is asked without taking locks, so that nobody's commit fails because Petit looked; about job files of that folder
//! only; and for a bounded time. It is asked when the folder has changed and when git's own files have (a commit changes
//! no job file), and never by the scheduler, which reads what was found last. A reconcile waits for the answer, since it
//! is recorded with it: for [`PATIENCE`] at most, and not at all where git was slower than that the last time.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    runtime::Handle,
    sync::{Mutex, Notify, watch},
    time::timeout,
};

use crate::{
    execution::process::{self, Command, ExitStatus},
    reconcile::Revisions,
};

/// How long a reconcile waits for git.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long git may take when nobody waits for it.
const LONGEST: Duration = Duration::from_secs(10);
/// How often git's own files are looked at for a commit.
const LOOK_AT_GIT: Duration = Duration::from_secs(5);
/// So much of what git prints is read: whether there is any changed file shows in the first lines.
const MOST_READ: u64 = 16 << 10;

/// Asks git about a folder.
pub(super) struct Git {
    folder: PathBuf,
    runtime: Handle,
    /// One question at a time, so that no old answer overtakes a new one.
    asking: Mutex<()>,
    again: Notify,
    /// Whether git did not answer within [`PATIENCE`] the last time.
    slow: AtomicBool,
    found: watch::Sender<Option<String>>,
}

/// Follows the revision of a folder for as long as somebody listens. Must be called within a tokio runtime.
pub(super) fn follow(jobs_dir: &Path) -> (Arc<Git>, watch::Receiver<Option<String>>) {
    let (found, listener) = watch::channel(None);
    let git = Arc::new(Git {
        folder: jobs_dir.to_owned(),
        runtime: Handle::current(),
        asking: Mutex::new(()),
        again: Notify::new(),
        slow: AtomicBool::new(false),
        found,
    });
    tokio::spawn(Arc::clone(&git).keep_up());
    (git, listener)
}

impl Git {
    async fn keep_up(self: Arc<Self>) {
        let mut stamps = stamps(&self.folder);
        self.ask().await;
        loop {
            tokio::select! {
                () = self.found.closed() => return,
                () = self.again.notified() => {}
                () = tokio::time::sleep(LOOK_AT_GIT) => {
                    let seen = self::stamps(&self.folder);
                    if seen == stamps {
                        continue;
                    }
                    stamps = seen;
                }
            }
            self.ask().await;
        }
    }

    /// Asks, and publishes the answer.
    async fn ask(&self) -> Option<String> {
        let _alone = self.asking.lock().await;
        let began = tokio::time::Instant::now();
        let revision = timeout(LONGEST, ask_git(&self.folder)).await.unwrap_or(None);
        self.slow.store(began.elapsed() > PATIENCE, Ordering::Relaxed);
        self.found.send_replace(revision.clone());
        revision
    }
}

impl Revisions for Git {
    fn now(&self) -> Option<String> {
        if !self.slow.load(Ordering::Relaxed)
            && let Ok(revision) = self.runtime.block_on(async { timeout(PATIENCE, self.ask()).await })
        {
            return revision;
        }
        self.slow.store(true, Ordering::Relaxed);
        self.again.notify_one();
        None
    }

    fn changed(&self) {
        self.again.notify_one();
    }
}

/// The commit, and whether job files differ from it; `None` where there is no repository, no commit yet, or no git.
async fn ask_git(folder: &Path) -> Option<String> {
    let variable = |name: &str| std::env::var_os(name).map(|value| (name.into(), value));
    let mut env: Vec<_> = ["PATH", "HOME"].into_iter().filter_map(variable).collect();
    env.push(("GIT_OPTIONAL_LOCKS".into(), "0".into()));
    let command = Command {
        argv: [
            "git",
            // A monitor is a program of the user's that would be started.
            "-c",
            "core.fsmonitor=false",
            "status",
            "--porcelain=v2",
            "--branch",
            "--no-ahead-behind",
            "--no-renames",
            "--ignore-submodules=all",
            "--untracked-files=all",
            "--",
            // What an editor leaves behind for a moment is hidden, and no job file.
            ":(glob)**/*.yaml",
            ":(glob)**/*.yml",
            ":(exclude,glob)**/.*",
            ":(exclude,glob)**/.*/**",
        ]
        .map(Into::into)
        .to_vec(),
        env,
        working_dir: folder.to_owned(),
    };
    let (child, output) = process::spawn(&command).ok()?;
    let mut text = Vec::new();
    let mut stdout = output.stdout.take(MOST_READ);
    let read = stdout.read_to_end(&mut text).await;
    let whole = stdout.limit() > 0;
    // One that still prints ends when nobody reads any more.
    drop(stdout);
    let exit = child.wait().await.ok()?;
    let text = String::from_utf8_lossy(&text);
    (read.is_ok() && (exit.status == ExitStatus::Exited(0) || !whole)).then(|| revision(&text))?
}

/// The revision that `git status --porcelain=v2 --branch` tells.
fn revision(status: &str) -> Option<String> {
    let commit = status.lines().find_map(|line| line.strip_prefix("# branch.oid "))?;
    // Before the first commit there is a word in its place.
    let commit =
        Some(commit).filter(|commit| commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let dirty = status.lines().any(|line| !line.starts_with('#') && !line.is_empty());
    Some(format!("{commit}{}", if dirty { "-dirty" } else { "" }))
}

/// What tells one state of a repository from another without asking git: its head, its index, and its log of heads.
fn stamps(folder: &Path) -> Vec<Option<(i64, i64, u64)>> {
    let Some(git) = fs::canonicalize(folder).ok().and_then(|folder| git_dir(&folder)) else {
        return Vec::new();
    };
    let stamp = |name: &str| {
        let metadata = fs::metadata(git.join(name)).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.ino()))
    };
    ["HEAD", "index", "logs/HEAD"].map(stamp).to_vec()
}

/// Git's folder of the repository that holds a folder; in a linked worktree `.git` is a file that names it.
fn git_dir(folder: &Path) -> Option<PathBuf> {
    let git = folder
        .ancestors()
        .map(|folder| folder.join(".git"))
        .find(|git| git.exists())?;
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    let named = text.strip_prefix("gitdir:")?.trim();
    Some(git.parent()?.join(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, args: &[&str]) {
        let status = std::process::Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.org",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(args)
            .current_dir(folder)
            // What a hook of git's has in its environment leads elsewhere.
            .env_clear()
            .envs(
                ["PATH", "HOME"]
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .expect("git");
        assert!(status.status.success(), "{args:?}: {status:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_revision_is_the_commit_and_whether_job_files_differ_from_it() {
        let temp = tempfile::tempdir().expect("a folder");
        let jobs = temp.path().join("jobs.d");
        fs::create_dir(&jobs).expect("a folder");
        assert_eq!(ask_git(&jobs).await, None, "no repository");
        git(temp.path(), &["init", "-q"]);
        fs::write(jobs.join("a.yaml"), "a: 1\n").expect("written");
        assert_eq!(ask_git(&jobs).await, None, "no commit");
        git(temp.path(), &["add", "."]);
        git(temp.path(), &["commit", "-qm", "one"]);
        let commit = ask_git(&jobs).await.expect("a commit");
        assert!(commit.len() == 40 && !commit.contains("dirty"), "{commit}");
        let dirty = Some(format!("{commit}-dirty"));

        fs::write(temp.path().join("elsewhere.yaml"), "x\n").expect("written");
        fs::write(jobs.join(".a.yaml.swp"), "x\n").expect("written");
        fs::write(jobs.join("notes.txt"), "x\n").expect("written");
        assert_eq!(
            ask_git(&jobs).await.as_ref(),
            Some(&commit),
            "no job file of the folder"
        );
        for (file, text) in [("a.yaml", "a: 2\n"), ("sub/new.yml", "n: 1\n")] {
            let path = jobs.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, text).expect("written");
            assert_eq!(ask_git(&jobs).await, dirty, "{file}");
            git(temp.path(), &["stash", "-qu", "--", "jobs.d"]);
            fs::create_dir_all(&jobs).expect("a folder");
            assert_eq!(ask_git(&jobs).await.as_ref(), Some(&commit), "without {file}");
        }
        fs::remove_file(jobs.join("a.yaml")).expect("removed");
        assert_eq!(ask_git(&jobs).await, dirty, "a file that is gone");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_lock_of_somebody_else_is_neither_taken_nor_waited_for() {
        let temp = tempfile::tempdir().expect("a folder");
        git(temp.path(), &["init", "-q"]);
        fs::write(temp.path().join("a.yaml"), "a: 1\n").expect("written");
        git(temp.path(), &["add", "."]);
        git(temp.path(), &["commit", "-qm", "one"]);
        let lock = temp.path().join(".git/index.lock");
        fs::write(&lock, "").expect("written");
        let before = stamps(temp.path());
        assert!(ask_git(temp.path()).await.is_some());
        assert!(lock.exists());
        assert_eq!(stamps(temp.path()), before, "and nothing was written");
        fs::remove_file(&lock).expect("removed");
        git(temp.path(), &["commit", "-q", "--allow-empty", "-m", "two"]);
        assert_ne!(stamps(temp.path()), before, "a commit shows without asking");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_folder_is_followed() {
        let temp = tempfile::tempdir().expect("a folder");
        git(temp.path(), &["init", "-q"]);
        let (asked, mut found) = follow(temp.path());
        git(temp.path(), &["commit", "-q", "--allow-empty", "-m", "one"]);
        asked.changed();
        let known = timeout(Duration::from_secs(300), found.wait_for(Option::is_some)).await;
        let known = known.expect("in time").expect("a follower").clone();
        let now = tokio::task::spawn_blocking(move || {
            // One that was slow on a busy machine is asked in the background.
            asked.slow.store(false, Ordering::Relaxed);
            asked.now()
        });
        let now = now.await.expect("no panic");
        assert!(now.is_none() || now == known, "{now:?} {known:?}");
    }

    #[test]
    fn what_git_tells_is_read() {
        let commit = "0123456789012345678901234567890123456789";
        for (status, expected) in [
            (
                format!("# branch.oid {commit}\n# branch.head main\n"),
                Some(commit.to_owned()),
            ),
            (
                format!("# branch.oid {commit}\n? a.yaml\n"),
                Some(format!("{commit}-dirty")),
            ),
            ("# branch.oid (initial)\n? a.yaml\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(revision(&status), expected, "{status}");
        }
    }
}
