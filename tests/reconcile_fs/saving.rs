//! The ways in which programs save a file: each is one update, and none is ever a removal.
//!
//! A program that is installed is run. What it does to the folder is done here as well, call by call, so that each way is
//! tested on every machine.

use std::{
    fs,
    io::{Seek, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use petit::reconcile::settle::REMOVAL;

use crate::followed::{Followed, git, save, with_jobs, yaml};

/// Saves a text as the file `a.yaml` of this folder.
type Save = fn(&Path, &str);

/// What programs do, call by call.
const PATTERNS: &[(&str, Save)] = &[
    ("written in place, as by cp and nano", |folder, text| {
        save(&folder.join("a.yaml"), text);
    }),
    ("truncated, then written in pieces, as by a shell", |folder, text| {
        let mut file = fs::File::create(folder.join("a.yaml")).expect("truncated");
        file.write_all(&text.as_bytes()[..9]).expect("the beginning");
        file.write_all(&text.as_bytes()[9..]).expect("the rest");
    }),
    ("deleted and created", |folder, text| {
        fs::remove_file(folder.join("a.yaml")).expect("removed");
        save(&folder.join("a.yaml"), text);
    }),
    ("vim: moved aside, written anew", |folder, text| {
        save(&folder.join(".a.yaml.swp"), "b0VIM 9.0");
        save(&folder.join("4913"), "");
        fs::remove_file(folder.join("4913")).expect("removed");
        fs::rename(folder.join("a.yaml"), folder.join("a.yaml~")).expect("a rename");
        save(&folder.join("a.yaml"), text);
        fs::remove_file(folder.join("a.yaml~")).expect("removed");
        fs::remove_file(folder.join(".a.yaml.swp")).expect("removed");
    }),
    ("vim with backupcopy: copied aside, written in place", |folder, text| {
        fs::copy(folder.join("a.yaml"), folder.join("a.yaml~")).expect("a copy");
        save(&folder.join("a.yaml"), text);
        fs::remove_file(folder.join("a.yaml~")).expect("removed");
    }),
    ("emacs: a lock, an autosave and a backup that stays", |folder, text| {
        let lock = folder.join(".#a.yaml");
        symlink("somebody@somewhere.4711:1700000000", &lock).expect("a link to nothing");
        save(&folder.join("#a.yaml#"), &text[..text.len() / 2]);
        let _ = fs::remove_file(folder.join("a.yaml~"));
        fs::rename(folder.join("a.yaml"), folder.join("a.yaml~")).expect("a rename");
        save(&folder.join("a.yaml"), text);
        fs::remove_file(folder.join("#a.yaml#")).expect("removed");
        fs::remove_file(lock).expect("removed");
    }),
    ("nano: a lock and a backup by copying", |folder, text| {
        save(&folder.join(".a.yaml.swp"), "b0nano");
        fs::copy(folder.join("a.yaml"), folder.join("a.yaml~")).expect("a copy");
        save(&folder.join("a.yaml"), text);
        fs::remove_file(folder.join(".a.yaml.swp")).expect("removed");
    }),
    ("VS Code: opened, cut to nothing, written", |folder, text| {
        let file = fs::OpenOptions::new().write(true).open(folder.join("a.yaml"));
        let mut file = file.expect("there");
        file.set_len(0).expect("truncated");
        file.rewind().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.sync_all().expect("on the disk");
    }),
    ("VS Code, atomically: written beside, renamed over", |folder, text| {
        save(&folder.join("a.yaml.vsctmp"), text);
        fs::rename(folder.join("a.yaml.vsctmp"), folder.join("a.yaml")).expect("a rename");
    }),
    ("JetBrains: both moved", |folder, text| {
        save(&folder.join("a.yaml___jb_tmp___"), text);
        fs::rename(folder.join("a.yaml"), folder.join("a.yaml___jb_old___")).expect("a rename");
        fs::rename(folder.join("a.yaml___jb_tmp___"), folder.join("a.yaml")).expect("a rename");
        fs::remove_file(folder.join("a.yaml___jb_old___")).expect("removed");
    }),
    ("rsync and sed: a hidden file renamed over", |folder, text| {
        save(&folder.join(".a.yaml.Xk3w9Q"), text);
        fs::rename(folder.join(".a.yaml.Xk3w9Q"), folder.join("a.yaml")).expect("a rename");
    }),
];

/// Programs that save, as they are called: `NEW` stands for a file with the text, `LINE` for its first line.
const PROGRAMS: &[(&str, &[&str])] = &[
    (
        "vim",
        &[
            "vim",
            "-Nu",
            "NONE",
            "-es",
            "--cmd",
            "set swapfile backupcopy=no",
            "+1s/.*/LINE/",
            "+wq",
            "a.yaml",
        ],
    ),
    (
        "vim with backupcopy",
        &[
            "vim",
            "-Nu",
            "NONE",
            "-es",
            "--cmd",
            "set backup backupcopy=yes",
            "+1s/.*/LINE/",
            "+wq",
            "a.yaml",
        ],
    ),
    (
        "emacs",
        &[
            "emacs",
            "-Q",
            "--batch",
            "a.yaml",
            "--eval",
            "(progn (kill-line) (insert \"LINE\") (save-buffer))",
        ],
    ),
    ("ed", &["sh", "-c", "printf '1c\\nLINE\\n.\\nw\\nq\\n' | ed -s a.yaml"]),
    ("sed -i", &["sed", "-i", "1s/.*/LINE/", "a.yaml"]),
    ("sed -i with a backup", &["sed", "-i.bak", "1s/.*/LINE/", "a.yaml"]),
    ("perl -i", &["perl", "-i", "-pe", "s/.*/LINE/ if $. == 1", "a.yaml"]),
    ("cp", &["cp", "NEW", "a.yaml"]),
    (
        "cp --remove-destination",
        &["cp", "--remove-destination", "NEW", "a.yaml"],
    ),
    ("mv", &["mv", "-f", "NEW", "a.yaml"]),
    ("install", &["install", "-m", "644", "NEW", "a.yaml"]),
    ("rsync", &["rsync", "--checksum", "NEW", "a.yaml"]),
    (
        "rsync --inplace",
        &["rsync", "--checksum", "--inplace", "NEW", "a.yaml"],
    ),
    ("a shell", &["sh", "-c", "cat NEW > a.yaml"]),
    ("tee", &["sh", "-c", "tee a.yaml < NEW"]),
];

/// Whoever takes so long to save may have removed the file for long enough that its job went.
const TOO_SLOW: Duration = REMOVAL.checked_div(2).expect("not by zero");
/// How often a way to save is tried again on a machine that stands still meanwhile.
const TRIES: usize = 10;

/// A job that is saved in one way after another.
struct Edited {
    followed: Followed,
    /// How often it was saved. It has that priority, and its generation counts from one.
    times: i32,
}

impl Edited {
    async fn new() -> Self {
        let followed = Followed::new(with_jobs(&["a"])).await;
        followed.until_priority("a", 0).await;
        Self { followed, times: 0 }
    }

    /// Saves in this way, and checks that it is one update.
    async fn save(&mut self, way: &str, save: impl Fn(&Path, &str)) {
        for _ in 0..TRIES {
            self.times += 1;
            let (root, text) = (self.followed.root(), yaml(self.times));
            if is_one_update(&self.followed, way, (self.times, self.times), || save(&root, &text)).await {
                return;
            }
            *self = Self::new().await;
        }
        println!("skipped: {way}, for this machine stands still");
    }
}

/// Saves in this way. Then the job has this priority after so many edits, and it was there all along, alone. `false` if it
/// went meanwhile and the machine stood still between the steps of saving.
async fn is_one_update(followed: &Followed, way: &str, (priority, edits): (i32, i32), save: impl FnOnce()) -> bool {
    let began = Instant::now();
    save();
    let took = began.elapsed();
    followed.until_priority("a", priority).await;
    if took >= TOO_SLOW && !followed.always_had("a") {
        println!("again: {way} took {took:?}");
        return false;
    }
    let generation = followed.active()["a"].record.generation;
    assert_eq!(i64::try_from(generation), Ok(i64::from(edits) + 1), "{way}");
    for set in &*followed.published.lock().expect("not poisoned") {
        let jobs: Vec<&str> = set.keys().map(|job| job.as_str()).collect();
        assert_eq!(jobs, ["a"], "{way}");
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_saving_is_one_update_and_never_a_removal() {
    let mut edited = Edited::new().await;
    for (way, save) in PATTERNS {
        edited.save(way, save).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_installed_programs_save_is_one_update_and_never_a_removal() {
    let mut edited = Edited::new().await;
    let mut ran = 0;
    for (way, words) in PROGRAMS {
        let program = if *way == "ed" { "ed" } else { words[0] };
        if !is_installed(program) {
            println!("skipped: {way}, there is no {program} here");
            continue;
        }
        ran += 1;
        let run = |root: &Path, text: &str| {
            let new = root.with_file_name("new.yaml");
            save(&new, text);
            let line = text.lines().next().expect("a line");
            let new = new.display().to_string();
            let mut words = words.iter().map(|word| word.replace("LINE", line).replace("NEW", &new));
            let output = Command::new(words.next().expect("a program"))
                .args(words)
                .current_dir(root)
                .stdin(Stdio::null())
                .output()
                .expect("it is installed");
            let saved = fs::read_to_string(root.join("a.yaml")).expect("there");
            assert_eq!(saved, text, "{way}: {output:?}");
        };
        edited.save(way, run).await;
    }
    assert!(ran >= 5, "not even cp and mv are installed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_from_another_file_system_is_one_update() {
    let shm = Path::new("/dev/shm");
    let Ok(elsewhere) = tempfile::tempdir_in(shm) else {
        println!("skipped: no file can be made in {}", shm.display());
        return;
    };
    let mut edited = Edited::new().await;
    // Between two file systems nothing can be renamed: the file is removed, and copied piece by piece.
    let from = elsewhere.path().join("a.yaml");
    let mv = |root: &Path, text: &str| {
        save(&from, text);
        let moved = Command::new("mv").arg("-f").arg(&from).arg(root).status();
        assert!(moved.expect("mv runs").success());
    };
    edited.save("mv from another file system", mv).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_of_one_file_is_one_update() {
    for _ in 0..TRIES {
        let followed = Followed::new(|temp| {
            with_jobs(&["a"])(temp);
            git(temp, &["init", "--quiet", "--initial-branch", "main"]);
            git(temp, &["add", "--all"]);
            git(temp, &["commit", "--quiet", "--message", "one"]);
        })
        .await;
        followed.until_priority("a", 0).await;
        let edit = || save(&followed.path("a.yaml"), &yaml(1));
        let back = || git(followed.temp.path(), &["checkout", "--quiet", "--", "jobs.d/a.yaml"]);
        if is_one_update(&followed, "an edit", (1, 1), edit).await
            && is_one_update(&followed, "a checkout", (0, 2), back).await
        {
            return;
        }
    }
    println!("skipped: this machine stands still");
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
