//! What a run's model calls are paid with: that it is there, and that it may pay. Better told before the start than by
//! the agent, in the middle of its first answer.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::Runs;
use crate::agents::{Adapter, Login};
use crate::core::billing::Billing;
use crate::core::error::{Code, Failure};
use crate::core::run::Run;
use crate::gate::LiveRun;
use crate::sys::secrets;

/// That its model calls can be paid the way that they are to be.
pub(super) async fn require(runs: &Runs, live: &LiveRun, adapter: &Adapter) -> Result<(), Failure> {
    let billing = live.run.billing;
    if !adapter.payers.permit(billing) {
        let message = format!("`{}` cannot run with `billing: {}`", adapter.name, billing.name());
        let hint = match billing {
            Billing::Keys => format!("agentsup run --subscription {}", adapter.name),
            Billing::Subscription => format!("agentsup run {}, paid by keys", adapter.name),
        };
        return Err(Failure::new(Code::Usage, message).hint(hint));
    }
    if billing == Billing::Subscription
        && let Some(over) = runs.gate().used_up(&live.run).await?
    {
        let budget = runs.gate().chain(&live.run).and_then(|chain| chain.into_iter().next());
        let name = budget.map(|budget| budget.reference().to_string()).unwrap_or_default();
        return Err(Failure::new(Code::Budget, over).hint(format!("agentsup budget show {name}")));
    }
    Ok(())
}

/// Lets the agent find the user's own login in its private configuration. That it is there is all that is asked of it here.
pub(super) fn link_login(dir: &Path, login: &Login, place: &Path) -> Result<(), Failure> {
    if !place.is_file() {
        let message = format!("there is no login in `{}`", place.display());
        return Err(Failure::new(Code::Usage, message).hint(login.command));
    }
    symlink(place, dir.join(login.link)).map_err(|error| Failure::internal(&error))
}

/// A refusal, with what helps where it is the way of paying that the manifest does not permit.
pub(super) fn unpermitted(runs: &Runs, live: &LiveRun, failure: Failure) -> Failure {
    let (agent, billing) = (live.run.agent.to_string(), live.run.billing);
    match runs.registry().current().agent(&agent).map(|agent| agent.billing) {
        Some(payers) if !payers.permit(billing) => {
            failure.hint(format!("`billing: either` in the manifest of {agent} permits both ways"))
        }
        _ => failure,
    }
}

/// What should be known of how it is paid.
pub(super) fn notes(runs: &Runs, run: &Run, adapter: &Adapter) -> Vec<String> {
    let unlisted = adapter.telemetry.and_then(|telemetry| telemetry.unlisted);
    let snapshot = runs.registry().current();
    let unpriced = unlisted.filter(|model| !snapshot.config.prices.contains_key(*model));
    let note = unpriced.filter(|_| run.billing == Billing::Subscription).map(|model| {
        format!(
            "a model without a list price, such as one that `{}` chooses by itself, counts as the dearest that is known, \
             unless [prices.\"{model}\"] in config.toml says what it costs",
            adapter.name
        )
    });
    note.into_iter().collect()
}

/// That the key is there without which the adapter can do nothing.
pub(super) fn require_key(runs: &Runs, adapter: &Adapter) -> Result<(), Failure> {
    let Some(provider) = adapter.provider else { return Ok(()) };
    let snapshot = runs.registry().current();
    let place = snapshot.config.providers.get(provider).and_then(|provider| provider.key.clone());
    let Some(place) = place else { return Ok(()) };
    secrets::load_secret(&place).map(drop).map_err(|error| Failure {
        code: Code::ConfigInvalid,
        message: format!("there is no key for `{provider}`, which `{}` needs: {error}", adapter.name),
        hint: error.hint(),
    })
}
