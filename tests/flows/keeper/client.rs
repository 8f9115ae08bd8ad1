//! A client that speaks the keeper's protocol directly, and may misbehave.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use agentsup_supervisor::run::keeper::frame::Decoder;
use agentsup_supervisor::run::keeper::message::{
    Exited, FromKeeper, Hello, Mode, Status, ToKeeper, VERSION, Welcome,
};
use agentsup_supervisor::sys::socket;

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    /// Everything of the agent that was delivered, redraws included.
    pub(super) output: Vec<u8>,
    pub(super) errors: Vec<u8>,
    pub(super) redraws: Vec<Vec<u8>>,
    pub(super) exited: Option<Exited>,
    pub(super) welcome: Welcome,
}

impl Client {
    pub(super) fn attach(dir: &Path, cols: u16, rows: u16) -> Self {
        Self::open(dir, Hello { version: VERSION, mode: Mode::Attach, cols, rows }).unwrap()
    }

    pub(super) fn control(dir: &Path) -> Self {
        Self::open(dir, Hello { version: VERSION, mode: Mode::Control, cols: 0, rows: 0 }).unwrap()
    }

    /// The welcome, or the reason of the refusal.
    pub(super) fn open(dir: &Path, hello: Hello) -> Result<Self, String> {
        let mut stream = socket::connect(&dir.join("keeper.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&mut stream, ToKeeper::Hello(hello));
        let mut decoder = Decoder::default();
        let welcome = match next(&mut stream, &mut decoder).unwrap() {
            Some(FromKeeper::Welcome(welcome)) => welcome,
            Some(FromKeeper::Error(refused)) => return Err(refused.reason),
            other => panic!("{other:?}"),
        };
        Ok(Self {
            stream,
            decoder,
            output: Vec::new(),
            errors: Vec::new(),
            redraws: Vec::new(),
            exited: None,
            welcome,
        })
    }

    pub(super) fn say(&mut self, message: ToKeeper) {
        send(&mut self.stream, message);
    }

    pub(super) fn keys(&mut self, keys: &[u8]) {
        self.say(ToKeeper::Input(keys.to_vec()));
    }

    /// The next message; `None` when the keeper has closed.
    pub(super) fn next(&mut self) -> Option<FromKeeper> {
        let message = match next(&mut self.stream, &mut self.decoder) {
            Ok(message) => message?,
            Err(error) => {
                let tail = &self.output[self.output.len().saturating_sub(4000)..];
                panic!(
                    "the keeper says nothing ({error}); it ended with {:?}",
                    String::from_utf8_lossy(tail)
                );
            }
        };
        match &message {
            FromKeeper::Output(bytes) => self.output.extend(bytes),
            FromKeeper::OutputErr(bytes) => self.errors.extend(bytes),
            FromKeeper::Redraw(bytes) => {
                self.redraws.push(bytes.clone());
                self.output.extend(bytes);
            }
            FromKeeper::Exited(exited) => self.exited = Some(exited.clone()),
            _ => {}
        }
        Some(message)
    }

    pub(super) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let text = String::from_utf8_lossy(&self.output).into_owned();
            assert!(Instant::now() < deadline, "waited for {what}; got {text:?}");
            assert!(self.next().is_some(), "the keeper closed before {what}; got {text:?}");
        }
    }

    pub(super) fn until_text(&mut self, text: &str) {
        let wanted = text.to_owned();
        self.until(text, move |client| String::from_utf8_lossy(&client.output).contains(&wanted));
    }

    pub(super) fn until_exit(&mut self) -> Exited {
        self.until("the exit", |client| client.exited.is_some());
        self.exited.clone().unwrap()
    }

    pub(super) fn status(&mut self) -> Status {
        self.say(ToKeeper::Status);
        loop {
            match self.next() {
                Some(FromKeeper::Status(status)) => return status,
                Some(_) => {}
                None => panic!("the keeper closed instead of telling its status"),
            }
        }
    }
}

fn send(stream: &mut UnixStream, message: ToKeeper) {
    let mut bytes = Vec::new();
    message.into_frame().unwrap().encode(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
}

fn next(stream: &mut UnixStream, decoder: &mut Decoder) -> std::io::Result<Option<FromKeeper>> {
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            return Ok(Some(FromKeeper::from_frame(frame).unwrap()));
        }
        let mut piece = [0; 16 * 1024];
        match stream.read(&mut piece) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Ok(count) => decoder.push(&piece[..count]),
            Err(error) => return Err(error),
        }
    }
}
