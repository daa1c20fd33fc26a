//! `petit validate`

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use chrono::{SecondsFormat, Utc};

use crate::{
    cli::{
        CliError, Exit, Format, Globals,
        globals::Place,
        output::{BAD, GOOD},
    },
    config::{
        check::{Checked, STDIN, check_file},
        contention::check_contention,
        diagnostic::{Diagnostic, Severity},
        render,
        set::{Member, check_capacity, check_set},
    },
    core::{Timestamp, error_text::chain, job::Job, schedule::Timing},
    execution::capacity,
    reconcile::scan::{Content, Scanner},
};

/// Check job files: their form, and that what they refer to exists; shows when up to ten good ones will fire
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders, or - for standard input; by default the folder of jobs. References are always checked against
    /// the whole folder of jobs
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Prints every mistake in the files that were asked for; exits with 1 if there is an error, and with 4 if something could
/// not be read, since then nobody knows.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let files = Files::read(&place, &args.paths)?;
    let diagnostics = files.check(&place);
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let output = globals.output();
    if files.asked.is_empty() && files.unread.is_empty() {
        output.remark("there are no job files: `petit init` writes a first one");
    }
    let text = match output.format {
        Format::Json => render::render_json(&diagnostics),
        Format::Github => render::render_github(&diagnostics),
        Format::Sarif => render::render_sarif(&diagnostics),
        Format::Text | Format::Csv => {
            let source = |file: &str| files.asked.get(file).map(|checked| checked.yaml.as_str());
            let text = render::render_human(&diagnostics, source, output.color);
            let warnings = diagnostics.iter().filter(|it| it.severity == Severity::Warning).count();
            let well = errors == 0 && files.unread.is_empty();
            let (style, sign) = if well { (GOOD, "✓") } else { (BAD, "✗") };
            let summary = format!(
                "{sign} {}, {}, {}",
                count(files.asked.len(), "file"),
                count(errors, "error"),
                count(warnings, "warning")
            );
            let fires = if well && !output.quiet {
                files.fires(Utc::now())
            } else {
                String::new()
            };
            format!("{text}{fires}{}\n", output.paint(style, &summary))
        }
    };
    globals.print_text(&text)?;
    if !files.unread.is_empty() {
        return Err(CliError::new(Exit::Failed, "unreadable", files.unread.join("; ")));
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::Negative })
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What is checked, by the name under which it is shown.
struct Files {
    /// Those that were asked for.
    asked: BTreeMap<String, Checked>,
    /// The others of the folder of jobs, which references may lead to.
    around: BTreeMap<String, Checked>,
    /// What could not be read, in a sentence each.
    unread: Vec<String>,
}

impl Files {
    fn read(place: &Place, paths: &[PathBuf]) -> Result<Self, CliError> {
        let mut asked = BTreeMap::new();
        let mut unread = Vec::new();
        let by_default = [place.jobs_dir.clone()];
        let of_folder = paths.is_empty();
        for path in if of_folder { &by_default } else { paths } {
            if path.as_os_str() == "-" {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| CliError::failed("could not read standard input", &error))?;
                asked.insert(STDIN.to_owned(), check_file(Path::new(STDIN), &bytes, &place.settings));
            } else if path.is_dir() {
                unread.extend(read_folder(path, place, &mut asked));
            } else {
                match std::fs::read(path) {
                    Ok(bytes) => insert(path, &bytes, place, &mut asked),
                    Err(error) => unread.push(format!("could not read {}: {error}", path.display())),
                }
            }
        }
        let mut around = BTreeMap::new();
        if !of_folder && place.jobs_dir.is_dir() {
            // What cannot be read there is not what was asked about; a reference that leads to it will say so.
            read_folder(&place.jobs_dir, place, &mut around);
            around.retain(|file, _| !asked.contains_key(file));
        }
        Ok(Self { asked, around, unread })
    }

    /// The next fires of the jobs that were asked for, a line each, if they are few.
    fn fires(&self, now: Timestamp) -> String {
        if self.asked.len() > MOST_FIRES_SHOWN {
            return String::new();
        }
        let jobs = self.asked.values().filter_map(|checked| checked.job.as_ref());
        jobs.filter_map(|job| fires_line(job, now)).collect()
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
        let among = among.chain(check_contention(&members, &capacity));
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

/// Beyond so many files, when each fires is no longer an answer but noise: `petit next` is for that.
const MOST_FIRES_SHOWN: usize = 10;
/// How many fires of each file are shown.
const FIRES: usize = 3;

/// The next fires of a job, in its zone, on a line.
fn fires_line(job: &Job, now: Timestamp) -> Option<String> {
    let schedule = job.schedule.as_ref()?;
    let id = &job.id;
    if let [Timing::Every(every)] = schedule.timings()[..] {
        return Some(format!("{id} fires every {every}, from when it is first applied\n"));
    }
    // Only a period looks at its anchor.
    let fires = schedule.slots_after(now, now).take(FIRES);
    let fires: Vec<String> = fires
        .map(|fire| job.local_time(fire).to_rfc3339_opts(SecondsFormat::Secs, false))
        .collect();
    let what = if job.spec.enabled {
        "fires next at"
    } else {
        "is disabled, and would fire next at"
    };
    Some(format!("{id} {what} {}\n", fires.join(", ")))
}

/// Reads the job files below a folder; returns what could not be read.
fn read_folder(folder: &Path, place: &Place, files: &mut BTreeMap<String, Checked>) -> Vec<String> {
    let look = match Scanner::new(folder).look(SystemTime::now()) {
        Ok(look) => look,
        Err(error) => return vec![chain(&error)],
    };
    let mut unread = Vec::new();
    for (name, seen) in &*look.files {
        let path = folder.join(&**name);
        match &seen.content {
            Content::Bytes(blob) => insert(&path, &blob.bytes, place, files),
            Content::Refused(refusal) => unread.push(format!("could not read {}: {refusal}", path.display())),
        }
    }
    unread
}

fn insert(path: &Path, bytes: &[u8], place: &Place, files: &mut BTreeMap<String, Checked>) {
    let name = shown(path);
    let checked = check_file(Path::new(&name), bytes, &place.settings);
    files.insert(name, checked);
}

/// A path as people name it: from the current folder, if it is below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.strip_prefix(&here).unwrap_or(path).display().to_string()
}
