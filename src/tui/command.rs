//! What can be done on the screens: one table with each command's name, keys and help.
//!
//! A key becomes a command before anything else happens, so that the hints, the help and the keys cannot disagree. Whether a
//! command can run as things stand is [`super::refusal`]'s answer, which the hints dim and the help prints.

use crossterm::event::KeyCode;

use super::{past::Shift, state::Screen};

/// Something that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Go to a screen.
    Show(Screen),
    /// Move the cursor.
    Move(Step),
    /// Open what the cursor is on.
    Enter,
    /// Go back to where one came from.
    Back,
    /// Narrow the rows, or search a log.
    Filter,
    /// List the commands.
    Help,
    /// Run a job now.
    Trigger,
    /// Pause a job, or end its pause.
    Pause,
    /// Take the last pause or resume back.
    Undo,
    /// Cancel a run.
    Cancel,
    /// Retry a run from what failed.
    Retry,
    /// The neighbour before: of a run, of an attempt.
    Previous,
    /// The neighbour after.
    Next,
    /// What only a log's screen does.
    Log(LogCommand),
    /// What only History does.
    Past(PastCommand),
    /// Look at the files now.
    Sync,
    /// Carry out the removals that are held.
    Approve,
    /// Ask again for what is shown.
    Reload,
    /// Copy what names the row.
    Copy,
    /// Edit the job's file.
    Edit,
    /// Page through what is shown.
    Page,
    /// Leave.
    Quit,
}

/// What can be done with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogCommand {
    /// Follow its end, or stop.
    Follow,
    /// Show the times of its lines, or hide them.
    Times,
    /// Let long lines go on below, or leave the screen at the right.
    Wrap,
    /// Its first error.
    FirstError,
    /// The next match.
    NextMatch,
    /// The match before.
    PreviousMatch,
    /// Scroll sideways.
    Sideways(Side),
}

/// What can be done with the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastCommand {
    /// The next question.
    NextQuestion,
    /// The question before.
    PreviousQuestion,
    /// Move the window of time, or change its width.
    Shift(Shift),
    /// The next point of the chart.
    NextPoint,
    /// The point before.
    PreviousPoint,
    /// The query behind what is shown.
    ShowSql,
    /// Type a query.
    Sql,
    /// Write the rows into a file.
    Export,
    /// Keep the question and the filter under a name.
    Keep,
    /// The views that were kept.
    Views,
}

/// How far the cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A row up.
    Up,
    /// A row down.
    Down,
    /// A screen up.
    PageUp,
    /// A screen down.
    PageDown,
    /// To the first row.
    First,
    /// To the last row.
    Last,
}

/// Where a log scrolls to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Towards the beginning of the lines.
    Left,
    /// Towards their end.
    Right,
}

/// A row of the table.
#[derive(Debug)]
pub struct Entry {
    /// The command.
    pub command: Command,
    /// Its name, as the hints show it.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [KeyCode],
    /// What it does, in a few words.
    pub help: &'static str,
    /// Where it makes sense; nothing means everywhere.
    pub screens: &'static [Screen],
    /// Whether the last line shows it.
    pub hint: bool,
}

use KeyCode::Char;

const JOB_SCREENS: &[Screen] = &[Screen::Live, Screen::Jobs, Screen::Job, Screen::Run, Screen::Log];
const RUN_SCREENS: &[Screen] = &[Screen::Live, Screen::Jobs, Screen::Job, Screen::Run, Screen::Log];
const PAST_SCREENS: &[Screen] = &[Screen::History, Screen::Runs, Screen::Sql];

const fn entry(command: Command, name: &'static str, keys: &'static [KeyCode], help: &'static str) -> Entry {
    Entry {
        command,
        name,
        keys,
        help,
        screens: &[],
        hint: false,
    }
}

impl Entry {
    const fn on(mut self, screens: &'static [Screen]) -> Self {
        self.screens = screens;
        self
    }

    const fn hinted(mut self) -> Self {
        self.hint = true;
        self
    }

    /// Whether it makes sense on a screen.
    pub fn applies(&self, screen: Screen) -> bool {
        self.screens.is_empty() || self.screens.contains(&screen)
    }

    /// Its keys as people read them.
    pub fn key_names(&self) -> String {
        self.keys.iter().map(|&key| key_name(key)).collect::<Vec<_>>().join(" ")
    }
}

/// Every command.
pub static COMMANDS: &[Entry] = &[
    entry(Command::Trigger, "trigger", &[Char('t')], "run the job now")
        .on(JOB_SCREENS)
        .hinted(),
    entry(Command::Pause, "pause", &[Char('p')], "pause the job, or resume it")
        .on(JOB_SCREENS)
        .hinted(),
    entry(
        Command::Undo,
        "undo",
        &[Char('U')],
        "take the last pause or resume back",
    ),
    entry(Command::Cancel, "cancel", &[Char('x')], "cancel the run; asks first")
        .on(RUN_SCREENS)
        .hinted(),
    entry(
        Command::Retry,
        "retry",
        &[Char('r')],
        "run again what failed in the run; asks first",
    )
    .on(RUN_SCREENS)
    .hinted(),
    entry(
        Command::Approve,
        "approve",
        &[Char('a')],
        "carry out the removals that are held; asks first",
    )
    .on(&[Screen::Sync])
    .hinted(),
    entry(Command::Sync, "sync", &[Char('s')], "look at the files now")
        .on(&[Screen::Sync, Screen::File])
        .hinted(),
    entry(
        Command::Past(PastCommand::NextQuestion),
        "question",
        &[KeyCode::Tab],
        "the next question to the history",
    )
    .on(&[Screen::History])
    .hinted(),
    entry(
        Command::Past(PastCommand::PreviousQuestion),
        "question back",
        &[KeyCode::BackTab],
        "the question before",
    )
    .on(&[Screen::History]),
    entry(
        Command::Past(PastCommand::Shift(Shift::Earlier)),
        "earlier",
        &[Char(',')],
        "move the window of time half of itself back",
    )
    .on(&[Screen::History, Screen::Runs])
    .hinted(),
    entry(
        Command::Past(PastCommand::Shift(Shift::Later)),
        "later",
        &[Char('.')],
        "move the window of time half of itself on",
    )
    .on(&[Screen::History, Screen::Runs]),
    entry(
        Command::Past(PastCommand::Shift(Shift::Narrower)),
        "zoom in",
        &[Char('+'), Char('=')],
        "make the window of time half as wide",
    )
    .on(&[Screen::History, Screen::Runs])
    .hinted(),
    entry(
        Command::Past(PastCommand::Shift(Shift::Wider)),
        "zoom out",
        &[Char('-')],
        "make the window of time twice as wide",
    )
    .on(&[Screen::History, Screen::Runs]),
    entry(
        Command::Past(PastCommand::NextPoint),
        "point",
        &[Char(']')],
        "choose the next point of the chart; Enter shows its runs",
    )
    .on(&[Screen::History])
    .hinted(),
    entry(
        Command::Past(PastCommand::PreviousPoint),
        "point back",
        &[Char('[')],
        "choose the point before",
    )
    .on(&[Screen::History]),
    entry(
        Command::Past(PastCommand::ShowSql),
        "show SQL",
        &[Char('S')],
        "show the query behind what is shown",
    )
    .on(&[Screen::History, Screen::Runs]),
    entry(
        Command::Past(PastCommand::Sql),
        "SQL",
        &[Char(';')],
        "type a query to the history, which can only read",
    )
    .on(PAST_SCREENS)
    .hinted(),
    entry(
        Command::Past(PastCommand::Export),
        "export",
        &[Char('E')],
        "write all rows into a new .csv or .parquet file",
    )
    .on(PAST_SCREENS)
    .hinted(),
    entry(
        Command::Past(PastCommand::Keep),
        "keep",
        &[Char('m')],
        "keep the question and the filter under a name",
    )
    .on(&[Screen::History]),
    entry(
        Command::Past(PastCommand::Views),
        "views",
        &[Char('M')],
        "choose one of the views that were kept",
    )
    .on(&[Screen::History]),
    entry(
        Command::Previous,
        "previous",
        &[Char('[')],
        "the run or the attempt before",
    )
    .on(&[Screen::Run, Screen::Log])
    .hinted(),
    entry(Command::Next, "next", &[Char(']')], "the run or the attempt after")
        .on(&[Screen::Run, Screen::Log])
        .hinted(),
    entry(
        Command::Log(LogCommand::Follow),
        "follow",
        &[Char('f')],
        "follow the log's end, or stop",
    )
    .on(&[Screen::Log])
    .hinted(),
    entry(
        Command::Log(LogCommand::FirstError),
        "first error",
        &[Char('!')],
        "go to the first line that looks like an error",
    )
    .on(&[Screen::Log])
    .hinted(),
    entry(
        Command::Log(LogCommand::Times),
        "times",
        &[Char('T')],
        "show when each line was said",
    )
    .on(&[Screen::Log]),
    entry(
        Command::Log(LogCommand::Wrap),
        "wrap",
        &[Char('w')],
        "let long lines go on below, or cut them",
    )
    .on(&[Screen::Log])
    .hinted(),
    entry(
        Command::Log(LogCommand::NextMatch),
        "next match",
        &[Char('n')],
        "the next line that matches the search",
    )
    .on(&[Screen::Log]),
    entry(
        Command::Log(LogCommand::PreviousMatch),
        "previous match",
        &[Char('N')],
        "the matching line before",
    )
    .on(&[Screen::Log]),
    entry(
        Command::Log(LogCommand::Sideways(Side::Left)),
        "left",
        &[KeyCode::Left, Char('h')],
        "scroll the log to the left",
    )
    .on(&[Screen::Log]),
    entry(
        Command::Log(LogCommand::Sideways(Side::Right)),
        "right",
        &[KeyCode::Right, Char('l')],
        "scroll the log to the right",
    )
    .on(&[Screen::Log]),
    entry(
        Command::Enter,
        "open",
        &[KeyCode::Enter, KeyCode::Right, Char('l')],
        "open what the cursor is on",
    )
    .hinted(),
    entry(
        Command::Back,
        "back",
        &[KeyCode::Esc, KeyCode::Left, Char('h')],
        "go back to the same row, or drop the filter",
    )
    .hinted(),
    entry(
        Command::Filter,
        "filter",
        &[Char('/')],
        "narrow the rows; in a log, search; in History, ask for less",
    )
    .hinted(),
    entry(
        Command::Help,
        "help",
        &[Char('?'), Char(':')],
        "all commands: type to find one, Enter runs it",
    )
    .hinted(),
    entry(Command::Quit, "quit", &[Char('q')], "leave").hinted(),
    entry(
        Command::Copy,
        "copy",
        &[Char('y')],
        "copy the row's job, run or path, or the log's line, into the clipboard",
    ),
    entry(
        Command::Edit,
        "edit",
        &[Char('e')],
        "open the job's file in $VISUAL or $EDITOR, at the right line",
    ),
    entry(
        Command::Page,
        "pager",
        &[Char('o')],
        "open what is shown in $PAGER: the log, the file, the rows",
    ),
    entry(Command::Reload, "reload", &[Char('u')], "ask again for what is shown"),
    entry(Command::Move(Step::Up), "up", &[KeyCode::Up, Char('k')], "a row up"),
    entry(
        Command::Move(Step::Down),
        "down",
        &[KeyCode::Down, Char('j')],
        "a row down",
    ),
    entry(
        Command::Move(Step::PageUp),
        "page up",
        &[KeyCode::PageUp],
        "a screen up",
    ),
    entry(
        Command::Move(Step::PageDown),
        "page down",
        &[KeyCode::PageDown, Char(' ')],
        "a screen down",
    ),
    entry(
        Command::Move(Step::First),
        "top",
        &[Char('g'), KeyCode::Home],
        "the first row",
    ),
    entry(
        Command::Move(Step::Last),
        "bottom",
        &[Char('G'), KeyCode::End],
        "the last row; a log follows again",
    ),
    entry(
        Command::Show(Screen::Live),
        "Live",
        &[Char('1')],
        "what runs, waits, comes and failed",
    ),
    entry(Command::Show(Screen::Jobs), "Jobs", &[Char('2')], "all jobs"),
    entry(
        Command::Show(Screen::Run),
        "Run",
        &[Char('3')],
        "one run: its attempts over time and its outputs",
    ),
    entry(Command::Show(Screen::Log), "Log", &[Char('4')], "what an attempt said"),
    entry(
        Command::Show(Screen::Sync),
        "Sync",
        &[Char('5')],
        "the files against the active jobs",
    ),
    entry(
        Command::Show(Screen::History),
        "History",
        &[Char('6')],
        "questions to the past",
    ),
];

/// The command of a key on a screen. Keys that mean something special there come first in the table.
pub fn of_key(key: KeyCode, screen: Screen) -> Option<Command> {
    COMMANDS
        .iter()
        .find(|entry| entry.applies(screen) && entry.keys.contains(&key))
        .map(|entry| entry.command)
}

/// The commands that a typed text finds: those of this screen first, and of these the ones that hold every word of it
/// before those whose name only has its letters in this order.
pub fn find(text: &str, screen: Screen) -> Vec<&'static Entry> {
    let text = text.to_lowercase();
    let how = |entry: &Entry| {
        let (name, help) = (entry.name.to_lowercase(), entry.help.to_lowercase());
        let mut words = text.split_whitespace();
        match words.all(|word| name.contains(word) || help.contains(word)) {
            true if name.starts_with(text.trim()) => Some(0),
            true => Some(1),
            false => has_letters(&name, &text).then_some(2),
        }
    };
    let mut found: Vec<(bool, u8, &Entry)> = COMMANDS
        .iter()
        .filter_map(|entry| Some((!entry.applies(screen), how(entry)?, entry)))
        .collect();
    found.sort_by_key(|(elsewhere, how, _)| (*elsewhere, *how));
    found.into_iter().map(|(_, _, entry)| entry).collect()
}

/// Whether a name has these letters in their order, others in between left aside. Blanks do not count.
fn has_letters(name: &str, letters: &str) -> bool {
    let mut rest = name.chars();
    let mut letters = letters.chars().filter(|c| !c.is_whitespace());
    letters.all(|letter| rest.any(|c| c == letter))
}

fn key_name(key: KeyCode) -> String {
    match key {
        Char(' ') => "Space".to_owned(),
        Char(c) => c.to_string(),
        KeyCode::PageUp => "PgUp".to_owned(),
        KeyCode::PageDown => "PgDn".to_owned(),
        KeyCode::BackTab => "Shift-Tab".to_owned(),
        KeyCode::Enter => "Enter".to_owned(),
        KeyCode::Esc => "Esc".to_owned(),
        KeyCode::Tab => "Tab".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_has_a_name_of_its_own_a_key_and_help() {
        let names: BTreeSet<&str> = COMMANDS.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        for entry in COMMANDS {
            assert!(!entry.keys.is_empty() && !entry.help.is_empty(), "{}", entry.name);
            let screen = entry.screens.first().copied().unwrap_or(Screen::Live);
            assert_eq!(of_key(entry.keys[0], screen), Some(entry.command), "{}", entry.name);
        }
    }

    #[test]
    fn typing_finds_commands_by_name_and_help() {
        let found: Vec<&str> = find("held remov", Screen::Live)
            .iter()
            .map(|entry| entry.name)
            .collect();
        assert_eq!(found, ["approve"]);
        assert_eq!(find("", Screen::Live).len(), COMMANDS.len());
    }

    #[test]
    fn a_few_letters_of_a_name_find_it_after_those_that_hold_the_word() {
        let found = |text| -> Vec<&str> { find(text, Screen::Log).iter().map(|entry| entry.name).collect() };
        assert_eq!(found("frer"), ["first error"]);
        assert_eq!(found("trg"), ["trigger"]);
        assert_eq!(found("ne")[0], "next", "a name that begins so stands before others");
        assert!(found("xyzzy").is_empty());
    }
}
