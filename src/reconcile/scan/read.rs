//! Reading a file so that it cannot deceive: bounded, without waiting, and between two looks at its stamp.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use super::{Blob, Content, MAX_FILE_BYTES, Refusal, Seen, Stamp, Trust, describe};
use crate::config::share;

/// Reads the files at these paths below `root`; those that are gone are left out.
pub(super) fn read_all(root: &Path, paths: Vec<String>, trust: Trust) -> Vec<(String, Seen)> {
    let seen = share::each(&paths, |path| read_one(&root.join(path), trust));
    let there = paths.into_iter().zip(seen);
    there.filter_map(|(path, seen)| Some((path, seen?))).collect()
}

/// Reads a file; `None` if it is gone.
fn read_one(path: &Path, trust: Trust) -> Option<Seen> {
    match read(path, trust) {
        Ok(seen) => Some(seen),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // Its stamp is not known, so that the next look tries again.
        Err(error) => Some(Seen::refused(Refusal::Unreadable(describe(&error)))),
    }
}

/// Reads a file between two looks at its stamp. When they differ, what was read bears neither: it may be the beginning of
/// one content, or that and the end of another, and the next look must not take it for what stands there then.
fn read(path: &Path, trust: Trust) -> io::Result<Seen> {
    // A pipe that took the file's place after it was listed must not make the open wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(Seen::new(Stamp::of(&before), Content::Refused(Refusal::NotAFile)));
    }
    if let Err(distrust) = trust.judge(&before) {
        return Ok(Seen::new(Stamp::of(&before), Content::Refused(distrust)));
    }
    let content = read_bounded(&file, before.len())?;
    let (before, after) = (Stamp::of(&before), Stamp::of(&file.metadata()?));
    let seen = Seen::new(after, content);
    Ok(match before == after {
        true => seen,
        false => Seen {
            stamp: Stamp::default(),
            ..seen
        },
    })
}

fn read_bounded(file: &File, size: u64) -> io::Result<Content> {
    if size > MAX_FILE_BYTES {
        return Ok(Content::Refused(Refusal::TooLarge(size)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if read as u64 > MAX_FILE_BYTES {
        return Ok(Content::Refused(Refusal::TooLarge(read as u64)));
    }
    bytes.shrink_to_fit();
    Ok(Content::Bytes(Arc::new(Blob::new(bytes))))
}
