//! `petit logs`

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use serde_json::json;

use crate::{
    cli::{
        CliError, Exit, Format, Globals,
        globals::{Place, Reader},
        source::{Source, block_on, last_word, left_behind},
    },
    control::RunsQuery,
    core::{
        Timestamp,
        harmless::harmless,
        id::{JobId, RunId, TaskId},
    },
    daemon::is_held,
    execution::{
        folders, log_path,
        output::{Entry, LogReader, Stream},
    },
    view::{RunView, TaskView},
};

/// Print what a run's tasks said
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run's id, or a job's for its latest run
    #[arg(value_name = "RUN|JOB")]
    run: String,
    /// Only of this task
    task: Option<TaskId>,
    /// Go on until the run has ended; as JSON an object a line
    #[arg(short, long)]
    follow: bool,
}

/// Prints the logs.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let source = Source::open(globals)?;
    let run = match args.run.parse::<RunId>() {
        Ok(run) => run,
        Err(_) => latest_run(&source, &args.run)?,
    };
    if args.follow {
        drop(source);
        return follow(globals, run, args.task.as_ref());
    }
    let view = source.run_or_older(globals, run)?;
    let lines = Logs::new(globals, args.task.as_ref())?.new_lines(&view)?;
    if lines.is_empty() {
        still_there(&globals.place()?, &view, args.task.as_ref())?;
    }
    globals.print(&lines, || text(&view, args.task.as_ref(), &lines))?;
    let of_earlier_runs = reused(&view, args.task.as_ref());
    for remark in &of_earlier_runs {
        globals.output().remark(remark);
    }
    if lines.is_empty() && of_earlier_runs.is_empty() {
        let who = args.task.as_ref().map_or("the run's tasks", TaskId::as_str);
        globals
            .output()
            .remark(&format!("{who} said nothing: the run is {}", view.status));
    }
    Ok(Exit::Done)
}

fn latest_run(source: &Source, job: &str) -> Result<RunId, CliError> {
    let job: JobId = job.parse().map_err(|_| {
        CliError::usage(format!("`{job}` is neither the id of a run nor of a job"))
            .hint("`petit runs` and `petit list` print them")
    })?;
    let latest = source.runs(&RunsQuery {
        job: Some(job.clone()),
        limit: Some(1),
        ..RunsQuery::default()
    })?;
    match latest.first() {
        Some(run) => Ok(run.id),
        None => {
            source.job(&job)?;
            Err(
                CliError::new(Exit::Negative, "not_found", format!("{job} has not run yet"))
                    .hint(format!("`petit trigger {job}` runs it now")),
            )
        }
    }
}

/// Refuses where there was a log and its time is over. What is left of a run without any attempt is that it said nothing.
fn still_there(place: &Place, run: &RunView, only: Option<&TaskId>) -> Result<(), CliError> {
    let meant = run.tasks.iter().filter(|task| only.is_none_or(|only| task.id == *only));
    let has_run = meant.flat_map(|task| &task.attempts).next().is_some();
    if !run.status.is_finished() || !has_run || folders::of_run(&place.state_dir, run.id).exists() {
        return Ok(());
    }
    let kept = place.settings.retention.clone().unwrap_or_default().logs.in_words();
    let message = format!("the log of run `{}` was removed: logs are kept {kept}", run.id);
    Err(CliError::new(Exit::Negative, "log_removed", message)
        .hint("`retention: {logs: …}` in the settings says how long")
        .hint(format!("`petit show {}` still shows how its tasks ended", run.id)))
}

/// Where to find what the tasks said that did not run here: a retry reuses them.
fn reused(run: &RunView, only: Option<&TaskId>) -> Vec<String> {
    let meant = run.tasks.iter().filter(|task| only.is_none_or(|only| task.id == *only));
    let remark = |task: &TaskView| {
        let from = task.reused_from?;
        Some(format!(
            "{} was reused: `petit logs {from} {}` prints what it said",
            task.id, task.id
        ))
    };
    meant.filter_map(remark).collect()
}

/// How often a log is looked at while it is followed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints what the run's tasks say until it has ended; as JSON an object a line, since there is no end to close an array at.
pub fn follow(globals: &Globals, run: RunId, task: Option<&TaskId>) -> Result<Exit, CliError> {
    let source = Source::open(globals)?;
    block_on(until_its_end(globals, &source, run, task))?;
    Ok(Exit::Done)
}

/// The same for whoever waits already, and knows who answers. Where that is the journal alone, the run comes to its end only
/// as long as somebody carries it out, in the foreground or as a daemon that came meanwhile.
pub async fn until_its_end(
    globals: &Globals,
    source: &Source,
    run: RunId,
    task: Option<&TaskId>,
) -> Result<(), CliError> {
    let mut logs = Logs::new(globals, task)?;
    loop {
        // Looked at before the run: whoever lets the folder go has recorded every end before.
        let goes_on = matches!(source, Source::Daemon(_)) || is_held(&logs.place.state_dir);
        // The run is looked at before its logs: once it has ended, everything it said is in them.
        let view = match source.run_now(run).await {
            Ok(view) => view,
            Err(error) => last_word(&logs.place, error, run).await?,
        };
        let lines = logs.new_lines(&view)?;
        let shown = match globals.format {
            Format::Json => lines.iter().map(|line| format!("{}\n", json!(line))).collect(),
            Format::Text | Format::Github | Format::Sarif | Format::Csv => text(&view, task, &lines),
        };
        let reader = globals.print_text(&shown)?;
        if view.status.is_finished() || reader == Reader::Gone {
            return Ok(());
        }
        if !goes_on {
            return Err(left_behind(run));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A line that a task said.
#[derive(Debug, Serialize)]
struct Line {
    task: TaskId,
    attempt: u32,
    at: Timestamp,
    stream: Stream,
    text: String,
    /// The same, safe for a terminal; the bytes may be no text at all.
    #[serde(skip)]
    shown: String,
}

/// The lines for people: the task's name stands before each when there are several.
fn text(run: &RunView, only: Option<&TaskId>, lines: &[Line]) -> String {
    let width = run.tasks.iter().map(|task| task.id.as_str().len()).max().unwrap_or(0);
    let several = only.is_none() && run.tasks.len() > 1;
    let show = |line: &Line| match several {
        true => format!("{:width$} | {}\n", line.task, line.shown),
        false => format!("{}\n", line.shown),
    };
    lines.iter().map(show).collect()
}

/// Reads the logs of a run, each line once.
struct Logs<'a> {
    place: Place,
    only: Option<&'a TaskId>,
    readers: HashMap<(TaskId, u32), LogReader>,
    /// The beginnings of lines that go on in a later entry of their stream.
    begun: HashMap<(TaskId, u32, Stream), Vec<u8>>,
}

impl<'a> Logs<'a> {
    fn new(globals: &Globals, only: Option<&'a TaskId>) -> Result<Self, CliError> {
        Ok(Self {
            place: globals.place()?,
            only,
            readers: HashMap::new(),
            begun: HashMap::new(),
        })
    }

    /// What was said since the last call. Tasks that ran side by side are told in the order in which they spoke.
    fn new_lines(&mut self, run: &RunView) -> Result<Vec<Line>, CliError> {
        self.check_task(run)?;
        let mut entries = Vec::new();
        for task in run
            .tasks
            .iter()
            .filter(|task| self.only.is_none_or(|only| *only == task.id))
        {
            for attempt in &task.attempts {
                let path = log_path(&self.place.state_dir, run.id, &task.id, attempt.attempt);
                let key = (task.id.clone(), attempt.attempt);
                let reader = self.readers.entry(key).or_insert_with(|| LogReader::new(path.clone()));
                for entry in reader {
                    let unreadable =
                        |error| CliError::failed(format_args!("could not read the log {}", path.display()), &error);
                    entries.push((task.id.clone(), attempt.attempt, entry.map_err(unreadable)?));
                }
            }
        }
        entries.sort_by_key(|(_, _, entry)| entry.at);
        let mut lines: Vec<Line> = entries
            .into_iter()
            .filter_map(|(task, attempt, entry)| self.complete(task, attempt, entry))
            .collect();
        if run.status.is_finished() {
            lines.extend(self.begun.drain().map(|((task, attempt, stream), text)| {
                line(task, attempt, run.ended_at.unwrap_or_default(), stream, &text)
            }));
        }
        Ok(lines)
    }

    /// The line that an entry ends, if it ends one.
    fn complete(&mut self, task: TaskId, attempt: u32, entry: Entry) -> Option<Line> {
        let key = (task, attempt, entry.stream);
        if entry.partial {
            self.begun.entry(key).or_default().extend(entry.text);
            return None;
        }
        let mut text = self.begun.remove(&key).unwrap_or_default();
        text.extend(entry.text);
        Some(line(key.0, attempt, entry.at, entry.stream, &text))
    }

    fn check_task(&self, run: &RunView) -> Result<(), CliError> {
        let Some(only) = self.only else { return Ok(()) };
        if run.tasks.iter().any(|task| task.id == *only) {
            return Ok(());
        }
        let known: Vec<&str> = run.tasks.iter().map(|task| task.id.as_str()).collect();
        let message = format!("run {} has no task `{only}`", run.id);
        Err(CliError::new(Exit::Negative, "not_found", message).hint(format!("its tasks are {}", known.join(", "))))
    }
}

fn line(task: TaskId, attempt: u32, at: Timestamp, stream: Stream, bytes: &[u8]) -> Line {
    Line {
        task,
        attempt,
        at,
        stream,
        text: String::from_utf8_lossy(bytes).into_owned(),
        shown: harmless(bytes),
    }
}
