//! More files at once than the kernel's queue of events has room for.

use std::time::Instant;

use petit::reconcile::SyncStatus;

use crate::followed::{Followed, save, yaml};

/// The kernel keeps 16,384 events for one reader by default, and each file gives three.
const FILES: usize = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_thousand_files_at_once_become_active_and_none_is_forgotten() {
    let followed = Followed::new(|_| {}).await;
    let began = Instant::now();
    for i in 0..FILES {
        save(
            &followed.path(&format!("job-{i:05}.yaml")),
            &yaml(i32::try_from(i % 100).expect("small")),
        );
    }
    let written = began.elapsed();
    followed
        .until_active("all of them", |active| active.len() == FILES)
        .await;
    println!(
        "{FILES} files written in {written:?}, all active after {:?}",
        began.elapsed()
    );
    let status = followed.until("all well", SyncStatus::is_synced).await;
    assert_eq!((status.files.len(), &status.conditions[..]), (FILES, &[][..]));
    // Where so many events were lost, the next one is heard.
    let saved = Instant::now();
    save(&followed.path("job-12345.yaml"), &yaml(-1));
    followed.until_priority("job-12345", -1).await;
    println!("and one more edit after {:?}", saved.elapsed());
}
