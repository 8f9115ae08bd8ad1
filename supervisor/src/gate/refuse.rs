//! The words of a refusal: short, with what to do, without the catalogue of policies.

use std::fmt::Display;

use super::{LiveRun, state_text};
use crate::core::action::{Action, Bound};
use crate::core::budget::{self, Balance, Fit};
use crate::core::decision::{Evaluation, Refusal, RefusalKind};
use crate::core::ids::RecordId;
use crate::core::manifest::{Cap, TokenBudget};
use crate::core::run::{Run, RunState};
use crate::store::StoreError;
use crate::store::frozen::Priced;
use crate::sys::clock;

/// The budget of a chain that a call does not fit into.
pub(super) struct Shortage {
    pub(super) budget: TokenBudget,
    pub(super) balance: Balance,
    pub(super) fit: Fit,
    /// The least that the call could be made with, where that is less than what it asks for.
    pub(super) least: Option<Bound>,
}

/// The refusal of a denied action.
pub(super) fn denied(
    kind: RefusalKind,
    evaluation: &Evaluation,
    action: &Action,
    record: RecordId,
) -> Refusal {
    let words: Vec<&str> =
        evaluation.decisive().map(|reason| reason.text.as_str()).filter(|text| !text.is_empty()).collect();
    let because = if words.is_empty() { "no policy allows it".to_owned() } else { words.join("; ") };
    let hint = match action {
        Action::Llm(llm) => llm.objection.as_ref().and_then(|objection| objection.hint.clone()),
        _ => None,
    };
    Refusal {
        kind,
        message: format!(
            "agentsup denied `{}`: {because} ({record}){}",
            action.name(),
            way_out(kind, evaluation, action, record)
        ),
        hint,
        record: Some(record),
    }
}

/// What is left to an agent whose tool is denied: its user can look the decision up. A person who said no has said what
/// there is to say.
fn way_out(kind: RefusalKind, evaluation: &Evaluation, action: &Action, record: RecordId) -> String {
    let by_a_person = evaluation.decisive().any(|reason| reason.source.starts_with("approval/"));
    match (action, kind) {
        (Action::Tool(_), RefusalKind::Denied) if !by_a_person => {
            format!(". Do without it, or ask your user, who can run: agentsup why {record}")
        }
        (Action::Tool(_), RefusalKind::ApprovalTimedOut) => {
            ". Do something else, and tell your user that this waits for an answer".to_owned()
        }
        _ => String::new(),
    }
}

/// Why a call does not fit into a budget of its chain.
pub(super) fn budget_text(shortage: &Shortage, bound: &Bound) -> String {
    let Shortage { budget, balance, fit, least } = shortage;
    let posted = budget::posted_text(&budget.cap, balance);
    let ceiling = budget::ceiling_text(&budget.cap, balance);
    let amount = |bound: &Bound| match budget.cap {
        Cap::Money { .. } => bound.cost.to_string(),
        Cap::Tokens { .. } => format!("{} tokens", bound.tokens()),
    };
    let wanted = amount(bound);
    let least = least.as_ref().map(|least| format!(", with the shortest answer {}", amount(least)));
    let least = least.unwrap_or_default();
    let period = match budget::period_end(&budget.period, clock::now_ms()) {
        Some(end) => format!("{}, until {end}", budget.period.name()),
        None => budget.period.name().to_owned(),
    };
    // Only what stands in the way is told: in the end what is held may cost less.
    let held = match fit {
        Fit::Later => {
            format!(" and holds {} for calls under way", budget::pending_text(&budget.cap, balance))
        }
        Fit::Now | Fit::Never => String::new(),
    };
    let spent = match budget.run() {
        Some(_) => format!("this run has spent {posted} of its own cap of {ceiling}"),
        None => format!("the budget `{}` has spent {posted} of {ceiling} ({period})", budget.name),
    };
    format!("{spent}{held}; this call could cost up to {wanted}{least}")
}

/// The refusal at a budget's end, or of a call that has waited long enough for others to turn out cheaper.
pub(super) fn over_budget(shortage: &Shortage, bound: &Bound, run: &Run, record: RecordId) -> Refusal {
    let text = budget_text(shortage, bound);
    if shortage.fit == Fit::Later {
        return Refusal {
            kind: RefusalKind::Busy,
            message: format!(
                "agentsup: no room in the budget just now: {text}. Nothing was billed ({record})"
            ),
            hint: None,
            record: Some(record),
        };
    }
    let (way_out, name) = match shortage.budget.run() {
        Some(_) => ("raise it", shortage.budget.reference().to_string()),
        None => ("raise the budget or wait for its next period", shortage.budget.name.clone()),
    };
    Refusal {
        kind: RefusalKind::Budget,
        message: format!(
            "agentsup: budget exhausted: {text}. Nothing was billed. \
             Ask {} to {way_out} ({record})",
            run.owner
        ),
        hint: Some(format!("agentsup budget show {name}")),
        record: Some(record),
    }
}

/// Why a model is not called at these prices.
pub(super) fn frozen_text(priced: &Priced, overrun: &str) -> String {
    format!(
        "the model `{}` is frozen, because a call cost {overrun} more than its prices (version {}) allow for",
        priced.model, priced.prices
    )
}

/// The refusal of a frozen model.
pub(super) fn frozen(model: &str, text: &str, record: RecordId) -> Refusal {
    Refusal {
        kind: RefusalKind::Denied,
        message: format!("agentsup denied `{model}`: {text} ({record})"),
        hint: Some(format!("correct its price in config.toml: [prices.\"{}\"]", model.escape_default())),
        record: Some(record),
    }
}

/// The run was killed or suspended in the middle of a decision.
pub(super) fn closed(live: &LiveRun) -> Refusal {
    let (kind, text) = match live.state() {
        RunState::Suspended => (RefusalKind::Denied, state_text(live, RunState::Suspended)),
        _ => (RefusalKind::Killed, "the run was killed".to_owned()),
    };
    Refusal { kind, message: format!("agentsup: {text}"), hint: None, record: None }
}

/// The store did not take the decision, so nothing happens. A daemon that is ending closes its store; the next one opens
/// it again.
pub(super) fn unwritten(error: &StoreError) -> Refusal {
    if !matches!(error, StoreError::Closed) {
        return unavailable(error);
    }
    Refusal {
        kind: RefusalKind::Busy,
        message: "agentsup: the daemon is ending. Nothing was sent to the provider".to_owned(),
        hint: None,
        record: None,
    }
}

/// The decision could not be recorded, so nothing happens.
pub(super) fn unavailable(error: &dyn Display) -> Refusal {
    tracing::error!(%error, "a decision could not be recorded, so the action was refused");
    Refusal {
        kind: RefusalKind::Unavailable,
        message: "agentsup: the audit log or the ledger cannot be written, so nothing may happen".to_owned(),
        hint: Some("agentsup doctor".to_owned()),
        record: None,
    }
}
