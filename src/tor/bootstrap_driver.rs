//! Asks the Tor that is the proxy how far it is, for as long as a node gets no connection through it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::auth::ControlLogin;
use super::bootstrap::{self, HOW_FAR, IS_DISABLED};
use super::driver::{ControlAddr, ControlConnection, ControlPlace, ControllerSettings, SessionError};
use crate::backoff::Backoff;
use crate::net::Proxy;
use crate::net::tor_standing::TorStanding;
use crate::node::Handle;

/// How often a Tor is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Who gets no connection for so long wants to know why: over circuits that are there one takes about as long.
const WORTH_ASKING: Duration = Duration::from_secs(2);

/// How long all that is asked of one control port may take: it is on this machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pauses before it is looked again for one that tells: each time its Tor writes that into its log.
const PAUSES: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));

/// Where Debian's Tor has its control port.
const SOCKET: &str = "/run/tor/control";

/// Returns where a Tor may have its control port that nobody named.
pub fn usual_places() -> [ControlAddr; 3] {
    let browser = SocketAddr::from(([127, 0, 0, 1], 9151));
    [
        ControlAddr::Unix(PathBuf::from(SOCKET)),
        ControlAddr::DEFAULT,
        ControlAddr::Tcp(browser),
    ]
}

fn usual_controllers() -> Vec<ControllerSettings> {
    let settings = usual_places().into_iter().map(|address| ControllerSettings {
        address: ControlPlace::At(address),
        login: ControlLogin {
            proves_only: true,
            ..ControlLogin::default()
        },
    });
    settings.collect()
}

/// Says whether what is asked there stays on this machine.
fn is_local(address: &ControlAddr) -> bool {
    match address {
        ControlAddr::Tcp(address) => address.ip().is_loopback(),
        ControlAddr::Unix(_) => true,
    }
}

/// Notes what the Tor says that is the proxy of a node, while the node gets no connection. Its control port is the one that
/// is named, or else is looked for at the usual places; where none tells, it is found out whether a Tor answers at all.
pub async fn watch(node: &Handle, control: Option<ControllerSettings>) -> Infallible {
    let proxies = match node.proxy() {
        Proxy::Socks5(proxies) if !proxies.is_empty() => proxies,
        _ => return std::future::pending().await,
    };
    let places = control.map_or_else(usual_controllers, |named| vec![named]);
    let mut source = None;
    let (mut failures, mut look_at) = (0, Instant::now());
    loop {
        sleep(ASK_EVERY).await;
        if node.without_way_for().is_none_or(|alone| alone < WORTH_ASKING) {
            source = None;
            (failures, look_at) = (0, Instant::now());
            continue;
        }
        let mut standing = None;
        if let Some(known) = &mut source {
            standing = ask(known, &proxies).await;
        }
        if standing.is_some() {
            node.note_tor(standing);
            continue;
        }
        source = None;
        if Instant::now() < look_at {
            continue;
        }
        look_at = Instant::now() + PAUSES.pause(failures);
        failures = failures.saturating_add(1);
        for place in &places {
            let Some(mut found) = open(place).await else { continue };
            standing = ask(&mut found, &proxies).await;
            if standing.is_some() {
                source = Some(found);
                break;
            }
        }
        if standing.is_none() && node.is_behind_tor().await {
            standing = Some(TorStanding::Untold);
        }
        node.note_tor(standing);
    }
}

/// A control port that one is logged in at.
struct Source {
    address: ControlAddr,
    connection: ControlConnection,
}

async fn open(place: &ControllerSettings) -> Option<Source> {
    let address = place.address.find().ok().filter(is_local)?;
    let opening = async {
        let mut connection = ControlConnection::open(&address).await?;
        connection.log_in(&place.login).await?;
        Ok::<_, SessionError>(connection)
    };
    let opened = timeout(PATIENCE, opening).await.ok()?;
    let opened = opened.inspect_err(|error| {
        tracing::debug!("a control port at {address} does not tell how far Tor is: {error}");
    });
    Some(Source {
        address: address.clone(),
        connection: opened.ok()?,
    })
}

async fn ask(source: &mut Source, proxies: &[SocketAddr]) -> Option<TorStanding> {
    let connection = &mut source.connection;
    let asking = async {
        let how_far = connection.command(HOW_FAR).await?;
        let is_disabled = connection.command(IS_DISABLED).await?;
        Ok::<_, SessionError>((how_far, is_disabled))
    };
    let (how_far, is_disabled) = timeout(PATIENCE, asking).await.ok()?.ok()?;
    bootstrap::standing(&how_far, &is_disabled, proxies, &source.address)
}
