//! `petit history`

use crate::{
    cli::{CliError, Exit, Globals, filters},
    view::{Filter, Question},
};

/// Ask about the past: what got slower, what waits, what fails and when, and more
#[derive(Debug, clap::Args)]
#[command(after_help = views(), args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    chore: Option<Chore>,
    /// The question
    #[arg(value_name = "VIEW", required = true)]
    question: Option<Question>,
    /// What to restrict it to, such as `job=etl-* status=failed since=30d`
    #[arg(value_name = "FILTERS")]
    filters: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Chore {
    Export(super::export::Args),
}

fn views() -> String {
    let views = Question::ALL.map(|view| format!("\n  {view:<10} {}", view.about()));
    format!("Views:{}\n\n{}", views.concat(), filters::examples())
}

/// Prints the answer: ranked rows.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    match (&args.chore, args.question) {
        (Some(Chore::Export(args)), _) => super::export::run(globals, args),
        (None, Some(question)) => answer::print(globals, question, &filters::read(globals, &args.filters)?),
        (None, None) => Err(CliError::usage("expected a view, or `export`")),
    }
}

#[cfg(not(feature = "history"))]
mod answer {
    use super::{CliError, Exit, Filter, Globals, Question};

    pub fn print(_: &Globals, _: Question, _: &Filter) -> Result<Exit, CliError> {
        Err(super::super::sql::not_built_in())
    }
}

#[cfg(feature = "history")]
mod answer {
    use chrono::{DateTime, SecondsFormat, Utc};
    use serde_json::Value;

    use super::{CliError, Exit, Filter, Globals, Question};
    use crate::{
        cli::{
            Format,
            command::runs::duration,
            interrupt::heeding,
            output::{Cell, MUTED, Objects, Table, csv},
            past,
        },
        view::ColumnKind,
    };

    pub fn print(globals: &Globals, question: Question, filter: &Filter) -> Result<Exit, CliError> {
        let output = globals.output();
        let answer = heeding(|interrupt| {
            let history = past::open(globals)?;
            interrupt.stops(history.stopper());
            Ok(history.ask(question, filter, Utc::now())?)
        })?;
        if let Some(note) = &answer.note {
            let as_of = answer.as_of.to_rfc3339_opts(SecondsFormat::Secs, true);
            output.warn_incomplete(&format!("as of {as_of}: {note}"));
        }
        let names: Vec<_> = answer.columns.iter().map(|column| column.name.as_str()).collect();
        if output.format == Format::Csv {
            globals.print_text(&csv(&names, &answer.rows))?;
            return Ok(Exit::Done);
        }
        let objects = Objects {
            names: &names,
            rows: &answer.rows,
        };
        globals.print(&objects, || {
            let headings: Vec<_> = answer.columns.iter().map(|column| heading(&column.name)).collect();
            let measure = answer
                .columns
                .iter()
                .position(|column| column.name == question.measure());
            let largest = measure.map_or(0.0, |column| largest(&answer.rows, column));
            let mut table = Table::new(&output, &[&[""], headings.as_slice()].concat());
            for row in &answer.rows {
                let bar = measure.map_or(String::new(), |column| bar(&row[column], largest));
                let cells = answer.columns.iter().zip(row);
                let cells = cells.map(|(column, value)| Cell::from(shown(column.kind, value)));
                table.row([Cell::painted(output.paint(MUTED, &bar))].into_iter().chain(cells));
            }
            table.render(if filter.is_empty() {
                "nothing: the history holds nothing of this kind"
            } else {
                "nothing fits: `petit history` with fewer filters shows more"
            })
        })?;
        Ok(Exit::Done)
    }

    /// People see units in the values.
    fn heading(name: &str) -> &str {
        name.trim_end_matches("_ms").trim_end_matches("_bytes")
    }

    fn shown(kind: ColumnKind, value: &Value) -> String {
        match (kind, value) {
            (_, Value::Null) => "-".to_owned(),
            (ColumnKind::Millis, value) => value.as_f64().map_or_else(|| value.to_string(), millis),
            (ColumnKind::Ratio, value) => value
                .as_f64()
                .map_or_else(|| value.to_string(), |ratio| format!("{:.1} %", ratio * 100.0)),
            (ColumnKind::Time, Value::String(text)) => DateTime::parse_from_rfc3339(text).map_or_else(
                |_| text.clone(),
                |at| at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true),
            ),
            (ColumnKind::Bytes, value) => value.as_f64().map_or_else(|| value.to_string(), bytes),
            (_, Value::String(text)) => text.clone(),
            (ColumnKind::Text | ColumnKind::Count | ColumnKind::Time, value) => value.to_string(),
        }
    }

    /// Below ten milliseconds their parts count.
    fn millis(millis: f64) -> String {
        if millis.abs() < 10.0 && millis.fract() != 0.0 {
            format!("{millis:.1}ms")
        } else {
            duration(millis.round() as i64)
        }
    }

    /// In the largest unit of which there is one.
    fn bytes(bytes: f64) -> String {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = bytes;
        let mut unit = 0;
        while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && value.abs() < 100.0 && value.fract() != 0.0);
        format!("{value:.digits$}{}", UNITS[unit])
    }

    fn largest(rows: &[Vec<Value>], column: usize) -> f64 {
        rows.iter().filter_map(|row| row[column].as_f64()).fold(0.0, f64::max)
    }

    const BAR: usize = 8;

    /// A bar of at most [`BAR`] cells, in eighths.
    fn bar(value: &Value, largest: f64) -> String {
        const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let share = value
            .as_f64()
            .filter(|_| largest > 0.0)
            .map_or(0.0, |value| value.max(0.0) / largest);
        // Something is never drawn as nothing.
        let eighths = ((share * (BAR * 8) as f64).round() as usize).max(usize::from(share > 0.0));
        format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
    }

    #[cfg(test)]
    mod tests {
        use serde_json::json;

        use super::*;

        #[test]
        fn values_are_shown_with_their_units() {
            for (kind, value, expected) in [
                (ColumnKind::Millis, json!(2.345), "2.3ms"),
                (ColumnKind::Millis, json!(61_000), "1m1s"),
                (ColumnKind::Ratio, json!(0.125), "12.5 %"),
                (ColumnKind::Count, json!(7), "7"),
                (ColumnKind::Bytes, json!(1_000), "1000B"),
                (ColumnKind::Bytes, json!(-100 * 1024 * 1024), "-100MiB"),
                (ColumnKind::Bytes, json!(1_610_612_736), "1.5GiB"),
                (ColumnKind::Text, Value::Null, "-"),
                (
                    ColumnKind::Time,
                    json!("2026-01-31T02:00:00.250Z"),
                    "2026-01-31T02:00:00Z",
                ),
            ] {
                assert_eq!(shown(kind, &value), expected);
            }
        }

        #[test]
        fn bars_are_as_long_as_their_share() {
            assert_eq!(bar(&json!(10), 10.0), "████████");
            assert_eq!(bar(&json!(5), 10.0), "████");
            assert_eq!(bar(&json!(0.001), 10.0), "▏");
            assert_eq!(bar(&json!(0), 10.0), "");
            assert_eq!(bar(&Value::Null, 0.0), "");
        }
    }
}
