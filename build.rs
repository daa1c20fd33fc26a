//! Finds the prebuilt DuckDB that the `history` feature links, so that plain `cargo build`, `run` and `test` need no
//! environment and no twenty-minute compilation.
//!
//! In go Cargo's variables, read once into a [`Request`]; out come the linker's search path and an rpath, or one
//! sentence that says what to do. `libduckdb-sys`, a dependency and therefore built before this script runs, has only
//! asked for `-lduckdb`. Nothing is linked before the final binary, so the folder named here is in time.
//!
//! The script does nothing without `history`, nor with `bundled`, where `libduckdb-sys` compiles DuckDB itself. It knows
//! no other platform than those for which DuckDB publishes a library; `tests/build_script.rs` includes this file.

use std::{
    env, fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use sha2::{Digest, Sha256};

/// The version whose C interface the `duckdb` crate in `Cargo.toml` was generated from.
pub(crate) const VERSION: &str = "1.5.6";

/// The npm release that carries [`VERSION`]; its suffix counts repackagings.
const NPM_VERSION: &str = "1.5.6-r.1";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if !has_feature("HISTORY") || has_feature("BUNDLED") {
        return;
    }
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo::rerun-if-env-changed=CARGO_NET_OFFLINE");

    let request = Request::from_cargo();
    match find(&request) {
        Ok(found) => link(&found, &request),
        // Cargo shows the line as an error of this crate and then fails the build.
        Err(failure) => println!("cargo::error={failure}"),
    }
}

/// Tells Cargo how to link the library and how its programs will find it from any working folder.
fn link(found: &Found, request: &Request) {
    let folder = found.folder.display();
    println!("cargo::rustc-link-search=native={folder}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    // A library that vanishes, for example with a cleaned cache, is looked for again.
    println!(
        "cargo::rerun-if-changed={}",
        found.folder.join(request.library.file_name).display()
    );

    if matches!(found.origin, Origin::Npm | Origin::Release) {
        println!(
            "cargo::warning=fetched the prebuilt DuckDB {VERSION} from {} into {folder}",
            found.origin
        );
        // Cargo repeats a script's warnings at every build until the script runs again. Watching a file that does not
        // exist makes it run at the next one, which finds the library in place and has nothing more to say.
        println!("cargo::rerun-if-changed={folder}/announced");
    }
}

/// Everything that decides which library is taken.
pub(crate) struct Request {
    pub(crate) library: Library,
    /// `None` where DuckDB publishes nothing that could be fetched.
    pub(crate) platform: Option<Platform>,
    /// `DUCKDB_LIB_DIR`: the user's choice, which is used or refused but never passed over.
    pub(crate) lib_dir: Option<PathBuf>,
    pub(crate) system_dirs: Vec<PathBuf>,
    /// Where fetched libraries are kept: Cargo's target folder, which `cargo clean` and a changed `CARGO_TARGET_DIR`
    /// take along with the binaries that point into it.
    pub(crate) cache_root: PathBuf,
    pub(crate) offline: bool,
    pub(crate) npm: PathBuf,
    pub(crate) curl: PathBuf,
}

/// The file to look for and how a right one is told from a wrong one.
pub(crate) struct Library {
    pub(crate) file_name: &'static str,
    /// The published file's hash, where it is known. It binds what is fetched and cached; a distribution's own build of
    /// the same version differs and is known by its version alone.
    pub(crate) sha256: Option<String>,
}

/// The names that DuckDB's publishers give to one operating system and processor.
#[derive(Clone, Copy)]
pub(crate) struct Platform {
    /// As in `@duckdb/node-bindings-<npm>`, and in the cache folder's name.
    pub(crate) npm: &'static str,
    /// As in `libduckdb-<release>.zip`.
    pub(crate) release: &'static str,
}

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) folder: PathBuf,
    pub(crate) origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    LibDir,
    System,
    Cache,
    Npm,
    Release,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Origin::LibDir => "DUCKDB_LIB_DIR",
            Origin::System => "the system's libraries",
            Origin::Cache => "the target folder",
            Origin::Npm => "npm",
            Origin::Release => "the official release",
        })
    }
}

/// Why no library was found: each place that was tried, with what was wrong there.
#[derive(Debug)]
pub(crate) struct Failure {
    tried: Vec<(Origin, String)>,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "found no usable prebuilt DuckDB {VERSION}: install npm and go online, or name a folder that has the library \
             in DUCKDB_LIB_DIR, or compile it with `--features bundled` (about 20 minutes), or leave the history out with \
             `--no-default-features` (tried "
        )?;
        for (index, (origin, reason)) in self.tried.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(out, "{separator}{origin}: {reason}")?;
        }
        out.write_str(")")
    }
}

/// Takes the first right library, in the order of least surprise: what the user named, what the system has, what an
/// earlier build fetched, and only then the network.
pub(crate) fn find(request: &Request) -> Result<Found, Failure> {
    let mut failure = Failure { tried: Vec::new() };

    if let Some(folder) = &request.lib_dir {
        // A wrong library here ends the search: whoever sets the variable wants to hear that it had no effect.
        return match request.library.check_version(folder) {
            Ok(()) => Ok(Found {
                folder: folder.clone(),
                origin: Origin::LibDir,
            }),
            Err(reason) => {
                failure.tried.push((Origin::LibDir, reason));
                Err(failure)
            }
        };
    }

    for folder in &request.system_dirs {
        if request.library.check_version(folder).is_ok() {
            return Ok(Found {
                folder: folder.clone(),
                origin: Origin::System,
            });
        }
    }
    failure
        .tried
        .push((Origin::System, "none, or of another version".to_owned()));

    let Some(platform) = request.platform else {
        failure
            .tried
            .push((Origin::Release, "none is published for this platform".to_owned()));
        return Err(failure);
    };
    let cache = request.cache_root.join(format!("duckdb-{VERSION}-{}", platform.npm));
    match request.library.check_published(&cache) {
        Ok(()) => {
            return Ok(Found {
                folder: cache,
                origin: Origin::Cache,
            });
        }
        Err(reason) => failure.tried.push((Origin::Cache, reason)),
    }

    if is_discarded_after_build(&request.cache_root) {
        let reason = "`cargo install` deletes its target folder, and a library fetched into it";
        failure.tried.push((Origin::Npm, reason.to_owned()));
        return Err(failure);
    }
    for (origin, fetch) in [
        (Origin::Npm, fetch_from_npm as Fetch),
        (Origin::Release, fetch_from_release),
    ] {
        match fetch_into_cache(request, platform, fetch, &cache) {
            Ok(()) => return Ok(Found { folder: cache, origin }),
            Err(reason) => failure.tried.push((origin, reason)),
        }
    }
    Err(failure)
}

impl Library {
    /// Accepts any build of [`VERSION`].
    fn check_version(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join(self.file_name);
        let bytes = fs::read(&path).map_err(|error| describe(&path, &error))?;
        // DuckDB keeps the string that `duckdb_library_version` returns as it is. Loading the library to ask it would
        // run foreign code, and not at all when cross-compiling.
        let version = format!("v{VERSION}\0");
        if bytes.windows(version.len()).any(|window| window == version.as_bytes()) {
            Ok(())
        } else {
            Err(format!("{} is not DuckDB {VERSION}", path.display()))
        }
    }

    /// Accepts the published file only, where its hash is known.
    fn check_published(&self, folder: &Path) -> Result<(), String> {
        let Some(expected) = &self.sha256 else {
            return self.check_version(folder);
        };
        let path = folder.join(self.file_name);
        let actual = sha256_of(&path).map_err(|error| describe(&path, &error))?;
        if actual == *expected {
            Ok(())
        } else {
            Err(format!("{} has SHA-256 {actual} instead of {expected}", path.display()))
        }
    }
}

fn describe(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("no {}", path.display()),
        _ => format!("cannot read {}: {error}", path.display()),
    }
}

/// Puts the library into the folder that it is given, which is empty and on the cache's file system.
type Fetch = fn(&Request, Platform, &Path) -> Result<(), String>;

/// Fetches beside the cache and moves the checked file into place, so that a build that is killed leaves no half a
/// library, and of builds that run at once each finds a whole one.
fn fetch_into_cache(request: &Request, platform: Platform, fetch: Fetch, cache: &Path) -> Result<(), String> {
    let scratch =
        Scratch::beside(cache).map_err(|error| format!("cannot write beside {}: {error}", cache.display()))?;
    fetch(request, platform, &scratch.0)?;
    request.library.check_published(&scratch.0)?;
    let name = request.library.file_name;
    fs::create_dir_all(cache)
        .and_then(|()| fs::rename(scratch.0.join(name), cache.join(name)))
        .map_err(|error| format!("cannot move the library to {}: {error}", cache.display()))
}

fn fetch_from_npm(request: &Request, platform: Platform, folder: &Path) -> Result<(), String> {
    let package = format!("@duckdb/node-bindings-{}@{NPM_VERSION}", platform.npm);
    let mut pack = Command::new(&request.npm);
    pack.args([
        "pack",
        "--loglevel=error",
        "--ignore-scripts",
        "--fetch-retries=1",
        &package,
    ])
    .current_dir(folder);
    if request.offline {
        // npm then answers from its own cache, or says that it cannot.
        pack.arg("--offline");
    }
    let archive = run(&mut pack)?;
    let inside = format!("package/{}", request.library.file_name);
    run(Command::new("tar")
        .args(["-xzf", archive.trim(), "--strip-components=1", &inside])
        .current_dir(folder))?;
    Ok(())
}

fn fetch_from_release(request: &Request, platform: Platform, folder: &Path) -> Result<(), String> {
    if request.offline {
        return Err("offline".to_owned());
    }
    let archive = format!("libduckdb-{}.zip", platform.release);
    let url = format!("https://github.com/duckdb/duckdb/releases/download/v{VERSION}/{archive}");
    let mut download = Command::new(&request.curl);
    download.args([
        "--fail",
        "--silent",
        "--show-error",
        "--location",
        "--remote-name",
        "--connect-timeout",
        "20",
    ]);
    run(download.arg(&url).current_dir(folder))?;
    run(Command::new("unzip")
        .args(["-q", &archive, request.library.file_name])
        .current_dir(folder))?;
    Ok(())
}

/// Runs a tool to its end and returns its standard output, or why it failed in few words.
fn run(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("no {name} on the PATH"),
            _ => format!("cannot start {name}: {error}"),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    match complaint.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => Err(format!("{name} failed: {line}")),
        None => Err(format!("{name} failed with {}", output.status)),
    }
}

/// A folder for unfinished work that is gone when its owner returns, whichever way.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(cache: &Path) -> io::Result<Scratch> {
        // Two builds can run in one target folder (Cargo locks it per profile), and two threads in one test.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = cache.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{count}.part", std::process::id()));
        let folder = cache.with_file_name(name);
        fs::create_dir_all(&folder)?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed only takes room in the target folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hash.update(&chunk[..length]),
        }
    }
}

impl Request {
    fn from_cargo() -> Request {
        let os = cargo_variable("CARGO_CFG_TARGET_OS");
        let arch = cargo_variable("CARGO_CFG_TARGET_ARCH");
        let target_env = env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
        Request {
            library: Library::of(&os, &arch),
            platform: Platform::of(&os, &arch, &target_env),
            lib_dir: env::var_os("DUCKDB_LIB_DIR").map(PathBuf::from),
            system_dirs: system_dirs(&arch),
            cache_root: target_dir(Path::new(&cargo_variable("OUT_DIR"))),
            offline: is_offline(),
            npm: PathBuf::from("npm"),
            curl: PathBuf::from("curl"),
        }
    }
}

impl Library {
    fn of(os: &str, arch: &str) -> Library {
        let file_name = if os == "macos" {
            "libduckdb.dylib"
        } else {
            "libduckdb.so"
        };
        let sha256 = match (os, arch) {
            ("linux", "x86_64") => Some("3f4962cdd266eab2b479a5b5a4a6d063d279b2954ae814ed00385d553b747633"),
            _ => None,
        };
        Library {
            file_name,
            sha256: sha256.map(str::to_owned),
        }
    }
}

impl Platform {
    pub(crate) fn of(os: &str, arch: &str, target_env: &str) -> Option<Platform> {
        match (os, arch, target_env) {
            ("linux", "x86_64", "gnu") => Some(Platform {
                npm: "linux-x64",
                release: "linux-amd64",
            }),
            ("linux", "aarch64", "gnu") => Some(Platform {
                npm: "linux-arm64",
                release: "linux-arm64",
            }),
            ("macos", "x86_64", _) => Some(Platform {
                npm: "darwin-x64",
                release: "osx-universal",
            }),
            ("macos", "aarch64", _) => Some(Platform {
                npm: "darwin-arm64",
                release: "osx-universal",
            }),
            _ => None,
        }
    }
}

/// Where a library that the user or the distribution installed would lie: pkg-config's word first, then the compiler's
/// and the loader's usual places.
fn system_dirs(arch: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(folder) = run(Command::new("pkg-config").args(["--variable=libdir", "duckdb"])) {
        folders.push(PathBuf::from(folder.trim()));
    }
    if let Some(list) = env::var_os("LIBRARY_PATH") {
        folders.extend(env::split_paths(&list));
    }
    let multiarch = format!("/usr/lib/{arch}-linux-gnu");
    let usual = [
        "/usr/local/lib",
        "/opt/homebrew/lib",
        &multiarch,
        "/usr/lib64",
        "/usr/lib",
    ];
    folders.extend(usual.map(PathBuf::from));
    folders.retain(|folder| folder.is_absolute());
    folders
}

/// The folder above the profile's (`debug`), from `OUT_DIR`, which is `<that>/debug/build/petit-<hash>/out`: for a named
/// target its own folder, else the one that `CARGO_TARGET_DIR` may have moved.
pub(crate) fn target_dir(out_dir: &Path) -> PathBuf {
    let build = out_dir.ancestors().find(|folder| folder.ends_with("build"));
    let target = build.and_then(|build| build.parent()?.parent());
    target.unwrap_or(out_dir).to_owned()
}

/// `cargo install` of a published or git crate builds in a temporary folder and deletes it, so that a library fetched
/// there would be gone when the binary first runs. (With `--path` it builds in the checkout's own target folder.)
fn is_discarded_after_build(target_dir: &Path) -> bool {
    target_dir
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("cargo-install"))
}

/// Cargo hands `net.offline` to build scripts when it stands in the environment; of `--offline` only its command line
/// tells, which Linux lets a child read.
fn is_offline() -> bool {
    if env::var("CARGO_NET_OFFLINE").is_ok_and(|value| value == "true" || value == "1") {
        return true;
    }
    let parent = std::os::unix::process::parent_id();
    let arguments = fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| matches!(argument, b"--offline" | b"--frozen"))
}

fn has_feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn cargo_variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("Cargo sets {name} for every build script"))
}
