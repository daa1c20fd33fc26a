//! The revision of the folder of jobs: the commit that is checked out, if the folder is in a git repository.
//!
//! Asked anew whenever the active set changed, since only then can it matter to a run. Git is asked without taking locks,
//! so that nobody's commit fails because Petit looked.

use std::{path::Path, sync::Arc};

use tokio::{io::AsyncReadExt, sync::watch};

use crate::{
    core::active::ActiveSet,
    execution::process::{self, Command, ExitStatus},
};

/// Follows the revision for as long as the active set is published.
pub fn follow(jobs_dir: &Path, mut active: watch::Receiver<Arc<ActiveSet>>) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    let jobs_dir = jobs_dir.to_owned();
    tokio::spawn(async move {
        loop {
            sender.send_replace(ask_git(&jobs_dir).await);
            if active.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// The commit; `None` where there is no repository, no commit yet, or no git.
async fn ask_git(folder: &Path) -> Option<String> {
    let variable = |name: &str| std::env::var_os(name).map(|value| (name.into(), value));
    let command = Command {
        argv: ["git", "--no-optional-locks", "rev-parse", "--verify", "--quiet", "HEAD"]
            .map(Into::into)
            .to_vec(),
        env: ["PATH", "HOME"].into_iter().filter_map(variable).collect(),
        working_dir: folder.to_owned(),
    };
    let (child, output) = process::spawn(&command).ok()?;
    let mut stdout = output.stdout;
    let mut text = String::new();
    let read = stdout.read_to_string(&mut text).await;
    let exit = child.wait().await.ok()?;
    let commit = text.trim();
    (read.is_ok() && exit.status == ExitStatus::Exited(0) && commit.len() >= 40).then(|| commit.to_owned())
}
