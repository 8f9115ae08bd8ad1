//! The daemon's side of a keeper's socket: questions, orders, and hearing of the end. Async.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::KeeperError;
use super::files::{self, ExitRecord, SOCKET};
use super::frame::Decoder;
use super::message::{Exited, FromKeeper, Hello, Killed, Mode, Status, ToKeeper, VERSION, Welcome};
use crate::sys::socket;

/// An answer that needs no waiting for processes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than a keeper tries to empty its tree.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// A control connection to a keeper. Answers come in order; a call that times out leaves the connection unusable.
#[derive(Debug)]
pub struct KeeperClient {
    stream: UnixStream,
    decoder: Decoder,
    dir: PathBuf,
    welcome: Welcome,
    exited: Option<Exited>,
}

impl KeeperClient {
    /// Connects to the keeper of the run directory `dir`. Needs a tokio runtime with I/O and time.
    pub async fn connect(dir: &Path) -> Result<Self, KeeperError> {
        let stream = socket::connect(&dir.join(SOCKET))?;
        stream.set_nonblocking(true).map_err(KeeperError::Connection)?;
        let stream = UnixStream::from_std(stream).map_err(KeeperError::Connection)?;
        let hello = Hello { version: VERSION, mode: Mode::Control, cols: 0, rows: 0 };
        let mut connection = Connection { stream, decoder: Decoder::default() };
        connection.send(ToKeeper::Hello(hello)).await?;
        let welcome = match bounded(ANSWER_TIMEOUT, connection.receive()).await?? {
            Some(FromKeeper::Welcome(welcome)) => welcome,
            Some(FromKeeper::Error(refused)) => return Err(KeeperError::Refused(refused.reason)),
            _ => return Err(KeeperError::Lost),
        };
        let Connection { stream, decoder } = connection;
        Ok(Self { stream, decoder, dir: dir.to_owned(), welcome, exited: None })
    }

    /// Who answered.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// A look at the agent.
    pub async fn fetch_status(&mut self) -> Result<Status, KeeperError> {
        self.send(ToKeeper::Status).await?;
        bounded(ANSWER_TIMEOUT, async {
            loop {
                if let FromKeeper::Status(status) = self.receive().await? {
                    return Ok(status);
                }
            }
        })
        .await?
    }

    /// Asks the agent to end and has what is left killed after `grace` (at most five minutes). Returns when the
    /// keeper has been told; [`wait`](Self::wait) returns when it is over.
    pub async fn stop(&mut self, grace: Duration) -> Result<(), KeeperError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.send(ToKeeper::Stop { grace_ms }).await
    }

    /// Kills the whole tree; returns when it is verified to be gone, or how many processes would not die.
    pub async fn kill(&mut self) -> Result<Killed, KeeperError> {
        self.send(ToKeeper::Kill).await?;
        bounded(KILL_TIMEOUT, async {
            loop {
                if let FromKeeper::Killed(killed) = self.receive().await? {
                    return Ok(killed);
                }
            }
        })
        .await?
    }

    /// Waits, as long as it takes, until the run has ended. Cancel-safe: dropping the future loses nothing.
    pub async fn wait(&mut self) -> Result<ExitRecord, KeeperError> {
        while self.exited.is_none() {
            match self.receive().await {
                Ok(_) => {}
                Err(KeeperError::Lost | KeeperError::Connection(_)) => break,
                Err(error) => return Err(error),
            }
        }
        // Written before clients are told, so it is there unless the keeper died without a word.
        files::load_exit(&self.dir)?.ok_or(KeeperError::Lost)
    }

    async fn send(&mut self, message: ToKeeper) -> Result<(), KeeperError> {
        send(&mut self.stream, message).await
    }

    async fn receive(&mut self) -> Result<FromKeeper, KeeperError> {
        match receive(&mut self.stream, &mut self.decoder).await? {
            Some(FromKeeper::Error(refused)) => Err(KeeperError::Refused(refused.reason)),
            Some(message) => {
                if let FromKeeper::Exited(exited) = &message {
                    self.exited = Some(exited.clone());
                }
                Ok(message)
            }
            None => Err(KeeperError::Lost),
        }
    }
}

struct Connection {
    stream: UnixStream,
    decoder: Decoder,
}

impl Connection {
    async fn send(&mut self, message: ToKeeper) -> Result<(), KeeperError> {
        send(&mut self.stream, message).await
    }

    async fn receive(&mut self) -> Result<Option<FromKeeper>, KeeperError> {
        receive(&mut self.stream, &mut self.decoder).await
    }
}

async fn send(stream: &mut UnixStream, message: ToKeeper) -> Result<(), KeeperError> {
    let mut bytes = Vec::new();
    message.into_frame()?.encode(&mut bytes)?;
    bounded(ANSWER_TIMEOUT, stream.write_all(&bytes)).await?.map_err(KeeperError::Connection)
}

/// Cancel-safe: bytes go into the decoder in the same poll that takes them from the socket.
async fn receive(stream: &mut UnixStream, decoder: &mut Decoder) -> Result<Option<FromKeeper>, KeeperError> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(Some(FromKeeper::from_frame(frame)?));
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.map_err(KeeperError::Connection)?;
        if count == 0 {
            return Ok(None);
        }
        decoder.push(&piece[..count]);
    }
}

async fn bounded<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, KeeperError> {
    tokio::time::timeout(limit, work).await.map_err(|_| KeeperError::Silent)
}
