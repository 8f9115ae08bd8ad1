//! The client's side of the ops: what the command line and the window use to reach the daemon, starting it if needed.
//!
//! Every call is a connection of its own, so calls may run at the same time and a daemon that was replaced between two
//! calls is no error. A call is never repeated: nobody knows whether the first one had its effect.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::ops::Op;
use super::start;
use super::wire::{self, Hello, LineError, PROTOCOL, Reply};
use crate::core::error::{Code, Failure};
use crate::sys::lock::FileLock;
use crate::sys::paths::Home;
use crate::sys::socket::{self, SocketError};

/// How long a daemon may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an op may take at most; each op has a tighter bound of its own.
const CALL_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long a daemon may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// What to do when no daemon is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Start one.
    Start,
    /// Fail.
    Fail,
}

/// A way to the daemon of one home.
#[derive(Debug, Clone)]
pub struct Client {
    home: Home,
    absent: Absent,
}

struct Connection {
    stream: BufReader<UnixStream>,
    daemon: Hello,
}

impl Client {
    /// A client of the home's daemon, which is started if it is not there.
    pub async fn connect(home: Home) -> Result<Self, Failure> {
        let client = Self { home, absent: Absent::Start };
        client.open().await?;
        Ok(client)
    }

    /// A client of a daemon that is already there.
    pub async fn connect_running(home: Home) -> Result<Self, Failure> {
        let client = Self { home, absent: Absent::Fail };
        client.open().await?;
        Ok(client)
    }

    /// A client that connects with its first call.
    pub fn new(home: Home, absent: Absent) -> Self {
        Self { home, absent }
    }

    /// The home whose daemon it talks to.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The version of the daemon.
    pub async fn daemon_version(&self) -> Result<Hello, Failure> {
        Ok(self.open().await?.daemon)
    }

    /// Waits until no daemon holds the home, after it was told to end.
    pub async fn gone(&self) -> Result<(), Failure> {
        let lock = self.home.lock();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("daemon-end".into())
            .spawn(move || {
                let _gave_up = sender.send(FileLock::wait(&lock).map(drop));
            })
            .map_err(|error| Failure::internal(&error))?;
        match timeout(END_TIMEOUT, receiver).await {
            Ok(Ok(released)) => Ok(released?),
            Ok(Err(_)) | Err(_) => Err(Failure::new(Code::DaemonUnreachable, "the daemon does not end")
                .hint("agentsup doctor names its process")),
        }
    }

    /// Runs an op.
    pub async fn call<O: Op>(&self, params: O::Params) -> Result<O::Reply, Failure> {
        let params = serde_json::value::to_raw_value(&params).map_err(|error| Failure::internal(&error))?;
        let answer = self.exchange(O::NAME, params).await?;
        serde_json::from_str(answer.get()).map_err(|error| {
            Failure::new(
                Code::Internal,
                format!("the daemon's answer to `{}` makes no sense: {error}", O::NAME),
            )
        })
    }

    /// Runs an op by name, for callers that have no types: the window.
    pub async fn call_raw(&self, op: &str, params: Value) -> Result<Value, Failure> {
        let params = serde_json::value::to_raw_value(&params).map_err(|error| Failure::internal(&error))?;
        let answer = self.exchange(op, params).await?;
        serde_json::from_str(answer.get()).map_err(|error| Failure::internal(&error))
    }

    async fn exchange(&self, op: &str, params: Box<RawValue>) -> Result<Box<RawValue>, Failure> {
        let mut connection = self.open().await?;
        if connection.daemon.protocol != PROTOCOL && op != super::ops::DaemonStop::NAME {
            return Err(mismatch(&connection.daemon));
        }
        let request = wire::Request { op: op.to_owned(), params };
        let line = wire::line_of(&request).map_err(|error| Failure::internal(&error))?;
        if line.len() > wire::REQUEST_LIMIT {
            let message = format!("the request is longer than {} bytes", wire::REQUEST_LIMIT);
            return Err(Failure::new(Code::Usage, message));
        }
        connection.stream.write_all(&line).await.map_err(|error| lost(&error))?;
        let reply = timeout(CALL_TIMEOUT, wire::read_line(&mut connection.stream, wire::REPLY_LIMIT))
            .await
            .map_err(|_| lost(&format_args!("no answer to `{op}` after {} s", CALL_TIMEOUT.as_secs())))?
            .map_err(|error| lost(&error))?;
        match serde_json::from_slice(&reply) {
            Ok(Reply::Ok(answer)) => Ok(answer),
            Ok(Reply::Error(failure)) => Err(failure),
            Err(error) => Err(Failure::internal(&error)),
        }
    }

    async fn open(&self) -> Result<Connection, Failure> {
        match socket::connect(&self.home.socket()) {
            Ok(stream) => match greet(stream).await {
                // A daemon that ends between our connect and its accept has not been asked anything yet.
                Err(Greeting::Closed) if self.absent == Absent::Start => self.start_and_open().await,
                other => other.map_err(Failure::from),
            },
            Err(SocketError::NotListening { .. }) if self.absent == Absent::Start => {
                self.start_and_open().await
            }
            Err(error) => Err(unreachable_daemon(&error)),
        }
    }

    async fn start_and_open(&self) -> Result<Connection, Failure> {
        start::ensure_running(&self.home).await?;
        let stream = socket::connect(&self.home.socket()).map_err(|error| unreachable_daemon(&error))?;
        greet(stream).await.map_err(Failure::from)
    }
}

enum Greeting {
    Closed,
    Failed(Failure),
}

impl From<Greeting> for Failure {
    fn from(greeting: Greeting) -> Self {
        match greeting {
            Greeting::Closed => unreachable_daemon(&"it closed the connection"),
            Greeting::Failed(failure) => failure,
        }
    }
}

async fn greet(stream: std::os::unix::net::UnixStream) -> Result<Connection, Greeting> {
    let failed = |error: &dyn std::fmt::Display| Greeting::Failed(unreachable_daemon(error));
    stream.set_nonblocking(true).map_err(|error| failed(&error))?;
    let mut stream = BufReader::new(UnixStream::from_std(stream).map_err(|error| failed(&error))?);
    let hello = wire::line_of(&Hello::ours()).map_err(|error| failed(&error))?;
    // A daemon that refuses this peer may have closed already; its reason can still be read.
    let _refused = stream.write_all(&hello).await;
    let line = match timeout(HELLO_TIMEOUT, wire::read_line(&mut stream, wire::REQUEST_LIMIT)).await {
        Ok(Ok(line)) => line,
        Ok(Err(LineError::Closed | LineError::Io(_))) => return Err(Greeting::Closed),
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => {
            return Err(failed(&format_args!("it did not answer within {} s", HELLO_TIMEOUT.as_secs())));
        }
    };
    if let Ok(daemon) = serde_json::from_slice::<Hello>(&line) {
        return Ok(Connection { stream, daemon });
    }
    match serde_json::from_slice(&line) {
        Ok(Reply::Error(failure)) => Err(Greeting::Failed(failure)),
        _ => Err(failed(&"it does not speak agentsup's protocol")),
    }
}

fn unreachable_daemon(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::DaemonUnreachable, format!("cannot reach the daemon: {error}"))
        .hint("agentsup daemon start")
}

fn lost(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::DaemonUnreachable, format!("the connection to the daemon was lost: {error}"))
        .hint("agentsup ps shows what became of it")
}

fn mismatch(daemon: &Hello) -> Failure {
    let ours = Hello::ours();
    let message = format!(
        "the daemon is agentsup {} (protocol {}), this is agentsup {} (protocol {})",
        daemon.version, daemon.protocol, ours.version, ours.protocol
    );
    Failure::new(Code::DaemonUnreachable, message)
        .hint("agentsup daemon stop, then run the command again; runs go on meanwhile")
}
