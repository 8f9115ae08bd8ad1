//! Who acts and who answers for it: agents and their human owners, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text does not name a principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// Not `user:<namespace>/<name>`.
    #[error("`{0}` is not an owner (expected `user:<namespace>/<name>`; a group cannot be accountable)")]
    Owner(String),
    /// Not a lower-case DNS label.
    #[error(
        "`{0}` is not a name (expected lower-case letters, digits and `-`, at most 63, starting with a letter)"
    )]
    Name(String),
}

fn check_name(text: &str) -> Result<(), PrincipalError> {
    let valid = text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if valid { Ok(()) } else { Err(PrincipalError::Name(text.to_owned())) }
}

/// A registered agent, in text `agent/<name>@<namespace>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentRef {
    name: String,
    namespace: String,
}

impl AgentRef {
    /// Both parts are lower-case DNS labels.
    pub fn new(name: &str, namespace: &str) -> Result<Self, PrincipalError> {
        check_name(name)?;
        check_name(namespace)?;
        Ok(Self { name: name.to_owned(), namespace: namespace.to_owned() })
    }

    /// The name within its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The team.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether a person means this agent by `text`: its name, `name@namespace` or the whole reference.
    pub fn answers_to(&self, text: &str) -> bool {
        let text = text.strip_prefix("agent/").unwrap_or(text);
        match text.split_once('@') {
            Some((name, namespace)) => name == self.name && namespace == self.namespace,
            None => text == self.name,
        }
    }
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent/{}@{}", self.name, self.namespace)
    }
}

impl FromStr for AgentRef {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let (name, namespace) = text
            .strip_prefix("agent/")
            .and_then(|rest| rest.split_once('@'))
            .ok_or_else(|| PrincipalError::Name(text.to_owned()))?;
        Self::new(name, namespace)
    }
}

/// The accountable human, in manifests `user:<namespace>/<name>`, shown `user:<name>` in the default namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    namespace: String,
    name: String,
}

impl Owner {
    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole reference, as a catalog writes it.
    pub fn reference(&self) -> String {
        format!("user:{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == "default" {
            write!(f, "user:{}", self.name)
        } else {
            write!(f, "user:{}/{}", self.namespace, self.name)
        }
    }
}

impl FromStr for Owner {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let malformed = || PrincipalError::Owner(text.to_owned());
        let rest = text.strip_prefix("user:").ok_or_else(malformed)?;
        let (namespace, name) = rest.split_once('/').unwrap_or(("default", rest));
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 63
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if plain(namespace) && plain(name) {
            Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
        } else {
            Err(malformed())
        }
    }
}

macro_rules! serde_as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text! { AgentRef Owner }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_with_its_team() {
        let agent: AgentRef = "agent/code-review-bot@team-platform".parse().unwrap();
        assert_eq!(agent, AgentRef::new("code-review-bot", "team-platform").unwrap());
        for text in
            ["code-review-bot", "code-review-bot@team-platform", "agent/code-review-bot@team-platform"]
        {
            assert!(agent.answers_to(text), "{text}");
        }
        assert!(!agent.answers_to("code-review-bot@other"));
        for bad in ["", "Upper", "-a", "a-", "a b", "1a", "ä"] {
            assert_eq!(AgentRef::new(bad, "t"), Err(PrincipalError::Name(bad.into())));
        }
    }

    #[test]
    fn an_owner_is_a_person() {
        let owner: Owner = "user:default/alice".parse().unwrap();
        assert_eq!(
            (owner.to_string(), owner.reference()),
            ("user:alice".into(), "user:default/alice".into())
        );
        assert_eq!("user:alice".parse::<Owner>().unwrap(), owner);
        assert_eq!("user:corp/bob".parse::<Owner>().unwrap().to_string(), "user:corp/bob");
        for bad in ["group:default/team", "alice", "user:", "user:a/", "user:a/b c"] {
            assert_eq!(bad.parse::<Owner>(), Err(PrincipalError::Owner(bad.into())));
        }
    }
}
