//! The tools that users bring along, from PyPI: `check-jsonschema`, `pre-commit` and Python's DuckDB.
//!
//! They live in a virtual environment in the cache folder, which is made anew when the list of versions changes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::workshop::{Failure, Outcome, Workshop, ask, run};

const REQUIREMENTS: [&str; 3] = ["check-jsonschema==0.39.0", "pre-commit==4.7.0", "duckdb==1.5.6"];

/// A validator that shares no code with Petit accepts the examples, and refuses what the schema is there to refuse.
pub(crate) fn json_schema(workshop: &Workshop) -> Outcome {
    let program = install(workshop)?.join("check-jsonschema");
    let check = |files: &[PathBuf]| {
        let mut command = Command::new(&program);
        command
            .args(["--schemafile", "schema/job.schema.json"])
            .args(files)
            .current_dir(&workshop.root);
        ask(&mut command)
    };

    if !check(&yaml_files(workshop, "jobs.d")?)?.success {
        return Err(Failure::new("check-jsonschema refuses a file in jobs.d"));
    }
    // One by one: given together, a single bad file would vouch for all.
    for file in yaml_files(workshop, REFUSED)? {
        let said = check(std::slice::from_ref(&file))?;
        // A file that is no YAML at all is refused as well, and would say nothing about the schema.
        if said.success || !said.text.contains("Schema validation errors") {
            return Err(Failure::new(format!("the schema does not refuse {}", file.display())));
        }
    }
    Ok(())
}

/// Job files that break a rule which the schema expresses.
pub(crate) const REFUSED: &str = "tests/fixtures/refused-by-schema";

/// The YAML files in a folder of the repository, in order; there is at least one.
pub(crate) fn yaml_files(workshop: &Workshop, folder: &str) -> Outcome<Vec<PathBuf>> {
    let path = workshop.root.join(folder);
    let entries = fs::read_dir(&path).map_err(Failure::at("read", &path))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| Path::new(folder).join(entry.file_name())))
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        Err(Failure::new(format!("{folder} has no YAML file")))
    } else {
        Ok(files)
    }
}

/// Installs the tools unless they are there, and returns the folder of their programs.
pub(crate) fn install(workshop: &Workshop) -> Outcome<PathBuf> {
    let environment = workshop.cache.join("python");
    let programs = environment.join("bin");
    let stamp = environment.join("requirements.txt");
    let wanted = REQUIREMENTS.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return Ok(programs);
    }
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment))?;
    run(Command::new(programs.join("pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(REQUIREMENTS))?;
    // Written last, so that an interrupted installation is not taken for a whole one.
    fs::write(&stamp, wanted).map_err(Failure::at("write", &stamp))?;
    Ok(programs)
}
