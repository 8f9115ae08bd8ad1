//! Conditions of the toolkit's rules. It takes them apart by ` or ` and then ` and `, wherever they stand, and looks at the
//! beginning of each piece; what follows there, and every piece of a form that it does not know, it drops or takes for
//! false without a word. Here only what means what it says is read.

use super::literal;
use crate::core::manifest::Environment;

/// The longest condition that the toolkit evaluates, in bytes here; longer ones are false there.
const MAX_BYTES: usize = 2000;

/// When a rule applies: one of these, of which all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Vec<Vec<Test>>);

/// Why a condition is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    pub hint: &'static str,
}

/// Of which of a call's hosts a condition must hold: what tightens where it holds of any, what loosens where of every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    Any,
    Every,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    fact: Fact,
    is: Is,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Is {
    Equal(String),
    Different(String),
    OneOf(Vec<String>),
}

/// What a field of theirs is in the context of policies here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Tool,
    Path,
    Command,
    Host,
    Environment,
    Repository,
    AgentName,
    AgentTeam,
    AgentOwner,
}

/// The fields that are known. `govern()` puts the arguments of a call into `value`, so `path.value` is `path`, too.
const FIELDS: [(&str, Fact); 17] = [
    ("tool_name", Fact::Tool),
    ("tool", Fact::Tool),
    ("tool.name", Fact::Tool),
    ("action.tool", Fact::Tool),
    ("action.type", Fact::Tool),
    ("action.name", Fact::Tool),
    ("path", Fact::Path),
    ("file.path", Fact::Path),
    ("file_path", Fact::Path),
    ("command", Fact::Command),
    ("host", Fact::Host),
    ("url.host", Fact::Host),
    ("environment", Fact::Environment),
    ("repository", Fact::Repository),
    ("agent.name", Fact::AgentName),
    ("agent.team", Fact::AgentTeam),
    ("agent.owner", Fact::AgentOwner),
];

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// Where the toolkit would not do what stands there, or nothing here corresponds to it.
    pub fn parse(text: &str) -> Result<Self, Unread> {
        if text.len() > MAX_BYTES {
            let message = format!("is longer than {MAX_BYTES} characters, which the toolkit takes for false");
            return Err(Unread { message, hint: "make several rules of it" });
        }
        if text.starts_with(char::is_whitespace) {
            let message = "begins with a space, so the toolkit takes it for false".to_owned();
            return Err(Unread { message, hint: "begin with the field" });
        }
        let all = |text: &str| text.split(" and ").map(|piece| Test::parse(piece.trim())).collect();
        text.split(" or ").map(all).collect::<Result<_, _>>().map(Self)
    }

    /// As an expression of Cedar: of a call with several hosts, of any of them or of every one.
    pub(super) fn cedar(&self, hosts: Hosts) -> String {
        let all =
            |tests: &Vec<Test>| tests.iter().map(|test| test.cedar(hosts)).collect::<Vec<_>>().join(" && ");
        self.0.iter().map(all).collect::<Vec<_>>().join(" || ")
    }
}

impl Test {
    fn parse(piece: &str) -> Result<Self, Unread> {
        let field = field(piece);
        let rest = piece.get(field.len()..).unwrap_or_default();
        let Some(is) = Is::parse(rest) else { return Err(unread(piece, field, rest)) };
        let fact = FIELDS
            .iter()
            .find(|(name, _)| *name == field || field.strip_suffix(".value") == Some(name))
            .map(|(_, fact)| *fact)
            .ok_or_else(|| Unread {
                message: format!("`{field}` is nothing that policies here can look at"),
                hint: "known are tool_name, path, command, host, environment, repository and agent.name, .team, .owner",
            })?;
        let is = match is {
            Is::Equal(text) => Is::Equal(fact.value(text)?),
            Is::Different(text) => Is::Different(fact.value(text)?),
            Is::OneOf(texts) => {
                Is::OneOf(texts.into_iter().map(|text| fact.value(text)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { fact, is })
    }

    fn cedar(&self, hosts: Hosts) -> String {
        let one = std::slice::from_ref;
        match (&self.is, self.fact, hosts) {
            // The toolkit has one host; here a call may have several, or none, which is not equal to any.
            (Is::Different(text), Fact::Host, Hosts::Any) => format!("!{}", every_host(one(text))),
            (Is::Equal(text), Fact::Host, Hosts::Every) => every_host(one(text)),
            (Is::OneOf(texts), Fact::Host, Hosts::Every) => every_host(texts),
            (Is::Equal(text), fact, _) => fact.is_one_of(one(text)),
            (Is::Different(text), fact, _) => format!("!({})", fact.is_one_of(one(text))),
            (Is::OneOf(texts), fact, _) => fact.is_one_of(texts),
        }
    }
}

/// That a call has hosts, all of them among these.
fn every_host(texts: &[String]) -> String {
    format!("(!(context.hosts.isEmpty()) && [{}].containsAll(context.hosts))", list(texts))
}

fn list(texts: &[String]) -> String {
    texts.iter().map(|text| literal(text)).collect::<Vec<_>>().join(", ")
}

impl Is {
    /// What follows a field, to its end.
    fn parse(rest: &str) -> Option<Self> {
        let rest = rest.trim_start();
        if let Some(text) = rest.strip_prefix("==") {
            return Some(Self::Equal(quoted(text.trim_start())?));
        }
        if let Some(text) = rest.strip_prefix("!=") {
            return Some(Self::Different(quoted(text.trim_start())?));
        }
        let list = rest.strip_prefix("in")?.strip_prefix(char::is_whitespace)?.trim_start();
        let list = list.strip_prefix('[')?.strip_suffix(']').filter(|list| !list.contains(']'))?;
        list.split(',').map(|item| quoted(item.trim())).collect::<Option<Vec<_>>>().map(Self::OneOf)
    }
}

impl Fact {
    /// A value in the form that it has in facts.
    fn value(self, text: String) -> Result<String, Unread> {
        match self {
            Self::Path if !text.starts_with('/') => Err(Unread {
                message: format!("`{text}` is no absolute path, and policies here see no other"),
                hint: "write the absolute path",
            }),
            Self::Environment if Environment::ALL.iter().all(|known| known.name() != text) => Err(Unread {
                message: format!("there is no environment `{text}` here"),
                hint: "dev, staging or production",
            }),
            Self::Host => Ok(text.to_ascii_lowercase()),
            _ => Ok(text),
        }
    }

    fn is_one_of(self, texts: &[String]) -> String {
        let member = |attribute: &str| match texts {
            [text] => format!("{attribute} == {}", literal(text)),
            _ => format!("[{}].contains({attribute})", list(texts)),
        };
        match self {
            Self::Tool => {
                let (whole, bare): (Vec<&String>, Vec<&String>) =
                    texts.iter().partition(|text| text.contains('/'));
                let whole = whole.into_iter().map(|text| format!("resource == Tool::{}", literal(text)));
                let bare = bare.into_iter().map(|text| format!("resource.name == {}", literal(text)));
                grouped(&whole.chain(bare).collect::<Vec<_>>())
            }
            Self::Path => format!("(context has path && {})", member("context.path")),
            Self::Command => format!("(context has command && {})", member("context.command")),
            Self::Host => format!("context.hosts.containsAny([{}])", list(texts)),
            Self::Environment => member("context.environment"),
            Self::Repository => member("context.repository"),
            Self::AgentName => member("principal.name"),
            Self::AgentTeam => member("principal.namespace"),
            Self::AgentOwner => member("principal.owner"),
        }
    }
}

fn grouped(tests: &[String]) -> String {
    match tests {
        [test] => test.clone(),
        tests => format!("({})", tests.join(" || ")),
    }
}

/// The dotted name at the beginning.
fn field(text: &str) -> &str {
    let end = text.find(|char: char| !(char.is_alphanumeric() || char == '_' || char == '.'));
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// The inside of a whole text between quotes, which neither is empty nor holds a quote.
fn quoted(text: &str) -> Option<String> {
    let inside = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))?;
    (!inside.is_empty() && !inside.contains(['\'', '"'])).then(|| inside.to_owned())
}

/// Why a piece has none of the known forms, as near as can be told.
fn unread(piece: &str, field: &str, rest: &str) -> Unread {
    let (why, hint) = if piece.matches(['\'', '"']).count() % 2 == 1 {
        (
            "is what the toolkit makes of a text that holds ` or ` or ` and `, and takes for false",
            "say it without these words between quotes",
        )
    } else if piece.contains(['(', ')']) {
        (
            "holds parentheses or a call, which the toolkit takes for false or drops",
            "write `a and c or b and c` for `(a or b) and c`",
        )
    } else if piece.starts_with("not ") || piece.starts_with('!') {
        ("begins with a negation, which the toolkit takes for false", "write `!=`")
    } else if field.is_empty() || piece.starts_with(['\'', '"']) {
        ("does not begin with a field, so the toolkit takes it for false", "write `FIELD == 'TEXT'`")
    } else if rest.trim_start().starts_with(['<', '>']) {
        ("compares a number, and no fact here is one", "budgets and `[breakers]` bound amounts")
    } else if rest.trim().is_empty() {
        ("asks whether a field is true, and no fact here is", "write `FIELD == 'TEXT'`")
    } else {
        (
            "has more, or less, than the toolkit reads of it, and the rest would be dropped without a word",
            "write `FIELD == 'TEXT'`, `FIELD != 'TEXT'` or `FIELD in ['TEXT', 'TEXT']`, joined by ` and ` and ` or `",
        )
    };
    Unread { message: format!("`{piece}` {why}"), hint }
}
