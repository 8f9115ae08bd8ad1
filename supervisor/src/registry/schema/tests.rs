#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use super::super::fields::Field;
use super::super::manifest::{self, Body};
use super::super::{syntax, tree};
use super::*;
use crate::core::problem::Problem;

const AGENT: &str = "\
apiVersion: agentsup.dev/v1alpha1
kind: Agent
metadata: { name: a }
spec:
  owner: user:alice
  purpose: x
  adapters: [claude]
  models: [\"*\"]
  budget: b
";
const BUDGET: &str = "\
apiVersion: agentsup.dev/v1alpha1
kind: TokenBudget
metadata: { name: b }
spec:
  period: monthly
  cap: 1.00 USD
";

const POLICY: &str = "\
apiVersion: agentsup.dev/v1alpha1
kind: Policy
metadata: { name: p }
spec: {}
";

const KINDS: [(Kind, &str); 3] = [(Kind::Agent, AGENT), (Kind::TokenBudget, BUDGET), (Kind::Policy, POLICY)];

fn problems(text: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    manifest::read(Path::new("x.yaml"), text, &mut found);
    found
}

/// A document of the reader's as the JSON that other tools make of it.
fn as_json(text: &str) -> Vec<Value> {
    fn value(node: &tree::Node) -> Value {
        match &node.value {
            tree::Value::Plain(text) | tree::Value::Text(text) => json!(text),
            tree::Value::List(items) => items.iter().map(value).collect(),
            tree::Value::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect())
            }
            _ => Value::Null,
        }
    }
    let mut found = Vec::new();
    let nodes = syntax::yaml(text, &mut tree::Faults::new(Path::new("x.yaml"), &mut found));
    assert_eq!(found, []);
    nodes.iter().map(value).collect()
}

/// The minimal document with one more field; where it is there, it is replaced.
fn with(kind: Kind, path: &str, value: Value) -> String {
    let (_, text) = KINDS.into_iter().find(|(one, _)| *one == kind).unwrap();
    let mut document = as_json(text).remove(0);
    let mut at = &mut document;
    for key in path.split('.') {
        let map = at.as_object_mut().unwrap();
        at = map.entry(key).or_insert_with(|| json!({}));
    }
    *at = value;
    // JSON is YAML.
    document.to_string()
}

fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: Mutex<BTreeMap<String, regex::Regex>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap();
    let regex = compiled.entry(pattern.to_owned()).or_insert_with(|| regex::Regex::new(pattern).unwrap());
    regex.is_match(text)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        _ => "other",
    }
}

/// What is said against a value; only the words that our schemas use.
fn objections(schema: &Value, root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, word: &str| {
        if !holds {
            found.push(format!("{word}: {value}"));
        }
    };
    let mut below = Vec::new();
    for (word, wanted) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" | "if"
            | "then" => {}
            "const" => check(value == wanted, word),
            "enum" => check(wanted.as_array().unwrap().contains(value), word),
            "type" => check(wanted == type_of(value), word),
            "pattern" => {
                check(value.as_str().is_none_or(|text| matches(wanted.as_str().unwrap(), text)), word);
            }
            "minItems" => check(value.as_array().is_none_or(|items| !items.is_empty()), word),
            "minProperties" => check(value.as_object().is_none_or(|map| !map.is_empty()), word),
            "propertyNames" => {
                let pattern = wanted["pattern"].as_str().unwrap();
                let mut keys = value.as_object().into_iter().flatten();
                check(keys.all(|(key, _)| matches(pattern, key)), word);
            }
            "uniqueItems" => {
                let items = value.as_array().cloned().unwrap_or_default();
                let unique: BTreeSet<String> = items.iter().map(ToString::to_string).collect();
                check(unique.len() == items.len(), word);
            }
            "items" => below.extend(value.as_array().into_iter().flatten().map(|item| (wanted, item))),
            "required" => {
                let keys = wanted.as_array().unwrap().iter().map(|key| key.as_str().unwrap());
                keys.for_each(|key| check(value.get(key).is_some(), &format!("{word} {key}")));
            }
            "properties" => below.extend(
                wanted
                    .as_object()
                    .unwrap()
                    .iter()
                    .filter_map(|(key, schema)| Some((schema, value.get(key)?))),
            ),
            "additionalProperties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    let known = schema.get("properties").is_some_and(|known| known.get(key).is_some());
                    match wanted {
                        Value::Bool(false) => check(known, &format!("{word} {key}")),
                        wanted => below.push((wanted, inner)),
                    }
                }
            }
            "allOf" => {
                for branch in wanted.as_array().unwrap() {
                    if objections(&branch["if"], root, value).is_empty() {
                        let name = branch["then"]["$ref"].as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                        below.push((&root["$defs"][name], value));
                    }
                }
            }
            other => panic!("the schema uses `{other}`, which this test does not know"),
        }
    }
    found.extend(below.into_iter().flat_map(|(schema, value)| objections(schema, root, value)));
    found
}

fn objections_of(kind: Kind, text: &str) -> Vec<String> {
    let schema = document(match kind {
        Kind::Agent => Of::Agent,
        Kind::TokenBudget => Of::Budget,
        Kind::Policy => Of::Policy,
    });
    let value = as_json(text).remove(0);
    let found = objections(&schema, &schema, &value);
    let any = document(Of::Any);
    assert_eq!(objections(&any, &any, &value).is_empty(), found.is_empty(), "{text}");
    found
}

/// Every map of a document: its path, and the fields directly in it.
fn maps(kind: Kind) -> Vec<(String, Vec<Field>)> {
    let fields = fields::of(kind);
    let inner =
        fields.iter().filter(|field| matches!(field.shape, Shape::Map)).map(|field| field.path.to_owned());
    let children =
        |path: &str| fields.iter().filter(|field| key_in(path, field.path).is_some()).copied().collect();
    std::iter::once(String::new()).chain(inner).map(|path| (path.clone(), children(&path))).collect()
}

#[test]
fn the_reader_knows_the_fields_of_the_table_and_no_others() {
    for (kind, _) in KINDS {
        for (path, fields) in maps(kind) {
            let unknown = if path.is_empty() { "zzz".to_owned() } else { format!("{path}.zzz") };
            let found = problems(&with(kind, &unknown, json!("x")));
            let told =
                found.iter().find(|problem| problem.field == unknown).unwrap_or_else(|| panic!("{path}"));
            let hint = told.hint.as_deref().and_then(|hint| hint.strip_prefix("known here: ")).unwrap();
            let known: BTreeSet<&str> = hint.split(", ").collect();
            let table: BTreeSet<&str> =
                fields.iter().map(|field| key_in(&path, field.path).unwrap()).collect();
            assert_eq!(known, table, "{kind:?} {path}");
            // And the schema those of the table.
            assert_eq!(
                objections_of(kind, &with(kind, &unknown, json!("x"))).len(),
                found.len(),
                "{unknown}"
            );
        }
    }
}

#[test]
fn what_must_be_there_is_missed_by_both() {
    for (kind, text) in KINDS {
        assert_eq!((problems(text), objections_of(kind, text)), (Vec::new(), Vec::new()));
        for field in fields::of(kind) {
            let (path, key) = field.path.rsplit_once('.').unwrap_or(("", field.path));
            let mut document = as_json(text).remove(0);
            let mut at = &mut document;
            for key in path.split('.').filter(|key| !key.is_empty()) {
                at = at.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
            }
            at.as_object_mut().unwrap().remove(key);
            let text = document.to_string();
            let is_missed =
                |problem: &Problem| problem.field == field.path && problem.message == "is missing";
            let by_reader = problems(&text).iter().any(is_missed);
            let by_schema =
                objections_of(kind, &text).iter().any(|text| text.starts_with(&format!("required {key}:")));
            let must = matches!(field.presence, Presence::Must(_));
            assert_eq!((by_reader, by_schema), (must, must), "{kind:?} {}", field.path);
        }
    }
}

#[test]
fn what_is_left_out_is_as_if_the_default_were_written() {
    let body = |text: &str| {
        let mut found = Vec::new();
        let mut documents = manifest::read(Path::new("x.yaml"), text, &mut found);
        assert_eq!(found, [], "{text}");
        documents.remove(0).body.unwrap()
    };
    for (kind, text) in KINDS {
        for field in fields::of(kind) {
            let Some(default) = field.absent().and_then(|absent| absent.json) else { continue };
            let written = with(kind, field.path, serde_json::from_str(default).unwrap());
            match (body(&written), body(text)) {
                (Body::Agent { agent: one, .. }, Body::Agent { agent: other, .. }) => {
                    assert_eq!(one, other, "{}", field.path);
                }
                (Body::Budget { budget: one, .. }, Body::Budget { budget: other, .. }) => {
                    assert_eq!(one, other, "{}", field.path);
                }
                (Body::Rules(one), Body::Rules(other)) => assert_eq!(one, other, "{}", field.path),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn words_and_forms_are_those_of_the_reader() {
    const TEXTS: [&str; 50] = [
        "a",
        "code-review-bot",
        "a-",
        "1a",
        "A",
        "a b",
        "",
        " ",
        "user:default/alice",
        "user:alice",
        "user:",
        "group:default/x",
        "user:a/b/c",
        "claude",
        "Claude",
        "claude-*",
        "gpt-?",
        "[ab]",
        "{a}",
        "a\\b",
        "!x",
        "github/*",
        "*",
        "/",
        "a/b",
        "::1",
        "[fd00::1]",
        "host:443",
        "15m",
        "15d",
        "90s",
        "2h",
        "25h",
        "m",
        "15",
        "2027-06-30",
        "2027-06-30T12:00:00Z",
        "2027-06-30 12:00:00Z",
        "30.6.2027",
        "50.00 USD",
        "50 USD",
        "0.1234567891 USD",
        "50.00 EUR",
        "-1 USD",
        "5000000 tokens",
        "5 token",
        "80%",
        "0%",
        "101%",
        "Europe/Berlin",
    ];
    // What only the reader can know, or a schema would say at too great a length.
    let beyond = |path: &str, text: &str| match path {
        "spec.timezone" => ["UTC", "Europe/Berlin"].iter().all(|known| *known != text),
        "spec.credentials.ttl" => text == "25h",
        "spec.burst" => text.ends_with(" tokens"),
        _ => false,
    };
    for (kind, _) in KINDS {
        for field in fields::of(kind) {
            let wrap: fn(&str) -> Value = match field.shape {
                Shape::List(_) => |text| json!([text]),
                Shape::Texts => |text| json!({ "key": text }),
                Shape::Rules(..) => |text| json!({ text: ["a"] }),
                Shape::Map => continue,
                _ => |text| json!(text),
            };
            let words = match field.shape {
                Shape::Words(words) | Shape::List(&Shape::Words(words)) => words,
                _ => &[],
            };
            let examples = match field.shape {
                Shape::Form(_, example)
                | Shape::List(&Shape::Form(_, example))
                | Shape::Rules(_, example) => Some(example),
                _ => None,
            };
            for text in TEXTS.iter().chain(words).copied().chain(examples) {
                let written = with(kind, field.path, wrap(text));
                let (read, refused) = (problems(&written), objections_of(kind, &written));
                if beyond(field.path, text) {
                    assert!(!read.is_empty(), "{} {text:?}", field.path);
                } else {
                    assert_eq!(
                        read.is_empty(),
                        refused.is_empty(),
                        "{} {text:?}: {read:?} {refused:?}",
                        field.path
                    );
                }
                if words.contains(&text) || examples == Some(text) {
                    assert_eq!((read, refused), (Vec::new(), Vec::new()), "{} {text:?}", field.path);
                }
            }
        }
    }
}

#[test]
fn labels_are_those_of_the_reader() {
    for (words, is_good) in [
        (json!(["pci", "data-2"]), true),
        (json!([]), false),
        (json!(["pci", "pci"]), false),
        (json!(["PCI"]), false),
        (json!(["2"]), false),
        (json!("pci"), false),
        (json!([""]), false),
        (json!(["a".repeat(64)]), false),
    ] {
        let written = with(Kind::Policy, "spec.hosts", json!({ "a.example": words }));
        let found = (problems(&written).is_empty(), objections_of(Kind::Policy, &written).is_empty());
        assert_eq!(found, (is_good, is_good), "{words}");
    }
    let empty = with(Kind::Policy, "spec.residency.models", json!({}));
    assert_eq!(problems(&empty)[0].to_string(), "x.yaml:1:109: spec.residency.models: is an empty map");
    assert_eq!(objections_of(Kind::Policy, &empty), ["minProperties: {}"]);
}

#[test]
fn the_contracts_example_is_valid() {
    let documents = as_json(super::super::tests::CONTRACT);
    let any = document(Of::Any);
    assert_eq!(documents.len(), 2);
    for document in documents {
        assert_eq!(objections(&any, &any, &document), Vec::<String>::new());
    }
    let neither = json!({ "apiVersion": "agentsup.dev/v1alpha1", "kind": "Group" });
    assert_eq!(objections(&any, &any, &neither), ["enum: \"Group\""]);
}

#[test]
fn every_field_of_an_agent_has_a_value_to_show() {
    let mut found = Vec::new();
    let documents = manifest::read(Path::new("x.yaml"), super::super::tests::CONTRACT, &mut found);
    let Some(Body::Agent { agent, .. }) = &documents[0].body else { panic!("{found:?}") };
    for field in fields::of(Kind::Agent).iter().filter(|field| field.path.starts_with("spec.")) {
        let is_map = matches!(field.shape, Shape::Map);
        assert_eq!(fields::value(agent, field.path) == Value::Null, is_map, "{}", field.path);
    }
}
