//! A history to try the explorer on, and to time its questions. What is made and measured stands in `benches/history`;
//! this starts it.

use crate::workshop::{Outcome, Workshop, run as run_command};

/// Make a believable year of history in a folder, and time every question about it (`--help` lists more)
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// `--rows N DIR`, and more
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    passed_on: Vec<String>,
}

pub(crate) fn run(workshop: &Workshop, arguments: &Arguments) -> Outcome {
    // What takes time is DuckDB, which is linked as it was built, and SQLite, which is compiled as for a release in every
    // profile; a profile of releases for the rest would only cost its compilation.
    let mut cargo = workshop.cargo("bench --profile dev --features history --bench history --");
    run_command(cargo.args(&arguments.passed_on))
}
