//! The only place in the crate that starts a process.
//!
//! Every call: exactly the environment that the caller gave, without git's own variables, so that neither a secret nor a
//! repository or index of the caller's can leak in; hooks, file-system monitors, automatic maintenance and prompts off; output, time and
//! number of bytes bounded; a failure carries git's own words. Which repository a call works on is said in a
//! [`Location`] and never left to discovery, except by `Repository::discover`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::names::path_line;
use crate::{Signature, WorktreeError};

/// Limit of a command's output unless the call says otherwise.
const OUTPUT_LIMIT_BYTES: usize = 64 << 20;
const STDERR_LIMIT_BYTES: usize = 8 << 10;
/// A command that only reads, or writes refs and objects.
const QUICK: Duration = Duration::from_secs(120);
/// A command that brings a whole repository here.
const TRANSFER: Duration = Duration::from_secs(10 * 60);
/// A command that writes files, maybe through filters that use the network.
const CHECKOUT: Duration = Duration::from_secs(30 * 60);
/// How long a command may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Git's own variables that reach it: where the user's configuration and programs are. All others choose a repository,
/// an index, an identity or a program, and are never passed on.
const PASSED_ON: &[&str] = &[
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_EXEC_PATH",
    "GIT_LFS_SKIP_SMUDGE",
    "GIT_SSL_CAINFO",
];

/// Settings that hold for every call, whatever the configuration says.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    // A remote's address may be a command: one that a repository's configuration names is not run for a missing object.
    "protocol.ext.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
];

/// The git program and its whole environment.
///
/// Nothing is inherited: filters and merge drivers are programs that a repository's configuration names, and what runs
/// in a worktree may have written that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    program: OsString,
    environment: Vec<(OsString, OsString)>,
}

impl Git {
    /// A git program by name (found in the caller's own `PATH`) or by path, with an empty environment.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), environment: Vec::new() }
    }

    /// Sets a variable for every call: `PATH` and `HOME` as a rule. Variables that choose a repository have no effect.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let (key, value) = (key.into(), value.into());
        let own = key.to_str().filter(|key| key.starts_with("GIT_"));
        if own.is_none_or(|own| PASSED_ON.contains(&own)) {
            self.environment.push((key, value));
        }
        self
    }

    /// Starts to describe a call that discovers its repository from `directory`.
    pub(crate) fn discover(&self, directory: &Path) -> Call {
        Call::new(self, directory)
    }

    /// Starts to describe a call on the repository and checkout that `location` names.
    pub(crate) fn at(&self, location: &Location) -> Call {
        let directory = location.work_tree.as_deref().unwrap_or(&location.common_dir);
        let mut call = Call::new(self, directory);
        call.command.env("GIT_DIR", &location.git_dir).env("GIT_COMMON_DIR", &location.common_dir);
        if let Some(work_tree) = &location.work_tree {
            call.command.env("GIT_WORK_TREE", work_tree);
        }
        call
    }
}

/// Where a call works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// Has `HEAD` and index: the common directory, or a linked worktree's `worktrees/<id>` in it.
    pub(crate) git_dir: PathBuf,
    /// Has refs, objects and configuration.
    pub(crate) common_dir: PathBuf,
    /// Has the files. `None` for calls that only need refs and objects.
    pub(crate) work_tree: Option<PathBuf>,
}

/// Ends a long call from another thread. Clones are the same interrupt; once raised it stays raised.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Mutex<Interrupted>>);

#[derive(Debug, Default)]
struct Interrupted {
    raised: bool,
    /// Of the call that runs now.
    running: Option<SyncSender<Report>>,
}

impl Interrupt {
    /// Ends the call that runs now and every later one.
    pub fn raise(&self) {
        let mut state = self.state();
        state.raised = true;
        if let Some(running) = state.running.take() {
            // A call that has reported everything has ended by itself.
            let _ended = running.try_send(Report::Interrupted);
        }
    }

    fn is_raised(&self) -> bool {
        self.state().raised
    }

    /// Makes the call that reports here the one to be ended.
    fn begin(&self, report: &SyncSender<Report>) {
        let mut state = self.state();
        if state.raised {
            let _ended = report.try_send(Report::Interrupted);
        }
        state.running = Some(report.clone());
    }

    fn end(&self) {
        self.state().running = None;
    }

    fn state(&self) -> MutexGuard<'_, Interrupted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call, described and then run.
#[must_use]
pub(crate) struct Call {
    command: Command,
    words: Vec<String>,
    input: Option<Vec<u8>>,
    stdout: Option<File>,
    limit_bytes: usize,
    may_cut: bool,
    time: Duration,
    interrupt: Interrupt,
}

/// What a call printed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    /// Standard output was longer than the limit and ends there.
    pub(crate) cut: bool,
    words: String,
}

impl Call {
    fn new(git: &Git, directory: &Path) -> Self {
        let mut command = Command::new(&git.program);
        command.current_dir(directory).process_group(0).env_clear();
        command.envs(git.environment.iter().map(|(key, value)| (key, value)));
        // GIT_OPTIONAL_LOCKS: looking must not write anybody's index.
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
        command.args(["--no-pager", "--literal-pathspecs"]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        Self {
            command,
            words: Vec::new(),
            input: None,
            stdout: None,
            limit_bytes: OUTPUT_LIMIT_BYTES,
            may_cut: false,
            time: QUICK,
            interrupt: Interrupt::default(),
        }
    }

    /// A setting for this call only.
    pub(crate) fn setting(mut self, setting: &str) -> Self {
        self.command.args(["-c", setting]);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.words.push(arg.as_ref().to_string_lossy().into_owned());
            self.command.arg(arg);
        }
        self
    }

    pub(crate) fn index(mut self, path: &Path) -> Self {
        self.command.env("GIT_INDEX_FILE", path);
        self
    }

    pub(crate) fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// Standard output goes to `file`, whatever its size.
    pub(crate) fn stdout_to(mut self, file: File) -> Self {
        self.stdout = Some(file);
        self
    }

    /// Output beyond `limit_bytes` is cut off instead of an error.
    pub(crate) fn cut_at(mut self, limit_bytes: usize) -> Self {
        self.limit_bytes = limit_bytes;
        self.may_cut = true;
        self
    }

    /// The call writes a working directory: give it the time and the workers for that.
    pub(crate) fn writes_files(mut self) -> Self {
        self.time = CHECKOUT;
        self.setting("checkout.workers=0")
    }

    /// The call brings a repository here: give it the time for that.
    pub(crate) fn transfers(mut self) -> Self {
        self.time = TRANSFER;
        self
    }

    /// The call ends when `interrupt` is raised.
    pub(crate) fn interrupted_by(mut self, interrupt: &Interrupt) -> Self {
        self.interrupt = interrupt.clone();
        self
    }

    #[cfg(test)]
    fn within(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    pub(crate) fn signature(mut self, signature: &Signature) -> Self {
        let date = format!("@{} +0000", signature.at_s);
        for role in ["AUTHOR", "COMMITTER"] {
            self.command
                .env(format!("GIT_{role}_NAME"), &signature.name)
                .env(format!("GIT_{role}_EMAIL"), &signature.email)
                .env(format!("GIT_{role}_DATE"), &date);
        }
        self
    }

    /// Runs the call and requires success.
    pub(crate) fn run(self) -> Result<Output, WorktreeError> {
        let output = self.outcome()?;
        if output.code == Some(0) || output.cut { Ok(output) } else { Err(output.failure()) }
    }

    /// Runs the call; the exit code is for the caller to judge.
    pub(crate) fn outcome(mut self) -> Result<Output, WorktreeError> {
        let words = self.named();
        if self.interrupt.is_raised() {
            return Err(WorktreeError::Interrupted { command: words });
        }
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        self.command.stdout(self.stdout.take().map_or_else(Stdio::piped, Stdio::from));
        self.command.stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|source| WorktreeError::GitMissing { source })?;
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let (report, reports) = sync_channel(REPORTS);
        self.interrupt.begin(&report);
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let limit_bytes = self.limit_bytes;
        let started = spawn_writer(child.stdin.take(), self.input.take())
            .and_then(|()| spawn_reader(stdout, limit_bytes, Report::output, report.clone()))
            .and_then(|()| spawn_reader(stderr, STDERR_LIMIT_BYTES, Report::complaint, report.clone()))
            .and_then(|()| {
                let wait = move || report.send(Report::Exit(child.wait())).unwrap_or_default();
                thread::Builder::new().spawn(wait).map(drop)
            });
        if let Err(source) = started {
            signal(group, Signal::SIGTERM);
            return Err(WorktreeError::GitMissing { source });
        }
        let collected = collect(&reports, group, self.time);
        self.interrupt.end();
        let collected = collected.map_err(|stopped| match stopped {
            Stopped::TimeOver => {
                WorktreeError::GitTimeout { command: words.clone(), timeout_s: self.time.as_secs() }
            }
            Stopped::Interrupted => WorktreeError::Interrupted { command: words.clone() },
        })?;
        if collected.cut && !self.may_cut {
            return Err(WorktreeError::GitOutput { command: words, limit_bytes });
        }
        let status = collected.status.map_err(|source| WorktreeError::GitMissing { source })?;
        let stderr = String::from_utf8_lossy(&collected.stderr).trim().to_owned();
        Ok(Output { code: status.code(), stdout: collected.stdout, stderr, cut: collected.cut, words })
    }

    fn named(&self) -> String {
        let words = self.words.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
        format!("git {words}")
    }
}

impl Output {
    /// The error for this outcome.
    pub(crate) fn failure(self) -> WorktreeError {
        WorktreeError::Git { command: self.words, code: self.code, stderr: self.stderr }
    }

    /// The error for output that makes no sense.
    pub(crate) fn unreadable(&self) -> WorktreeError {
        WorktreeError::GitUnreadable { command: self.words.clone() }
    }

    /// Standard output as one line of text.
    pub(crate) fn line(&self) -> Result<String, WorktreeError> {
        let text = std::str::from_utf8(&self.stdout).map_err(|_| self.unreadable())?;
        Ok(text.strip_suffix('\n').unwrap_or(text).to_owned())
    }

    /// Standard output as one path.
    pub(crate) fn path(self) -> PathBuf {
        path_line(self.stdout)
    }

    /// Standard output as a commit (or tree) id.
    pub(crate) fn id(&self) -> Result<crate::CommitId, WorktreeError> {
        crate::CommitId::parse(&self.line()?).ok_or_else(|| self.unreadable())
    }

    /// Complete records of standard output, each of which ends in NUL.
    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let end = self.stdout.iter().rposition(|byte| *byte == 0).unwrap_or(0);
        self.stdout[..end].split(|byte| *byte == 0).filter(|record| !record.is_empty())
    }
}

/// As many reports as a call can give: nobody who reports ever waits.
const REPORTS: usize = 4;

#[derive(Debug)]
enum Report {
    Stdout(Vec<u8>, bool),
    Stderr(Vec<u8>),
    Exit(io::Result<ExitStatus>),
    Interrupted,
}

impl Report {
    /// Output beyond the limit stays unread: nobody wants it, and closing the pipe says so to the command.
    fn output(bytes: Vec<u8>, beyond: Option<&mut dyn Read>) -> Self {
        Self::Stdout(bytes, beyond.is_some())
    }

    /// Complaints beyond the limit are read and dropped: a closed pipe would end the command half-way.
    fn complaint(bytes: Vec<u8>, beyond: Option<&mut dyn Read>) -> Self {
        if let Some(beyond) = beyond {
            let _dropped = io::copy(beyond, &mut io::sink());
        }
        Self::Stderr(bytes)
    }
}

struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    cut: bool,
    status: io::Result<ExitStatus>,
}

/// Why a call was ended before its time.
enum Stopped {
    TimeOver,
    Interrupted,
}

/// Waits for output and exit. The whole process group has been ended after an error.
fn collect(reports: &Receiver<Report>, group: Pid, time: Duration) -> Result<Collected, Stopped> {
    let mut deadline = Instant::now() + time;
    let (mut stdout, mut stderr, mut status) = (None, None, None);
    loop {
        if stdout.is_some() && stderr.is_some() && status.is_some() {
            break;
        }
        let stopped = match reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Report::Stdout(bytes, cut)) => {
                if cut && status.is_none() {
                    // Nobody reads on; a command that only prints may go.
                    signal(group, Signal::SIGTERM);
                }
                stdout = Some((bytes, cut));
                continue;
            }
            Ok(Report::Stderr(bytes)) => {
                stderr = Some(bytes);
                continue;
            }
            Ok(Report::Exit(exit)) => {
                // Something git started may still hold its output open: not for long.
                deadline = deadline.min(Instant::now() + GRACE);
                status = Some(exit);
                continue;
            }
            Ok(Report::Interrupted) => Stopped::Interrupted,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Stopped::TimeOver,
        };
        // SIGTERM first: git then removes its lock files and half-made worktrees.
        signal(group, Signal::SIGTERM);
        if status.is_none() {
            await_exit(reports);
        }
        signal(group, Signal::SIGKILL);
        return Err(stopped);
    }
    match (stdout, stderr, status) {
        (Some((stdout, cut)), Some(stderr), Some(status)) => Ok(Collected { stdout, stderr, cut, status }),
        _ => Err(Stopped::TimeOver),
    }
}

fn await_exit(reports: &Receiver<Report>) {
    let deadline = Instant::now() + GRACE;
    while let Ok(report) = reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if matches!(report, Report::Exit(_)) {
            return;
        }
    }
}

/// Ends the group that was started for one call. A group that is gone already is what was wanted.
fn signal(group: Pid, signal: Signal) {
    let _gone = killpg(group, signal);
}

fn spawn_writer(pipe: Option<impl Write + Send + 'static>, input: Option<Vec<u8>>) -> io::Result<()> {
    let (Some(mut pipe), Some(input)) = (pipe, input) else { return Ok(()) };
    // A command that stops reading early says why in its exit code.
    thread::Builder::new().spawn(move || pipe.write_all(&input).unwrap_or_default()).map(drop)
}

fn spawn_reader(
    pipe: Option<impl Read + Send + 'static>,
    limit_bytes: usize,
    rest: fn(Vec<u8>, Option<&mut dyn Read>) -> Report,
    report: SyncSender<Report>,
) -> io::Result<()> {
    let read = move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe;
        let mut more = false;
        if let Some(pipe) = &mut pipe {
            let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
            let _ended = pipe.take(limit.saturating_add(1)).read_to_end(&mut bytes);
            more = bytes.len() > limit_bytes;
            bytes.truncate(limit_bytes);
        }
        let beyond = pipe.as_mut().filter(|_| more).map(|pipe| pipe as &mut dyn Read);
        let read = rest(bytes, beyond);
        drop(pipe);
        report.send(read).unwrap_or_default();
    };
    thread::Builder::new().spawn(read).map(drop)
}

#[cfg(test)]
mod tests;
