//! `petit catch-up`, which a daemon calls and no person need know of

use std::{io, path::PathBuf};

use serde_json::json;

use crate::{
    cli::{CliError, Exit, Globals},
    daemon,
    execution::process,
};

/// Bring the history of a state folder up to date until standard input is closed: what a daemon starts for itself
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The state folder
    #[arg(value_name = "DIR")]
    state_dir: PathBuf,
}

/// Prints how it ended as one line of JSON, whatever form was asked for. A failure is told there and is no other exit code:
/// the daemon makes of it what it makes of its own.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    process::serve_in_background("petit-catch-up");
    let report = daemon::catch_up_for_a_daemon(&args.state_dir, io::stdin());
    globals.print_text(&format!("{}\n", json!(report)))?;
    Ok(Exit::Done)
}
