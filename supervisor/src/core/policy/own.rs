//! A repository's own policies, in `.agentsup/*.cedar`: those of the commit that a run starts from, held by that run.
//!
//! They only forbid and ask, and reach no other run. What cannot be loaded denies everything: whoever committed it
//! believes that it is in force.

use serde::{Deserialize, Serialize};

use super::super::problem::Problem;
use super::{Layer, PolicySet, PolicySource};

/// Where they are in a repository.
pub const DIRECTORY: &str = ".agentsup";

/// The letters of a commit's id that tell it from others.
const COMMIT_LETTERS: usize = 12;

/// One file of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnFile {
    /// From the top of the repository.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// The policies that a run has of its repository.
#[derive(Debug, Clone, Default)]
pub enum Own {
    /// There are none.
    #[default]
    None,
    /// They.
    Set(PolicySet),
    /// They cannot be loaded any more, and why.
    Broken(String),
}

impl Own {
    /// Loads the files of a commit.
    ///
    /// # Errors
    /// Every problem; one in a file is told as `COMMIT:PATH`, as git names it.
    pub fn load(files: &[OwnFile], commit: &str) -> Result<Self, Vec<Problem>> {
        if files.is_empty() {
            return Ok(Self::None);
        }
        let commit = commit.get(..COMMIT_LETTERS).unwrap_or(commit);
        let source = |file: &OwnFile| PolicySource {
            layer: Layer::Repository,
            team: None,
            file: format!("{commit}:{}", file.path).into(),
            text: file.text.clone(),
        };
        PolicySet::load(&files.iter().map(source).collect::<Vec<_>>()).map(Self::Set)
    }

    /// As [`Own::load`], for a run that goes on: problems deny everything that it wants.
    pub fn restore(files: &[OwnFile], commit: &str) -> Self {
        Self::load(files, commit).unwrap_or_else(|problems| {
            let first = problems.first().map_or_else(String::new, ToString::to_string);
            Self::Broken(first)
        })
    }

    /// The policies, if there are any.
    pub fn set(&self) -> Option<&PolicySet> {
        match self {
            Self::Set(set) => Some(set),
            Self::None | Self::Broken(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::super::super::action::{Action, Facts, LlmAction, PathFact, Place, ToolAction, ToolSource};
    use super::super::super::decision::Decision;
    use super::super::super::fixture::{agent, run};
    use super::super::super::manifest::BuiltinClass;
    use super::super::labels::{Labels, LayerRules, Rule, Subject};
    use super::super::{Circumstances, Pack};
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn file(text: &str) -> Vec<OwnFile> {
        vec![OwnFile { path: ".agentsup/own.cedar".into(), text: text.into() }]
    }

    fn told(own: &Own) -> (Decision, Vec<String>) {
        let words = vec!["pci".to_owned()];
        let rules = vec![Rule::new(Subject::Path, "src/**", words, None).unwrap()];
        let labels = Labels::new(vec![LayerRules { layer: Layer::User, team: None, rules }]);
        let set = PolicySet::load_with(&[PolicySource::pack(Pack::Observe)], labels).unwrap();
        let fact = PathFact { path: run().worktree.join("src/a"), place: Place::Worktree };
        let action = Action::Tool(ToolAction {
            source: ToolSource::Builtin(BuiltinClass::Read),
            tool: "Read".into(),
            args_digest: [0; 32],
            facts: Facts { paths: vec![fact], ..Facts::default() },
            call_id: None,
        });
        // Twice, so that what is remembered is asked too.
        let told = [(); 2].map(|()| {
            let said = set.evaluate_with(own, &agent(), &run(), &action, &Circumstances::default());
            (said.decision, said.reasons.into_iter().map(|reason| reason.source).collect())
        });
        assert_eq!(told[0], told[1]);
        told[0].clone()
    }

    #[test]
    fn a_repositorys_policies_tighten_for_its_runs_and_see_all_labels() {
        let text = "\n@id(\"ask-pci\") @decision(\"ask\")\nforbid (principal, action in Action::\"tool\", \
                    resource) when { context.labels.contains(\"pci\") };";
        let own = Own::load(&file(text), COMMIT).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(told(&own), (Decision::Ask, names(&["scope", "default/in-scope", "repository/ask-pci"])));
        assert_eq!(told(&Own::None), (Decision::Allow, names(&["scope", "default/in-scope"])));
        let origin = own.set().unwrap().origin("repository/ask-pci").unwrap();
        assert_eq!((origin.file.to_str(), origin.line), (Some("0123456789ab:.agentsup/own.cedar"), 2));
    }

    /// Answers are remembered, and labels may change while a run goes on.
    #[test]
    fn other_labels_get_another_answer() {
        let text = "@id(\"no\") forbid (principal, action == Action::\"llm\", resource) when { \
                    resource.labels.contains(\"pci\") };";
        let own = Own::load(&file(text), COMMIT).unwrap();
        let set = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let rules = vec![Rule::new(Subject::Model, "anthropic/*", words, None).unwrap()];
            let labels = Labels::new(vec![LayerRules { layer: Layer::Org, team: None, rules }]);
            PolicySet::load_with(&[PolicySource::pack(Pack::Observe)], labels).unwrap()
        };
        let action = Action::Llm(LlmAction::new("anthropic", "claude-1"));
        let said = |set: &PolicySet| {
            set.evaluate_with(&own, &agent(), &run(), &action, &Circumstances::default()).decision
        };
        let (with, without) = (set(&["pci"]), set(&["public"]));
        assert_eq!([&with, &without, &with].map(said), [Decision::Deny, Decision::Allow, Decision::Deny]);
    }

    #[test]
    fn a_repository_permits_nothing() {
        let own = Own::load(&file("@id(\"all\") permit (principal, action, resource);"), COMMIT);
        let problems = own.unwrap_err();
        assert!(problems[0].hint.as_ref().is_some_and(|hint| hint.starts_with("write a `forbid`")));
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            ["0123456789ab:.agentsup/own.cedar:1:1: all: a policy of the repository layer can only forbid"]
        );
    }

    #[test]
    fn what_cannot_be_loaded_any_more_denies_everything() {
        let own = Own::restore(&file("nonsense"), COMMIT);
        assert_eq!(told(&own).0, Decision::Deny);
        assert_eq!(told(&Own::restore(&[], COMMIT)).0, Decision::Allow);
    }
}
