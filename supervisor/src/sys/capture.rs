//! Running a short program to its end and keeping what it says: bounded in time and in output, without a shell. What it
//! started and did not take along is ended with it when the time is over.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::spawn::{self, Program};

/// Bytes kept of each stream.
const OUTPUT_MAX: u64 = 64 * 1024;
/// How long a program may take to say its version: Node programs need a second on a cold disk.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Debug, Clone)]
pub struct Command {
    /// A name to be looked for in `PATH`, or a path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Exactly its environment; ours if absent.
    pub env: Option<Vec<(String, String)>>,
    /// Its working directory.
    pub dir: PathBuf,
    /// After so long it is killed.
    pub timeout: Duration,
}

/// How it ended, and what it said: the first 64 KiB of each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// What a program said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its file.
    pub file: PathBuf,
    /// What it printed, trimmed.
    pub version: String,
}

/// Why there is no output, or no version.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Not in the given `PATH`.
    #[error("`{0}` is not installed or not in PATH")]
    Missing(String),
    /// It could not be started or waited for.
    #[error("cannot run `{}`: {source}", program.display())]
    Io {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was killed.
    #[error("`{}` did not end within {} ms", program.display(), timeout.as_millis())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// The bound.
        timeout: Duration,
    },
    /// It does not say its version.
    #[error("`{program} --version` failed: {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
}

enum Report {
    Stdout(String),
    Stderr(String),
    Ended(io::Result<ExitStatus>),
}

/// Runs it. Blocks.
///
/// # Errors
/// When it cannot be started or does not end in time. A failing exit is an [`Output`].
pub fn run(command: &Command) -> Result<Output, CaptureError> {
    let failed = |source| CaptureError::Io { program: command.program.clone(), source };
    let mut process = std::process::Command::new(&command.program);
    process.args(&command.args).current_dir(&command.dir).process_group(0);
    if let Some(env) = &command.env {
        process.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    }
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().map_err(failed)?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (report, reports) = sync_channel(3);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = report.clone();
    let started = read(stdout, Report::Stdout, report.clone())
        .and_then(|()| read(stderr, Report::Stderr, report))
        .and_then(|()| on_thread(move || ended.send(Report::Ended(child.wait())).unwrap_or_default()));
    if let Err(source) = started {
        let _gone = killpg(group, Signal::SIGKILL);
        return Err(failed(source));
    }
    let deadline = Instant::now() + command.timeout;
    let (mut stdout, mut stderr, mut status) = (None, None, None);
    loop {
        match reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Report::Stdout(text)) => stdout = Some(text),
            Ok(Report::Stderr(text)) => stderr = Some(text),
            Ok(Report::Ended(ended)) => status = Some(ended.map_err(failed)?),
            Err(_) => {
                let _gone = killpg(group, Signal::SIGKILL);
                let (program, timeout) = (command.program.clone(), command.timeout);
                return Err(CaptureError::TimedOut { program, timeout });
            }
        }
        (stdout, stderr, status) = match (stdout, stderr, status) {
            (Some(stdout), Some(stderr), Some(status)) => return Ok(Output { status, stdout, stderr }),
            still_open => still_open,
        };
    }
}

/// Runs `<program> --version`, found as an agent would find it, with these variables only. Blocks.
///
/// # Errors
/// When it is not there or does not say its version.
pub fn version<'a>(
    program: &str,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Probed, CaptureError> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let env: Vec<(String, String)> = env.into_iter().map(owned).collect();
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| OsStr::new(value));
    let Program::File(file) = spawn::find_program(program, path, Path::new("/")) else {
        return Err(CaptureError::Missing(program.to_owned()));
    };
    let asked = Command {
        program: file.clone(),
        args: vec!["--version".to_owned()],
        env: Some(env),
        dir: "/".into(),
        timeout: VERSION_TIMEOUT,
    };
    let Output { status, stdout, .. } = run(&asked)?;
    if status.success() {
        // Some go on with advice.
        let version = stdout.trim().lines().next().unwrap_or_default().trim_end().to_owned();
        return Ok(Probed { file, version });
    }
    Err(CaptureError::Failed { program: program.to_owned(), status })
}

fn read(
    stream: Option<impl Read + Send + 'static>,
    report: fn(String) -> Report,
    to: SyncSender<Report>,
) -> io::Result<()> {
    on_thread(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // Whatever was read before an error still is what the program said.
            let _read = (&mut stream).take(OUTPUT_MAX).read_to_end(&mut bytes);
            // The rest is drained, so that the program can end.
            let _drained = io::copy(&mut stream, &mut io::sink());
        }
        to.send(report(String::from_utf8_lossy(&bytes).into_owned())).unwrap_or_default();
    })
}

fn on_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("capture".into()).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Command {
        let args = vec!["-c".into(), script.into()];
        Command { program: "sh".into(), args, env: None, dir: "/".into(), timeout }
    }

    #[test]
    fn both_streams_and_the_end_are_told() {
        let output = run(&sh("echo out; echo err >&2; exit 3", Duration::from_secs(10))).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn what_does_not_end_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        // It has closed its streams and goes on, as does its child.
        let script = format!("sleep 1000 & echo $! > '{}'; exec >&- 2>&-; wait", pid.display());
        let error = run(&sh(&script, Duration::from_millis(500))).unwrap_err();
        assert_eq!(error.to_string(), "`sh` did not end within 500 ms");
        let pid = std::fs::read_to_string(pid).unwrap();
        let line = || std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !line().is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(line().is_empty(), "its child lives");
    }

    #[test]
    fn output_beyond_the_bound_is_dropped_but_does_not_block() {
        let output = run(&sh("head -c 300000 /dev/zero", Duration::from_secs(10))).unwrap();
        assert_eq!((output.status.success(), output.stdout.len()), (true, 65_536));
    }

    #[test]
    fn a_missing_program_is_named() {
        let command = Command { program: "no-such-program".into(), ..sh("", Duration::from_secs(1)) };
        assert!(run(&command).unwrap_err().to_string().starts_with("cannot run `no-such-program`: "));
    }

    #[test]
    fn a_program_says_its_version_or_why_not() {
        let path = [("PATH", "/usr/local/bin:/usr/bin:/bin")];
        assert!(version("git", path).unwrap().version.starts_with("git version "));
        let dir = tempfile::tempdir().unwrap();
        let (talks, file) = (dir.path().to_str().unwrap(), dir.path().join("talks"));
        std::fs::write(&file, "#!/bin/sh\necho '1.2.3 '\necho 'There is a newer one.'\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(version("talks", [("PATH", talks)]).unwrap().version, "1.2.3");
        let missing = version("agentsup-no-such-program", path).unwrap_err();
        assert_eq!(missing.to_string(), "`agentsup-no-such-program` is not installed or not in PATH");
        assert!(matches!(version("false", path), Err(CaptureError::Failed { .. })));
        assert!(matches!(version("git", []), Err(CaptureError::Missing(_))));
    }
}
