//! The binaries that other sets of features give.

use std::{path::PathBuf, process::Command};

use crate::workshop::{Failure, Outcome, Workshop, ask, run};

/// The binary for small boards: it validates the repository's jobs, and loads no DuckDB.
pub(crate) fn lean(workshop: &Workshop) -> Outcome {
    let petit = build(workshop, "build --no-default-features")?;
    let dynamic = ask(Command::new("readelf").arg("--dynamic").arg(&petit))?;
    let needed: Vec<&str> = dynamic.text.lines().filter(|line| line.contains("(NEEDED)")).collect();
    if !needed.iter().any(|line| line.contains("libc.")) {
        return Err(Failure::new(
            "readelf names no C library, so its word on DuckDB is worth nothing",
        ));
    }
    if let Some(line) = needed.iter().find(|line| line.contains("duckdb")) {
        return Err(Failure::new(format!(
            "the binary without features needs DuckDB: {}",
            line.trim()
        )));
    }
    validate_jobs(workshop, &petit)
}

pub(crate) fn tui(workshop: &Workshop) -> Outcome {
    let petit = build(workshop, "build --features tui")?;
    validate_jobs(workshop, &petit)
}

/// Builds and returns the binary's path.
pub(crate) fn build(workshop: &Workshop, arguments: &str) -> Outcome<PathBuf> {
    run(&mut workshop.cargo(arguments))?;
    Ok(workshop.target.join("debug/petit"))
}

fn validate_jobs(workshop: &Workshop, petit: &PathBuf) -> Outcome {
    run(Command::new(petit)
        .args(["validate", "jobs.d"])
        .current_dir(&workshop.root))
}
