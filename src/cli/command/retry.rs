//! `petit retry`

use super::trigger;
use crate::{
    cli::{
        CliError, Exit, Format, Globals, older,
        output::{Output, Table},
        source,
    },
    control::{RetryReply, RetryRequest},
    core::id::{RunId, TaskId},
    scheduler::retry::Choice,
};

/// Run an ended run again, as its job is today, with the params and scheduled time that it had; prints the new run's id
///
/// With --failed or --from, tasks that did their part in the old run and about which nothing has changed since do not run
/// again: their outputs are reused. All the others do, and whatever comes after them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run's id
    run: RunId,
    /// Run only the tasks that did not succeed, those that changed, and what comes after them
    #[arg(long, conflicts_with = "from")]
    failed: bool,
    /// Run this task too, and what comes after it
    #[arg(long, value_name = "TASK")]
    from: Option<TaskId>,
    /// Only say which tasks would run again, and why
    #[arg(long, conflicts_with_all = ["wait", "follow"])]
    dry_run: bool,
    /// Wait for the run to end, and exit with 1 if it did not succeed
    #[arg(long)]
    wait: bool,
    /// Print the run's output as it comes; implies --wait. As JSON it is an object a line, the run being the last
    #[arg(long)]
    follow: bool,
    /// Start even while another run of the job is going
    #[arg(long)]
    ignore_overlap: bool,
}

/// Asks the daemon for the retry, and waits if asked to.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let choice = match (&args.from, args.failed) {
        (Some(task), _) => Choice::From(task.clone()),
        (None, true) => Choice::Failed,
        (None, false) => Choice::Whole,
    };
    let request = RetryRequest {
        run: args.run,
        choice,
        ignore_overlap: args.ignore_overlap,
        dry_run: args.dry_run,
        by: source::user(),
    };
    let client = source::client(globals)?;
    let reply = source::block_on(client.retry(&request)).map_err(|error| left(globals, args, error))?;
    let output = globals.output();
    for note in &reply.notes {
        output.remark(note);
    }
    let Some(made) = reply.run else {
        globals.print(&reply, || division(&reply, &output))?;
        return Ok(Exit::Done);
    };
    if !reply.reused.is_empty() && globals.format == Format::Text {
        let again: Vec<&str> = reply.again.iter().map(|task| task.task.as_str()).collect();
        let reused: Vec<&str> = reply.reused.iter().map(|task| task.task.as_str()).collect();
        output.remark(&format!(
            "runs again: {}; reused: {}",
            again.join(", "),
            reused.join(", ")
        ));
    }
    if args.wait || args.follow {
        return trigger::wait(globals, &client, made, args.follow);
    }
    globals.print(&reply, || format!("{made}\n"))?;
    Ok(Exit::Done)
}

/// A run that the journal has let go lives on in the history, where nothing is left to repeat it by.
fn left(globals: &Globals, args: &Args, error: CliError) -> CliError {
    if error.code != "not_found" || !older::has_left(globals, args.run) {
        return error;
    }
    let message = format!(
        "run `{}` is too old to be repeated: only the history still has it",
        args.run
    );
    CliError::new(Exit::Negative, "too_old", message).hint("`petit trigger` starts a new run of its job")
}

fn division(reply: &RetryReply, output: &Output) -> String {
    let mut table = Table::new(output, &["task", "would", "why"]);
    for again in &reply.again {
        table.row([
            again.task.as_str().into(),
            "run again".into(),
            again.why.as_str().into(),
        ]);
    }
    for reused in &reply.reused {
        let why = format!("nothing changed since run {}", reused.reused_from);
        table.row([reused.task.as_str().into(), "be reused".into(), why.into()]);
    }
    table.render("no tasks")
}
