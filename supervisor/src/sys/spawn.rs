//! Starting processes: this program again as a detached one, and an agent inside a session of its own.
//!
//! Everything between fork and exec is async-signal-safe; everything that allocates is done before.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Why a detached copy of this program gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// It could not be started, or talking to it failed.
    #[error("cannot start `{}`: {source}", exe.display())]
    Io {
        /// The program.
        exe: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It said nothing in time.
    #[error("no answer after {} ms", after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// It answered more than it may.
    #[error("the answer is longer than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
}

/// This very program, even if its file was replaced since it was started.
pub fn self_exe() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("agentsup"))
}

/// Where this program is installed, for others that shall start it later.
pub fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    // Linux marks the path of a file that was replaced; what is there now is the newer version.
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(replaced) => Ok(PathBuf::from(replaced)),
        None => Ok(path),
    }
}

/// A copy of this program that was started with an empty environment and waits to be told what to do. Dropped, it ends.
///
/// Starting it ahead hides what loading a program costs behind other work.
#[derive(Debug)]
pub struct Nascent {
    exe: PathBuf,
    child: Child,
}

impl Nascent {
    /// Starts `exe` with the one argument `verb`. It is expected to fork away ([`detach`]), to read its standard input to
    /// the end, and to close its standard output when it has answered.
    pub fn start(exe: &Path, verb: &str) -> Result<Self, SpawnError> {
        let child = Command::new(exe)
            .arg0("agentsup")
            .arg(verb)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SpawnError::Io { exe: exe.to_owned(), source })?;
        Ok(Self { exe: exe.to_owned(), child })
    }

    /// Hands it `input` and returns what it answers. Blocks, at most `timeout`.
    pub fn ask(mut self, input: &[u8], answer_max: usize, timeout: Duration) -> Result<Vec<u8>, SpawnError> {
        let failed = |source| SpawnError::Io { exe: self.exe.clone(), source };
        let (Some(stdin), Some(stdout)) = (self.child.stdin.take(), self.child.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        converse(stdin, stdout, input, answer_max, timeout).map_err(|error| match error {
            Conversation::Io(source) => failed(source),
            Conversation::TimedOut => SpawnError::TimedOut { after: timeout },
            Conversation::TooLong => SpawnError::TooLong { max: answer_max },
        })
    }
}

impl Drop for Nascent {
    /// The first process is collected here. Before it has forked away it is ours to end; afterwards this hits nobody, and
    /// one that was told nothing ends by itself because its standard input does.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _forked_away = self.child.kill();
        let _collected = self.child.wait();
    }
}

enum Conversation {
    Io(io::Error),
    TimedOut,
    TooLong,
}

impl From<io::Error> for Conversation {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn converse(
    stdin: ChildStdin,
    mut stdout: ChildStdout,
    input: &[u8],
    answer_max: usize,
    timeout: Duration,
) -> Result<Vec<u8>, Conversation> {
    set_nonblocking(stdin.as_fd())?;
    set_nonblocking(stdout.as_fd())?;
    let deadline = Instant::now() + timeout;
    let mut stdin = Some(stdin);
    let mut rest = input;
    let mut answer = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Conversation::TimedOut);
        }
        let mut fds = vec![PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        if let Some(stdin) = &stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)).map_err(io::Error::from)?;
        let readable = fds[0].any().unwrap_or(true);
        let writable = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(true));
        drop(fds);
        if writable && let Some(pipe) = &mut stdin {
            match pipe.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It died before it had read everything; what it answered tells why.
                Err(_) => rest = &[],
            }
            if rest.is_empty() {
                stdin = None;
            }
        }
        if readable {
            let mut piece = [0; 4096];
            match stdout.read(&mut piece) {
                Ok(0) => return Ok(answer),
                Ok(count) if answer.len() + count <= answer_max => answer.extend_from_slice(&piece[..count]),
                Ok(_) => return Err(Conversation::TooLong),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Forks away from the caller: the first process ends at once, the rest of the program goes on in a new session, as
/// nobody's child. Standard error goes to `/dev/null`; standard input and output stay until [`answer`].
///
/// Only while the process has one thread: the caller is the first thing `main` does.
pub fn detach(title: &'static CStr) -> io::Result<()> {
    // SAFETY: there is no second thread whose locks the child could inherit.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { .. } => {
            // SAFETY: ends this process without running anything twice.
            unsafe { libc::_exit(0) }
        }
        nix::unistd::ForkResult::Child => {}
    }
    nix::unistd::setsid()?;
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stderr(&null)?;
    #[cfg(target_os = "linux")]
    // SAFETY: the title is zero-terminated and static. Only for people: a re-executed `/proc/self/exe` is called `exe`.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, title.as_ptr());
    }
    std::env::set_current_dir("/")
}

/// Closes every descriptor above the standard streams, whatever a careless parent left open.
pub fn close_inherited() {
    #[cfg(target_os = "linux")]
    // SAFETY: called first in `main`, before this process has opened anything of its own.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}

/// Reads this process's standard input to its end.
pub fn read_input(max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Answers whoever [asked](Nascent::ask): writes `bytes` to standard output and lets go of standard input and output,
/// which tells that there is no more to come.
pub fn answer(bytes: &[u8]) -> io::Result<()> {
    // SAFETY: descriptor 1 is open in every process that was asked; it is duplicated, not taken.
    let output = unsafe { BorrowedFd::borrow_raw(1) }.try_clone_to_owned()?;
    // Nobody may be listening any more; that does not concern those who have begun.
    let _ = fs::File::from(output).write_all(bytes);
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(())
}

/// Orphans below this process come to it instead of to init (Linux; elsewhere there is no such thing).
pub fn become_subreaper() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: plain system call without pointers.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Keeps other processes of the same user from reading this one's memory or attaching to it, and its memory from
/// landing in a core file.
pub fn set_nondumpable() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: plain system call without pointers.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that lives through the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes reads and writes on `fd` return at once.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Where a program would be found.
#[derive(Debug, PartialEq, Eq)]
pub enum Program {
    /// This file.
    File(PathBuf),
    /// This file, but it may not be executed.
    NotExecutable(PathBuf),
    /// Nowhere.
    Missing,
}

/// Looks for `program` as a shell started in `cwd` with `path` as its `PATH` would.
pub fn find_program(program: &str, path: Option<&OsStr>, cwd: &Path) -> Program {
    if program.contains('/') {
        return judge(cwd.join(program));
    }
    if program.is_empty() {
        return Program::Missing;
    }
    let mut refused = Program::Missing;
    for dir in std::env::split_paths(path.unwrap_or_default()) {
        match judge(cwd.join(dir).join(program)) {
            Program::Missing => {}
            found @ Program::File(_) => return found,
            other => refused = other,
        }
    }
    refused
}

fn judge(file: PathBuf) -> Program {
    match fs::metadata(&file) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Program::File(file),
        Ok(meta) if meta.is_file() => Program::NotExecutable(file),
        _ => Program::Missing,
    }
}

/// What an agent is started with.
#[derive(Debug)]
pub struct AgentCommand<'a> {
    /// The file to execute.
    pub file: &'a Path,
    /// What the program sees as its own name.
    pub name: &'a str,
    /// The arguments after the name.
    pub args: &'a [String],
    /// Exactly its environment.
    pub env: &'a [(String, String)],
    /// Where it starts.
    pub cwd: &'a Path,
}

/// The streams of a started agent, as the keeper holds them.
#[derive(Debug)]
pub enum AgentStreams {
    /// The terminal's inner end was given away; the outer one stays with whoever opened it.
    Pty,
    /// The other ends of three pipes.
    Pipes {
        /// Writes to the agent's standard input.
        stdin: ChildStdin,
        /// Reads from its standard output.
        stdout: ChildStdout,
        /// Reads from its standard error.
        stderr: ChildStderr,
    },
}

/// Starts an agent as leader of a session of its own: with `terminal` as its controlling terminal and all three
/// streams, or with pipes. Returns its pid.
///
/// On Linux it dies with this process ([`libc::PR_SET_PDEATHSIG`]): an agent that nobody keeps must not go on.
/// It carries the mark by which [`super::peer`] knows everything that descends from a run.
pub fn spawn_agent(command: &AgentCommand<'_>, terminal: Option<OwnedFd>) -> io::Result<(u32, AgentStreams)> {
    let mut agent = Command::new(command.file);
    agent.arg0(command.name).args(command.args).env_clear().current_dir(command.cwd);
    agent.envs(command.env.iter().map(|(key, value)| (key, value)));
    let has_terminal = terminal.is_some();
    match terminal {
        Some(terminal) => {
            agent.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        }
        None => {
            agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }
    let mark = super::peer::run_mark()?;
    let keeper = nix::unistd::getpid();
    // SAFETY: the closure only makes system calls.
    unsafe {
        agent.pre_exec(move || {
            default_signals();
            nix::unistd::setsid()?;
            // Descriptor 0 is the terminal by now.
            if has_terminal && libc::ioctl(0 as RawFd, libc::TIOCSCTTY as _, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            #[cfg(target_os = "linux")]
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // It may have died before the line above took effect.
            if nix::unistd::getppid() != keeper {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            mark.set()
        });
    }
    let mut child = agent.spawn()?;
    let pid = child.id();
    let streams = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
        (Some(stdin), Some(stdout), Some(stderr)) => {
            set_nonblocking(stdin.as_fd())?;
            set_nonblocking(stdout.as_fd())?;
            set_nonblocking(stderr.as_fd())?;
            AgentStreams::Pipes { stdin, stdout, stderr }
        }
        _ => AgentStreams::Pty,
    };
    Ok((pid, streams))
}

/// Ignored signals survive exec; an agent starts with none.
pub(super) fn default_signals() {
    for signal in 1..32 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: sets a default disposition; async-signal-safe.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_in_the_given_path_only() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        fs::write(&tool, "#!/bin/sh\n").unwrap();
        let path = Some(dir.path().as_os_str());
        assert_eq!(find_program("tool", path, Path::new("/")), Program::NotExecutable(tool.clone()));
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program("tool", path, Path::new("/")), Program::File(tool.clone()));
        assert_eq!(find_program("./tool", None, dir.path()), Program::File(dir.path().join("./tool")));
        assert_eq!(find_program("sh", path, Path::new("/")), Program::Missing);
        assert_eq!(find_program("", path, Path::new("/")), Program::Missing);
    }
}
