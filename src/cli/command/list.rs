//! `petit list`

use std::collections::BTreeSet;

use crate::cli::{
    CliError, Exit, Globals,
    output::{BAD, Cell, MUTED, Table},
    source::Source,
};
use crate::{core::harmless::harmless, reconcile::SyncState, view::JobView};

/// List the jobs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
}

/// Prints the jobs of the active set, and those whose file is invalid.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let output = globals.output();
    let mut jobs = Source::open(globals)?.jobs()?;
    jobs.retain(|job| args.tag.as_ref().is_none_or(|tag| job.tags.contains(tag)));
    globals.print(&jobs, || {
        let mut table = Table::new(&output, &["job", "schedule", "next", "last run", "sync", "file"]);
        for job in &jobs {
            table.row(row(job, &output));
        }
        let table = table.render("no jobs: put a YAML file into the folder of jobs, or try `petit init`");
        format!("{table}{}", pauses(&jobs))
    })?;
    Ok(Exit::Done)
}

/// Who paused what, when and why: a pause of everything once.
fn pauses(jobs: &[JobView]) -> String {
    let conditions = jobs.iter().flat_map(|job| &job.conditions);
    let paused = conditions.filter(|condition| condition.reason == SyncState::Paused.as_str());
    let messages: BTreeSet<&str> = paused.map(|condition| condition.message.as_str()).collect();
    let lines = messages
        .into_iter()
        .map(|message| format!("⏸ {}\n", harmless(message.as_bytes())));
    lines.collect()
}

fn row(job: &JobView, output: &crate::cli::output::Output) -> [Cell; 6] {
    let state = if !job.enabled {
        Some("disabled")
    } else if job.paused {
        Some("⏸ paused")
    } else {
        None
    };
    let next = match (state, &job.next) {
        (Some(state), _) => Cell::painted(output.paint(MUTED, state)),
        (None, Some(next)) => next.into(),
        (None, None) => "-".into(),
    };
    let last = job
        .last_run
        .as_ref()
        .map_or_else(|| "-".into(), |run| Cell::painted(output.run_status(run.status)));
    let sync = if job.is_well() {
        job.sync.as_str().into()
    } else {
        Cell::painted(output.paint(BAD, &job.state_text()))
    };
    [
        job.id.as_str().into(),
        job.schedule_text().into(),
        next,
        last,
        sync,
        job.file.as_str().into(),
    ]
}
