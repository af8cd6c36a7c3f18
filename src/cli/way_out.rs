//! Which way out there is: what the user named, or what there is on this machine. It is decided once, and never again while
//! the program runs: a Tor that comes or goes later changes nothing.

use anyhow::{Result, ensure};

use isonym::net::Proxy;
#[cfg(feature = "embedded-tor")]
use isonym::net::{EmbeddedTor, EmbeddedTorSettings, dialer, proxy};

#[cfg(feature = "embedded-tor")]
use super::eprint_line;
use crate::config::Settings;
use crate::options::{NO_EMBEDDED_TOR, ProxyChoice};

/// Below the data folder: what the embedded Tor keeps.
#[cfg(feature = "embedded-tor")]
const TOR_FOLDER: &str = "tor";

/// Decides for the way out, unless that was done.
pub(super) async fn way_out(settings: &Settings) -> Result<Proxy> {
    if let Some(decided) = settings.way_out.get() {
        return Ok(decided.clone());
    }
    let proxy = decide(settings).await?;
    Ok(settings.way_out.get_or_init(|| proxy).clone())
}

#[cfg_attr(
    not(feature = "embedded-tor"),
    expect(clippy::unused_async, reason = "where a Tor is to be found it waits")
)]
async fn decide(settings: &Settings) -> Result<Proxy> {
    match &settings.proxy {
        #[cfg(feature = "embedded-tor")]
        ProxyChoice::Auto => match dialer::find_tor(&proxy::TOR).await {
            Some(found) => Ok(Proxy::Socks5(vec![found])),
            None => embedded(settings),
        },
        #[cfg(feature = "embedded-tor")]
        ProxyChoice::Embedded => embedded(settings),
        ProxyChoice::Named(proxy) => {
            let is_of_use = settings.tor_config.is_none();
            ensure!(
                is_of_use || cfg!(feature = "embedded-tor"),
                "--tor-config: {NO_EMBEDDED_TOR}"
            );
            ensure!(
                is_of_use,
                "--tor-config is for the embedded Tor, and {proxy} is used: give --proxy embedded"
            );
            Ok(proxy.clone())
        }
    }
}

#[cfg(feature = "embedded-tor")]
fn embedded(settings: &Settings) -> Result<Proxy> {
    let tor = EmbeddedTor::new(&EmbeddedTorSettings {
        folder: settings.folder.join(TOR_FOLDER),
        config: settings.tor_config.clone(),
    })?;
    Ok(Proxy::Embedded(tor))
}

/// Says which way out was found, where the user left that open; once.
#[cfg(feature = "embedded-tor")]
pub(super) fn tell(settings: &Settings, quiet: bool) {
    let Some(found) = settings
        .way_out
        .get()
        .filter(|_| settings.proxy == ProxyChoice::Auto && !quiet)
    else {
        return;
    };
    match found {
        Proxy::Embedded(_) => eprint_line(format_args!(
            "no Tor answers at 127.0.0.1, port 9050 or 9150: the embedded one is used"
        )),
        found => eprint_line(format_args!("a Tor answers: {found} is used")),
    }
}

/// Says nothing: where there is no embedded Tor, nothing is left open.
#[cfg(not(feature = "embedded-tor"))]
pub(super) fn tell(_: &Settings, _: bool) {}
