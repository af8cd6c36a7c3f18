//! What a user can do about an error, in the words of the command line: the library's errors state facts and know no
//! options.

use std::io;

use isonym::dane::judgement::{Flaw, Refusal};
use isonym::dane::keyless_pin::PinError;
use isonym::dane::site::SiteError;
use isonym::net::DialError;
#[cfg(feature = "embedded-tor")]
use isonym::net::embedded_tor::EmbeddedTorError;
use isonym::node::{NodeError, StoreError};
use isonym::tor::auth::AuthError;
use isonym::tor::driver::SessionError;

/// Returns what to do about an error, if there is anything to be said beyond the error itself.
pub(crate) fn advice(error: &anyhow::Error) -> Option<String> {
    let advice = error.chain().find_map(|cause| {
        let of_node = cause.downcast_ref().and_then(of_node);
        let of_session = cause.downcast_ref().and_then(of_session);
        of_node
            .or(of_session)
            .or_else(|| cause.downcast_ref().and_then(of_dial))
            .or_else(|| cause.downcast_ref().and_then(of_auth))
            .or_else(|| cause.downcast_ref().and_then(of_site))
            .or_else(|| cause.downcast_ref().and_then(of_refusal))
    });
    let of_pin = || error.chain().find_map(|cause| cause.downcast_ref().and_then(of_pin));
    advice.map(str::to_owned).or_else(of_pin)
}

fn of_node(error: &NodeError) -> Option<&'static str> {
    match error {
        NodeError::Folder { error, .. } => Some(of_disk(error)),
        NodeError::FolderInUse { .. } => Some("wait for it to end, or name another data folder with --datadir DIR"),
        NodeError::FolderOfOther { .. } => {
            Some("run this as the user whose it is, or name another data folder with --datadir DIR")
        }
        NodeError::FolderOpen { .. } => {
            Some("take their right away with chmod go-w, or name another data folder with --datadir DIR")
        }
        NodeError::Clock => Some("set the clock, then run again"),
        NodeError::Store { error, .. } => of_store(error),
        error => error.dial_error().and_then(of_dial),
    }
}

fn of_store(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Io(error) => Some(of_disk(error)),
        StoreError::Damaged { .. } => Some("name a data folder on another disk with --datadir DIR"),
        _ => None,
    }
}

/// Returns what to do about an error of a disk, which each cause has its own help for.
fn of_disk(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, FileTooLarge, IsADirectory, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            "make room or name another data folder with --datadir DIR, then run again: nothing is lost"
        }
        ReadOnlyFilesystem => "have its disk mounted for writing, or name another data folder with --datadir DIR",
        PermissionDenied => "let this user read and write it, or name another data folder with --datadir DIR",
        NotADirectory | IsADirectory | AlreadyExists => {
            "move away what is in its place, or name another data folder with --datadir DIR"
        }
        _ => "name another data folder with --datadir DIR",
    }
}

/// What to do where nothing listens at the proxy.
const NO_PROXY: &str = if cfg!(feature = "embedded-tor") {
    "start Tor, or use the embedded one with --proxy embedded, or name another proxy with --proxy socks5://HOST:PORT, or \
     use --direct to go without one and be linkable"
} else {
    "start Tor, or name another proxy with --proxy socks5://HOST:PORT, or use --direct to go without one and be linkable"
};

fn of_dial(error: &DialError) -> Option<&'static str> {
    match error {
        DialError::ProxyUnreachable { .. } => Some(NO_PROXY),
        #[cfg(feature = "embedded-tor")]
        DialError::Tor(EmbeddedTorError::NotReady(_)) => Some(
            "see to it that this machine reaches the internet and its clock is right; where Tor is blocked, run one with \
             bridges and name it with --proxy socks5://HOST:PORT",
        ),
        DialError::ProxyNotTor { .. } => {
            Some("start Tor, or name that proxy with --proxy socks5://HOST:PORT if it is to be used")
        }
        DialError::ProxyDoesNotIsolate => Some("use Tor, or --direct if you can do without isolation"),
        _ => None,
    }
}

fn of_session(error: &SessionError) -> Option<&'static str> {
    match error {
        SessionError::Cookie { .. } => {
            Some("be a member of the group that owns it (debian-tor on Debian), or name it with --control-cookie")
        }
        SessionError::Auth(error) => of_auth(error),
        _ => None,
    }
}

fn of_auth(error: &AuthError) -> Option<&'static str> {
    match error {
        AuthError::PasswordWanted => Some("give it with --control-password, or set CookieAuthentication 1 in torrc"),
        _ => None,
    }
}

fn of_site(error: &SiteError) -> Option<&'static str> {
    match error {
        SiteError::Dial(error) => of_dial(error),
        SiteError::NotItsKey => Some("somebody shows a certificate that is not theirs: send them nothing"),
        _ => None,
    }
}

fn of_refusal(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::Other | Refusal::Weaker | Refusal::Path(Flaw::NotSigned | Flaw::OtherHost | Flaw::Constraint) => Some(
            "send it nothing secret; a renewed name takes some minutes to be known, and its owner can tell you of a new key",
        ),
        _ => None,
    }
}

fn of_pin(error: &PinError) -> Option<String> {
    let advice = match error {
        PinError::Wider {
            parent: Some(parent), ..
        } => {
            format!("`isonym tls pin {parent}` makes one that covers all of them")
        }
        PinError::LeafOnly | PinError::SelfSigned => {
            "verify it each time with `isonym tls verify`, or take that certificate as it is with --leaf".to_owned()
        }
        PinError::LeafSigns | PinError::LeafOfOthers | PinError::BySerial | PinError::Wider { .. } => {
            "verify it each time with `isonym tls verify`".to_owned()
        }
        PinError::NoExpiry => "ask a daemon of ours, or none, instead of --rpc-url".to_owned(),
        _ => return None,
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use isonym::node::{ServerResult, ServerStanding};

    use super::*;

    fn unreachable() -> DialError {
        DialError::ProxyUnreachable {
            proxy: "socks5://127.0.0.1:9050".parse().unwrap(),
        }
    }

    fn through_nothing() -> ServerResult {
        ServerResult {
            address: "electrum.example:50002:s".to_owned(),
            state: ServerStanding::Closed,
            result: "no proxy".to_owned(),
            claimed_height: None,
            headers: 0,
            way_out: Some(unreachable()),
        }
    }

    #[test]
    fn advice_is_found_behind_what_the_error_was_wrapped_in() {
        let bare = advice(&unreachable().into()).unwrap();
        assert!(bare.contains("--proxy") && bare.contains("--direct"), "{bare}");
        let error = NodeError::NoServer {
            servers: vec![through_nothing()],
            tor: None,
        };
        let wrapped = Err::<(), _>(error).context("cannot sync").unwrap_err();
        assert_eq!(advice(&wrapped), Some(bare));
    }

    #[test]
    fn nothing_is_said_where_there_is_nothing_to_say() {
        let error = NodeError::NoServer {
            servers: Vec::new(),
            tor: None,
        };
        assert_eq!(advice(&error.into()), None);
        assert_eq!(advice(&anyhow::anyhow!("--proxy")), None);
        assert_eq!(advice(&DialError::ClosedPort.into()), None);
    }

    #[test]
    fn what_helps_against_a_disk_depends_on_what_is_wrong_with_it() {
        use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem, StorageFull, TimedOut};
        for (kind, help) in [
            (StorageFull, "make room"),
            (ReadOnlyFilesystem, "mounted"),
            (PermissionDenied, "let this user"),
            (NotADirectory, "move away"),
            (TimedOut, "name another data folder"),
        ] {
            let (path, error) = ("headers".into(), io::Error::from(kind).into());
            let store = NodeError::Store {
                path,
                error: StoreError::Io(error),
            };
            let (path, error) = ("known-servers".into(), io::Error::from(kind).into());
            for error in [store, NodeError::Folder { path, error }] {
                let advice = advice(&error.into()).unwrap();
                assert!(
                    advice.contains("--datadir") && advice.contains(help),
                    "{kind}: {advice}"
                );
                assert_eq!(advice.contains("make room"), kind == StorageFull, "{kind}: {advice}");
            }
        }
    }
}
