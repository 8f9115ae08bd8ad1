//! What agents get for everything but calls: the introduction, the merged and filtered list of tools, and empty lists.
//!
//! Prompts and resources are not offered: policies do not speak about them yet. Clients that ask all the same get
//! empty lists.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::catalogue::{self, Tool};
use super::fleet::Listed;
use super::upstream::hello::VERSIONS;
use super::wire::{self, INVALID_PARAMS, METHOD_NOT_FOUND, Object, quote};
use crate::core::action::{Action, Facts, ToolAction, ToolSource};
use crate::core::decision::Decision;
use crate::gate::LiveRun;

/// How long an introduction waits for the servers' own instructions, from the start of each.
const INTRODUCTION: Duration = Duration::from_millis(1_500);
/// Of the instructions of one server, at most so many bytes.
const INSTRUCTIONS_MAX: usize = 16 * 1024;

/// Versions of the specification that agents may speak with us: those with streamable HTTP and `initialize`.
pub(super) fn is_spoken(version: &str) -> bool {
    version >= "2025-03-26" && VERSIONS.contains(&version)
}

/// The response to a request that is not a call of a tool.
pub(super) async fn respond(
    inner: &Inner,
    live: &Arc<LiveRun>,
    method: &str,
    id: &str,
    params: Option<&str>,
) -> String {
    match method {
        "initialize" => wire::response(id, &introduce(inner, live, params).await),
        "ping" => wire::response(id, "{}"),
        "tools/list" if has_cursor(params) => {
            wire::error(id, INVALID_PARAMS, "unknown cursor: the list has one page")
        }
        "tools/list" => wire::response(id, &list(inner, live).await),
        "prompts/list" => wire::response(id, r#"{"prompts":[]}"#),
        "resources/list" => wire::response(id, r#"{"resources":[]}"#),
        "resources/templates/list" => wire::response(id, r#"{"resourceTemplates":[]}"#),
        // `server/discover` among them: clients of 2026-07-28 then turn to `initialize`.
        _ => wire::error(id, METHOD_NOT_FOUND, "method not found"),
    }
}

fn has_cursor(params: Option<&str>) -> bool {
    let params = params.and_then(|text| Object::parse(text).ok());
    params.is_some_and(|params| params.member("cursor").is_some_and(|cursor| cursor != "null"))
}

async fn introduce(inner: &Inner, live: &Arc<LiveRun>, params: Option<&str>) -> String {
    let asked = params.and_then(|text| Object::parse(text).ok());
    let asked =
        asked.and_then(|params| params.string("protocolVersion")).filter(|version| is_spoken(version));
    let version = asked.unwrap_or(VERSIONS[0].into());
    inner.fleet.rouse();
    let ready = inner.fleet.ready(INTRODUCTION).await;
    let instructions =
        instructions(ready.iter().filter(|listed| {
            listed.tools.iter().any(|tool| is_shown(inner, live, &listed.server.name, tool))
        }));
    format!(
        r#"{{"protocolVersion":{},"capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"agentsup","title":"agentsup","version":"{}"}},"instructions":{}}}"#,
        quote(&version),
        env!("CARGO_PKG_VERSION"),
        quote(&instructions)
    )
}

fn instructions<'a>(servers: impl Iterator<Item = &'a Listed>) -> String {
    let mut text = String::from(
        "Tools of several MCP servers, offered through agentsup; the part of a tool's name before the first `_` names \
         its server. A call that is denied says so in its result and names the record of the decision; do not try it \
         again unchanged.",
    );
    for listed in servers {
        if let Some(own) = listed.connection.instructions() {
            text.push_str(&format!(
                "\n\n# Server `{}` (tools `{}_…`)\n",
                listed.server.name, listed.server.prefix
            ));
            text.push_str(cut(own, INSTRUCTIONS_MAX));
        }
    }
    text
}

fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}

async fn list(inner: &Inner, live: &Arc<LiveRun>) -> String {
    let servers = inner.fleet.tools().await;
    let shown = servers.iter().flat_map(|listed| {
        let tools = listed.tools.iter().filter(|tool| is_shown(inner, live, &listed.server.name, tool));
        tools.map(|tool| tool.definition.as_str())
    });
    catalogue::merged(shown)
}

/// Whether policy leaves the agent any way to call the tool.
fn is_shown(inner: &Inner, live: &LiveRun, server: &str, tool: &Tool) -> bool {
    let action = Action::Tool(ToolAction {
        source: ToolSource::Mcp(server.to_owned()),
        tool: tool.name.clone(),
        args_digest: [0; 32],
        facts: Facts::default(),
        call_id: None,
    });
    inner.gate.preview(live, &action) != Decision::Deny
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_speak_every_version_with_this_transport() {
        assert!(["2025-03-26", "2025-06-18", "2025-11-25"].into_iter().all(is_spoken));
        assert!(!["2024-11-05", "2026-07-28", "", "2025"].into_iter().any(is_spoken));
    }

    #[test]
    fn a_cursor_is_not_known() {
        assert!(has_cursor(Some(r#"{"cursor":"x"}"#)));
        assert!(!has_cursor(Some(r#"{"cursor":null}"#)) && !has_cursor(Some("{}")) && !has_cursor(None));
    }

    #[test]
    fn long_instructions_are_cut_between_characters() {
        assert_eq!((cut("aé", 2), cut("aé", 3), cut("", 5)), ("a", "aé", ""));
    }
}
