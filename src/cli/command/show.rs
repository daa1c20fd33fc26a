//! `petit show`

use std::borrow::Cow;

use chrono::SecondsFormat;

use super::runs::duration;
use crate::{
    cli::{
        CliError, Exit, Globals,
        output::{HEADING, MUTED, Output, Table},
        source::Source,
    },
    core::harmless::harmless,
    core::id::{JobId, RunId},
    view::{JobDetail, RunView},
};

/// Show one job with its graph, state and YAML, or one run with its tasks and attempts
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A job's id, or a run's
    #[arg(value_name = "JOB|RUN")]
    what: String,
}

/// Prints the job, or the run.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let output = globals.output();
    if let Ok(id) = args.what.parse::<RunId>() {
        let run = Source::open(globals)?.run_or_older(globals, id)?;
        globals.print(&run, || run_text(&run, &output))?;
        return Ok(Exit::Done);
    }
    let id: JobId = args.what.parse().map_err(|_| {
        CliError::usage(format!("`{}` is neither the id of a job nor of a run", args.what))
            .hint("`petit list` and `petit runs` print them")
    })?;
    let job = Source::open(globals)?.job(&id)?;
    globals.print(&job, || job_text(&job, &output))?;
    Ok(Exit::Done)
}

fn job_text(detail: &JobDetail, output: &Output) -> String {
    let job = &detail.job;
    let plain = |text: &str| harmless(text.as_bytes());
    let heading = |text: &str| output.paint(HEADING, text);
    let mut lines = vec![format!("{} {}", heading(job.id.as_str()), plain(&job.name))];
    if let Some(description) = detail.spec.as_ref().and_then(|spec| spec.description.as_ref()) {
        lines.push(plain(description));
    }
    let zone = job
        .timezone
        .as_ref()
        .map(|zone| format!(" in {zone}"))
        .unwrap_or_default();
    lines.push(format!("file       {}", plain(&job.file)));
    lines.push(format!(
        "state      {}{}",
        job.state_text(),
        if job.paused { ", paused" } else { "" }
    ));
    lines.push(format!("schedule   {}{zone}", plain(&job.schedule_text())));
    let silent = if job.enabled { "-" } else { "- (disabled)" };
    lines.push(format!("next       {}", job.next.as_deref().unwrap_or(silent)));
    let last = job.last_run.as_ref().map_or_else(
        || "-".to_owned(),
        |run| format!("{} {}", run.id, output.run_status(run.status)),
    );
    lines.push(format!("last run   {last}"));
    if let (Some(hash), Some(generation)) = (&job.spec_hash, job.generation) {
        lines.push(format!("spec       {} (generation {generation})", hash.short()));
    }
    for condition in &job.conditions {
        let at = condition
            .at
            .as_ref()
            .map(|at| format!("{}: ", plain(at)))
            .unwrap_or_default();
        lines.push(format!("! {at}{}", plain(&condition.message)));
        lines.extend(condition.hint.iter().map(|hint| format!("    {}", plain(hint))));
    }
    lines.push(heading("tasks"));
    for node in &detail.graph {
        let after = if node.depends_on.is_empty() {
            String::new()
        } else {
            format!("  after {}", node.depends_on.join(", "))
        };
        let limit = node.limit_text().map(|limit| format!("  {limit}")).unwrap_or_default();
        lines.push(format!(
            "  {}{}",
            node.id,
            output.paint(MUTED, &format!("{after}{limit}"))
        ));
    }
    if let Some(yaml) = &detail.yaml {
        lines.push(heading("yaml"));
        lines.extend(yaml.lines().map(|line| format!("  {}", plain(line))));
    }
    lines.join("\n") + "\n"
}

/// So much of a value is shown to people.
const MOST_SHOWN: usize = 400;

/// The beginning of a value that nobody would read to its end, with how much of it is missing.
fn cut(value: &str) -> Cow<'_, str> {
    let Some((end, _)) = value.char_indices().nth(MOST_SHOWN) else {
        return value.into();
    };
    let (shown, left) = value.split_at(end);
    format!("{shown}… ({} bytes more: `--format json` has all)", left.len()).into()
}

fn run_text(run: &RunView, output: &Output) -> String {
    let mut text = format!(
        "{} {} {}\n",
        output.paint(HEADING, &run.id.to_string()),
        run.job,
        output.run_status(run.status)
    );
    let slot = run
        .slot
        .map(|slot| format!(" for {}", slot.to_rfc3339_opts(SecondsFormat::Secs, true)))
        .unwrap_or_default();
    let created = run.created_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    text.push_str(&format!("trigger    {}{slot}, created {created}\n", run.trigger));
    if let Some(before) = &run.retry_of {
        text.push_str(&format!("retry of   {before}\n"));
    }
    for after in &run.retried_as {
        text.push_str(&format!("retried as {after}\n"));
    }
    if let Some(revision) = &run.revision {
        text.push_str(&format!("revision   {revision}\n"));
    }
    if let Some(took) = run.duration_ms {
        text.push_str(&format!("took       {}\n", duration(took)));
    }
    if let Some(reason) = &run.reason {
        text.push_str(&format!("reason     {}\n", harmless(cut(reason).as_bytes())));
    }
    for (key, value) in &run.params {
        text.push_str(&format!(
            "param      {}={}\n",
            harmless(key.as_bytes()),
            harmless(cut(&value.to_string()).as_bytes())
        ));
    }
    let mut table = Table::new(
        output,
        &["task", "state", "attempt", "ending", "took", "outputs or reason"],
    );
    for task in &run.tasks {
        let outputs: Vec<String> = task
            .outputs
            .iter()
            .map(|(key, value)| format!("{key}={}", cut(&value.to_string())))
            .collect();
        let mut notes: Vec<String> = task
            .reused_from
            .map(|run| format!("reused from {run}"))
            .into_iter()
            .collect();
        notes.extend(
            task.reason
                .as_deref()
                .map(|reason| cut(reason).into_owned())
                .or_else(|| (!outputs.is_empty()).then(|| outputs.join(" "))),
        );
        let last = task.attempts.last();
        let ending = last.map_or_else(
            || "-".to_owned(),
            |attempt| match (&attempt.ending, attempt.exit_code, attempt.signal) {
                (Some(_), Some(code), _) => format!("exit code {code}"),
                (Some(_), None, Some(signal)) => format!("signal {signal}"),
                (Some(ending), None, None) => ending.clone(),
                (None, _, _) => "-".to_owned(),
            },
        );
        let took = last.and_then(|attempt| Some((attempt.ended_at? - attempt.started_at?).num_milliseconds()));
        table.row([
            task.id.as_str().into(),
            crate::cli::output::Cell::painted(output.task_state(task.status)),
            task.attempts.len().to_string().into(),
            ending.into(),
            took.map_or_else(|| "-".to_owned(), duration).into(),
            notes.join(": ").into(),
        ]);
    }
    text + &table.render("no tasks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_that_is_said() {
        let short = "x".repeat(MOST_SHOWN);
        assert_eq!(cut(&short), short);
        let long = format!("{short}éé");
        assert_eq!(cut(&long), format!("{short}… (4 bytes more: `--format json` has all)"));
    }
}
