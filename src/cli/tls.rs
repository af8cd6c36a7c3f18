//! Sites of `.bit`: what they show against what their names publish, and keyless pins made of that.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::Instant;

use isonym::dane::chain::Chain;
use isonym::dane::judgement::{self, Authenticated, Refusal};
use isonym::dane::keyless_pin::{self, PinError};
use isonym::dane::site::{self, SiteLimits};
use isonym::dane::throwaway;
use isonym::dns::engine::Found;
use isonym::dns::resolver::{Anonymous, NameSource, Resolver, Settings as ResolverSettings};
use isonym::dns::sign::Signers;
use isonym::dns::zone;
use isonym::jsonrpc::{ClientError, code};
use isonym::name::NameId;
use isonym::name::encoding::quoted;
use isonym::naming::name::{folded, is_host_name};
use isonym::naming::search::{PublishedKeys, TargetQuery, keys, search};
use isonym::naming::target::{Failure, Target, TargetKind};
use isonym::net::{Dialer, Host, Proxy};
use isonym::rpc::explanation;
use isonym::service::{Answer, Caller, NameResult, NameService, Question, ServiceError};
use isonym::time::Timestamp;

use super::args::{TlsCommand, TlsSite};
use super::daemon::CALL_TIMEOUT;
use super::dns::{remote, service_for};
use super::session::{Session, with_beside};
use super::show::{ABSENT, follow, now, print, print_json};
use super::way_out::way_out;
use super::{eprint_line, typed};
use crate::config::Settings;

/// The port of HTTPS.
const HTTPS: u16 = 443;

/// Runs a command that is about a site.
pub(super) async fn run(settings: &Settings, command: &TlsCommand, quiet: bool) -> Result<ExitCode> {
    let site = Site::of(settings, command.site())?;
    let Some(published) = looked_up(settings, &site, quiet).await? else {
        return Ok(ExitCode::from(ABSENT));
    };
    match command {
        TlsCommand::Verify(args) => verify(settings, &site, published, args.json).await,
        TlsCommand::Pin { leaf, .. } => pin(settings, &site, published, *leaf, quiet).await,
    }
}

/// A site that the user names.
struct Site {
    /// In lower case, without a final dot.
    host: String,
    port: u16,
    /// The name whose value has it.
    name: NameId,
}

impl Site {
    fn of(settings: &Settings, typed: &TlsSite) -> Result<Self> {
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
        let domain = typed::domain(host, zones)?.to_lowercase();
        let host = folded(&domain.to_ascii());
        let name = zones
            .find(&domain)
            .and_then(|place| zone::name_id(place.below().next()?));
        match name.filter(|_| is_host_name(&host)) {
            Some(name) => Ok(Self { host, port, name }),
            None => bail!("`{host}` is no host below .bit"),
        }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a name says of a site.
struct Published {
    keys: Result<PublishedKeys, Failure>,
    target: Result<Target, Failure>,
    /// In how many blocks the first of the names expires whose values said so; `None` where that is not known of each.
    expires_in: Option<i64>,
}

/// Looks up what a name says of a site, where values come from for this command. Says so where it has no value.
async fn looked_up(settings: &Settings, site: &Site, quiet: bool) -> Result<Option<Published>> {
    if let Some(backend) = &settings.backend {
        let names = service_for(settings, backend)?;
        let first = own_value(&names, settings, site).await;
        return published(&names, settings, site, first).await;
    }
    match Session::open(settings, quiet).await? {
        Session::Daemon(client) => {
            let mut names = remote(settings, (*client).clone());
            let mut first = own_value(&names, settings, site).await;
            if is_warmup(&first) {
                follow(&client, quiet).await?;
                // By another service, which remembers nothing of the failure.
                names = remote(settings, *client);
                first = own_value(&names, settings, site).await;
            }
            published(&names, settings, site, first).await
        }
        Session::Own(node) => {
            with_beside(*node, settings, quiet, async |daemon| {
                let names = daemon.names.for_caller(Caller::Program, settings.dns.limits.caller);
                // It waits for the headers.
                let first = own_value(&names, settings, site).await;
                published(&names, settings, site, first).await
            })
            .await
        }
    }
}

/// Says whether a daemon has no headers yet.
fn is_warmup(result: &NameResult) -> bool {
    matches!(
        result,
        Err(ServiceError::Client(ClientError::Rpc(error))) if [code::WARMUP, code::INITIAL_DOWNLOAD].contains(&error.code)
    )
}

async fn own_value(names: &NameService, settings: &Settings, site: &Site) -> NameResult {
    value_of(names, settings, &site.name).await
}

async fn value_of(names: &NameService, settings: &Settings, name: &NameId) -> NameResult {
    let question = Question {
        name: name.clone(),
        isolation_id: Some(settings.isolation_id.clone()),
        allow_expired: false,
        quorum: None,
        max_age: None,
    };
    names.name_show(&question).await
}

/// Returns what a name says of a site, with all further lookups that this takes, under the same identity.
async fn published(
    names: &NameService,
    settings: &Settings,
    site: &Site,
    first: NameResult,
) -> Result<Option<Published>> {
    let answer = first?;
    if answer.value().is_none() {
        let absence = match &answer {
            Answer::Proved(proved) => explanation(&proved.outcome, &site.name),
            Answer::Stated(_) => format!("the name has no value: {}", quoted(site.name.as_bytes())),
        };
        eprint_line(format_args!("{site} cannot be verified: {absence}"));
        return Ok(None);
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
    let who = names.identity(Some(&settings.isolation_id));
    let deadline = Instant::now() + CALL_TIMEOUT;
    let engine = resolver.engine();
    let used = RefCell::new(BTreeSet::from([site.name.clone()]));
    let step = |known: NameSource<'_>| keys(&engine, &site.host, site.port, &mut noting(&used, known));
    let keys = resolver.settle(&who, deadline, step).await;
    let query = TargetQuery {
        name: &site.host,
        target_kind: if way_out(settings).await? == Proxy::Direct {
            TargetKind::Address
        } else {
            TargetKind::Any
        },
        choice: who.choice(),
    };
    let target = resolver
        .settle(&who, deadline, |known| search(&engine, &query, known))
        .await;
    let mut expires_in = Some(i64::MAX);
    for name in used.into_inner() {
        // They are remembered: nobody is asked again.
        let answer = value_of(names, settings, &name).await?;
        if answer.value().is_some() {
            expires_in = expires_in.min(answer.expires_in());
        }
    }
    Ok(Some(Published {
        keys,
        target,
        expires_in,
    }))
}

/// Notes the names that decide, as they are asked for.
fn noting<'a>(
    used: &'a RefCell<BTreeSet<NameId>>,
    known: NameSource<'a>,
) -> impl FnMut(&NameId, &hickory_proto::rr::Name) -> Found + 'a {
    |name, apex| {
        let found = known(name, apex);
        let mut used = used.borrow_mut();
        used.insert(name.clone());
        if let Found::Needs(names) = &found {
            used.extend(names.iter().cloned());
        }
        found
    }
}

/// What came of holding what a site shows against what its name publishes.
struct Verdict {
    chain: Chain,
    authenticated: Result<Authenticated, Refusal>,
}

/// Connects to a site and judges it. Where there is nothing to judge it by, says why; it is not connected to then.
async fn judged(settings: &Settings, site: &Site, published: &Published) -> Result<Result<Verdict, String>> {
    let records = match &published.keys {
        Ok(PublishedKeys::Records(records)) => records,
        Ok(PublishedKeys::Nothing) => {
            return Ok(Err(format!(
                "its name publishes no TLSA record for port {}, so that no certificate proves who it is",
                site.port
            )));
        }
        Ok(PublishedKeys::Delegated) => {
            return Ok(Err(
                "its name leaves it to nameservers (`ns`), and what they say is not proved by the name".to_owned(),
            ));
        }
        Err(failure) => return Err(unresolved(site, *failure)),
    };
    let target = match &published.target {
        Ok(target) => target,
        Err(failure @ (Failure::NoTarget | Failure::NotRegistered)) => return Ok(Err(failure.to_string())),
        Err(failure) => return Err(unresolved(site, *failure)),
    };
    let at = match target {
        Target::Address(address) => Host::Ip(*address),
        Target::Onion(name) => Host::Name(name.as_str().to_owned()),
        Target::Host(name) => Host::Name(name.clone()),
    };
    let dialer = Dialer::new(way_out(settings).await?)?;
    let place = (at, site.port);
    let chain = site::shown_chain(&dialer, place, &site.host, SiteLimits::default())
        .await
        .with_context(|| format!("{site} is not authenticated"))?;
    let authenticated = judgement::judge(records, &chain, &site.host, now());
    Ok(Ok(Verdict { chain, authenticated }))
}

fn unresolved(site: &Site, failure: Failure) -> anyhow::Error {
    anyhow::Error::new(failure).context(format!("{site} cannot be verified"))
}

async fn verify(settings: &Settings, site: &Site, published: Published, as_json: bool) -> Result<ExitCode> {
    let is_proved = settings.backend.is_none();
    let (status, reason, record) = match judged(settings, site, &published).await? {
        Err(nothing) => (ExitCode::from(ABSENT), nothing, None),
        Ok(verdict) => match verdict.authenticated {
            Ok(authenticated) => (
                ExitCode::SUCCESS,
                authenticated.reason(),
                Some(authenticated.association.to_string()),
            ),
            Err(refusal) if as_json => (ExitCode::FAILURE, refusal.to_string(), None),
            Err(refusal) => return Err(anyhow::Error::new(refusal).context(format!("{site} is not authenticated"))),
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
    published: Published,
    takes_leaf: bool,
    quiet: bool,
) -> Result<ExitCode> {
    let verdict = match judged(settings, site, &published).await? {
        Ok(verdict) => verdict,
        Err(nothing) => {
            eprint_line(format_args!("{site} cannot be pinned: {nothing}"));
            return Ok(ExitCode::from(ABSENT));
        }
    };
    let authenticated = verdict
        .authenticated
        .map_err(|refusal| anyhow::Error::new(refusal).context(format!("{site} is not authenticated")))?;
    let made = make_pin(site, &verdict.chain, &authenticated, published.expires_in, takes_leaf);
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
