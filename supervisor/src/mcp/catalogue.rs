//! The tools of one server, as it described them. Each description stays text; only the name in it is exchanged for
//! the one that agents see.

use super::naming;
use super::wire::{Edit, Object, WireError, elements, quote, splice, string};

/// More tools of one server than this are refused.
pub(super) const TOOLS_MAX: usize = 5_000;

/// One tool of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tool {
    /// As the server calls it.
    pub(super) name: String,
    /// As agents see it.
    pub(super) exposed: String,
    /// The server's description, with the exposed name.
    pub(super) definition: String,
}

/// One page of a server's answer to `tools/list`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Its tools.
    pub(super) tools: Vec<Tool>,
    /// The JSON text of the cursor that leads to the next page.
    pub(super) next: Option<String>,
}

/// Reads the result of `tools/list`; `prefix` stands for the server. A tool whose name is missing or ambiguous is left out.
pub(super) fn page(prefix: &str, result: &str) -> Result<Page, WireError> {
    let result = Object::parse(result)?;
    let list = result.member("tools").ok_or(WireError::Shape("`tools` is missing"))?;
    let tools = elements(list)?.into_iter().filter_map(|definition| tool(prefix, definition)).collect();
    let next = result.member("nextCursor").filter(|raw| raw.starts_with('"')).map(str::to_owned);
    Ok(Page { tools, next })
}

fn tool(prefix: &str, definition: &str) -> Option<Tool> {
    let object = Object::parse(definition).ok()?;
    object.require_clear(&["name"]).ok()?;
    let raw = object.member("name")?;
    let name = string(raw)?.into_owned();
    let exposed = naming::exposed(prefix, &name);
    let definition = splice(definition, &[Edit { what: raw, with: &quote(&exposed) }]);
    Some(Tool { name, exposed, definition })
}

/// All pages as one list: in order of exposed name, whatever order the server has this time, because the list
/// becomes part of prompts and a prompt that differs is cached anew. Of two tools with one name the first stays.
pub(super) fn list(mut tools: Vec<Tool>) -> Vec<Tool> {
    tools.sort_by(|a, b| a.exposed.cmp(&b.exposed));
    tools.dedup_by(|later, first| later.exposed == first.exposed);
    tools
}

/// The tool that agents call `exposed`.
pub(super) fn find<'a>(tools: &'a [Tool], exposed: &str) -> Option<&'a Tool> {
    let at = tools.binary_search_by(|tool| tool.exposed.as_str().cmp(exposed));
    at.ok().and_then(|at| tools.get(at))
}

/// The result of `tools/list` for an agent.
pub(super) fn merged<'a>(definitions: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::from(r#"{"tools":["#);
    for (index, definition) in definitions.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(definition);
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"_meta":{"x":1.0},"tools":[
        {"title":"Z","name":"zeta","inputSchema":{"type":"object","x-unknown":1.50,"$schema":"s"},"annotations":{"readOnlyHint":true},"icons":[]},
        {"name":"alpha","_meta":{"a/b":[1e2]},"description":"said \"hi\""},
        {"name":7},{"title":"nameless"},{"name":"a","Name":"b"}, 3
    ],"nextCursor":"c\u0031"}"#;

    #[test]
    fn descriptions_stay_as_they_are_but_for_the_name() {
        let page = page("s", RESULT).unwrap();
        assert_eq!(page.next.as_deref(), Some(r#""c\u0031""#));
        let tools = list(page.tools);
        assert_eq!(
            tools,
            [
                Tool {
                    name: "alpha".into(),
                    exposed: "s_alpha".into(),
                    definition: r#"{"name":"s_alpha","_meta":{"a/b":[1e2]},"description":"said \"hi\""}"#.into(),
                },
                Tool {
                    name: "zeta".into(),
                    exposed: "s_zeta".into(),
                    definition: r#"{"title":"Z","name":"s_zeta","inputSchema":{"type":"object","x-unknown":1.50,"$schema":"s"},"annotations":{"readOnlyHint":true},"icons":[]}"#.into(),
                },
            ]
        );
        assert_eq!(find(&tools, "s_zeta").map(|tool| tool.name.as_str()), Some("zeta"));
        assert_eq!(find(&tools, "zeta"), None);
        let merged = merged(tools.iter().map(|tool| tool.definition.as_str()));
        assert_eq!(merged, format!(r#"{{"tools":[{},{}]}}"#, tools[0].definition, tools[1].definition));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        assert!(page("s", r#"{"tools":{}}"#).is_err());
        assert!(page("s", "{}").is_err());
        assert!(page("s", "[]").is_err());
        assert_eq!(merged(std::iter::empty()), r#"{"tools":[]}"#);
    }
}
