//! What a task says: one file per attempt in the CRI log format, which log shippers already read.
//!
//! [`cri`] is the form of one line. [`writer`] turns bytes as they arrive into such lines and keeps the file within its
//! cap; [`mask`] keeps secrets out of them. [`reader`] reads a file back, also while it grows; [`pages`] looks into one at any place. This room knows
//! no processes: bytes, a stream and an instant go in. Text is stored as it came, whatever its encoding, but for secrets.

pub mod cri;
pub mod mask;
pub mod pages;
pub mod reader;
pub mod writer;

pub use cri::{Entry, Stream};
pub use mask::Mask;
pub use pages::{Direction, FileKey, LogPages, Page};
pub use reader::LogReader;
pub use writer::LogWriter;

#[cfg(test)]
mod tests;
