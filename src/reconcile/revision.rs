//! The revision of the folder of jobs, as far as this room knows it: a word from somebody who asks git.
//!
//! A reconcile is recorded with the revision that it came from. How that is found out is not known here, and a folder
//! that is in no repository has none.

/// Tells the revision of the folder of jobs.
pub trait Revisions: Send + Sync {
    /// The revision at this moment: the commit, with `-dirty` at its end if the files are not those of the commit. Waits
    /// a moment at most; `None` if there is none, or if it could not be had in time.
    fn now(&self) -> Option<String>;

    /// Files have changed, though no job did: what was known of the revision may not hold any more. Does not wait.
    fn changed(&self);
}

/// A folder without revisions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unversioned;

impl Revisions for Unversioned {
    fn now(&self) -> Option<String> {
        None
    }

    fn changed(&self) {}
}
