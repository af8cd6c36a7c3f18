//! The page of a site whose certificate was held against what its name publishes: the verdict, why, and what to do about it.

use super::html::Html;
use super::page::{Reply, check_form, frame, sentence, shown, verdict};
use super::request::path;
use crate::dane::judgement::{Authenticated, Flaw, Refusal};
use crate::dane::site::SiteError;
use crate::naming::site::Unjudged;
use crate::naming::target::Failure;
use crate::net::DialError;

/// What came of checking a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is who its name says, and why.
    Authenticated(String),
    /// It is not, or does not show to be.
    Refused(Reason),
    /// Its name has nothing by which it could be told; nobody was connected to.
    Unjudgeable(String),
    /// It could not be looked up, or not reached.
    Failed(Reason),
}

/// Why a site is not authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Why.
    pub why: String,
    /// What to do about it.
    pub help: &'static str,
}

const AGAIN: &str = "Check it again in a while.";

const NOTHING_SECRET: &str = "Send it nothing secret. Where its owner has renewed the name, that takes some minutes to be known; \
     else ask the owner, by another way, whether the key is a new one.";

const OWNER: &str = "Its owner has to mend that. Until then nothing tells this site from another.";

const NO_WAY_OUT: &str = "See to it that Tor runs, or restart this daemon with another proxy; then check it again.";

impl Judged {
    /// Takes what was judged of what a site shows.
    pub fn of(authenticated: &Result<Authenticated, Refusal>) -> Self {
        match authenticated {
            Ok(it) => Self::Authenticated(it.reason()),
            Err(refusal) => Self::Refused(Reason {
                why: refusal.to_string(),
                help: match refusal {
                    Refusal::Other
                    | Refusal::Weaker
                    | Refusal::Path(Flaw::NotSigned | Flaw::OtherHost | Flaw::Constraint) => NOTHING_SECRET,
                    Refusal::Path(Flaw::NotYetValid) => "Look whether this machine's clock is right.",
                    _ => OWNER,
                },
            }),
        }
    }

    /// Takes why nothing was judged.
    pub fn not(unjudged: &Unjudged) -> Self {
        let why = unjudged.to_string();
        if unjudged.is_absence() {
            return Self::Unjudgeable(why);
        }
        let help = match unjudged {
            Unjudged::Site(SiteError::NotItsKey) => {
                let help = "Somebody shows a certificate that is not theirs: send them nothing.";
                return Self::Refused(Reason { why, help });
            }
            Unjudged::Site(SiteError::Chain(_)) => return Self::Refused(Reason { why, help: OWNER }),
            Unjudged::Site(SiteError::NotTls) => {
                "What answers there is no server of TLS. Its owner may have published another port."
            }
            Unjudged::Site(SiteError::Dial(
                DialError::ProxyUnreachable { .. } | DialError::ProxyNotTor { .. } | DialError::ProxyDoesNotIsolate,
            )) => NO_WAY_OUT,
            Unjudged::Name(Failure::Broken | Failure::Invalid) => OWNER,
            _ => AGAIN,
        };
        Self::Failed(Reason { why, help })
    }

    /// It could not be looked up.
    pub fn not_looked_up(why: String) -> Self {
        Self::Failed(Reason { why, help: AGAIN })
    }

    /// Says in a word or two what came of it.
    pub fn came_to(&self) -> &'static str {
        match self {
            Self::Authenticated(_) => "authenticated",
            Self::Refused(_) => "not authenticated",
            Self::Unjudgeable(_) => "nothing to judge it by",
            Self::Failed(_) => "not checked",
        }
    }
}

/// The site that was checked, and where: it stands in the list of a lookup's sites, from which it can be checked again.
#[derive(Clone, Debug)]
pub struct CheckedSite {
    /// The host and its port.
    pub site: String,
    /// The number of the lookup.
    pub lookup: u64,
    /// Its place among the lookup's sites.
    pub place: usize,
}

/// Shows what came of checking a site.
pub fn page(session: &str, checked: &CheckedSite, judged: &Judged) -> Reply {
    let (class, sign, heading, title, status) = match judged {
        Judged::Authenticated(_) => (
            "proved",
            "\u{2713}",
            "Authenticated: it is who its name says",
            "Isonym: authenticated",
            200,
        ),
        Judged::Refused(_) => (
            "refused",
            "\u{2717}",
            "Not authenticated: it may be anybody",
            "Isonym: not authenticated",
            200,
        ),
        Judged::Unjudgeable(_) => (
            "absent",
            "?",
            "Not authenticated: there is nothing to judge it by",
            "Isonym: nothing to judge by",
            200,
        ),
        Judged::Failed(_) => ("failed", "\u{2717}", "Not checked", "Isonym: not checked", 503),
    };
    let said = match judged {
        Judged::Authenticated(reason) => {
            let worth = "So it was for this connection, which was closed again. It says nothing of the next one: `isonym tls pin` \
                 makes a certificate by which a browser can tell for itself.";
            [Html::element("p", sentence(reason)), Html::element("p", worth)].into()
        }
        Judged::Unjudgeable(reason) => Html::element("p", sentence(reason)),
        Judged::Refused(Reason { why, help }) | Judged::Failed(Reason { why, help }) => {
            let lines = why.lines().map(|line| Html::element("p", sentence(line.trim())));
            lines.chain([Html::element("p", *help)]).collect()
        }
    };
    let mut main = Html::element("h2", shown(&checked.site));
    main.push(verdict(class, sign, heading, said));
    main.push(check_form(session, checked.lookup, checked.place, "Check it again"));
    let back = path(session, Some(checked.lookup));
    let back = Html::with("a", &[("href", &back)], "Back to its name");
    main.push(Html::with("p", &[("class", "screen")], back));
    Reply::page(status, frame(title, Some(session), main))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isonym_testkit::page::assert_only_ours;

    use super::*;
    use crate::dane::association::Unusable;
    use crate::dane::chain::ChainError;

    fn shows(judged: &Judged) -> (u16, String) {
        let checked = CheckedSite {
            site: "www.example.bit:443".to_owned(),
            lookup: 7,
            place: 1,
        };
        let reply = page("1f", &checked, judged);
        let html = reply.html.into_string();
        assert_only_ours(&html);
        assert!(
            html.contains("action=\"/s/1f/look/7/check\"") && html.contains("value=\"1\""),
            "{html}"
        );
        assert!(!html.contains("www") || !html.split("</title>").next().unwrap().contains("www"));
        (reply.status, html)
    }

    #[test]
    fn only_what_is_authenticated_is_said_to_be() {
        let (status, page) = shows(&Judged::Authenticated("its key is the one".to_owned()));
        assert_eq!(status, 200);
        assert!(
            page.contains("class=\"verdict proved\"") && page.contains("Its key is the one."),
            "{page}"
        );
        assert!(page.contains("nothing of the next one"), "{page}");
        for (judged, class, words) in [
            (Judged::of(&Err(Refusal::Other)), "refused", "Send it nothing secret"),
            (Judged::of(&Err(Refusal::Weaker)), "refused", "Send it nothing secret"),
            (
                Judged::of(&Err(Refusal::NoneUsable(Unusable::Unreadable))),
                "refused",
                "owner has to mend",
            ),
            (
                Judged::of(&Err(Refusal::Path(Flaw::NotYetValid))),
                "refused",
                "clock is right",
            ),
            (Judged::of(&Err(Refusal::Path(Flaw::Expired))), "refused", "has expired"),
            (
                Judged::not(&Unjudged::Site(SiteError::NotItsKey)),
                "refused",
                "send them nothing",
            ),
            (
                Judged::not(&Unjudged::Site(SiteError::Chain(ChainError::Empty))),
                "refused",
                "owner has to mend",
            ),
            (Judged::not(&Unjudged::NoKeys { port: 443 }), "absent", "port 443"),
            (Judged::not(&Unjudged::Delegated), "absent", "nameservers"),
            (
                Judged::not(&Unjudged::Name(Failure::NoTarget)),
                "absent",
                "nothing to connect to",
            ),
            (
                Judged::not(&Unjudged::Name(Failure::Timeout)),
                "failed",
                "Check it again in a while",
            ),
            (
                Judged::not(&Unjudged::Name(Failure::Broken)),
                "failed",
                "owner has to mend",
            ),
            (
                Judged::not(&Unjudged::Site(SiteError::NotTls)),
                "failed",
                "another port",
            ),
            (
                Judged::not(&Unjudged::Site(SiteError::TimedOut(Duration::from_secs(30)))),
                "failed",
                "30 seconds",
            ),
            (
                Judged::not(&Unjudged::Site(SiteError::Dial(DialError::ProxyDoesNotIsolate))),
                "failed",
                "See to it that Tor runs",
            ),
            (
                Judged::not_looked_up("no server\n  one: <b>".to_owned()),
                "failed",
                "One: &lt;b&gt;.",
            ),
        ] {
            let (status, page) = shows(&judged);
            assert_eq!(status == 503, class == "failed", "{page}");
            assert!(page.contains(&format!("class=\"verdict {class}\"")), "{page}");
            assert!(page.contains(words), "{words} is not in {page}");
            assert!(
                !page.contains("Authenticated:") && !page.contains("verdict proved"),
                "{page}"
            );
            assert_ne!(judged.came_to(), "authenticated");
        }
    }
}
