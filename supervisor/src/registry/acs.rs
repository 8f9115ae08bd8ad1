//! Agent Control Specification: agentsup as its host. A manifest of that form, prepared once, is asked at fixed points.
//!
//! Invariants: its core computes verdicts and does nothing else here. The manifest is read by us and handed over whole,
//! so that nothing in this process ever fetches anything for it; policies are prepared when they are loaded and run in
//! this process, bounded. Whatever cannot be evaluated denies, and so does a point that the manifest does not declare.
//! Every name of that specification stays below this file; what stands above knows snapshots and reasons.

mod cedar;
mod engines;
mod fault;
mod load;
mod rego;
mod strict;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_control_specification_core as spec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::decision::{Decision, Reason};
use crate::core::label::Labels;
use crate::core::visible::visible;

pub(super) use load::{Files, load};

/// The longest text of a verdict that is recorded, in characters.
const TEXT_MAX: usize = 300;

/// A manifest in force: a cheap clone.
#[derive(Clone)]
pub struct Acs(Arc<Loaded>);

struct Loaded {
    file: PathBuf,
    files: Vec<PathBuf>,
    runtime: spec::Runtime,
    /// Which policy is asked at which point.
    bound: Vec<(spec::InterventionPoint, String)>,
    /// Of all texts that it was read from, in order of path.
    digest: [u8; 32],
    /// How long a question of its policies may wait for a person, in milliseconds.
    timeout_ms: Option<u64>,
}

/// Where it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A run starts.
    Startup,
    /// A model is about to be called.
    ModelCall,
    /// A tool is about to be called.
    ToolCall,
    /// A run is over.
    Shutdown,
}

impl Point {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Startup, Self::ModelCall, Self::ToolCall, Self::Shutdown];

    /// As manifests write it.
    pub fn name(self) -> &'static str {
        self.spec().as_str()
    }

    const fn spec(self) -> spec::InterventionPoint {
        match self {
            Self::Startup => spec::InterventionPoint::AgentStartup,
            Self::ModelCall => spec::InterventionPoint::PreModelCall,
            Self::ToolCall => spec::InterventionPoint::PreToolCall,
            Self::Shutdown => spec::InterventionPoint::AgentShutdown,
        }
    }
}

/// What a manifest says about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// The verdict, as a reason of `acs/<policy>`.
    pub reason: Reason,
    /// How a tool's result is labelled, if it is called.
    pub brings: Labels,
}

/// Where a manifest counts. Its text is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The points at which it is asked, and by which policy.
    pub asked: Vec<String>,
    /// The points that it does not declare, at which everything is denied.
    pub denied: Vec<String>,
    /// The points that it declares in vain: agentsup never asks there.
    pub never_asked: Vec<String>,
}

impl Acs {
    /// What the manifest says at a point. Never fails: what goes wrong is a denial.
    pub fn judge(&self, point: Point, snapshot: Value) -> Opinion {
        let request = spec::InterventionPointRequest {
            intervention_point: point.spec(),
            snapshot,
            mode: spec::EnforcementMode::Enforce,
        };
        // What breaks off there, panics of engines among it, is a verdict too.
        let verdict = self.0.runtime.evaluate_intervention_point(request).verdict;
        match brought(point, &verdict.result_labels) {
            Ok(brings) => Opinion { reason: reason(self.source(point), verdict), brings },
            Err(why) => self.refuse(point, &why),
        }
    }

    /// The denial of what the manifest cannot even be asked about.
    pub fn refuse(&self, point: Point, why: &str) -> Opinion {
        Opinion { reason: told(self.source(point), Decision::Deny, why), brings: Labels::NONE }
    }

    /// Whether both are what was read from the same texts.
    pub fn is_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => one.0.digest == other.0.digest,
            _ => false,
        }
    }

    /// Whether the manifest declares a point.
    pub fn declares(&self, point: Point) -> bool {
        self.policy(point).is_some()
    }

    /// How long a question of its policies may wait for a person, in milliseconds; none if it does not say.
    pub fn approval_timeout_ms(&self) -> Option<u64> {
        self.0.timeout_ms
    }

    /// Where it is written.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// The manifest with this text and a module of Rego beside it, for tests of what stands above.
    #[cfg(test)]
    pub(crate) fn of(text: &str, rego: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("manifest.yaml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(dir.path().join("module.rego"), rego).unwrap();
        let mut problems = Vec::new();
        let (acs, _) = load(&file, &mut problems);
        assert_eq!(problems, []);
        acs.unwrap()
    }

    /// Every file that it was made of.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.files.iter()
    }

    /// Where it counts.
    pub fn coverage(&self) -> Coverage {
        let (mut asked, mut denied) = (Vec::new(), Vec::new());
        for point in Point::ALL {
            match self.policy(point) {
                Some(policy) => asked.push(format!("{} by `{policy}`", point.name())),
                // What has already happened cannot be denied any more.
                None if point == Point::Shutdown => {}
                None => denied.push(point.name().to_owned()),
            }
        }
        let known = |point: &spec::InterventionPoint| Point::ALL.iter().any(|known| known.spec() == *point);
        let vain = self.0.bound.iter().filter(|(point, _)| !known(point));
        Coverage { asked, denied, never_asked: vain.map(|(point, _)| point.as_str().to_owned()).collect() }
    }

    fn source(&self, point: Point) -> String {
        format!("acs/{}", self.policy(point).unwrap_or(point.name()))
    }

    fn policy(&self, point: Point) -> Option<&str> {
        self.0.bound.iter().find(|(bound, _)| *bound == point.spec()).map(|(_, policy)| policy.as_str())
    }
}

fn reason(source: String, verdict: spec::Verdict) -> Reason {
    let said = said(verdict.reason.as_deref(), verdict.message.as_deref());
    let or = |otherwise: &str| if said.is_empty() { otherwise.to_owned() } else { said.clone() };
    let (decision, text) = match verdict.decision {
        spec::Decision::Allow => (Decision::Allow, said),
        spec::Decision::Warn => (Decision::Allow, format!("a warning: {}", or("it gives none"))),
        spec::Decision::Escalate => (Decision::Ask, or("it wants a person's answer")),
        spec::Decision::Deny => (Decision::Deny, or("it denies this")),
        spec::Decision::Transform => {
            let text = "it would be changed first, and agentsup passes on what was asked for or nothing";
            (Decision::Deny, format!("{text} ({})", or("no reason given")))
        }
    };
    told(source, decision, &text)
}

fn told(source: String, decision: Decision, text: &str) -> Reason {
    Reason::new(source, decision, visible(text).chars().take(TEXT_MAX).collect::<String>())
}

/// What a result is labelled. A label that would not be kept may be what another policy waits for.
fn brought(point: Point, names: &[String]) -> Result<Labels, String> {
    let each = names.iter().map(|name| name.parse::<Labels>());
    let labels =
        each.collect::<Result<Vec<_>, String>>().map_err(|error| format!("labels the result: {error}"))?;
    let labels = labels.into_iter().fold(Labels::NONE, Labels::with);
    match point {
        Point::ToolCall => Ok(labels),
        _ if labels.is_empty() => Ok(labels),
        _ => Err(format!("labels what comes of it ({labels}), and only results of tools are labelled")),
    }
}

/// A verdict's own words. The reserved reasons are codes for programs, so people get a sentence with them.
fn said(reason: Option<&str>, message: Option<&str>) -> String {
    let reserved = reason.and_then(|reason| reason.strip_prefix("runtime_error:"));
    if let (Some(reason), Some(code)) = (reason, reserved) {
        return format!("{reason}: {}", meaning(code));
    }
    match (reason.unwrap_or_default(), message.unwrap_or_default()) {
        ("", text) | (text, "") => text.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn meaning(code: &str) -> &'static str {
    match code {
        "intervention_point_unknown" => "the manifest does not declare this point",
        "path_missing" => "a path of the manifest leads to nothing here",
        "path_type_mismatch" => "a path of the manifest leads to something of another type",
        "tool_unknown" => "the manifest's catalogue of tools does not have it",
        "policy_invocation_failed" => "the policy could not be evaluated; the daemon's log says why",
        "policy_output_invalid" => "the policy's answer is not a verdict",
        "transform_invalid" | "transform_target_forbidden" => "the change that the policy wants is not one",
        "resource_limit_exceeded" => "what is to be judged is too large or too deep",
        _ => "it cannot be evaluated",
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.asked.join(", "))?;
        let gaps =
            [("not declared and therefore denied", &self.denied), ("never asked here", &self.never_asked)];
        for (what, points) in gaps.into_iter().filter(|(_, points)| !points.is_empty()) {
            write!(f, "; {what}: {}", points.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Acs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acs").field(&self.0.file).finish()
    }
}
