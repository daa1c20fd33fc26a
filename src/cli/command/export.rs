//! `petit history export`

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::{CliError, Exit, Globals, filters};

/// Write the tables of the history into files
///
/// All tables, a file each into a folder; or one table into one file, whose name says in which form.
#[derive(Debug, clap::Args)]
#[command(after_help = filters::examples())]
pub struct Args {
    /// The folder; with `--table` a file that ends in .parquet or .csv
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// What to restrict the rows to
    #[arg(value_name = "FILTERS")]
    filters: Vec<String>,
    /// Just this table, such as `runs` or `attempts`
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// The form of the files in a folder
    #[arg(
        long = "as",
        value_name = "FORM",
        default_value = "parquet",
        conflicts_with = "table"
    )]
    form: Form,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Parquet, which keeps types and is small.
    Parquet,
    /// Comma-separated values.
    Csv,
}

/// Writes the files, and says what is in them.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    files::write(globals, args)
}

#[cfg(not(feature = "history"))]
mod files {
    use super::{Args, CliError, Exit, Form, Globals};

    pub fn write(_: &Globals, args: &Args) -> Result<Exit, CliError> {
        let Args {
            target: _,
            filters: _,
            table: _,
            form: Form::Parquet | Form::Csv,
            force: _,
        } = args;
        Err(super::super::sql::not_built_in())
    }
}

#[cfg(feature = "history")]
pub(super) mod files {
    use std::{
        fs,
        io::{self, IsTerminal, Write},
        path::{Path, PathBuf},
    };

    use chrono::Utc;
    use serde_json::{Value, json};

    use super::{Args, CliError, Exit, Form, Globals};
    use crate::{
        cli::{
            filters,
            interrupt::{Interrupt, heeding},
            output::Table as Shown,
            past,
        },
        core::{error_text::chain, suggest::did_you_mean},
        history::{ExportError, ExportOptions, History, Holder, TABLES, TableQuery, history_path},
    };

    /// A table on its way into a file.
    struct Job {
        table: &'static str,
        query: TableQuery,
        file: PathBuf,
        rows: u64,
    }

    pub fn write(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
        heeding(|interrupt| write_heeding(globals, args, interrupt))
    }

    fn write_heeding(globals: &Globals, args: &Args, interrupt: &Interrupt) -> Result<Exit, CliError> {
        let output = globals.output();
        let mut jobs = jobs(globals, args)?;
        // All are looked at before the first is written: half an export helps nobody.
        if !args.force
            && let Some(there) = jobs.iter().find(|job| fs::symlink_metadata(&job.file).is_ok())
        {
            return Err(failed(ExportError::Exists(there.file.clone())).hint("`--force` writes over it"));
        }
        // Brought up to date, and closed again: the rows are written by a connection that only reads.
        let history = past::open(globals)?;
        interrupt.stops(history.stopper());
        past::tell_notes(&output, &history);
        let total = jobs.iter().try_fold(0, |total, job| {
            let rows = history.count(&job.query.sql)?;
            Ok::<_, CliError>(total + rows)
        })?;
        drop(history);
        let path = there_is(globals)?;
        if args.table.is_none() {
            fs::create_dir_all(&args.target).map_err(|source| {
                failed(ExportError::Write {
                    path: args.target.clone(),
                    source,
                })
            })?;
        }
        let mut progress = Progress::new(Some(total), output.quiet);
        interrupt.clears_away();
        for job in &mut jobs {
            let mut watch = |bytes| progress.draw(job.table, bytes);
            let write = || {
                let options = ExportOptions {
                    patience: past::MOMENT,
                    replace: args.force,
                    watch: &mut watch,
                    go_on: &|| !interrupt.happened(),
                };
                History::export_as(&path, &job.query.sql, &job.file, options)
            };
            job.rows = past::patiently(&output, in_the_way(interrupt), write).map_err(failed)?;
            progress.done += job.rows;
            progress.draw(job.table, 0);
        }
        progress.clear();
        for job in &jobs {
            if !job.query.ignored.is_empty() {
                let ignored = job.query.ignored.join(", ");
                output.remark(&format!(
                    "{} cannot be filtered by {ignored}, which was left aside",
                    job.table
                ));
            }
        }
        let listed: Vec<Value> = jobs
            .iter()
            .map(|job| json!({ "table": job.table, "rows": job.rows, "file": job.file }))
            .collect();
        globals.print(&listed, || {
            let mut table = Shown::new(&output, &["table", "rows", "file"]);
            for job in &jobs {
                let file = job.file.display().to_string();
                table.row([job.table.into(), job.rows.to_string().into(), file.into()]);
            }
            table.render("nothing")
        })?;
        Ok(Exit::Done)
    }

    /// The rows of a user's own query into one file: all of them, whose number nobody knows before.
    pub fn write_query(globals: &Globals, query: &str, file: &Path, force: bool) -> Result<Exit, CliError> {
        let output = globals.output();
        let rows = heeding(|interrupt| {
            let history = past::open(globals)?;
            interrupt.stops(history.stopper());
            past::tell_notes(&output, &history);
            drop(history);
            let path = there_is(globals)?;
            let progress = Progress::new(None, output.quiet);
            interrupt.clears_away();
            let write = || {
                let options = ExportOptions {
                    patience: past::MOMENT,
                    replace: force,
                    watch: &mut |bytes| progress.draw("the query", bytes),
                    go_on: &|| !interrupt.happened(),
                };
                History::export_as(&path, query, file, options)
            };
            let written = past::patiently(&output, in_the_way(interrupt), write);
            progress.clear();
            written.map_err(|error| match error {
                ExportError::Exists(_) => failed(error).hint("`--force` writes over it"),
                _ => failed(error),
            })
        })?;
        globals.print(&json!({ "rows": rows, "file": file }), || {
            format!("all {rows} rows are in {}\n", file.display())
        })?;
        Ok(Exit::Done)
    }

    /// Who is waited for, until Ctrl-C is pressed.
    fn in_the_way(interrupt: &Interrupt) -> impl Fn(&ExportError) -> Option<&Holder> {
        |error| error.holder().filter(|_| !interrupt.happened())
    }

    /// The file of the history, which a question may have begun.
    fn there_is(globals: &Globals) -> Result<PathBuf, CliError> {
        let path = history_path(&globals.place()?.state_dir);
        if path.exists() {
            return Ok(path);
        }
        Err(CliError::new(
            Exit::Negative,
            "no_history",
            "there is no history yet: it begins when a run has ended",
        ))
    }

    fn jobs(globals: &Globals, args: &Args) -> Result<Vec<Job>, CliError> {
        let filter = filters::read(globals, &args.filters)?;
        let now = Utc::now();
        let Some(name) = &args.table else {
            let suffix = match args.form {
                Form::Parquet => "parquet",
                Form::Csv => "csv",
            };
            return Ok(TABLES
                .iter()
                .map(|table| Job {
                    table: table.name,
                    query: table.query(&filter, now),
                    file: args.target.join(format!("{}.{suffix}", table.name)),
                    rows: 0,
                })
                .collect());
        };
        let names = TABLES.iter().map(|table| table.name);
        let table = TABLES.iter().find(|table| table.name == name).ok_or_else(|| {
            let known: Vec<_> = names.clone().collect();
            let message = format!("there is no table `{name}`: expected one of {}", known.join(", "));
            did_you_mean(name, names)
                .into_iter()
                .fold(CliError::usage(message), CliError::hint)
        })?;
        Ok(vec![Job {
            table: table.name,
            query: table.query(&filter, now),
            file: args.target.clone(),
            rows: 0,
        }])
    }

    fn failed(error: ExportError) -> CliError {
        match error {
            ExportError::UnknownForm(_) => CliError::usage(error.to_string()),
            ExportError::Exists(_) => CliError::new(Exit::Negative, "exists", error.to_string()),
            ExportError::NotAFile(_) => CliError::new(Exit::Negative, "not_a_file", error.to_string()),
            ExportError::Query(error) => error.into(),
            ExportError::History(error) => error.into(),
            ExportError::Write { .. } => CliError::new(Exit::Failed, "not_written", chain(&error)),
        }
    }

    /// One line on a terminal's standard error, drawn again and again.
    struct Progress {
        shown: bool,
        /// How many rows there will be, if that is known.
        total: Option<u64>,
        done: u64,
    }

    impl Progress {
        fn new(total: Option<u64>, quiet: bool) -> Self {
            Self {
                shown: !quiet && io::stderr().is_terminal(),
                total,
                done: 0,
            }
        }

        /// How much of a table that is being written is done, DuckDB does not say; that its file grows shows that it goes on.
        fn draw(&self, table: &str, bytes: u64) {
            if self.shown {
                let _ = write!(io::stderr(), "\r\x1b[2K{}", line(self.done, self.total, table, bytes));
            }
        }

        fn clear(&self) {
            if self.shown {
                let _ = write!(io::stderr(), "\r\x1b[2K");
            }
        }
    }

    fn line(done: u64, total: Option<u64>, table: &str, bytes: u64) -> String {
        const CELLS: u64 = 20;
        let Some(total) = total else {
            return format!("{table}: {} MiB", bytes / 1024 / 1024);
        };
        let full = (done * CELLS).checked_div(total).unwrap_or(CELLS).min(CELLS);
        let bar: String = (0..CELLS).map(|cell| if cell < full { '█' } else { '·' }).collect();
        format!("{bar} {done} of {total} rows, {table}: {} MiB", bytes / 1024 / 1024)
    }

    #[cfg(test)]
    mod tests {
        use super::line;

        #[test]
        fn a_bar_is_as_full_as_its_share() {
            assert_eq!(
                line(1, Some(2), "runs", 3_000_000),
                "██████████·········· 1 of 2 rows, runs: 2 MiB"
            );
            assert!(line(0, Some(0), "runs", 0).starts_with(&"█".repeat(20)));
        }
    }
}
