//! What policies of a manifest are read from, and what is wrong with them.

use std::path::PathBuf;

use miette::Diagnostic;

use crate::core::problem::position;

/// A file or an inline text.
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

/// What is wrong with a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The file; none for the place in the manifest that names the policy.
    pub(super) file: Option<PathBuf>,
    /// From 1; 0 if unknown.
    pub(super) line: u32,
    /// A lower-case fragment.
    pub(super) message: String,
}

impl Fault {
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { file: None, line: 0, message: message.into() }
    }

    pub(super) fn of(source: &Source, line: u32, message: impl Into<String>) -> Self {
        Self { file: Some(source.file.clone()), line, message: message.into() }
    }

    pub(super) fn diagnosed<E: Diagnostic>(source: &Source, error: &E) -> Self {
        let label = error.labels().and_then(|mut labels| labels.next());
        let line = label.map_or(1, |label| position(&source.text, label.offset()).0);
        Self::of(source, line, error.to_string())
    }
}
