//! Which streams may share a circuit.

use std::fmt;

use arti_client::StreamPrefs;
use arti_client::isolation::IsolationHelper;

/// Which streams a stream may share a circuit with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamGroup {
    /// With none, ever: what random SOCKS credentials are to a Tor behind a proxy.
    Alone,
    /// With those of an equal key: what an application's credentials are.
    Of(GroupKey),
}

impl StreamGroup {
    /// Returns what the Tor is to be told of a stream.
    pub(super) fn preferences(self) -> StreamPrefs {
        let mut preferences = StreamPrefs::new();
        match self {
            Self::Alone => preferences.new_isolation_group(),
            Self::Of(key) => preferences.set_isolation(key),
        };
        preferences
    }
}

/// What streams of one circuit have in common, without a trace of who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GroupKey(pub [u8; 32]);

impl fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupKey(..)")
    }
}

impl IsolationHelper for GroupKey {
    fn compatible_same_type(&self, other: &Self) -> bool {
        self == other
    }

    fn join_same_type(&self, other: &Self) -> Option<Self> {
        (self == other).then_some(*self)
    }
}

#[cfg(test)]
mod tests {
    use arti_client::IsolationToken;
    use arti_client::isolation::Isolation as _;

    use super::*;

    #[test]
    fn streams_share_with_their_own_group_alone() {
        let (one, two) = (GroupKey([1; 32]), GroupKey([2; 32]));
        assert!(one.compatible(&one) && one.join(&one).is_some());
        assert!(!one.compatible(&two) && one.join(&two).is_none());
        // Streams to servers are in groups of another kind.
        let ours = IsolationToken::new();
        assert!(!one.compatible(&ours) && !ours.compatible(&one));
    }
}
