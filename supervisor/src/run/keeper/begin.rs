//! From a specification to a running agent: the keeper's first milliseconds. Whatever fails here is the spawner's
//! answer, and nothing is left running.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::Signal;

use super::files::{Durability, EXIT, KEEPER, KeeperRecord, LOCK, LOG, SOCKET, store};
use super::screen::Screen;
use super::scrollback::Scrollback;
use super::serve::{Keeper, State};
use super::spec::{Io, KeeperSpec, SPEC_MAX, StartError};
use super::start::Answer;
use super::streams::AgentIo;
use super::tree::Tree;
use crate::sys::lock::{FileLock, LockError};
use crate::sys::process::{self, ProcessRef};
use crate::sys::signals::SignalPipe;
use crate::sys::spawn::{self, AgentCommand, Program};
use crate::sys::terminal::{self, Size};
use crate::sys::{clock, socket};

/// Lines a keeper writes about itself; a fault that repeats must not fill the disk.
const LOG_LINES_MAX: u32 = 100;

/// Reads the specification, starts the agent, answers, serves.
pub(super) fn run() -> io::Result<()> {
    spawn::detach(c"agentsup-keeper")?;
    let begun = spawn::read_input(SPEC_MAX)
        .map_err(setup)
        .and_then(|text| {
            serde_json::from_slice(&text)
                .map_err(|error| StartError::Specification { reason: error.to_string() })
        })
        .and_then(|spec| begin(&spec));
    match begun {
        Ok(keeper) => {
            spawn::answer(&serde_json::to_vec(&Answer::Ready(keeper.record.clone()))?)?;
            keeper.serve()
        }
        Err(error) => spawn::answer(&serde_json::to_vec(&Answer::Failed(error))?),
    }
}

fn setup(error: impl std::fmt::Display) -> StartError {
    StartError::Setup { reason: error.to_string() }
}

fn directory(error: impl std::fmt::Display) -> StartError {
    StartError::RunDirectory { reason: error.to_string() }
}

fn begin(spec: &KeeperSpec) -> Result<Keeper, StartError> {
    let program = require_program(spec)?;
    let dir = require_dir(&spec.dir)?;
    let lock = FileLock::acquire(&dir.join(LOCK)).map_err(|error| match error {
        LockError::Held { .. } => StartError::AlreadyRunning { dir: dir.clone() },
        error => directory(error),
    })?;
    for stale in [EXIT, KEEPER] {
        match fs::remove_file(dir.join(stale)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(directory(error)),
            _ => {}
        }
    }
    log_faults(&dir).map_err(directory)?;
    spawn::set_nondumpable().map_err(setup)?;
    spawn::become_subreaper().map_err(setup)?;
    let scrollback = Scrollback::create(&dir, spec.scrollback_max_bytes).map_err(directory)?;
    let listener = socket::bind(&dir.join(SOCKET), &lock).map_err(directory)?;
    // Before there is a child, so that no death is missed.
    let signals = SignalPipe::install(&[Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
        .map_err(setup)?;
    let (agent, io, screen) = start_agent(spec, &program)?;
    let record = KeeperRecord {
        run: spec.run,
        keeper: ProcessRef::current().map_err(setup)?,
        agent,
        boot: process::boot_id().map_err(setup)?,
        started_at_ms: clock::now_ms(),
    };
    store(&dir, KEEPER, &record, Durability::Process).map_err(directory)?;
    Ok(Keeper {
        dir,
        tree: Tree::new(record.keeper),
        record,
        io,
        screen,
        scrollback,
        listener,
        signals,
        first_client: spec.first_client,
        _lock: lock,
        state: State::new(),
    })
}

fn require_program(spec: &KeeperSpec) -> Result<std::path::PathBuf, StartError> {
    if !fs::metadata(&spec.cwd).is_ok_and(|meta| meta.is_dir()) {
        return Err(StartError::CwdMissing { cwd: spec.cwd.clone() });
    }
    let path = spec.env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_ref());
    match spawn::find_program(&spec.program, path, &spec.cwd) {
        Program::File(file) => Ok(file),
        Program::NotExecutable(file) => {
            Err(StartError::ProgramNotExecutable { program: file.display().to_string() })
        }
        Program::Missing => Err(StartError::ProgramNotFound { program: spec.program.clone() }),
    }
}

fn require_dir(dir: &Path) -> Result<std::path::PathBuf, StartError> {
    if !dir.is_absolute() {
        return Err(StartError::Specification { reason: format!("`{}` is not absolute", dir.display()) });
    }
    socket::require_private_dir(dir).map_err(directory)?;
    Ok(dir.to_owned())
}

fn start_agent(spec: &KeeperSpec, file: &Path) -> Result<(ProcessRef, AgentIo, Option<Screen>), StartError> {
    let terminal = match spec.io {
        Io::Pty { cols, rows } => {
            let size = Size::new(cols, rows).unwrap_or(Size::DEFAULT);
            Some((terminal::open_pty(size).map_err(setup)?, size))
        }
        Io::Pipes => None,
    };
    let inner = terminal.as_ref().map(|(pty, _)| pty.inner.try_clone()).transpose().map_err(setup)?;
    let command =
        AgentCommand { file, name: &spec.program, args: &spec.args, env: &spec.env, cwd: &spec.cwd };
    let (pid, streams) = spawn::spawn_agent(&command, inner).map_err(|error| exec_failed(file, &error))?;
    // It cannot have been collected yet, so the pid is still its own even if it has ended.
    let agent = process::stat(pid).map_err(setup)?.ok_or_else(|| setup("the agent was not seen"))?.process;
    let (pty, size) = terminal.unzip();
    let io = AgentIo::new(pty, streams).ok_or_else(|| setup("the agent's streams are missing"))?;
    Ok((agent, io, size.map(Screen::new)))
}

fn exec_failed(file: &Path, error: &io::Error) -> StartError {
    let reason = match error.raw_os_error() {
        // The file itself was found, so it is what its first line names.
        Some(libc::ENOENT) => "its interpreter was not found".to_owned(),
        _ => error.to_string(),
    };
    StartError::ExecFailed { program: file.display().to_string(), reason }
}

/// Faults go to `keeper.log`: where, never what, because a message may quote the agent's output.
fn log_faults(dir: &Path) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let log =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(dir.join(LOG))?;
    let lines = AtomicU32::new(0);
    std::panic::set_hook(Box::new(move |fault| {
        if lines.fetch_add(1, Ordering::Relaxed) < LOG_LINES_MAX
            && let Some(location) = fault.location()
        {
            let _ = writeln!(&log, "{} fault at {location}", clock::now_ms());
        }
    }));
    Ok(())
}
