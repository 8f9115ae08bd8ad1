//! Labels of what a run has seen: how sensitive it is, and whether it comes from outside.
//!
//! Invariants: labels are only added; one of sensitivity brings those below it, so that a policy names the least that it is
//! about. `public` is what has none.

use std::fmt;
use std::str::FromStr;

/// A label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// From outside: whoever wrote it may want the agent to do something.
    Untrusted,
    /// Meant for the organisation's own people.
    Internal,
    /// Meant for a few: personal data among it.
    Confidential,
    /// Whoever has it can act as somebody else.
    Secret,
}

impl Label {
    /// All of them, in the order that they are shown in.
    pub const ALL: [Self; 4] = [Self::Untrusted, Self::Internal, Self::Confidential, Self::Secret];

    /// As policies and people name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Secret => "secret",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Untrusted => 1,
            Self::Internal => 2,
            Self::Confidential => 4,
            Self::Secret => 8,
        }
    }
}

/// Some of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Labels(u8);

impl Labels {
    /// None: what is public.
    pub const NONE: Self = Self(0);

    /// A label, and what it brings with it.
    pub const fn of(label: Label) -> Self {
        Self(match label {
            Label::Untrusted | Label::Internal => label.bit(),
            Label::Confidential => label.bit() | Label::Internal.bit(),
            Label::Secret => label.bit() | Label::Confidential.bit() | Label::Internal.bit(),
        })
    }

    /// As they were kept.
    pub fn from_bits(bits: u8) -> Self {
        let has = |label: &Label| bits & label.bit() != 0;
        Label::ALL.into_iter().filter(has).fold(Self::NONE, |labels, label| labels.with(Self::of(label)))
    }

    /// To be kept.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those of these that are not among the others.
    #[must_use]
    pub const fn beyond(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    pub const fn has(self, label: Label) -> bool {
        self.0 & label.bit() != 0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Label::ALL.into_iter().filter(move |label| self.has(*label)).map(Label::name)
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl FromStr for Labels {
    type Err = String;

    /// One label, or `public`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "public" {
            return Ok(Self::NONE);
        }
        let label = Label::ALL.into_iter().find(|label| label.name() == text);
        label.map(Self::of).ok_or_else(|| {
            format!("`{text}` is not one of public, internal, confidential, secret, untrusted")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_label_brings_those_below_it_and_nothing_takes_one_away() {
        let shown = |text: &str| text.parse::<Labels>().unwrap().to_string();
        assert_eq!(
            ["public", "untrusted", "internal", "confidential", "secret"].map(shown),
            ["", "untrusted", "internal", "internal, confidential", "internal, confidential, secret"]
        );
        assert!("Secret".parse::<Labels>().is_err() && "".parse::<Labels>().is_err());
        let both = Labels::of(Label::Untrusted).with(Labels::of(Label::Confidential));
        assert_eq!(both.to_string(), "untrusted, internal, confidential");
        assert_eq!(both.beyond(Labels::of(Label::Internal)).to_string(), "untrusted, confidential");
        assert_eq!((both.with(Labels::NONE), both.beyond(both).is_empty()), (both, true));
    }

    #[test]
    fn what_is_kept_is_read_again_whoever_wrote_it() {
        for bits in 0..16 {
            let labels = Labels::from_bits(bits);
            assert_eq!((labels.bits() & bits, Labels::from_bits(labels.bits())), (bits, labels));
        }
        // Of a newer version, and half of what belongs together.
        assert_eq!(Labels::from_bits(0xF0), Labels::NONE);
        assert_eq!(Labels::from_bits(Label::Secret.bit()), Labels::of(Label::Secret));
    }
}
