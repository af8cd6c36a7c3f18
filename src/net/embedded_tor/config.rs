//! What the Tor within the program is told.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use arti_client::TorClientConfig;
use arti_client::config::{CfgPath, TorClientConfigBuilder};

use super::error::EmbeddedTorError;

/// Most bytes of memory that queues of cells may take before streams are ended. Tor's own default is a share of the
/// machine's memory: far more than the lookups of one user need.
const MAX_MEMORY: usize = 256 << 20;

/// What to make a Tor within the program from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedTorSettings {
    /// Where it keeps its guards and what it knows of the network, below folders that nobody else can write to. One process
    /// at a time has it.
    pub folder: PathBuf,
    /// A file with settings of Arti's own, in TOML.
    pub config: Option<PathBuf>,
}

impl EmbeddedTorSettings {
    /// Reads the file, if any, and joins it with what is ours to say.
    pub(super) fn load(&self) -> Result<TorClientConfig, EmbeddedTorError> {
        let mut builder = match &self.config {
            Some(path) => read(path)?,
            None => with_defaults(),
        };
        // Whatever a file says: guards are chosen once, and kept where the user keeps all that is ours.
        builder
            .storage()
            .state_dir(CfgPath::new_literal(self.folder.join("state")))
            .cache_dir(CfgPath::new_literal(self.folder.join("cache")));
        builder.build().map_err(|error| match &self.config {
            Some(path) => EmbeddedTorError::Config {
                path: path.clone(),
                reason: error.to_string(),
            },
            None => EmbeddedTorError::Failed {
                reason: error.to_string(),
            },
        })
    }
}

/// Returns settings with defaults of ours, which a file may change.
fn with_defaults() -> TorClientConfigBuilder {
    let mut builder = TorClientConfigBuilder::default();
    builder.system().memory().max(MAX_MEMORY);
    builder
}

fn read(path: &Path) -> Result<TorClientConfigBuilder, EmbeddedTorError> {
    let refused = |reason: String| EmbeddedTorError::Config {
        path: path.to_owned(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| refused(error.to_string()))?;
    // A bridge that is misspelt must not become a Tor without bridges.
    let mut unknown = BTreeSet::new();
    let builder = serde_ignored::deserialize(table, |key| {
        unknown.insert(key.to_string());
    });
    let builder = builder.map_err(|error: toml::de::Error| refused(error.to_string()))?;
    match unknown.first() {
        Some(key) => Err(refused(format!("it knows no setting `{key}`"))),
        None => Ok(builder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<TorClientConfig, EmbeddedTorError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tor.toml");
        fs::write(&path, text).unwrap();
        let settings = EmbeddedTorSettings {
            folder: folder.path().join("tor"),
            config: Some(path),
        };
        settings.load()
    }

    #[test]
    fn settings_of_arti_are_taken_and_no_others() {
        load("").unwrap();
        load("[path_rules]\nipv4_subnet_family_prefix = 33\n").unwrap();
        for (text, words) in [
            ("[path_rules]\nipv4_subnet_family_prefiks = 33\n", "prefiks"),
            ("[bridge]\nenabled = true\n", "`bridge`"),
            ("[path_rules]\nipv4_subnet_family_prefix = true\n", "u8"),
            ("[path_rules\n", "line 1"),
            (
                "[path_rules]\nlong_lived_ports = [0]\n[storage]\nstate_dir = 1\n",
                "state_dir",
            ),
        ] {
            let error = load(text).unwrap_err();
            assert!(matches!(error, EmbeddedTorError::Config { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn its_folder_is_ours_whatever_a_file_says() {
        let config =
            load("[storage]\nstate_dir = \"/nonexistent/state\"\ncache_dir = \"/nonexistent/cache\"\n").unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("/nonexistent"), "{shown}");
    }
}
