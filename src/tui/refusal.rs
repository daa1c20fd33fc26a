//! Why a command cannot run as things stand: what the hints dim, the help prints, and a key that was pressed is answered with.

use super::{
    command::{COMMANDS, Command, LogCommand, PastCommand},
    past,
    screen::Target,
    state::{Link, Screen, State},
};
use crate::core::{Timestamp, state::RunStatus};

/// Why a command cannot run as things stand.
pub fn refusal(command: Command, state: &State) -> Option<String> {
    let entry = COMMANDS.iter().find(|entry| entry.command == command)?;
    if !entry.applies(state.screen) {
        let screens: Vec<&str> = entry.screens.iter().map(|screen| screen.title()).collect();
        return Some(format!("it belongs to {}", screens.join(", ")));
    }
    let needs_daemon = || match &state.link {
        Link::Up => None,
        Link::Connecting => Some("the daemon has not answered yet".to_owned()),
        Link::Down { .. } => Some("no daemon runs".to_owned()),
    };
    match command {
        Command::Trigger | Command::Pause => needs_daemon().or_else(|| match state.job_in_view() {
            Some(_) => None,
            None => Some("the cursor is on no job".to_owned()),
        }),
        Command::Undo => needs_daemon().or_else(|| match state.undo {
            Some(_) => None,
            None => Some("nothing was paused or resumed here".to_owned()),
        }),
        Command::Cancel => needs_daemon().or_else(|| match state.run_in_view() {
            Some(run) if state.is_going(run) => None,
            Some(_) => Some("the run has ended".to_owned()),
            None => Some("the cursor is on no run".to_owned()),
        }),
        Command::Retry => needs_daemon().or_else(|| match state.run_to_retry() {
            None => Some("the cursor is on no run, nor on a job that has run".to_owned()),
            Some(run) => match run.status {
                RunStatus::Queued | RunStatus::Running => Some("the run is still going".to_owned()),
                RunStatus::Succeeded => Some("the run succeeded: `t` runs the job anew".to_owned()),
                RunStatus::Failed | RunStatus::Cancelled | RunStatus::Interrupted | RunStatus::TimedOut => None,
            },
        }),
        Command::Approve => needs_daemon().or_else(|| match state.waiting_plan() {
            Some(_) => None,
            None => Some("no removal is held".to_owned()),
        }),
        Command::Sync => needs_daemon(),
        Command::Past(PastCommand::ShowSql | PastCommand::Export) if state.shown_sql().is_none() => {
            Some("there is no answer yet".to_owned())
        }
        Command::Past(PastCommand::NextPoint | PastCommand::PreviousPoint)
            if past::instants(state.answer.as_ref()).is_empty() =>
        {
            Some("the chart has no points".to_owned())
        }
        Command::Past(PastCommand::Views) if state.past.views.is_empty() => {
            Some("no view was kept: `m` keeps one".to_owned())
        }
        Command::Copy if state.copied(Timestamp::UNIX_EPOCH).is_none() => Some("the cursor is on nothing".to_owned()),
        Command::Edit if state.edited().is_none() => Some("the cursor is on no job and no file".to_owned()),
        Command::Page if state.paged(Timestamp::UNIX_EPOCH).is_none() => Some("nothing is shown yet".to_owned()),
        Command::Log(LogCommand::NextMatch | LogCommand::PreviousMatch) if state.log.search.is_empty() => {
            Some("there is no search: `/` begins one".to_owned())
        }
        Command::Log(LogCommand::Sideways(_)) if state.log.wrap => {
            Some("long lines go on below: `w` cuts them".to_owned())
        }
        // What the rows of a log and of an answer lead to is theirs to say.
        Command::Enter if matches!(state.screen, Screen::Log | Screen::History | Screen::Sql) => None,
        Command::Enter => match state.target() {
            Some(Target::Task(_)) | None => Some("the cursor is on nothing that opens".to_owned()),
            Some(
                Target::Job(_)
                | Target::Run { .. }
                | Target::Attempt(_)
                | Target::File(_)
                | Target::Sync
                | Target::Ranked { .. },
            ) => None,
        },
        Command::Show(_)
        | Command::Move(_)
        | Command::Back
        | Command::Filter
        | Command::Help
        | Command::Previous
        | Command::Next
        | Command::Log(_)
        | Command::Past(_)
        | Command::Reload
        | Command::Copy
        | Command::Edit
        | Command::Page
        | Command::Quit => None,
    }
}
