//! Who may speak to a keeper, and by the same check to the daemon.
//!
//! The programs inside the runs connect by themselves (Python, as an agent's tool would) and write down what they got.

use super::*;

/// Connects and writes what the keeper answers, then waits.
const KNOCK: &str = r#"
import socket, sys, os, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
hello = b'H{"version":1,"mode":"control"}'
try:
    s.sendall(len(hello).to_bytes(4, "big") + hello)
    answer = s.recv(4096)
except OSError:
    answer = s.recv(4096)
open(sys.argv[2] + ".new", "w").write(answer[5:].decode() + "\n"); os.rename(sys.argv[2] + ".new", sys.argv[2])
"#;

fn knocking(target: &Path, prefix: &str, then: &str) -> Run {
    let target = target.join("keeper.sock").display().to_string();
    Run::start_with(&format!("{prefix} python3 knock.py '{target}' answer; {then} cat"), PTY, |spec| {
        spec.env.retain(|(name, _)| name != "AGENTSUP_RUN_ID");
        std::fs::write(spec.cwd.join("knock.py"), KNOCK).unwrap();
    })
}

#[test]
fn what_descends_from_a_run_is_refused_whatever_it_sheds() {
    let other = Run::start("cat", PTY);
    let outside = Client::control(&other.dir());
    assert_eq!(outside.welcome.agent, other.record.agent);
    // Another run's agent: no run id in its environment, and that keeper is unknown here.
    let agent = knocking(&other.dir(), "", "");
    assert!(agent.wait_file("answer").contains("the mark of a run"), "{}", agent.wait_file("answer"));
    // An empty environment and a session of its own.
    let shed = knocking(&other.dir(), "env -i PATH=/usr/bin:/bin setsid -w", "");
    assert!(shed.wait_file("answer").contains("the mark of a run"), "{}", shed.wait_file("answer"));
}

#[test]
fn an_agent_is_refused_by_its_own_keeper() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let run = knocking(&dir, "", "");
    // The target is this very run: known only now, so it is told through a link.
    drop(run);
    let script = "python3 knock.py \"$PWD/run/keeper.sock\" answer; cat";
    let run = Run::start_with(script, PTY, |spec| {
        std::fs::write(spec.cwd.join("knock.py"), KNOCK).unwrap();
    });
    assert!(run.wait_file("answer").contains("was started inside a run"), "{}", run.wait_file("answer"));
}

#[test]
fn an_orphan_of_a_killed_keeper_is_still_refused() {
    let other = Run::start("cat", PTY);
    let target = other.dir().join("keeper.sock").display().to_string();
    // It waits, daemonised and with an empty environment, until its keeper has been killed.
    let script = format!(
        "env -i PATH=/usr/bin:/bin setsid sh -c 'trap \"\" HUP; echo $$ > orphan; while [ ! -f go ]; do sleep 0.05; done; exec python3 knock.py {target} answer' >/dev/null 2>&1 & cat"
    );
    let run = Run::start_with(&script, PTY, |spec| {
        spec.env.retain(|(name, _)| name != "AGENTSUP_RUN_ID");
        std::fs::write(spec.cwd.join("knock.py"), KNOCK).unwrap();
    });
    let orphan = process(&run.wait_file("orphan")).unwrap();
    run.record.keeper.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    run.wait_gone();
    let parent = || agentsup_supervisor::sys::process::stat(orphan.pid).unwrap().map(|stat| stat.parent);
    assert!(until(PATIENCE, || parent() != Some(run.record.keeper.pid)));
    std::fs::write(run.file("go"), "").unwrap();
    let answer = run.wait_file("answer");
    assert!(answer.contains("the mark of a run"), "{answer}");
    let _ = orphan.signal(nix::sys::signal::Signal::SIGKILL);
}

#[test]
fn a_sandboxed_process_is_refused_by_its_namespace() {
    use agentsup_supervisor::sys::peer::{Peer, PeerError, require_outside};
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("private");
    agentsup_supervisor::sys::socket::require_private_dir(&dir).unwrap();
    let lock = agentsup_supervisor::sys::lock::FileLock::acquire(&dir.join("lock")).unwrap();
    let path = dir.join("s.sock");
    let listener = agentsup_supervisor::sys::socket::bind(&path, &lock).unwrap();
    let connect =
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.stdin.read()";
    for (wrapper, expected) in [
        (&["env", "-i"][..], "accepted"),
        (&["env", "AGENTSUP_RUN_ID=run_x"], "run_x"),
        (&["unshare", "--user", "--map-root-user", "--mount"], "namespace mnt"),
        (&["unshare", "--user", "--map-root-user", "--pid", "--fork"], "namespace pid"),
    ] {
        let mut child = std::process::Command::new(wrapper[0])
            .args(&wrapper[1..])
            .args(["/usr/bin/env", "python3", "-c", connect])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut accepted = None;
        assert!(until(PATIENCE, || {
            accepted = listener.accept().ok();
            accepted.is_some()
        }));
        let peer = Peer::of(&accepted.unwrap().0).unwrap();
        let verdict = match require_outside(&peer, &[]) {
            Ok(()) => "accepted".to_owned(),
            Err(PeerError::CarriesRunId { run, .. }) => run,
            Err(PeerError::OtherNamespace { kind, .. }) => format!("namespace {kind}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(verdict, expected, "{wrapper:?}");
        let us = ProcessRef::current().unwrap();
        assert!(matches!(require_outside(&peer, &[us]), Err(PeerError::Descends { from, .. }) if from == us));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(require_outside(&peer, &[]), Err(PeerError::Gone)));
    }
}

#[test]
fn another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let run = Run::start("cat", PTY);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("knock.py"), KNOCK).unwrap();
    // Root may take another user's id after it has the socket's directory open to it.
    let script = format!(
        "import os,sys,socket\ns=socket.socket(socket.AF_UNIX)\nos.chdir('{}')\nos.seteuid(65534)\ns.connect('keeper.sock')\n",
        run.dir().display()
    );
    let refused =
        std::process::Command::new("/usr/bin/env").args(["python3", "-c", &script]).output().unwrap();
    assert!(!refused.status.success(), "mode 0600 keeps other users out");
}
