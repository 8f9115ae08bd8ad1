//! A document as written: values with their places, whatever the syntax, and a strict way to read them.
//!
//! Reading goes on after a problem, so that one look shows all of them. A field that nobody asked for is a problem.

use std::path::Path;
use std::str::FromStr;

use crate::core::problem::Problem;

/// A place in a text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A value as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// A scalar without a type: YAML without quotes.
    Plain(String),
    /// A scalar that is text: quoted.
    Text(String),
    /// An integer of TOML.
    Integer(String),
    /// Anything of TOML that no field takes, by its name.
    Other(&'static str),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) value: Node,
}

impl Node {
    /// The entry of a field by its path, dots between its keys; none if it is not written there.
    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        let Value::Map(entries) = &self.value else { return None };
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        let entry = entries.iter().find(|entry| entry.key == key)?;
        rest.map_or(Some(entry), |rest| entry.value.entry(rest))
    }

    /// The text of a field by its path.
    pub(super) fn text_at(&self, path: &str) -> Option<&str> {
        match &self.entry(path)?.value.value {
            Value::Plain(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The problems of one file, as they are found.
pub(super) struct Faults<'a> {
    file: &'a Path,
    found: &'a mut Vec<Problem>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(file: &'a Path, found: &'a mut Vec<Problem>) -> Self {
        Self { file, found }
    }

    /// How many there are, to see later whether more came.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    pub(super) fn add(&mut self, at: At, field: &str, message: impl Into<String>, hint: Option<String>) {
        self.found.push(Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            field: field.to_owned(),
            message: message.into(),
            hint,
        });
    }
}

/// A map that is being read.
pub(super) struct Fields<'n> {
    path: String,
    at: At,
    entries: &'n [Entry],
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The field, if it is there. One that is there without a value is a problem.
    pub(super) fn take(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Field<'n>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let field = Field { path: join(&self.path, key), node: &entry.value };
        if entry.value.value == Value::Null {
            faults.add(entry.at, &field.path, "has no value", None);
            return None;
        }
        Some(field)
    }

    /// The field; a problem if it is not there.
    pub(super) fn require(&mut self, key: &'static str, faults: &mut Faults<'_>) -> Option<Field<'n>> {
        if !self.has(key) {
            self.asked.push(key);
            faults.add(self.at, &join(&self.path, key), "is missing", None);
            return None;
        }
        self.take(key, faults)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    pub(super) fn at(&self) -> At {
        self.at
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// All entries of a map whose keys are names: key, place of the key and value.
    pub(super) fn named(self) -> impl Iterator<Item = (&'n str, At, Field<'n>)> {
        let path = self.path;
        self.entries.iter().map(move |entry| {
            let field = Field { path: join(&path, &quoted(&entry.key)), node: &entry.value };
            (entry.key.as_str(), entry.at, field)
        })
    }

    /// Ends the reading: a field that nobody asked for is a problem.
    pub(super) fn done(self, faults: &mut Faults<'_>) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            let hint = format!("known here: {}", self.asked.join(", "));
            faults.add(entry.at, &join(&self.path, &quoted(&entry.key)), "is not a known field", Some(hint));
        }
    }
}

/// A value that is being read, with its path.
pub(super) struct Field<'n> {
    path: String,
    node: &'n Node,
}

impl<'n> Field<'n> {
    /// A whole document.
    pub(super) fn document(node: &'n Node) -> Self {
        Self { path: String::new(), node }
    }

    pub(super) fn at(&self) -> At {
        self.node.at
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn fault(&self, faults: &mut Faults<'_>, message: impl Into<String>) {
        faults.add(self.node.at, &self.path, message, None);
    }

    /// A map without an entry gives nothing, which is said by leaving the field out.
    pub(super) fn fault_if_empty(&self, faults: &mut Faults<'_>) {
        if matches!(&self.node.value, Value::Map(entries) if entries.is_empty()) {
            self.fault_with_hint(faults, "is an empty map", "name at least one, or leave the field out");
        }
    }

    /// The same with what to write instead.
    pub(super) fn fault_with_hint(&self, faults: &mut Faults<'_>, message: impl Into<String>, hint: &str) {
        faults.add(self.node.at, &self.path, message, Some(hint.to_owned()));
    }

    pub(super) fn fields(&self, faults: &mut Faults<'_>) -> Option<Fields<'n>> {
        self.fields_like(faults, "a map")
    }

    /// As [`Field::fields`], which tells what is expected where there are none.
    pub(super) fn fields_like(&self, faults: &mut Faults<'_>, expected: &str) -> Option<Fields<'n>> {
        match &self.node.value {
            Value::Map(entries) => {
                Some(Fields { path: self.path.clone(), at: self.node.at, entries, asked: Vec::new() })
            }
            _ => self.mismatch(faults, expected),
        }
    }

    pub(super) fn text(&self, faults: &mut Faults<'_>) -> Option<&'n str> {
        match &self.node.value {
            Value::Plain(text) | Value::Text(text) if text.trim().is_empty() => {
                self.fault(faults, "is empty");
                None
            }
            Value::Plain(text) | Value::Text(text) => Some(text),
            _ => self.mismatch(faults, "text"),
        }
    }

    /// Its text; none where it is anything else.
    pub(super) fn plain_text(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Plain(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is just this text.
    pub(super) fn is_text(&self, expected: &str) -> bool {
        matches!(&self.node.value, Value::Plain(text) | Value::Text(text) if text == expected)
    }

    /// A text that is read further; the error's own words are the problem.
    pub(super) fn parse<T>(&self, faults: &mut Faults<'_>) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.map(faults, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// As [`Field::parse`] with a function.
    pub(super) fn map<T>(
        &self,
        faults: &mut Faults<'_>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        read(self.text(faults)?).map_err(|message| self.fault(faults, message)).ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, faults: &mut Faults<'_>, words: &[(&str, T)]) -> Option<T> {
        self.map(faults, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("`{text}` is not one of {}", known.join(", "))
            })
        })
    }

    /// An integer from zero.
    pub(super) fn integer(&self, faults: &mut Faults<'_>) -> Option<u64> {
        let (Value::Integer(text) | Value::Plain(text)) = &self.node.value else {
            return self.mismatch(faults, "an integer");
        };
        let number = text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
        if number.is_none() {
            self.fault(faults, format!("`{text}` is not an integer from 0 to {}", i64::MAX));
        }
        number
    }

    /// Whether it is a list.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A list that is not empty: an empty one would permit nothing, which is said by leaving the field out.
    pub(super) fn list(&self, faults: &mut Faults<'_>) -> Option<Vec<Field<'n>>> {
        match &self.node.value {
            Value::List(items) if items.is_empty() => {
                self.fault_with_hint(faults, "is an empty list", "name at least one, or leave the field out");
                None
            }
            Value::List(items) => {
                let item = |(index, node)| Field { path: format!("{}[{index}]", self.path), node };
                Some(items.iter().enumerate().map(item).collect())
            }
            _ => self.mismatch(faults, "a list"),
        }
    }

    /// A list of which every item is read and none appears twice.
    pub(super) fn each<T: PartialEq>(
        &self,
        faults: &mut Faults<'_>,
        mut read: impl FnMut(&Self, &mut Faults<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(faults)?;
        let mut values = Vec::with_capacity(items.len());
        let before = faults.count();
        for item in &items {
            if let Some(value) = read(item, faults) {
                if values.contains(&value) {
                    item.fault(faults, "appears twice");
                }
                values.push(value);
            }
        }
        (faults.count() == before).then_some(values)
    }

    fn mismatch<T>(&self, faults: &mut Faults<'_>, expected: &str) -> Option<T> {
        let found = match &self.node.value {
            Value::Null => "nothing",
            Value::Plain(_) | Value::Text(_) => "text",
            Value::Integer(_) => "an integer",
            Value::Other(name) => name,
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        self.fault(faults, format!("is {found}, expected {expected}"));
        None
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key as it is written where dots separate keys.
fn quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") }
}
