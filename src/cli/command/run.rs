//! `petit run`

use std::io;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::{
    cli::{CliError, Exit, Globals},
    core::error_text::chain,
    daemon::{self, DaemonError, Options},
};

/// Run the daemon in the foreground: watch the folder of jobs, fire schedules, run tasks
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The form of the log on standard error
    #[arg(long, value_enum, default_value_t, env = "PETIT_LOG_FORMAT", hide_env_values = true)]
    log_format: LogFormat,
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

/// Runs until SIGTERM or SIGINT.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    start_log(globals, args.log_format);
    for warning in &place.warnings {
        tracing::warn!(
            "{}:{}:{}: {}",
            warning.file,
            warning.line,
            warning.column,
            warning.message
        );
    }
    let options = Options {
        jobs_dir: place.jobs_dir,
        state_dir: place.state_dir,
        settings: place.settings,
        environment: std::env::vars().collect(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed("could not start", &error))?;
    match runtime.block_on(daemon::run(options)) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(explain(&error)),
    }
}

fn explain(error: &DaemonError) -> CliError {
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
        DaemonError::StateDir(_) | DaemonError::Journal(_) | DaemonError::Start { .. } => shown,
    }
}

/// Logs go to standard error: `-v` and `-q` set how much, `PETIT_LOG` (as `RUST_LOG` elsewhere) from which room.
fn start_log(globals: &Globals, format: LogFormat) {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_env("PETIT_LOG").unwrap_or_else(|_| EnvFilter::new(format!("petit={level},warn")));
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => {
            let ansi = globals.color.applies_to(&io::stderr());
            registry
                .with(fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false))
                .init();
        }
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(io::stderr)).init(),
    }
}
