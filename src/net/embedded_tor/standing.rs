//! How far the Tor within the program is, as a plain value.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

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
