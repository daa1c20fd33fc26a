//! `petit why`

use chrono::{DateTime, Local, NaiveDateTime, NaiveTime, TimeZone, Utc};

use crate::{
    cli::{CliError, Exit, Globals, source::Source},
    control::WhyQuery,
    core::harmless::harmless,
    core::{Timestamp, id::JobId},
};

/// Say what became of a slot: why it ran, or why it did not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job
    job: JobId,
    /// The slot: RFC 3339, or `2026-01-31 02:00` or `02:00` in this machine's zone; by default the latest
    #[arg(value_parser = parse_instant)]
    time: Option<Timestamp>,
}

/// Prints the answer.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let query = WhyQuery {
        job: args.job.clone(),
        at: args.time,
    };
    let why = Source::open(globals)?.why(&query)?;
    globals.print(&why, || format!("{}\n", harmless(why.answer.as_bytes())))?;
    Ok(Exit::Done)
}

/// Reads an instant as people write it. A time without a date is today's; without an offset it is this machine's.
#[expect(
    clippy::disallowed_methods,
    reason = "what a person types is in the zone of the machine that they sit at, now"
)]
pub fn parse_instant(text: &str) -> Result<Timestamp, String> {
    parse_at(text, Local::now())
}

fn parse_at<Z: TimeZone>(text: &str, now: DateTime<Z>) -> Result<Timestamp, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.with_timezone(&Utc));
    }
    let with_date = [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%dT%H:%M",
    ]
    .iter()
    .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let today = || {
        let time = ["%H:%M:%S", "%H:%M"]
            .iter()
            .find_map(|format| NaiveTime::parse_from_str(text, format).ok())?;
        Some(now.date_naive().and_time(time))
    };
    let wall = with_date
        .or_else(today)
        .ok_or_else(|| "expected an instant such as 2026-01-31T02:00:00Z, `2026-01-31 02:00` or 02:00".to_owned())?;
    let local = now.timezone().from_local_datetime(&wall);
    local
        .earliest()
        .map(|instant| instant.with_timezone(&Utc))
        .ok_or_else(|| {
            format!("{wall} does not exist in this machine's zone, because its clocks jump over it: give an offset")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_in_the_forms_people_write() {
        let now = chrono_tz::Europe::Berlin
            .with_ymd_and_hms(2026, 1, 31, 12, 0, 0)
            .single()
            .expect("a valid time");
        for (text, utc) in [
            ("2026-01-31T02:00:00Z", "2026-01-31T02:00:00Z"),
            ("2026-01-31T02:00:00+01:00", "2026-01-31T01:00:00Z"),
            ("2026-07-01 02:00", "2026-07-01T00:00:00Z"),
            ("02:00:30", "2026-01-31T01:00:30Z"),
        ] {
            let parsed = parse_at(text, now).expect(text);
            assert_eq!(parsed.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), utc, "{text}");
        }
        assert!(parse_at("2026-03-29 02:30", now).expect_err("a gap").contains("jump"));
        assert!(parse_at("yesterday", now).expect_err("no time").contains("expected"));
    }
}
