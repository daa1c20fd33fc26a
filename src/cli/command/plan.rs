//! `petit plan`

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

use crate::{
    cli::{
        CliError, Exit, Globals,
        output::{BAD, HEADING, MUTED, Output},
        source,
    },
    control::{Client, ClientError},
    core::harmless::harmless,
    execution::capacity,
    reconcile::{Action, plan::FieldChange},
    view::{
        PlanView,
        consequences::{ClockChange, Collision, Direction, Fate, Fires, JobChange, Touched},
    },
};

/// Show what the files would change; exits with 2 if they would change a job, else with 1 if a file cannot be followed
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the plan: against the running daemon, or without one against the journal.
pub fn run(globals: &Globals, _: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let client = Client::new(&place.state_dir);
    let view = match source::block_on::<_, ClientError>(client.plan()) {
        Ok(view) => view,
        Err(error) if error.exit == Exit::NoDaemon => {
            globals
                .output()
                .remark("no daemon runs: this is planned against the journal");
            let capacity = capacity::of_machine(&place.settings);
            source::Stores::open(&place)?.plan(&capacity)?
        }
        Err(error) => return Err(error),
    };
    globals.print(&view, || text(&view, &globals.output()))?;
    Ok(match (view.plan.changes_jobs(), view.plan.refused.is_empty()) {
        (true, _) => Exit::Changes,
        (false, true) => Exit::Done,
        (false, false) => Exit::Negative,
    })
}

/// So many instants are shown in a line.
const INSTANTS: usize = 3;
/// So many collisions are shown; JSON has more.
const COLLISIONS: usize = 10;
/// So much of a value is shown.
const VALUE_CHARS: usize = 60;

fn text(view: &PlanView, output: &Output) -> String {
    let plan = &view.plan;
    if plan.is_empty() {
        return "nothing to do: what is active is what the files ask for\n".to_owned();
    }
    let mut lines = vec![output.paint(HEADING, &format!("plan {}: {}", plan.id, summary(&plan.actions)))];
    for action in &plan.actions {
        let line = harmless(action.to_string().as_bytes());
        let job = match action {
            Action::Add { job, .. } | Action::Update { job, .. } | Action::Remove { job, .. } => job,
            Action::Invalid { .. } | Action::Conflict { .. } | Action::Block { .. } | Action::Hold { .. } => {
                lines.push(output.paint(BAD, &format!("! {line}")));
                continue;
            }
        };
        let change = view.changes.iter().find(|change| change.job == *job);
        lines.push(line);
        lines.extend(change.into_iter().flat_map(|change| of_job(change, output)));
    }
    lines.extend(collisions(&view.collisions, output));
    if !view.complete {
        lines.push(output.paint(
            MUTED,
            "more fires than could be counted: the numbers are those of the first hours",
        ));
    }
    if let Some(wait) = waiting(view) {
        lines.push(wait);
    }
    lines.join("\n") + "\n"
}

/// How many of each there are.
fn summary(actions: &[Action]) -> String {
    let mut counts = [0_usize; 5];
    let names = ["to add", "to update", "to remove", "refused", "held"];
    for action in actions {
        let place = match action {
            Action::Add { .. } => 0,
            Action::Update { .. } => 1,
            Action::Remove { .. } => 2,
            Action::Invalid { .. } | Action::Conflict { .. } | Action::Block { .. } => 3,
            Action::Hold { .. } => 4,
        };
        counts[place] += 1;
    }
    let counted = counts.iter().zip(names).filter(|(count, _)| **count > 0);
    let counted: Vec<String> = counted.map(|(count, name)| format!("{count} {name}")).collect();
    counted.join(", ")
}

fn waiting(view: &PlanView) -> Option<String> {
    let held = view.plan.actions.iter().any(Action::waits_for_approval);
    // Applying the rest makes another plan of it.
    held.then(|| match view.plan.changes_jobs() {
        true => "what is held can be approved when the rest is applied: `petit plan` names it then".to_owned(),
        false => format!("`petit sync --approve {}` lets the held removals happen", view.plan.id),
    })
}

fn of_job(change: &JobChange, output: &Output) -> Vec<String> {
    let fields = change.fields.iter().map(field);
    let fires = [("+", "gained", &change.gained), ("-", "lost", &change.lost)];
    let fires = fires
        .into_iter()
        .filter(|(_, _, fires)| fires.count > 0)
        .map(|(sign, what, fires)| format!("{sign} {}", self::fires(fires, what)));
    let clocks = change.clock_changes.iter().map(clocks);
    let note = change.note.iter().map(|note| output.paint(MUTED, note));
    let lines = fields.chain(fires).chain(clocks).chain(note);
    lines.map(|line| format!("    {line}")).collect()
}

fn field(change: &FieldChange) -> String {
    let value = |value: &Option<Value>| match value {
        Some(value) => shortened(&harmless(value.to_string().as_bytes())),
        None => "(nothing)".to_owned(),
    };
    format!("{}: {} -> {}", change.field, value(&change.old), value(&change.new))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn fires(fires: &Fires, what: &str) -> String {
    let zone = fires.timezone.as_deref().unwrap_or("UTC");
    let s = if fires.count == 1 { "" } else { "s" };
    format!(
        "{} fire{s} {what} in the next 24 h: {} ({zone})",
        fires.count,
        instants(&fires.at, fires.count)
    )
}

/// The first few of many instants.
fn instants(at: &[String], count: u64) -> String {
    let mut shown: Vec<String> = at.iter().take(INSTANTS).map(|at| on_the_clock(at)).collect();
    if count > shown.len() as u64 {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// The day and the time, without the offset: the zone stands beside it.
fn on_the_clock(at: &str) -> String {
    DateTime::parse_from_rfc3339(at).map_or_else(|_| at.to_owned(), |at| at.format("%a %F %T").to_string())
}

/// The same where no zone stands beside it.
fn with_offset(at: &str) -> String {
    DateTime::parse_from_rfc3339(at).map_or_else(|_| at.to_owned(), |at| at.format("%a %F %T %:z").to_string())
}

fn clocks(change: &ClockChange) -> String {
    let way = match change.direction {
        Direction::Forward => "forward",
        Direction::Back => "back",
    };
    let time = |at: NaiveDateTime| at.format("%H:%M").to_string();
    let touched: Vec<String> = change.touched.iter().map(touched).collect();
    let touched = if touched.is_empty() {
        "no fire of it is touched".to_owned()
    } else {
        touched.join("; ")
    };
    format!(
        "! the clocks of {} go {way} from {} to {} on {}: {touched}",
        change.timezone,
        time(change.clock_before),
        time(change.clock_after),
        change.clock_before.format("%a %F")
    )
}

fn touched(touched: &Touched) -> String {
    let mut times: Vec<String> = touched
        .times
        .iter()
        .take(INSTANTS)
        .map(|at| at.format("%T").to_string())
        .collect();
    if touched.count > times.len() as u64 {
        times.push("…".to_owned());
    }
    let instead = touched.instead.as_deref().map(on_the_clock).unwrap_or_default();
    let fate = match touched.fate {
        Fate::Moved => format!("does not exist, and fires at {instead}"),
        Fate::Skipped => "does not exist, and is skipped".to_owned(),
        Fate::Once => "comes twice, and fires the first time".to_owned(),
        Fate::Twice => "comes twice, and fires both times".to_owned(),
    };
    format!("{} {fate}", times.join(", "))
}

fn collisions(collisions: &[Collision], output: &Output) -> Vec<String> {
    let one = |collision: &Collision| {
        let jobs: Vec<&str> = collision.jobs.iter().map(|job| job.as_str()).collect();
        let times = match collision.count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let text = format!(
            "! new on the same second: {} want {} slots of the pool `{}`, which has {}: {times} in the next 24 h, first {}",
            jobs.join(", "),
            collision.wanted,
            collision.pool,
            collision.slots,
            collision.at.first().map(|at| with_offset(at)).unwrap_or_default()
        );
        output.paint(BAD, &harmless(text.as_bytes()))
    };
    let mut lines: Vec<String> = collisions.iter().take(COLLISIONS).map(one).collect();
    if collisions.len() > COLLISIONS {
        lines.push(output.paint(
            BAD,
            &format!("! and {} more such meetings", collisions.len() - COLLISIONS),
        ));
    }
    lines
}
