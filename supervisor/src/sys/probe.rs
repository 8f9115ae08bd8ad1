//! Asking a program for its version: one short child with bounded time and output.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::spawn::{self, Program};

/// Node programs need a second on a cold disk.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A version is a line.
const OUTPUT_MAX: u64 = 4096;

/// What a program said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Its file.
    pub file: PathBuf,
    /// What it printed, trimmed.
    pub version: String,
}

/// Why a program did not say its version.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Not in the given `PATH`.
    #[error("`{0}` is not installed or not in PATH")]
    Missing(String),
    /// It could not be run.
    #[error("`{program} --version` failed: {source}")]
    Io {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// It said nothing in time.
    #[error("`{0} --version` gave no answer")]
    Silent(String),
}

/// Runs `<program> --version`, found as an agent would find it, with these variables only. Blocks.
pub fn version<'a>(
    program: &str,
    env: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<Probed, ProbeError> {
    let path = env.clone().into_iter().find(|(name, _)| *name == "PATH").map(|(_, value)| OsStr::new(value));
    let Program::File(file) = spawn::find_program(program, path, Path::new("/")) else {
        return Err(ProbeError::Missing(program.to_owned()));
    };
    let failed = |source| ProbeError::Io { program: program.to_owned(), source };
    let mut child = Command::new(&file)
        .arg("--version")
        .env_clear()
        .envs(env)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let Some(pipe) = child.stdout.take() else { return Err(failed(io::ErrorKind::BrokenPipe.into())) };
    let (sender, receiver) = sync_channel(1);
    let reader = std::thread::Builder::new().name("version".into()).spawn(move || {
        let mut text = Vec::new();
        let read = pipe.take(OUTPUT_MAX).read_to_end(&mut text).map(|_| text);
        let _late = sender.try_send(read);
    });
    reader.map_err(failed)?;
    let text = receiver.recv_timeout(TIMEOUT);
    if !matches!(text, Ok(Ok(_))) {
        let group = i32::try_from(child.id()).unwrap_or(0);
        let _gone = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::SIGKILL);
    }
    let status = child.wait().map_err(failed)?;
    match text {
        Ok(Ok(text)) if status.success() => {
            Ok(Probed { file, version: String::from_utf8_lossy(&text).trim().to_owned() })
        }
        Ok(Err(source)) => Err(failed(source)),
        Ok(Ok(_)) => Err(failed(io::Error::other(status.to_string()))),
        Err(_) => Err(ProbeError::Silent(program.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_its_version_or_why_not() {
        let path = [("PATH", "/usr/local/bin:/usr/bin:/bin")];
        assert!(version("git", path).unwrap().version.starts_with("git version "));
        let missing = version("agentsup-no-such-program", path).unwrap_err();
        assert_eq!(missing.to_string(), "`agentsup-no-such-program` is not installed or not in PATH");
        assert!(matches!(version("false", path), Err(ProbeError::Io { .. })));
        assert!(matches!(version("git", []), Err(ProbeError::Missing(_))));
    }
}
