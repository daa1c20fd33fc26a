//! `petit --version`

use serde_json::json;

use crate::{
    cli::{CliError, Exit, Globals},
    core::schedule::ZONE_DATABASE_VERSION,
};

/// Prints the version; with `--verbose`, also those of what decides when jobs fire and where history goes.
pub fn run(globals: &Globals) -> Result<Exit, CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let zones = ZONE_DATABASE_VERSION;
    let sqlite = rusqlite::version();
    let duckdb = duckdb_version()?;
    globals.print(
        &json!({ "version": version, "tzdb": zones, "sqlite": sqlite, "duckdb": duckdb }),
        || {
            if globals.verbose == 0 {
                return format!("petit {version}\n");
            }
            let duckdb = duckdb.as_deref().unwrap_or("none: built without `history`");
            format!("petit {version}\ntime zones {zones}\nSQLite {sqlite}\nDuckDB {duckdb}\n")
        },
    )?;
    Ok(Exit::Done)
}

#[cfg(feature = "history")]
fn duckdb_version() -> Result<Option<String>, CliError> {
    let version = crate::history::library_version();
    version
        .map(Some)
        .map_err(|error| CliError::failed("could not ask DuckDB for its version", &error))
}

#[cfg(not(feature = "history"))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as with the feature")]
fn duckdb_version() -> Result<Option<String>, CliError> {
    Ok(None)
}
