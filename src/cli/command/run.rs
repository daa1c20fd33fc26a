//! `petit run`

use std::{io, sync::Arc};

use clap::ValueEnum;
use tokio::{runtime::Runtime, sync::mpsc};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

#[cfg(feature = "tui")]
use crate::tui::Leaving;
use crate::{
    cli::{CliError, Exit, Globals, globals::Place},
    core::error_text::chain,
    daemon::{self, DaemonError, Options},
};

/// Run the daemon in the foreground: watch the folder of jobs, fire schedules, run tasks
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The form of the log on standard error
    #[arg(long, value_enum, default_value_t, env = "PETIT_LOG_FORMAT", hide_env_values = true)]
    log_format: LogFormat,
    /// Show the screens of `petit tui` in this terminal; the log goes to petit.log in the state folder meanwhile
    #[cfg(feature = "tui")]
    #[arg(long)]
    tui: bool,
}

/// The form of the daemon's own log.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// Runs until SIGTERM or SIGINT, or until somebody leaves the screens.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    place.check_trust()?;
    #[cfg(feature = "tui")]
    if args.tui {
        return with_screens(globals, args, place);
    }
    let ansi = globals.color.applies_to(&io::stderr());
    start_log(globals, args.log_format, ansi, io::stderr);
    // Nobody but a signal asks this daemon to stop.
    let (_, asked) = mpsc::channel(1);
    runtime()?
        .block_on(daemon::run(options(place), asked))
        .map_err(|error| explain(&error))?;
    Ok(Exit::Done)
}

/// Runs the daemon with the screens before it. Leaving the screens stops it; should it end by itself, they are left.
#[cfg(feature = "tui")]
fn with_screens(globals: &Globals, args: &Args, place: Place) -> Result<Exit, CliError> {
    let screens = super::tui::Screens::new(globals, &place)?;
    let log = open_log(&place.state_dir)?;
    start_log(globals, args.log_format, false, Arc::new(log));
    let runtime = runtime()?;
    let (stop, asked) = mpsc::channel(1);
    let mut daemon = runtime.spawn(daemon::run(options(place), asked));
    let (left, ended) = runtime.block_on(async {
        let mut ended = None;
        let left = screens.show(true, async { ended = Some((&mut daemon).await) }).await;
        let ended = match ended {
            Some(ended) => ended,
            None => {
                globals
                    .output()
                    .remark("stopping: running tasks may end; Ctrl-C hurries");
                // A daemon that has ended meanwhile needs no message; one that a signal stops takes a second one as hurry.
                if !matches!(left, Ok(Leaving::Signal)) {
                    let _ = stop.send(()).await;
                }
                daemon.await
            }
        };
        (left, ended)
    });
    runtime.shutdown_background();
    match ended {
        Ok(ended) => ended.map_err(|error| explain(&error))?,
        Err(panic) => return Err(CliError::failed("could not keep the daemon alive", &panic)),
    }
    left.map(|_| Exit::Done)
}

/// The daemon's log while its terminal shows the screens.
#[cfg(feature = "tui")]
fn open_log(state_dir: &std::path::Path) -> Result<std::fs::File, CliError> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let path = state_dir.join("petit.log");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    let opened = made.and_then(|()| {
        std::fs::File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
    });
    opened.map_err(|error| CliError::failed(format_args!("could not open the log {}", path.display()), &error))
}

/// What a daemon in this place is started with.
pub(super) fn options(place: Place) -> Options {
    for warning in &place.warnings {
        tracing::warn!(
            "{}:{}:{}: {}",
            warning.file,
            warning.line,
            warning.column,
            warning.message
        );
    }
    Options {
        jobs_dir: place.jobs_dir,
        state_dir: place.state_dir,
        settings: place.settings,
        trust: place.trust,
        environment: daemon::own_environment(),
        tasks: Arc::default(),
    }
}

pub(super) fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("could not start", &error))
}

/// Why no daemon runs, and what to do about it.
pub(super) fn explain(error: &DaemonError) -> CliError {
    let code = match error {
        DaemonError::StateDir(_) => "state_dir",
        DaemonError::Journal(_) => "journal",
        DaemonError::Start { .. } => "start",
    };
    let shown = CliError::new(Exit::Failed, code, chain(error));
    match error {
        DaemonError::StateDir(daemon::StateDirError::Held { .. }) => {
            shown.hint("stop that one first, or give this one a folder of its own with `--state-dir`")
        }
        DaemonError::Journal(error) => error.clone().into(),
        DaemonError::StateDir(_) | DaemonError::Start { .. } => shown,
    }
}

/// Logs go to standard error, or to a file below the screens: `-v` and `-q` set how much, `PETIT_LOG` (as `RUST_LOG`
/// elsewhere) from which room.
fn start_log<W>(globals: &Globals, format: LogFormat, ansi: bool, writer: W)
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("PETIT_LOG").unwrap_or_else(|_| EnvFilter::new(format!("petit={level},warn")));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(writer).with_ansi(ansi).with_target(false))
            .init(),
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(writer)).init(),
    }
}
