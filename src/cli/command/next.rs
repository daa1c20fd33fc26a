//! `petit next`

use chrono::Utc;
use serde_json::json;

use crate::{
    cli::{CliError, Exit, Globals, output::Table, source::Source},
    config::diagnostic::{Finding, locate},
    control::NextQuery,
    core::{
        Timestamp,
        id::JobId,
        schedule::{self, PreviewError},
    },
};

/// List fires to come: of one job, of all, or of a cron expression
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this job
    job: Option<JobId>,
    /// Of this expression instead of a job; needs no files
    #[arg(long, value_name = "EXPR", conflicts_with = "job", allow_hyphen_values = true)]
    cron: Option<String>,
    /// The expression's IANA zone
    #[arg(
        long,
        visible_alias = "tz",
        value_name = "TZ",
        requires = "cron",
        default_value = "UTC"
    )]
    timezone: String,
    /// After this instant instead of now: RFC 3339, or `2026-01-31 02:00` or `02:00` in this machine's zone
    #[arg(long, value_name = "TIME", value_parser = super::why::parse_instant)]
    after: Option<Timestamp>,
    /// How many
    #[arg(short = 'n', long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    number: u32,
}

/// Prints the fires.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    match &args.cron {
        Some(expression) => of_expression(globals, args, expression),
        None => of_jobs(globals, args),
    }
}

fn of_expression(globals: &Globals, args: &Args, expression: &str) -> Result<Exit, CliError> {
    let after = args.after.unwrap_or_else(Utc::now);
    let fires = schedule::preview(expression, &args.timezone, after, args.number as usize)
        .map_err(|error| explain(globals, args, expression, &error))?;
    let texts: Vec<String> = fires.iter().map(chrono::DateTime::to_rfc3339).collect();
    globals.print(&json!({ "next": texts }), || {
        texts.iter().map(|text| format!("{text}\n")).collect()
    })?;
    Ok(Exit::Done)
}

/// The error with an arrow at the part of the command line that it is about.
fn explain(globals: &Globals, args: &Args, expression: &str, error: &PreviewError) -> CliError {
    let (option, text, span) = match error {
        PreviewError::Timing(error) => ("--cron", expression, error.range()),
        PreviewError::Schedule(_) => ("--cron", expression, 0..expression.len()),
        PreviewError::Zone(_) => ("--timezone", args.timezone.as_str(), 0..args.timezone.len()),
    };
    let finding = Finding {
        hint: error.hint(),
        ..Finding::error(span, "invalid_schedule", error.to_string()).expected(error.expected())
    };
    let invalid = CliError::new(Exit::Negative, finding.code, finding.message.clone());
    let invalid = invalid.hint(format!("expected {}", error.expected()));
    CliError {
        shown: Some(globals.diagnosed(&locate(option, text, vec![finding]), text)),
        ..error.hint().into_iter().fold(invalid, CliError::hint)
    }
}

fn of_jobs(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let output = globals.output();
    let query = NextQuery {
        job: args.job.clone(),
        count: args.number as usize,
        after: args.after,
    };
    let fires = Source::open(globals)?.next(&query)?;
    globals.print(&fires, || {
        let mut table = Table::new(&output, &["at", "utc", "job", "zone"]);
        for fire in &fires {
            let utc = fire.at_utc.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            table.row([
                fire.at.as_str().into(),
                utc.into(),
                fire.job.as_str().into(),
                fire.timezone.as_str().into(),
            ]);
        }
        table.render("nothing will fire: no job has a schedule, or all that have one are disabled or paused")
    })?;
    Ok(Exit::Done)
}
