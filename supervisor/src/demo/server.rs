//! The demo's MCP server: two tools over standard input and output, one of them dangerous. It is an ordinary server
//! to the proxy, which starts it like any other.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A message's bytes at most.
const MESSAGE_MAX: u64 = 1024 * 1024;

/// Serves until its input ends.
///
/// # Errors
/// When the streams break.
pub fn serve(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut input = input.take(u64::MAX);
    loop {
        let mut line = String::new();
        input.set_limit(MESSAGE_MAX);
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        // Notifications have no id and get no answer.
        let Some(id) = message.get("id") else { continue };
        let answer = match reply(&message) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, text)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text } })
            }
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
}

fn reply(message: &Value) -> Result<Value, (i32, String)> {
    let params = message.get("params").cloned().unwrap_or_default();
    match message.get("method").and_then(Value::as_str).unwrap_or_default() {
        "initialize" => Ok(json!({
            "protocolVersion": params.get("protocolVersion").cloned().unwrap_or_else(|| json!("2025-06-18")),
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "agentsup-demo", "version": env!("CARGO_PKG_VERSION") },
            "instructions": "Notes for the demo.",
        })),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": [
            {
                "name": "write_note", "description": "Writes a note into a file that does not exist yet.",
                "inputSchema": { "type": "object", "required": ["path", "text"],
                    "properties": { "path": { "type": "string" }, "text": { "type": "string" } } },
            },
            {
                "name": "delete_repository", "description": "Deletes a whole repository.",
                "annotations": { "destructiveHint": true },
                "inputSchema": { "type": "object", "properties": { "path": { "type": "string" } } },
            },
        ] })),
        "tools/call" => Ok(call(&params)),
        other => Err((-32601, format!("there is no method `{other}`"))),
    }
}

fn call(params: &Value) -> Value {
    let argument = |name: &str| params.pointer(&format!("/arguments/{name}")).and_then(Value::as_str);
    let told = match (params.get("name").and_then(Value::as_str), argument("path"), argument("text")) {
        (Some("write_note"), Some(path), Some(text)) => write_note(Path::new(path), text),
        // The demo's manifest does not allow this tool. Should somebody allow it, nothing is deleted all the same.
        (Some("delete_repository"), _, _) => Err("the demo deletes nothing".to_owned()),
        _ => Err("the call names no tool of this server or lacks an argument".to_owned()),
    };
    let (text, is_error) = match told {
        Ok(path) => (format!("wrote {}", path.display()), false),
        Err(text) => (text, true),
    };
    json!({ "content": [{ "type": "text", "text": text }], "isError": is_error })
}

fn write_note(path: &Path, text: &str) -> Result<PathBuf, String> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map(|()| path.to_owned()).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(lines: &str) -> Vec<Value> {
        let mut output = Vec::new();
        serve(lines.as_bytes(), &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_note_is_written_once_and_garbage_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "write_note", "arguments": { "path": path, "text": "hi" } } });
        let answers =
            ask(&format!("garbage\n{{\"method\":\"notifications/initialized\"}}\n{call}\n{call}\n"));
        let texts: Vec<_> = answers.iter().map(|answer| answer["result"]["isError"].as_bool()).collect();
        assert_eq!(texts, [Some(false), Some(true)]);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "hi");
    }

    #[test]
    fn an_unknown_method_is_an_error() {
        let answers = ask("{\"id\":7,\"method\":\"rocket/launch\"}\n");
        assert_eq!(
            answers,
            [
                json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": -32601, "message": "there is no method `rocket/launch`" } })
            ]
        );
    }
}
