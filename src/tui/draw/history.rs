//! The questions as tabs, the filter, the chart, and the ranked rows under it.

use std::ops::Range;

use ratatui::{
    style::Style,
    symbols::Marker,
    text::Line,
    widgets::{Axis, Chart, Dataset, GraphType, Widget},
};

use super::{pen::Pen, table};
use crate::{
    core::Timestamp,
    tui::{
        look::Tone,
        past,
        state::{QUESTIONS, State},
        text,
    },
    view::{Answer, ColumnKind, Series},
};

/// So many lines a chart has at most; more cannot be told apart.
const MOST_LINES: usize = 6;

pub(super) fn draw(state: &State, now: Timestamp, pen: &mut Pen<'_>) {
    let filter = &state.place().filter;
    let chips: Vec<String> = filter.split_whitespace().map(|part| format!("<{part}>")).collect();
    let chips = chips.join(" ");
    let as_of = state.answer.as_ref();
    let as_of = as_of.map_or(String::new(), |answer| {
        format!("as of {}", text::clock(answer.as_of, now))
    });
    // What is asked matters more than what else could be.
    let beside = text::width(&text::clean(&chips)) + text::width(&as_of) + 2;
    let mut x = draw_tabs(state.question, usize::from(pen.width()).saturating_sub(beside), pen);
    x = pen.text(x + 1, 0, Tone::Active, &chips);
    let mut top = 1;
    if let Some(answer) = &state.answer {
        pen.text(x + 1, 0, Tone::Muted, &as_of);
        if let Some(note) = &answer.note {
            pen.text(0, 1, Tone::Active, &format!("! {note}"));
            top += 1;
        }
        let height = pen.height().saturating_sub(top);
        let chart = (height / 2).min(16);
        if answer.series.iter().any(|series| !series.points.is_empty()) && chart >= 5 {
            draw_chart(state, answer, now, &mut pen.part(0, top, pen.width(), chart));
            top += chart;
        }
    }
    let height = pen.height().saturating_sub(top);
    table::draw(state, &state.sections(now), &mut pen.part(0, top, pen.width(), height));
}

/// The questions in so much room, and the column behind them.
fn draw_tabs(chosen: usize, room: usize, pen: &mut Pen<'_>) -> u16 {
    let shown = tabs_within(chosen, room);
    let more = |hidden: bool, sign| if hidden { sign } else { "" };
    let mut x = pen.text(0, 0, Tone::Muted, more(shown.start > 0, "<"));
    for at in shown.clone() {
        let (tone, tab) = match at == chosen {
            true => (Tone::Heading, format!("[{}]", QUESTIONS[at])),
            false => (Tone::Muted, format!(" {} ", QUESTIONS[at])),
        };
        x = pen.text(x, 0, tone, &tab);
    }
    pen.text(x, 0, Tone::Muted, more(shown.end < QUESTIONS.len(), ">"))
}

/// Which tabs fit: the chosen one, as many as there is room for after it, then those before it.
fn tabs_within(chosen: usize, room: usize) -> Range<usize> {
    // Two columns are for the signs that there are more, and each name stands between two.
    let wide = |tabs: &Range<usize>| tabs.clone().map(|at| QUESTIONS[at].len() + 2).sum::<usize>() + 2;
    let mut shown = chosen..chosen + 1;
    while shown.end < QUESTIONS.len() && wide(&(shown.start..shown.end + 1)) <= room {
        shown.end += 1;
    }
    while shown.start > 0 && wide(&(shown.start - 1..shown.end)) <= room {
        shown.start -= 1;
    }
    shown
}

fn draw_chart(state: &State, answer: &Answer, now: Timestamp, pen: &mut Pen<'_>) {
    let drawn = &answer.series[..answer.series.len().min(MOST_LINES)];
    let mut x = 0;
    for (at, series) in drawn.iter().enumerate() {
        let mark = state.look.mark(at);
        x = pen.text(x, 0, tone(at), &format!("{mark} {}  ", series.label));
    }
    let more = answer.series.len() - drawn.len();
    if more > 0 {
        pen.text(x, 0, Tone::Muted, &format!("and {more} more"));
    }
    let points: Vec<Vec<(f64, f64)>> = drawn.iter().map(points).collect();
    let chosen = state
        .past
        .point
        .and_then(|point| past::instants(Some(answer)).get(point).copied());
    if let Some(chosen) = chosen {
        let values = drawn
            .iter()
            .flat_map(|series| series.points.iter().filter(|(at, _)| *at == chosen));
        let values: Vec<String> = values.map(|(_, value)| text::number(*value, kind_of(answer))).collect();
        let said = format!("at {}: {}", text::clock(chosen, now), values.join(", "));
        pen.text_right(0, Tone::Heading, &said);
    }
    let all = || points.iter().flatten();
    let Some((from, to)) = bounds(all().map(|point| point.0)) else {
        return;
    };
    let highest = all().map(|point| point.1).fold(0.0, f64::max);
    let highest = if highest > 0.0 { highest } else { 1.0 };
    let kind = kind_of(answer);
    let axis = state.look.style(Tone::Muted);
    let datasets = points.iter().enumerate().map(|(at, points)| {
        Dataset::default()
            .marker(Marker::Custom(state.look.mark(at)))
            .graph_type(GraphType::Scatter)
            .style(state.look.style(tone(at)))
            .data(points)
    });
    let marked: Vec<(f64, f64)> = match chosen {
        Some(chosen) => drawn.iter().flat_map(points_at(chosen)).collect(),
        None => Vec::new(),
    };
    // Drawn last, so that it lies above the others.
    let datasets = datasets.chain([Dataset::default()
        .marker(Marker::Custom(state.look.chosen()))
        .graph_type(GraphType::Scatter)
        .style(state.look.style(Tone::Heading))
        .data(&marked)]);
    let label = |text: String| Line::raw(text::clean(&text));
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds of the calendar, which came from whole ones"
    )]
    let at = |seconds: f64| chrono::DateTime::from_timestamp(seconds as i64, 0).unwrap_or(now);
    let chart = Chart::new(datasets.collect())
        .x_axis(
            Axis::default()
                .style(axis)
                .bounds([from, to])
                .labels([label(text::clock(at(from), now)), label(text::clock(at(to), now))]),
        )
        .y_axis(
            Axis::default()
                .style(axis)
                .bounds([0.0, highest])
                .labels([label("0".to_owned()), label(text::number(highest, kind))]),
        )
        .legend_position(None)
        .style(Style::new());
    let mut part = pen.part(0, 1, pen.width(), pen.height().saturating_sub(1));
    let ascii = state.look.ascii;
    let (area, buffer) = part.cells();
    chart.render(area, buffer);
    if ascii {
        // The axes are lines of a box, and the widget knows no others.
        for position in area.positions() {
            let cell = &mut buffer[position];
            let plain = match cell.symbol() {
                "│" => "|",
                "─" => "-",
                "└" => "+",
                _ => continue,
            };
            cell.set_symbol(plain);
        }
    }
}

fn tone(line: usize) -> Tone {
    [Tone::Good, Tone::Active, Tone::Plain][line % 3]
}

#[expect(clippy::cast_precision_loss, reason = "seconds of the calendar fit")]
fn points(series: &Series) -> Vec<(f64, f64)> {
    let finite = series.points.iter().filter(|(_, value)| value.is_finite());
    finite.map(|(at, value)| (at.timestamp() as f64, *value)).collect()
}

/// The points of one instant.
#[expect(clippy::cast_precision_loss, reason = "seconds of the calendar fit")]
fn points_at(chosen: Timestamp) -> impl Fn(&Series) -> Vec<(f64, f64)> {
    move |series| {
        let finite = series
            .points
            .iter()
            .filter(|(at, value)| *at == chosen && value.is_finite());
        finite.map(|(at, value)| (at.timestamp() as f64, *value)).collect()
    }
}

/// The least and the greatest, apart from each other.
fn bounds(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let least = values.clone().reduce(f64::min)?;
    let greatest = values.reduce(f64::max)?;
    Some(if greatest > least {
        (least, greatest)
    } else {
        (least - 1.0, greatest + 1.0)
    })
}

/// What the chart's values are: what most columns of numbers are.
fn kind_of(answer: &Answer) -> ColumnKind {
    let measures = [ColumnKind::Millis, ColumnKind::Bytes, ColumnKind::Ratio];
    let found = measures
        .into_iter()
        .find(|kind| answer.columns.iter().any(|column| column.kind == *kind));
    found.unwrap_or(ColumnKind::Count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_tab_is_there_in_any_room() {
        for chosen in 0..QUESTIONS.len() {
            for room in 0..200 {
                let shown = tabs_within(chosen, room);
                assert!(shown.contains(&chosen), "{chosen} in {room}: {shown:?}");
            }
            assert_eq!(tabs_within(chosen, 1_000), 0..QUESTIONS.len());
        }
    }
}
