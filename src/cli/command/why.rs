//! `petit why`

use crate::{
    cli::{CliError, Exit, Globals, source::Source},
    control::WhyQuery,
    core::harmless::harmless,
    core::id::JobId,
    view::AskedTime,
};

/// Say what became of a slot: why it ran, or why it did not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job
    job: JobId,
    /// The slot, in the job's zone: `02:00`, `yesterday 02:00`, `2026-01-31 02:00`, -2h, or RFC 3339; by default the
    /// latest
    #[arg(allow_hyphen_values = true)]
    time: Option<AskedTime>,
}

/// Prints the answer.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let query = WhyQuery {
        job: args.job.clone(),
        at: args.time,
    };
    let why = Source::open(globals)?.why_or_older(globals, &query)?;
    globals.print(&why, || format!("{}\n", harmless(why.answer.as_bytes())))?;
    Ok(Exit::Done)
}
