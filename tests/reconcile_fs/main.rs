//! The reconciler on a real folder of this machine's file system, with the ways in which files are really saved.
//!
//! Each module is one way in which a folder changes: [`writing`] and [`saving`] one file, [`flipping`] and [`many`] a lot
//! of them at once, [`removing`] what goes, [`going_away`] the folder itself. [`saying`] is what people are told of it, and
//! [`edits`] does all of it at random.

mod edits;
mod flipping;
mod followed;
mod going_away;
mod many;
mod removing;
mod saving;
mod saying;
mod writing;

#[path = "../support/slots.rs"]
mod slots;
