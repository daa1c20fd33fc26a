//! `petit runs`

use chrono::{SecondsFormat, Utc};

use crate::{
    cli::{
        CliError, Exit, Globals,
        output::{Cell, Table},
        source::Source,
    },
    control::RunsQuery,
    core::{
        id::JobId,
        state::{RunStatus, Trigger},
        units::HumanDuration,
    },
};

/// List runs, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this job
    job: Option<JobId>,
    /// Only with this status: queued, running, succeeded, failed, cancelled, interrupted or timed_out
    #[arg(long)]
    status: Option<RunStatus>,
    /// Only with this trigger: schedule, manual, dependency or retry
    #[arg(long)]
    trigger: Option<Trigger>,
    /// Only created within this time, such as 2h or 7d
    #[arg(long, value_name = "DURATION")]
    since: Option<HumanDuration>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20)]
    number: u32,
}

/// Prints the runs that match.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let output = globals.output();
    let query = RunsQuery {
        job: args.job.clone(),
        status: args.status,
        trigger: args.trigger,
        since: args.since.map(|since| Utc::now() - since.to_delta()),
        limit: Some(args.number),
    };
    let runs = Source::open(globals)?.runs(&query)?;
    globals.print(&runs, || {
        let mut table = Table::new(
            &output,
            &["run", "job", "status", "trigger", "created", "took", "reason"],
        );
        for run in &runs {
            table.row([
                run.id.to_string().into(),
                run.job.as_str().into(),
                Cell::painted(output.run_status(run.status)),
                run.trigger.as_str().into(),
                run.created_at.to_rfc3339_opts(SecondsFormat::Secs, true).into(),
                run.duration_ms.map_or_else(|| "-".to_owned(), duration).into(),
                run.reason.as_deref().unwrap_or("").into(),
            ]);
        }
        table.render(
            if query
                == (RunsQuery {
                    limit: query.limit,
                    ..RunsQuery::default()
                })
            {
                "no runs yet: `petit next` says what fires when, `petit trigger JOB` runs one now"
            } else {
                "no run matches"
            },
        )
    })?;
    Ok(Exit::Done)
}

/// A length of time for people.
pub fn duration(millis: i64) -> String {
    HumanDuration::elapsed(millis).to_string()
}
