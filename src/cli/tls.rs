//! Sites of `.bit`: what they show against what their names publish, and keyless pins made of that.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::time::Instant;

use isonym::dane::chain::Chain;
use isonym::dane::judgement::Authenticated;
use isonym::dane::keyless_pin::{self, PinError};
use isonym::dane::throwaway;
use isonym::dns::resolver::{Anonymous, Resolver, Settings as ResolverSettings};
use isonym::dns::sign::Signers;
use isonym::jsonrpc::{Client, ClientError, code};
use isonym::naming::site::{self, HTTPS, PublishedSite, Site, Unjudged, Verdict};
use isonym::net::{Dialer, Proxy};
use isonym::service::{Caller, NameResult, NameService, ServiceError};
use isonym::time::Timestamp;

use super::args::{TlsCommand, TlsSite};
use super::daemon::CALL_TIMEOUT;
use super::dns::{remote, service_for};
use super::session::{FolderTor, Session, folder_tor, with_beside};
use super::show::{ABSENT, follow, now, print, print_json};
use super::way_out::way_out;
use super::{eprint_line, typed};
use crate::config::Settings;

/// Runs a command that is about a site.
pub(super) async fn run(settings: &Settings, command: &TlsCommand, quiet: bool) -> Result<ExitCode> {
    let site = read(settings, command.site())?;
    let (published, way_out) = looked_up(settings, &site, quiet).await?;
    match command {
        TlsCommand::Verify(args) => verify(settings, &site, &published, way_out, args.json).await,
        TlsCommand::Pin { leaf, .. } => pin(settings, &site, &published, way_out, *leaf, quiet).await,
    }
}

/// Reads the site that the user names.
fn read(settings: &Settings, typed: &TlsSite) -> Result<Site> {
    let given = typed::given(&typed.host)?;
    let (host, port) = match given.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok().filter(|port| *port != 0);
            (
                host,
                port.with_context(|| format!("`{given}` has no port from 1 to 65535"))?,
            )
        }
        _ => (given.as_str(), HTTPS),
    };
    let zones = &settings.dns.engine.zones;
    let domain = typed::domain(host, zones)?;
    Site::of(&domain, port, zones).with_context(|| format!("`{host}` is no host below .bit"))
}

/// What a name says of a site, or why it has no value.
type Published = Result<PublishedSite, String>;

/// Looks up what a name says of a site, where values come from for this command. Returns the way to the site as well.
async fn looked_up(settings: &Settings, site: &Site, quiet: bool) -> Result<(Published, Proxy)> {
    if let Some(backend) = &settings.backend {
        let names = service_for(settings, backend)?;
        let first = own_value(&names, settings, site).await;
        let way_out = way_out(settings).await?;
        return Ok((published(&names, settings, site, first, &way_out).await?, way_out));
    }
    match Session::open(settings, quiet).await? {
        Session::Daemon(client) => {
            let way_out = way_beside(&client, settings).await?;
            let mut names = remote(settings, (*client).clone());
            let mut first = own_value(&names, settings, site).await;
            if is_warmup(&first) {
                follow(&client, quiet).await?;
                // By another service, which remembers nothing of the failure.
                names = remote(settings, *client);
                first = own_value(&names, settings, site).await;
            }
            Ok((published(&names, settings, site, first, &way_out).await?, way_out))
        }
        Session::Own(node) => {
            let way_out = way_out(settings).await?;
            let published = with_beside(*node, settings, quiet, async |daemon| {
                let names = daemon.names.for_caller(Caller::Program, settings.dns.limits.caller);
                // It waits for the headers.
                let first = own_value(&names, settings, site).await;
                published(&names, settings, site, first, &way_out).await
            });
            Ok((published.await?, way_out))
        }
    }
}

/// Returns the way to a site beside a daemon. There is one embedded Tor in a data folder: where that is the daemon's, the way is
/// where it listens for applications.
async fn way_beside(client: &Client, settings: &Settings) -> Result<Proxy> {
    let own = way_out(settings).await?;
    if matches!(own, Proxy::Direct | Proxy::Socks5(_)) {
        return Ok(own);
    }
    let FolderTor::Daemons(front) = folder_tor(client).await? else {
        return Ok(own);
    };
    let front = front.with_context(|| {
        let folder = settings.folder.display();
        format!(
            "no site can be reached: the Tor in {folder} is that of the daemon, which does not listen for applications; \
             start it with --socks-listen 127.0.0.1:9052, or check the site from its page (--web-listen)"
        )
    })?;
    Ok(Proxy::Socks5(vec![front]))
}

/// Says whether a daemon has no headers yet.
fn is_warmup(result: &NameResult) -> bool {
    matches!(
        result,
        Err(ServiceError::Client(ClientError::Rpc(error))) if [code::WARMUP, code::INITIAL_DOWNLOAD].contains(&error.code)
    )
}

async fn own_value(names: &NameService, settings: &Settings, site: &Site) -> NameResult {
    site::value_of(names, &settings.isolation_id, &site.name).await
}

/// Returns what a name says of a site, with all further lookups that this takes, under the same identity.
async fn published(
    names: &NameService,
    settings: &Settings,
    site: &Site,
    first: NameResult,
    way_out: &Proxy,
) -> Result<Published> {
    let answer = first?;
    if let Some(absence) = site::absence(&answer, site) {
        return Ok(Err(absence));
    }
    let limits = settings.dns.limits;
    let resolver = Resolver::new(
        names.for_caller(Caller::Program, limits.caller),
        ResolverSettings {
            engine: settings.dns.engine.clone(),
            signers: Signers::new(Vec::new()),
            limits,
            anonymous: Anonymous::Together,
        },
    );
    let deadline = Instant::now() + CALL_TIMEOUT;
    let published = site::published(names, &resolver, &settings.isolation_id, site, way_out, deadline).await?;
    Ok(Ok(published))
}

/// Connects to a site and judges it. Where there is nothing to judge it by, says why; it is not connected to then.
async fn judged(site: &Site, published: &Published, way_out: Proxy) -> Result<Result<Verdict, String>> {
    let published = match published {
        Ok(published) => published,
        Err(absence) => return Ok(Err(absence.clone())),
    };
    let dialer = Dialer::new(way_out)?;
    match site::judged(&dialer, site, published, now()).await {
        Ok(verdict) => Ok(Ok(verdict)),
        Err(absence) if absence.is_absence() => Ok(Err(absence.to_string())),
        // What helps depends on what went wrong below.
        Err(Unjudged::Site(error)) => Err(unauthenticated(site, error)),
        Err(failure) => Err(anyhow::Error::new(failure).context(format!("{site} cannot be verified"))),
    }
}

fn unauthenticated(site: &Site, error: impl Into<anyhow::Error>) -> anyhow::Error {
    error.into().context(format!("{site} is not authenticated"))
}

async fn verify(
    settings: &Settings,
    site: &Site,
    published: &Published,
    way_out: Proxy,
    as_json: bool,
) -> Result<ExitCode> {
    let is_proved = settings.backend.is_none();
    let (status, reason, record) = match judged(site, published, way_out).await? {
        Err(nothing) => (ExitCode::from(ABSENT), nothing, None),
        Ok(verdict) => match verdict.authenticated {
            Ok(authenticated) => (
                ExitCode::SUCCESS,
                authenticated.reason(),
                Some(authenticated.association.to_string()),
            ),
            Err(refusal) if as_json => (ExitCode::FAILURE, refusal.to_string(), None),
            Err(refusal) => return Err(unauthenticated(site, refusal)),
        },
    };
    if as_json {
        print_json(&json!({
            "host": site.host,
            "port": site.port,
            "authenticated": record.is_some(),
            "tlsa": record,
            "reason": reason,
            "proved": is_proved,
        }))?;
    } else if record.is_some() {
        let word = if is_proved {
            ""
        } else {
            "; what the name publishes is the word of the server at --rpc-url, and not proved"
        };
        print(&format!("{site} is authenticated: {reason}{word}"))?;
    } else {
        eprint_line(format_args!("{site} cannot be verified: {reason}"));
    }
    Ok(status)
}

async fn pin(
    settings: &Settings,
    site: &Site,
    published: &Published,
    way_out: Proxy,
    takes_leaf: bool,
    quiet: bool,
) -> Result<ExitCode> {
    let expires_in = published.as_ref().ok().and_then(|published| published.expires_in);
    let verdict = match judged(site, published, way_out).await? {
        Ok(verdict) => verdict,
        Err(nothing) => {
            eprint_line(format_args!("{site} cannot be pinned: {nothing}"));
            return Ok(ExitCode::from(ABSENT));
        }
    };
    let authenticated = verdict.authenticated;
    let authenticated = authenticated.map_err(|refusal| unauthenticated(site, refusal))?;
    let made = make_pin(site, &verdict.chain, &authenticated, expires_in, takes_leaf);
    let (der, end) = made.with_context(|| format!("{site} cannot be pinned"))?;
    print(&keyless_pin::pem(&der))?;
    if !quiet {
        explain(settings, site, end, verdict.chain.leaf().key());
    }
    Ok(ExitCode::SUCCESS)
}

/// Until when a pin is good.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It says so itself.
    Written(Timestamp),
    /// It is the site's own certificate, and should be taken away then.
    Advised(Timestamp),
}

fn make_pin(
    site: &Site,
    chain: &Chain,
    authenticated: &Authenticated,
    expires_in: Option<i64>,
    takes_leaf: bool,
) -> Result<(Vec<u8>, End), PinError> {
    let now = now();
    let not_after = keyless_pin::not_after(now, expires_in)?;
    let authority = match keyless_pin::authority(authenticated, chain) {
        Err(PinError::LeafOnly | PinError::SelfSigned) if takes_leaf => {
            keyless_pin::check_leaf(chain.leaf(), &site.host)?;
            return Ok((chain.leaf().der().to_vec(), End::Advised(not_after)));
        }
        authority => authority?,
    };
    let der = throwaway::pin(authority, &site.host, now, not_after)?;
    keyless_pin::check(&der, chain, &site.host, now)?;
    Ok((der, End::Written(not_after)))
}

/// Says how a pin is used, and done away with.
fn explain(settings: &Settings, site: &Site, end: End, key: &[u8]) {
    let Site { host, port, .. } = site;
    let (trust, life) = match end {
        End::Written(end) => (
            "C,,",
            format!("good until {end}, for {host} and names below it; nobody has the key that signed it"),
        ),
        End::Advised(end) => (
            "P,,",
            format!(
                "the site's own certificate, which no date of ours ends: take it away by {end}. Firefox does not take it"
            ),
        ),
    };
    let at = if *port == HTTPS {
        String::new()
    } else {
        format!(":{port}")
    };
    let store = chromium_store();
    let store = store.display();
    let file = format!("{host}.pem");
    let nick = format!("isonym-{host}");
    let firefox = match end {
        End::Written(_) => format!(
            "\
Firefox, while it is closed (its profile's folder is in about:profiles):
  certutil -A -d sql:PROFILE -t {trust} -n {nick} -i {file}
  certutil -D -d sql:PROFILE -n {nick}
"
        ),
        End::Advised(_) => String::new(),
    };
    let proved = if settings.backend.is_none() {
        ""
    } else {
        "What the name publishes is the word of the server at --rpc-url, and not proved.\n"
    };
    let kind = if keyless_pin::is_for_curl_alone(key) {
        "The site's key is Ed25519, which curl takes, but neither Chromium nor Firefox.\n"
    } else {
        ""
    };
    eprint_line(format_args!(
        "\
{life}.
{proved}{kind}As {file} it is used, and where that is kept somewhere, taken away again, by:
curl:
  curl --cacert {file} https://{host}{at}/
Chromium (certutil is in Debian's libnss3-tools; where there is no store yet: mkdir -p {store} && certutil -N --empty-password -d sql:{store}):
  certutil -A -d sql:{store} -t {trust} -n {nick} -i {file}
  certutil -D -d sql:{store} -n {nick}
{firefox}Not for Tor Browser: it tells you apart from its other users, and stays on the disk."
    ));
}

/// Returns the folder of Chromium's store: the old one, where there is one. Source: Chromium, `net/cert/nss_cert_database`.
fn chromium_store() -> PathBuf {
    let home = dirs::home_dir().unwrap_or_default();
    let old = home.join(".pki/nssdb");
    if old.is_dir() {
        return old;
    }
    home.join(".local/share/pki/nssdb")
}
