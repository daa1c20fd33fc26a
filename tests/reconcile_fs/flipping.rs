//! Many files that become others at once: by links, and by git.

use std::{fs, os::unix::fs::symlink, path::Path};

use petit::{reconcile::SyncStatus, storage::Storage};

use crate::followed::{Followed, git, save, yaml};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flips_of_configmaps_and_of_git_sync_are_seen() {
    let followed = Followed::new(|temp| {
        for (rev, priority) in [("rev1", 1), ("rev2", 2)] {
            fs::create_dir_all(temp.join(rev).join("jobs")).expect("folders");
            save(&temp.join(rev).join("jobs/synced.yaml"), &yaml(priority));
        }
        for (version, priority) in [("..v1", 1), ("..v2", 2)] {
            fs::create_dir_all(temp.join("rev1/jobs").join(version)).expect("folders");
            save(
                &temp.join("rev1/jobs").join(version).join("mapped.yaml"),
                &yaml(priority),
            );
        }
        symlink("..v1", temp.join("rev1/jobs/..data")).expect("a link");
        symlink("..data/mapped.yaml", temp.join("rev1/jobs/mapped.yaml")).expect("a link");
        symlink("rev1", temp.join("current")).expect("a link");
        symlink("current/jobs", temp.join("jobs.d")).expect("a link");
    })
    .await;
    followed.until_active("both jobs", |active| active.len() == 2).await;
    assert_eq!(
        (followed.priority("mapped"), followed.priority("synced")),
        (Some(1), Some(1))
    );

    let flip = |folder: &Path, link: &str, target: &str| {
        symlink(target, folder.join("..tmp")).expect("a link");
        fs::rename(folder.join("..tmp"), folder.join(link)).expect("a flip");
    };
    flip(&followed.temp.path().join("rev1/jobs"), "..data", "..v2");
    followed.until_priority("mapped", 2).await;
    flip(followed.temp.path(), "current", "rev2");
    followed.until_priority("synced", 2).await;
    followed
        .until_active("the removal of what rev2 does not have", |active| active.len() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_of_another_branch_is_one_plan_or_two_and_nothing_is_missing_meanwhile() {
    const CHANGED: usize = 500;
    const NEW: usize = 20;
    let fill = |folder: &Path, priority: i32, named: &str| {
        for i in 0..CHANGED {
            save(&folder.join(format!("both-{i:03}.yaml")), &yaml(priority));
        }
        for i in 0..NEW {
            save(&folder.join(format!("{named}-{i:03}.yaml")), &yaml(priority));
        }
    };
    let followed = Followed::new(|temp| {
        let jobs = temp.join("jobs.d");
        fs::create_dir(&jobs).expect("a folder");
        git(temp, &["init", "--quiet", "--initial-branch", "one"]);
        fill(&jobs, 1, "first");
        git(temp, &["add", "--all"]);
        git(temp, &["commit", "--quiet", "--message", "one"]);
        git(temp, &["checkout", "--quiet", "-b", "two"]);
        git(temp, &["rm", "--quiet", "jobs.d/first-*.yaml"]);
        fill(&jobs, 2, "second");
        git(temp, &["add", "--all"]);
        git(temp, &["commit", "--quiet", "--message", "two"]);
        git(temp, &["checkout", "--quiet", "one"]);
    })
    .await;
    followed
        .until_active("the first branch", |active| active.len() == CHANGED + NEW)
        .await;
    followed.until("all well", SyncStatus::is_synced).await;
    for (branch, priority, named) in [("two", 2, "second"), ("one", 1, "first")] {
        let before = followed.storage.reconciles(100).expect("rows").len();
        git(followed.temp.path(), &["checkout", "--quiet", branch]);
        followed
            .until_active("the other branch", |active| {
                let both = active.iter().filter(|(job, _)| job.as_str().starts_with("both-"));
                let changed = both.filter(|(_, active)| active.job.spec.priority == priority).count();
                let new = active.keys().filter(|job| job.as_str().starts_with(named)).count();
                (changed, new, active.len()) == (CHANGED, NEW, CHANGED + NEW)
            })
            .await;
        let plans = followed.storage.reconciles(100).expect("rows").len() - before;
        // What is gone is certain two seconds later than what is new.
        assert!(plans <= 2, "{plans} plans for {branch}");
    }
    let always = (0..CHANGED).all(|i| followed.always_had(&format!("both-{i:03}")));
    assert!(always, "a job that is on both branches was missing");
}
