//! The figures that Petit is held against, each as a ratio to a reference taken in the same minute on the same machine.
//!
//! `cargo xtask bench [NAME…]` builds this with the profile of releases and without DuckDB, and runs it; with `--history`
//! before the names it is built with the features that people get, and has more to measure. It measures and does not judge:
//! the table says what was found, and beside it what `figures.md` wants. Each file measures one part of Petit and returns
//! rows; [`paired`] is how, [`place`] is where.

mod cron;
mod daemon;
mod execution;
mod files;
#[cfg(feature = "history")]
mod history;
mod journal;
mod neighbours;
mod paired;
mod place;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, builder::PossibleValuesParser};

use self::paired::{Row, Table};

/// Measure Petit against references, in turn, on this machine
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub struct Arguments {
    /// What to measure; everything when nothing is named
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(FIGURES.iter().map(|figure| figure.name)))]
    names: Vec<String>,
    /// Say what can be measured, and measure nothing
    #[arg(long)]
    list: bool,
    /// How long `lateness` and `crowd` go on each, and each half of `lateness-catch-up`
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
    /// How long `rest` watches
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    rest: u64,
    /// What Cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn lateness(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn rest(&self) -> Duration {
        Duration::from_secs(self.rest)
    }
}

#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    about: &'static str,
    measure: fn(&Arguments) -> Vec<Row>,
}

/// What takes memory in this process stands first, so that its peak is its own.
const FIGURES: &[Figure] = &[
    Figure {
        name: "spawn",
        about: "2,000 independent tasks, 8 at a time, against a bare loop of spawns",
        measure: |_| execution::throughput(),
    },
    Figure {
        name: "chain",
        about: "a chain of 200 tasks, against one spawn and wait",
        measure: |_| execution::chain(),
    },
    Figure {
        name: "lanes",
        about: "8 lanes of 8 tasks with one slow task each, against as many loops of spawns",
        measure: |_| execution::lanes(),
    },
    Figure {
        name: "commit",
        about: "claimed slots with 64 waiting, against one row a commit",
        measure: |_| journal::commit(),
    },
    Figure {
        name: "cron",
        about: "the next instant of an expression, against croner",
        measure: |_| cron::cron(),
    },
    Figure {
        name: "scan",
        about: "10,000 files from the start to all active, against reading them",
        measure: |_| files::scan(),
    },
    Figure {
        name: "plan",
        about: "a plan of 10,000 jobs with one change, against hashing them; an edit from save to active",
        measure: |_| files::plan(),
    },
    Figure {
        name: "validate",
        about: "`petit validate` as a process, against cat and /bin/true",
        measure: |_| files::validate(),
    },
    Figure {
        name: "lateness",
        about: "one job a second in a daemon, against sleeping and spawning",
        measure: |arguments| daemon::lateness(arguments.lateness()),
    },
    Figure {
        name: "crowd",
        about: "100 jobs on one second in a daemon, against as many spawns",
        measure: |arguments| daemon::crowd(arguments.lateness()),
    },
    Figure {
        name: "neighbours",
        about: "a chain of tasks beside a task that prints without end, against the chain alone",
        measure: |_| neighbours::neighbours(),
    },
    Figure {
        name: "rest",
        about: "memory and processor time of a daemon with nothing to do",
        measure: |arguments| daemon::rest(arguments.rest()),
    },
    #[cfg(feature = "history")]
    Figure {
        name: "spawn-history",
        about: "2,000 independent tasks in a daemon, 8 at a time, and their catch-up, against a bare loop of spawns",
        measure: |_| history::throughput(),
    },
    #[cfg(feature = "history")]
    Figure {
        name: "catch-up",
        about: "100,000 facts into the history, against DuckDB's appender alone",
        measure: |_| history::catch_up(),
    },
    #[cfg(feature = "history")]
    Figure {
        name: "lateness-catch-up",
        about: "one job a second while 100,000 facts are caught up, against the same daemon without",
        measure: |arguments| history::lateness(arguments.lateness()),
    },
];

fn main() -> ExitCode {
    if daemon::is_stamp() {
        return daemon::stamp();
    }
    let arguments = Arguments::parse();
    if arguments.list {
        for Figure { name, about, .. } in FIGURES {
            println!("{name:18} {about}");
        }
        return ExitCode::SUCCESS;
    }
    let is_chosen =
        |figure: &Figure| arguments.names.is_empty() || arguments.names.iter().any(|name| name == figure.name);
    let mut rows = Vec::new();
    for Figure { name, about, measure } in FIGURES.iter().filter(|figure| is_chosen(figure)) {
        eprintln!("{name}: {about}");
        rows.extend(measure(&arguments));
    }
    println!("{}", Table(&rows));
    ExitCode::SUCCESS
}
