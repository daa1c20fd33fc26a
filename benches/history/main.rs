//! A history of a believable year, and how long each question about it takes, opening included.
//!
//! `cargo xtask history --rows N DIR` builds this and runs it. The rows are made by DuckDB itself ([`rows`]), in the tables
//! that Petit made, so that ten million attempts take a minute; the questions are asked through Petit's own types, and of
//! SQLite on the same rows ([`sqlite`]). It measures and does not judge. DIR is a state folder afterwards:
//! `petit --state-dir DIR tui` explores it.

mod journal;
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
        "\n{:<18} {:>12} {:>19}   of SQLite, and times as long",
        "ms (of processors)", "30 days", "a year"
    );
    let (mut longer, mut dearer) = (Vec::new(), Vec::new());
    for question in Question::ALL {
        let mut line = format!("{:<11}", question.name());
        let mut beside = String::new();
        for since in [A_MONTH, A_YEAR] {
            let filter: Filter = since.parse().map_err(|error| format!("{since}: {error}"))?;
            let (ours, other) = side_by_side(&path, reference.as_ref(), question, &filter, now, arguments.times)?;
            let cell = |cost: Cost| format!(" {:>9} ms ({:>4})", cost.took.as_millis(), cost.worked.as_millis());
            line.push_str(&cell(ours));
            if let Some(other) = other {
                let ratio = other.took.as_secs_f64() / ours.took.as_secs_f64();
                longer.push(ratio);
                dearer.push(other.worked.max(TICK).as_secs_f64() / ours.worked.max(TICK).as_secs_f64());
                beside.push_str(&format!("{} {ratio:>5.1}x", cell(other)));
            }
        }
        println!("{line}{beside}");
    }
    if let (Some(longer), Some(dearer)) = (middle(longer), middle(dearer)) {
        println!(
            "\nin the median of these questions SQLite takes {longer:.1} times as long, and {dearer:.1} times the processor time"
        );
    }
    let copy = arguments.folder.join("one-more.duckdb");
    let one_more = journal::of_single_runs(&path, &copy, now, arguments.times)?;
    let last = journal::of_last_runs(now, arguments.times)?;
    for (what, taken) in [
        ("adding one finished run takes", one_more),
        ("the last 50 runs of a job take", last),
    ] {
        let taken = middle(taken.iter().map(Duration::as_secs_f64).collect()).unwrap_or_default();
        println!("{what} {:.1} ms", taken * 1e3);
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of this machine at the end: {}", load.trim());
    Ok(())
}

/// What asking costs.
#[derive(Clone, Copy)]
struct Cost {
    took: Duration,
    /// Processor time, of all threads: what holds on a machine on which others work.
    worked: Duration,
}

/// Asks both in turn, and gives the medians. Petit is asked once more before: the files of both are in the cache of the system
/// then, since SQLite's has been read or written just now. A slow answer of SQLite's is not asked for again.
fn side_by_side(
    path: &Path,
    reference: Option<&sqlite::Reference>,
    question: Question,
    filter: &Filter,
    now: Timestamp,
    times: u64,
) -> Result<(Cost, Option<Cost>), Failure> {
    let (rows, _) = measured(|| ask(path, question, filter, now))?;
    // A short window of a small history may hold nothing slower; over the year each question has something to say.
    if rows == 0 && filter.to_string() == A_YEAR {
        return Err(format!("{question} has no rows with {filter}, so its time says nothing").into());
    }
    let (mut ours, mut others) = (Vec::new(), Vec::<Cost>::new());
    for _ in 0..times {
        ours.push(measured(|| ask(path, question, filter, now))?.1);
        let Some(reference) = reference.filter(|_| others.iter().all(|other| other.took < SLOW)) else {
            continue;
        };
        let (found, cost) = measured(|| reference.ask(question, filter, now))?;
        // Percentiles that are counted out may make another change of noise.
        if found != rows && question != Question::Slower {
            return Err(format!("{question} has {rows} rows with {filter}, and {found} in SQLite").into());
        }
        others.push(cost);
    }
    let medians = |costs: Vec<Cost>| {
        Some(Cost {
            took: middle(costs.iter().map(|cost| cost.took.as_secs_f64()).collect()).map(Duration::from_secs_f64)?,
            worked: middle(costs.iter().map(|cost| cost.worked.as_secs_f64()).collect())
                .map(Duration::from_secs_f64)?,
        })
    };
    let ours = medians(ours).ok_or("nothing was asked")?;
    Ok((ours, medians(others)))
}

/// Opens the history, asks, and closes it, as a command does; gives the number of ranked rows.
fn ask(path: &Path, question: Question, filter: &Filter, now: Timestamp) -> Result<usize, Failure> {
    let history = History::open(path, Duration::from_secs(1))?;
    Ok(history.ask(question, filter, now)?.rows.len())
}

fn measured<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(T, Cost), Failure> {
    let (begun, worked) = (Instant::now(), processor_time());
    let done = work()?;
    let cost = Cost {
        took: begun.elapsed(),
        worked: processor_time().saturating_sub(worked),
    };
    Ok((done, cost))
}

/// In which Linux tells processor time.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of this process so far.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold spaces.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

/// The median; of an even number the lower one.
fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}
