//! What is left when the daemon is killed, and when the power fails: a process that is killed keeps all that was
//! answered, a power cut takes the log's newest end, and neither ever makes a call cheaper than it was.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

/// Where the child works, and how far it goes before it waits to be killed.
const DIR: &str = "AGENTSUP_TEST_CRASH_DIR";
const STAGE: &str = "AGENTSUP_TEST_CRASH_STAGE";

fn gate_of(store: &Store) -> Gate {
    Gate::new(store.clone(), Registry::fixed(snapshot(agent(), vec![purse(1000, 0)])))
}

#[test]
#[ignore = "run by the test below, which kills it"]
fn inside_a_daemon_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let stage: u8 = std::env::var(STAGE).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&Path::new(&dir).join("agentsup.db")).unwrap();
        let gate = gate_of(&store);
        let live = gate.admit(run(), "ast_token").await.unwrap();
        gate.set_state(&live, RunState::Running, None).await.unwrap();
        let mut open = Vec::new();
        if stage >= 1 {
            open.push(gate.decide(&live, llm(40)).await.unwrap());
        }
        if stage >= 2 {
            open.pop().unwrap().settle(settled(25)).await.unwrap();
        }
        if stage >= 3 {
            open.push(gate.decide(&live, tool("notes")).await.unwrap());
        }
        println!("\nready");
        std::future::pending::<()>().await;
    });
}

/// Kills a daemon the moment it was told that all of this stage is done.
fn killed_at(stage: u8, dir: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "gate::tests::crash::inside_a_daemon_that_is_killed"])
        .env(DIR, dir)
        .env(STAGE, stage.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line == "ready");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready, "the child ended before it was killed");
}

async fn next_daemon(dir: &Path) -> (Store, usize) {
    let store = Store::open(&dir.join("agentsup.db")).unwrap();
    let recovered = gate_of(&store).recover().await.unwrap();
    (store, recovered)
}

#[tokio::test]
async fn a_killed_daemon_keeps_all_that_it_was_answered() {
    // Calls assumed spent, the balance, the records.
    for (stage, expected) in
        [(0, (0, (0, 0), 0)), (1, (1, (40, 0), 2)), (2, (0, (25, 0), 2)), (3, (0, (25, 0), 3))]
    {
        let dir = tempfile::tempdir().unwrap();
        killed_at(stage, dir.path());
        let (store, recovered) = next_daemon(dir.path()).await;
        let found = (recovered, total(&store).await, verified(&store).await);
        assert_eq!(found, expected, "killed at stage {stage}");
    }
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join("agentsup.db-wal")
}

/// The database as a power cut leaves it: all of the main file, and the log up to here.
fn after_power_cut(dir: &Path, log_bytes: u64) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    std::fs::copy(dir.join("agentsup.db"), left.path().join("agentsup.db")).unwrap();
    std::fs::copy(log_of(dir), log_of(left.path())).unwrap();
    let log = std::fs::File::options().write(true).open(log_of(left.path())).unwrap();
    log.set_len(log_bytes).unwrap();
    left
}

/// Whatever of the unsynced end is lost, the call that went out counts, and the log is whole.
#[tokio::test]
async fn a_power_cut_never_forgets_a_call_that_went_out() {
    let world = world(1000, 0).await;
    let dir = world._dir.path();
    let log_bytes = || std::fs::metadata(log_of(dir)).unwrap().len();
    let permit = world.gate.decide(&world.live, llm(40)).await.unwrap();
    // The provider may see the call from here on, so at least this much is on the disk.
    let on_disk = log_bytes();
    permit.settle(settled(25)).await.unwrap();
    let tool = world.gate.decide(&world.live, tool("notes")).await.unwrap();
    tool.settle(Outcome::free("ok")).await.unwrap();
    let all = log_bytes();
    assert!(all > on_disk, "the later commits are behind the first");

    let mut posted = Vec::new();
    // A page at a time is enough: what is not a whole frame is none.
    for log_bytes in (on_disk..all).step_by(2048).chain([all]) {
        let left = after_power_cut(dir, log_bytes);
        let (store, recovered) = next_daemon(left.path()).await;
        let (spent, pending) = total(&store).await;
        assert!(spent >= 25 && pending == 0, "{spent} posted, {pending} pending of a call that cost 25");
        assert_eq!(spent == 40, recovered == 1);
        verified(&store).await;
        posted.push(spent);
    }
    // Both were seen: the settlement lost, and kept.
    assert_eq!((posted.first(), posted.last()), (Some(&40), Some(&25)));
}
