//! `petit sql`

use std::{io, path::PathBuf};

use crate::cli::{CliError, Exit, Globals};

/// Ask the history in SQL: one query, which can only read; `.schema` lists the tables and their columns
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The query; `-` reads it from standard input, `.schema` is none
    #[arg(value_name = "QUERY")]
    query: String,
    /// At most so many rows; more are not printed, and that is said
    #[arg(long, value_name = "ROWS", default_value_t = 1_000, conflicts_with = "output")]
    limit: usize,
    /// Write the rows into a file that ends in .parquet or .csv: all of them, without a limit
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "output")]
    force: bool,
}

/// Prints the rows, or writes them.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let query = match args.query.as_str() {
        "-" => io::read_to_string(io::stdin())
            .map_err(|error| CliError::failed("could not read the query from standard input", &error))?,
        query => query.to_owned(),
    };
    match (&args.output, query.trim() == ".schema") {
        (None, true) => rows::print_schema(globals),
        (Some(_), true) => Err(CliError::usage(
            "`.schema` is no query whose rows could be written to a file",
        )),
        (None, false) => rows::print(globals, &query, args.limit),
        (Some(file), false) => rows::write(globals, &query, file, args.force),
    }
}

/// The answer of a build without DuckDB to every question about the past.
#[cfg(not(feature = "history"))]
pub fn not_built_in() -> CliError {
    CliError::new(
        Exit::Failed,
        "no_history",
        "this build of Petit keeps no history: it has no DuckDB",
    )
    .hint("`petit runs` lists the runs that the journal keeps")
    .hint("a build with the default features keeps history: `cargo install petit`")
}

#[cfg(not(feature = "history"))]
mod rows {
    use super::{CliError, Exit, Globals, not_built_in};

    pub fn print(_: &Globals, _: &str, _: usize) -> Result<Exit, CliError> {
        Err(not_built_in())
    }

    pub fn write(_: &Globals, _: &str, _: &std::path::Path, _: bool) -> Result<Exit, CliError> {
        Err(not_built_in())
    }

    pub fn print_schema(_: &Globals) -> Result<Exit, CliError> {
        Err(not_built_in())
    }
}

#[cfg(feature = "history")]
mod rows {
    use serde_json::{Value, json};

    use super::{CliError, Exit, Globals};
    pub use crate::cli::command::export::files::write_query as write;
    use crate::{
        cli::{
            Format,
            interrupt::heeding,
            output::{HEADING, Objects, Table, csv},
            past,
        },
        history::TABLES,
    };

    pub fn print(globals: &Globals, query: &str, limit: usize) -> Result<Exit, CliError> {
        let output = globals.output();
        let found = heeding(|interrupt| {
            let reader = past::reader(globals)?;
            interrupt.stops(reader.history().stopper());
            past::tell_notes(&output, reader.history());
            Ok(reader.query(query, limit)?)
        })?;
        if output.format == Format::Csv {
            globals.print_text(&csv(&found.columns, &found.rows))?;
        } else {
            let objects = Objects {
                names: &found.columns,
                rows: &found.rows,
            };
            globals.print(&objects, || {
                let headings: Vec<_> = found.columns.iter().map(String::as_str).collect();
                let mut table = Table::new(&output, &headings);
                for row in &found.rows {
                    table.row(row.iter().map(|value| shown(value).into()));
                }
                table.render(match found.more {
                    true => "no rows, as was asked for",
                    false => "no rows",
                })
            })?;
        }
        if found.more {
            output.warn_incomplete(&format!(
                "only the first {limit} rows are shown: `--limit` sets another number"
            ));
        }
        Ok(Exit::Done)
    }

    pub fn print_schema(globals: &Globals) -> Result<Exit, CliError> {
        let output = globals.output();
        let columns = |table: &crate::history::Table| -> Value {
            let column = |column: &crate::history::Column| json!({ "name": column.name, "type": column.kind, "about": column.about });
            table.columns.iter().map(column).collect()
        };
        let tables: Vec<_> = TABLES
            .iter()
            .map(|table| json!({ "table": table.name, "about": table.about, "columns": columns(table) }))
            .collect();
        globals.print(&tables, || {
            let mut text = String::from("Instants are UTC, durations (`_ms`) milliseconds, sizes (`_bytes`) bytes.\n");
            for table in TABLES {
                text.push_str(&format!("\n{}: {}\n", output.paint(HEADING, table.name), table.about));
                for column in table.columns {
                    text.push_str(&format!("  {:<22} {:<10} {}\n", column.name, column.kind, column.about));
                }
            }
            text
        })?;
        Ok(Exit::Done)
    }

    fn shown(value: &Value) -> String {
        match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}
