//! Running a short program to its end: bounded in time and in output, without a shell.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

/// Bytes kept of each stream.
const OUTPUT_MAX: u64 = 64 * 1024;

/// What to run. It inherits the environment.
#[derive(Debug, Clone)]
pub struct Command {
    /// A name to be looked for in `PATH`, or a path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub dir: PathBuf,
    /// After so long it is killed.
    pub timeout: Duration,
}

/// How it ended, and what it said: the first 64 KiB of each stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Why it has no output.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It could not be started or waited for.
    #[error("cannot run `{}`: {source}", program.display())]
    Io {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was killed.
    #[error("`{}` did not end within {} ms", program.display(), timeout.as_millis())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// The bound.
        timeout: Duration,
    },
}

/// Runs it.
///
/// # Errors
/// When it cannot be started or does not end in time. A failing exit is an [`Output`].
pub async fn run(command: Command) -> Result<Output, CaptureError> {
    let program = command.program.clone();
    let failed = |source| CaptureError::Io { program: program.clone(), source };
    let mut child = tokio::process::Command::new(&command.program)
        .args(&command.args)
        .current_dir(&command.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        child.wait().await.map(|status| Output { success: status.success(), stdout, stderr })
    };
    match tokio::time::timeout(command.timeout, all).await {
        Ok(output) => output.map_err(failed),
        Err(_) => Err(CaptureError::TimedOut { program, timeout: command.timeout }),
    }
}

async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // Whatever was read before an error still is what the program said.
        let _ = (&mut stream).take(OUTPUT_MAX).read_to_end(&mut bytes).await;
        // The rest is drained, so that the program can end.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Command {
        Command { program: "sh".into(), args: vec!["-c".into(), script.into()], dir: "/".into(), timeout }
    }

    #[tokio::test]
    async fn both_streams_and_the_end_are_told() {
        let output = run(sh("echo out; echo err >&2; exit 3", Duration::from_secs(10))).await.unwrap();
        assert_eq!(output, Output { success: false, stdout: "out\n".into(), stderr: "err\n".into() });
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended() {
        let error = run(sh("exec tail -f /dev/null", Duration::from_millis(50))).await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` did not end within 50 ms");
    }

    #[tokio::test]
    async fn output_beyond_the_bound_is_dropped_but_does_not_block() {
        let output = run(sh("head -c 300000 /dev/zero", Duration::from_secs(10))).await.unwrap();
        assert_eq!((output.success, output.stdout.len()), (true, 65_536));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let command = Command { program: "no-such-program".into(), ..sh("", Duration::from_secs(1)) };
        assert!(run(command).await.unwrap_err().to_string().starts_with("cannot run `no-such-program`: "));
    }
}
