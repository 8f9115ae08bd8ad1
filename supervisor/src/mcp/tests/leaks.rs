//! Nothing is left behind: processes, descriptors, entries of calls. Counted for a whole process, so each of these tests
//! has one to itself.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;

use super::world::{World, call, python, text};

/// Runs one of the ignored tests below in a process of its own.
fn alone(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("mcp::tests::leaks::{test}")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_thousand_connections_and_cancelled_calls_leave_nothing() {
    alone("connections_and_cancelled_calls");
}

#[test]
fn servers_that_come_and_go_leave_no_process() {
    alone("servers_come_and_go");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Processes whose parent we are, zombies included.
fn children() -> usize {
    let us = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        stat.rsplit(')').next()?.split_ascii_whitespace().nth(1).map(str::to_owned)
    });
    stats.filter(|parent| *parent == us).count()
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn connections_and_cancelled_calls() {
    let world = World::new(|dir| python("a", dir, "x")).await;
    world.names().await;
    world.call("a_echo", "{}").await;
    let before = (descriptors(), children());
    let echo = call(1, "a_echo", "{}");
    for turn in 0..1_000 {
        // A connection of its own each time, closed afterwards.
        let sent = if turn % 20 == 0 { echo.as_str() } else { r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"# };
        let request = world.request(sent).header("connection", "close");
        let response = world.send(request.body(Full::new(Bytes::from(sent.to_owned()))).unwrap()).await;
        assert_eq!(super::world::whole(response).await.0, 200);
    }
    let hang = call(2, "a_hang", "{}");
    for _ in 0..100 {
        let request = world.request(&hang).body(Full::new(Bytes::from(hang.clone()))).unwrap();
        let sent = tokio::time::timeout(Duration::from_millis(2), world.send(request)).await;
        assert!(sent.is_err());
    }
    assert!(!text(&world.call("a_echo", "{}").await).is_empty());
    world.until(|_| descriptors() <= before.0 + 4 && world.proxy.inner.in_flight.is_empty()).await;
    assert_eq!(children(), before.1);
    world.proxy.shutdown().await;
    assert_eq!(children(), before.1 - 1);
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn servers_come_and_go() {
    let world = World::new(|_| String::new()).await;
    let before = (descriptors(), children());
    for round in 0..10 {
        let mode = format!("m{round}");
        world.configure(&(python("a", world.dir(), &mode) + &python("b", world.dir(), &mode)));
        world.until(|world| world.proxy.servers().len() == 2).await;
        world.proxy.inner.fleet.rouse();
        if round % 2 == 0 {
            assert_eq!(world.names().await.len(), 17);
        }
        world.configure("");
        world.until(|world| world.proxy.servers().is_empty()).await;
    }
    // One that is started and stopped at once is waited for like any other.
    world.until(|_| children() == before.1 && descriptors() <= before.0 + 4).await;
    world.proxy.shutdown().await;
}
