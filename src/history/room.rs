//! How much of the disk a question may take for what does not fit into memory.
//!
//! A large sort puts its rows aside in a folder beside the history, which is on the disk of the journal; left to itself
//! DuckDB would take nearly all of that. Knows nothing of files otherwise. A disk whose free space cannot be found out
//! counts as a large one.

use std::path::Path;

use duckdb::Connection;

/// As much as there is in memory; what needs more is better asked in parts.
const MOST: u64 = 1_000_000_000;

/// At most such a part of what is free.
const PART: u64 = 10;

/// Bounds what a connection puts aside while it works on the file at `path`.
pub(super) fn bound(connection: Connection, path: &Path) -> duckdb::Result<Connection> {
    let bytes = most(free_beside(path));
    connection.execute_batch(&format!("SET max_temp_directory_size = '{bytes}B'"))?;
    Ok(connection)
}

/// What a query is told that would have needed more than there is, if that is what an error is about.
pub(super) fn told(text: &str) -> Option<String> {
    let is_meant = text.contains("max_temp_directory_size") || text.starts_with("Out of Memory Error");
    is_meant.then(|| {
        let first = text.lines().next().unwrap_or(text);
        let what = first.split(". This limit").next().unwrap_or(first);
        format!(
            "the query needs more room than it may take (1 GB of memory, and as much of the disk, but never more than a tenth \
             of what is free): {what}"
        )
    })
}

fn most(free: Option<u64>) -> u64 {
    free.map_or(MOST, |free| (free / PART).min(MOST))
}

fn free_beside(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let disk = rustix::fs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_never_takes_much_of_the_disk() {
        assert_eq!(most(None), MOST);
        assert_eq!(most(Some(1 << 40)), MOST);
        assert_eq!(most(Some(100_000_000)), 10_000_000);
        assert_eq!(most(Some(0)), 0);
    }

    #[test]
    fn a_sort_that_needs_more_is_refused_in_a_sentence() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("some.duckdb");
        let connection = Connection::open(&path).expect("opens");
        let connection = bound(connection, &path).expect("is bounded");
        let limit: String = connection
            .query_row("SELECT current_setting('max_temp_directory_size')", [], |row| {
                row.get(0)
            })
            .expect("a setting");
        assert!(!limit.contains("90%"), "{limit}");
        connection
            .execute_batch("SET threads = 1; SET memory_limit = '20MB'; SET max_temp_directory_size = '1MB'")
            .expect("settings");
        let sorted = "SELECT count(*) FROM (SELECT hash(x) AS h, repeat('x', 40) || x AS t FROM range(2000000) r(x) ORDER BY h, t OFFSET 1)";
        let error = connection.execute_batch(sorted).expect_err("too much").to_string();
        let said = told(&error).unwrap_or_else(|| panic!("{error}"));
        assert!(
            said.contains("more room") && !said.contains("PRAGMA") && !said.contains('\n'),
            "{said}"
        );
    }
}
