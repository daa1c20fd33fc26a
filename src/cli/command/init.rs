//! `petit init`

use std::{fs, io, path::Path};

use serde_json::json;

use crate::cli::{CliError, Exit, Globals};

/// Make a folder of jobs with a first job in it, and a settings file
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What a user meets first: short, commented, and it runs.
const FIRST_JOB: &str = r#"# A job: save this file and a running `petit run` takes it up at once; `petit validate` checks it.
# `petit schema job > job.schema.json` gives editors completion:
# yaml-language-server: $schema=job.schema.json
name: Hello
schedule: "*/10 * * * * *" # six fields, seconds first; five fields are the usual cron
tasks:
  greet:
    command: |
      echo "greeting=hello" >> "$PETIT_OUTPUT"
  say:
    depends_on: [greet]
    command: [echo, "${{ tasks.greet.outputs.greeting }} from run ${{ run.id }}"]
"#;

const SETTINGS: &str = r"# Every key has a default; `petit schema settings` says what may stand here.
timezone: UTC
";

/// Makes what is missing; never touches what is there.
pub fn run(globals: &Globals, _: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    fs::create_dir_all(&place.jobs_dir).map_err(|error| {
        CliError::failed(
            format_args!("could not make the folder {}", place.jobs_dir.display()),
            &error,
        )
    })?;
    let job = place.jobs_dir.join("hello.yaml");
    let settings = place.jobs_dir.with_file_name("petit.yaml");
    let made: Vec<String> = [(&job, FIRST_JOB), (&settings, SETTINGS)]
        .into_iter()
        .filter_map(|(path, text)| create(path, text).transpose())
        .collect::<Result<_, _>>()?;
    globals.print(&json!({ "made": made }), || {
        if made.is_empty() {
            "nothing to do: the folder of jobs and the settings are there\n".to_owned()
        } else {
            let lines: String = made.iter().map(|path| format!("made {path}\n")).collect();
            format!("{lines}now `petit run` fires it, and `petit runs` shows what ran\n")
        }
    })?;
    Ok(Exit::Done)
}

/// Writes a new file; `None` if one of that name is there already.
fn create(path: &Path, text: &str) -> Result<Option<String>, CliError> {
    let written = fs::File::create_new(path).and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    match written {
        Ok(()) => Ok(Some(path.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(CliError::failed(
            format_args!("could not write {}", path.display()),
            &error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        check,
        settings::{self, Settings},
    };

    #[test]
    fn what_init_writes_is_valid() {
        let checked = check::check_file(Path::new("hello.yaml"), FIRST_JOB.as_bytes(), &Settings::default());
        assert!(
            checked.diagnostics.is_empty() && checked.job.is_some(),
            "{:?}",
            checked.diagnostics
        );
        let (settings, diagnostics, _) = settings::check("petit.yaml", SETTINGS.as_bytes());
        assert!(settings.is_some() && diagnostics.is_empty(), "{diagnostics:?}");
    }
}
