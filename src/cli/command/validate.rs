//! `petit validate`

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    cli::{
        CliError, Exit, Format, Globals,
        globals::Place,
        output::{BAD, GOOD},
    },
    config::{
        check::{Checked, check_file},
        diagnostic::{Diagnostic, Severity},
        render,
        set::{Member, check_capacity, check_set},
    },
    core::error_text::chain,
    execution::capacity,
    reconcile::scan::{Content, Scanner},
};

/// Check job files: their form, and that what they refer to exists
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders, or - for standard input; by default the folder of jobs. References are always checked against
    /// the whole folder of jobs
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Prints every mistake in the files that were asked for; exits with 1 if there is an error.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let files = Files::read(&place, &args.paths)?;
    let diagnostics = files.check(&place);
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let output = globals.output();
    match output.format {
        Format::Json => globals.print_text(&render::render_json(&diagnostics))?,
        Format::Github => globals.print_text(&render::render_github(&diagnostics))?,
        Format::Sarif => globals.print_text(&render::render_sarif(&diagnostics))?,
        Format::Text => {
            let source = |file: &str| files.asked.get(file).map(|checked| checked.yaml.as_str());
            let text = render::render_human(&diagnostics, source, output.color);
            let warnings = diagnostics.iter().filter(|it| it.severity == Severity::Warning).count();
            let (style, sign) = if errors == 0 { (GOOD, "✓") } else { (BAD, "✗") };
            let summary = format!(
                "{sign} {}, {}, {}",
                count(files.asked.len(), "file"),
                count(errors, "error"),
                count(warnings, "warning")
            );
            globals.print_text(&format!("{text}{}\n", output.paint(style, &summary)))?;
        }
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::Negative })
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The name under which standard input is checked and shown.
const STDIN: &str = "<stdin>";

/// What is checked, by the name under which it is shown.
struct Files {
    /// Those that were asked for.
    asked: BTreeMap<String, Checked>,
    /// The others of the folder of jobs, which references may lead to.
    around: BTreeMap<String, Checked>,
}

impl Files {
    fn read(place: &Place, paths: &[PathBuf]) -> Result<Self, CliError> {
        let mut asked = BTreeMap::new();
        let by_default = [place.jobs_dir.clone()];
        let of_folder = paths.is_empty();
        for path in if of_folder { &by_default } else { paths } {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| CliError::failed("could not read standard input", &error))?;
                asked.insert(STDIN.to_owned(), check_file(Path::new(STDIN), &bytes, &place.settings));
            } else if path.is_dir() {
                read_folder(path, place, &mut asked)?;
            } else {
                let bytes = std::fs::read(path)
                    .map_err(|error| CliError::failed(format_args!("could not read {}", path.display()), &error))?;
                asked.insert(shown(path), check_file(path, &bytes, &place.settings));
            }
        }
        let mut around = BTreeMap::new();
        if !of_folder && place.jobs_dir.is_dir() {
            read_folder(&place.jobs_dir, place, &mut around)?;
            around.retain(|file, _| !asked.contains_key(file));
        }
        Ok(Self { asked, around })
    }

    /// What is wrong with the files that were asked for, each by itself and among all others.
    fn check(&self, place: &Place) -> Vec<Diagnostic> {
        let members: Vec<Member<'_>> = self
            .asked
            .iter()
            .chain(&self.around)
            .filter_map(|(file, checked)| {
                Some(Member {
                    file,
                    job: checked.job.as_ref()?,
                    yaml: &checked.yaml,
                })
            })
            .collect();
        let capacity = capacity::of_machine(&place.settings);
        let beyond = members.iter().flat_map(|member| check_capacity(member, &capacity));
        let among = check_set(&members).into_iter().chain(beyond);
        let own = self
            .asked
            .values()
            .flat_map(|checked| checked.diagnostics.iter().cloned());
        let mut all: Vec<Diagnostic> = own
            .chain(among.filter(|it| self.asked.contains_key(&it.file)))
            .collect();
        all.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        all
    }
}

fn read_folder(folder: &Path, place: &Place, files: &mut BTreeMap<String, Checked>) -> Result<(), CliError> {
    let look = Scanner::new(folder)
        .look(SystemTime::now())
        .map_err(|error| CliError::new(Exit::Failed, "unreadable", chain(&error)))?;
    for (name, seen) in &look.files {
        let path = folder.join(name);
        let unreadable = |problem: String| CliError::new(Exit::Failed, "unreadable", problem);
        match &seen.content {
            Content::Bytes(blob) => {
                files.insert(shown(&path), check_file(&path, &blob.bytes, &place.settings));
            }
            Content::Refused(refusal) => {
                return Err(unreadable(format!("could not read {}: {refusal}", path.display())));
            }
        }
    }
    Ok(())
}

/// A path as people name it: from the current folder, if it is below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.strip_prefix(&here).unwrap_or(path).display().to_string()
}
