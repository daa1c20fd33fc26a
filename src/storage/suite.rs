//! What every journal must do, asked of each backend in the same words.
//!
//! What only a file can do (survive, be damaged, be newer) is tested beside the backend that has one.

pub(super) mod alike;
mod commits;
pub(super) mod fixtures;
mod glances;
mod jobs;
mod runs;
mod slots;

/// Makes a test of each function for each backend.
macro_rules! for_each_backend {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            use super::super::{super::Memory, fixtures::stopped_clock};

            $(#[test] fn $name() { super::$name(&Memory::with_clock(stopped_clock())); })+
        }

        mod sqlite {
            use super::super::{super::Sqlite, fixtures::stopped_clock};

            $(#[test] fn $name() {
                let folder = tempfile::tempdir().expect("a folder");
                let path = folder.path().join("journal.db");
                super::$name(&Sqlite::open_with_clock(&path, stopped_clock()).expect("opens"));
            })+
        }
    };
}
use for_each_backend;
