//! The project's own chores: `cargo xtask schema`, `ci`, `bench`, `history` and `long`.
//!
//! A chore that needs more than plain Cargo lives here, in Rust, so that it runs the same on every machine and is
//! compiled and linted with the rest. `ci` runs what a submission must pass, step by step; the files beside this one
//! hold one idea each and know nothing of one another but [`workshop`], which says where things lie and runs commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod ci;
mod history;
mod hook;
mod long;
mod programs;
mod reader;
mod schema;
mod tools;
mod workshop;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    Schema(schema::Arguments),
    Ci(ci::Arguments),
    Bench(bench::Arguments),
    History(history::Arguments),
    Long(long::Arguments),
}

fn main() -> ExitCode {
    let result = workshop::Workshop::open().and_then(|workshop| match Arguments::parse().chore {
        Chore::Schema(arguments) => schema::run(&workshop, &arguments),
        Chore::Ci(arguments) => ci::run(&workshop, &arguments),
        Chore::Bench(arguments) => bench::run(&workshop, &arguments),
        Chore::History(arguments) => history::run(&workshop, &arguments),
        Chore::Long(arguments) => long::run(&workshop, &arguments),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
