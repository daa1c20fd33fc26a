//! `petit sync`

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::SyncRequest,
    core::harmless::harmless,
    reconcile::{Approval, SyncOutcome, SyncState},
};

/// Look at the files now
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wait until exactly what the files hold now is applied or refused; exits with 1 if not all is in sync
    #[arg(long)]
    wait: bool,
    /// Carry out the removals that the plan with this id holds
    #[arg(long, value_name = "ID")]
    approve: Option<String>,
}

/// Asks the daemon to look, and prints what is not in sync.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let client = source::client(globals)?;
    let outcome = source::block_on(client.sync(&SyncRequest {
        wait: args.wait,
        approve: args.approve.clone(),
    }))?;
    globals.print(&outcome, || text(&outcome, args.wait))?;
    let approved = match &outcome.approval {
        Some(Approval::Carried) => true,
        Some(Approval::Stale { .. }) => false,
        None => args.approve.is_none(),
    };
    Ok(if approved && (outcome.synced || !args.wait) {
        Exit::Done
    } else {
        Exit::Negative
    })
}

fn text(outcome: &SyncOutcome, waited: bool) -> String {
    let status = &outcome.status;
    let approval = outcome.approval.as_ref().map(|approval| match approval {
        Approval::Carried => "the held removals were carried out".to_owned(),
        Approval::Stale { current: Some(plan) } => {
            format!("not approved: the plan that waits is another by now: look at `petit plan`, then `petit sync --approve {plan}`")
        }
        Approval::Stale { current: None } => "not approved: no plan waits for it".to_owned(),
    });
    let jobs = status.jobs.iter().map(|job| (job.job.as_str(), &job.standing));
    let files = status.files.iter().filter(|file| file.job.is_none());
    let files = files.map(|file| (file.file.as_str(), &file.standing));
    let unsynced = jobs
        .chain(files)
        .filter(|(_, standing)| standing.sync != SyncState::Synced)
        .map(|(name, standing)| {
            let message = standing.message.as_deref().unwrap_or("");
            format!("{name} {}: {message}", standing.sync.as_str())
        });
    let conditions = status.conditions.iter().map(|condition| condition.message.clone());
    let mut lines: Vec<String> = approval.into_iter().chain(unsynced).chain(conditions).collect();
    if lines.is_empty() || outcome.synced {
        lines.push(match (outcome.synced, waited) {
            (true, _) => format!("in sync: {} jobs", status.jobs.len()),
            (false, true) => "not in sync yet: files are still changing".to_owned(),
            (false, false) => "looking: `petit sync --wait` waits for the outcome".to_owned(),
        });
    }
    lines.iter().map(|line| harmless(line.as_bytes()) + "\n").collect()
}
