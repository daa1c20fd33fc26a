//! A history of a believable year, and how long each question about it takes, opening included.
//!
//! `cargo xtask history --rows N DIR` builds this and runs it. The rows are made by DuckDB itself ([`rows`]), in the tables
//! that Petit made, so that ten million attempts take a minute; the questions are asked through Petit's own types, and of
//! SQLite on the same rows ([`sqlite`]). It measures and does not judge. DIR is a state folder afterwards:
//! `petit --state-dir DIR tui` explores it.

mod catch_up;
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

const A_MONTH: &str = "since=30d";
const A_YEAR: &str = "since=365d";

/// An answer that takes longer is asked for once: the noise is small against it.
const SLOW: Duration = Duration::from_secs(5);

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
        "\n{:<11} {:>20} {:>20} {:>23}",
        "", "30 days (processors)", "a year (processors)", "of that long in SQLite"
    );
    let mut ratios = Vec::new();
    for question in Question::ALL {
        let mut line = format!("{:<11}", question.name());
        let mut beside = String::new();
        for since in [A_MONTH, A_YEAR] {
            let filter: Filter = since.parse().map_err(|error| format!("{since}: {error}"))?;
            let found = side_by_side(&path, reference.as_ref(), question, &filter, now, arguments.times)?;
            line.push_str(&format!(
                " {:>9} ms ({:>4})",
                found.took.as_millis(),
                found.worked.as_millis()
            ));
            if let Some(other) = found.reference {
                let ratio = other.as_secs_f64() / found.took.as_secs_f64();
                ratios.push(ratio);
                beside.push_str(&format!(" {:>6} ms {ratio:>5.1}x", other.as_millis()));
            }
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
    let copy = arguments.folder.join("one-more.duckdb");
    let one_more = median(catch_up::of_single_runs(&path, &copy, now, arguments.times)?);
    println!("adding one finished run takes {} ms", one_more.as_millis());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of this machine at the end: {}", load.trim());
    Ok(())
}

/// The medians of a question.
struct Found {
    took: Duration,
    worked: Duration,
    reference: Option<Duration>,
}

/// Asks both in turn. Petit is asked once more before: the files of both are in the cache of the system then, since SQLite's
/// has been read or written just now. A slow answer of SQLite's is not asked for again.
fn side_by_side(
    path: &Path,
    reference: Option<&sqlite::Reference>,
    question: Question,
    filter: &Filter,
    now: Timestamp,
    times: u64,
) -> Result<Found, Failure> {
    let rows = ask(path, question, filter, now)?.rows;
    // A short window of a small history may hold nothing slower; over the year each question has something to say.
    if rows == 0 && filter.to_string() == A_YEAR {
        return Err(format!("{question} has no rows with {filter}, so its time says nothing").into());
    }
    let (mut taken, mut worked, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let asked = ask(path, question, filter, now)?;
        taken.push(asked.took);
        worked.push(asked.worked);
        let Some(reference) = reference.filter(|_| others.iter().all(|took| *took < SLOW)) else {
            continue;
        };
        let asked = reference.ask(question, filter, now)?;
        // Percentiles that are counted out may make another change of noise.
        if asked.rows != rows && question != Question::Slower {
            return Err(format!("{question} has {rows} rows with {filter}, and {} in SQLite", asked.rows).into());
        }
        others.push(asked.took);
    }
    Ok(Found {
        took: median(taken),
        worked: median(worked),
        reference: (!others.is_empty()).then(|| median(others)),
    })
}

/// Opens the history, asks, and closes it, as a command does.
fn ask(path: &Path, question: Question, filter: &Filter, now: Timestamp) -> Result<Asked, Failure> {
    let (begun, worked) = (Instant::now(), processor_time());
    let history = History::open(path, Duration::from_secs(1))?;
    let answer = history.ask(question, filter, now)?;
    drop(history);
    Ok(Asked {
        took: begun.elapsed(),
        worked: processor_time().saturating_sub(worked),
        rows: answer.rows.len(),
    })
}

/// What a question came to.
struct Asked {
    took: Duration,
    /// Processor time, of all threads: what holds on a machine on which others work.
    worked: Duration,
    /// How many ranked rows there were.
    rows: usize,
}

/// The processor time of this process so far, to the hundredth of a second in which Linux tells it.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold spaces.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn median(mut taken: Vec<Duration>) -> Duration {
    taken.sort();
    taken[taken.len() / 2]
}
