//! `petit sync`

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::SyncRequest,
    core::harmless::harmless,
    reconcile::SyncState,
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
    let request = SyncRequest {
        wait: args.wait,
        approve: args.approve.clone(),
    };
    let outcome = source::block_on(client.sync(&request))?;
    let status = &outcome.status;
    let unsynced: Vec<_> = status
        .jobs
        .iter()
        .filter(|job| job.standing.sync != SyncState::Synced)
        .collect();
    let unread: Vec<_> = status
        .files
        .iter()
        .filter(|file| file.job.is_none() && file.standing.sync != SyncState::Synced)
        .collect();
    let well = unsynced.is_empty() && unread.is_empty() && status.conditions.is_empty();
    globals.print(&status, || {
        let standing = |name: &str, standing: &crate::reconcile::status::Standing| {
            let message = standing.message.as_deref().unwrap_or("");
            format!(
                "{} {}: {}\n",
                harmless(name.as_bytes()),
                standing.sync.as_str(),
                harmless(message.as_bytes())
            )
        };
        let jobs = unsynced.iter().map(|job| standing(job.job.as_str(), &job.standing));
        let files = unread.iter().map(|file| standing(&file.file, &file.standing));
        let conditions = status
            .conditions
            .iter()
            .map(|it| format!("{}\n", harmless(it.message.as_bytes())));
        let text: String = jobs.chain(files).chain(conditions).collect();
        match (text.is_empty(), args.wait) {
            (true, true) => format!("in sync: {} jobs\n", status.jobs.len()),
            (true, false) => "looking\n".to_owned(),
            (false, _) => text,
        }
    })?;
    Ok(if well || !args.wait { Exit::Done } else { Exit::Negative })
}
