//! `petit pause` and `petit resume`

use serde_json::json;

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::{PauseRequest, ResumeRequest},
    core::id::JobId,
};

/// Stop firing a job, or every job, until `petit resume`
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// The job; without it, everything
    job: Option<JobId>,
    /// Why: shown by `status` and `why`
    #[arg(long)]
    reason: Option<String>,
}

/// Fire a paused job again, or everything; what was paused by itself stays paused
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The job; without it, the pause of everything ends
    job: Option<JobId>,
}

/// Pauses.
pub fn pause(globals: &Globals, args: &PauseArgs) -> Result<Exit, CliError> {
    let request = PauseRequest {
        job: args.job.clone(),
        by: source::user(),
        reason: args.reason.clone(),
    };
    let client = source::client(globals)?;
    source::block_on(client.pause(&request))?;
    said(globals, "paused", args.job.as_ref())
}

/// Resumes.
pub fn resume(globals: &Globals, args: &ResumeArgs) -> Result<Exit, CliError> {
    let client = source::client(globals)?;
    source::block_on(client.resume(&ResumeRequest {
        job: args.job.clone(),
        by: source::user(),
    }))?;
    said(globals, "resumed", args.job.as_ref())
}

fn said(globals: &Globals, what: &str, job: Option<&JobId>) -> Result<Exit, CliError> {
    let name = job.map_or("everything", JobId::as_str);
    globals.print(&json!({ "job": job, "state": what }), || format!("{what} {name}\n"))?;
    Ok(Exit::Done)
}
