//! What would have made something allowed: single changes that a person could make, each tried against the rules.
//!
//! Invariants: every change is judged, none is guessed; the number of tries is bounded; nothing of it is for agents,
//! which could use it to find the way around a policy.

use super::action::{Action, PathFact, Place, ToolAction, ToolSource};
use super::data::Carried;
use super::decision::Decision;
use super::manifest::{Agent, Environment, Lifecycle};
use super::policy::Circumstances;
use super::rules::{Case, Rules};
use super::run::Run;

mod scope;
mod time;

/// The most commands of a line and the most purposes that are tried, each.
const EACH_MAX: usize = 16;

/// A change, and what would be decided with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// A noun phrase: `a path in the run's worktree`.
    pub change: String,
    /// Allowed, or asked where it is denied as it is.
    pub decision: Decision,
}

/// Everything that is decided about, to be changed.
#[derive(Clone)]
struct Changed {
    agent: Agent,
    run: Run,
    action: Action,
    now: Circumstances,
}

/// The changes under which the case is allowed; where there are none, those under which a person would be asked.
pub fn ways(rules: Rules<'_>, case: Case<'_>) -> Vec<Way> {
    let now = rules.judge(case).decision;
    if now == Decision::Allow {
        return Vec::new();
    }
    let case = Changed {
        agent: case.agent.clone(),
        run: case.run.clone(),
        action: case.action.clone(),
        now: case.now.clone(),
    };
    let mut tries = Tries { rules, case, found: Vec::new() };
    if now == Decision::Ask {
        tries.found.push(Way { change: "a person's yes".to_owned(), decision: Decision::Allow });
    }
    tries.of_action();
    tries.of_data();
    scope::tries(&mut tries);
    tries.of_circumstances();
    time::tries(&mut tries);
    tries.of_purpose();
    let best = tries.found.iter().map(|way| way.decision).min();
    tries.found.retain(|way| Some(way.decision) == best && way.decision < now);
    tries.found
}

struct Tries<'r> {
    rules: Rules<'r>,
    case: Changed,
    found: Vec<Way>,
}

impl Tries<'_> {
    /// What would be decided with the change.
    fn judge(&self, change: impl FnOnce(&mut Changed)) -> Decision {
        let mut changed = self.case.clone();
        change(&mut changed);
        let Changed { agent, run, action, now } = &changed;
        self.rules.judge(Case { agent, run, action, now }).decision
    }

    fn attempt(&mut self, text: impl Into<String>, change: impl FnOnce(&mut Changed)) {
        let decision = self.judge(change);
        self.found.push(Way { change: text.into(), decision });
    }

    fn judge_tool(&self, change: impl FnOnce(&mut ToolAction)) -> Decision {
        self.judge(|changed| {
            if let Action::Tool(tool) = &mut changed.action {
                change(tool);
            }
        })
    }

    fn attempt_tool(&mut self, text: impl Into<String>, change: impl FnOnce(&mut ToolAction)) {
        let decision = self.judge_tool(change);
        self.found.push(Way { change: text.into(), decision });
    }

    /// The line without one of its commands. How it would be written and which hosts it would name is not known: it
    /// helps only if it does with those of the whole line and with none.
    fn attempt_line(&mut self, text: String, index: usize) {
        let with_all = self.judge_tool(|tool| drop(tool.facts.parts.remove(index)));
        let with_none = self.judge_tool(|tool| {
            tool.facts.parts.remove(index);
            (tool.facts.command, tool.facts.hosts) = (None, Vec::new());
        });
        self.found.push(Way { change: text, decision: with_all.max(with_none) });
    }

    /// Another path, a line without one of its commands, one that can be read.
    fn of_action(&mut self) {
        let Action::Tool(tool) = self.case.action.clone() else { return };
        let facts = &tool.facts;
        let named = facts.parts.iter().flat_map(|part| &part.paths);
        if facts.paths.iter().chain(named).any(|fact| fact.place != Place::Worktree) {
            let worktree = self.case.run.worktree.clone();
            let inside = |fact: &mut PathFact| {
                if fact.place != Place::Worktree {
                    let name = fact.path.file_name().unwrap_or_default();
                    *fact = PathFact { path: worktree.join(name), place: Place::Worktree };
                }
            };
            self.attempt_tool("paths in the run's worktree only", |tool| {
                tool.facts.paths.iter_mut().for_each(inside);
                tool.facts.parts.iter_mut().flat_map(|part| &mut part.paths).for_each(inside);
            });
        } else if facts.paths.is_empty() && is_edit(&tool) {
            let path = self.case.run.worktree.join("file");
            self.attempt_tool("a path that can be known, in the run's worktree", |tool| {
                tool.facts.paths.push(PathFact { path, place: Place::Worktree });
            });
        }
        if facts.parts.len() > 1 {
            for (index, part) in facts.parts.iter().enumerate().take(EACH_MAX) {
                let words = part.call.program.iter().chain(&part.call.verb).cloned().collect::<Vec<_>>();
                let name = if words.is_empty() { "what cannot be read".to_owned() } else { words.join(" ") };
                self.attempt_line(format!("the line without `{name}`"), index);
            }
        }
        if facts.parts.iter().any(|part| part.call.opaque) {
            self.attempt_tool("a line that shows what it runs", |tool| {
                tool.facts.parts.iter_mut().for_each(|part| part.call.opaque = false);
            });
        }
    }

    /// A call or a prompt without what was found in it.
    fn of_data(&mut self) {
        fn data(action: &mut Action) -> Option<&mut Carried> {
            match action {
                Action::Tool(tool) => Some(&mut tool.facts.data),
                Action::Llm(llm) => Some(&mut llm.data),
                Action::Launch(_) | Action::Egress(_) => None,
            }
        }
        if data(&mut self.case.action).is_some_and(|data| !data.is_empty()) {
            self.attempt("the same without the data that was found in it", |changed| {
                if let Some(data) = data(&mut changed.action) {
                    *data = Carried::default();
                }
            });
        }
    }

    /// What the run has seen, where it acts, what is left of its money.
    fn of_circumstances(&mut self) {
        for environment in [Environment::Dev, Environment::Staging, Environment::Production] {
            if environment != self.case.run.environment && self.case.agent.environments.contains(&environment)
            {
                self.attempt(format!("a run in `{}`", environment.name()), |changed| {
                    changed.run.environment = environment;
                });
            }
        }
        let labels = self.case.now.session.clone();
        for label in labels.iter().take(EACH_MAX) {
            self.attempt(format!("a run that has not seen anything `{label}`"), |changed| {
                changed.now.session.remove(label);
            });
        }
        if labels.len() > 1 {
            self.attempt("a run that has not seen anything yet", |changed| changed.now.session.clear());
        }
        if let Some(left) = self.case.now.budget_left_percent {
            let more = [5, 10, 15, 20, 25, 30, 40, 50, 75, 100].into_iter().filter(|more| *more > left);
            let judged =
                more.map(|more| (more, self.judge(|changed| changed.now.budget_left_percent = Some(more))));
            let best = judged.min_by_key(|(more, decision)| (*decision, *more));
            if let Some((more, decision)) = best {
                self.found.push(Way { change: format!("{more} % left in its budgets"), decision });
            }
        }
    }

    /// What the agent is for, as far as policies name it.
    fn of_purpose(&mut self) {
        let purposes = self.rules.purposes().into_iter().take(EACH_MAX);
        for purpose in purposes.map(str::to_owned).collect::<Vec<_>>() {
            self.attempt(format!("an agent whose purpose is `{purpose}`"), |changed| {
                changed.agent.purpose = purpose;
            });
        }
        for lifecycle in [Lifecycle::Experimental, Lifecycle::Production] {
            if lifecycle != self.case.agent.lifecycle {
                self.attempt(format!("an agent with `lifecycle: {}`", lifecycle.name()), |changed| {
                    changed.agent.lifecycle = lifecycle;
                });
            }
        }
    }
}

fn is_edit(tool: &ToolAction) -> bool {
    matches!(tool.source, ToolSource::Builtin(super::manifest::BuiltinClass::Edit))
}

#[cfg(test)]
mod tests;
