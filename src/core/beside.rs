//! Names of files that lie beside another one: its log, its copy, what was set aside of it.

use std::path::{Path, PathBuf};

/// The path with something behind its name, whatever bytes that is made of.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_kept() {
        let path = Path::new(OsStr::from_bytes(b"/tmp/stra\xdfe/journal.db"));
        let log = beside(path, "-wal");
        assert_eq!(log.as_os_str().as_bytes(), b"/tmp/stra\xdfe/journal.db-wal");
    }
}
