//! `petit plan`

use crate::{
    cli::{CliError, Exit, Globals, source},
    control::{Client, ClientError},
    core::harmless::harmless,
    reconcile::Plan,
};

/// Show what the files would change; exits with 2 if they would change anything
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
    let refused = plan.refused.iter().any(|action| !plan.actions.contains(action));
    Ok(match (plan.is_empty(), refused) {
        (true, false) => Exit::Done,
        (true, true) => Exit::Negative,
        (false, _) => Exit::Changes,
    })
}

fn text(plan: &Plan) -> String {
    let known = plan.refused.iter().filter(|action| !plan.actions.contains(action));
    let lines: String = plan
        .actions
        .iter()
        .chain(known)
        .map(|action| format!("{}\n", harmless(action.to_string().as_bytes())))
        .collect();
    if lines.is_empty() {
        "nothing to do: what is active is what the files ask for\n".to_owned()
    } else {
        format!("plan {}\n{lines}", plan.id)
    }
}
