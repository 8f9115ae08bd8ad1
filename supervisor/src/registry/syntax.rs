//! From YAML and TOML to trees. Bounded in depth; what manifests do not need (anchors, aliases, tags) is refused, so
//! that a document is what it looks like.

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::core::problem::position;

use super::tree::{At, Entry, Faults, Node, Value};

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 32;

/// The documents of a YAML file; empty ones are left out. Reading ends at the first problem of syntax.
pub(super) fn yaml(text: &str, faults: &mut Faults<'_>) -> Vec<Node> {
    let mut reader = Yaml { parser: Parser::new_from_str(text) };
    let mut documents = Vec::new();
    loop {
        match reader.document() {
            Ok(Some(node)) if node.value == Value::Null => {}
            Ok(Some(node)) => documents.push(node),
            Ok(None) => return documents,
            Err(Stop { at, message }) => {
                faults.add(at, "", message, None);
                return documents;
            }
        }
    }
}

/// Why reading cannot go on.
struct Stop {
    at: At,
    message: String,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        let marker = error.marker();
        Self { at: place(marker.line(), marker.col()), message: format!("not valid YAML: {}", error.info()) }
    }
}

fn place(line: usize, column_from_zero: usize) -> At {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    At { line: number(line), column: number(column_from_zero.saturating_add(1)) }
}

fn start(span: Span) -> At {
    place(span.start.line(), span.start.col())
}

struct Yaml<'t> {
    parser: Parser<'t, StrInput<'t>>,
}

impl<'t> Yaml<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, At)>, Stop> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Err(error)) => Err(error.into()),
            Some(Ok((event, span))) => Ok(Some((event, start(span)))),
        }
    }

    /// The next document, or nothing at the end of the text.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => return Ok(None),
                Some((Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _)) => {}
                Some((event, at)) => return self.node(event, at, 0).map(Some),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, at: At, depth: usize) -> Result<Node, Stop> {
        let stop = |message: &str| Stop { at, message: message.to_owned() };
        if depth > MAX_DEPTH {
            return Err(stop("is nested too deeply"));
        }
        if event.tag().is_some() {
            return Err(stop("tags are not supported"));
        }
        if event.is_alias() || event.anchor_id().is_some_and(|id| id != 0) {
            return Err(stop("anchors and aliases are not supported"));
        }
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if ["", "~", "null"].contains(&&*text) => Value::Null,
            Event::Scalar(text, ScalarStyle::Plain, ..) => Value::Plain(text.into_owned()),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            _ => return Err(stop("not valid YAML: a value is expected here")),
        };
        Ok(Node { at, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, at, depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = match self.node(event, at, depth + 1)?.value {
                Value::Plain(key) | Value::Text(key) => key,
                _ => return Err(Stop { at, message: "a key must be text".into() }),
            };
            if entries.iter().any(|entry| entry.key == key) {
                return Err(Stop { at, message: format!("the key `{key}` appears twice") });
            }
            let Some((event, value_at)) = self.next()? else { break };
            entries.push(Entry { key, at, value: self.node(event, value_at, depth + 1)? });
        }
        Ok(Value::Map(entries))
    }
}

/// A TOML file; every problem of syntax is told, and then there is nothing to read.
pub(super) fn toml(text: &str, faults: &mut Faults<'_>) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = at_offset(text, error.span().map_or(0, |span| span.start));
        faults.add(at, "", format!("not valid TOML: {}", error.message().replace('\n', ", ")), None);
    }
    let whole = At { line: 1, column: 1 };
    errors.is_empty().then(|| Node { at: whole, value: table_value(text, table.get_ref()) })
}

fn at_offset(text: &str, offset: usize) -> At {
    let (line, column) = position(text, offset);
    At { line, column }
}

fn table_value(text: &str, table: &DeTable<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().clone().into_owned(),
            at: at_offset(text, key.span().start),
            value: toml_node(text, value),
        })
        .collect();
    entries.sort_by_key(|entry| (entry.at.line, entry.at.column));
    Value::Map(entries)
}

fn toml_node(text: &str, node: &Spanned<DeValue<'_>>) -> Node {
    let value = match node.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Value::Integer(number.as_str().replace('_', "")),
        DeValue::Integer(_) => Value::Other("an integer that is not decimal"),
        DeValue::Float(_) => Value::Other("a number with decimals"),
        DeValue::Boolean(_) => Value::Other("true or false"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| toml_node(text, item)).collect()),
        DeValue::Table(table) => table_value(text, table),
    };
    Node { at: at_offset(text, node.span().start), value }
}
