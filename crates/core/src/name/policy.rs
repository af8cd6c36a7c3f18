//! What is served: whether a proven value is old enough to be final and young enough to be alive.

use super::proof::{ProvenName, confirmations};
use crate::chain::{Height, Params};

/// Confirmations that the oldest transaction of a proof must have, so that nobody rewrites it: 12.
///
/// Later transactions may have one, since the owner's key is checked along the chain of spends.
/// Source: Electrum-NMC `commands.py`, `name_show`.
pub const MIN_CONFIRMATIONS: Height = 12;

/// What the user wants served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Fewest confirmations of the oldest verified transaction above the anchor.
    pub min_confirmations: Height,
    /// Whether expired and semi-expired names are served, marked as such.
    pub allow_expired: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_confirmations: MIN_CONFIRMATIONS,
            allow_expired: false,
        }
    }
}

/// A proven name and how it stands on our chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStatus {
    /// What was proved.
    pub name: ProvenName,
    /// Blocks on our chain since the newest operation, its own block counted.
    pub confirmations: Height,
    /// Blocks left until it expires, counted from our tip; 0 or negative when it has.
    pub expires_in: i64,
    /// Blocks left until it is semi-expired, counted from our tip.
    pub semi_expires_in: i64,
}

impl NameStatus {
    /// Says whether the name has expired on our chain.
    pub fn expired(&self) -> bool {
        self.expires_in <= 0
    }

    /// Says whether the name is semi-expired, or expired, on our chain.
    pub fn semi_expired(&self) -> bool {
        self.semi_expires_in <= 0
    }
}

/// What a lookup found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name has a value.
    Found(NameStatus),
    /// The name has expired: whoever held it doesn't any more.
    Expired(NameStatus),
    /// Renewal is overdue: its value may change hands before others' stale chains notice.
    SemiExpired(NameStatus),
    /// The registration is too young to be final.
    Unconfirmed {
        /// Its state.
        status: NameStatus,
        /// Confirmations of the oldest verified transaction.
        got: Height,
        /// Confirmations that it needs.
        expected: Height,
    },
    /// The newest operation that the server shows lies below all headers that are kept, which reach down as far as a
    /// living name can. Purported, since nothing was verified.
    LongExpired {
        /// Height of that operation, by the server's word.
        height: Height,
    },
    /// Servers know no operation of it. Purported: they can't prove that there is none.
    NeverExisted,
    /// No block that a living name can be in has an operation of it. Proved, by all of these blocks: it never existed, or has
    /// expired.
    ProvedAbsent {
        /// The lowest of these blocks.
        from: Height,
    },
}

impl Outcome {
    /// Returns the name's proven state, where something was proved.
    pub fn proven(&self) -> Option<&NameStatus> {
        match self {
            Self::Found(status)
            | Self::Expired(status)
            | Self::SemiExpired(status)
            | Self::Unconfirmed { status, .. } => Some(status),
            Self::LongExpired { .. } | Self::NeverExisted | Self::ProvedAbsent { .. } => None,
        }
    }

    /// Returns the height of the newest operation, proved or purported; `None` when there is none.
    pub fn height(&self) -> Option<Height> {
        match self {
            Self::LongExpired { height } => Some(*height),
            Self::NeverExisted | Self::ProvedAbsent { .. } => None,
            _ => self.proven().map(|status| status.name.height()),
        }
    }
}

/// Decides what a proven name is worth to a chain with this tip.
///
/// Age counts from our own tip alone. A height that a server merely claims would let any server have any name refused, and
/// see from what is asked next whom it told it to.
pub fn judge(name: ProvenName, tip: Height, params: &Params, policy: &Policy) -> Outcome {
    let got = name
        .oldest_above_anchor()
        .map_or(Height::MAX, |oldest| confirmations(oldest, tip));
    let status = status(name, tip, params);
    if got < policy.min_confirmations {
        return Outcome::Unconfirmed {
            status,
            got,
            expected: policy.min_confirmations,
        };
    }
    if policy.allow_expired {
        Outcome::Found(status)
    } else if status.expired() {
        Outcome::Expired(status)
    } else if status.semi_expired() {
        Outcome::SemiExpired(status)
    } else {
        Outcome::Found(status)
    }
}

fn status(name: ProvenName, tip: Height, params: &Params) -> NameStatus {
    let expires_in = expires_in(name.height(), tip, params);
    NameStatus {
        confirmations: confirmations(name.height(), tip),
        expires_in,
        semi_expires_in: expires_in - i64::from(params.semi_expiration_margin()),
        name,
    }
}

/// Returns the blocks that are left of a name last updated at `height` to a chain with this tip.
///
/// Source: Namecoin Core `rpc/names.cpp`, `addExpirationInfo`.
pub fn expires_in(height: Height, tip: Height, params: &Params) -> i64 {
    i64::from(height) + i64::from(params.expiration_depth(tip)) - i64::from(tip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Network;

    fn judged(height: Height, oldest: Option<Height>, tip: Height, policy: Policy) -> Outcome {
        let name = ProvenName::assumed(height, oldest).unwrap();
        judge(name, tip, Network::Mainnet.params(), &policy)
    }

    fn word(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Found(_) => "found",
            Outcome::Expired(_) => "expired",
            Outcome::SemiExpired(_) => "semi-expired",
            Outcome::Unconfirmed { .. } => "unconfirmed",
            Outcome::LongExpired { .. } => "long expired",
            Outcome::NeverExisted => "never existed",
            Outcome::ProvedAbsent { .. } => "proved absent",
        }
    }

    #[test]
    fn age_decides_to_the_block() {
        let updated = 800_000;
        for (age, expected) in [
            (0, "found"),
            (31_967, "found"),
            (31_968, "semi-expired"),
            (35_999, "semi-expired"),
            (36_000, "expired"),
        ] {
            let outcome = judged(updated, None, updated + age, Policy::default());
            assert_eq!(word(&outcome), expected, "{age}");
        }
    }

    #[test]
    fn the_oldest_transaction_needs_twelve_confirmations() {
        let policy = Policy::default();
        for (oldest, expected) in [(800_010, "unconfirmed"), (800_009, "found"), (800_021, "unconfirmed")] {
            assert_eq!(
                word(&judged(800_015, Some(oldest), 800_020, policy)),
                expected,
                "{oldest}"
            );
        }
        let outcome = judged(800_015, Some(800_010), 800_020, policy);
        assert!(matches!(
            outcome,
            Outcome::Unconfirmed {
                got: 11,
                expected: 12,
                ..
            }
        ));
        assert_eq!(
            word(&judged(800_020, None, 800_020, policy)),
            "found",
            "the anchor vouches"
        );
    }

    #[test]
    fn expired_names_are_served_on_request_and_marked() {
        let policy = Policy {
            allow_expired: true,
            ..Policy::default()
        };
        let Outcome::Found(status) = judged(700_000, None, 736_005, policy) else {
            panic!("not found")
        };
        assert!(status.expired() && status.semi_expired());
        assert_eq!(
            (status.expires_in, status.semi_expires_in, status.confirmations),
            (-5, -4_037, 36_006)
        );
        assert_eq!(word(&judged(800_000, Some(800_000), 800_001, policy)), "unconfirmed");
    }
}
