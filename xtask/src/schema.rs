//! The schemas below `schema/`, which editors, `check-jsonschema` and `petit schema` read.
//!
//! They are written from the types that parse the files. `--check` writes nothing and fails when a file differs, so
//! that a changed type cannot land without its schema.

use std::fs;

use petit::config::schema::{job_schema_text, settings_schema_text};

use crate::workshop::{Failure, Outcome, Workshop};

/// Write schema/*.schema.json from the types
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a file is not as it would be written
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(workshop: &Workshop, arguments: &Arguments) -> Outcome {
    if arguments.check {
        check(workshop)
    } else {
        write(workshop)
    }
}

fn write(workshop: &Workshop) -> Outcome {
    for (name, text) in generated() {
        let path = workshop.root.join(name);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            println!("{name} is fresh");
            continue;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Failure::at("create", folder))?;
        }
        fs::write(&path, text).map_err(Failure::at("write", &path))?;
        println!("{name} written");
    }
    Ok(())
}

pub(crate) fn check(workshop: &Workshop) -> Outcome {
    for (name, text) in generated() {
        let path = workshop.root.join(name);
        let present = fs::read_to_string(&path).map_err(Failure::at("read", &path))?;
        if present != text {
            return Err(Failure::new(format!(
                "{name} is stale: run `cargo xtask schema` and commit it"
            )));
        }
        println!("{name} is fresh");
    }
    Ok(())
}

/// Each generated file's path in the repository and its text.
fn generated() -> [(&'static str, String); 2] {
    [
        ("schema/job.schema.json", job_schema_text()),
        ("schema/settings.schema.json", settings_schema_text()),
    ]
}
