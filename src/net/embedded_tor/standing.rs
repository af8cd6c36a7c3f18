//! How far the Tor within the program is, as a plain value.

use std::fmt;
use std::time::Duration;

use crate::net::tor_standing::TorStanding;

/// How far the Tor within the program is on its way to carry streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbeddedTorStanding {
    /// From 0, where it has just begun, to 100.
    pub percent: u8,
    /// Whether it carries streams. That may end again, as when this machine is cut off.
    pub ready: bool,
    /// Why it does not get on, if so, as far as it can tell.
    pub blocked: Option<String>,
}

impl fmt::Display for EmbeddedTorStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ready {
            return f.write_str("ready");
        }
        write!(f, "starting, {} %", self.percent)?;
        match &self.blocked {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl From<EmbeddedTorStanding> for TorStanding {
    fn from(standing: EmbeddedTorStanding) -> Self {
        if standing.ready {
            return Self::Ready;
        }
        Self::Bootstrapping {
            percent: standing.percent,
            phase: "the embedded Tor is starting".to_owned(),
            problem: standing.blocked,
        }
    }
}

/// How long it may get no further before that is told. Arti itself takes a minute to say that it reaches nobody.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// What is told while no relay has answered at all.
const NO_RELAY: &str = "no relay of the Tor network has answered yet";

/// What is told where it got on before.
const NO_PROGRESS: &str = "nothing more comes from the Tor network at the moment";

/// Watches how far it gets, to say that it does not where it says nothing itself.
#[derive(Debug, Default)]
pub(super) struct Headway {
    fraction: f32,
    /// When it got there, counted from its beginning.
    since: Duration,
}

impl Headway {
    /// Returns when it last got further.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// Takes what Arti says of itself: how far it is, from 0 to 1, whether it carries streams, and why it does not get on.
    pub(super) fn standing(
        &mut self,
        now: Duration,
        fraction: f32,
        ready: bool,
        blocked: Option<String>,
    ) -> EmbeddedTorStanding {
        if fraction.total_cmp(&self.fraction).is_ne() {
            (self.fraction, self.since) = (fraction, now);
        }
        let is_quiet = !ready && now.saturating_sub(self.since) >= QUIET;
        let quiet = if fraction > 0.0 { NO_PROGRESS } else { NO_RELAY };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to 100"
        )]
        let percent = (fraction.clamp(0.0, 1.0) * 100.0) as u8;
        EmbeddedTorStanding {
            percent,
            ready,
            blocked: blocked.or_else(|| is_quiet.then(|| quiet.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_no_further_is_told_so_within_seconds() {
        let mut headway = Headway::default();
        let second = Duration::from_secs(1);
        let mut told = |seconds: u32, fraction, ready, blocked: Option<&str>| {
            let blocked = blocked.map(str::to_owned);
            headway.standing(seconds * second, fraction, ready, blocked).blocked
        };
        assert_eq!(told(0, 0.0, false, None), None);
        assert_eq!(told(4, 0.0, false, None), None);
        assert_eq!(told(5, 0.0, false, None).as_deref(), Some(NO_RELAY));
        assert_eq!(told(60, 0.0, false, Some("offline")).as_deref(), Some("offline"));
        assert_eq!(told(61, 0.15, false, None), None);
        assert_eq!(told(65, 0.2, false, None), None);
        assert_eq!(told(69, 0.2, false, None), None);
        assert_eq!(told(70, 0.2, false, None).as_deref(), Some(NO_PROGRESS));
        assert_eq!(told(99, 0.2, true, None), None);
    }

    #[test]
    fn it_is_told_how_far_it_is_and_why_no_further() {
        let told = |percent, ready, blocked: Option<&str>| {
            let blocked = blocked.map(str::to_owned);
            let standing = EmbeddedTorStanding {
                percent,
                ready,
                blocked,
            };
            standing.to_string()
        };
        assert_eq!(told(0, false, None), "starting, 0 %");
        assert_eq!(told(45, false, Some("offline")), "starting, 45 %: offline");
        assert_eq!(told(100, true, None), "ready");
    }
}
