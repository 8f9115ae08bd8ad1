//! A plain HTTP/1.1 client over one socket, for tests that must send exactly what they mean to: foreign `Host`
//! headers, broken bodies, half requests.
//!
//! Invariants: one request per connection, a deadline on every read. Must not retry or follow anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A response, read to its end or to where it broke off.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// False when the connection ended before the body did.
    pub(crate) complete: bool,
}

impl Reply {
    /// The first header of this name (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}), status {}: {}", self.status, self.text()))
    }

    /// The `data:` lines of an SSE body that are JSON.
    pub(crate) fn events(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        text.lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .filter_map(|data| serde_json::from_str(data.trim()).ok())
            .collect()
    }
}

/// One request to build and send.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    authority: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
}

impl Call {
    /// `url` is `http://HOST:PORT/path`; the `Host` header follows from it unless [`Call::header`] sets another.
    pub(crate) fn new(method: &str, url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("an http:// url");
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        Self {
            authority: authority.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(20),
        }
    }

    /// A `POST` of JSON.
    pub(crate) fn post(url: &str, body: &serde_json::Value) -> Self {
        Self::new("POST", url).header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// How long the whole exchange may take; 20 s unless set.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The bytes of the request.
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let has = |name: &str| self.headers.iter().any(|(n, _)| n == name);
        if !has("host") {
            head += &format!("host: {}\r\n", self.authority);
        }
        if !has("content-length") && !has("transfer-encoding") && !self.body.is_empty() {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends and reads to the end. Panics when there is no response head in time.
    pub(crate) fn send(&self) -> Reply {
        self.try_send().unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.path))
    }

    /// Sends and reads to the end.
    pub(crate) fn try_send(&self) -> std::io::Result<Reply> {
        let deadline = Instant::now() + self.timeout;
        let mut stream = TcpStream::connect(&self.authority)?;
        stream.set_write_timeout(Some(self.timeout))?;
        // A server may answer and close before it has read a body it refuses; its answer still counts.
        let _ = stream.write_all(&self.bytes());
        let (raw, ended) = read_all(&mut stream, deadline)?;
        parse(&raw, ended, &self.method)
    }

    /// Sends, reads `bytes` of the response (head included), then hangs up.
    pub(crate) fn hang_up_after(&self, bytes: usize) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.authority).expect("connect");
        stream.set_read_timeout(Some(self.timeout)).expect("set timeout");
        stream.write_all(&self.bytes()).expect("send");
        let mut raw = vec![0; bytes];
        stream.read_exact(&mut raw).expect("read");
        raw
    }
}

/// The bytes, and whether the peer closed properly (false: reset or out of time).
fn read_all(stream: &mut TcpStream, deadline: Instant) -> std::io::Result<(Vec<u8>, bool)> {
    let mut raw = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok((raw, false));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok((raw, true)),
            Ok(count) => raw.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Ok((raw, false)),
        }
    }
}

fn parse(raw: &[u8], ended: bool, method: &str) -> std::io::Result<Reply> {
    let end = raw
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| std::io::Error::other(format!("no response head in {} bytes", raw.len())))?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| std::io::Error::other("no status line"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let rest = &raw[end + 4..];
    let (body, complete) = if method == "HEAD" {
        (Vec::new(), true)
    } else if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        dechunk(rest)
    } else if let Some(length) = header("content-length").and_then(|value| value.parse::<usize>().ok()) {
        (rest[..rest.len().min(length)].to_vec(), rest.len() >= length)
    } else {
        (rest.to_vec(), ended)
    };
    Ok(Reply { status, headers, body, complete })
}

/// The data of a chunked body, and whether its last chunk arrived.
fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line]).into_owned();
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16) else { break };
        if size == 0 {
            return (body, true);
        }
        let data = &rest[line + 2..];
        body.extend_from_slice(&data[..data.len().min(size)]);
        if data.len() < size + 2 {
            break;
        }
        rest = &data[size + 2..];
    }
    (body, false)
}
