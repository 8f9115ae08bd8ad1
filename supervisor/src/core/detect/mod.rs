//! Finds secrets and personal data in texts, also behind encodings.
//!
//! Owns: what is known of their forms, and how a text is unwrapped. Invariants: pure; time grows with the text's length
//! and nothing else, because text is looked at in windows of a fixed size, unwrapped to a fixed depth and within a
//! fixed number of bytes; a finding never holds the text that it is about. Must not: decide what follows from a
//! finding, or claim that nothing is there where it could not look ([`Found::complete`]).

mod assigned;
mod entropy;
mod finding;
mod formats;
mod numbers;
mod personal;
mod plain;
#[cfg(test)]
mod tests;
mod views;

pub use finding::{Class, Confidence, Finding, Kind};
use plain::Depth;
use views::View;

/// How a text is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// As JSON: a range never begins or ends within an escape sequence of a string.
    Json,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In order of place; no two overlap.
    pub findings: Vec<Finding>,
    /// Kinds of which there is more than is told.
    pub untold: Vec<Kind>,
    /// Whether everything was looked at.
    pub complete: bool,
}

/// So much is looked at at once, in bytes.
const WINDOW: usize = 256 * 1024;
/// So much of it is looked at again with what follows: more than the longest thing that can be found, and its guard.
const OVERLAP: usize = 20 * 1024;
/// So much at the beginning of a window was seen whole in the one before, and is seen cut off in this one.
const GUARD: usize = 1024;
/// So many wrappings are undone.
const LAYERS: usize = 4;
/// So many bytes of views are made of a window, for each of its own and beside a fixed number.
const VIEWS_PER_BYTE: usize = 12;
const VIEWS_FREE: usize = 64 * 1024;

/// Finds what is in `text`.
pub fn scan(text: &[u8], form: Form) -> Found {
    let mut all = Found { findings: Vec::new(), untold: Vec::new(), complete: true };
    let mut start = 0;
    loop {
        let end = text.len().min(start + WINDOW);
        let window = text.get(start..end).unwrap_or_default();
        let mut look = Look {
            found: Vec::new(),
            untold: Vec::new(),
            complete: true,
            left: window.len() * VIEWS_PER_BYTE + VIEWS_FREE,
            is_cut: start > 0,
        };
        look.window(window, form);
        all.complete &= look.complete;
        all.untold.extend(look.untold);
        let guard = if start > 0 { GUARD } else { 0 };
        let whole = look.found.into_iter().filter(|finding| finding.range.end > guard);
        all.findings.extend(whole.map(|finding| Finding {
            range: finding.range.start + start..finding.range.end + start,
            ..finding
        }));
        if end == text.len() {
            break;
        }
        start = end - OVERLAP;
    }
    all.findings = told_once(all.findings);
    all.untold.sort_unstable();
    all.untold.dedup();
    all
}

/// One window's look.
struct Look {
    found: Vec<Finding>,
    untold: Vec<Kind>,
    complete: bool,
    /// Bytes of views that may still be made.
    left: usize,
    /// Whether the window begins in the middle of the text.
    is_cut: bool,
}

impl Look {
    fn window(&mut self, window: &[u8], form: Form) {
        let view = match form {
            Form::Plain => None,
            Form::Json => views::json(window),
        };
        match view {
            Some(view) => self.view(&view, Depth::Whole, 0),
            None => self.text(window, Depth::Whole, 0),
        }
    }

    fn view(&mut self, view: &View, depth: Depth, layer: usize) {
        let Some(left) = self.left.checked_sub(view.bytes.len()) else {
            self.complete = false;
            return;
        };
        self.left = left;
        let before = self.found.len();
        self.text(&view.bytes, depth, layer);
        for finding in self.found.iter_mut().skip(before) {
            finding.range = view.source(&finding.range);
        }
    }

    fn text(&mut self, text: &[u8], depth: Depth, layer: usize) {
        let own = self.found.len();
        match plain::find(text, depth, &mut self.found) {
            Some(untold) => self.untold.extend(untold),
            None => self.complete = false,
        }
        if layer == LAYERS {
            return;
        }
        // Only a window's own text can begin in the middle of something.
        let is_cut = self.is_cut && layer == 0;
        views::decoded(text, is_cut, |view| self.view(&view, depth, layer + 1));
        if let Some(view) = views::unescaped(text) {
            self.view(&view, depth, layer + 1);
        } else if let Some(view) = views::joined(text) {
            let known = self.found.len();
            self.view(&view, Depth::Forms, layer + 1);
            // What was whole before only has more behind it now.
            let joined = self.found.split_off(known);
            let is_new = |finding: &Finding| {
                let mut whole = self.found.iter().skip(own);
                !whole.any(|whole| whole.kind == finding.kind && whole.overlaps(finding))
            };
            let new: Vec<Finding> = joined.into_iter().filter(is_new).collect();
            self.found.extend(new);
        }
    }
}

/// Findings in order of place, without overlaps: of two in one place the weightier is told, with the place of both.
fn told_once(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (finding.range.start, finding.kind));
    let mut told: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        match told.last_mut().filter(|last| last.overlaps(&finding)) {
            Some(last) => {
                last.range.end = last.range.end.max(finding.range.end);
                if finding.kind < last.kind {
                    (last.kind, last.confidence) = (finding.kind, finding.confidence);
                }
            }
            None => told.push(finding),
        }
    }
    told
}
