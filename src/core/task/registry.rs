//! Which Rust tasks a program has, by the names that jobs use.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::Task;

/// The Rust tasks of a program, by name.
///
/// ```
/// use petit::{TaskContext, TaskRegistry};
///
/// let mut tasks = TaskRegistry::default();
/// tasks.register("noop", async |_: TaskContext| Ok(())).unwrap();
/// assert!(tasks.get("noop").is_some());
/// assert_eq!(tasks.names().collect::<Vec<_>>(), ["noop"]);
/// let twice = tasks.register("noop", async |_: TaskContext| Ok(())).unwrap_err();
/// assert_eq!(twice.to_string(), "a task is registered as `noop` already: give this one another name");
/// ```
#[derive(Clone, Default)]
pub struct TaskRegistry(BTreeMap<String, Arc<dyn Task>>);

/// Why a task cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The name is taken.
    #[error("a task is registered as `{0}` already: give this one another name")]
    Taken(String),
    /// The name is empty or blank.
    #[error("a task cannot be registered without a name: `uses: NAME` could not name it")]
    NoName,
}

impl TaskRegistry {
    /// Makes a task known under a name. The name may be any text that is not blank.
    pub fn register(&mut self, name: impl Into<String>, task: impl Task + 'static) -> Result<(), RegistryError> {
        let name = name.into();
        if name.trim().is_empty() {
            return Err(RegistryError::NoName);
        }
        if self.0.contains_key(&name) {
            return Err(RegistryError::Taken(name));
        }
        self.0.insert(name, Arc::new(task));
        Ok(())
    }

    /// The task of a name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn Task>> {
        self.0.get(name).cloned()
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.keys().map(String::as_str)
    }

    /// Whether nothing is registered, as in plain `petit`.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for TaskRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
