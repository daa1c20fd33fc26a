//! What a file says against the version of its job that is active: the lines that differ, with a few around them.
//!
//! Both are texts as somebody wrote them: the journal keeps the text of the file beside each version. A version is known by
//! what it means, so that of a file in which only comments changed the older text is kept, and the difference shows just
//! those comments although nothing is to be applied.

use similar::{ChangeTag, TextDiff};

use super::{Cell, Section};
use crate::tui::look::Tone;

/// How many equal lines stand around those that differ.
const AROUND: usize = 3;

/// The difference as a section: `-` stands before what is active only, `+` before what the file says.
pub(super) fn section(active: &str, file: &str) -> Section {
    let lines = lines(active, file);
    let changed = lines.iter().filter(|line| line.mark != ' ' && line.mark != '@').count();
    Section {
        empty: "the file is the version that is active, letter by letter".to_owned(),
        ..Section::lines(
            match changed {
                0 => "difference".to_owned(),
                count => format!("difference in {count} lines: - is active, + is in the file"),
            },
            lines.into_iter().map(|line| {
                let tone = match line.mark {
                    '-' => Tone::Bad,
                    '+' => Tone::Good,
                    _ => Tone::Muted,
                };
                Cell::Text(vec![(tone, format!("{} ", line.mark)), (tone, line.text)])
            }),
        )
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    mark: char,
    text: String,
}

fn lines(active: &str, file: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(active, file);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(AROUND) {
        if let (Some(first), Some(last)) = (group.first(), group.last()) {
            let (old, new) = (first.old_range().start, first.new_range().start);
            let (old_end, new_end) = (last.old_range().end, last.new_range().end);
            lines.push(Line {
                mark: '@',
                text: format!(
                    "lines {}-{old_end} of what is active, {}-{new_end} of the file",
                    old + 1,
                    new + 1
                ),
            });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let mark = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            // A line that differs by its end alone would look as if it did not differ.
            let text = match change.value().strip_suffix('\n') {
                Some(text) => text.to_owned(),
                None => format!("{} (no line end)", change.value()),
            };
            lines.push(Line { mark, text });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(active: &str, file: &str) -> Vec<String> {
        lines(active, file)
            .into_iter()
            .map(|line| format!("{}{}", line.mark, line.text))
            .collect()
    }

    #[test]
    fn a_change_stands_among_the_lines_around_it() {
        let active = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        assert_eq!(
            shown(active, &active.replace("5\n", "five\nand a half\n")),
            [
                "@lines 2-8 of what is active, 2-9 of the file",
                " 2",
                " 3",
                " 4",
                "-5",
                "+five",
                "+and a half",
                " 6",
                " 7",
                " 8",
            ]
        );
        assert_eq!(shown(active, active), [""; 0]);
        assert_eq!(
            shown("a", "a\n"),
            [
                "@lines 1-1 of what is active, 1-1 of the file",
                "-a (no line end)",
                "+a"
            ]
        );
    }

    proptest! {
        #[test]
        fn every_line_is_told_of_the_side_it_is_on(active in "([ab]\n){0,9}", file in "([abc]\n){0,9}") {
            let found = lines(&active, &file);
            let count = |mark| found.iter().filter(|line| line.mark == mark).count();
            let grown = file.lines().count() as i64 - active.lines().count() as i64;
            prop_assert_eq!(count('+') as i64 - count('-') as i64, grown);
            prop_assert_eq!(found.is_empty(), active == file);
        }
    }
}
