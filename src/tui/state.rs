//! Everything that the screens show, as plain values, and the questions that both drawing and deciding ask of it.
//!
//! Only [`super::update`] changes it. What was loaded is kept as it came from the views; texts of strangers are made
//! harmless where they are drawn, or, in a log, where they arrive.

use crate::{
    core::{
        Timestamp,
        id::{JobId, RunId},
    },
    view::{Answer, JobDetail, JobView, Question, RunView, StatusView},
};

use super::{
    log::{LogView, MARK_WIDTH, Room, TIME_WIDTH},
    look::Look,
    message::{Effect, Order, Want},
    past::Past,
    screen::{self, Section, Target},
    text,
};

/// The screens. Some of them are reached by going in: a job from Jobs, a file from Sync, runs and SQL from History.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// What runs, waits, comes and failed.
    Live,
    /// All jobs.
    Jobs,
    /// One job.
    Job,
    /// One run.
    Run,
    /// What an attempt said.
    Log,
    /// The files against the active jobs.
    Sync,
    /// One file.
    File,
    /// Questions to the past.
    History,
    /// The runs behind a row or a point of an answer.
    Runs,
    /// A question in SQL.
    Sql,
}

impl Screen {
    /// Every screen.
    pub const ALL: [Self; 10] = [
        Self::Live,
        Self::Jobs,
        Self::Job,
        Self::Run,
        Self::Log,
        Self::Sync,
        Self::File,
        Self::History,
        Self::Runs,
        Self::Sql,
    ];

    /// Its name.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Jobs => "Jobs",
            Self::Job => "Job",
            Self::Run => "Run",
            Self::Log => "Log",
            Self::Sync => "Sync",
            Self::File => "File",
            Self::History => "History",
            Self::Runs => "Runs",
            Self::Sql => "SQL",
        }
    }

    /// The screen of the row of titles that it belongs to.
    pub const fn tab(self) -> Self {
        match self {
            Self::Job => Self::Jobs,
            Self::File => Self::Sync,
            Self::Runs | Self::Sql => Self::History,
            Self::Live | Self::Jobs | Self::Run | Self::Log | Self::Sync | Self::History => self,
        }
    }
}

/// The questions that History asks, in the order of its tabs.
pub const QUESTIONS: [&str; Question::ALL.len()] = {
    let mut names = [""; Question::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Question::ALL[at].name();
        at += 1;
    }
    names
};

/// Whether a daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It was not asked yet.
    Connecting,
    /// It does.
    Up,
    /// It does not.
    Down {
        /// Why.
        message: String,
        /// When it was found missing.
        since: Timestamp,
        /// Whether it had answered before.
        lost: bool,
    },
}

/// A screen's place in its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The row that the cursor is on.
    pub cursor: usize,
    /// What the rows must contain.
    pub filter: String,
}

/// What a line is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// What rows must contain, what to ask about, or what to search for.
    Filter,
    /// A query to the history.
    Sql,
    /// The file that rows are written into.
    Export,
    /// The name of a view.
    Keep,
}

/// A line that is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What for.
    pub typing: Typing,
    /// What stands there.
    pub text: String,
    /// What stood there before, for Esc.
    pub before: String,
}

/// What lies over the screen.
#[derive(Debug, Clone, PartialEq)]
pub enum Overlay {
    /// The commands, those that match what was typed.
    Commands {
        /// What was typed.
        text: String,
        /// The row that the cursor is on.
        cursor: usize,
    },
    /// The views that were kept.
    Views {
        /// The row that the cursor is on.
        cursor: usize,
    },
    /// A question that wants `y`.
    Confirm {
        /// What will be touched.
        question: Vec<String>,
        /// What `y` does.
        then: Effect,
    },
}

/// Something said on the last line for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub text: String,
    /// Whether something went wrong.
    pub bad: bool,
    /// Until when.
    pub until: Timestamp,
}

/// What is loading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loading {
    pub want: Want,
    /// Something happened since it was asked for, so that what arrives is already old.
    pub outdated: bool,
}

/// The whole state.
#[derive(Debug, Clone)]
pub struct State {
    /// What the terminal can show.
    pub look: Look,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Whether the daemon runs in this very process, and ends with the screens.
    pub embedded: bool,
    /// Whether a daemon answers.
    pub link: Link,
    /// The screen that is shown.
    pub screen: Screen,
    /// The screens to go back to.
    pub(super) trail: Vec<Screen>,
    pub(super) places: [Place; Screen::ALL.len()],
    /// A line that is being typed.
    pub input: Option<Input>,
    /// What lies over the screen.
    pub overlay: Option<Overlay>,
    /// Something said on the last line.
    pub notice: Option<Notice>,
    /// The run that the last key asked to retry, until the daemon has said what that would do. Any other key forgets it,
    /// so that a late question cannot take a key that was meant for something else.
    pub(super) retrying: Option<RunId>,
    /// Whether Ctrl-C was the last key.
    pub(super) interrupted: bool,
    pub(super) loading: Vec<Loading>,
    /// What was loaded and is not outdated.
    pub(super) fresh: Vec<Want>,
    /// What could not be loaded, and why.
    pub(super) problems: Vec<(Want, String)>,

    /// The daemon at a glance.
    pub status: Option<StatusView>,
    /// All jobs.
    pub jobs: Option<Vec<JobView>>,
    /// The latest runs of all jobs, newest first.
    pub runs: Option<Vec<RunView>>,
    /// The job that is open.
    pub open_job: Option<JobId>,
    /// What is known of it.
    pub job: Option<(JobDetail, Vec<RunView>)>,
    /// The run that is open.
    pub open_run: Option<RunId>,
    /// What is known of it.
    pub run: Option<RunView>,
    /// The log that is open.
    pub log: LogView,
    /// The file that is open.
    pub open_file: Option<String>,
    /// Its text.
    pub source: Option<(String, String)>,
    /// What takes the last pause or resume back.
    pub(super) undo: Option<Order>,
    /// When the memory of running tasks was last asked for.
    pub(super) weighed: Option<Timestamp>,
    /// Which of [`QUESTIONS`] is asked.
    pub question: usize,
    /// The last answer.
    pub answer: Option<Answer>,
    /// What else is shown of the past.
    pub past: Past,
}

impl State {
    /// The state before anything is known.
    pub fn new(look: Look, size: (u16, u16), embedded: bool) -> Self {
        Self {
            look,
            size,
            embedded,
            link: Link::Connecting,
            screen: Screen::Live,
            trail: Vec::new(),
            places: Default::default(),
            input: None,
            overlay: None,
            notice: None,
            retrying: None,
            interrupted: false,
            loading: Vec::new(),
            fresh: Vec::new(),
            problems: Vec::new(),
            status: None,
            jobs: None,
            runs: None,
            open_job: None,
            job: None,
            open_run: None,
            run: None,
            log: LogView::default(),
            open_file: None,
            source: None,
            undo: None,
            weighed: None,
            question: 0,
            answer: None,
            past: Past::default(),
        }
    }

    /// The place in the rows of the current screen.
    pub fn place(&self) -> &Place {
        &self.places[self.screen as usize]
    }

    pub(super) fn place_mut(&mut self) -> &mut Place {
        &mut self.places[self.screen as usize]
    }

    /// The rows of the current screen that pass its filter.
    pub fn sections(&self, now: Timestamp) -> Vec<Section> {
        let mut sections = screen::sections(self, now);
        // A question to the history carries its filter itself, and a log is searched and not narrowed.
        if !matches!(self.screen, Screen::History | Screen::Log) {
            let filter = self.place().filter.to_lowercase();
            sections.iter_mut().for_each(|section| section.narrow(&filter));
        }
        sections
    }

    /// What the cursor is on.
    pub fn target(&self) -> Option<Target> {
        // Which rows there are does not depend on the time, only what some of them say.
        let sections = self.sections(Timestamp::UNIX_EPOCH);
        let mut rows = sections.into_iter().flat_map(|section| section.rows);
        rows.nth(self.place().cursor)?.target
    }

    /// The job that a command would be about.
    pub fn job_in_view(&self) -> Option<JobId> {
        match (self.screen, self.target()) {
            (_, Some(Target::Job(job) | Target::Run { job, .. } | Target::Ranked { job: Some(job), .. })) => Some(job),
            (Screen::Job, _) => self.open_job.clone(),
            (Screen::Run | Screen::Log, _) => self.run.as_ref().map(|run| run.job.clone()),
            (
                Screen::Live
                | Screen::Jobs
                | Screen::Sync
                | Screen::File
                | Screen::History
                | Screen::Runs
                | Screen::Sql,
                _,
            ) => None,
        }
    }

    /// The run that a command would be about: on a job, the one that is going.
    pub fn run_in_view(&self) -> Option<RunId> {
        match (self.screen, self.target()) {
            (_, Some(Target::Run { run, .. })) => Some(run),
            (Screen::Run | Screen::Log, _) => self.open_run,
            (
                Screen::Live
                | Screen::Jobs
                | Screen::Job
                | Screen::Sync
                | Screen::File
                | Screen::History
                | Screen::Runs
                | Screen::Sql,
                _,
            ) => {
                let job = self.job_in_view()?;
                let going = &self.status.as_ref()?.active_runs;
                going.iter().rev().find(|run| run.job == job).map(|run| run.id)
            }
        }
    }

    /// The run that a retry would repeat: on a job, its latest.
    pub fn run_to_retry(&self) -> Option<&RunView> {
        let listed = self.runs.iter().flatten();
        let of_job = self.job.iter().flat_map(|(_, latest)| latest);
        let going = self.status.iter().flat_map(|status| &status.active_runs);
        // The open run first: of several copies it is the one that is asked for most.
        let last = self.jobs.iter().flatten().filter_map(|job| job.last_run.as_ref());
        let mut known = self.run.iter().chain(going).chain(listed).chain(of_job).chain(last);
        let run = match (self.screen, self.target()) {
            (_, Some(Target::Run { run, .. })) => run,
            (Screen::Run | Screen::Log, _) => self.open_run?,
            (
                Screen::Live
                | Screen::Jobs
                | Screen::Job
                | Screen::Sync
                | Screen::File
                | Screen::History
                | Screen::Runs
                | Screen::Sql,
                _,
            ) => {
                let job = self.job_in_view()?;
                known.clone().filter(|run| run.job == job).map(|run| run.id).max()?
            }
        };
        known.find(|known| known.id == run)
    }

    /// Whether a run has not ended, as far as is known.
    pub fn is_going(&self, run: RunId) -> bool {
        let open = self.run.iter().filter(|open| open.id == run);
        let listed = self.status.iter().flat_map(|status| &status.active_runs);
        let mut known = open.chain(listed.filter(|listed| listed.id == run));
        known.next().is_some_and(|run| !run.status.is_finished())
    }

    /// The plan whose removals wait for approval.
    pub fn waiting_plan(&self) -> Option<String> {
        self.status
            .as_ref()?
            .sync
            .waiting_plan
            .as_ref()
            .map(ToString::to_string)
    }

    /// A job as it was listed.
    pub fn listed_job(&self, id: &JobId) -> Option<&JobView> {
        self.jobs.iter().flatten().find(|job| job.id == *id)
    }

    /// The listed runs of a job, newest first.
    pub fn runs_of<'a>(&'a self, job: &'a JobId) -> impl Iterator<Item = &'a RunView> {
        self.runs.iter().flatten().filter(move |run| run.job == *job)
    }

    /// What the current screen shows.
    pub(super) fn wants(&self) -> Vec<Want> {
        let mut wants = vec![Want::Status];
        match self.screen {
            Screen::Live => wants.extend([Want::Runs, Want::Jobs]),
            Screen::Jobs => wants.push(Want::Jobs),
            Screen::Job => wants.extend(self.open_job.clone().map(Want::Job)),
            Screen::Run | Screen::Log => {
                wants.push(Want::Runs);
                wants.extend(self.open_run.map(Want::Run));
            }
            Screen::Sync => {}
            Screen::File => {
                wants.extend(self.open_file.clone().map(Want::Source));
                // The version that is active, to compare the file with.
                wants.extend(self.job_of_open_file().cloned().map(Want::Job));
            }
            Screen::History => wants.extend([self.asked(), Want::Views]),
            Screen::Runs => wants.push(Want::Picked(self.past.runs_filter.clone())),
            Screen::Sql => wants.extend(self.past.asked.clone().map(Want::Rows)),
        }
        wants
    }

    /// The job of the open file, if there is one to compare the file with.
    pub(super) fn job_of_open_file(&self) -> Option<&JobId> {
        let sync = &self.status.as_ref()?.sync;
        let job = sync.file(self.open_file.as_deref()?)?.job.as_ref()?;
        sync.job(job).map(|known| &known.job)
    }

    /// The question that History asks.
    pub fn asked(&self) -> Want {
        Want::Answer {
            question: QUESTIONS[self.question],
            filter: self.places[Screen::History as usize].filter.clone(),
        }
    }

    /// Why something of the current screen could not be loaded.
    pub fn problem(&self) -> Option<&str> {
        let wants = self.wants();
        let problem = self.problems.iter().find(|(want, _)| wants.contains(want));
        problem.map(|(_, message)| message.as_str())
    }

    /// What is wrong with all that is shown, for the line below the titles: the daemon is away or in trouble, or what is
    /// shown could not be renewed.
    pub fn banner(&self, now: Timestamp) -> Option<String> {
        match &self.link {
            Link::Down {
                message,
                since,
                lost: true,
            } => return Some(format!("! {message}, {}: trying again", text::clock(*since, now))),
            Link::Down {
                message, lost: false, ..
            } => return Some(format!("! {message}: this is from the journal and the files")),
            Link::Up | Link::Connecting => {}
        }
        let wants = self.wants();
        let mut failed = self
            .problems
            .iter()
            .filter(|(want, _)| wants.contains(want) && self.shows(want));
        let old = failed
            .next()
            .map(|(_, problem)| format!("! not renewed: {problem}; `u` asks again"));
        let condition = self.status.as_ref().and_then(|status| status.conditions.first());
        old.or_else(|| condition.map(|condition| format!("! {condition}")))
    }

    /// Whether there is something older to show for a want; where there is none, the screen itself says why.
    fn shows(&self, want: &Want) -> bool {
        match want {
            Want::Status => self.status.is_some(),
            Want::Jobs => self.jobs.is_some(),
            Want::Runs => self.runs.is_some(),
            Want::Job(id) => self.job.as_ref().is_some_and(|(open, _)| open.job.id == *id),
            Want::Run(id) => self.run.as_ref().is_some_and(|run| run.id == *id),
            Want::Source(file) => self.source.as_ref().is_some_and(|(open, _)| open == file),
            Want::Answer { .. } => self.answer.is_some(),
            Want::Picked(filter) => self.past.runs.as_ref().is_some_and(|(picked, _)| picked == filter),
            Want::Rows(sql) => self.past.rows.as_ref().is_some_and(|(asked, _)| asked == sql),
            Want::Views => true,
        }
    }

    /// The room for the lines of a log: the rest is its head, the titles, the banner and the hints, and what stands before
    /// a line.
    pub fn log_room(&self, now: Timestamp) -> Room {
        let banner = u16::from(self.banner(now).is_some());
        let before = if self.log.times {
            TIME_WIDTH + MARK_WIDTH
        } else {
            MARK_WIDTH
        };
        Room {
            width: usize::from(self.size.0).saturating_sub(before),
            height: usize::from(self.size.1.saturating_sub(3 + banner)),
        }
    }

    /// Whether something of the current screen is on its way, or should be.
    pub fn is_loading(&self) -> bool {
        self.wants().iter().any(|want| !self.fresh.contains(want))
    }
}
