//! One HTTP request to loopback, blocking, without a runtime: a hook is a process that lives for milliseconds.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use url::{Host, Url};

/// An answer's bytes at most.
const ANSWER_MAX: u64 = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Not `http://` to a loopback address with a port.
    #[error("`{0}` is not a loopback address")]
    Address(String),
    /// The connection failed, or nothing came in time.
    #[error("the request failed: {0}")]
    Io(#[from] io::Error),
    /// What came is not HTTP, or too long.
    #[error("the answer cannot be read")]
    Answer,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Posts JSON with a bearer token and waits for the whole answer.
///
/// # Errors
/// When the address is not loopback, or no whole answer comes within `timeout`.
pub fn post(address: &str, bearer: &str, body: &[u8], timeout: Duration) -> Result<Answer, PostError> {
    exchange("POST", address, bearer, body, timeout)
}

/// Asks with a bearer token and waits for the whole answer.
///
/// # Errors
/// As [`post`].
pub fn fetch(address: &str, bearer: &str, timeout: Duration) -> Result<Answer, PostError> {
    exchange("GET", address, bearer, &[], timeout)
}

fn exchange(
    method: &str,
    address: &str,
    bearer: &str,
    body: &[u8],
    timeout: Duration,
) -> Result<Answer, PostError> {
    let bad = || PostError::Address(address.to_owned());
    let url = Url::parse(address).map_err(|_| bad())?;
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        _ => return Err(bad()),
    };
    let port = url.port().filter(|_| ip.is_loopback() && url.scheme() == "http").ok_or_else(bad)?;
    if bearer.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(bad());
    }
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    let head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        url.path(),
        SocketAddr::new(ip, port),
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX + 1).read_to_end(&mut answer)?;
    if answer.len() as u64 > ANSWER_MAX {
        return Err(PostError::Answer);
    }
    read(&answer).ok_or(PostError::Answer)
}

/// Reads an answer that its length delimits; our own server gives nothing else.
fn read(bytes: &[u8]) -> Option<Answer> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let body = bytes.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() == length).then(|| Answer { status, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered(answer: &'static [u8]) -> Result<Answer, PostError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/hook/x", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = post(&address, "ast_t", b"{}", Duration::from_secs(5));
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /hook/x HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer ast_t\r\n") && request.ends_with("\r\n\r\n{}"));
        answer
    }

    #[test]
    fn a_whole_answer_is_read() {
        let answer = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        assert_eq!(answer, Answer { status: 200, body: b"ok".to_vec() });
    }

    #[test]
    fn a_cut_answer_is_none() {
        let error = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok").unwrap_err();
        assert!(matches!(error, PostError::Answer));
    }

    #[test]
    fn the_token_goes_nowhere_but_to_loopback() {
        for address in
            ["http://example.com:80/x", "http://10.0.0.1:80/x", "https://127.0.0.1:1/x", "nonsense"]
        {
            let error = post(address, "t", b"", Duration::from_secs(1)).unwrap_err();
            assert!(matches!(error, PostError::Address(_)), "{address}");
        }
    }
}
