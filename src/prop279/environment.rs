//! The environment variables that a plugin is started with. Source: Proposal 279, section 2.7.

use std::path::PathBuf;

use super::line::VERSION;

/// Names the variable with the protocol versions that the caller speaks, separated by commas.
pub const VERSIONS: &str = "TOR_NS_PROTO_VERSION";

/// Names the variable with the only folder in which a plugin may write.
pub const STATE: &str = "TOR_NS_STATE_LOCATION";

/// Names the variable with options: `key=value` pairs separated by semicolons.
pub const OPTIONS: &str = "TOR_NS_PLUGIN_OPTIONS";

/// The option by which results are onion services alone. Source: ncprop279.
const ONION_ONLY: &str = "onlyonion";

/// What the variables say. Where all of them are missing, somebody runs the plugin by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginEnvironment {
    /// The only folder in which a plugin may write. It need not exist yet.
    pub state: Option<PathBuf>,
    /// Whether results are onion services alone; `None` where nothing is said of that.
    pub onion_only: Option<bool>,
}

/// Why a plugin cannot run with these variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// The caller speaks none of our versions.
    #[error("no common protocol version")]
    Version,
    /// The folder is the empty path.
    #[error("the state location is empty")]
    State,
    /// Something in the options is no `key=value` pair, or has an unknown escape.
    #[error("the plugin options are malformed")]
    Malformed,
    /// An option has an unknown key.
    #[error("there is an unknown plugin option")]
    Unknown,
    /// An option is given twice.
    #[error("a plugin option is repeated")]
    Repeated,
    /// An option has a value that is not one of its own.
    #[error("a plugin option has an unknown value")]
    Value,
}

impl PluginEnvironment {
    /// Reads the values of [`VERSIONS`], [`STATE`] and [`OPTIONS`], as far as they are set.
    pub fn parse(versions: Option<&str>, state: Option<&str>, options: Option<&str>) -> Result<Self, EnvironmentError> {
        // Later versions need not be numbers.
        if versions.is_some_and(|versions| versions.split(',').all(|version| version.trim() != VERSION)) {
            return Err(EnvironmentError::Version);
        }
        if state == Some("") {
            return Err(EnvironmentError::State);
        }
        let mut environment = Self {
            state: state.map(PathBuf::from),
            onion_only: None,
        };
        for (key, value) in pairs(options.unwrap_or_default())? {
            if key != ONION_ONLY {
                return Err(EnvironmentError::Unknown);
            }
            let value = match &*value {
                "1" | "true" => true,
                "0" | "false" => false,
                _ => return Err(EnvironmentError::Value),
            };
            if environment.onion_only.replace(value).is_some() {
                return Err(EnvironmentError::Repeated);
            }
        }
        Ok(environment)
    }
}

/// Splits `key=value;key=value`, in which a backslash stands before every colon, semicolon, equals sign and backslash of
/// a key or value.
fn pairs(text: &str) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut pairs = Vec::new();
    if text.is_empty() {
        return Ok(pairs);
    }
    let (mut key, mut word) = (None, String::new());
    let mut chars = text.chars();
    loop {
        match chars.next() {
            Some('\\') => match chars.next() {
                Some(c @ (':' | ';' | '=' | '\\')) => word.push(c),
                _ => return Err(EnvironmentError::Malformed),
            },
            Some('=') if key.is_none() && !word.is_empty() => key = Some(std::mem::take(&mut word)),
            Some('=' | ':') => return Err(EnvironmentError::Malformed),
            end @ (Some(';') | None) => {
                let key = key.take().ok_or(EnvironmentError::Malformed)?;
                pairs.push((key, std::mem::take(&mut word)));
                if end.is_none() {
                    return Ok(pairs);
                }
            }
            Some(c) => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(text: &str) -> Result<Option<bool>, EnvironmentError> {
        PluginEnvironment::parse(Some(VERSION), None, Some(text)).map(|environment| environment.onion_only)
    }

    #[test]
    fn a_plugin_runs_by_hand() {
        assert_eq!(
            PluginEnvironment::parse(None, None, None),
            Ok(PluginEnvironment::default())
        );
    }

    #[test]
    fn one_version_must_be_common() {
        for versions in ["1", "1,2", "2,1", "x-future,1", "2, 1 ,,"] {
            assert!(
                PluginEnvironment::parse(Some(versions), None, None).is_ok(),
                "{versions}"
            );
        }
        for versions in ["", "2", "11", "1.0", "x", ",", "-1", "01"] {
            let parsed = PluginEnvironment::parse(Some(versions), None, None);
            assert_eq!(parsed, Err(EnvironmentError::Version), "{versions}");
        }
    }

    #[test]
    fn the_state_location_is_a_path() {
        let environment = PluginEnvironment::parse(Some("1"), Some("/var/lib/tor/ns_state"), Some("")).unwrap();
        assert_eq!(environment.state, Some(PathBuf::from("/var/lib/tor/ns_state")));
        assert_eq!(
            PluginEnvironment::parse(Some("1"), Some(""), None),
            Err(EnvironmentError::State)
        );
    }

    #[test]
    fn options_are_read() {
        for (text, expected) in [
            ("", None),
            ("onlyonion=1", Some(true)),
            ("onlyonion=true", Some(true)),
            ("onlyonion=0", Some(false)),
            ("onlyonion=false", Some(false)),
        ] {
            assert_eq!(options(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn options_that_nobody_knows_are_errors() {
        use EnvironmentError::{Malformed, Repeated, Unknown, Value};
        for (text, error) in [
            (";", Malformed),
            ("=", Malformed),
            ("=1", Malformed),
            ("onlyonion", Malformed),
            ("onlyonion=1;", Malformed),
            (";onlyonion=1", Malformed),
            ("onlyonion=1=1", Malformed),
            ("onlyonion:x=1", Malformed),
            ("onlyonion=\\1", Malformed),
            ("onlyonion=1\\", Malformed),
            ("x=1", Unknown),
            ("OnlyOnion=1", Unknown),
            ("only\\;onion=1", Unknown),
            ("onlyonion=", Value),
            ("onlyonion=yes", Value),
            ("onlyonion=1\\;", Value),
            ("onlyonion=1;onlyonion=1", Repeated),
        ] {
            assert_eq!(options(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pairs_round_trip(pairs in proptest::collection::vec((".{1,8}", ".{0,8}"), 0..4)) {
            let escape = |text: &str| {
                let escaped = text.chars().map(|c| match c {
                    ':' | ';' | '=' | '\\' => format!("\\{c}"),
                    c => c.to_string(),
                });
                escaped.collect::<String>()
            };
            let text: Vec<_> = pairs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
            prop_assert_eq!(super::pairs(&text.join(";")), Ok(pairs));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\\\:;=a1]{0,20}") {
            let _ = options(&text);
        }
    }
}
