//! The packs that agentsup brings: what agents may do unless somebody says otherwise. One is chosen in the configuration.

use std::fmt;
use std::str::FromStr;

/// A pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pack {
    /// Everything in scope, on the record.
    Observe,
    /// For work at the side of a person.
    #[default]
    Standard,
    /// For work that nobody watches.
    Strict,
}

impl Pack {
    /// All, from the loosest.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Standard, Self::Strict];

    /// As the configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }

    /// Its policies, in Cedar.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Observe => include_str!("../../../policies/observe.cedar"),
            Self::Standard => include_str!("../../../policies/standard.cedar"),
            Self::Strict => include_str!("../../../policies/strict.cedar"),
        }
    }

    /// What it must decide, in the form of the Cedar command line's `run-tests`.
    pub const fn cases(self) -> &'static str {
        match self {
            Self::Observe => include_str!("../../../policies/tests/observe.json"),
            Self::Standard => include_str!("../../../policies/tests/standard.json"),
            Self::Strict => include_str!("../../../policies/tests/strict.json"),
        }
    }
}

/// A name that is no pack's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of observe, standard, strict")]
pub struct PackError(String);

impl FromStr for Pack {
    type Err = PackError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|pack| pack.name() == text).ok_or_else(|| PackError(text.to_owned()))
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
