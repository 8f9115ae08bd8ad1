//! One model call as the gateway sees it: what a provider's file reads from a request body. Everything else in the
//! body is passed on unread.
//!
//! Invariant: what is read here is what any other reader finds: a body that is not UTF-8, gives a field twice or spells
//! its name with escapes is refused, because two readers may disagree about it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::scan::{self, CacheWrites, Kinds};
use super::splice::Splice;

/// The most that records and messages show of a name that an agent made up: enough to know it by, too little for a
/// prompt.
const SHOWN: usize = 100;

/// What was read from the body of a model call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The model as the agent named it.
    pub(super) model: Cow<'a, str>,
    /// The most tokens the agent wants to be put out, in each answer.
    pub(super) max_output: Option<u64>,
    /// Output tokens that are spoken for: the answer's limit cannot be lowered to them.
    pub(super) fixed_output: u64,
    /// How many answers it wants to the one prompt.
    pub(super) answers: u64,
    /// A cache that costs extra, asked for outside the content.
    pub(super) cache: CacheWrites,
    /// Something asked for that has no upper bound, by its name on the wire.
    pub(super) unbounded: Option<String>,
    /// What the provider adds to the prompt for what was asked, beside the frame of any call.
    pub(super) added_tokens: u64,
    /// The provider's name for the answer that the call goes on from, whose conversation is not in the body.
    pub(super) continues: Option<Cow<'a, str>>,
    /// The parts of the prompt, each counted on its own: instructions, tools, messages.
    pub(super) parts: Vec<Part<'a>>,
    /// Bytes of the largest tool's definition.
    pub(super) largest_tool: u64,
    /// Everything else that may change how the parts are counted.
    pub(super) settings: Vec<(&'a [u8], &'a [u8])>,
    /// Which kinds of content are not text.
    pub(super) kinds: Kinds,
    /// What must be otherwise in the body for the call to be metered.
    pub(super) splices: Vec<Splice>,
    /// Tells events of the answer that are there only because of a splice; the client does not get them.
    pub(super) unasked: Option<fn(&[u8]) -> bool>,
}

/// One part of a prompt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// As it is in the body.
    pub(super) json: &'a [u8],
    /// Whether it only names something that the provider has, of whatever size.
    pub(super) is_reference: bool,
}

impl<'a> Part<'a> {
    /// A part that holds what it says.
    pub(super) const fn of(json: &'a [u8]) -> Self {
        Self { json, is_reference: false }
    }
}

/// A request that has a provider count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counting {
    /// Its path, as a client would write it.
    pub(super) path: String,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// The member of the answer that has the count.
    pub(super) member: &'static str,
}

/// The longest name of a model, in bytes.
const MODEL_BYTES: usize = 200;

/// Where a field of a request belongs.
pub(super) enum Place {
    /// Each of its elements is a part of the prompt.
    Prompt,
    /// As [`Place::Prompt`], and each is a tool.
    Tools,
    /// It has nothing to do with how the prompt is counted.
    Aside,
    /// It may change how the prompt is counted.
    Setting,
}

impl<'a> Call<'a> {
    /// A call of which only the model is known.
    pub(super) fn of(model: Cow<'a, str>, kinds: Kinds) -> Self {
        Self {
            model,
            max_output: None,
            fixed_output: 0,
            answers: 1,
            cache: CacheWrites::None,
            unbounded: None,
            added_tokens: 0,
            continues: None,
            parts: Vec::new(),
            largest_tool: 0,
            settings: Vec::new(),
            kinds,
            splices: Vec::new(),
            unasked: None,
        }
    }

    /// Puts every field of the body where it belongs.
    pub(super) fn take_fields(
        &mut self,
        body: &'a [u8],
        place: impl Fn(&[u8]) -> Place,
    ) -> Result<(), MalformedError> {
        if self.model.len() > MODEL_BYTES {
            return Err(MalformedError::whole("its model's name is too long"));
        }
        let mut names = BTreeSet::new();
        for (name, value) in scan::members(body) {
            if name.contains(&b'\\') {
                return Err(MalformedError::whole("a field's name has escapes"));
            }
            if !names.insert(name) {
                return Err(MalformedError::whole("a field is given twice"));
            }
            match place(name) {
                Place::Prompt => self.parts.extend(scan::elements(value).into_iter().map(Part::of)),
                Place::Tools => {
                    let tools = scan::elements(value);
                    let largest = tools.iter().map(|tool| tool.len() as u64).max().unwrap_or(0);
                    self.largest_tool = self.largest_tool.max(largest);
                    self.parts.extend(tools.into_iter().map(Part::of));
                }
                Place::Aside => {}
                Place::Setting => self.settings.push((name, value)),
            }
        }
        Ok(())
    }

    /// Gives a member of the body another value.
    pub(super) fn set(&mut self, body: &[u8], name: &str, value: &str) {
        self.splices.extend(Splice::set(body, body, name, value));
    }

    /// Refuses the call by this name, unless something else refused it before.
    pub(super) fn refuse(&mut self, feature: Option<String>) {
        if self.unbounded.is_none() {
            self.unbounded = feature;
        }
    }
}

/// The body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, MalformedError> {
    std::str::from_utf8(body).map_err(|_| MalformedError::whole("it is not UTF-8"))
}

/// A text that an agent made up, as records and messages show it: cut off, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The body is not a model call of this wire. Says where, never what: the text may be the user's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request body cannot be read: {problem}{place}")]
pub(super) struct MalformedError {
    problem: &'static str,
    place: String,
}

impl MalformedError {
    /// Something about the body as a whole.
    pub(super) const fn whole(problem: &'static str) -> Self {
        Self { problem, place: String::new() }
    }
}

impl From<serde_json::Error> for MalformedError {
    fn from(error: serde_json::Error) -> Self {
        let problem = match error.classify() {
            serde_json::error::Category::Io => "it broke off",
            serde_json::error::Category::Syntax => "it is not JSON",
            serde_json::error::Category::Data => "a required field is missing or of the wrong type",
            serde_json::error::Category::Eof => "it ends too early",
        };
        Self { problem, place: format!(" at line {}, column {}", error.line(), error.column()) }
    }
}
