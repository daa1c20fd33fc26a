//! The figures that Petit is held against. What is measured stands in `benches/figures`, built with the profile of
//! releases; this starts it and does not judge.

use crate::workshop::{Outcome, Workshop, run as run_command};

/// Measure Petit against references, in turn, on this machine (`--help` lists more)
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Build with DuckDB, as people get it, and measure what concerns the history too
    #[arg(long)]
    history: bool,
    /// What to measure, and how; everything when nothing is named
    #[arg(value_name = "NAME", trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

pub(crate) fn run(workshop: &Workshop, arguments: &Arguments) -> Outcome {
    let features = if arguments.history {
        ""
    } else {
        "--no-default-features "
    };
    let mut cargo = workshop.cargo(&format!("bench {features}--bench figures --"));
    run_command(cargo.args(&arguments.passed_on))
}
