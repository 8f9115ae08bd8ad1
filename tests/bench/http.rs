//! One kept connection that posts and reads whole answers: the same client for both sides of a ratio.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection to one address.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    head: String,
}

/// What an answer begins with.
struct Head {
    status: String,
    length: usize,
    chunked: bool,
}

impl Connection {
    /// To `http://host:port/path`, with these header lines.
    pub(crate) fn to(url: &str, headers: &[(&str, &str)]) -> Self {
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_nodelay(true).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{headers}"
        );
        Self { stream: BufReader::new(stream), head }
    }

    /// Posts the body and reads the whole answer, which must be a success.
    pub(crate) fn post(&mut self, body: &str) -> Vec<u8> {
        self.send(body);
        let head = self.head();
        let answer = if head.chunked { self.chunks() } else { self.exactly(head.length) };
        assert!(head.status.contains(" 200 "), "{}: {}", head.status, String::from_utf8_lossy(&answer));
        answer
    }

    /// Posts the body and answers how long the first byte of a streamed answer took; reads the rest of it, too.
    pub(crate) fn first_byte(&mut self, body: &str) -> Duration {
        let start = Instant::now();
        self.begin(body);
        let took = start.elapsed();
        self.chunks();
        took
    }

    /// Posts the body and waits for the first byte of a streamed answer, which must be a success.
    pub(crate) fn begin(&mut self, body: &str) {
        self.send(body);
        let head = self.head();
        assert!(head.chunked && head.status.contains(" 200 "), "{}", head.status);
        assert!(!self.stream.fill_buf().unwrap().is_empty());
    }

    fn send(&mut self, body: &str) {
        let request = format!("{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn head(&mut self) -> Head {
        let mut head = Head { status: self.line(), length: 0, chunked: false };
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                return head;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                head.length = value.trim().parse().unwrap();
            }
            head.chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line(), 16).unwrap();
            all.extend(self.exactly(length));
            self.line();
            if length == 0 {
                return all;
            }
        }
    }
}
