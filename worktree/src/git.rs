//! The only place in the crate that starts a process.
//!
//! Every call: an environment without git's own variables, so that neither the caller's repository nor its
//! index can leak in; hooks, file-system monitors, automatic maintenance and prompts off; output, time and
//! number of bytes bounded; a failure carries git's own words. Which repository a call works on is said in a
//! [`Location`] and never left to discovery, except by `Repository::discover`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
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
/// A command that writes files, maybe through filters that use the network.
const CHECKOUT: Duration = Duration::from_secs(30 * 60);
/// How long a command may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);

/// Variables that change what git does or where: `git rev-parse --local-env-vars`, then those that set
/// identity, attributes, path syntax, editors and tracing. Kept are the ones that say where the user's
/// configuration and programs are, and how to reach a remote.
const SCRUBBED: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_QUARANTINE_PATH",
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_DATE",
    "GIT_ATTR_SOURCE",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_DIFF_OPTS",
    "GIT_EXTERNAL_DIFF",
    "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR",
    "GIT_PAGER",
    "GIT_REFLOG_ACTION",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_INDEX_VERSION",
    "GIT_SKIP_WORKTREE_CHECK",
    "GIT_FLUSH",
    "GIT_TRACE",
    "GIT_TRACE_SETUP",
    "GIT_TRACE2",
    "GIT_TRACE2_EVENT",
    "GIT_TRACE2_PERF",
    "GIT_MERGE_AUTOEDIT",
    "GIT_MERGE_VERBOSITY",
    "LANGUAGE",
];

/// Settings that hold for every call, whatever the configuration says.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
];

/// The git program and what is added to its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    program: OsString,
    environment: Vec<(OsString, OsString)>,
}

impl Default for Git {
    fn default() -> Self {
        Self::new("git")
    }
}

impl Git {
    /// A git program by name (found in `PATH`) or by path.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), environment: Vec::new() }
    }

    /// Sets a variable for every call, for example `HOME`, `PATH` or `GIT_CONFIG_GLOBAL` of the user who asked
    /// when the caller is a daemon. Variables that choose a repository have no effect.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), value.into()));
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
        command.current_dir(directory).process_group(0);
        command.envs(git.environment.iter().map(|(key, value)| (key, value)));
        for name in SCRUBBED {
            command.env_remove(name);
        }
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
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        self.command.stdout(self.stdout.take().map_or_else(Stdio::piped, Stdio::from));
        self.command.stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|source| WorktreeError::GitMissing { source })?;
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let (report, reports) = sync_channel(3);
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
        let collected = collect(&reports, group, self.time).ok_or_else(|| WorktreeError::GitTimeout {
            command: words.clone(),
            timeout_s: self.time.as_secs(),
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

enum Report {
    Stdout(Vec<u8>, bool),
    Stderr(Vec<u8>),
    Exit(io::Result<ExitStatus>),
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

/// Waits for output and exit. `None` when the time is over; the whole process group has been ended then.
fn collect(reports: &Receiver<Report>, group: Pid, time: Duration) -> Option<Collected> {
    let mut deadline = Instant::now() + time;
    let (mut stdout, mut stderr, mut status) = (None, None, None);
    while stdout.is_none() || stderr.is_none() || status.is_none() {
        match reports.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Report::Stdout(bytes, cut)) => {
                if cut && status.is_none() {
                    // Nobody reads on; a command that only prints may go.
                    signal(group, Signal::SIGTERM);
                }
                stdout = Some((bytes, cut));
            }
            Ok(Report::Stderr(bytes)) => stderr = Some(bytes),
            Ok(Report::Exit(exit)) => {
                // Something git started may still hold its output open: not for long.
                deadline = deadline.min(Instant::now() + GRACE);
                status = Some(exit);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // SIGTERM first: git then removes its lock files and half-made worktrees.
                signal(group, Signal::SIGTERM);
                if status.is_none() {
                    await_exit(reports);
                }
                signal(group, Signal::SIGKILL);
                return None;
            }
        }
    }
    let (stdout, cut) = stdout?;
    Some(Collected { stdout, stderr: stderr?, cut, status: status? })
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
