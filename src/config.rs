//! Resolved settings as values, and the only home of defaults.
//!
//! Precedence: command line, environment (`ISONYM_*`), configuration file, default. The first two are one to this
//! file: the argument parser joins them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use isonym::chain::{Anchor, Network};
use isonym::name::Encoding;
use isonym::net::{Proxy, ServerAddr, servers};

/// Largest configuration file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Name of the configuration file in the user's configuration folder.
const FILE_NAME: &str = "isonym.toml";

/// What the user said, on the command line, in the environment or in the file: `None` where silent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Wishes {
    pub(crate) network: Option<String>,
    pub(crate) datadir: Option<PathBuf>,
    pub(crate) anchor: Option<String>,
    #[serde(default)]
    pub(crate) server: Vec<String>,
    pub(crate) proxy: Option<String>,
    pub(crate) direct: Option<bool>,
    pub(crate) name_encoding: Option<String>,
    pub(crate) value_encoding: Option<String>,
    pub(crate) quorum: Option<u8>,
}

impl Wishes {
    /// Reads a configuration file: the one named, else the user's own where there is one.
    fn from_file(path: Option<&Path>) -> Result<Self> {
        let own = dirs::config_dir().map(|folder| folder.join("isonym").join(FILE_NAME));
        let path = match (path, own) {
            (Some(path), _) => path.to_owned(),
            (None, Some(own)) if own.exists() => own,
            (None, _) => return Ok(Self::default()),
        };
        let context = || format!("cannot read the configuration file {}", path.display());
        let mut text = String::new();
        let file = File::open(&path).with_context(context)?;
        // Not by its stated size: a device has none, and no end either.
        file.take(MAX_FILE_SIZE + 1)
            .read_to_string(&mut text)
            .with_context(context)?;
        ensure!(
            text.len() as u64 <= MAX_FILE_SIZE,
            "{} is no configuration file: it has more than {MAX_FILE_SIZE} bytes",
            path.display()
        );
        toml::from_str(&text).with_context(|| format!("in the configuration file {}", path.display()))
    }

    /// Fills what is silent here with what `other` says. Proxy and direct mode are one choice: whoever is heard
    /// first on either decides both.
    fn or(self, other: Self) -> Self {
        let (proxy, direct) = match (self.proxy, self.direct) {
            (None, None) => (other.proxy, other.direct),
            (None, Some(false)) => (other.proxy, Some(false)),
            said => said,
        };
        Self {
            network: self.network.or(other.network),
            datadir: self.datadir.or(other.datadir),
            anchor: self.anchor.or(other.anchor),
            server: if self.server.is_empty() {
                other.server
            } else {
                self.server
            },
            proxy,
            direct,
            name_encoding: self.name_encoding.or(other.name_encoding),
            value_encoding: self.value_encoding.or(other.value_encoding),
            quorum: self.quorum.or(other.quorum),
        }
    }
}

/// Everything the program needs to know before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) network: Network,
    /// The network's own folder in the data folder.
    pub(crate) folder: PathBuf,
    pub(crate) anchor: Anchor,
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) proxy: Proxy,
    pub(crate) name_encoding: Encoding,
    pub(crate) value_encoding: Encoding,
    pub(crate) quorum: u8,
}

impl Settings {
    /// Joins what the user said with the configuration file and the defaults.
    pub(crate) fn resolve(wishes: Wishes, file: Option<&Path>) -> Result<Self> {
        let wishes = wishes.or(Wishes::from_file(file)?);
        let network: Network = wishes.network.as_deref().map_or(Ok(Network::default()), str::parse)?;
        let own = || dirs::data_dir().map(|folder| folder.join("isonym"));
        let Some(datadir) = wishes.datadir.or_else(own) else {
            bail!("no home folder is known to keep headers in; name one with --datadir DIR");
        };
        let anchor = match wishes.anchor {
            Some(text) => text.parse().with_context(|| format!("--anchor {text}"))?,
            None => Anchor::shipped(network)?,
        };
        let named = wishes
            .server
            .iter()
            .map(|text| text.parse().with_context(|| format!("--server {text}")))
            .collect::<Result<Vec<ServerAddr>>>()?;
        let servers = if named.is_empty() {
            servers::servers(network)
        } else {
            named
        };
        let proxy = match (wishes.direct, wishes.proxy) {
            (Some(true), Some(_)) => bail!("--direct and --proxy exclude each other; give one of them"),
            (Some(true), None) => Proxy::Direct,
            (_, Some(text)) => text.parse().with_context(|| format!("--proxy {text}"))?,
            (_, None) => Proxy::tor(),
        };
        let encoding = |word: Option<String>, option: &str| -> Result<Encoding> {
            word.map_or(Ok(Encoding::default()), |word| {
                word.parse().with_context(|| format!("--{option} {word}"))
            })
        };
        let quorum = wishes.quorum.unwrap_or(1);
        ensure!(
            (1..=8).contains(&quorum),
            "--quorum {quorum}: give a number from 1 to 8"
        );
        Ok(Self {
            network,
            folder: datadir.join(network.as_str()),
            anchor,
            servers,
            proxy,
            name_encoding: encoding(wishes.name_encoding, "name-encoding")?,
            value_encoding: encoding(wishes.value_encoding, "value-encoding")?,
            quorum,
        })
    }
}
