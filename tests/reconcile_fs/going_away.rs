//! A folder that goes away and comes back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use petit::{
    core::Timestamp,
    events::EventBus,
    reconcile::{Source, SyncStatus, settle::REMOVAL},
    storage::Storage,
};

use crate::{
    followed::{DEADLINE, Followed, save, with_jobs, yaml},
    slots::{EVERY_SECOND, Scheduling, check_every_second},
};

/// Longer than a file must be missing to count as removed.
const IN_VAIN: Duration = Duration::from_secs(REMOVAL.as_secs() + 1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_gone_or_replaced_is_unavailable_and_removes_nothing() {
    let followed = Followed::new(with_jobs(&["a"])).await;
    followed.until_priority("a", 0).await;
    let away = followed.temp.path().join("elsewhere");
    fs::rename(followed.root(), &away).expect("moved away");
    let status = followed.until("an unavailable source", is_unavailable).await;
    assert!(!status.is_synced() && !status.conditions.is_empty());
    let outcome = followed.sync(None).await;
    assert!(!outcome.synced && outcome.actions.is_empty());

    fs::create_dir(followed.root()).expect("an empty folder in its place");
    let replaced = |status: &SyncStatus| matches!(&status.source, Source::Unavailable { message, .. } if message.contains(".allow-empty"));
    followed.until("a replaced source", replaced).await;
    fs::remove_dir(followed.root()).expect("removed");
    fs::rename(&away, followed.root()).expect("moved back");
    followed.until("all well", SyncStatus::is_synced).await;
    assert_eq!(followed.active()["a"].record.generation, 1);
    assert!(followed.always_had("a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_moved_away_and_back_costs_no_slot() {
    let followed = Followed::new(|temp| {
        with_jobs(&["a", "b"])(temp);
        save(&temp.join("jobs.d/tick.yaml"), EVERY_SECOND);
    })
    .await;
    followed.until_active("three jobs", |active| active.len() == 3).await;
    let before = followed.active();
    let scheduling = Scheduling::start(&followed.storage, followed.handle.active(), EventBus::default());
    let away = followed.temp.path().join("elsewhere");
    fs::rename(followed.root(), &away).expect("moved away");
    followed.until("an unavailable source", is_unavailable).await;
    followed.until_looked_for(IN_VAIN).await;
    fs::rename(&away, followed.root()).expect("moved back");
    followed.until("all well", SyncStatus::is_synced).await;
    assert!(followed.sync(None).await.synced);
    until_scheduled(&followed, "tick", Utc::now()).await;
    scheduling.stop().await;
    assert!(Arc::ptr_eq(&before, &followed.active()), "nothing was changed");
    assert!(["a", "b", "tick"].iter().all(|job| followed.always_had(job)));
    let seconds = check_every_second(&followed.storage, "tick");
    assert!(seconds >= IN_VAIN.as_secs(), "{seconds}");
}

/// Waits until the slots of a job are recorded up to this instant.
async fn until_scheduled(followed: &Followed, job: &str, until: Timestamp) {
    let began = Instant::now();
    let is_recorded = || {
        let watermarks = followed.storage.watermarks().expect("rows");
        watermarks.iter().any(|(of, at)| of.as_str() == job && *at >= until)
    };
    while !is_recorded() {
        assert!(began.elapsed() < DEADLINE, "nobody schedules {job}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_whose_file_system_is_unmounted_is_unavailable_and_removes_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let disk = temp.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let mut mounted = match Mounted::new(&["-t", "tmpfs", "-o", "mode=755", "tmpfs"], &disk) {
        Ok(mounted) => mounted,
        Err(reason) => {
            println!("skipped: nothing can be mounted here: {reason}");
            return;
        }
    };
    let fill = |folder: &Path| {
        for name in ["a", "b", "c"] {
            save(&folder.join(format!("{name}.yaml")), &yaml(0));
        }
    };
    fill(&disk);
    let followed = Followed::with(
        |_| {},
        |options| {
            options.jobs_dir.clone_from(&disk);
            // Of a mount that comes or goes the kernel tells nobody, so that the next regular look finds it.
            options.resync = Duration::from_millis(250);
        },
    )
    .await;
    followed.until_active("three jobs", |active| active.len() == 3).await;
    let before = followed.active();

    mounted.unmount();
    followed.until("an unavailable source", is_unavailable).await;
    followed.until_looked_for(IN_VAIN).await;

    // What is mounted in its place is another file system with the same files in it.
    let other = temp.path().join("other");
    fs::create_dir(&other).expect("a folder");
    fill(&other);
    mounted = Mounted::new(&["--bind", &other.display().to_string()], &disk).expect("permitted before");
    followed.until("all well", SyncStatus::is_synced).await;
    assert!(Arc::ptr_eq(&before, &followed.active()), "nothing was changed");
    save(&other.join("a.yaml"), &yaml(1));
    followed.until_priority("a", 1).await;
    assert!(followed.always_had("b") && followed.always_had("c"));
    drop(followed);
    mounted.unmount();
}

fn is_unavailable(status: &SyncStatus) -> bool {
    matches!(status.source, Source::Unavailable { .. })
}

/// A mount that ends with the test.
struct Mounted {
    at: PathBuf,
    is_there: bool,
}

impl Mounted {
    /// Mounts as `mount` is asked to; says why that cannot be.
    fn new(arguments: &[&str], at: &Path) -> Result<Self, String> {
        let mount = Command::new("mount").args(arguments).arg(at).output();
        let output = mount.map_err(|error| format!("mount cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self {
            at: at.to_owned(),
            is_there: true,
        })
    }

    /// Detaches it at once, though somebody may be looking into it.
    fn unmount(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(&self.at).status();
        self.is_there = false;
        assert!(status.expect("umount runs").success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_there {
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        }
    }
}
