use std::path::PathBuf;

use super::*;
use crate::store::{db, meta};

/// Longer than any sync may be put off, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    writer: Writer,
    syncs: Arc<AtomicUsize>,
    database: PathBuf,
    ended: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut LogFile)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("agentsup.db");
        let connection = db::open_writer(&database).unwrap();
        let mut disk = Disk::new(connection, LogFile::of(&database)).unwrap();
        change(&mut disk.log);
        let syncs = Arc::clone(&disk.log.syncs);
        let (queue, received) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::of(disk));
        let ended = tokio::spawn(write_until_closed(Arc::clone(&shared), received));
        Self { writer: Writer { queue, shared }, syncs, database, ended, _dir: dir }
    }

    fn syncs(&self) -> usize {
        self.syncs.load(Ordering::SeqCst)
    }

    async fn set(&self, value: &'static str, needs_sync: bool) -> Result<(), StoreError> {
        self.writer.write(move |tx| meta::set(tx, "key", value), move |()| needs_sync).await
    }
}

#[tokio::test]
async fn only_what_asks_for_it_waits_for_the_disk() {
    let world = World::new();
    world.set("soon", false).await.unwrap();
    assert_eq!(world.syncs(), 0);
    world.set("now", true).await.unwrap();
    assert_eq!(world.syncs(), 1);
    // What failed left nothing that could need it.
    let failed: Result<(), _> = world.writer.write(|_| Err(StoreError::Closed), |()| true).await;
    assert!(failed.is_err());
    assert_eq!(world.syncs(), 1);
}

#[tokio::test]
async fn what_may_be_late_is_on_the_disk_soon_however_busy_the_writer_is() {
    let world = World::new();
    let busy = async {
        while world.syncs() == 0 {
            world.set("soon", false).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, busy).await.unwrap();
    // And with nobody writing any more.
    world.set("soon", false).await.unwrap();
    let (before, idle) = (world.syncs(), async {
        while world.syncs() < 2 {
            tokio::task::yield_now().await;
        }
    });
    assert!(before >= 1);
    timeout(PATIENCE, idle).await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_writer_leaves_nothing_unsynced() {
    let world = World::new();
    world.set("soon", false).await.unwrap();
    let (syncs, ended) = (Arc::clone(&world.syncs), world.ended);
    drop(world.writer);
    timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn after_the_disk_has_failed_nothing_is_believed_any_more() {
    let world = World::with(|log| log.path = "/nowhere/at/all".into());
    world.set("soon", false).await.unwrap();
    let error = world.set("now", true).await.unwrap_err();
    assert!(error.to_string().starts_with("the commit failed: the disk did not take it"), "{error}");
    // Not even what could be late.
    assert!(world.set("soon", false).await.is_err());
    std::fs::write(world.database.with_file_name("unrelated"), "x").unwrap();
    assert!(world.set("soon", false).await.is_err());
}

/// What is in the file, as another connection sees it.
fn kept(world: &World) -> Option<String> {
    let connection = Connection::open(&world.database).unwrap();
    meta::load(&connection, "key").unwrap()
}

#[tokio::test]
async fn what_is_left_behind_is_written_first_by_whoever_writes_next() {
    let world = World::new();
    let seen = world.writer.write_behind(|tx| meta::set(tx, "key", "behind")).ok().unwrap();
    assert_eq!(kept(&world), None);
    let before = world.writer.write(|tx| meta::load(tx, "key"), |_| false).await.unwrap();
    assert_eq!(before.as_deref(), Some("behind"));
    seen.await.unwrap();
}

#[tokio::test]
async fn what_is_left_behind_is_written_though_nobody_writes_or_waits() {
    for waits in [true, false] {
        let world = World::new();
        let behind = world.writer.write_behind(|tx| meta::set(tx, "key", "behind")).ok().unwrap();
        if waits {
            timeout(PATIENCE, behind).await.unwrap().unwrap();
        } else {
            drop(behind);
            timeout(PATIENCE, world.writer.catch_up()).await.unwrap();
        }
        assert_eq!(kept(&world).as_deref(), Some("behind"));
    }
}

#[tokio::test]
async fn what_is_left_behind_and_fails_takes_nothing_else_with_it() {
    let world = World::new();
    let fails = world.writer.write_behind(|tx| {
        meta::set(tx, "key", "half")?;
        Err::<(), _>(StoreError::Closed)
    });
    let works = world.writer.write_behind(|tx| meta::set(tx, "other", "whole")).ok().unwrap();
    let failed: Result<(), _> = world.writer.write(|_| Err(StoreError::Closed), |()| false).await;
    assert!(failed.is_err() && fails.ok().unwrap().await.is_err());
    works.await.unwrap();
    assert_eq!(kept(&world), None);
}
