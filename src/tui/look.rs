//! How things look: a few tones instead of colours, and signs that say the same without any colour.
//!
//! Only the terminal's own palette is used, blue and red rather than green and red, and without colour nothing but
//! `Color::Reset`: bold, dim and reversed still tell things apart. Where the locale is not UTF-8 every sign is ASCII.

use ratatui::style::{Color, Modifier, Style};

use crate::{
    core::state::{RunStatus, TaskState},
    reconcile::{Health, SyncState},
    view::JobView,
};

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether signs keep to ASCII.
    pub ascii: bool,
    /// Whether there is colour.
    pub color: bool,
}

impl Look {
    /// The look for a locale: what `LC_ALL`, `LC_CTYPE` or `LANG` says, the first that is set.
    pub fn new(color: bool, locale: Option<&str>) -> Self {
        let unicode = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self { ascii: !unicode, color }
    }

    /// The style of a tone.
    pub fn style(self, tone: Tone) -> Style {
        let (color, modifier) = match tone {
            Tone::Plain => (Color::Reset, Modifier::empty()),
            Tone::Good => (Color::Blue, Modifier::empty()),
            Tone::Bad => (Color::Red, Modifier::BOLD),
            Tone::Active => (Color::Cyan, Modifier::empty()),
            Tone::Muted => (Color::Reset, Modifier::DIM),
            Tone::Heading => (Color::Reset, Modifier::BOLD),
        };
        let color = if self.color { color } else { Color::Reset };
        Style::new().fg(color).add_modifier(modifier)
    }

    /// A sign in the form that the terminal can show.
    pub fn sign(self, sign: Sign) -> &'static str {
        let (unicode, ascii) = match sign {
            Sign::Done => ("✓", "+"),
            Sign::Failed => ("✗", "x"),
            Sign::Running => ("▶", ">"),
            Sign::Waiting => ("…", "."),
            Sign::Paused => ("⏸", "="),
            Sign::NotRun => ("⊘", "-"),
            Sign::Attention => ("!", "!"),
            Sign::None => ("·", "_"),
            Sign::Bar => ("█", "#"),
            Sign::Thin => ("─", "~"),
            Sign::Cut => ("…", "~"),
            Sign::Into => ("└─", "`-"),
            Sign::Critical => ("◆", "*"),
        };
        if self.ascii { ascii } else { unicode }
    }

    /// The mark of the point that is chosen.
    pub fn chosen(self) -> char {
        if self.ascii { '@' } else { '█' }
    }

    /// The marks of a chart's lines, which differ by shape first.
    pub fn mark(self, line: usize) -> char {
        let marks = if self.ascii {
            ['o', '+', 'x', '*', '#', '%']
        } else {
            ['●', '▲', '■', '◆', '○', '△']
        };
        marks[line % marks.len()]
    }
}

/// How much a text matters, and in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
    /// Something goes on.
    Active,
    /// Of less interest.
    Muted,
    /// Above other things.
    Heading,
}

/// What stands beside a text, so that no colour is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Succeeded, in sync.
    Done,
    /// Failed, invalid.
    Failed,
    /// Goes on.
    Running,
    /// Waits.
    Waiting,
    /// Paused.
    Paused,
    /// Cancelled, skipped, disabled.
    NotRun,
    /// Somebody should look.
    Attention,
    /// Nothing there.
    None,
    /// A bar's stretch of running.
    Bar,
    /// A bar's stretch of waiting.
    Thin,
    /// A text goes on.
    Cut,
    /// A task below another.
    Into,
    /// Something that decided when all of it ended.
    Critical,
}

/// The sign and tone of a run's status.
pub fn of_run(status: RunStatus) -> (Sign, Tone) {
    match status {
        RunStatus::Queued => (Sign::Waiting, Tone::Muted),
        RunStatus::Running => (Sign::Running, Tone::Active),
        RunStatus::Succeeded => (Sign::Done, Tone::Good),
        RunStatus::Failed | RunStatus::TimedOut => (Sign::Failed, Tone::Bad),
        RunStatus::Cancelled => (Sign::NotRun, Tone::Muted),
        RunStatus::Interrupted => (Sign::Attention, Tone::Bad),
    }
}

/// The sign and tone of a task's state.
pub fn of_task(state: TaskState) -> (Sign, Tone) {
    match state {
        TaskState::Pending | TaskState::Waiting | TaskState::Retrying => (Sign::Waiting, Tone::Muted),
        TaskState::Running => (Sign::Running, Tone::Active),
        TaskState::Succeeded => (Sign::Done, Tone::Good),
        TaskState::Failed => (Sign::Failed, Tone::Bad),
        TaskState::Skipped | TaskState::UpstreamFailed | TaskState::Cancelled => (Sign::NotRun, Tone::Muted),
        TaskState::Interrupted => (Sign::Attention, Tone::Bad),
    }
}

/// The sign and tone of a file or a job against the active set.
pub fn of_sync(sync: SyncState, health: Health) -> (Sign, Tone) {
    match (sync, health) {
        (_, Health::Failing) => (Sign::Failed, Tone::Bad),
        (_, Health::Degraded) => (Sign::Attention, Tone::Bad),
        (SyncState::Synced, Health::Ok) => (Sign::Done, Tone::Good),
        (SyncState::OutOfSync | SyncState::Unknown, Health::Ok) => (Sign::Waiting, Tone::Muted),
        (SyncState::Invalid | SyncState::Conflict | SyncState::Blocked, Health::Ok) => (Sign::Attention, Tone::Bad),
        (SyncState::Held | SyncState::Paused, Health::Ok) => (Sign::Paused, Tone::Active),
    }
}

/// The sign and tone of a job in a listing: what somebody should know of it first.
pub fn of_job(job: &JobView) -> (Sign, Tone) {
    let (sign, tone) = of_sync(job.sync, job.health);
    if sign != Sign::Done {
        (sign, tone)
    } else if job.paused {
        (Sign::Paused, Tone::Active)
    } else if !job.enabled {
        (Sign::NotRun, Tone::Muted)
    } else {
        job.last_run
            .as_ref()
            .map_or((Sign::None, Tone::Muted), |run| of_run(run.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNS: [Sign; 13] = [
        Sign::Done,
        Sign::Failed,
        Sign::Running,
        Sign::Waiting,
        Sign::Paused,
        Sign::NotRun,
        Sign::Attention,
        Sign::None,
        Sign::Bar,
        Sign::Thin,
        Sign::Cut,
        Sign::Into,
        Sign::Critical,
    ];

    #[test]
    fn the_locale_decides_whether_signs_keep_to_ascii() {
        let cases = [
            (None, true),
            (Some("C"), true),
            (Some("en_GB.UTF-8"), false),
            (Some("C.utf8"), false),
        ];
        for (locale, ascii) in cases {
            let look = Look::new(true, locale);
            assert_eq!(look.ascii, ascii, "{locale:?}");
            assert!(
                !ascii || SIGNS.iter().all(|&sign| look.sign(sign).is_ascii()),
                "{locale:?}"
            );
        }
    }

    #[test]
    fn without_colour_no_style_has_any() {
        let tones = [
            Tone::Plain,
            Tone::Good,
            Tone::Bad,
            Tone::Active,
            Tone::Muted,
            Tone::Heading,
        ];
        let look = Look::new(false, None);
        for tone in tones {
            assert_eq!(look.style(tone).fg, Some(Color::Reset), "{tone:?}");
            assert_eq!(look.style(tone).bg, None, "{tone:?}");
        }
    }
}
