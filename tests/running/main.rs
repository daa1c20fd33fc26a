//! Running work with the real binary: secrets, limits, floods of output, trees that will not end, runs in the foreground,
//! and the protocol of a service. One program of tests, since each links the whole of Petit.

#[path = "../support/mod.rs"]
mod support;

mod descriptors;
mod endings;
mod flood;
mod foreground;
mod full_disk;
mod limits;
mod secrets;
mod service;
