//! Sections as tables below each other: columns leave by rank when there is too little room, and the cursor stays in view.

use super::pen::Pen;
use crate::tui::{
    look::Tone,
    screen::{Cell, Column, Section, Stretch},
    state::State,
    text,
};

/// Blanks between columns.
const GAP: usize = 2;
/// No column but the last one that grows is wider than this.
const WIDEST: usize = 40;
/// What a column that grows gets at least.
const LEAST_GROWN: usize = 8;

/// A line of the list, before it is known which lines are in view.
enum Line<'a> {
    Title(&'a Section),
    Names(&'a Section, Widths),
    Row(&'a Section, &'a [Cell], Widths, bool),
    /// A part of a row of text that is longer than the screen is wide.
    Piece(Vec<(Tone, String)>, bool),
    Empty(&'a str),
    Hidden(usize),
}

/// The width of each column; none for one that has no room.
type Widths = std::rc::Rc<[Option<u16>]>;

/// Paints the sections with the cursor of the current screen.
pub(super) fn draw(state: &State, sections: &[Section], pen: &mut Pen<'_>) {
    let mut lines = Vec::new();
    let mut cursor_line = 0;
    let mut row_number = 0;
    for section in sections {
        if !section.title.is_empty() {
            lines.push(Line::Title(section));
        }
        let widths = widths(section, usize::from(pen.width()).saturating_sub(1));
        if !section.rows.is_empty() && section.columns.iter().any(|column| !column.name.is_empty()) {
            lines.push(Line::Names(section, widths.clone()));
        }
        for row in &section.rows {
            let here = row_number == state.place().cursor;
            if here {
                cursor_line = lines.len();
            }
            match row.cells.as_slice() {
                [Cell::Text(spans)] if section.wraps => {
                    let pieces = pieces(spans, usize::from(pen.width()).saturating_sub(2));
                    lines.extend(pieces.into_iter().map(|piece| Line::Piece(piece, here)));
                }
                cells => lines.push(Line::Row(section, cells, widths.clone(), here)),
            }
            row_number += 1;
        }
        match (section.rows.is_empty(), section.hidden) {
            (true, 0) if !section.empty.is_empty() => lines.push(Line::Empty(&section.empty)),
            (_, 0) => {}
            (_, hidden) => lines.push(Line::Hidden(hidden)),
        }
    }
    let height = usize::from(pen.height());
    let first = if row_number == 0 {
        0
    } else {
        top(cursor_line, lines.len(), height)
    };
    for (y, line) in (0..pen.height()).zip(lines.iter().skip(first)) {
        match line {
            Line::Title(section) => {
                pen.text(0, y, Tone::Heading, &section.title);
            }
            Line::Names(section, widths) => names(section, widths, y, pen),
            Line::Row(section, cells, widths, here) => {
                row(section, cells, widths, y, pen);
                if *here {
                    pen.reverse(0, y, pen.width());
                }
            }
            Line::Piece(spans, here) => {
                let mut x = 1;
                for (tone, text) in spans {
                    x = pen.text(x, y, *tone, text);
                }
                if *here {
                    pen.reverse(0, y, pen.width());
                }
            }
            Line::Empty(text) => {
                pen.text(1, y, Tone::Muted, text);
            }
            Line::Hidden(count) => {
                let text = format!("{count} hidden by /{}: Esc shows all", state.place().filter);
                pen.text(1, y, Tone::Muted, &text);
            }
        }
    }
}

/// The first line in view, so that the cursor's line stands in the middle where it can.
pub(super) fn top(cursor: usize, lines: usize, height: usize) -> usize {
    cursor.saturating_sub(height / 2).min(lines.saturating_sub(height))
}

/// The last span goes on below; those before it are names, and short.
fn pieces(spans: &[(Tone, String)], room: usize) -> Vec<Vec<(Tone, String)>> {
    let Some(((tone, last), names)) = spans.split_last() else {
        return vec![Vec::new()];
    };
    let indent: usize = names.iter().map(|(_, text)| text::width(&text::clean(text))).sum();
    let mut wrapped = text::wrap(&text::clean(last), room.saturating_sub(indent).max(1)).into_iter();
    let mut first = names.to_vec();
    first.extend(wrapped.next().map(|piece| (*tone, piece)));
    let below = wrapped.map(|piece| vec![(*tone, format!("{}{piece}", " ".repeat(indent)))]);
    std::iter::once(first).chain(below).collect()
}

fn names(section: &Section, widths: &Widths, y: u16, pen: &mut Pen<'_>) {
    let cells: Vec<Cell> = section
        .columns
        .iter()
        .map(|column| Cell::Text(vec![(Tone::Muted, column.name.to_string())]))
        .collect();
    row(section, &cells, widths, y, pen);
}

fn row(section: &Section, cells: &[Cell], widths: &Widths, y: u16, pen: &mut Pen<'_>) {
    let mut x = 1;
    for ((column, cell), width) in section.columns.iter().zip(cells).zip(widths.iter()) {
        let Some(width) = *width else { continue };
        match cell {
            Cell::Text(spans) => {
                let pad = match column.right {
                    true => usize::from(width).saturating_sub(wide(cell)),
                    false => 0,
                };
                let mut part = pen.part(x, y, width, 1);
                let mut at = u16::try_from(pad).unwrap_or(u16::MAX);
                for (tone, text) in spans {
                    at = part.text(at, 0, *tone, text);
                }
            }
            Cell::Bar(stretches) => bar(stretches, &mut pen.part(x, y, width, 1)),
        }
        x = x.saturating_add(width).saturating_add(GAP as u16);
    }
}

/// Paints stretches; one that is not nothing takes a cell at least, and a later one covers an earlier one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "parts of one, times a width of cells"
)]
fn bar(stretches: &[Stretch], pen: &mut Pen<'_>) {
    let width = f64::from(pen.width());
    for stretch in stretches {
        let from = (stretch.from * width).floor().min(width - 1.0).max(0.0) as u16;
        let to = (stretch.to * width).ceil() as u16;
        let sign = pen.look.sign(stretch.sign);
        for x in from..to.min(pen.width()) {
            pen.text(x, 0, stretch.tone, sign);
        }
    }
}

/// Finds the widths: what each column needs, the rest for those that grow, and none for those of the highest ranks when
/// that is too much.
fn widths(section: &Section, room: usize) -> Widths {
    let needs: Vec<usize> = (0..section.columns.len()).map(|at| need(section, at)).collect();
    let mut kept: Vec<bool> = section.columns.iter().map(|_| true).collect();
    let total = |kept: &[bool]| {
        let kept_needs = needs.iter().zip(kept).filter(|(_, kept)| **kept);
        kept_needs
            .map(|(need, _)| need + GAP)
            .sum::<usize>()
            .saturating_sub(GAP)
    };
    while total(&kept) > room {
        let ranked = section
            .columns
            .iter()
            .enumerate()
            .filter(|(at, column)| kept[*at] && column.rank > 0);
        match ranked.max_by_key(|(at, column)| (column.rank, *at)) {
            Some((at, _)) => kept[at] = false,
            None => break,
        }
    }
    let left = room.saturating_sub(total(&kept));
    let width = |(at, column): (usize, &Column)| {
        let width = if column.grows { needs[at] + left } else { needs[at] };
        kept[at].then(|| u16::try_from(width).unwrap_or(u16::MAX))
    };
    section.columns.iter().enumerate().map(width).collect()
}

fn need(section: &Section, at: usize) -> usize {
    let column = &section.columns[at];
    let name = text::width(&column.name);
    if column.grows {
        return name.max(LEAST_GROWN);
    }
    let cells = section.rows.iter().filter_map(|row| row.cells.get(at));
    cells.map(wide).max().unwrap_or(0).max(name).min(WIDEST)
}

fn wide(cell: &Cell) -> usize {
    match cell {
        Cell::Text(spans) => spans.iter().map(|(_, text)| text::width(&text::clean(text))).sum(),
        Cell::Bar(_) => LEAST_GROWN,
    }
}
