//! The options that every command takes, and what they and the settings file come to together.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::{CliError, ColorChoice, Exit, Format, output::Output};
use crate::config::{
    diagnostic::Diagnostic,
    render,
    settings::{self, Settings, SettingsError},
};
use crate::{
    core::{error_text::chain, task::TaskRegistry},
    execution::capacity,
    reconcile::{self, Trust},
};

/// Options that stand before or after the command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options for every command")]
pub struct Globals {
    /// The folder of job files [default: jobs.d]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PETIT_JOBS_DIR",
        hide_env_values = true
    )]
    jobs_dir: Option<PathBuf>,
    /// The folder of the journal, logs and socket; it decides which daemon is spoken to [default: .petit]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "PETIT_STATE_DIR",
        hide_env_values = true
    )]
    state_dir: Option<PathBuf>,
    /// The settings file [default: petit.yaml, if it exists]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PETIT_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// As root, also follow files, folders and settings that others may write
    #[arg(long, global = true, env = "PETIT_INSECURE_PERMISSIONS", hide_env_values = true)]
    insecure_permissions: bool,
    /// The form of the result
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// Whether to use colour
    #[arg(long, global = true, value_enum, default_value_t)]
    pub color: ColorChoice,
    /// Leave out remarks
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice, still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The Rust tasks of this program; no option.
    #[arg(skip)]
    pub(super) tasks: Arc<TaskRegistry>,
}

/// The settings, and the folders in use.
#[derive(Debug, Clone)]
pub struct Place {
    /// The settings file's content, or the defaults.
    pub settings: Settings,
    /// The folder of job files.
    pub jobs_dir: PathBuf,
    /// The folder of the journal, logs and socket.
    pub state_dir: PathBuf,
    /// The settings file, if there is one.
    pub settings_file: Option<PathBuf>,
    /// Whose files are followed.
    pub trust: Trust,
    /// What is worth telling about the settings.
    pub warnings: Vec<Diagnostic>,
    /// The Rust tasks that job files may use.
    pub tasks: Arc<TaskRegistry>,
}

impl Place {
    /// How the folder of jobs is followed here.
    pub fn reconcile_options(&self) -> reconcile::Options {
        let capacity = capacity::of_machine(&self.settings);
        reconcile::Options {
            trust: self.trust,
            ..reconcile::Options::with_tasks(self.jobs_dir.clone(), &self.settings, capacity, Arc::clone(&self.tasks))
        }
    }

    /// Refuses settings that somebody else may write, if what they say is about to be done as root.
    pub fn check_trust(&self) -> Result<(), CliError> {
        let Some(file) = &self.settings_file else {
            return Ok(());
        };
        let metadata =
            fs::metadata(file).map_err(|error| CliError::failed("could not look at the settings", &error))?;
        self.trust.judge(&metadata).map_err(|distrust| {
            let message = format!("the settings `{}`: {distrust}", file.display());
            CliError::new(Exit::Failed, "insecure_settings", message)
        })
    }
}

impl Globals {
    /// How results are printed.
    pub fn output(&self) -> Output {
        Output {
            format: self.format,
            color: self.color.applies_to(&io::stdout()),
            color_err: self.color.applies_to(&io::stderr()),
            quiet: self.quiet,
            width: terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into()),
        }
    }

    /// Prints a result in the form that was asked for.
    pub fn print<T: Serialize + ?Sized>(&self, value: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
        printed(self.output().print(value, text)).map(drop)
    }

    /// Prints a text as it is, and says whether anybody still reads.
    pub fn print_text(&self, text: &str) -> Result<Reader, CliError> {
        use io::Write;
        let mut stdout = io::stdout().lock();
        printed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }

    /// Diagnostics of `text` as people see them on standard error.
    pub fn diagnosed(&self, diagnostics: &[Diagnostic], text: &str) -> String {
        render::render_human(diagnostics, |_| Some(text), self.output().color_err)
    }

    /// Reads the settings and finds the folders. Options and their variables come before the settings; under systemd,
    /// `STATE_DIRECTORY` does too.
    pub fn place(&self) -> Result<Place, CliError> {
        let loaded = settings::load(self.config.as_deref()).map_err(|error| self.explain(error))?;
        // systemd names several folders separated by colons; the first is the unit's main one.
        let systemd = std::env::var("STATE_DIRECTORY").ok();
        let systemd = systemd
            .as_deref()
            .and_then(|dirs| dirs.split(':').next())
            .filter(|dir| !dir.is_empty());
        let state_dir = match (&self.state_dir, systemd) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => PathBuf::from(dir),
            (None, None) => loaded.state_dir(),
        };
        let jobs_dir = self.jobs_dir.clone().unwrap_or_else(|| loaded.jobs_dir());
        Ok(Place {
            jobs_dir: absolute(&jobs_dir)?,
            state_dir: absolute(&state_dir)?,
            trust: if self.insecure_permissions {
                Trust::Anyone
            } else {
                Trust::of_this_process()
            },
            settings_file: loaded.file,
            warnings: loaded.warnings,
            settings: loaded.settings,
            tasks: Arc::clone(&self.tasks),
        })
    }

    fn explain(&self, error: SettingsError) -> CliError {
        match &error {
            SettingsError::Read { .. } => CliError::new(Exit::Failed, "unreadable_settings", chain(&error)),
            SettingsError::Invalid { diagnostics, text, .. } => {
                let invalid = CliError::new(Exit::Negative, "invalid_settings", error.to_string());
                let shown = self.diagnosed(diagnostics, text);
                let invalid = diagnostics.iter().fold(invalid, |invalid, found| {
                    let at = format!("{}:{}:{}", found.file, found.line, found.column);
                    invalid.hint(format!("{at}: {}", found.message))
                });
                CliError {
                    shown: Some(format!("{shown}error: {error}\n")),
                    ..invalid
                }
            }
        }
    }
}

/// Whether anybody still reads what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Somebody does, as far as one can know.
    There,
    /// The pipe is closed, as `head` closes it.
    Gone,
}

/// Absolute without following links: a folder of jobs that is itself a link may be flipped to another place.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::failed("could not find the current folder", &error))
}

/// A reader that went away is no error.
fn printed(result: io::Result<()>) -> Result<Reader, CliError> {
    match result {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(CliError::failed("could not print the result", &error)),
    }
}
