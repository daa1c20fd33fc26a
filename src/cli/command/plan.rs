//! `petit plan`

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::{Client, ClientError},
    core::harmless::harmless,
    reconcile::Plan,
};

/// Show what the files would change; exits with 2 if they would change a job, else with 1 if a file cannot be followed
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the plan: against the running daemon, or without one against the journal.
pub fn run(globals: &Globals, _: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let client = Client::new(&place.state_dir);
    let plan = match source::block_on::<_, ClientError>(client.plan()) {
        Ok(plan) => plan,
        Err(error) if error.exit == Exit::NoDaemon => {
            globals
                .output()
                .remark("no daemon runs: this is planned against the journal");
            source::Stores::open(&place)?.plan()?
        }
        Err(error) => return Err(error),
    };
    globals.print(&plan, || text(&plan))?;
    Ok(match (plan.changes_jobs(), plan.refused.is_empty()) {
        (true, _) => Exit::Changes,
        (false, true) => Exit::Done,
        (false, false) => Exit::Negative,
    })
}

fn text(plan: &Plan) -> String {
    if plan.is_empty() {
        return "nothing to do: what is active is what the files ask for\n".to_owned();
    }
    let lines = plan
        .actions
        .iter()
        .map(|action| harmless(action.to_string().as_bytes()));
    let lines: String = lines.map(|line| line + "\n").collect();
    format!("plan {}\n{lines}", plan.id)
}
