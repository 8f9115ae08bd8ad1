//! What a provider's statement of a call means for what the ledger has of it.
//!
//! Invariant: only what nobody counted is lowered, and only once. What is stated above that is posted, because it is
//! the truth, and told, because a bound was wrong.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::money::NanoUsd;
use super::usage::Usage;

/// What the ledger has of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How far it is known.
    pub known: Known,
    /// What is posted for it.
    pub cost: NanoUsd,
    /// The tokens that are posted for it.
    pub tokens: u64,
}

/// How far a call's cost is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is under way.
    Open,
    /// It was refused before it began, and nothing is posted.
    Void,
    /// Nobody counted it: the most that it can have cost is posted.
    Assumed,
    /// It was assumed, and a statement told what it cost but not its tokens.
    Cost,
    /// The provider counted it, at once or in a statement.
    Whole,
}

/// What a provider states of a call. At least one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// Its tokens.
    pub usage: Option<Usage>,
    /// What it is billed.
    pub cost: Option<NanoUsd>,
}

/// What a statement comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It cost less than was assumed.
    Lowered,
    /// It cost what was assumed, which is now known.
    Confirmed,
    /// It cost more than is posted; the difference is posted.
    Overrun,
    /// The ledger has that already.
    Agrees,
    /// The provider counted less than it says now to have billed, or the other way round; the ledger stays.
    Contradicts,
    /// It is under way, or the provider is not known to have been called.
    Open,
}

impl Verdict {
    /// Whether it changes the ledger.
    pub const fn corrects(self) -> bool {
        matches!(self, Self::Lowered | Self::Confirmed | Self::Overrun)
    }
}

/// So much two ways of counting the same may differ by: a hundredth, or a millionth of a dollar.
fn is_about(stated: NanoUsd, counted: NanoUsd) -> bool {
    let apart = stated.minus(counted).plus(counted.minus(stated)).nano();
    apart <= (counted.nano() / 100).max(1000)
}

/// What a statement comes to, and what is to be posted then.
pub fn judge(standing: &Standing, stated: &Stated) -> (Verdict, Standing) {
    let keep = |verdict| (verdict, *standing);
    let usage = stated.usage.map(|usage| usage.total());
    match standing.known {
        Known::Open => keep(Verdict::Open),
        Known::Void if stated.cost.is_none_or(|cost| cost == NanoUsd::ZERO) => keep(Verdict::Agrees),
        Known::Void => keep(Verdict::Contradicts),
        Known::Assumed => {
            let known = if usage.is_some() { Known::Whole } else { Known::Cost };
            let (cost, tokens) = (stated.cost.unwrap_or(standing.cost), usage.unwrap_or(standing.tokens));
            let after = Standing { known, cost, tokens };
            let verdict = match (cost.cmp(&standing.cost), tokens.cmp(&standing.tokens)) {
                (Ordering::Greater, _) | (_, Ordering::Greater) => Verdict::Overrun,
                (Ordering::Less, _) | (_, Ordering::Less) => Verdict::Lowered,
                _ => Verdict::Confirmed,
            };
            (verdict, after)
        }
        Known::Cost | Known::Whole => {
            let cost = stated.cost.unwrap_or(standing.cost);
            // Tokens that were left open may be told later.
            let open = usage.filter(|_| standing.known == Known::Cost);
            let is_about = is_about(cost, standing.cost);
            let after = Standing {
                known: if open.is_some() { Known::Whole } else { standing.known },
                cost: if is_about { standing.cost } else { cost },
                tokens: open.unwrap_or(standing.tokens),
            };
            match open {
                _ if !is_about && cost > standing.cost => (Verdict::Overrun, after),
                _ if !is_about => keep(Verdict::Contradicts),
                Some(tokens) if tokens > standing.tokens => (Verdict::Overrun, after),
                Some(tokens) if tokens < standing.tokens => (Verdict::Lowered, after),
                Some(_) => (Verdict::Confirmed, after),
                None => keep(Verdict::Agrees),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(amount: i64) -> NanoUsd {
        NanoUsd::new(amount).unwrap()
    }

    fn stated(cost: Option<i64>, tokens: Option<u64>) -> Stated {
        let usage = tokens.map(|input_tokens| Usage { input_tokens, ..Usage::default() });
        Stated { usage, cost: cost.map(nano) }
    }

    #[test]
    fn only_what_nobody_counted_is_lowered_and_only_once() {
        use Known::{Assumed, Cost, Open, Void, Whole};
        use Verdict::{Agrees, Confirmed, Contradicts, Lowered, Overrun};
        const M: i64 = 1_000_000;
        for (known, posted, cost, tokens, verdict, after) in [
            (Assumed, 10 * M, Some(4 * M), Some(7), Lowered, (Whole, 4 * M, 7)),
            (Assumed, 10 * M, Some(4 * M), None, Lowered, (Cost, 4 * M, 100)),
            (Assumed, 10 * M, Some(0), Some(0), Lowered, (Whole, 0, 0)),
            (Assumed, 10 * M, Some(10 * M), Some(100), Confirmed, (Whole, 10 * M, 100)),
            (Assumed, 10 * M, Some(10 * M + 1), Some(9), Overrun, (Whole, 10 * M + 1, 9)),
            (Assumed, 10 * M, Some(4 * M), Some(101), Overrun, (Whole, 4 * M, 101)),
            // once it is known, a statement may only confirm it, or tell of more
            (Whole, 4 * M, Some(4 * M), Some(7), Agrees, (Whole, 4 * M, 100)),
            (Whole, 4 * M, Some(4 * M - 40_000), None, Agrees, (Whole, 4 * M, 100)),
            (Whole, 4 * M, Some(3 * M), Some(7), Contradicts, (Whole, 4 * M, 100)),
            (Whole, 4 * M, Some(5 * M), Some(7), Overrun, (Whole, 5 * M, 100)),
            (Whole, 0, Some(1000), None, Agrees, (Whole, 0, 100)),
            (Whole, 0, Some(1001), None, Overrun, (Whole, 1001, 100)),
            // what was left open
            (Cost, 4 * M, Some(4 * M), Some(7), Lowered, (Whole, 4 * M, 7)),
            (Cost, 4 * M, Some(3 * M), Some(7), Contradicts, (Cost, 4 * M, 100)),
            (Cost, 4 * M, Some(4 * M), None, Agrees, (Cost, 4 * M, 100)),
            (Void, 0, Some(0), None, Agrees, (Void, 0, 100)),
            (Void, 0, Some(1), None, Contradicts, (Void, 0, 100)),
            (Open, 0, Some(1), None, Verdict::Open, (Open, 0, 100)),
        ] {
            let standing = Standing { known, cost: nano(posted), tokens: 100 };
            let (told, then) = judge(&standing, &stated(cost, tokens));
            let then = (then.known, then.cost.nano(), then.tokens);
            assert_eq!((told, then), (verdict, after), "{standing:?} {cost:?} {tokens:?}");
        }
    }
}
