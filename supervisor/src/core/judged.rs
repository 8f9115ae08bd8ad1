//! What a decision was about, whole: kept beside its record, so that it can be judged again under other policies.
//!
//! Invariants: it has what policies look at and never a call's arguments, a file's content or a secret; it is bounded;
//! the record holds the digest of its bytes, so it can be erased but not changed. Whoever reads one that an older or a
//! newer version wrote takes what is not there as not known.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::action::Action;
use super::canonical::{self, CanonicalError};
use super::policy::Circumstances;

/// The most bytes that are kept of one decision.
pub const BYTES_MAX: usize = 64 * 1024;

/// What a decision was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// What was wanted, as policies see it.
    pub action: Action,
    /// What was the case then.
    pub now: Circumstances,
    /// Which manifest the agent had, by its digest; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
}

impl Judged {
    /// The canonical bytes; none if they are more than [`BYTES_MAX`].
    ///
    /// # Errors
    /// Never for what this program makes; the type allows it.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>, CanonicalError> {
        let bytes = canonical::to_bytes(self)?;
        Ok((bytes.len() <= BYTES_MAX).then_some(bytes))
    }

    /// From bytes.
    ///
    /// # Errors
    /// In words, when they are none.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// The digest that a record has of bytes, hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::PathBuf;

    use super::super::action::{
        Bound, CommandPart, EgressAction, Facts, LaunchAction, LlmAction, PathFact, Place, ToolAction,
        ToolSource,
    };
    use super::super::billing::Billing;
    use super::super::detect::Kind;
    use super::super::manifest::BuiltinClass;
    use super::super::money::NanoUsd;
    use super::super::shell;
    use super::*;

    fn tool(facts: Facts) -> Action {
        Action::Tool(ToolAction {
            source: ToolSource::Builtin(BuiltinClass::Shell),
            tool: "Bash".into(),
            args_digest: [0; 32],
            facts,
            call_id: None,
        })
    }

    fn judged(action: Action) -> Judged {
        let now = Circumstances {
            session: ["untrusted".to_owned()].into(),
            budget_left_percent: Some(7),
            ..Circumstances::at(0)
        };
        Judged { action, now, manifest: Some("00".into()) }
    }

    #[test]
    fn all_that_policies_look_at_comes_back() {
        let path = |path: &str, place| PathFact { path: path.into(), place };
        let line = "sudo A=b git push >x && eval \"$X\"";
        let part = |call| CommandPart {
            call,
            paths: vec![path("/etc/x", Place::Outside)],
            written: vec![path("/etc/x", Place::Outside)],
        };
        let mut facts = Facts {
            paths: vec![path("/w/a", Place::Worktree), path("/h/.ssh", Place::Secret)],
            hosts: vec!["example.com".into()],
            command: Some(line.into()),
            parts: shell::read(line).into_iter().map(part).collect(),
            ..Facts::default()
        };
        facts.data.kinds.insert(Kind::Email, 2);
        let launch = LaunchAction {
            adapter: "claude".into(),
            repository: "/r".into(),
            remote: Some("git@example.com:r".into()),
            billing: Billing::Subscription,
        };
        let llm = LlmAction::new("anthropic", "m");
        let egress = Action::Egress(EgressAction { host: "example.com".into(), port: 443 });
        for action in [tool(facts), Action::Launch(launch), Action::Llm(llm), egress] {
            let judged = judged(action);
            let bytes = judged.to_bytes().unwrap().unwrap();
            assert_eq!(Judged::read(&bytes), Ok(judged));
        }
    }

    /// Amounts, digests of arguments and ids of calls are the record's, if anybody's.
    #[test]
    fn nothing_else_is_kept() {
        let call = LlmAction {
            bound: Some(Bound {
                input_tokens: 12_345,
                output_tokens: 1,
                cost: NanoUsd::new(67_890).unwrap(),
            }),
            prices: "v1".into(),
            ..LlmAction::new("anthropic", "m")
        };
        let bytes = Judged { manifest: None, ..judged(Action::Llm(call)) }.to_bytes().unwrap().unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"action":{"kind":"llm","model":"m","provider":"anthropic"},"now":{"budget_left_percent":7,"hour":0,"session":["untrusted"],"weekday":4}}"#
        );
        let Action::Tool(tool) = tool(Facts::default()) else { unreachable!() };
        let tool = ToolAction { args_digest: [7; 32], call_id: Some("toolu_1".into()), ..tool };
        let bytes = judged(Action::Tool(tool)).to_bytes().unwrap().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            r#"{"action":{"facts":{},"kind":"tool","source":{"builtin":"shell"},"tool":"Bash"},"manifest":"00","now":{"budget_left_percent":7,"hour":0,"session":["untrusted"],"weekday":4}}"#
        );
    }

    #[test]
    fn a_path_that_is_no_text_is_kept_as_policies_see_it() {
        let odd = PathBuf::from(OsStr::from_bytes(b"/w/\xff"));
        let facts =
            |path| Facts { paths: vec![PathFact { path, place: Place::Worktree }], ..Facts::default() };
        let bytes = judged(tool(facts(odd))).to_bytes().unwrap().unwrap();
        assert_eq!(Judged::read(&bytes), Ok(judged(tool(facts("/w/\u{fffd}".into())))));
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let line = |length| tool(Facts { command: Some("x".repeat(length)), ..Facts::default() });
        assert!(judged(line(BYTES_MAX / 2)).to_bytes().unwrap().is_some());
        assert_eq!(judged(line(BYTES_MAX)).to_bytes().unwrap(), None);
    }

    #[test]
    fn what_another_version_left_out_is_not_known() {
        let text =
            r#"{"action":{"kind":"tool","source":"foreign","tool":"t","facts":{"labels":["x"]}},"now":{}}"#;
        let judged = Judged::read(text.as_bytes()).unwrap();
        assert_eq!((judged.now, judged.manifest), (Circumstances::default(), None));
        assert!(Judged::read(b"{}").is_err());
    }
}
