//! A git forge on loopback: git's own `http-backend` behind a password, as a forge has it.
//!
//! Invariants: one repository directory; nobody without the password reads or writes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hyper::Response;

use super::home::search_path;
use super::server::{Answer, Recorded, Server, StreamBody};

/// `alice:s3cret-of-alice`, as `Authorization` has it.
const AUTHORIZATION: &str = "Basic YWxpY2U6czNjcmV0LW9mLWFsaWNl";
/// The password of `alice`.
pub(crate) const PASSWORD: &str = "s3cret-of-alice";

/// Serves every repository below a directory.
pub(crate) fn forge(root: &Path) -> Server {
    let root = root.to_owned();
    Server::start(move |request| {
        let root = root.clone();
        async move { answer(root, request).await }
    })
}

async fn answer(root: PathBuf, request: Recorded) -> Response<StreamBody> {
    if request.header("authorization") != Some(AUTHORIZATION) {
        return Answer::full(401, &[("www-authenticate", "Basic realm=\"agents\"")], "");
    }
    let output =
        tokio::task::spawn_blocking(move || backend(&root, &request)).await.expect("the backend ran");
    let end =
        output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the backend answers with a head");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let headers: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let status = headers.iter().find(|(name, _)| *name == "Status");
    let status = status.and_then(|(_, value)| value.get(..3)?.parse().ok()).unwrap_or(200);
    Answer::full(status, &headers, output[end + 4..].to_vec())
}

/// What git's own program answers, head and body.
fn backend(root: &Path, request: &Recorded) -> Vec<u8> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", search_path())
        .env("HOME", root)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "alice")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start git http-backend");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let body = request.body.clone();
    // It may answer before it has read everything.
    let written = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("git http-backend ends");
    let _read_or_not = written.join();
    output.stdout
}
