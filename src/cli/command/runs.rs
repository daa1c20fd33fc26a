//! `petit runs`

use chrono::SecondsFormat;

use crate::{
    cli::{
        CliError, Exit, Globals, filters,
        output::{Cell, Table},
        source::Source,
    },
    control::RunsQuery,
    core::{id::JobId, units::HumanDuration},
};

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = filters::examples())]
pub struct Args {
    /// A job, or what to restrict the list to, such as `job=etl-* status=failed since=2h`
    #[arg(value_name = "JOB|FILTERS")]
    words: Vec<String>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 20)]
    number: u32,
}

/// Prints the runs that match.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let output = globals.output();
    // A job's name alone is the most frequent wish; a job of that name must then exist, or have existed.
    let (job, words) = match args.words.split_first() {
        Some((first, rest)) => match first.parse::<JobId>() {
            Ok(job) => (Some(job), rest),
            Err(_) => (None, args.words.as_slice()),
        },
        None => (None, args.words.as_slice()),
    };
    let query = RunsQuery {
        job,
        filter: filters::read(globals, words)?,
        limit: Some(args.number),
    };
    let runs = Source::open(globals)?.runs_and_older(globals, &query)?;
    globals.print(&runs, || {
        let mut table = Table::new(&output, &["run", "job", "status", "trigger", "due", "took", "reason"]);
        for run in &runs {
            table.row([
                run.id.to_string().into(),
                run.job.as_str().into(),
                Cell::painted(output.run_status(run.status)),
                run.trigger.as_str().into(),
                run.due_at().to_rfc3339_opts(SecondsFormat::Secs, true).into(),
                run.duration_ms.map_or_else(|| "-".to_owned(), duration).into(),
                run.reason.as_deref().unwrap_or("").into(),
            ]);
        }
        table.render(if args.number == 0 {
            "no runs, as was asked for"
        } else if query.job.is_none() && query.filter.is_empty() {
            "no runs yet: `petit next` says what fires when, `petit trigger JOB` runs one now"
        } else {
            "no run matches"
        })
    })?;
    Ok(Exit::Done)
}

/// A length of time for people.
pub fn duration(millis: i64) -> String {
    HumanDuration::elapsed(millis).to_string()
}
