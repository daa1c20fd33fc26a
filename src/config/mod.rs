//! From text to a checked job, or to everything that is wrong with it.
//!
//! A file passes four gates, the same ones in the daemon and in `petit validate`: YAML ([`yaml`]), the generated schema
//! ([`schema`], whose errors [`explain`] puts into words), the types, and the rules of [`crate::core::job`]. [`check`]
//! leads a single file through them, [`set`] asks what only all files together can answer, and [`settings`] does for
//! `petit.yaml` what `check` does for a job. Every mistake becomes a [`diagnostic`] with its place in the file, and
//! [`render`] writes those for people and machines. [`share`] lets many files be checked by all processors. [`build`] makes
//! a job in Rust and leads it through the same gates.
//!
//! This room reads no folder, watches nothing and decides nothing about jobs that are active. In go bytes and the name
//! of a file; out come values. Only [`settings`] opens a file, because nothing runs before it.

pub mod build;
pub mod check;
pub mod contention;
pub mod diagnostic;
mod explain;
pub mod render;
pub mod schema;
pub mod set;
pub mod settings;
pub mod share;
pub mod yaml;

#[cfg(test)]
mod tests;
