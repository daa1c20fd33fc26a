//! The build script's search for DuckDB, against small stand-ins for the library and for npm.
//!
//! The search takes everything it depends on as an argument, so that none of these tests needs the network, and none
//! changes the environment of its neighbours.

use std::{fs, os::unix::fs::symlink, path::Path, thread};

use build_script::{Library, Origin, Platform, Request, find, target_dir};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

#[path = "../build.rs"]
#[expect(
    dead_code,
    reason = "what reads Cargo's environment runs only in the real build script"
)]
mod build_script;

const RIGHT: &[u8] = b"\x7fELF \0v1.5.6\0 stand-in";
const OF_ANOTHER_VERSION: &[u8] = b"\x7fELF \0v1.5.60\0 stand-in";
const CACHE: &str = "target/duckdb-1.5.6-linux-x64";

/// A folder with nothing in it, and a request that looks nowhere else: offline, with no npm and no curl.
struct Place {
    root: TempDir,
    request: Request,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let hash = Sha256::digest(RIGHT).iter().map(|byte| format!("{byte:02x}")).collect();
        let request = Request {
            library: Library {
                file_name: "libduckdb.so",
                sha256: Some(hash),
            },
            platform: Platform::of("linux", "x86_64", "gnu"),
            lib_dir: None,
            system_dirs: Vec::new(),
            cache_root: root.path().join("target"),
            offline: true,
            npm: root.path().join("npm"),
            curl: root.path().join("curl"),
        };
        fs::create_dir(&request.cache_root).unwrap();
        Place { root, request }
    }

    /// Writes a library into the folder of that name, and returns the folder.
    fn library_in(&self, folder: &str, bytes: &[u8]) -> std::path::PathBuf {
        let folder = self.root.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libduckdb.so"), bytes).unwrap();
        folder
    }

    fn npm_serves(&self, bytes: &[u8]) {
        self.library_in("package", bytes);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/build/fake-npm");
        symlink(script, &self.request.npm).unwrap();
    }

    fn failure(&self) -> String {
        find(&self.request)
            .expect_err("there is nothing right to find")
            .to_string()
    }

    fn left_in_target(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.request.cache_root).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

#[test]
fn without_npm_and_network_one_sentence_names_the_ways_out() {
    let failure = Place::new().failure();
    assert_eq!(failure.lines().count(), 1, "{failure}");
    for way_out in [
        "install npm",
        "DUCKDB_LIB_DIR",
        "`--features bundled`",
        "`--no-default-features`",
    ] {
        assert!(failure.contains(way_out), "{way_out} is not in: {failure}");
    }
    for reason in [
        "the system's libraries: none",
        "npm: no ",
        "the official release: offline",
    ] {
        assert!(failure.contains(reason), "{reason} is not in: {failure}");
    }
}

#[test]
fn a_platform_without_published_libraries_gets_the_same_sentence() {
    let mut place = Place::new();
    place.request.platform = Platform::of("linux", "x86_64", "musl");
    let failure = place.failure();
    assert!(failure.contains("none is published for this platform"), "{failure}");
    assert!(failure.contains("`--features bundled`"), "{failure}");
}

#[test]
fn the_users_folder_comes_before_every_other() {
    let mut place = Place::new();
    let system = place.library_in("system", RIGHT);
    let chosen = place.library_in("chosen", RIGHT);
    place.request.system_dirs = vec![system];
    place.request.lib_dir = Some(chosen.clone());
    let found = find(&place.request).unwrap();
    assert_eq!((found.origin, found.folder), (Origin::LibDir, chosen));
}

#[test]
fn a_wrong_library_in_the_users_folder_is_refused_and_not_passed_over() {
    let mut place = Place::new();
    place.request.system_dirs = vec![place.library_in("system", RIGHT)];
    place.request.lib_dir = Some(place.library_in("chosen", OF_ANOTHER_VERSION));
    let failure = place.failure();
    assert!(failure.contains("DUCKDB_LIB_DIR: "), "{failure}");
    assert!(failure.contains("chosen/libduckdb.so is not DuckDB 1.5.6"), "{failure}");
}

#[test]
fn a_system_library_is_taken_by_its_version_and_not_by_its_hash() {
    let mut place = Place::new();
    let old = place.library_in("old", OF_ANOTHER_VERSION);
    let current = place.library_in("current", b"the distribution's own build\0v1.5.6\0");
    place.request.system_dirs = vec![old, current.clone()];
    let found = find(&place.request).unwrap();
    assert_eq!((found.origin, found.folder), (Origin::System, current));
}

#[test]
fn what_npm_gave_is_kept_and_found_again_without_npm() {
    let place = Place::new();
    place.npm_serves(RIGHT);
    let fetched = find(&place.request).unwrap();
    assert_eq!(
        (fetched.origin, fetched.folder),
        (Origin::Npm, place.root.path().join(CACHE))
    );
    assert_eq!(place.left_in_target(), ["duckdb-1.5.6-linux-x64"]);

    fs::remove_file(&place.request.npm).unwrap();
    let found = find(&place.request).unwrap();
    assert_eq!(
        (found.origin, found.folder),
        (Origin::Cache, place.root.path().join(CACHE))
    );
}

#[test]
fn a_library_that_was_tampered_with_never_reaches_the_cache() {
    let place = Place::new();
    place.npm_serves(b"right version, wrong content\0v1.5.6\0");
    let failure = place.failure();
    assert!(
        failure.contains("npm: ") && failure.contains("has SHA-256"),
        "{failure}"
    );
    assert_eq!(place.left_in_target(), Vec::<String>::new());
}

#[test]
fn npms_own_words_are_passed_on() {
    let place = Place::new();
    place.npm_serves(RIGHT);
    fs::write(place.root.path().join("refuses"), "").unwrap();
    assert!(
        place.failure().contains("npm failed: npm error code ENOTCACHED"),
        "{}",
        place.failure()
    );
}

#[test]
fn a_damaged_cache_is_fetched_anew() {
    let place = Place::new();
    place.library_in(CACHE, &RIGHT[..RIGHT.len() - 1]);
    place.npm_serves(RIGHT);
    assert_eq!(find(&place.request).unwrap().origin, Origin::Npm);
    assert_eq!(find(&place.request).unwrap().origin, Origin::Cache);
}

#[test]
fn builds_that_fetch_at_once_all_end_with_a_whole_library() {
    let place = Place::new();
    place.npm_serves(RIGHT);
    thread::scope(|scope| {
        let builds: Vec<_> = (0..8).map(|_| scope.spawn(|| find(&place.request))).collect();
        for build in builds {
            let found = build.join().unwrap().unwrap();
            assert_eq!(fs::read(found.folder.join("libduckdb.so")).unwrap(), RIGHT);
        }
    });
    assert_eq!(place.left_in_target(), ["duckdb-1.5.6-linux-x64"]);
}

#[test]
fn nothing_is_fetched_into_a_folder_that_cargo_install_deletes() {
    let mut place = Place::new();
    place.npm_serves(RIGHT);
    place.request.cache_root = place.root.path().join("cargo-installq1w2e3");
    assert!(
        place.failure().contains("`cargo install` deletes its target folder"),
        "{}",
        place.failure()
    );
}

#[test]
fn the_target_folder_is_found_from_where_cargo_puts_output() {
    for (out_dir, expected) in [
        ("/src/petit/target/debug/build/petit-0f1e/out", "/src/petit/target"),
        (
            "/cache/x86_64-unknown-linux-gnu/release/build/petit-0f1e/out",
            "/cache/x86_64-unknown-linux-gnu",
        ),
        ("/work/build/target/debug/build/petit-0f1e/out", "/work/build/target"),
    ] {
        assert_eq!(target_dir(Path::new(out_dir)), Path::new(expected));
    }
}
