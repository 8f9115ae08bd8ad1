//! Any program with exactly the contract's environment: for agents without an adapter of their own, and for tests.

use super::{Adapter, AdapterError, GaugeStyle, Ground, Prepared};
use crate::core::billing::Payers;
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "command",
    summary: "any program, with the run's environment",
    program: None,
    provider: None,
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::None,
    gauge: GaugeStyle::None,
    payers: Payers::Keys,
    telemetry: None,
    wire: None,
    own: &[],
    obeyed: &[],
    prepare,
};

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    let (program, args) = ground.args.split_first().ok_or(AdapterError::NoCommand)?;
    Ok(Prepared { program: program.clone(), args: args.to_vec(), ..Prepared::default() })
}
