//! Who pays the provider of a run's model calls: the organisation by its keys, or the user by a subscription of their
//! own. Calls on a subscription go past agentsup, because nobody may stand between a user and their login: they are
//! metered after the fact, at list prices, and not enforced.

use serde::{Deserialize, Serialize};

/// Who pays the provider of a run's model calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Billing {
    /// The organisation, by keys that only the gateway holds: each call is paid from a budget before it is made.
    #[default]
    Keys,
    /// The user, by a login of their own that agentsup never sees. Budgets count what is reported afterwards.
    Subscription,
}

impl Billing {
    /// As manifests and policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Subscription => "subscription",
        }
    }
}

/// Who may pay: what a manifest permits, or an adapter can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Payers {
    /// Keys only.
    #[default]
    Keys,
    /// Subscriptions only.
    Subscription,
    /// Either; keys unless a subscription is asked for.
    Either,
}

impl Payers {
    /// Every one, as manifests write them.
    pub const WORDS: [(&'static str, Self); 3] =
        [("keys", Self::Keys), ("subscription", Self::Subscription), ("either", Self::Either)];

    /// Whether this one may pay.
    pub const fn permit(self, billing: Billing) -> bool {
        matches!(
            (self, billing),
            (Self::Either, _) | (Self::Keys, Billing::Keys) | (Self::Subscription, Billing::Subscription)
        )
    }

    /// Who pays where nobody said: a subscription only where nothing else is possible.
    pub const fn usual(manifest: Self, adapter: Self) -> Billing {
        match (manifest, adapter) {
            (Self::Subscription, _) | (_, Self::Subscription) => Billing::Subscription,
            _ => Billing::Keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_pay_unless_something_else_is_said() {
        use Payers::{Either, Keys, Subscription};
        assert_eq!(Payers::default(), Keys);
        assert_eq!(Payers::usual(Either, Either), Billing::Keys);
        assert_eq!(Payers::usual(Subscription, Either), Billing::Subscription);
        assert_eq!(Payers::usual(Keys, Subscription), Billing::Subscription, "and is then refused");
        assert!(!Keys.permit(Billing::Subscription) && !Subscription.permit(Billing::Keys));
        assert!(Either.permit(Billing::Subscription) && Either.permit(Billing::Keys));
        for (word, payers) in Payers::WORDS {
            let known = [Billing::Keys, Billing::Subscription].into_iter().any(|one| one.name() == word);
            assert_eq!(known, payers != Either);
        }
    }
}
