//! `petit trigger`

use serde_json::{Map, Value, json};

use super::{logs, runs::duration};
use crate::{
    cli::{CliError, Exit, Format, Globals, source},
    control::{Client, TriggerRequest},
    core::{
        id::{JobId, RunId},
        state::RunStatus,
    },
};

/// Run a job now, through the daemon; prints the run's id
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job
    job: JobId,
    /// An input of the run, as KEY=VALUE; may be given several times
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parse_param)]
    params: Vec<(String, String)>,
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

fn parse_param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Triggers, and waits if asked to.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let mut params = Map::new();
    for (key, value) in &args.params {
        if params.insert(key.clone(), Value::String(value.clone())).is_some() {
            return Err(CliError::usage(format!("the parameter `{key}` is given twice")));
        }
    }
    let request = TriggerRequest {
        job: args.job.clone(),
        params,
        ignore_overlap: args.ignore_overlap,
        by: source::user(),
    };
    let client = source::client(globals)?;
    let made = source::block_on(client.trigger(&request))?;
    for note in &made.notes {
        globals.output().remark(note);
    }
    if !args.wait && !args.follow {
        globals.print(&made, || format!("{}\n", made.run))?;
        return Ok(Exit::Done);
    }
    wait(globals, &client, made.run, args.follow)
}

/// Waits until a run has ended, printing its output if that is asked for, and prints how it ended. Ctrl-C ends the wait and
/// not the run.
pub fn wait(globals: &Globals, client: &Client, run: RunId, follow: bool) -> Result<Exit, CliError> {
    let output = globals.output();
    let goes_on = |error: CliError| match error.exit {
        Exit::Interrupted => error.hint(format!("the run goes on: `petit cancel {}` would end it", run)),
        _ => error,
    };
    if follow {
        logs::follow(globals, run, None).map_err(goes_on)?;
    }
    let ended = source::block_on(client.run(run, true)).map_err(goes_on)?;
    let text = || {
        let took = ended
            .duration_ms
            .map(|millis| format!(" after {}", duration(millis)))
            .unwrap_or_default();
        let reason = ended
            .reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        format!("{} {}{took}{reason}\n", ended.id, output.run_status(ended.status))
    };
    if follow && globals.format == Format::Json {
        // The last of the objects of which there was one a line.
        globals.print_text(&format!("{}\n", json!(ended)))?;
    } else {
        globals.print(&ended, text)?;
    }
    Ok(if ended.status == RunStatus::Succeeded {
        Exit::Done
    } else {
        Exit::Negative
    })
}
