//! What leaves the screens: a row's name for the clipboard, a job's file for the editor, what is shown for the pager.

use crate::{
    core::Timestamp,
    tui::{
        lend::Errand,
        message::Effect,
        screen::{self, Target},
        state::{Screen, State},
    },
};
use std::path::Path;

impl State {
    /// What names the row that the cursor is on, as other commands take it; on a log, the line.
    pub(in crate::tui) fn copied(&self, now: Timestamp) -> Option<String> {
        if self.screen == Screen::Log {
            let line = self.log.line_in_view(self.log_room(now))?;
            return Some(line.text.clone());
        }
        match self.target() {
            Some(Target::Job(job)) => Some(job.to_string()),
            Some(Target::Run { run, .. }) => Some(run.to_string()),
            Some(Target::Attempt(of)) => Some(format!("{} {}", of.run, of.task)),
            Some(Target::Task(task)) => Some(task.to_string()),
            Some(Target::File(file)) => Some(self.path_of(&file)?.display().to_string()),
            Some(Target::Ranked { job: Some(job), .. }) => Some(job.to_string()),
            Some(Target::Sync | Target::Ranked { job: None, .. }) | None => {
                let rows = self.sections(now).into_iter().flat_map(|section| section.rows);
                rows.into_iter().nth(self.place().cursor).map(|row| row.text())
            }
        }
    }

    /// The file to edit, and the line to begin at: that of the mistake, or the one that the cursor is on.
    pub(in crate::tui) fn edited(&self) -> Option<Errand> {
        let file = match (self.screen, self.target()) {
            (_, Some(Target::File(file))) => file,
            (Screen::File, _) => self.open_file.clone()?,
            _ => {
                let job = self.job_in_view()?;
                let open = self.job.as_ref().map(|(detail, _)| &detail.job);
                let open = open.filter(|open| open.id == job);
                open.or_else(|| self.listed_job(&job)).map(|job| job.file.clone())?
            }
        };
        let standing = self.status.as_ref().and_then(|status| status.sync.file(&file));
        let mistake = standing.and_then(|file| file.standing.line);
        let line = self.line_under_cursor().or(mistake).unwrap_or(1);
        Some(Errand::Edit {
            path: self.path_of(&file)?,
            line,
        })
    }

    /// What the pager is given.
    pub(in crate::tui) fn paged(&self, now: Timestamp) -> Option<Errand> {
        if self.screen == Screen::Log {
            return self.log.of.clone().map(Errand::PageLog);
        }
        Some(Errand::Page(match self.screen {
            Screen::Job => self.job.as_ref()?.0.yaml.clone()?,
            Screen::File => self.source.as_ref()?.1.clone(),
            _ => screen::plain(&self.sections(now)),
        }))
    }

    /// Which line of a file's text the cursor is on.
    fn line_under_cursor(&self) -> Option<usize> {
        let mut before = 0;
        for section in self.sections(Timestamp::UNIX_EPOCH) {
            let rows = section.rows.len();
            let at = self.place().cursor.checked_sub(before);
            if section.is_source && section.hidden == 0 && at.is_some_and(|at| at < rows) {
                return at.map(|at| at + 1);
            }
            before += rows;
        }
        None
    }

    fn path_of(&self, file: &str) -> Option<std::path::PathBuf> {
        let status = self.status.as_ref()?;
        Some(Path::new(&status.sync.jobs_dir).join(file))
    }
}

pub(super) fn copy(state: &State, now: Timestamp) -> Vec<Effect> {
    state.copied(now).map(Effect::Copy).into_iter().collect()
}

pub(super) fn edit(state: &State) -> Vec<Effect> {
    state.edited().map(Effect::Lend).into_iter().collect()
}

pub(super) fn page(state: &State, now: Timestamp) -> Vec<Effect> {
    state.paged(now).map(Effect::Lend).into_iter().collect()
}
