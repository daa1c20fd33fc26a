//! `petit trigger`

use serde_json::{Map, Value, json};

use super::{logs, runs::duration};
use crate::{
    cli::{
        CliError, Exit, Format, Globals,
        globals::Place,
        source::{self, Source},
    },
    control::{Client, Refusal, TriggerRequest},
    core::{
        error_text::chain,
        id::{JobId, RunId},
        state::RunStatus,
    },
    daemon::{DaemonError, Ended, Foreground, ForegroundError, Interrupt, StateDirError},
    scheduler::CommandError,
    view::RunView,
};

/// Run a job now, through the daemon; prints the run's id. With --local, here and without a daemon
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
    /// Without a daemon: run it in the foreground, with the same journal; implies --wait. Ctrl-C ends the run
    #[arg(long)]
    local: bool,
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
    if args.local {
        return local(globals, request, args.follow);
    }
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

/// Runs the job in this process.
fn local(globals: &Globals, request: TriggerRequest, follow: bool) -> Result<Exit, CliError> {
    let place = globals.place()?;
    place.check_trust()?;
    let job = request.job.clone();
    let runtime = super::run::runtime()?;
    let ended = runtime.block_on(async {
        let (foreground, notes) =
            Foreground::start(super::run::options(place.clone(), Interrupt::Stops), request).await?;
        for note in &notes {
            globals.output().remark(note);
        }
        let run = foreground.run();
        let ended = async { foreground.ended().await.map_err(ForegroundError::from) };
        let followed = async {
            match follow {
                true => logs::until_its_end(globals, &Source::stores(&place)?, run, None).await,
                false => Ok(()),
            }
        };
        let (ended, followed) = tokio::join!(ended, followed);
        Ok((run, ended?, followed))
    });
    let (run, ended, followed) = ended.map_err(|error| explain(error, &place, &job))?;
    followed?;
    let exit = print_ended(globals, &Source::stores(&place)?.run(run)?, follow)?;
    Ok(match ended {
        Ended::ByItself => exit,
        Ended::Interrupted => Exit::Interrupted,
    })
}

fn explain(error: ForegroundError, place: &Place, job: &JobId) -> CliError {
    match error {
        ForegroundError::Start(DaemonError::StateDir(StateDirError::Held { .. })) => {
            let held = CliError::new(Exit::Negative, "conflict", chain(&error));
            held.hint("leave `--local` away: then the daemon runs the job")
        }
        ForegroundError::Start(error) => super::run::explain(&error),
        // Naming the jobs that there are is a view's work.
        ForegroundError::Refused(error @ CommandError::UnknownJob(_)) => {
            let known = Source::stores(place).and_then(|stores| stores.job(job));
            known.map_or_else(|unknown| unknown, |_| Refusal::from(error).into())
        }
        ForegroundError::Refused(error) => Refusal::from(error).into(),
        ForegroundError::Unfinished { .. } => CliError::new(Exit::Negative, "conflict", chain(&error))
            .hint("`petit run` goes on with it; --ignore-overlap starts another beside it"),
    }
}

/// Prints the run's id, and waits until it has ended, printing its output if that is asked for, and prints how it ended. Ctrl-C ends the wait and
/// not the run.
pub fn wait(globals: &Globals, client: &Client, run: RunId, follow: bool) -> Result<Exit, CliError> {
    let goes_on = |error: CliError| match error.exit {
        Exit::Interrupted => error.hint(format!("the run goes on: `petit cancel {}` would end it", run)),
        _ => error,
    };
    // Said before the wait: whatever becomes of that, it is known what was waited for.
    match (follow, globals.format) {
        (true, _) => globals.output().remark(&format!("run {run}")),
        (false, Format::Json) => {}
        (false, Format::Text | Format::Github | Format::Sarif | Format::Csv) => {
            globals.print_text(&format!("{run}\n"))?;
        }
    }
    if follow {
        logs::follow(globals, run, None).map_err(goes_on)?;
    }
    let place = globals.place()?;
    let ended = source::block_on(async {
        match client.run(run, true).await {
            Ok(ended) => Ok(ended),
            Err(error) => source::last_word(&place, error.into(), run).await,
        }
    });
    let ended = ended.map_err(goes_on)?;
    print_ended(globals, &ended, follow)
}

/// Prints how a run ended, as the last of what was followed or alone.
fn print_ended(globals: &Globals, ended: &RunView, follow: bool) -> Result<Exit, CliError> {
    let output = globals.output();
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
        globals.print(ended, text)?;
    }
    Ok(if ended.status == RunStatus::Succeeded {
        Exit::Done
    } else {
        Exit::Negative
    })
}
