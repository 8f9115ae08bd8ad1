//! How far the providers' own counts of prompts are to be believed. They say that they estimate, so a margin comes on
//! top: a twentieth, and twice what they were ever seen to be short by. A model whose counts were shorter than the margin
//! allows is not counted again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What counts may be short by unseen, and what they may have been seen to be short by, in thousandths.
const MARGIN: u64 = 50;
const TRUSTED: u64 = 50;

/// How far counts were seen to be short, by provider and model. Only models that have prices are in it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    short: Mutex<HashMap<(String, String), u64>>,
}

impl Counts {
    fn short(&self) -> MutexGuard<'_, HashMap<(String, String), u64>> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most tokens that a prompt with this count is taken for; none where counts are not to be believed.
    pub(super) fn most(&self, provider: &str, model: &str, counted: u64) -> Option<u64> {
        let key = (provider.to_owned(), model.to_owned());
        let seen = self.short().get(&key).copied().unwrap_or(0);
        (seen <= TRUSTED).then(|| {
            let margin = MARGIN.saturating_add(seen.saturating_mul(2));
            counted.saturating_add(counted.saturating_mul(margin).div_ceil(1000))
        })
    }

    /// Takes note of what a prompt that was counted was billed for.
    pub(super) fn compare(&self, provider: &str, model: &str, counted: u64, billed: u64) {
        let short = billed.saturating_sub(counted);
        if short > 0 {
            let thousandths = short.saturating_mul(1000).div_ceil(counted.max(1));
            let key = (provider.to_owned(), model.to_owned());
            let mut known = self.short();
            let seen = known.entry(key).or_insert(0);
            *seen = thousandths.max(*seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_a_margin_that_grows_with_what_it_was_short_by_and_is_given_up() {
        let counts = Counts::default();
        let most = |counted| counts.most("p", "m", counted);
        assert_eq!((most(0), most(1), most(1000), most(1001)), (Some(0), Some(2), Some(1050), Some(1052)));
        counts.compare("p", "m", 1000, 900);
        assert_eq!(most(1000), Some(1050), "too long is no fault");
        counts.compare("p", "m", 1000, 1020);
        counts.compare("p", "m", 1000, 1010);
        assert_eq!(most(1000), Some(1090), "the worst is kept");
        counts.compare("p", "m", 1000, 1051);
        assert_eq!(most(1000), None);
        assert_eq!(counts.most("p", "n", 1000), Some(1050));
        assert_eq!(counts.most("q", "m", u64::MAX), Some(u64::MAX));
    }
}
