//! How results are printed: aligned columns for people, JSON for programs.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    core::harmless::harmless,
    core::state::{RunStatus, TaskState},
};

/// In which form a command prints its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(alias = "human")]
    Text,
    /// For programs: an array for a listing, an object for a single thing.
    Json,
    /// `validate` only: annotations of a GitHub workflow.
    Github,
    /// `validate` only: SARIF 2.1.0, for code scanning.
    Sarif,
    /// `history` and `sql` only: comma-separated values.
    Csv,
}

/// Whether to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that has colours, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

impl ColorChoice {
    /// Whether output to `stream` is coloured.
    pub fn applies_to(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                stream.is_terminal() && !set("NO_COLOR") && !dumb
            }
        }
    }
}

/// Where a command's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The form.
    pub format: Format,
    /// Whether standard output is coloured.
    pub color: bool,
    /// Whether standard error is coloured.
    pub color_err: bool,
    /// Whether remarks on standard error are left out.
    pub quiet: bool,
    /// How many columns the terminal has, if standard output is one.
    pub width: Option<usize>,
}

impl Output {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub fn print<T: Serialize + ?Sized>(&self, value: &T, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self.format {
            Format::Text | Format::Github | Format::Sarif | Format::Csv => stdout.write_all(text().as_bytes())?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut stdout, value)?;
                stdout.write_all(b"\n")?;
            }
        }
        stdout.flush()
    }

    /// A remark beside the result, for people: what a program finds on standard error is an error.
    pub fn remark(&self, text: &str) {
        if !self.quiet && self.format != Format::Json {
            let _ = writeln!(io::stderr(), "{}", harmless(text.as_bytes()));
        }
    }

    /// What keeps the result from being the whole of it. Never left out: for programs it is an object on standard error, in
    /// the form of an error, while the exit code says that there is a result.
    #[cfg(feature = "history")]
    pub fn warn_incomplete(&self, text: &str) {
        let text = match self.format {
            Format::Json => serde_json::json!({ "code": "incomplete", "message": text, "hints": [] }).to_string(),
            Format::Text | Format::Github | Format::Sarif | Format::Csv => harmless(text.as_bytes()),
        };
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// `text` in a style, if standard output is coloured.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// A run's status with its sign.
    pub fn run_status(&self, status: RunStatus) -> String {
        let (sign, style) = match status {
            RunStatus::Queued => ("…", MUTED),
            RunStatus::Running => ("▶", ACTIVE),
            RunStatus::Succeeded => ("✓", GOOD),
            RunStatus::Failed | RunStatus::TimedOut => ("✗", BAD),
            RunStatus::Cancelled => ("⊘", MUTED),
            RunStatus::Interrupted => ("!", BAD),
        };
        self.paint(style, &format!("{sign} {status}"))
    }

    /// A task's state with its sign.
    pub fn task_state(&self, state: TaskState) -> String {
        let (sign, style) = match state {
            TaskState::Pending | TaskState::Waiting | TaskState::Retrying => ("…", MUTED),
            TaskState::Running => ("▶", ACTIVE),
            TaskState::Succeeded => ("✓", GOOD),
            TaskState::Failed => ("✗", BAD),
            TaskState::Skipped | TaskState::UpstreamFailed | TaskState::Cancelled => ("⊘", MUTED),
            TaskState::Interrupted => ("!", BAD),
        };
        self.paint(style, &format!("{sign} {state}"))
    }
}

/// Blue and vermilion-like colours of the terminal's own palette, which more eyes tell apart than green and red.
pub const GOOD: Style = AnsiColor::Blue.on_default();
/// Something wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something going on.
pub const ACTIVE: Style = AnsiColor::Cyan.on_default();
/// Something of less interest.
pub const MUTED: Style = Style::new().dimmed();
/// A heading.
pub const HEADING: Style = Style::new().bold();

/// Rows in aligned columns, with a heading. Cells may carry styles; control characters in them are made harmless. On a
/// terminal that is too narrow the last column gives way, whose texts are the longest and the least missed.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    width: Option<usize>,
}

/// How narrow the last column may get.
const LEAST_WIDTH: usize = 12;

/// A cell: what is shown, and how.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    shown: String,
}

impl Cell {
    /// A text from anywhere.
    pub fn plain(text: impl AsRef<str>) -> Self {
        let text = harmless(text.as_ref().as_bytes());
        Self {
            shown: text.clone(),
            text,
        }
    }

    /// A text of ours that may be painted: its width is that of the text without its styles.
    pub fn painted(shown: String) -> Self {
        Self {
            text: without_styles(&shown),
            shown,
        }
    }

    /// What is shown in so many columns; a cell with styles is short and stays whole.
    fn within(&self, room: Option<usize>) -> Cow<'_, str> {
        match room {
            Some(room) if self.text.width() > room && self.shown == self.text => {
                let mut left = room - 1;
                let fits = self.text.chars().take_while(|c| {
                    let width = c.width().unwrap_or(0);
                    let fits = width <= left;
                    left = left.saturating_sub(width);
                    fits
                });
                Cow::Owned(fits.chain(['…']).collect())
            }
            Some(_) | None => Cow::Borrowed(&self.shown),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::plain(text)
    }
}

fn without_styles(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A style of ours is ESC [ … m.
            chars.by_ref().find(|&c| c == 'm');
        } else {
            plain.push(c);
        }
    }
    plain
}

impl Table {
    /// An empty table with these headings.
    pub fn new(output: &Output, headings: &[&str]) -> Self {
        let heading = |text: &&str| Cell {
            text: (*text).to_owned(),
            shown: output.paint(HEADING, text),
        };
        Self {
            rows: vec![headings.iter().map(heading).collect()],
            width: output.width,
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text, a line for each row; `empty` if there are none.
    pub fn render(&self, empty: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{empty}\n");
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.width())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let room = self.width.map(|width| width.saturating_sub(before).max(LEAST_WIDTH));
        let mut text = String::new();
        for row in &self.rows {
            let last = row.len().saturating_sub(1);
            for (column, cell) in row.iter().enumerate() {
                if column < last {
                    text.push_str(&cell.shown);
                    text.extend(std::iter::repeat_n(' ', widths[column] - cell.text.width() + 2));
                } else {
                    text.push_str(&cell.within(room));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

/// Rows as objects whose fields stand in the order of the columns, in which a map would not keep them.
#[cfg(feature = "history")]
#[derive(Debug)]
pub struct Objects<'a, N> {
    /// The names of the columns.
    pub names: &'a [N],
    /// A value for each column.
    pub rows: &'a [Vec<serde_json::Value>],
}

#[cfg(feature = "history")]
impl<N: AsRef<str>> Serialize for Objects<'_, N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// One row, with its names.
        struct Object<'a, N>(&'a [N], &'a [serde_json::Value]);

        impl<N: AsRef<str>> Serialize for Object<'_, N> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(AsRef::as_ref).zip(self.1))
            }
        }

        serializer.collect_seq(self.rows.iter().map(|row| Object(self.names, row)))
    }
}

/// Comma-separated values as RFC 4180 has them, with a heading. Nothing is an empty field, a text is as it is.
#[cfg(feature = "history")]
pub fn csv(names: &[impl AsRef<str>], rows: &[Vec<serde_json::Value>]) -> String {
    let field = |text: &str| {
        // An empty text is told from nothing by its quotes.
        if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let line = |fields: Vec<String>| fields.join(",") + "\r\n";
    let heading = line(names.iter().map(|name| field(name.as_ref())).collect());
    let rows = rows.iter().map(|row| {
        let fields = row.iter().map(|value| match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => field(text),
            other => field(&other.to_string()),
        });
        line(fields.collect())
    });
    heading + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output {
        format: Format::Text,
        color: false,
        color_err: false,
        quiet: false,
        width: None,
    };

    #[test]
    fn columns_align_with_and_without_colour() {
        for output in [PLAIN, Output { color: true, ..PLAIN }] {
            let mut table = Table::new(&output, &["job", "status", "next"]);
            table.row([
                "a".into(),
                Cell::painted(output.run_status(RunStatus::Succeeded)),
                "x".into(),
            ]);
            table.row(["longer".into(), "-".into(), "y".into()]);
            let text = without_styles(&table.render("nothing"));
            assert_eq!(
                text,
                "job     status       next\na       ✓ succeeded  x\nlonger  -            y\n"
            );
        }
    }

    #[test]
    fn in_a_narrow_terminal_the_last_column_gives_way() {
        let output = Output {
            width: Some(24),
            ..PLAIN
        };
        let mut table = Table::new(&output, &["job", "reason"]);
        table.row(["日本".into(), "a reason that is much too long".into()]);
        table.row(["nightly".into(), "short".into()]);
        assert_eq!(
            table.render("nothing"),
            "job      reason\n日本     a reason that …\nnightly  short\n"
        );
    }

    #[test]
    #[cfg(feature = "history")]
    fn csv_quotes_what_would_not_read_back() {
        let rows = [vec![
            serde_json::json!("a,\"b\""),
            serde_json::Value::Null,
            serde_json::json!(1.5),
        ]];
        assert_eq!(csv(&["x", "y", "z"], &rows), "x,y,z\r\n\"a,\"\"b\"\"\",,1.5\r\n");
    }

    #[test]
    #[cfg(feature = "history")]
    fn objects_keep_the_order_of_the_columns() {
        let rows = [
            vec![serde_json::json!(1), serde_json::json!("x")],
            vec![serde_json::Value::Null, serde_json::json!(2)],
        ];
        let objects = Objects {
            names: &["z", "a"],
            rows: &rows,
        };
        let text = serde_json::to_string(&objects).expect("JSON");
        assert_eq!(text, r#"[{"z":1,"a":"x"},{"z":null,"a":2}]"#);
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(&PLAIN, &["job"]).render("no jobs"), "no jobs\n");
    }
}
