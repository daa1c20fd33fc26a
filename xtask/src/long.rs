//! The long forms of suites that try many random cases: what the daily suite does a little of, done as often as the
//! project wants to be able to say.
//!
//! A suite is a row of a table: which tests, and the variables that make them long. What a variable means stands at the
//! head of the tests that read it. One seed goes to all of them and is printed, so that a failure can be repeated; a
//! failing property prints its case as well, made small. This counts nothing itself: the tests are the ones to fail.

use std::{
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use crate::workshop::{Failure, Outcome, Workshop, run as run_command};

/// Run the long forms of the property suites
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The suites to run; all of them when none is named
    #[arg(value_name = "SUITE", value_parser = clap::builder::PossibleValuesParser::new(SUITES.map(|suite| suite.name)))]
    suites: Vec<String>,
    /// The seed of a former run, to repeat it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Name the suites and run none
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy)]
struct Suite {
    name: &'static str,
    about: &'static str,
    /// What Cargo is asked for: the features, the target, and which of its tests.
    test: &'static str,
    /// What makes the tests long.
    environment: &'static [(&'static str, &'static str)],
}

const SUITES: [Suite; 5] = [
    Suite {
        name: "cron",
        about: "10,000 schedules a property, against croner and against a walk through the wall time of all zones",
        test: "test --no-default-features --lib core::schedule::oracle_tests",
        environment: &[("PETIT_CASES", "10000")],
    },
    Suite {
        name: "scheduler",
        about: "10 million slots over at least 2,000 stories, against a slower statement of the rules",
        test: "test --profile long --no-default-features --lib scheduler::simulation",
        environment: &[("PETIT_SEEDS", "2000"), ("PETIT_SLOTS", "10000000")],
    },
    Suite {
        name: "reconcile",
        about: "20,000 stories of the reconciler on a machine on which everything goes wrong, against what must always hold",
        test: "test --profile long --no-default-features --lib reconcile::service::simulation",
        environment: &[("PETIT_SEEDS", "20000")],
    },
    Suite {
        name: "edits",
        about: "1,000 random sequences of edits on a real folder, against a slower statement of the rules",
        test: "test --no-default-features --test reconcile_fs edits",
        environment: &[("PETIT_SEQUENCES", "1000")],
    },
    Suite {
        name: "journal",
        about: "a month of 1,000 jobs every five minutes: the journal stays under 50 MB",
        test: "test --profile long --no-default-features --test journal_month",
        environment: &[("PETIT_HOURS", "720")],
    },
];

/// The variable from which `proptest` takes its seed.
const SEED: &str = "PROPTEST_RNG_SEED";

pub(crate) fn run(workshop: &Workshop, arguments: &Arguments) -> Outcome {
    let is_chosen = |suite: &Suite| arguments.suites.is_empty() || arguments.suites.iter().any(|it| it == suite.name);
    let chosen: Vec<Suite> = SUITES.into_iter().filter(is_chosen).collect();
    if arguments.list {
        for Suite { name, about, .. } in chosen {
            println!("{name:12} {about}");
        }
        return Ok(());
    }
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let failed: Vec<&str> = chosen
        .iter()
        .filter(|suite| !carry_out(suite, seed, workshop))
        .map(|suite| suite.name)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "failed: {}; repeat with `cargo xtask long {} --seed {seed}`",
        failed.join(", "),
        failed.join(" ")
    )))
}

/// Whether all tests of a suite passed.
fn carry_out(suite: &Suite, seed: u64, workshop: &Workshop) -> bool {
    let variables: Vec<String> = suite
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    println!("\n=== {}: {}", suite.name, suite.about);
    println!("{} {SEED}={seed}", variables.join(" "));
    let began = Instant::now();
    let outcome = run_command(&mut command(suite, seed, workshop));
    let took: Duration = began.elapsed();
    match &outcome {
        Ok(()) => println!("--- {} passed in {:.1} s, seed {seed}", suite.name, took.as_secs_f64()),
        Err(failure) => println!("--- {} FAILED, seed {seed}: {failure}", suite.name),
    }
    outcome.is_ok()
}

fn command(suite: &Suite, seed: u64, workshop: &Workshop) -> Command {
    let mut cargo = workshop.cargo(suite.test);
    cargo
        .args(["--", "--nocapture"])
        .envs(suite.environment.iter().copied())
        .env(SEED, seed.to_string());
    cargo
}

/// Another one each time; which does not matter, as long as it is told.
fn new_seed() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs() << 20
}
