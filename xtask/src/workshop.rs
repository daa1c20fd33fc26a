//! Where the chores work and how they run commands.
//!
//! A command is shown before it runs, as a person would type it, so that a failed step can be repeated by hand.

use std::{
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Why a chore failed, in words for the person who started it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }

    /// Wraps an error of the system with what was attempted and on which path.
    pub(crate) fn at<'a>(attempt: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Failure + 'a {
        move |error| Failure(format!("cannot {attempt} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// The folders that the chores read and write.
pub(crate) struct Workshop {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever `CARGO_TARGET_DIR` or a configuration file has put it.
    pub(crate) target: PathBuf,
    /// What outlives a clone: the Python tools. `.ci/run` puts the target folder here as well.
    pub(crate) cache: PathBuf,
}

impl Workshop {
    pub(crate) fn open() -> Outcome<Workshop> {
        // Taken from the environment of `cargo xtask` and not from `env!`: a binary that a shared target folder kept
        // from another clone must not work on that clone.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = manifest
            .as_deref()
            .and_then(Path::parent)
            .ok_or(Failure::new("start it as `cargo xtask`"))?;
        let program = env::current_exe().map_err(|error| Failure::new(format!("cannot find this program: {error}")))?;
        let target = program
            .ancestors()
            .nth(2)
            .ok_or(Failure::new("this program lies outside a target folder"))?;
        Ok(Workshop {
            root: root.to_owned(),
            target: target.to_owned(),
            cache: cache_folder()?,
        })
    }

    /// Cargo, in the repository.
    pub(crate) fn cargo(&self, arguments: &str) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(arguments.split_whitespace()).current_dir(&self.root);
        cargo
    }
}

fn cache_folder() -> Outcome<PathBuf> {
    if let Some(folder) = env::var_os("PETIT_CI_CACHE") {
        return Ok(PathBuf::from(folder));
    }
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = env::var_os("HOME").ok_or(Failure::new("neither PETIT_CI_CACHE nor HOME is set"))?;
            Path::new(&home).join(".cache")
        }
    };
    Ok(base.join("petit-ci"))
}

/// Runs a command whose output is for the person who watches; fails when it does.
pub(crate) fn run(command: &mut Command) -> Outcome {
    announce(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| not_started(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{}` ended with {status}", typed(command))))
    }
}

/// What a command said, for a step that expects something of it.
pub(crate) struct Said {
    pub(crate) success: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

/// Runs a command, success or not, and returns what it said.
pub(crate) fn ask(command: &mut Command) -> Outcome<Said> {
    announce(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, &error))?;
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    print!("{text}");
    Ok(Said {
        success: output.status.success(),
        text,
    })
}

fn announce(command: &Command) {
    println!("$ {}", typed(command));
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", typed(command)))
}

/// The command as a person would type it; a program is named without its folder.
fn typed(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = [program.file_name().unwrap_or(program.as_os_str())]
        .into_iter()
        .chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
