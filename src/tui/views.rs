//! The views that somebody kept: names for a question and a filter, in a small file of the state folder.
//!
//! The file is read when the views are asked for and written whole, beside itself and renamed over, so that two screens at
//! once lose at most the earlier of two changes and never leave half a file. A file that does not read is not written over.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::past::KeptView;

/// The file's name in the state folder.
const NAME: &str = "views.json";

/// Reads the views, in the order of their names. Without a file there are none.
pub fn load(state_dir: &Path) -> Result<Vec<KeptView>, String> {
    let path = state_dir.join(NAME);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("could not read {}: {error}", path.display())),
    };
    serde_json::from_slice(&text).map_err(|error| format!("{} does not hold views: {error}", path.display()))
}

/// Keeps a view; one of the same name is replaced. Returns all.
pub fn keep(state_dir: &Path, view: KeptView) -> Result<Vec<KeptView>, String> {
    let mut views = load(state_dir)?;
    views.retain(|kept| kept.name != view.name);
    views.push(view);
    views.sort_by(|a, b| a.name.cmp(&b.name));
    let path = state_dir.join(NAME);
    let text = serde_json::to_vec_pretty(&views).map_err(|error| error.to_string())?;
    write(&path, &text).map_err(|error| format!("could not write {}: {error}", path.display()))?;
    Ok(views)
}

fn write(path: &PathBuf, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("json.{}.part", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Half a file is of no use.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, filter: &str) -> KeptView {
        KeptView {
            name: name.to_owned(),
            question: "duration".to_owned(),
            filter: filter.to_owned(),
        }
    }

    #[test]
    fn views_are_kept_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(load(folder.path()), Ok(Vec::new()));
        for (name, filter) in [("nightly", "job=etl"), ("all", ""), ("nightly", "job=etl since=7d")] {
            keep(folder.path(), view(name, filter)).expect("a writable folder");
        }
        let expected = vec![view("all", ""), view("nightly", "job=etl since=7d")];
        assert_eq!(load(folder.path()), Ok(expected));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_file_of_something_else_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        fs::write(&path, "mine").expect("a writable folder");
        for result in [load(folder.path()), keep(folder.path(), view("a", ""))] {
            assert!(result.expect_err("no views").contains("does not hold views"));
        }
        assert_eq!(fs::read_to_string(&path).expect("a file"), "mine");
    }
}
