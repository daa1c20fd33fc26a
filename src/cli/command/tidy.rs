//! `petit tidy`, which a daemon calls and no person need know of

use std::{io, path::PathBuf};

use serde_json::json;

use crate::{
    cli::{CliError, Exit, Globals},
    config::settings::Retention,
    daemon,
    execution::process,
};

/// Let go of what is too old in the history and among the logs of a state folder: what a daemon starts for itself
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The state folder
    #[arg(value_name = "DIR")]
    state_dir: PathBuf,
    /// `retention` of the daemon's settings, as JSON
    #[arg(value_name = "JSON", value_parser = retention)]
    retention: Retention,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

fn retention(text: &str) -> Result<Retention, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Prints how it ended as one line of JSON, whatever form was asked for.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    process::serve_in_background("petit-tidy");
    let ended = daemon::tidy_for_a_daemon(&args.state_dir, args.retention.clone(), args.dry_run, io::stdin());
    globals.print_text(&format!("{}\n", json!(ended)))?;
    Ok(Exit::Done)
}
