//! What is known of the Tor that is the way out, while no connection comes through it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far the Tor is that is the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum TorStanding {
    /// It is on its way into its network, by its own account.
    Bootstrapping {
        /// How far, in percent.
        percent: u8,
        /// What it does, in its own words.
        phase: String,
        /// What keeps it from that, in its own words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// It was told to use no network, and listens for nobody meanwhile.
    NetworkDisabled {
        /// Where its control port is.
        control: String,
    },
    /// It has reached its network, by its own account.
    Ready,
    /// It answers, and nobody tells how far it is.
    Untold,
}

impl TorStanding {
    /// Says whether nothing else has to be looked for: no server is reached before this changes.
    pub const fn explains_all(&self) -> bool {
        matches!(self, Self::Bootstrapping { .. })
    }

    /// Says whether it is worth telling beside how it went with each server.
    pub const fn adds_to_others(&self) -> bool {
        matches!(self, Self::NetworkDisabled { .. })
    }
}

impl fmt::Display for TorStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrapping {
                percent,
                phase,
                problem,
            } => {
                write!(f, "Tor has not reached its network yet, and is at {percent} %: {phase}")?;
                problem.iter().try_for_each(|problem| write!(f, " ({problem})"))
            }
            Self::NetworkDisabled { control } => write!(
                f,
                "the Tor with its control port at {control} was told to use no network (DisableNetwork), as Tor Browser is \
                 until it connects"
            ),
            Self::Ready => f.write_str("Tor has reached its network, but no server through it yet"),
            Self::Untold => f.write_str(
                "Tor answers, but has built no circuit yet: it may not have reached its network, of which its log tells \
                 (Bootstrapped)",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tor_on_its_way_is_told_with_its_percentage() {
        let standing = |problem: Option<&str>| TorStanding::Bootstrapping {
            percent: 5,
            phase: "Connecting to a relay".to_owned(),
            problem: problem.map(str::to_owned),
        };
        let told = "Tor has not reached its network yet, and is at 5 %: Connecting to a relay";
        assert_eq!(standing(None).to_string(), told);
        assert_eq!(
            standing(Some("Connection refused")).to_string(),
            format!("{told} (Connection refused)")
        );
        let written = serde_json::to_value(standing(None)).unwrap();
        assert_eq!(
            written,
            serde_json::json!({"state": "bootstrapping", "percent": 5, "phase": "Connecting to a relay"})
        );
        assert_eq!(serde_json::from_value::<TorStanding>(written).unwrap(), standing(None));
    }
}
