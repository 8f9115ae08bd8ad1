//! Runs one program to its end, with a clean environment, a hard deadline and everything it printed.
//!
//! Invariants: the environment is empty but for what was set; a program that outstays its time is killed by its id and
//! the test fails; output that stays open after the exit (a child that kept the pipe) fails the test too.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long output may stay open after the program's end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// One program to run.
#[derive(Debug, Clone)]
pub(crate) struct Cli {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) directory: PathBuf,
    stdin: Vec<u8>,
    timeout: Duration,
}

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The command line, for messages.
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Cli {
    pub(crate) fn new(program: &str, directory: &Path) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            directory: directory.to_path_buf(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub(crate) fn dir(mut self, directory: &Path) -> Self {
        self.directory = directory.to_path_buf();
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.as_bytes().to_vec();
        self
    }

    /// 30 s unless set.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs to the end. Panics when the time is over.
    pub(crate) fn run(&self) -> Output {
        let shown = format!("{} {}", self.program, self.args.join(" "));
        let started = std::time::Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{shown}`: {error}"));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = self.stdin.clone();
        std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        let (ended, end) = sync_channel(1);
        std::thread::spawn(move || ended.send(child.wait()));
        let status = end.recv_timeout(self.timeout).map(|status| status.expect("wait for the child"));
        let late = status.is_err();
        if late {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let elapsed = started.elapsed();
        let (stdout, out_closed) = collected(&stdout);
        let (stderr, err_closed) = collected(&stderr);
        let Ok(status) = status else {
            panic!(
                "`{shown}` was still running after {:?}\nstdout: {stdout}\nstderr: {stderr}",
                self.timeout
            );
        };
        let closed = out_closed && err_closed;
        assert!(closed, "a child of `{shown}` keeps its output open\nstdout: {stdout}\nstderr: {stderr}");
        Output { command: shown, status, stdout, stderr, elapsed }
    }
}

impl Output {
    /// The exit code; a signal is 128 plus its number, as in a shell.
    pub(crate) fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    /// Asserts the exit code.
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code(), code, "exit code of {self}");
        self
    }

    /// Asserts success.
    pub(crate) fn ok(&self) -> &Self {
        self.exits(0)
    }

    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Standard output as one JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        self.stdout.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ({})\nstdout: {}\nstderr: {}", self.command, self.status, self.stdout, self.stderr)
    }
}

/// Reads a pipe on a thread; the channel closes when the pipe does.
fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(count) = pipe.read(&mut chunk) {
            if count == 0 || sender.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// What the pipe gave, and whether it was closed in time.
fn collected(pipe: &Receiver<Vec<u8>>) -> (String, bool) {
    let mut bytes = Vec::new();
    loop {
        match pipe.recv_timeout(DRAIN_TIMEOUT) {
            Ok(chunk) => bytes.extend(chunk),
            Err(error) => {
                let closed = error == std::sync::mpsc::RecvTimeoutError::Disconnected;
                return (String::from_utf8_lossy(&bytes).into_owned(), closed);
            }
        }
    }
}
