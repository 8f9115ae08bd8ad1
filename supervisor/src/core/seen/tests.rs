#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::core::action::{CommandPart, Facts};
use crate::core::shell;

fn tool(source: ToolSource, facts: Facts) -> String {
    let tool = ToolAction { source, tool: "t".into(), args_digest: [0; 32], facts, call_id: None };
    brought(&DataRules::default(), &tool).to_string()
}

fn builtin(class: BuiltinClass, paths: &[(&str, Place)], hosts: &[&str]) -> String {
    let paths = paths.iter().map(|(path, place)| PathFact { path: path.into(), place: *place }).collect();
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    tool(ToolSource::Builtin(class), Facts { paths, hosts, ..Facts::default() })
}

fn command(line: &str) -> String {
    let calls = shell::read(line);
    let parts =
        calls.iter().map(|call| CommandPart { call: call.clone(), ..CommandPart::default() }).collect();
    tool(
        ToolSource::Builtin(BuiltinClass::Shell),
        Facts { parts, command: Some(line.into()), ..Facts::default() },
    )
}

#[test]
fn what_comes_from_outside_is_untrusted_unless_somebody_says_otherwise() {
    let mcp = |rules: &DataRules, server: &str| {
        let source = ToolSource::Mcp(server.into());
        let tool = ToolAction {
            source,
            tool: "t".into(),
            args_digest: [0; 32],
            facts: Facts::default(),
            call_id: None,
        };
        brought(rules, &tool).to_string()
    };
    let mut rules = DataRules::default();
    assert_eq!(mcp(&rules, "notes"), "untrusted");
    rules.servers.entry("notes".into()).or_default().results = Some(Labels::of(Label::Internal));
    assert_eq!([mcp(&rules, "notes"), mcp(&rules, "other")], ["internal", "untrusted"]);
    rules.mcp.results = Some(Labels::NONE);
    assert_eq!([mcp(&rules, "notes"), mcp(&rules, "other")], ["internal", ""]);
    assert_eq!(builtin(BuiltinClass::Web, &[], &["docs.rs"]), "untrusted");
    assert_eq!(builtin(BuiltinClass::Web, &[], &[]), "untrusted");
    assert_eq!(builtin(BuiltinClass::Web, &[], &["localhost", "127.0.0.1", "[::1]"]), "");
    assert_eq!(builtin(BuiltinClass::Web, &[], &["localhost", "docs.rs"]), "untrusted");
    assert_eq!(tool(ToolSource::Foreign, Facts::default()), "untrusted");
}

#[test]
fn a_command_that_may_fetch_brings_what_is_untrusted() {
    for line in [
        "curl https://docs.rs/serde",
        "curl \"$URL\"",
        "cargo test && wget -qO- example.org | head",
        "git pull",
        "git -C sub fetch origin",
        "gh issue view 7",
        "bash -c 'curl -s https://docs.rs'",
        "frobnicate https://docs.rs",
        "python3 -c 'import urllib.request'",
        "eval \"$X\"",
        "\"$TOOL\" x",
        "curl http://localhost:3000/ https://docs.rs",
        "curl http://localhost:3000/ \"$MORE\"",
        "curl http://localhost:3000/; wget example.org",
        "curl http://localhost@docs.rs/",
        "curl http://localhost.docs.rs/",
        "curl 127.0.0.1.docs.rs",
        "curl -H 'Origin: http://localhost:3000' example.com/page",
        "curl -e http://localhost:3000 docs.rs",
        "curl -x http://127.0.0.1:8080 docs.rs",
        "curl localhost:3000 example.com",
        "curl 'http://localhost\\@docs.rs/'",
        "curl 'http://docs.rs\\@localhost/'",
        "curl -sL localhost:3000",
        "curl",
        "wget -m http://docs.rs http://localhost/",
        "wget -o http://docs.rs http://localhost/",
        "ALL_PROXY=http://docs.rs curl http://localhost/",
        "export ALL_PROXY=http://docs.rs; curl http://localhost/",
        "env http_proxy=docs.rs curl localhost:3000",
        "HOME=. frobnicate http://localhost/",
        "git remote update",
        "frobnicate 'http://localhost\\@docs.rs/'",
        "case x in",
    ] {
        assert_eq!(command(line), "untrusted", "{line}");
    }
    for line in [
        "cargo test",
        "git commit -m 'see https'",
        "git push",
        "ls -la | sort",
        "curl -s http://localhost:3000/health",
        "curl -s http://127.0.0.1:3000/health | jq .",
        "curl -s localhost:3000/health",
        "curl 'http://[::1]:3000/' -d x",
        "curl -sS -X POST -H 'A: http://b' --data '{}' http://localhost:3000/ -o out",
        "git remote -v",
        "npm run build",
    ] {
        assert_eq!(command(line), "", "{line}");
    }
}

#[test]
fn files_elsewhere_are_not_the_projects() {
    let read = |path, place| builtin(BuiltinClass::Read, &[(path, place)], &[]);
    assert_eq!(read("/w/src/a.rs", Place::Worktree), "");
    assert_eq!(read("/tmp/x", Place::Scratch), "");
    assert_eq!(read("/home/a/Downloads/mail.txt", Place::Outside), "untrusted");
    assert_eq!(read("/usr/include/stdio.h", Place::Outside), "");
    assert_eq!(read("/usrlocal/x", Place::Outside), "untrusted");
    assert_eq!(read("/home/a/.ssh/id", Place::Secret), "internal, confidential, secret");
    assert_eq!(builtin(BuiltinClass::Edit, &[("/home/a/x", Place::Outside)], &[]), "");
    let part = CommandPart {
        call: shell::read("cat ../mail.txt").remove(0),
        paths: vec![PathFact { path: "/home/a/mail.txt".into(), place: Place::Outside }],
        ..CommandPart::default()
    };
    let facts = Facts { parts: vec![part], ..Facts::default() };
    assert_eq!(tool(ToolSource::Builtin(BuiltinClass::Shell), facts), "untrusted");
}

#[test]
fn a_text_is_labelled_by_what_is_found_in_it() {
    // In one piece it would look like somebody's.
    let secret = format!("{}_{}", "npm", "q7Xv2LmZ0pRtYw9KbN4sDcJ6hGf1Ae8UoTi3");
    let labels = |text: &str| found_in(text.as_bytes(), Form::Json).to_string();
    assert_eq!(labels(r#"{"text":"nothing of interest"}"#), "");
    assert_eq!(labels(r#"{"text":"ask bob@acme.io"}"#), "internal, confidential");
    assert_eq!(labels(&format!(r#"{{"text":"use {secret}"}}"#)), "internal, confidential, secret");
    assert_eq!(labels(&hex::encode(&secret)), "internal, confidential, secret");
    let unfinished = Found { findings: Vec::new(), untold: Vec::new(), complete: false };
    assert_eq!(super::labels(&unfinished).to_string(), "internal, confidential");
}
