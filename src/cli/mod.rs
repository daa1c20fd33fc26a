//! The command line: one file for each command below [`command`], what they share here.
//!
//! A command asks a running daemon through `control`, or, where reading is enough and no daemon runs, the stores through
//! `view`; it prints what it got as text or JSON and returns an [`Exit`]. Nothing is decided here about jobs or runs.

mod command;
mod exit;
mod filters;
mod globals;
#[cfg(feature = "history")]
mod interrupt;
mod older;
mod output;
#[cfg(feature = "history")]
mod past;
mod source;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
pub use exit::{CliError, Exit};
pub use globals::Globals;
pub use output::{ColorChoice, Format};
use serde_json::json;

use crate::core::{harmless::harmless, task::TaskRegistry};

/// A small task orchestrator for one machine: drop YAML files into jobs.d, see them run, ask why one did not.
#[derive(Debug, Parser)]
#[command(
    name = "petit",
    disable_version_flag = true,
    subcommand_required = false,
    max_term_width = 110
)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed or not so; 2 `plan` found changes; 3 no daemon; 4 something inside \
                        or around Petit failed; 64 wrong command line; 130 interrupted."
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    /// Print the version; with --verbose, also those of what Petit is built on
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(command::run::Args),
    Validate(command::validate::Args),
    Plan(command::plan::Args),
    Sync(command::sync::Args),
    List(command::list::Args),
    Show(command::show::Args),
    Status(command::status::Args),
    Next(command::next::Args),
    Why(command::why::Args),
    Trigger(command::trigger::Args),
    Cancel(command::cancel::Args),
    Retry(command::retry::Args),
    Pause(command::pause::PauseArgs),
    Resume(command::pause::ResumeArgs),
    Runs(command::runs::Args),
    Logs(command::logs::Args),
    History(command::history::Args),
    Sql(command::sql::Args),
    Diff(command::diff::Args),
    Gc(command::gc::Args),
    #[cfg(feature = "tui")]
    Tui(command::tui::Args),
    Schema(command::schema::Args),
    Init(command::init::Args),
    #[cfg(feature = "history")]
    #[command(hide = true)]
    CatchUp(command::catch_up::Args),
    #[cfg(feature = "history")]
    #[command(hide = true)]
    Tidy(command::tidy::Args),
}

/// Parses the process's arguments, carries the command out, and says how it ended.
pub fn main() -> ExitCode {
    main_with(TaskRegistry::default())
}

/// As [`main`], in a program with Rust tasks of its own, which its job files name in `uses:`: all commands know them, from
/// `validate` to `run`. That is a `main` of another `petit`:
///
/// ```
/// use std::process::ExitCode;
/// use petit::{TaskContext, TaskError, TaskRegistry};
///
/// async fn load(context: TaskContext) -> Result<(), TaskError> {
///     let table: String = context.inputs().config("table")?;
///     context.outputs().set("loaded", table)
/// }
///
/// fn main() -> ExitCode {
///     let mut tasks = TaskRegistry::default();
///     tasks.register("load", load).expect("the first of this name");
///     # if true { return example(tasks); }
///     petit::cli::main_with(tasks)
/// }
/// # fn example(tasks: TaskRegistry) -> ExitCode {
/// #     let folder = std::env::temp_dir().join(format!("petit-example-{}", std::process::id()));
/// #     std::fs::create_dir_all(&folder).expect("a folder");
/// #     let file = folder.join("orders.yaml");
/// #     std::fs::write(&file, "tasks: {load: {uses: load, with: {table: orders}}}").expect("a file");
/// #     let args = ["mine".as_ref(), "validate".as_ref(), file.as_os_str()];
/// #     let exit = petit::cli::run(args, tasks);
/// #     std::fs::remove_dir_all(&folder).expect("ours");
/// #     exit
/// # }
/// ```
///
/// Such a program leaves its command line to Petit, because `run` starts it once more to keep the history.
pub fn main_with(tasks: TaskRegistry) -> ExitCode {
    run(std::env::args_os(), tasks)
}

/// As [`main_with`], with a command line from elsewhere, whose first word is the program's name.
pub fn run(args: impl IntoIterator<Item = impl Into<OsString>>, tasks: TaskRegistry) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let parsed = Cli::command()
        .try_get_matches_from(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let mut cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error, args.into_iter()).into(),
    };
    cli.globals.tasks = Arc::new(tasks);
    let output = cli.globals.output();
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report(&error, output.format, output.color_err);
            error.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, CliError> {
    let globals = cli.globals;
    let Some(command) = cli.command else {
        return if cli.version {
            command::version::run(&globals)
        } else {
            Cli::command()
                .print_help()
                .map_err(|error| CliError::failed("could not print the help", &error))?;
            Ok(Exit::Usage)
        };
    };
    if matches!(globals.format, Format::Github | Format::Sarif) && !matches!(command, Command::Validate(_)) {
        let expected = match command {
            Command::History(_) | Command::Sql(_) => "text, json or csv",
            _ => "text or json",
        };
        return Err(CliError::usage(format!(
            "the formats `github` and `sarif` are for `petit validate`: expected {expected}"
        )));
    }
    if globals.format == Format::Csv && !matches!(command, Command::History(_) | Command::Sql(_)) {
        return Err(CliError::usage(
            "the format `csv` is for `petit history` and `petit sql`: expected text or json",
        ));
    }
    match command {
        Command::Run(args) => command::run::run(&globals, &args),
        Command::Validate(args) => command::validate::run(&globals, &args),
        Command::Plan(args) => command::plan::run(&globals, &args),
        Command::Sync(args) => command::sync::run(&globals, &args),
        Command::List(args) => command::list::run(&globals, &args),
        Command::Show(args) => command::show::run(&globals, &args),
        Command::Status(args) => command::status::run(&globals, &args),
        Command::Next(args) => command::next::run(&globals, &args),
        Command::Why(args) => command::why::run(&globals, &args),
        Command::Trigger(args) => command::trigger::run(&globals, &args),
        Command::Cancel(args) => command::cancel::run(&globals, &args),
        Command::Retry(args) => command::retry::run(&globals, &args),
        Command::Pause(args) => command::pause::pause(&globals, &args),
        Command::Resume(args) => command::pause::resume(&globals, &args),
        Command::Runs(args) => command::runs::run(&globals, &args),
        Command::Logs(args) => command::logs::run(&globals, &args),
        Command::History(args) => command::history::run(&globals, &args),
        Command::Sql(args) => command::sql::run(&globals, &args),
        Command::Diff(args) => command::diff::run(&globals, &args),
        Command::Gc(args) => command::gc::run(&globals, &args),
        #[cfg(feature = "tui")]
        Command::Tui(args) => command::tui::run(&globals, &args),
        Command::Schema(args) => command::schema::run(&globals, &args),
        Command::Init(args) => command::init::run(&globals, &args),
        #[cfg(feature = "history")]
        Command::CatchUp(args) => command::catch_up::run(&globals, &args),
        #[cfg(feature = "history")]
        Command::Tidy(args) => command::tidy::run(&globals, &args),
    }
}

/// Answers a command line that is a question for help, or wrong. Clap itself exits with 2, which means something else here.
fn usage(error: &clap::Error, args: impl Iterator<Item = OsString>) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return Exit::Done;
    }
    if wants_json(args) {
        report(&in_words(&error.render().to_string()), Format::Json, false);
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

/// Whether a command line that cannot be parsed asks for JSON.
fn wants_json(args: impl Iterator<Item = OsString>) -> bool {
    let args: Vec<OsString> = args.collect();
    args.iter().any(|arg| arg == "--format=json") || args.windows(2).any(|pair| pair == ["--format", "json"])
}

/// Clap's message for programs: its first paragraph, and its tips.
fn in_words(message: &str) -> CliError {
    let (first, rest) = message.split_once("\n\n").unwrap_or((message, ""));
    let words: Vec<&str> = first.split_whitespace().collect();
    let error = CliError::usage(words.join(" ").trim_start_matches("error: "));
    let tips = rest.lines().filter_map(|line| line.trim_start().strip_prefix("tip: "));
    tips.fold(error, CliError::hint)
}

/// Prints an error. Where nobody reads standard error, nobody can be told so.
fn report(error: &CliError, format: Format, color: bool) {
    let text = match (format, &error.shown) {
        (Format::Json, _) => json!(error).to_string() + "\n",
        (Format::Text | Format::Github | Format::Sarif | Format::Csv, Some(shown)) => shown.clone(),
        (Format::Text | Format::Github | Format::Sarif | Format::Csv, None) => {
            let label = match color {
                true => format!("{0}error:{0:#}", output::BAD),
                false => "error:".to_owned(),
            };
            let hints = error.hints.iter();
            let hints: String = hints
                .map(|hint| format!("  hint: {}\n", harmless(hint.as_bytes())))
                .collect();
            format!("{label} {}\n{hints}", harmless_lines(&error.message))
        }
    };
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A text that may have lines, such as what DuckDB says of a query with an arrow below the place; those after the first
/// are indented alike, so that the arrow stays where it points.
fn harmless_lines(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<_> = lines.map(|line| harmless(line.as_bytes())).collect();
    lines.join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_an_error_stay_lines_and_nothing_else_acts_on_the_terminal() {
        let shown = harmless_lines("no such column\n\nSELECT nothing\n       ^\x1b[2J");
        assert_eq!(shown, "no such column\n  SELECT nothing\n         ^^[[2J");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_told_to_programs_too() {
        let error = Cli::command()
            .try_get_matches_from(["petit", "lsit"])
            .expect_err("no such command");
        let told = in_words(&error.render().to_string());
        assert_eq!(told.message, "unrecognized subcommand 'lsit'");
        assert!(told.hints[0].contains("'list'"), "{told:?}");
        let asks = |args: &[&str]| wants_json(args.iter().map(OsString::from));
        assert!(asks(&["petit", "--format", "json", "x"]) && asks(&["petit", "x", "--format=json"]));
        assert!(!asks(&["petit", "json", "--format", "text"]));
    }
}
