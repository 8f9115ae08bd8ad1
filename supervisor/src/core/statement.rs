//! Reading what a provider states, call by call: a CSV with a head, or a JSON object a line.
//!
//! Columns and members are `request_id`, `model`, `cost_usd`, `input_tokens`, `cache_write_5m_tokens`,
//! `cache_write_1h_tokens`, `cache_read_tokens`, `output_tokens`; a line has the id and the cost, the tokens, or both.
//! Input excludes what was written to or read from a cache. A JSON line may also be what OpenRouter answers for a
//! generation. Invariants: a file is read whole or not at all; amounts are read from their digits and rounded up.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::money::NanoUsd;
use super::reconcile::Stated;
use super::usage::Usage;

/// The most lines of a file.
pub const LINES_MAX: usize = 100_000;

/// One call as it is stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The provider's name for the call.
    pub id: String,
    /// The model, if it is stated.
    pub model: Option<String>,
    /// Cost, tokens or both.
    pub stated: Stated,
}

/// Why a file is no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// A line is not what it should be.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Too long.
    #[error("it has more than {LINES_MAX} lines")]
    Long,
    /// Nothing in it.
    #[error("it states nothing")]
    Empty,
}

/// Reads a whole file.
///
/// # Errors
/// The first line that cannot be read.
pub fn read(text: &str) -> Result<Vec<Line>, StatementError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let is_json = text.trim_start().starts_with('{');
    let head = if is_json { Vec::new() } else { fields_of(rows.next())? };
    let mut lines = Vec::new();
    for (index, text) in rows {
        let number = index + 1;
        let at = |why: String| StatementError::Line { line: number, why };
        let entry =
            if is_json { json(text.trim()) } else { fields(text).and_then(|row| row_of(&head, &row)) };
        lines.push(entry.and_then(|entry| entry.line(number)).map_err(at)?);
        if lines.len() > LINES_MAX {
            return Err(StatementError::Long);
        }
    }
    if lines.is_empty() { Err(StatementError::Empty) } else { Ok(lines) }
}

/// What OpenRouter answers for one generation; none while that is not over.
///
/// # Errors
/// What is wrong with it.
pub fn read_generation(json: &str) -> Result<Option<Line>, String> {
    let Generation { data } = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if !data.is_over() {
        return Ok(None);
    }
    data.entry()?.line(1).map(Some)
}

/// A line before it is checked.
#[derive(Default)]
struct Entry {
    id: String,
    model: Option<String>,
    cost: Option<NanoUsd>,
    tokens: [Option<u64>; 5],
}

impl Entry {
    fn line(self, number: usize) -> Result<Line, String> {
        if self.id.is_empty() {
            return Err("it has no `request_id`".to_owned());
        }
        let [input, write_5m, write_1h, read, output] = self.tokens;
        let usage = match (input, output) {
            (Some(input_tokens), Some(output_tokens)) => Some(Usage {
                input_tokens,
                cache_write_5m_tokens: write_5m.unwrap_or(0),
                cache_write_1h_tokens: write_1h.unwrap_or(0),
                cache_read_tokens: read.unwrap_or(0),
                output_tokens,
            }),
            (None, None) if [write_5m, write_1h, read].iter().all(Option::is_none) => None,
            _ => {
                return Err(
                    "its tokens are not whole: `input_tokens` and `output_tokens` go together".to_owned()
                );
            }
        };
        if usage.is_none() && self.cost.is_none() {
            return Err("it states neither `cost_usd` nor tokens".to_owned());
        }
        let stated = Stated { usage, cost: self.cost };
        Ok(Line { number, id: self.id, model: self.model.filter(|model| !model.is_empty()), stated })
    }
}

const TOKENS: [&str; 5] =
    ["input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens", "output_tokens"];

fn fields_of(head: Option<(usize, &str)>) -> Result<Vec<String>, StatementError> {
    let Some((index, text)) = head else { return Err(StatementError::Empty) };
    let at = |why: String| StatementError::Line { line: index + 1, why };
    let names = fields(text).map_err(at)?;
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    for (place, name) in names.iter().enumerate() {
        let is_known =
            ["request_id", "model", "cost_usd"].contains(&name.as_str()) || TOKENS.contains(&name.as_str());
        if !is_known {
            return Err(at(format!("`{name}` is not a column of a statement")));
        }
        if names[..place].contains(name) {
            return Err(at(format!("the column `{name}` is there twice")));
        }
    }
    if !names.iter().any(|name| name == "request_id") {
        return Err(at("the head has no column `request_id`".to_owned()));
    }
    Ok(names)
}

fn row_of(head: &[String], row: &[String]) -> Result<Entry, String> {
    if row.len() != head.len() {
        return Err(format!("it has {} fields, and the head has {}", row.len(), head.len()));
    }
    let mut entry = Entry::default();
    for (name, value) in head.iter().zip(row) {
        let value = value.trim();
        match name.as_str() {
            "request_id" => entry.id = value.to_owned(),
            _ if value.is_empty() => {}
            "model" => entry.model = Some(value.to_owned()),
            "cost_usd" => entry.cost = Some(usd(value)?),
            name => {
                let place = TOKENS.iter().position(|known| *known == name);
                let tokens = value.parse().map_err(|_| format!("`{value}` is not a number of tokens"))?;
                if let Some(tokens_of) = place.and_then(|place| entry.tokens.get_mut(place)) {
                    *tokens_of = Some(tokens);
                }
            }
        }
    }
    Ok(entry)
}

fn usd(text: &str) -> Result<NanoUsd, String> {
    NanoUsd::from_usd_number(text).ok_or_else(|| format!("`{text}` is not an amount in USD"))
}

/// The fields of a row; what is quoted may hold commas, and quotes twice.
fn fields(row: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = row;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("something follows a closing quote".to_owned()),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let end = rest.find('"').ok_or_else(|| "a quote is not closed".to_owned())?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    request_id: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    cost_usd: Option<&'a RawValue>,
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_write_5m_tokens: Option<u64>,
    #[serde(default)]
    cache_write_1h_tokens: Option<u64>,
    #[serde(default)]
    cache_read_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Generation<'a> {
    #[serde(borrow)]
    data: GenerationData<'a>,
}

/// What is read of a generation. Amounts are in US dollars; the prompt includes what came from the cache.
#[derive(Deserialize)]
struct GenerationData<'a> {
    id: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow)]
    total_cost: &'a RawValue,
    #[serde(default)]
    is_byok: bool,
    /// What the provider behind it bills on a key of the user's own.
    #[serde(borrow, default)]
    upstream_inference_cost: Option<&'a RawValue>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    cancelled: Option<bool>,
    #[serde(default)]
    native_tokens_prompt: Option<u64>,
    #[serde(default)]
    native_tokens_cached: Option<u64>,
    #[serde(default)]
    native_tokens_completion: Option<u64>,
}

impl GenerationData<'_> {
    fn is_over(&self) -> bool {
        self.finish_reason.is_some() || self.cancelled == Some(true)
    }

    fn entry(self) -> Result<Entry, String> {
        let mut cost = usd(digits(self.total_cost))?;
        if let Some(more) = self.upstream_inference_cost.filter(|_| self.is_byok) {
            cost = cost.plus(usd(digits(more))?);
        }
        let cached = self.native_tokens_cached.unwrap_or(0);
        let tokens = match (self.native_tokens_prompt, self.native_tokens_completion) {
            (Some(prompt), Some(output)) => {
                [Some(prompt.saturating_sub(cached)), None, None, Some(cached), Some(output)]
            }
            _ => [None; 5],
        };
        Ok(Entry { id: self.id, model: self.model, cost: Some(cost), tokens })
    }
}

/// A number, or one written as a text.
fn digits(raw: &RawValue) -> &str {
    let text = raw.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn json(text: &str) -> Result<Entry, String> {
    #[derive(Deserialize)]
    struct Shape {
        data: Option<serde::de::IgnoredAny>,
    }
    let said = |error: serde_json::Error| error.to_string();
    if serde_json::from_str::<Shape>(text).map_err(said)?.data.is_some() {
        let Generation { data } = serde_json::from_str(text).map_err(said)?;
        if !data.is_over() {
            return Err("the generation is not over".to_owned());
        }
        return data.entry();
    }
    let plain: Plain<'_> = serde_json::from_str(text).map_err(said)?;
    let cost = plain.cost_usd.filter(|raw| raw.get() != "null");
    Ok(Entry {
        id: plain.request_id,
        model: plain.model,
        cost: cost.map(|raw| usd(digits(raw))).transpose()?,
        tokens: [
            plain.input_tokens,
            plain.cache_write_5m_tokens,
            plain.cache_write_1h_tokens,
            plain.cache_read_tokens,
            plain.output_tokens,
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(
        number: usize,
        id: &str,
        model: Option<&str>,
        cost: Option<i64>,
        tokens: Option<[u64; 5]>,
    ) -> Line {
        let usage =
            tokens.map(|[input_tokens, write_5m, write_1h, cache_read_tokens, output_tokens]| Usage {
                input_tokens,
                cache_write_5m_tokens: write_5m,
                cache_write_1h_tokens: write_1h,
                cache_read_tokens,
                output_tokens,
            });
        let stated = Stated { usage, cost: cost.map(|nano| NanoUsd::new(nano).unwrap()) };
        Line { number, id: id.into(), model: model.map(str::to_owned), stated }
    }

    #[test]
    fn a_table_is_read_by_its_head() {
        let text = "\u{feff}request_id,\"model\",cost_usd,input_tokens,output_tokens,cache_read_tokens\r\n\
                    req_1,m,0.0015,10,2,\r\n\n\"req,\"\"2\"\"\",,,1,2,3\nreq_3,m,1e-9,,,\n";
        assert_eq!(
            read(text).unwrap(),
            [
                line(2, "req_1", Some("m"), Some(1_500_000), Some([10, 0, 0, 0, 2])),
                line(4, "req,\"2\"", None, None, Some([1, 0, 0, 3, 2])),
                line(5, "req_3", Some("m"), Some(1), None),
            ]
        );
    }

    #[test]
    fn an_object_a_line_is_ours_or_a_generation_of_openrouters() {
        let text = r#"{"request_id": "req_1", "model": "m", "cost_usd": "0.25", "input_tokens": 1, "output_tokens": 2}
{"data": {"id": "gen-1", "model": "a/b", "total_cost": 0.0015, "is_byok": false, "upstream_inference_cost": 9, "finish_reason": "stop", "native_tokens_prompt": 10, "native_tokens_cached": 3, "native_tokens_completion": 25, "latency": 1.5}}
{"data": {"id": "gen-2", "total_cost": 0.0000000001, "is_byok": true, "upstream_inference_cost": 0.5, "cancelled": true}}"#;
        assert_eq!(
            read(text).unwrap(),
            [
                line(1, "req_1", Some("m"), Some(250_000_000), Some([1, 0, 0, 0, 2])),
                line(2, "gen-1", Some("a/b"), Some(1_500_000), Some([7, 0, 0, 3, 25])),
                line(3, "gen-2", None, Some(500_000_001), None),
            ]
        );
        let under_way = r#"{"data": {"id": "gen-3", "total_cost": 0, "finish_reason": null}}"#;
        assert_eq!(read_generation(under_way), Ok(None));
    }

    #[test]
    fn what_is_no_statement_says_where() {
        for (text, why) in [
            ("", "it states nothing"),
            ("request_id,cost_usd\n", "it states nothing"),
            ("id,cost_usd\n", "line 1: `id` is not a column of a statement"),
            ("request_id,request_id\n", "line 1: the column `request_id` is there twice"),
            ("cost_usd\n1\n", "line 1: the head has no column `request_id`"),
            ("request_id,cost_usd\nr,1,2\n", "line 2: it has 3 fields, and the head has 2"),
            ("request_id,cost_usd\nr,-1\n", "line 2: `-1` is not an amount in USD"),
            ("request_id,cost_usd\nr,$1\n", "line 2: `$1` is not an amount in USD"),
            ("request_id,cost_usd\n,1\n", "line 2: it has no `request_id`"),
            ("request_id,cost_usd\nr,\n", "line 2: it states neither `cost_usd` nor tokens"),
            (
                "request_id,input_tokens\nr,1\n",
                "line 2: its tokens are not whole: `input_tokens` and `output_tokens` go together",
            ),
            ("request_id,cost_usd\n\"r,1\n", "line 2: a quote is not closed"),
            ("{\"data\": {\"id\": \"g\", \"total_cost\": 0}}", "line 1: the generation is not over"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), why, "{text}");
        }
        let unknown = read("{\"request_id\": \"r\", \"cost\": 1}").unwrap_err().to_string();
        assert!(unknown.starts_with("line 1: unknown field `cost`"), "{unknown}");
    }
}
