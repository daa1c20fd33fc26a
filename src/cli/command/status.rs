//! `petit status`

use chrono::SecondsFormat;

use crate::{
    cli::{
        CliError, Exit, Globals,
        output::{BAD, HEADING, MUTED, Output},
        source::Source,
    },
    core::{
        harmless::harmless,
        record::{Actor, ReconcileRecord},
    },
    reconcile::{FileStatus, Standing, SyncState},
    view::StatusView,
};

/// Show the daemon, what runs, what waits and for what, and what is not in sync; exits with 3 if no daemon runs
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the status.
pub fn run(globals: &Globals, _: &Args) -> Result<Exit, CliError> {
    let status = Source::open(globals)?.status()?;
    globals.print(&status, || text(&status, &globals.output()))?;
    Ok(if status.daemon.is_some() {
        Exit::Done
    } else {
        Exit::NoDaemon
    })
}

fn text(status: &StatusView, output: &Output) -> String {
    let mut lines = vec![match &status.daemon {
        Some(daemon) => format!(
            "petit {} runs as pid {} since {} on {}",
            daemon.version,
            daemon.pid,
            daemon.started_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            harmless(daemon.state_dir.as_bytes())
        ),
        None => output.paint(BAD, "no daemon runs"),
    }];
    lines.extend(sync(status, output));
    let pauses = status.pauses.iter();
    lines.extend(pauses.map(|pause| harmless(format!("⏸ {pause}").as_bytes())));
    section(
        &mut lines,
        output,
        "runs",
        status.active_runs.iter().map(|run| {
            let reason = run
                .reason
                .as_ref()
                .map(|reason| format!("  {}", harmless(reason.as_bytes())))
                .unwrap_or_default();
            format!("{}  {}  {}{reason}", run.id, run.job, output.run_status(run.status))
        }),
    );
    section(
        &mut lines,
        output,
        "waiting",
        status
            .waiting
            .iter()
            .map(|waiting| format!("{}  {}", waiting.task, harmless(waiting.reason().as_bytes()))),
    );
    section(
        &mut lines,
        output,
        "next",
        status.next.iter().map(|fire| format!("{}  {}", fire.at, fire.job)),
    );
    lines.join("\n") + "\n"
}

fn section(lines: &mut Vec<String>, output: &Output, title: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.map(|row| format!("  {row}")).collect();
    if rows.is_empty() {
        lines.push(format!(
            "{} {}",
            output.paint(HEADING, title),
            output.paint(MUTED, "none")
        ));
    } else {
        lines.push(output.paint(HEADING, title));
        lines.extend(rows);
    }
}

fn sync(status: &StatusView, output: &Output) -> Vec<String> {
    let sync = &status.sync;
    let unwell: Vec<&FileStatus> = sync
        .files
        .iter()
        .filter(|file| !matches!(file.standing.sync, SyncState::Synced))
        .collect();
    let jobs = sync.jobs.iter().filter(|job| job.generation.is_some()).count();
    let summary = format!(
        "{jobs} jobs active, {} of {} files in sync in {}",
        sync.files.len() - unwell.len(),
        sync.files.len(),
        harmless(sync.jobs_dir.as_bytes())
    );
    let conditions = sync.conditions.iter().map(|condition| condition.message.clone());
    let alarms = conditions.chain(status.conditions.iter().cloned());
    let mut lines = vec![summary];
    lines.extend(status.revision.iter().map(|revision| format!("revision {revision}")));
    lines.extend(alarms.map(|message| output.paint(BAD, &format!("! {}", harmless(message.as_bytes())))));
    if let Some(reconcile) = &sync.last_reconcile {
        lines.push(output.paint(MUTED, &last_change(reconcile)));
    }
    lines.extend(unwell.into_iter().flat_map(|file| of_file(file, output)));
    let filed = |job: &str| {
        sync.files
            .iter()
            .any(|file| file.job.as_ref().is_some_and(|id| id.as_str() == job))
    };
    let gone = sync.jobs.iter().filter(|job| !filed(job.job.as_str()));
    lines.extend(gone.flat_map(|job| {
        let name = format!("{} ({})", job.job, job.file);
        of_standing(&name, &job.standing, "its file is gone", output)
    }));
    if let Some(plan) = &sync.waiting_plan {
        lines.push(format!("  `petit sync --approve {plan}` carries the removals out"));
    }
    lines
}

fn of_file(file: &FileStatus, output: &Output) -> Vec<String> {
    let standing = &file.standing;
    let place = match (standing.line, standing.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}", file.file),
        _ => file.file.clone(),
    };
    let job = file.job.as_ref().map(|job| format!(" {job} is")).unwrap_or_default();
    of_standing(&format!("{place}{job}"), standing, "", output)
}

/// What is the matter, since when, and what to do.
fn of_standing(name: &str, standing: &Standing, otherwise: &str, output: &Output) -> Vec<String> {
    let text = format!(
        "! {name} {}, {} since {}: {}",
        standing.sync.as_str(),
        standing.health.as_str(),
        standing.since.to_rfc3339_opts(SecondsFormat::Secs, true),
        standing.message.as_deref().unwrap_or(otherwise)
    );
    let told = output.paint(BAD, &harmless(text.as_bytes()));
    let hint = standing.hint.iter().map(|hint| format!("    {hint}"));
    [told].into_iter().chain(hint).collect()
}

/// Who changed the jobs last, and from which commit.
fn last_change(reconcile: &ReconcileRecord) -> String {
    let at = reconcile.at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let by = match (reconcile.actor, &reconcile.by) {
        (_, Some(user)) => format!(" by {user}"),
        (Actor::Start, None) => " at the start".to_owned(),
        (Actor::Watcher | Actor::Resync | Actor::Command, None) => String::new(),
    };
    let revision = reconcile
        .revision
        .iter()
        .map(|revision| format!(", revision {revision}"));
    let text = format!(
        "last change {at}{by}, plan {} {}{}",
        reconcile.plan_id,
        reconcile.result.as_str(),
        revision.collect::<String>()
    );
    harmless(text.as_bytes())
}
