//! This repository's pre-commit hooks, tried as a user would: with the real tool, in a repository of jobs.
//!
//! pre-commit clones the hooks at a commit, so what is tried is the last commit and not the working tree.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    programs, tools,
    workshop::{Failure, Outcome, Workshop, ask, run},
};

/// `petit-validate-system`: the `petit` that is on the `PATH`.
pub(crate) fn with_installed_petit(workshop: &Workshop) -> Outcome {
    let petit = programs::build(workshop, "build")?;
    try_hook(workshop, "petit-validate-system", petit.parent())
}

/// `petit-validate`: pre-commit builds `petit` in its clone, with `cargo install`.
pub(crate) fn with_built_petit(workshop: &Workshop) -> Outcome {
    try_hook(workshop, "petit-validate", None)
}

fn try_hook(workshop: &Workshop, hook: &str, petit: Option<&Path>) -> Outcome {
    let repository = Repository::with_hook(workshop, hook, petit)?;
    repository.copy_jobs(workshop)?;
    repository.expect_commit("Add jobs", true)?;

    let bad = &tools::yaml_files(workshop, tools::REFUSED)?[0];
    repository.add_job(&workshop.root.join(bad), "bad.yaml")?;
    repository.expect_commit("Add a bad job", false)
}

/// A repository of jobs, in a temporary folder, whose commits run the hook.
struct Repository {
    folder: TempDir,
    path: Vec<PathBuf>,
    target: PathBuf,
}

impl Repository {
    fn with_hook(workshop: &Workshop, hook: &str, petit: Option<&Path>) -> Outcome<Repository> {
        let folder = tempfile::tempdir().map_err(Failure::at("create a folder in", &env::temp_dir()))?;
        let mut path = vec![tools::install(workshop)?];
        path.extend(petit.map(Path::to_owned));
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let repository = Repository {
            folder,
            path,
            target: workshop.target.clone(),
        };

        let head = ask(Command::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(&workshop.root))?;
        let config = format!(
            "repos:\n  - repo: {}\n    rev: {}\n    hooks:\n      - id: {hook}\n",
            workshop.root.display(),
            head.text.trim(),
        );
        run(&mut repository.command("git", &["init", "--quiet"]))?;
        repository.write(".pre-commit-config.yaml", &config)?;
        run(&mut repository.command("pre-commit", &["install"]))?;
        Ok(repository)
    }

    /// The project's own examples, with the settings that name their pools.
    fn copy_jobs(&self, workshop: &Workshop) -> Outcome {
        run(Command::new("cp")
            .arg("-R")
            .args(["jobs.d", "petit.yaml"].map(|name| workshop.root.join(name)))
            .arg(self.folder.path()))
    }

    fn add_job(&self, from: &Path, name: &str) -> Outcome {
        let text = fs::read_to_string(from).map_err(Failure::at("read", from))?;
        self.write(&format!("jobs.d/{name}"), &text)
    }

    fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.folder.path().join(name);
        fs::write(&path, text).map_err(Failure::at("write", &path))
    }

    /// Commits everything and holds both git and the hook to what is expected: a hook that skipped the files would let
    /// a good commit pass too, and one that cannot start would refuse a bad one.
    fn expect_commit(&self, subject: &str, accepted: bool) -> Outcome {
        run(&mut self.command("git", &["add", "--all"]))?;
        let commit = ask(&mut self.command("git", &["commit", "--message", subject]))?;
        let (verb, verdict) = if accepted {
            ("pass", "Passed")
        } else {
            ("refuse", "exit code: 1")
        };
        if commit.success == accepted && commit.text.contains(verdict) {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "the hook does not {verb} the commit \"{subject}\""
            )))
        }
    }

    /// A command in the repository, with a store of its own for pre-commit and an author for git.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // Found by hand: `Command` would look on the PATH of this process.
        let found = self
            .path
            .iter()
            .map(|folder| folder.join(program))
            .find(|file| file.is_file());
        let mut command = Command::new(found.unwrap_or(PathBuf::from(program)));
        command.args(arguments).current_dir(self.folder.path());
        command.env("PATH", env::join_paths(&self.path).unwrap_or_default());
        command.env("PRE_COMMIT_HOME", self.folder.path().join(".git/pre-commit-store"));
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Petit")
                .env(format!("GIT_{role}_EMAIL"), "petit@example.invalid");
        }
        // A hook that is built reuses what earlier builds left and is optimised little: the step is about whether it
        // works, and a user's own build takes its time once.
        command.env("CARGO_TARGET_DIR", &self.target);
        command
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        command
    }
}
