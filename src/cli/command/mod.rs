//! The commands, one file each: the arguments, whose documentation is the help, then the function.

pub mod cancel;
#[cfg(feature = "history")]
pub mod catch_up;
pub mod diff;
pub mod export;
pub mod history;
pub mod init;
pub mod list;
pub mod logs;
pub mod next;
pub mod pause;
pub mod plan;
pub mod retry;
pub mod run;
pub mod runs;
pub mod schema;
pub mod show;
pub mod sql;
pub mod status;
pub mod sync;
pub mod trigger;
#[cfg(feature = "tui")]
pub mod tui;
pub mod validate;
pub mod version;
pub mod why;
