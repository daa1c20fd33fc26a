//! `petit cancel`

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::CancelRequest,
    core::id::{JobId, RunId},
};

/// Cancel a run, or every run of a job that has not ended
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run's id, or a job's
    #[arg(value_name = "RUN|JOB")]
    target: String,
}

/// Asks the daemon to cancel, and names the runs that it cancels.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let request = match args.target.parse::<RunId>() {
        Ok(run) => CancelRequest::Run(run),
        Err(_) => match args.target.parse::<JobId>() {
            Ok(job) => CancelRequest::Job(job),
            Err(_) => {
                let message = format!("`{}` is neither the id of a run nor of a job", args.target);
                return Err(CliError::usage(message).hint("`petit runs` and `petit list` print them"));
            }
        },
    };
    let client = source::client(globals)?;
    let cancelled = source::block_on(client.cancel(&request))?;
    globals.print(&cancelled, || {
        if cancelled.runs.is_empty() {
            "nothing to cancel: no run of it is going\n".to_owned()
        } else {
            cancelled.runs.iter().map(|run| format!("cancelling {run}\n")).collect()
        }
    })?;
    Ok(if cancelled.runs.is_empty() {
        Exit::Negative
    } else {
        Exit::Done
    })
}
