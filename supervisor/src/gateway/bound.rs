//! The most that a model call can cost, known before its first byte goes out.
//!
//! Invariant: the bound is never below the bill. A tokenizer that falls back to bytes gives at most one token a byte,
//! and JSON text is never shorter than what it says; what is not text counts at its size limit, or as all the model
//! accepts. What has no limit at all is refused by its name.

use crate::core::action::{Bound, Elastic, Objection};

use super::anchor::{Anchored, Prompt};
use super::call::Call;
use super::prices::Price;
use super::scan::Content;

/// Tokens that a provider adds by itself: the frame of messages and tools.
const FRAME_TOKENS: u64 = 2048;

/// What may come on top of the list price without being asked for, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Surcharge {
    /// Price with it…
    pub(super) numerator: u32,
    /// …per price without it.
    pub(super) denominator: u32,
}

impl Surcharge {
    /// The list price.
    pub(super) const NONE: Self = Self { numerator: 1, denominator: 1 };
}

/// The bound of a call, or why there is none.
pub(super) fn bound(
    call: &Call<'_>,
    prompt: &Prompt,
    body_bytes: usize,
    known: &[Option<Anchored>],
    price: &Price,
    surcharge: Surcharge,
) -> Result<Bound, Objection> {
    let content = prompt.content();
    if let Some(feature) = call.unbounded.as_deref().or(content.unpriced) {
        return Err(Objection {
            reason: format!("what `{feature}` costs has no upper bound, so no budget admits it"),
            hint: Some(format!("switch `{feature}` off in the agent")),
        });
    }
    let output_each = call.max_output.or(price.max_output()).ok_or_else(|| Objection {
        reason: format!("the call does not limit its output, and that of `{}` is not known", call.model),
        hint: Some(format!("add max_output to [prices.\"{}\"] in config.toml", call.model.escape_default())),
    })?;
    let output_tokens = output_each.saturating_mul(call.answers.max(1));
    let input_tokens = input_tokens(call, prompt, body_bytes, known, price.context()).ok_or_else(|| {
        let what = if call.continues.is_some() { "goes on from an earlier answer" } else { "holds a file" };
        let reason = format!("the call {what}, and how much `{}` accepts is not known", call.model);
        let model = call.model.escape_default();
        Objection { reason, hint: Some(format!("add context to [prices.\"{model}\"] in config.toml")) }
    })?;
    let writes = call.cache.max(content.cache);
    let cost = price
        .worst(input_tokens, output_tokens, writes)
        .scaled_up(surcharge.numerator, surcharge.denominator);
    Ok(Bound { input_tokens, output_tokens, cost })
}

/// How far the answer can be cut; `least` output tokens are of any use to the wire's clients.
pub(super) fn elastic(
    call: &Call<'_>,
    bound: &Bound,
    least: u64,
    price: &Price,
    surcharge: Surcharge,
) -> Elastic {
    let rate = price.output_rate(bound.input_tokens);
    Elastic {
        least_output_tokens: call.fixed_output.saturating_add(least),
        output_token_cost: rate.scaled_down(surcharge.numerator, surcharge.denominator),
    }
}

/// The least of what is certain: the model's window, one token a byte, or a count plus what is new.
fn input_tokens(
    call: &Call<'_>,
    prompt: &Prompt,
    body_bytes: usize,
    known: &[Option<Anchored>],
    window: Option<u64>,
) -> Option<u64> {
    let size = |tokens: u64, content: &Content| {
        let images = content.images.saturating_mul(call.kinds.image_tokens);
        // Deferred tools are not in the prompt until they are mentioned, and then as a whole.
        let tools = content.references.saturating_mul(call.largest_tool);
        let added = call.added_tokens.saturating_add(FRAME_TOKENS);
        tokens.saturating_add(images).saturating_add(tools).saturating_add(added)
    };
    let content = prompt.content();
    let all_is_here = !content.opaque && call.continues.is_none();
    let by_byte = all_is_here.then(|| size(body_bytes as u64, &content));
    let by_anchor = known
        .iter()
        .flatten()
        .filter(|anchored| !anchored.content.opaque)
        .map(|anchored| size(anchored.counted.saturating_add(anchored.bytes), &anchored.content));
    by_anchor.chain(window).chain(by_byte).min()
}

#[cfg(test)]
#[path = "bound/tests.rs"]
mod tests;
