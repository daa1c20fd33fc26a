//! The only place that changes the state: a message and the time go in, what to do next comes out.
//!
//! It asks nobody anything and waits for nothing. What the current screen shows is asked for when the screen is entered,
//! and again at the next tick after something happened that may have changed it; so a storm of events costs a few
//! requests a second at most. An answer that was on its way while something happened is shown, and asked for again.
//!
//! [`keys`] turns keys into commands and carries them out; [`walk`] moves between screens and rows; [`loading`] asks for
//! what is shown and takes it in; [`log`] and [`history`] hold what only those screens do, [`retry`] a command that is asked
//! about before it is confirmed, and [`out`] what leaves the screens for the clipboard, the editor and the pager.

mod history;
mod keys;
mod loading;
mod log;
mod out;
mod pause;
mod retry;
mod walk;

use chrono::TimeDelta;

use super::{
    message::{Effect, Message, Want},
    state::{Link, Notice, State},
};
use crate::core::Timestamp;

/// How long the last line says something.
const NOTICE: TimeDelta = TimeDelta::seconds(6);

/// Takes a message, and returns what is to be done.
pub fn update(state: &mut State, message: Message, now: Timestamp) -> Vec<Effect> {
    match message {
        Message::Key(key) => keys::on_key(state, key, now),
        Message::Resize(columns, rows) => {
            state.size = (columns, rows);
            log::fill(state, now)
        }
        Message::Tick => {
            if state.notice.as_ref().is_some_and(|notice| notice.until <= now) {
                state.notice = None;
            }
            loading::weigh(state, now);
            loading::request(state)
        }
        Message::Loaded(want, result) => loading::on_loaded(state, want, result),
        Message::Connected => {
            state.link = Link::Up;
            state.fresh.clear();
            state.loading.iter_mut().for_each(|loading| loading.outdated = true);
            loading::request(state)
        }
        Message::Lost(message) => {
            state.link = match &state.link {
                Link::Connecting => Link::Down {
                    message,
                    since: now,
                    lost: false,
                },
                Link::Up => Link::Down {
                    message,
                    since: now,
                    lost: true,
                },
                Link::Down { since, lost, .. } => Link::Down {
                    message,
                    since: *since,
                    lost: *lost,
                },
            };
            Vec::new()
        }
        Message::Live(live) => {
            loading::outdate(state, &live);
            Vec::new()
        }
        Message::Log(of, news) if state.log.of.as_ref() == Some(&of) => log::on_news(state, news, now),
        Message::Log(..) => Vec::new(),
        Message::LogFailed(of, problem) => {
            if state.log.of.as_ref() == Some(&of) {
                state.log.problem = Some(problem);
                state.log.searching = None;
            }
            Vec::new()
        }
        Message::Returned(result) => {
            if let Err(problem) = result {
                say(state, problem, true, now);
            }
            // What was edited may be what is shown.
            state.fresh.retain(Want::is_of_the_past);
            loading::request(state)
        }
        Message::RetryPlanned(run, result) => {
            retry::on_planned(state, run, result, now);
            Vec::new()
        }
        Message::Obeyed(result) => {
            match result {
                Ok(text) => say(state, text, false, now),
                Err(text) => say(state, text, true, now),
            }
            // Not every command becomes an event: a pause does not.
            state
                .fresh
                .retain(|want| want.is_of_the_past() || matches!(want, Want::Source(_)));
            loading::request(state)
        }
    }
}

pub(super) fn say(state: &mut State, text: impl Into<String>, bad: bool, now: Timestamp) {
    state.notice = Some(Notice {
        text: text.into(),
        bad,
        until: now + NOTICE,
    });
}
