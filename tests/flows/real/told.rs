//! What the model of each real agent is sent, whole, when one of the agent's own tools and one of an MCP server is denied,
//! asked about and refused, and asked about and allowed. Headless, where no client may be left to ask by itself: the
//! question goes to the person who runs agentsup, and the client hears yes or no.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::World;
use crate::fakes::ask::Ask;
use crate::fakes::home::{ANTHROPIC_KEY, GEMINI_KEY, OPENAI_KEY};
use crate::fakes::model::{Block, Script, Turn};
use crate::fakes::wait::until;
use crate::flows::approvals::asked;

/// Asks about every command and every call of an MCP server.
const ASK: &str = "@id(\"look\")\n@decision(\"ask\")\n@reason(\"a person looks\")\n\
                   forbid (principal, action in [Action::\"shell\", Action::\"mcp\"], resource);\n";
/// How long a question may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the person says, to each question.
const ANSWERS: [Option<&str>; 4] = [Some("use the staging database"), None, Some("put it on the wiki"), None];

/// One agent: how it is started, how its model calls a tool, and what that model is then sent.
struct Client {
    agent: &'static str,
    key: &'static str,
    args: &'static [&'static str],
    shell: fn(&str) -> Turn,
    mcp: fn(&Ask, &str, &Value) -> Turn,
    /// The name of its shell, for the gate.
    own: &'static str,
    /// What it makes of our words about a command.
    of_shell: fn(words: &str, line: &str) -> String,
    /// What it makes of our words about a call of an MCP server's tool.
    of_mcp: fn(words: &str, tool: &str, input: &Value) -> String,
}

/// The tool under the name that the agent offers it by.
fn offered(ask: &Ask, tool: &str, input: &Value) -> Turn {
    Turn::tool(&ask.require_tool(tool), input.clone())
}

/// A line of Codex's script language.
fn scripted(line: &str) -> Turn {
    Turn::text("I will use a tool.").and(Block::Custom { name: "exec".to_owned(), input: line.to_owned() })
}

/// Our words as a server's content, member by member as clients write it.
fn content(words: &str) -> String {
    format!("\"content\":[{{\"type\":\"text\",\"text\":{}}}]", json!(words))
}

/// What Gemini CLI and its kin make of an MCP server's refusal.
fn reported(tool: &str, input: &Value, answer: &str) -> String {
    let call = format!("{{\"name\":\"{tool}\",\"args\":{input}}}");
    let answer = format!("{{\"functionResponse\":{{\"name\":\"{tool}\",\"response\":{answer}}}}}");
    format!("MCP tool '{tool}' reported tool error for function call: {call} with response: [{answer}]")
}

#[test]
fn claude_is_told_why_in_words_and_asks_nothing_itself() {
    assert_told_whole(&Client {
        agent: "claude",
        key: ANTHROPIC_KEY,
        args: &["-p", "Go", "--output-format", "json"],
        shell: |line| Turn::tool("Bash", json!({ "command": line, "description": "Run" })),
        mcp: offered,
        own: "Bash",
        of_shell: |words, _| format!("PreToolUse:Bash hook error: {words}"),
        of_mcp: |words, _, _| words.to_owned(),
    });
}

#[test]
fn codex_is_told_why_in_words_and_asks_nothing_itself() {
    assert_told_whole(&Client {
        agent: "codex",
        key: OPENAI_KEY,
        args: &["exec", "--json", "Go"],
        shell: |line| scripted(&format!("text(await tools.exec_command({}))", json!({ "cmd": line }))),
        mcp: |_, tool, input| scripted(&format!("text(await tools.mcp__agentsup__{tool}({input}))")),
        own: "Bash",
        of_shell: |words, line| {
            let told = format!("Command blocked by PreToolUse hook: {words}. Command: {line}");
            format!("Script failed\nWall time TIME seconds\nOutput:\n\nScript error:\n{told}")
        },
        of_mcp: |words, _, _| {
            let told = content(words);
            format!("Script completed\nWall time TIME seconds\nOutput:\n\n{{{told},\"isError\":true}}")
        },
    });
}

#[test]
fn gemini_is_told_why_in_words_and_asks_nothing_itself() {
    assert_told_whole(&Client {
        agent: "gemini",
        key: GEMINI_KEY,
        args: &["--model", "gemini-2.5-flash", "--prompt", "Go"],
        shell: |line| Turn::tool("run_shell_command", json!({ "command": line })),
        mcp: offered,
        own: "run_shell_command",
        of_shell: |words, _| json!({ "error": format!("Tool execution blocked: {words}") }).to_string(),
        of_mcp: |words, tool, input| {
            let answer = format!("{{{},\"isError\":true}}", content(words));
            json!({ "error": reported(tool, input, &answer) }).to_string()
        },
    });
}

#[test]
fn opencode_is_told_why_in_words_and_asks_nothing_itself() {
    assert_told_whole(&Client {
        agent: "opencode",
        key: ANTHROPIC_KEY,
        args: &["run", "--format", "json", "Go"],
        shell: |line| Turn::tool("bash", json!({ "command": line, "description": "Run" })),
        mcp: offered,
        own: "bash",
        of_shell: |words, _| words.to_owned(),
        of_mcp: |words, _, _| words.to_owned(),
    });
}

#[test]
fn copilot_is_told_why_in_words_and_asks_nothing_itself() {
    assert_told_whole(&Client {
        agent: "copilot",
        key: ANTHROPIC_KEY,
        args: &["-p", "Go", "--output-format", "json"],
        shell: |line| Turn::tool("bash", json!({ "command": line, "description": "Run" })),
        mcp: offered,
        own: "Bash",
        of_shell: |words, _| format!("Denied by preToolUse hook: {words}"),
        of_mcp: |words, _, _| format!("MCP server 'agentsup': {words}"),
    });
}

#[test]
fn qwen_is_told_why_in_words_and_asks_nothing_itself() {
    assert_told_whole(&Client {
        agent: "qwen",
        key: OPENAI_KEY,
        args: &["-p", "Go"],
        shell: |line| Turn::tool("run_shell_command", json!({ "command": line, "is_background": false })),
        mcp: |_, tool, input| Turn::tool(&format!("mcp__agentsup__{tool}"), input.clone()),
        own: "run_shell_command",
        of_shell: |words, _| words.to_owned(),
        of_mcp: |words, tool, input| {
            let told = content(words);
            let answer = format!("{{\"error\":{{{told},\"isError\":true}},{told}}}");
            reported(tool, input, &answer)
        },
    });
}

/// The model's steps; what it is sent after each is put down.
fn steps(
    mut script: Script,
    client: &Client,
    secret: &super::Place,
    told: &Arc<Mutex<Vec<String>>>,
) -> Script {
    let (shell, mcp) = (client.shell, client.mcp);
    let look = secret.clone();
    script = script.step(move |_| {
        look.assert_no_key_inside();
        shell(&format!("cat {}", look.secret()))
    });
    let note = |told: &Arc<Mutex<Vec<String>>>| {
        let told = Arc::clone(told);
        move |ask: &Ask| told.lock().expect("what was told").push(ask.results().join("\n"))
    };
    let (place, put) = (secret.clone(), note(told));
    if client.agent == "claude" {
        // It offers these tools only once they were looked for.
        let put = note(told);
        script = script.step(move |ask| {
            put(ask);
            let tools = "select:mcp__agentsup__notes_write_note,mcp__agentsup__docs_echo";
            Turn::tool("ToolSearch", json!({ "query": tools, "max_results": 5 }))
        });
        script = script.step(move |ask| mcp(ask, "docs_echo", &json!({ "text": place.secret() })));
    } else {
        script = script.step(move |ask| {
            put(ask);
            mcp(ask, "docs_echo", &json!({ "text": place.secret() }))
        });
    }
    for line in ["echo no > no.txt", "echo yes > yes.txt; echo it ran"] {
        let put = note(told);
        script = script.step(move |ask| {
            put(ask);
            shell(line)
        });
    }
    for name in ["no", "yes"] {
        let put = note(told);
        script = script.step(move |ask| {
            put(ask);
            mcp(ask, "notes_write_note", &json!({ "name": name, "text": "a note" }))
        });
    }
    let put = note(told);
    script.step(move |ask| {
        put(ask);
        Turn::text("That is all.")
    })
}

fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    assert!(until(PATIENCE, || {
        found = look();
        found.is_some()
    }));
    found.unwrap()
}

fn assert_told_whole(client: &Client) {
    let told = Arc::default();
    let world = World::new(client.agent, client.key, "10.00 USD", |script, place| {
        steps(script, client, place, &told)
    });
    world.home.manifest("ask.cedar", ASK);
    let words = [&[client.agent, "--"], client.args].concat();
    let run = std::thread::scope(|scope| {
        let running = scope.spawn(|| world.run(&words));
        let run = soon(|| {
            let runs = world.home.run(&["ps", "--json"]).ok().json();
            runs[0]["id"].as_str().map(str::to_owned)
        });
        let mut before = Value::Null;
        for answer in ANSWERS {
            before = soon(|| {
                let next = asked(&world.home, &run)["id"].take();
                (next != before).then_some(next)
            });
            let id = before.as_str().unwrap();
            match answer {
                Some(reason) => world.home.run(&["deny", id, "--reason", reason]).ok(),
                None => world.home.run(&["approve", id]).ok(),
            };
        }
        running.join().unwrap()
    });
    run.ok();
    let told: Vec<String> = told.lock().unwrap().iter().map(|told| plain(told)).collect();
    let why = "credentials and agentsup's own files are out of bounds";
    let way_out = "Do without it, or ask your user, who can run: agentsup why REC";
    let denied = |tool: &str| format!("agentsup denied `{tool}`: {why} (REC). {way_out}");
    let refused = |tool: &str, why: &str| format!("agentsup denied `{tool}`: {why} (REC)");
    let secret = world.place.secret();
    let own = |words: &str, line: &str| (client.of_shell)(words, line);
    let served = |words: &str, tool: &str, input: Value| (client.of_mcp)(words, tool, &input);
    let expected = [
        own(&denied(client.own), &format!("cat {secret}")),
        served(&denied("docs/echo"), "docs_echo", json!({ "text": secret })),
        own(&refused(client.own, "use the staging database"), "echo no > no.txt"),
        served(
            &refused("notes/write_note", "put it on the wiki"),
            "notes_write_note",
            json!({ "name": "no", "text": "a note" }),
        ),
    ];
    let [own_denied, mcp_denied, own_no, own_yes, mcp_no, mcp_yes] = told.as_slice() else {
        panic!("six tools answered: {told:#?}");
    };
    assert_eq!([own_denied, mcp_denied, own_no, mcp_no].map(String::clone), expected);
    assert!(own_yes.contains("it ran") && mcp_yes.contains("wrote yes"), "{told:#?}");
    assert_eq!(std::fs::read_to_string(world.place.file("yes.txt")).unwrap(), "yes\n");
    assert!(!std::path::Path::new(&world.place.file("no.txt")).exists());
    let written: Vec<_> = std::fs::read_dir(world.notes.notes()).unwrap().flatten().collect();
    assert_eq!(written.iter().map(std::fs::DirEntry::file_name).collect::<Vec<_>>(), ["yes"]);
    let audit = world.audit();
    assert_eq!(audit.targets("tool", "allow"), [client.own, "notes/write_note"]);
    assert_eq!(audit.targets("tool", "deny"), [client.own, "docs/echo", client.own, "notes/write_note"]);
    world.assert_books();
}

/// Without what differs each time: ids of records, and how long a script took.
fn plain(told: &str) -> String {
    let mut pieces = told.split("rec_");
    let first = pieces.next().unwrap_or_default().to_owned();
    let told = pieces.fold(first, |told, piece| told + "REC" + piece.get(32..).unwrap_or_default());
    match told
        .split_once("Wall time ")
        .and_then(|(before, rest)| Some((before, rest.split_once(" seconds")?.1)))
    {
        Some((before, after)) => format!("{before}Wall time TIME seconds{after}"),
        None => told,
    }
}
