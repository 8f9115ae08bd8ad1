//! Children that serve us over their standard streams: started in a process group of their own with a clean
//! environment, ended with everything they started, and always waited for.
//!
//! Invariants: a child sees the variables that are inherited by name and those it was given, nothing else; a group
//! is signalled while its leader has not been collected, so its number cannot have become somebody else's; a child, and
//! what it leaves behind, carries the mark of a run, because it acts for agents and must not answer for people. Must
//! not: interpret a command through a shell.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::env::Env;

/// What to start.
pub struct ChildSpec<'a> {
    /// The program: a path, or a name looked for in `PATH`.
    pub program: &'a str,
    /// Its arguments.
    pub args: &'a [String],
    /// Variables it is given; they win over inherited ones.
    pub env: &'a [(String, String)],
    /// Its working directory.
    pub dir: &'a Path,
}

/// A child that leads a process group. Dropped before [`GroupChild::end`], the whole group is killed.
pub struct GroupChild {
    child: Child,
    group: Option<Pid>,
}

/// A child with its streams.
pub struct Started {
    /// The process.
    pub child: GroupChild,
    /// Its standard input.
    pub stdin: ChildStdin,
    /// Its standard output.
    pub stdout: ChildStdout,
    /// Its standard error.
    pub stderr: ChildStderr,
}

/// Starts a child with its three streams piped.
pub fn spawn(spec: &ChildSpec<'_>) -> io::Result<Started> {
    let mut command = Command::new(spec.program);
    command
        .args(spec.args)
        .env_clear()
        .envs(clean_environment(Env::current(), spec.env))
        .current_dir(spec.dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mark = super::peer::run_mark()?;
    // SAFETY: the closure only makes a system call.
    unsafe {
        command.pre_exec(move || mark.set());
    }
    let mut child = command.spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let child = GroupChild { child, group };
    match (stdin, stdout, stderr) {
        (Some(stdin), Some(stdout), Some(stderr)) => Ok(Started { child, stdin, stdout, stderr }),
        _ => Err(io::Error::other("a standard stream is missing")),
    }
}

fn clean_environment(ours: &Env, given: &[(String, String)]) -> Vec<(OsString, OsString)> {
    let inherited = ours.for_children().map(|(name, value)| (name.to_owned(), value.to_owned()));
    inherited.chain(given.iter().map(|(name, value)| (name.into(), value.into()))).collect()
}

impl GroupChild {
    /// The leader's process id; `None` once it has been collected.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the leader has ended; what it left behind in its group is killed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        #[cfg(target_os = "linux")]
        if let Some(pid) = self.child.id() {
            leader_ended(pid).await?;
            self.signal(Signal::SIGKILL);
        }
        let status = self.child.wait().await;
        self.signal(Signal::SIGKILL);
        self.group = None;
        status
    }

    /// Ends the group: asks, and after `patience` kills. Its standard input should have been closed before.
    pub async fn end(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        // A server ends by itself when its input does; the signal is for those that do not.
        if let Ok(ended) = tokio::time::timeout(patience / 4, self.wait()).await {
            return ended;
        }
        self.signal(Signal::SIGTERM);
        if let Ok(ended) = tokio::time::timeout(patience, self.wait()).await {
            return ended;
        }
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The only failure is that nobody is left in the group.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for GroupChild {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Waits until a process has ended, without collecting it.
#[cfg(target_os = "linux")]
async fn leader_ended(pid: u32) -> io::Result<()> {
    use std::os::fd::{FromRawFd as _, OwnedFd};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: plain system call without pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed us this descriptor and nobody else holds it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open, and it is moved in here, so nobody else closes it while it is registered.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
    watched.readable().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn python(script: &str, env: &[(String, String)]) -> Started {
        let args = ["-c".to_owned(), script.to_owned()];
        spawn(&ChildSpec { program: "python3", args: &args, env, dir: Path::new("/") }).unwrap()
    }

    async fn first_line(stdout: &mut ChildStdout) -> String {
        let mut line = String::new();
        loop {
            match stdout.read_u8().await.unwrap() {
                b'\n' => return line,
                byte => line.push(char::from(byte)),
            }
        }
    }

    fn is_there(pid: &str) -> bool {
        // A zombie whose parent is gone is collected by init sooner or later; it does not run any more.
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
    }

    /// A killed process takes a moment to go, longer on a busy machine.
    async fn assert_gone(pid: &str) {
        let gone = async {
            while is_there(pid) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[test]
    fn only_listed_and_given_variables_reach_a_child() {
        let ours = Env::of([
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("HOME", "/h"),
            ("OPENAI_API_KEY", "no"),
            ("SSH_AUTH_SOCK", "no"),
            ("LD_PRELOAD", "no"),
            ("AGENTSUP_HOME", "no"),
        ]);
        let given = [("HOME".to_owned(), "/mine".to_owned()), ("TOKEN".to_owned(), "t".to_owned())];
        let seen: Vec<(String, String)> = clean_environment(&ours, &given)
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            seen,
            [
                pair("HOME", "/h"),
                pair("LC_ALL", "C"),
                pair("PATH", "/bin"),
                pair("HOME", "/mine"),
                pair("TOKEN", "t")
            ]
        );
    }

    #[tokio::test]
    async fn a_real_child_has_no_other_variables() {
        let given = [("ONLY".to_owned(), "this".to_owned())];
        let mut started = python("import os;print(os.environ.get('ONLY'), 'CARGO' in os.environ)", &given);
        assert_eq!(first_line(&mut started.stdout).await, "this False");
        assert!(started.child.end(Duration::from_secs(5)).await.unwrap().success());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_child_carries_the_mark_of_a_run_for_good() {
        let limit = "resource.getrlimit(resource.RLIMIT_MSGQUEUE)[1]";
        let mut started = python(&format!("import resource;print({limit})"), &[]);
        let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a local that lives through the call.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_MSGQUEUE, &raw mut own) }, 0);
        assert_eq!(first_line(&mut started.stdout).await.parse(), Ok(own.rlim_max - 1));
    }

    #[tokio::test]
    async fn a_child_that_reads_its_end_of_input_ends_by_itself() {
        let mut started = python("import sys;sys.stdin.read();sys.exit(7)", &[]);
        started.stdin.shutdown().await.unwrap();
        drop(started.stdin);
        assert_eq!(started.child.end(Duration::from_secs(10)).await.unwrap().code(), Some(7));
        assert_eq!(started.child.pid(), None);
    }

    const STUBBORN: &str = "import signal,subprocess,sys,time\nsignal.signal(signal.SIGTERM,signal.SIG_IGN)\nc=subprocess.Popen([sys.executable,'-c','import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);print(1,flush=True);time.sleep(60)'],stdout=subprocess.PIPE)\nc.stdout.readline()\nprint(c.pid,flush=True)\ntime.sleep(60)";

    #[tokio::test]
    async fn a_stubborn_child_is_killed_with_its_own_children() {
        let mut started = python(STUBBORN, &[]);
        let grandchild = first_line(&mut started.stdout).await;
        assert!(is_there(&grandchild));
        assert!(!started.child.end(Duration::from_millis(100)).await.unwrap().success());
        assert_gone(&grandchild).await;
    }

    #[tokio::test]
    async fn a_dropped_child_takes_its_children_along() {
        let mut started = python(STUBBORN, &[]);
        let grandchild = first_line(&mut started.stdout).await;
        drop(started);
        assert_gone(&grandchild).await;
    }

    #[tokio::test]
    async fn what_a_dead_leader_left_behind_is_killed() {
        let script = "import subprocess,sys;c=subprocess.Popen([sys.executable,'-c','import time;time.sleep(60)'],stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL);print(c.pid,flush=True)";
        let mut started = python(script, &[]);
        let grandchild = first_line(&mut started.stdout).await;
        assert!(started.child.wait().await.unwrap().success());
        assert_gone(&grandchild).await;
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let spec =
            ChildSpec { program: "no-such-program-anywhere", args: &[], env: &[], dir: Path::new("/") };
        assert_eq!(spawn(&spec).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
