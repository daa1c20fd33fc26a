//! Whose turn with the history it is within a daemon, and how far the history has come.
//!
//! DuckDB lets one process write at a time. The catch-up and the tidying would else find each other in the way, and say so
//! as of a stranger. [`Turn::tidy`] is the other work than catching up that a daemon has done to the history, in the same
//! place: by a child, or on a thread.

use std::{ffi::OsString, sync::Arc};

use tokio::sync::{Mutex, MutexGuard, watch};

use super::child::{Recipe, heard};
use crate::{
    config::settings::Retention,
    core::error_text::chain,
    daemon::{
        CatchUpIn,
        gc::{self, GcError, Order, Tidied},
    },
    storage::Storage,
};

/// The command that is the tidying child's, before the state folder and the settings.
pub(crate) const COMMAND: &str = "tidy";

/// Shared by all in a daemon who write to the history.
#[derive(Clone)]
pub(in crate::daemon) struct Turn {
    one: Arc<Mutex<()>>,
    /// Up to which fact the history has the journal for good, since it was last asked.
    cursor: watch::Sender<Option<i64>>,
    /// The child that tidies; `None` for a thread.
    child: Option<Recipe>,
}

impl Turn {
    /// Nobody's turn yet.
    pub fn new(place: &super::Place) -> Self {
        let child = match &place.catch_up {
            CatchUpIn::ThisProcess => None,
            CatchUpIn::Child(program) => Some(Recipe {
                program: program.clone(),
                state_dir: place.state_dir.clone(),
                environment: place.environment.clone(),
            }),
        };
        Self {
            one: Arc::default(),
            cursor: watch::Sender::new(None),
            child,
        }
    }

    /// Waits for one's turn.
    pub async fn take(&self) -> MutexGuard<'_, ()> {
        self.one.lock().await
    }

    /// The history has everything up to this fact, on the disk.
    pub fn reached(&self, cursor: i64) {
        self.cursor.send_replace(Some(cursor));
    }

    /// Up to which fact the history has everything; `None` while nobody could ask it.
    pub fn cursor(&self) -> Option<i64> {
        *self.cursor.borrow()
    }

    /// Lets go of what is too old in history and logs.
    pub async fn tidy(&self, journal: Arc<dyn Storage>, order: Order) -> Result<Tidied, GcError> {
        let _mine = self.take().await;
        let Some(recipe) = &self.child else {
            let tidied = tokio::task::spawn_blocking(move || gc::tidy(journal.as_ref(), &order, &|| true));
            return tidied.await.map_err(|panic| GcError::Elsewhere(panic.to_string()))?;
        };
        let started = recipe
            .start_as(words(recipe, &order))
            .map_err(|error| GcError::Elsewhere(chain(&error)))?;
        // Closing the input would stop it; dropped with this future, it does.
        let (child, _input, output) = started.parts();
        match heard::<Result<Tidied, String>>(child, output).await {
            Ok(Ok(tidied)) => Ok(tidied),
            Ok(Err(problem)) | Err(problem) => Err(GcError::Elsewhere(problem)),
        }
    }
}

fn words(recipe: &Recipe, order: &Order) -> Vec<OsString> {
    let retention =
        serde_json::to_string::<Retention>(&order.retention).expect("durations, numbers and sizes are texts");
    let mut words: Vec<OsString> = vec![COMMAND.into(), recipe.state_dir.clone().into(), retention.into()];
    words.extend(order.dry_run.then(|| "--dry-run".into()));
    words
}
