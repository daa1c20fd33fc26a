//! `petit validate`

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
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
        set::{Member, check_capacity, check_set, check_uses},
        share,
    },
    core::{Timestamp, error_text::chain, job::Job, schedule::Timing},
    execution::capacity,
    reconcile::scan::{Blob, Content, Scanner},
};

/// Check job files: their form, and that what they refer to exists; shows when up to ten good ones will fire
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files and folders, or - for standard input; by default the folder of jobs. References are always checked against
    /// the whole folder of jobs
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The file that standard input stands for, as editors have it: it names the diagnostics, gives the job its id, and
    /// is not looked up in the folder of jobs
    #[arg(long, value_name = "PATH")]
    stdin_filename: Option<PathBuf>,
}

/// Prints every mistake in the files that were asked for; exits with 1 if there is an error, and with 4 if something could
/// not be read, since then nobody knows.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let mut files = Files::read(&place, args)?;
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
    let unread = std::mem::take(&mut files.unread);
    // The process ends with this answer, and the system takes its memory back faster than ten thousand jobs are freed.
    std::mem::forget(files);
    if !unread.is_empty() {
        return Err(CliError::new(Exit::Failed, "unreadable", unread.join("; ")));
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

/// A file's text before it is checked, under the name by which it is shown.
type Unchecked = (String, Arc<Blob>);

impl Files {
    fn read(place: &Place, args: &Args) -> Result<Self, CliError> {
        let from_stdin = args.paths.iter().any(|path| is_stdin(path));
        if args.stdin_filename.is_some() && !from_stdin {
            return Err(CliError::usage(
                "`--stdin-filename` names what comes from standard input: expected `-` among the paths",
            ));
        }
        let by_default = [place.jobs_dir.clone()];
        let of_folder = args.paths.is_empty();
        let mut asked = BTreeMap::new();
        let mut unread = Vec::new();
        let mut single = Vec::new();
        for path in if of_folder { &by_default } else { &args.paths[..] } {
            if is_stdin(path) {
                let name = args.stdin_filename.as_deref().unwrap_or(Path::new(STDIN));
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_to_end(&mut bytes);
                read.map_err(|error| CliError::failed("could not read standard input", &error))?;
                asked.insert(shown(name), Arc::new(Blob::new(bytes)));
                single.push(name);
            } else if path.is_dir() {
                let (files, refused) = read_folder(path);
                asked.extend(files);
                unread.extend(refused);
            } else {
                match std::fs::read(path) {
                    Ok(bytes) => asked.insert(shown(path), Arc::new(Blob::new(bytes))),
                    Err(error) => {
                        unread.push(format!("could not read {}: {error}", path.display()));
                        None
                    }
                };
                single.push(path);
            }
        }
        let around = if !of_folder && place.jobs_dir.is_dir() {
            // What cannot be read there is not what was asked about; a reference that leads to it will say so.
            let (mut files, _) = read_folder(&place.jobs_dir);
            files.retain(|file, _| !asked.contains_key(file));
            // The same file may have been asked for in other words.
            for file in single.into_iter().filter_map(|path| within(&place.jobs_dir, path)) {
                files.remove(&shown(&file));
            }
            files
        } else {
            BTreeMap::new()
        };
        Ok(Self {
            asked: check_all(asked, place),
            around: check_all(around, place),
            unread,
        })
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
        let beyond = members.iter().flat_map(|member| {
            let mut found = check_capacity(member, &capacity);
            found.extend(check_uses(member, &place.tasks));
            found
        });
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

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn check_all(texts: BTreeMap<String, Arc<Blob>>, place: &Place) -> BTreeMap<String, Checked> {
    let texts: Vec<Unchecked> = texts.into_iter().collect();
    let checked = share::each(&texts, |(name, blob)| {
        check_file(Path::new(name), &blob.bytes, &place.settings)
    });
    let names = texts.into_iter().map(|(name, _)| name);
    names.zip(checked).collect()
}

/// Reads the job files below a folder; says what could not be read.
fn read_folder(folder: &Path) -> (BTreeMap<String, Arc<Blob>>, Vec<String>) {
    let mut files = BTreeMap::new();
    let look = match Scanner::new(folder).look(SystemTime::now()) {
        Ok(look) => look,
        Err(error) => return (files, vec![chain(&error)]),
    };
    let folder = PathBuf::from(shown(folder));
    let mut unread = Vec::new();
    for (name, seen) in &*look.files {
        let path = folder.join(&**name);
        match &seen.content {
            Content::Bytes(blob) => {
                files.insert(path.display().to_string(), Arc::clone(blob));
            }
            Content::Refused(refusal) => unread.push(format!("could not read {}: {refusal}", path.display())),
        }
    }
    (files, unread)
}

/// A path as people name it: from the current folder, if it is below it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// The path of a file through `folder`, if it lies below it, whatever the way on which it was named. The file itself is
/// not followed where it is a link, because its name is what counts.
fn within(folder: &Path, file: &Path) -> Option<PathBuf> {
    let parent = file.parent().filter(|parent| *parent != OsStr::new(""));
    let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
    let below = parent.strip_prefix(folder.canonicalize().ok()?).ok()?;
    Some(folder.join(below).join(file.file_name()?))
}
