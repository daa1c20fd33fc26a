//! `petit sync`

use std::path::{Path, PathBuf};

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::{Client, SyncRequest},
    core::{harmless::harmless, units::HumanDuration},
    reconcile::{Approval, AwaitedFile, AwaitedOutcome, SyncOutcome, SyncState},
};

/// Look at the files now
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wait until exactly what the files hold now is applied or refused; exits with 1 if not all is in sync
    #[arg(long)]
    wait: bool,
    /// Wait for these files alone, whatever others do
    #[arg(value_name = "FILE", requires = "wait")]
    files: Vec<PathBuf>,
    /// Wait no longer than this, such as `30s`; exits with 1 if something is not decided then
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<HumanDuration>,
    /// Carry out the removals that the plan with this id holds
    #[arg(long, value_name = "ID")]
    approve: Option<String>,
}

/// Asks the daemon to look, and prints what is not in sync.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let client = Client::new(&place.state_dir);
    let files = args.files.iter().map(|file| below(&place.jobs_dir, file));
    let outcome = source::block_on(client.sync(&SyncRequest {
        wait: args.wait,
        files: files.collect::<Result<_, _>>()?,
        timeout_ms: args.timeout.map(HumanDuration::as_millis),
        approve: args.approve.clone(),
        by: Some(source::user()),
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

/// A file's path below the folder of jobs, whether it was given from there or from here.
fn below(jobs_dir: &Path, file: &Path) -> Result<String, CliError> {
    let from_here =
        std::path::absolute(file).map_err(|error| CliError::failed("could not find the current folder", &error))?;
    let below = from_here.strip_prefix(jobs_dir).unwrap_or(file);
    match below.to_str() {
        Some(path) if below.is_relative() => Ok(path.to_owned()),
        Some(_) | None => Err(CliError::usage(format!(
            "{} is not a file of the folder of jobs, {}",
            file.display(),
            jobs_dir.display()
        ))),
    }
}

fn text(outcome: &SyncOutcome, waited: bool) -> String {
    let mut lines: Vec<String> = outcome.approval.iter().flat_map(approval).collect();
    lines.extend(match waited {
        true => outcome.files.iter().filter_map(awaited).collect(),
        false => unsynced(outcome),
    });
    lines.extend(
        outcome
            .status
            .conditions
            .iter()
            .map(|condition| condition.message.clone()),
    );
    if lines.is_empty() || outcome.synced {
        lines.push(match (outcome.synced, waited) {
            (true, true) => format!("in sync: all {} files that were there", outcome.files.len()),
            (true, false) => format!("in sync: {} jobs", outcome.status.jobs.len()),
            (false, true) => "not in sync yet: files are still changing".to_owned(),
            (false, false) => "looking: `petit sync --wait` waits for the outcome".to_owned(),
        });
    }
    let superseded = outcome
        .files
        .iter()
        .any(|file| file.outcome == AwaitedOutcome::Superseded);
    if superseded {
        lines.push("somebody else writes here: `petit sync --wait FILE…` waits for your files alone".to_owned());
    }
    if outcome.timed_out {
        lines.push("the time is up: `petit sync --wait` waits on".to_owned());
    }
    lines.iter().map(|line| harmless(line.as_bytes()) + "\n").collect()
}

fn approval(approval: &Approval) -> Vec<String> {
    match approval {
        Approval::Carried => vec!["the held removals were carried out".to_owned()],
        Approval::Stale { current, changed } => {
            let first = match current {
                Some(plan) => format!(
                    "not approved: the plan that waits is another by now: look at `petit plan`, then `petit sync --approve {plan}`"
                ),
                None => "not approved: no plan waits for it".to_owned(),
            };
            let changed = changed.iter().map(|change| format!("  since that plan: {change}"));
            [first].into_iter().chain(changed).collect()
        }
    }
}

/// Why a content that was waited for is not active.
fn awaited(file: &AwaitedFile) -> Option<String> {
    let state = match (file.outcome, file.sync) {
        (AwaitedOutcome::Synced, _) => return None,
        (AwaitedOutcome::Refused, Some(sync)) => sync.as_str(),
        (AwaitedOutcome::Refused, None) => "refused",
        (AwaitedOutcome::Superseded, _) => "superseded",
        (AwaitedOutcome::Undecided, _) => "undecided",
    };
    let place = match (file.line, file.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", file.file),
        _ => file.file.clone(),
    };
    Some(format!("{place} {state}: {}", file.message.as_deref().unwrap_or("")))
}

/// Everything that is not in sync at this moment.
fn unsynced(outcome: &SyncOutcome) -> Vec<String> {
    let status = &outcome.status;
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
    unsynced.collect()
}
