//! `petit schema`

use clap::ValueEnum;

use crate::{
    cli::{CliError, Exit, Globals},
    config::schema,
};

/// Print the JSON schema of job files or of the settings
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which schema
    #[arg(default_value = "job")]
    which: Which,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// A file of the folder of jobs.
    Job,
    /// `petit.yaml`.
    Settings,
}

/// Prints the schema, the same text as in `schema/`.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let text = match args.which {
        Which::Job => schema::job_schema_text(),
        Which::Settings => schema::settings_schema_text(),
    };
    globals.print_text(&text)?;
    Ok(Exit::Done)
}
