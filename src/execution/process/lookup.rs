//! Which file a command's first word names, looked up as the child would: in the child's `PATH`, from the child's
//! working directory.
//!
//! `posix_spawnp` would look in *Petit's* `PATH` and cannot tell "there is no such program" from "there is one that
//! may not be run". What goes in is a word, a `PATH` and a directory; what comes out is a path to execute.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Program(PathBuf),
    /// A file of that name exists, and nobody may execute it.
    NotExecutable(PathBuf),
    Nowhere,
}

pub(super) fn program(word: &OsStr, path: Option<&OsStr>, working_dir: &Path) -> Found {
    if word.is_empty() {
        return Found::Nowhere;
    }
    if word.as_bytes().contains(&b'/') {
        // Not checked here: `exec` itself says precisely what is wrong with a given path.
        return Found::Program(working_dir.join(word));
    }
    let mut refused = None;
    for folder in std::env::split_paths(path.unwrap_or_default()) {
        // An empty entry means the working directory, which `join` yields as well.
        let candidate = working_dir.join(folder).join(word);
        match fs::metadata(&candidate) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
                return Found::Program(candidate);
            }
            Ok(meta) if meta.is_file() => refused = refused.or(Some(candidate)),
            Ok(_) | Err(_) => {}
        }
    }
    refused.map_or(Found::Nowhere, Found::NotExecutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, mode: u32) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn looks_in_the_given_path_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        for folder in ["one", "two"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        file(&dir.join("one/tool"), 0o644);
        file(&dir.join("two/tool"), 0o755);
        file(&dir.join("one/plain"), 0o644);
        fs::create_dir(dir.join("one/folder")).unwrap();
        let look = |word: &str, path: &str| program(OsStr::new(word), Some(OsStr::new(path)), dir);

        assert_eq!(
            look("tool", "one:two"),
            Found::Program(dir.join("two/tool")),
            "the first that may be executed"
        );
        assert_eq!(look("tool", "one"), Found::NotExecutable(dir.join("one/tool")));
        assert_eq!(look("plain", "two:one"), Found::NotExecutable(dir.join("one/plain")));
        assert_eq!(look("folder", "one"), Found::Nowhere);
        assert_eq!(look("sh", "one:two"), Found::Nowhere, "Petit's own PATH does not count");
        assert_eq!(look("", "one"), Found::Nowhere);
        assert_eq!(look("./one/tool", ""), Found::Program(dir.join("./one/tool")));
        assert_eq!(program(OsStr::new("tool"), None, dir), Found::Nowhere);
    }
}
