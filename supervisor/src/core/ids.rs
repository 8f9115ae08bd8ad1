//! Identifiers: UUIDv7 newtypes, prefixed in text (`run_…`, `rec_…`), sortable by creation time.
//!
//! Pure: the caller brings the time and the randomness ([`crate::sys::ids`] does so for production code).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Why a text is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id (expected `{kind}_` and 32 hexadecimal digits)")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix in text, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Builds the id from a wall-clock time in milliseconds since 1970 and ten random bytes.
            pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
            }

            /// The last eight digits: random, so short enough to type and unlikely to collide among live runs.
            pub fn short(&self) -> String {
                let text = self.0.simple().to_string();
                text[24..].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError { kind: $prefix, text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// One supervised process tree in one worktree.
    RunId = "run";
    /// One entry of the audit log.
    RecordId = "rec";
    /// A question to a human.
    ApprovalId = "apr";
    /// An amount held in the ledger until the model call it was held for is settled.
    ReservationId = "rsv";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_carries_the_prefix() {
        let id = RunId::from_parts(1_763_800_000_000, [7; 10]);
        let text = id.to_string();
        assert_eq!(text, "run_019aaaac260077078707070707070707");
        assert_eq!(text.parse::<RunId>(), Ok(id));
        assert_eq!(id.short(), "07070707");
    }

    #[test]
    fn a_wrong_prefix_is_refused() {
        let text = RecordId::from_parts(1, [0; 10]).to_string();
        assert_eq!(
            text.parse::<RunId>().unwrap_err().to_string(),
            format!("`{text}` is not a run id (expected `run_` and 32 hexadecimal digits)")
        );
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        assert!(RunId::from_parts(1, [255; 10]) < RunId::from_parts(2, [0; 10]));
    }
}
