//! `petit gc`

use crate::{
    cli::{CliError, Exit, Globals, globals::Place, source::block_on},
    control::{Client, ClientError, GcRequest},
    core::{harmless::harmless, units::bytes_in_words},
    daemon::{self, GcError, journal_path},
    view::{Collected, FromHistory},
};

/// Let go now of what is too old or not needed any more, and say what that freed
///
/// Petit does this by itself a few times a day. Runs and logs go as `retention` in the settings says; what leaves the journal
/// for being old is in the history.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

/// Asks the daemon, or does it here if none runs, and prints what went.
pub fn run(globals: &Globals, args: &Args) -> Result<Exit, CliError> {
    let place = globals.place()?;
    let client = Client::new(&place.state_dir);
    let request = GcRequest { dry_run: args.dry_run };
    let collected = match block_on(async { Ok::<_, CliError>(client.gc(&request).await) })? {
        Ok(collected) => collected,
        Err(ClientError::NoDaemon { .. }) => directly(&place, args.dry_run)?,
        Err(error) => return Err(error.into()),
    };
    globals.print(&collected, || text(&collected, &place))?;
    for note in &collected.notes {
        globals.output().remark(note);
    }
    Ok(Exit::Done)
}

fn directly(place: &Place, dry_run: bool) -> Result<Collected, CliError> {
    if !journal_path(&place.state_dir).exists() {
        return Ok(Collected {
            dry_run,
            notes: vec![format!(
                "there is no journal in {} yet: it begins with `petit run`",
                place.state_dir.display()
            )],
            ..Collected::default()
        });
    }
    let retention = place.settings.retention.clone().unwrap_or_default();
    block_on(daemon::collect(&place.state_dir, retention, dry_run))
}

impl From<GcError> for CliError {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Journal(error) => error.into(),
            #[cfg(feature = "history")]
            GcError::History(error) => error.into(),
            GcError::StateDir(_) | GcError::Folder(_) | GcError::Elsewhere(_) => {
                Self::failed("could not collect everything", &error)
            }
        }
    }
}

fn text(collected: &Collected, place: &Place) -> String {
    if collected.is_empty() {
        return "nothing to let go of: everything that is kept is within the settings, or needed\n".to_owned();
    }
    let Collected {
        dry_run,
        journal,
        history,
        logs,
        notes: _,
    } = collected;
    let retention = place.settings.retention.clone().unwrap_or_default();
    let mut lines = Vec::new();
    let went = counted(&[
        (journal.runs, "run", "runs"),
        (journal.slots, "slot", "slots"),
        (journal.specs, "version", "versions"),
        (journal.reconciles, "reconcile", "reconciles"),
        (journal.facts, "fact", "facts"),
    ]);
    let rest = match dry_run {
        true => String::new(),
        false => format!(
            "; its file is {}{}, {} of it free for new rows",
            bytes_in_words(journal.file_bytes),
            smaller(journal.freed_bytes),
            bytes_in_words(journal.reusable_bytes)
        ),
    };
    // What leaves for the history is not lost.
    let to = if history.is_some() {
        " (the history has them)"
    } else {
        ""
    };
    lines.push((
        "journal",
        format!("{}{rest}", went.map_or_else(|| "nothing".to_owned(), |went| went + to)),
    ));
    if let Some(FromHistory {
        runs,
        slots,
        specs,
        reconciles,
        freed_bytes,
        file_bytes,
    }) = history
    {
        let went = counted(&[
            (*runs, "run", "runs"),
            (*slots, "slot", "slots"),
            (*specs, "version", "versions"),
            (*reconciles, "reconcile", "reconciles"),
        ]);
        let went = went.unwrap_or_else(|| "nothing".to_owned());
        lines.push((
            "history",
            format!(
                "{went}; its file is {}{}; runs are kept {}",
                bytes_in_words(*file_bytes),
                smaller(*freed_bytes),
                retention.runs.in_words()
            ),
        ));
    }
    let of_runs =
        counted(&[(logs.runs, "run", "runs")]).map_or_else(|| "nothing".to_owned(), |runs| format!("those of {runs}"));
    lines.push((
        "logs",
        format!(
            "{of_runs}, {}; they are kept {}",
            bytes_in_words(logs.freed_bytes),
            retention.logs.in_words()
        ),
    ));
    let heading = if *dry_run { "what would go:\n" } else { "what went:\n" };
    let lines = lines
        .iter()
        .map(|(place, what)| format!("  {place:8} {}\n", harmless(what.as_bytes())));
    heading.to_owned() + &lines.collect::<String>()
}

/// What there is of things, in words; `None` if there is nothing.
fn counted(things: &[(u64, &str, &str)]) -> Option<String> {
    let there = things.iter().filter(|(count, _, _)| *count > 0);
    let words: Vec<String> = there
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn smaller(freed: u64) -> String {
    match freed {
        0 => String::new(),
        freed => format!(", {} smaller", bytes_in_words(freed)),
    }
}
