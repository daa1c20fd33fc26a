//! What happens in a story, all of it from one number: the texts that are written, and the acts.

use std::fmt::Write as _;

use crate::{core::id::JobId, testing::story::Dice};

/// Every file that there can be. The last two are links into another folder, which flip together.
pub const PATHS: [&str; 14] = [
    "a.yaml",
    "b.yaml",
    "c.yaml",
    "d.yaml",
    "e.yaml",
    "f.yaml",
    "g.yaml",
    "h.yaml",
    "x.yaml",
    "y.yml",
    "sub/i.yaml",
    "sub/z.yaml",
    "k.yaml",
    "l.yaml",
];

/// The files that flip together.
pub const LINKED: [&str; 2] = ["k.yaml", "l.yaml"];

/// A whole text, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The id that it states; the file's name says it otherwise.
    id: Option<&'static str>,
    priority: u64,
    /// A job that it depends on.
    needs: Option<&'static str>,
    /// Changes the text and nothing that it means.
    comment: u64,
    pub is_good: bool,
    yaml: String,
}

/// The last line of every whole text: a job without it was made of a beginning.
pub const END: &str = "END";

impl Text {
    /// A text for this file.
    pub fn of(path: &str, dice: &mut Dice) -> Self {
        let ids = ["a", "b", "c", "d", "x", "i", "k"];
        let own_id = if dice.chance(25) { Some(*dice.pick(&ids)) } else { None };
        // Those that come later depend on those that come before, so that nobody waits for himself.
        let needs = (dice.chance(15) && path > "d.yaml").then(|| *dice.pick(&["a", "b", "m"]));
        let needs = needs.filter(|_| own_id.is_none());
        Self::new(own_id, dice.below(4), needs, dice.below(3), dice.chance(82))
    }

    fn new(id: Option<&'static str>, priority: u64, needs: Option<&'static str>, comment: u64, is_good: bool) -> Self {
        let mut yaml = String::new();
        let mut line = |text: &str| writeln!(yaml, "{text}").expect("a string takes everything");
        if let Some(id) = id {
            line(&format!("id: {id}"));
        }
        line(&format!("# {comment}"));
        if !is_good {
            line("no_such_key: 1");
        }
        if let Some(needs) = needs {
            line(&format!("depends_on: [{{job: {needs}}}]"));
        }
        line(&format!("priority: {priority}"));
        line("tasks: {t: {command: [\"true\"]}}");
        line("env:");
        line("  ONE: \"1\"");
        line("  TWO: \"2\"");
        line(&format!("  {END}: \"3\""));
        Self {
            id,
            priority,
            needs,
            comment,
            is_good,
            yaml,
        }
    }

    /// The same job in another way of writing.
    pub fn reworded(&self) -> Self {
        Self::new(self.id, self.priority, self.needs, self.comment + 3, self.is_good)
    }

    /// Another job in as many bytes.
    pub fn of_the_same_length(&self) -> Self {
        Self::new(self.id, (self.priority + 1) % 4, self.needs, self.comment, self.is_good)
    }

    pub fn bytes(&self) -> &[u8] {
        self.yaml.as_bytes()
    }

    /// The id of its job when it stands in this file.
    pub fn job(&self, path: &str) -> JobId {
        let name = path.rsplit('/').next().expect("a name");
        let stem = name.split('.').next().expect("a stem");
        JobId::new(self.id.unwrap_or(stem)).expect("a slug")
    }

    pub fn needs(&self) -> Option<JobId> {
        self.needs.map(|needs| JobId::new(needs).expect("a slug"))
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Truncated and written in pieces.
    Write,
    /// Written beside it and renamed over it.
    Replace,
    /// Written twice within a tick of the clock, in the same length.
    WriteTwice,
    /// Removed, and created a moment later.
    DeleteAndCreate,
    /// The same job, worded otherwise.
    Reword,
    Truncate,
    Remove,
    /// Many files go, at once or one after another.
    RemoveMany,
    Rename,
    Duplicate,
    FlipLinks,
    FlipFolder,
    Unreadable,
    Readable,
    SubUnreadable,
    SubReadable,
    MountGone,
    MountUnreadable,
    MountReplaced,
    MountBack,
    GitLock,
    GitUnlock,
    NoWatches,
    Watches,
    WatcherDies,
    Event,
    AllowEmpty,
    ForbidEmpty,
    ClockForward,
    ClockBack,
    Sync,
    Wait,
    Approve,
    ApproveStale,
    DryPlan,
    DiskFull,
    Restart,
    CrashBeforeCommit,
    CrashAfterCommit,
    CrashAfterSwap,
}

/// Each act as often as it stands here.
const ACTS: &[(u64, Act)] = &[
    (14, Act::Write),
    (12, Act::Replace),
    (3, Act::WriteTwice),
    (5, Act::DeleteAndCreate),
    (5, Act::Reword),
    (2, Act::Truncate),
    (8, Act::Remove),
    (3, Act::RemoveMany),
    (6, Act::Rename),
    (5, Act::Duplicate),
    (4, Act::FlipLinks),
    (2, Act::FlipFolder),
    (2, Act::Unreadable),
    (3, Act::Readable),
    (2, Act::SubUnreadable),
    (3, Act::SubReadable),
    (1, Act::MountGone),
    (1, Act::MountUnreadable),
    (1, Act::MountReplaced),
    (5, Act::MountBack),
    (1, Act::GitLock),
    (3, Act::GitUnlock),
    (1, Act::NoWatches),
    (2, Act::Watches),
    (1, Act::WatcherDies),
    (2, Act::Event),
    (1, Act::AllowEmpty),
    (1, Act::ForbidEmpty),
    (1, Act::ClockForward),
    (1, Act::ClockBack),
    (2, Act::Sync),
    (2, Act::Wait),
    (3, Act::Approve),
    (1, Act::ApproveStale),
    (1, Act::DryPlan),
    (2, Act::DiskFull),
    (2, Act::Restart),
    (2, Act::CrashBeforeCommit),
    (2, Act::CrashAfterCommit),
    (2, Act::CrashAfterSwap),
];

impl Act {
    pub fn roll(dice: &mut Dice) -> Self {
        let all: u64 = ACTS.iter().map(|(often, _)| often).sum();
        let mut left = dice.below(all);
        for (often, act) in ACTS {
            if left < *often {
                return *act;
            }
            left -= often;
        }
        unreachable!("less than the sum of all")
    }
}
