//! Painting: the state in, cells out. Nothing here changes anything or knows a terminal.
//!
//! Every text passes through [`Pen`], which makes it harmless and keeps it inside its area, so that no other place has to
//! remember either.

mod history;
mod log;
mod pen;
mod table;

use ratatui::{buffer::Buffer, layout::Rect};

use self::pen::Pen;
use super::{
    command::{self, COMMANDS, Command, Entry},
    look::{Sign, Tone},
    refusal::refusal,
    state::{Link, Overlay, Screen, State, Typing},
    text,
};
use crate::core::Timestamp;

/// The smallest terminal that has room for anything.
const LEAST: (u16, u16) = (60, 15);

/// Paints the whole screen into a buffer of the area's size.
pub fn draw(state: &State, now: Timestamp, area: Rect, buffer: &mut Buffer) {
    let mut pen = Pen::new(buffer, state.look, area);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "petit needs {}x{}; this is {}x{}",
            LEAST.0, LEAST.1, area.width, area.height
        );
        pen.text(0, 0, Tone::Plain, &text);
        return;
    }
    titles(state, &mut pen);
    let banner = state.banner(now);
    if let Some(banner) = &banner {
        pen.text(0, 1, Tone::Bad, banner);
    }
    let top = 1 + u16::from(banner.is_some());
    let mut body = pen.part(0, top, area.width, area.height - top - 1);
    match state.screen {
        Screen::Log => log::draw(state, now, &mut body),
        Screen::History => history::draw(state, now, &mut body),
        Screen::Live
        | Screen::Jobs
        | Screen::Job
        | Screen::Run
        | Screen::Sync
        | Screen::File
        | Screen::Runs
        | Screen::Sql => {
            table::draw(state, &state.sections(now), &mut body);
        }
    }
    if let Some(overlay) = &state.overlay {
        draw_overlay(state, overlay, &mut body);
    }
    last_line(state, &mut pen.part(0, area.height - 1, area.width, 1));
}

fn titles(state: &State, pen: &mut Pen<'_>) {
    let mut x = 0;
    let tabs = [
        Screen::Live,
        Screen::Jobs,
        Screen::Run,
        Screen::Log,
        Screen::Sync,
        Screen::History,
    ];
    for (at, screen) in tabs.into_iter().enumerate() {
        let shown = screen == state.screen.tab();
        // The brackets say where one is also where reversed is not seen.
        let text = match shown {
            true => format!("[{} {}]", at + 1, screen.title()),
            false => format!(" {} {} ", at + 1, screen.title()),
        };
        x = pen.text(x, 0, if shown { Tone::Heading } else { Tone::Muted }, &text);
    }
    let (sign, tone, text) = match (&state.link, &state.status) {
        (Link::Up, Some(status)) if status.sync.is_synced() => (Sign::Done, Tone::Good, "in sync"),
        (Link::Up, Some(_)) => (Sign::Attention, Tone::Bad, "not in sync"),
        (Link::Up | Link::Connecting, _) => (Sign::Waiting, Tone::Muted, "asking"),
        (Link::Down { .. }, _) => (Sign::Attention, Tone::Bad, "no daemon"),
    };
    let sign = state.look.sign(sign);
    let room = usize::from(pen.width()).saturating_sub(usize::from(x) + 1);
    let text = format!("{sign} {text}");
    pen.text_right(0, tone, if text::width(&text) <= room { &text } else { sign });
}

/// What is typed, what was just said, or what can be done here.
fn last_line(state: &State, pen: &mut Pen<'_>) {
    if let Some(input) = &state.input {
        let prompt = match input.typing {
            Typing::Filter => "/",
            Typing::Sql => "SQL: ",
            Typing::Export => "write rows into (.csv, .parquet): ",
            Typing::Keep => "keep this view as: ",
        };
        let x = pen.text(0, 0, Tone::Active, prompt);
        // Of a long text the end is seen, where one types.
        let room = usize::from(pen.width().saturating_sub(x + 1));
        let typed = text::clean(&input.text);
        let behind = typed.char_indices().map(|(at, _)| &typed[at..]);
        let seen = behind
            .into_iter()
            .find(|rest| text::width(rest) <= room)
            .unwrap_or_default();
        let x = pen.text(x, 0, Tone::Plain, seen);
        pen.reverse(x, 0, 1);
        return;
    }
    if let Some(notice) = &state.notice {
        pen.text(0, 0, if notice.bad { Tone::Bad } else { Tone::Active }, &notice.text);
        return;
    }
    let mut x = 0;
    let filter = &state.place().filter;
    if !filter.is_empty() {
        x = pen.text(x, 0, Tone::Active, &format!("/{filter}  "));
    }
    let hints = COMMANDS
        .iter()
        .filter(|entry| entry.hint && entry.applies(state.screen));
    // How to learn the rest, and how to leave, is always told.
    let (always, hints): (Vec<_>, Vec<_>) =
        hints.partition(|entry| matches!(entry.command, Command::Help | Command::Quit));
    let always: Vec<String> = always.into_iter().map(hint).collect();
    let always = always.join("  ");
    pen.text_right(0, Tone::Plain, &always);
    let room = usize::from(pen.width()).saturating_sub(text::width(&always) + 2);
    for entry in hints {
        // A command that cannot run is dim and in brackets; `?` says why.
        let (tone, text) = match refusal(entry.command, state) {
            Some(_) => (Tone::Muted, format!("({})", hint(entry))),
            None => (Tone::Plain, hint(entry)),
        };
        if usize::from(x) + text::width(&text) > room {
            break;
        }
        x = pen.text(x, 0, tone, &text) + 2;
    }
}

fn hint(entry: &Entry) -> String {
    let keys = entry.key_names();
    format!("{} {}", keys.split(' ').next().unwrap_or_default(), entry.name)
}

fn draw_overlay(state: &State, overlay: &Overlay, pen: &mut Pen<'_>) {
    pen.clear();
    match overlay {
        Overlay::Views { cursor } => {
            pen.text(
                0,
                0,
                Tone::Heading,
                "views that were kept: Enter asks again, Esc leaves",
            );
            let views = &state.past.views;
            let height = usize::from(pen.height()).saturating_sub(1);
            let top = table::top(*cursor, views.len(), height);
            for (y, (at, view)) in (1..).zip(views.iter().enumerate().skip(top).take(height)) {
                pen.fitted(1, y, 20, Tone::Plain, &view.name);
                pen.text(23, y, Tone::Muted, &format!("{} {}", view.question, view.filter));
                if at == *cursor {
                    pen.reverse(0, y, pen.width());
                }
            }
        }
        Overlay::Confirm { question, .. } => {
            let mut y = 1;
            for line in question {
                pen.text(2, y, Tone::Plain, line);
                y += 1;
            }
            pen.text(2, y + 1, Tone::Heading, "y does it; any other key does not");
        }
        Overlay::Commands { text, cursor } => {
            let x = pen.text(0, 0, Tone::Heading, "commands: ");
            let x = pen.text(x, 0, Tone::Plain, text);
            pen.reverse(x, 0, 1);
            let found = command::find(text, state.screen);
            let height = usize::from(pen.height()).saturating_sub(1);
            let top = table::top(*cursor, found.len(), height);
            for (y, (at, entry)) in (1..).zip(found.iter().enumerate().skip(top).take(height)) {
                let refused = refusal(entry.command, state);
                let tone = if refused.is_some() { Tone::Muted } else { Tone::Plain };
                pen.text(1, y, tone, &format!("{:<14} {:<15}", entry.key_names(), entry.name));
                let help = match refused {
                    Some(reason) => format!("{} (not now: {reason})", entry.help),
                    None => entry.help.to_owned(),
                };
                pen.text(32, y, tone, &help);
                if at == *cursor {
                    pen.reverse(0, y, pen.width());
                }
            }
            if found.is_empty() {
                pen.text(1, 1, Tone::Muted, "no command is called that");
            }
        }
    }
}
