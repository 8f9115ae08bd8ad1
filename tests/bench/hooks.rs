//! What the gate adds to a call of an agent's own tool: the hook that is a command against a program that does nothing, both
//! started by a shell as agents start them, and the hook over HTTP against a bare post over loopback.

use std::cell::Cell;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::compare;
use super::fakes::home::{Home, Manifest};
use super::fakes::server::{Answer, Server, dead_url};
use super::fakes::wait;
use super::http::Connection;

const ROUNDS: usize = 200;

/// Prints the rows.
pub(crate) fn print() {
    let mut home = Home::new();
    home.providers(&dead_url(), &dead_url());
    home.agent("bench", &Manifest::default());
    let run = Run::start(&home);
    over_http(&run);
    by_command(&run);
}

fn over_http(run: &Run) {
    let server = Server::start(|_| async { Answer::json(200, &json!({})) });
    let mut bare = Connection::to(&format!("{}/hook", server.url()), &[]);
    let bearer = format!("Bearer {}", run.token);
    let mut hook = Connection::to(&format!("{}/hook/claude", run.origin), &[("authorization", &bearer)]);
    let body = run.before().to_string();
    compare(
        "HTTP hook, a tool call decided / a bare post over loopback",
        ROUNDS,
        || drop(bare.post(&body)),
        || {
            let answer: Value = serde_json::from_slice(&hook.post(&run.before().to_string())).unwrap();
            assert_eq!(answer["hookSpecificOutput"]["permissionDecision"], "allow", "{answer}");
        },
    );
    compare(
        "HTTP hook, the end of a call told / a bare post over loopback",
        ROUNDS,
        || drop(bare.post(&body)),
        || drop(hook.post(&run.after().to_string())),
    );
}

fn by_command(run: &Run) {
    let own = env!("CARGO_BIN_EXE_agentsup");
    let line = |program: &str| format!("{program} || {{ echo 'failed' >&2; exit 2; }}");
    let hook = line(&format!("'{own}' hook claude"));
    let nothing = line("cat >/dev/null; true");
    let through = |line: &str, message: &Value| {
        let mut command = Command::new("sh");
        command.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("AGENTSUP_MCP_URL", format!("{}/mcp", run.origin)).env("AGENTSUP_RUN_TOKEN", &run.token);
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(message.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    compare(
        "command hook, a tool call decided / `true`, both in `sh -c`",
        ROUNDS,
        || drop(through(&nothing, &run.before())),
        || {
            let answer = through(&hook, &run.before());
            assert!(String::from_utf8_lossy(&answer).contains("\"allow\""));
        },
    );
}

/// A run of Claude Code, in whose place stands a program that only lives.
struct Run {
    token: String,
    origin: String,
    worktree: PathBuf,
    calls: Cell<u64>,
    ends: Cell<u64>,
}

impl Run {
    fn start(home: &Home) -> Self {
        let (told, program) = (home.path("told"), home.path("programs/claude"));
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo '2.1.330 (Claude Code)'; exit 0; }}\n\
             printf '%s\\n' \"$AGENTSUP_RUN_TOKEN\" \"$AGENTSUP_MCP_URL\" \"$PWD\" >{0}.new && mv {0}.new {0} && \
             exec tail -f /dev/null\n",
            told.display()
        );
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.parent().unwrap().display());
        home.cli(&["run", "--detach", "claude"]).env("PATH", &path).run().ok();
        let read = || std::fs::read_to_string(&told).unwrap_or_default();
        assert!(wait::until(std::time::Duration::from_secs(20), || !read().is_empty()));
        let text = read();
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap().to_owned();
        let (token, url) = (next(), next());
        let origin = url.trim_end_matches("/mcp").to_owned();
        Self { token, origin, worktree: next().into(), calls: Cell::new(0), ends: Cell::new(0) }
    }

    /// The next call: an edit in the worktree, which a policy looks at by its path.
    fn before(&self) -> Value {
        self.calls.set(self.calls.get() + 1);
        json!({
            "hook_event_name": "PreToolUse", "tool_name": "Edit", "tool_use_id": format!("toolu_{}", self.calls.get()),
            "cwd": self.worktree, "session_id": "s", "permission_mode": "default",
            "tool_input": { "file_path": self.worktree.join("README.md"), "old_string": "a", "new_string": "b" },
        })
    }

    /// The end of the next call that has not ended.
    fn after(&self) -> Value {
        self.ends.set(self.ends.get() + 1);
        json!({
            "hook_event_name": "PostToolUse", "tool_name": "Edit", "tool_use_id": format!("toolu_{}", self.ends.get()),
            "cwd": self.worktree, "session_id": "s", "tool_input": {}, "tool_response": {},
        })
    }
}
