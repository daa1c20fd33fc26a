//! `petit next`

use chrono::{SecondsFormat, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use crate::{
    cli::{
        CliError, Exit, Globals,
        output::{Cell, HEADING, Output, Table},
        source::Source,
    },
    config::diagnostic::{Finding, locate},
    control::NextQuery,
    core::{
        harmless::harmless,
        id::JobId,
        schedule::{self, PreviewError},
    },
    view::{AskedTime, NextView, SilentJob},
};

/// List fires to come: of one job, of all, or of a cron expression
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only of this job; one that nothing will fire says why
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
    /// After this instant instead of now: RFC 3339, or `2026-01-31 02:00`, `02:00`, `tomorrow 02:00` or +2h in the zone of
    /// the expression or the job
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    after: Option<AskedTime>,
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
    let now = Utc::now();
    // A zone that does not exist is told of with the expression.
    let zone = schedule::parse_timezone(&args.timezone).unwrap_or(Tz::UTC);
    let after = args.after.map_or(now, |after| after.resolve(zone, now).at);
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
    let (option, text, span, code) = match error {
        PreviewError::Timing(error) => ("--cron", expression, error.range(), "cron"),
        PreviewError::Schedule(_) => ("--cron", expression, 0..expression.len(), "never-fires"),
        PreviewError::Zone(_) => {
            let zone = args.timezone.as_str();
            ("--timezone", zone, 0..zone.len(), "unknown-timezone")
        }
    };
    let finding = Finding {
        hint: error.hint(),
        ..Finding::error(span, code, error.to_string()).expected(error.expected())
    };
    let invalid = CliError::new(Exit::Negative, "invalid_schedule", finding.message.clone());
    let invalid = invalid.hint(format!("expected {}", error.expected()));
    CliError {
        shown: Some(globals.diagnosed(&locate(option, text, vec![finding]), text)),
        ..error.hint().into_iter().fold(invalid, CliError::hint)
    }
}

fn of_jobs(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let source = Source::open(globals)?;
    let after = match args.after {
        Some(after) => Some(
            after
                .resolve(zone_of(globals, &source, args.job.as_ref())?, Utc::now())
                .at,
        ),
        None => None,
    };
    let next = source.next(&NextQuery {
        job: args.job.clone(),
        count: args.number as usize,
        after,
    })?;
    globals.print(&entries(&next), || text(&next, &globals.output()))?;
    Ok(Exit::Done)
}

/// The zone in which `--after` is read: the job's, or for all jobs that of the settings.
fn zone_of(globals: &Globals, source: &Source, job: Option<&JobId>) -> Result<Tz, CliError> {
    let named = match job {
        Some(job) => source.job(job)?.job.timezone,
        None => None,
    };
    Ok(match named.and_then(|name| schedule::parse_timezone(&name).ok()) {
        Some(zone) => zone,
        None => globals.place()?.settings.zone(),
    })
}

/// One array for programs: the fires, then the jobs that have none, whose instants are `null`.
fn entries(next: &NextView) -> Vec<Value> {
    let fires = next.fires.iter().map(|fire| json!(fire));
    let silent = next.silent.iter().map(|silent| {
        let SilentJob { job, reason, message } = silent;
        json!({ "job": job, "at": null, "at_utc": null, "starts_at": null, "reason": reason, "message": message })
    });
    fires.chain(silent).collect()
}

/// So many jobs without a fire are named to somebody who asked about all.
const SILENT_NAMED: usize = 10;

fn text(next: &NextView, output: &Output) -> String {
    let NextView { fires, silent } = next;
    let (delayed, noted) = (
        fires.iter().any(|fire| fire.starts_at != fire.at_utc),
        fires.iter().any(|fire| fire.note.is_some()),
    );
    let columns = [
        ("at", true),
        ("utc", true),
        ("starts", delayed),
        ("job", true),
        ("zone", true),
        ("but", noted),
    ];
    let headings: Vec<&str> = columns
        .iter()
        .filter(|(_, shown)| *shown)
        .map(|(name, _)| *name)
        .collect();
    let mut table = Table::new(output, &headings);
    for fire in fires {
        let cells: [Cell; 6] = [
            fire.at.as_str().into(),
            fire.at_utc.to_rfc3339_opts(SecondsFormat::Secs, true).into(),
            fire.starts_at.to_rfc3339_opts(SecondsFormat::Millis, true).into(),
            fire.job.as_str().into(),
            fire.timezone.as_str().into(),
            fire.note.as_deref().unwrap_or_default().into(),
        ];
        let shown = cells.into_iter().zip(columns).filter(|(_, (_, shown))| *shown);
        table.row(shown.map(|(cell, _)| cell));
    }
    let mut text = table.render("no schedule will fire anything");
    if silent.is_empty() {
        return text;
    }
    text += &output.paint(HEADING, "without a fire");
    text.push('\n');
    for SilentJob { job, message, .. } in silent.iter().take(SILENT_NAMED) {
        text += &format!("  {job}: {}\n", harmless(message.as_bytes()));
    }
    if let Some(more) = silent.len().checked_sub(SILENT_NAMED).filter(|more| *more > 0) {
        text += &format!("  and {more} more: `petit next JOB` says why\n");
    }
    text
}
