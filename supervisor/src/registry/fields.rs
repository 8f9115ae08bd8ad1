//! Every field that a manifest can have, in one table: what it means, what it may say, and what holds where it is left
//! out. The published schema and `agentsup agent show` are made of it, and a test holds the reader to it.

use serde_json::{Value, json};

use crate::core::billing::Payers;
use crate::core::budget::instant_text;
use crate::core::manifest::{Agent, BuiltinClass, Environment};

use super::units;

/// The version of the documents.
pub(super) const API_VERSION: &str = "agentsup.dev/v1alpha1";

/// Kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Agent,
    TokenBudget,
    Policy,
}

impl Kind {
    /// Every one.
    pub(super) const ALL: [Self; 3] = [Self::Agent, Self::TokenBudget, Self::Policy];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Agent => "Agent",
            Self::TokenBudget => "TokenBudget",
            Self::Policy => "Policy",
        }
    }
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// Its path, such as `spec.tools.mcp`.
    pub(super) path: &'static str,
    /// Whether the map that it stands in must have it.
    pub(super) presence: Presence,
    /// What it may say.
    pub(super) shape: Shape,
    /// What it means, as a sentence.
    pub(super) about: &'static str,
}

/// Whether a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The map that it stands in must have it. Where that map may be left out: what holds then.
    Must(Option<Absent>),
    /// It may be left out.
    May(Absent),
}

/// What holds where a field is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absent {
    /// As the manifest would say it, in JSON; none if nothing that could be written means the same.
    pub(super) json: Option<&'static str>,
    /// Why that, as a fragment.
    pub(super) why: &'static str,
}

/// What a field may say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Just this.
    Exactly(&'static str),
    /// Words for people.
    Prose,
    /// Text of a form: a regular expression, and an example.
    Form(&'static str, &'static str),
    /// One of a few words.
    Words(&'static [&'static str]),
    /// A list of these, at least one, none twice.
    List(&'static Self),
    /// A map from any key to text.
    Texts,
    /// A map from patterns of a form to lists of labels, at least one: the expression, and an example.
    Rules(&'static str, &'static str),
    /// A map whose fields are in the table.
    Map,
}

const NAME: Shape = Shape::Form("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", "code-review-bot");
const GLOB_TEXT: &str = r"^[^\[\]{}\\!]*[^\[\]{}\\!\s][^\[\]{}\\!]*$";
/// Names, or an address of colons, without or with its brackets.
const HOST_TEXT: &str =
    r"^[^\[\]{}\\!:/@]*[^\[\]{}\\!\s:/@][^\[\]{}\\!:/@]*$|^\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]?$";
const PAIR_TEXT: &str = r"^[^\[\]{}\\!/]+/[^\[\]{}\\!]+$";
const GLOB: Shape = Shape::Form(GLOB_TEXT, "claude-*");
const MCP_GLOB: Shape = Shape::Form(r"^(\*|[^\[\]{}\\!/]*/[^\[\]{}\\!]*)$", "github/*");
const ADAPTER: Shape = Shape::Form("^[a-z0-9-]+$", "claude");
const AMOUNT: Shape = Shape::Form(r"^\d+(\.\d{1,9})? USD$|^\d+ tokens$", "50.00 USD");
const ENVIRONMENT: Shape = Shape::Words(&["dev", "staging", "production"]);
const BUILTIN: Shape = Shape::Words(&["read", "edit", "shell", "web", "other"]);

const MUST: Presence = Presence::Must(None);

const fn may(why: &'static str) -> Presence {
    Presence::May(Absent { json: None, why })
}

const fn default(json: &'static str, why: &'static str) -> Presence {
    Presence::May(Absent { json: Some(json), why })
}

const fn field(path: &'static str, presence: Presence, shape: Shape, about: &'static str) -> Field {
    Field { path, presence, shape, about }
}

/// What every document has.
const COMMON: [Field; 9] = [
    field("apiVersion", MUST, Shape::Exactly(API_VERSION), "The version of the documents."),
    field("metadata", MUST, Shape::Map, "What the document is called."),
    field("metadata.name", MUST, NAME, "Its name within its namespace, a lower-case DNS label."),
    field("metadata.namespace", default("\"default\"", "as in a catalog"), NAME, "The team."),
    field(
        "metadata.title",
        may("catalogs show the name"),
        Shape::Prose,
        "For catalogs; agentsup leaves it to them.",
    ),
    field(
        "metadata.description",
        may("catalogs show none"),
        Shape::Prose,
        "For catalogs; agentsup leaves it to them.",
    ),
    field(
        "metadata.labels",
        may("there are none"),
        Shape::Texts,
        "For catalogs; agentsup leaves them to them.",
    ),
    field(
        "metadata.annotations",
        may("there are none"),
        Shape::Texts,
        "For catalogs; agentsup leaves them to them.",
    ),
    field(
        "metadata.tags",
        may("there are none"),
        Shape::List(&Shape::Prose),
        "For catalogs; agentsup leaves them to them.",
    ),
];

const AGENT: [Field; 18] = [
    field("kind", MUST, Shape::Exactly("Agent"), "A registered agent: a principal that is not a person."),
    field("spec", MUST, Shape::Map, "What the agent is and what it may do."),
    field(
        "spec.owner",
        MUST,
        Shape::Form(r"^user:([A-Za-z0-9._-]{1,63}/)?[A-Za-z0-9._-]{1,63}$", "user:default/alice"),
        "The accountable human: a user, never a group.",
    ),
    field("spec.purpose", MUST, Shape::Prose, "What the agent is for, in a sentence."),
    field(
        "spec.lifecycle",
        default("\"experimental\"", "an agent is tried before it is relied upon"),
        Shape::Words(&["experimental", "production", "retired"]),
        "Where in its life it is. A retired agent starts no runs, and those that run are stopped.",
    ),
    field(
        "spec.environments",
        default("[\"dev\"]", "nothing beyond development without being named"),
        Shape::List(&ENVIRONMENT),
        "Where it may act; the first is the default of a run.",
    ),
    field(
        "spec.adapters",
        MUST,
        Shape::List(&ADAPTER),
        "The kinds of coding agent that it may be launched as.",
    ),
    field(
        "spec.repositories",
        default("[\"*\"]", "every repository of whoever starts it"),
        Shape::List(&GLOB),
        "Globs over a repository's path or remote. `*` stands for any characters, `?` for one.",
    ),
    field("spec.models", MUST, Shape::List(&GLOB), "Globs over the names of models that it may call."),
    field(
        "spec.tools",
        may("no tools at all"),
        Shape::Map,
        "The tools that it may use; policies can only narrow them.",
    ),
    field(
        "spec.tools.mcp",
        may("no tool of an MCP server"),
        Shape::List(&MCP_GLOB),
        "Globs over `server/tool`.",
    ),
    field(
        "spec.tools.builtin",
        may("no tool of its own"),
        Shape::List(&BUILTIN),
        "Classes of the agent's own tools.",
    ),
    field("spec.budget", MUST, NAME, "The name of a TokenBudget in the same namespace."),
    field(
        "spec.billing",
        default("\"keys\"", "the organisation pays, before each call"),
        Shape::Words(&["keys", "subscription", "either"]),
        "Who may pay for its model calls: keys behind the gateway, or the user's own subscription.",
    ),
    field("spec.credentials", may("as long as usual"), Shape::Map, "The credential of a run."),
    field(
        "spec.credentials.ttl",
        Presence::Must(Some(Absent { json: Some("\"15m\""), why: "short-lived" })),
        Shape::Form("^[0-9]+[smh]$", "15m"),
        "How long a credential is to live, at most 24h. In this version it lives exactly as long as its run.",
    ),
    field("spec.deprovision", may("never by itself"), Shape::Map, "What ends the agent."),
    field(
        "spec.deprovision.at",
        Presence::Must(Some(Absent { json: None, why: "its time does not end by itself" })),
        Shape::Form(r"^\d{4}-\d{2}-\d{2}([Tt ].+)?$", "2027-06-30"),
        "The date (its first instant in UTC) or time from which it starts no runs, and those that run are stopped.",
    ),
];

const BUDGET: [Field; 8] = [
    field("kind", MUST, Shape::Exactly("TokenBudget"), "What may be spent in a period."),
    field("spec", MUST, Shape::Map, "How much, and in which period."),
    field(
        "spec.period",
        MUST,
        Shape::Words(&["daily", "weekly", "monthly", "total"]),
        "When balances start anew; `total` means never.",
    ),
    field(
        "spec.timezone",
        default("\"UTC\"", "the same everywhere"),
        Shape::Form(r"^\S+$", "Europe/Berlin"),
        "The IANA time zone in which days, weeks and months begin; not with `total`.",
    ),
    field("spec.cap", MUST, AMOUNT, "What is meant to be spent: dollars, or tokens of any kind."),
    field(
        "spec.burst",
        may("nothing above the cap"),
        AMOUNT,
        "What may be spent above it, in the same unit: the hard ceiling is cap and burst.",
    ),
    field(
        "spec.alertAt",
        default("\"80%\"", "in time to do something about it"),
        Shape::Form("^(100|[1-9][0-9]?)%$", "80%"),
        "The part of the cap at which people are told.",
    ),
    field(
        "spec.parent",
        may("nobody else pays"),
        Shape::Form(
            "^([a-z]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
            "team-platform/team",
        ),
        "The budget that pays as well, for every call: `name`, or `namespace/name`.",
    ),
];

/// A label, a class of tools, a role, or where data is kept.
pub(super) const WORD: Shape = Shape::Form("^[a-z][a-z0-9-]{0,62}$", "confidential");

const POLICY: [Field; 11] = [
    field(
        "kind",
        MUST,
        Shape::Exactly("Policy"),
        "Rules by which things have labels, for policies in Cedar to look at. Whose rules they are follows from the \
         file's directory; a policy sees those of its own layer and of the layers above it.",
    ),
    field(
        "spec",
        MUST,
        Shape::Map,
        "The rules: patterns, each with what it gives. What matches several has all.",
    ),
    field(
        "spec.paths",
        may("no file has a label"),
        Shape::Rules(r"^[^\[\]{}\\!]*[^\[\]{}\\!\s/][^\[\]{}\\!]*$", "src/payments/**"),
        "Labels of files, by the path in the repository, or from the root or `~`. `*` stays within a name, `**` does not.",
    ),
    field(
        "spec.repositories",
        may("no repository has a label"),
        Shape::Rules(r"^[^\[\]{}\\!]*[^\[\]{}\\!\s/][^\[\]{}\\!]*$", "github.com/acme/secret-*"),
        "Labels of repositories, by `host/path` of the remote `origin`, or by the path of the checkout.",
    ),
    field(
        "spec.hosts",
        may("no host has a label"),
        Shape::Rules(HOST_TEXT, "*.internal.example"),
        "Labels of hosts.",
    ),
    field(
        "spec.models",
        may("no model has a label"),
        Shape::Rules(PAIR_TEXT, "gemini/*"),
        "Labels of models, by `provider/model`.",
    ),
    field(
        "spec.tools",
        may("tools have no classes but their kind"),
        Shape::Rules(
            r"^([^\[\]{}\\!/]*[^\[\]{}\\!/\s][^\[\]{}\\!/]*|[^\[\]{}\\!/]+/[^\[\]{}\\!]+)$",
            "github/create_*",
        ),
        "Classes of tools, by `server/tool`, or by the name of one of the agent's own.",
    ),
    field(
        "spec.agents",
        may("no agent has a role"),
        Shape::Rules(r"^[^\[\]{}\\!@]+@[^\[\]{}\\!]+$", "*-review-bot@team-platform"),
        "Roles of agents, by `name@namespace`. An agent's own manifest cannot give it one.",
    ),
    field("spec.residency", may("it is not known"), Shape::Map, "Where data is kept."),
    field(
        "spec.residency.hosts",
        may("it is not known"),
        Shape::Rules(HOST_TEXT, "*.eu.example"),
        "Where hosts keep data.",
    ),
    field(
        "spec.residency.models",
        may("it is not known"),
        Shape::Rules(PAIR_TEXT, "gemini/*"),
        "Where models keep data, by `provider/model`.",
    ),
];

/// The fields of a kind of document, each map before what is in it.
pub(super) fn of(kind: Kind) -> Vec<Field> {
    let own: &[Field] = match kind {
        Kind::Agent => &AGENT,
        Kind::TokenBudget => &BUDGET,
        Kind::Policy => &POLICY,
    };
    COMMON.iter().chain(own).copied().collect()
}

impl Field {
    /// What holds where it is left out, if it can be.
    pub(super) const fn absent(&self) -> Option<Absent> {
        match self.presence {
            Presence::Must(absent) => absent,
            Presence::May(absent) => Some(absent),
        }
    }
}

/// What an agent in force has there, as its manifest would say it; null for nothing.
pub(super) fn value(agent: &Agent, path: &str) -> Value {
    match path {
        "spec.owner" => json!(agent.owner.reference()),
        "spec.purpose" => json!(agent.purpose),
        "spec.lifecycle" => json!(agent.lifecycle.name()),
        "spec.environments" => agent.environments.iter().copied().map(Environment::name).collect(),
        "spec.adapters" => json!(agent.adapters),
        "spec.repositories" => json!(agent.repositories),
        "spec.models" => json!(agent.models),
        "spec.tools.mcp" => json!(agent.tools.mcp),
        "spec.tools.builtin" => agent.tools.builtin.iter().copied().map(BuiltinClass::name).collect(),
        "spec.budget" => json!(agent.budget),
        "spec.billing" => {
            json!(Payers::WORDS.iter().find(|(_, payers)| *payers == agent.billing).map(|(word, _)| word))
        }
        "spec.credentials.ttl" => json!(units::duration_text(agent.credential_ttl_ms)),
        "spec.deprovision.at" => json!(agent.deprovision_at_ms.map(instant_text)),
        _ => Value::Null,
    }
}
