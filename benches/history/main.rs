//! A history of a believable year, and how long each question about it takes, opening included.
//!
//! `cargo xtask history --rows N DIR` builds this and runs it. The rows are made by DuckDB itself ([`rows`]), in the tables
//! that Petit made, so that ten million attempts take a minute; the questions are asked through Petit's own types, and some
//! of them of SQLite on the same rows ([`sqlite`]). It measures and does not judge. DIR is a state folder afterwards:
//! `petit --state-dir DIR tui` explores it.

mod rows;
mod sqlite;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use chrono::Utc;
use clap::Parser;
use petit::{
    core::Timestamp,
    history::{History, history_path},
    view::{Filter, Question},
};

/// Make a year of history in a folder, and time every question about it
#[derive(Debug, Parser)]
#[command(name = "cargo xtask history")]
struct Arguments {
    /// About how many attempts
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    rows: u64,
    /// How often each question is asked; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    times: u64,
    /// Leave the comparison with SQLite out
    #[arg(long)]
    without_sqlite: bool,
    /// The folder: a new one, or one that this has made before, whose rows are then asked again
    folder: PathBuf,
    /// What Cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

const A_YEAR: &str = "since=365d";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("history: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    fs::create_dir_all(&arguments.folder)?;
    let path = history_path(&arguments.folder);
    if path.exists() {
        println!("{} is there already, and is asked as it is", path.display());
    } else {
        let begun = Instant::now();
        // Petit makes the tables.
        drop(History::open(&path, Duration::ZERO)?);
        let made = rows::make(&path, arguments.rows, Utc::now())?;
        println!("{made}, made in {:.1} s", begun.elapsed().as_secs_f64());
    }
    let size = fs::metadata(&path)?.len();
    println!("{}: {} MiB", path.display(), size / 1024 / 1024);
    let reference = if arguments.without_sqlite {
        None
    } else {
        let begun = Instant::now();
        let reference = sqlite::Reference::of(&path, &arguments.folder.join("reference.sqlite"))?;
        println!(
            "the same rows are in SQLite after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        Some(reference)
    };
    // Petit's own clock for the questions: rows end where they were made to end.
    let now = rows::newest(&path)?;
    println!(
        "\n{:<11} {:>9} {:>9} {:>12} {:>12}",
        "", "30 days", "a year", "of SQLite", "of SQLite"
    );
    let mut ratios = Vec::new();
    for question in Question::ALL {
        let mut line = format!("{:<11}", question.name());
        let mut beside = String::new();
        for since in ["since=30d", A_YEAR] {
            let filter: Filter = since.parse().map_err(|error| format!("{since}: {error}"))?;
            let took = median(arguments.times, || ask(&path, question, &filter, now))?;
            line.push_str(&format!(" {:>6} ms", took.as_millis()));
            let reference = reference
                .as_ref()
                .and_then(|reference| reference.asked(question, &filter, now));
            let cell = match reference {
                Some(other) => {
                    let ratio = other?.as_secs_f64() / took.as_secs_f64();
                    ratios.push(ratio);
                    format!("{ratio:.1} times")
                }
                None => "-".to_owned(),
            };
            beside.push_str(&format!(" {cell:>12}"));
        }
        println!("{line}{beside}");
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(middle) = ratios.get(ratios.len() / 2) {
        println!(
            "\nSQLite takes {middle:.1} times as long in the median of {} questions",
            ratios.len()
        );
    }
    Ok(())
}

/// Opens the history, asks, and closes it, as a command does.
fn ask(path: &Path, question: Question, filter: &Filter, now: Timestamp) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let history = History::open(path, Duration::from_secs(1))?;
    let answer = history.ask(question, filter, now)?;
    drop(history);
    // A short window of a small history may hold nothing slower; over the year each question has something to say.
    if answer.rows.is_empty() && filter.to_string() == A_YEAR {
        return Err(format!("{question} has no rows with {filter}, so its time says nothing").into());
    }
    Ok(begun.elapsed())
}

fn median(times: u64, mut ask: impl FnMut() -> Result<Duration, Failure>) -> Result<Duration, Failure> {
    let mut taken: Vec<Duration> = (0..times).map(|_| ask()).collect::<Result<_, _>>()?;
    taken.sort();
    Ok(taken[taken.len() / 2])
}
