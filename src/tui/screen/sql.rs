//! SQL: the query that is asked or typed, and its rows or what is wrong with it.

use super::{Cell, Section, history::ranked, pending};
use crate::{
    core::Timestamp,
    tui::{
        look::Tone,
        state::{State, Typing},
    },
};

pub(super) fn sections(state: &State, now: Timestamp) -> Vec<Section> {
    let typed = state.input.as_ref().filter(|input| input.typing == Typing::Sql);
    let text = typed.map_or(&state.past.sql, |input| &input.text);
    let query = Section {
        empty: "none yet: `;` begins one, such as FROM runs ORDER BY created_at DESC".to_owned(),
        ..Section::lines(
            "query: `;` edits it, Enter runs it",
            (!text.is_empty()).then(|| Cell::from(text.clone())),
        )
    };
    let Some(asked) = &state.past.asked else {
        return vec![query];
    };
    let rows = match (&state.past.rows, state.problem()) {
        (_, Some(problem)) => Section::lines("refused", problem.lines().map(|line| Cell::toned(Tone::Bad, line))),
        (Some((of, answer)), None) if of == asked => {
            let note = answer.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            let title = format!("rows {}{note}", answer.rows.len());
            ranked(title, answer, "no rows".to_owned(), now)
        }
        (_, None) => Section::new("rows", &[], pending(state)),
    };
    vec![query, rows]
}
