//! Sites that are checked from the daemon's page: when it is asked for, each by a connection of its own, and not too many.

use std::slice;

use isonym_fixtures::certificates::{Algorithm, Holder, Signer, self_signed, site};
use isonym_sim::ledger::Target;
use isonym_testkit::harness::{Daemon, Reply, Stop, until};
use isonym_testkit::https::{Manner, Site, Visit, entry};
use isonym_testkit::page::{Session, ask, assert_only_ours, header};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{Stage, name_id};

use super::isolation::{SETTLED, assert_apart, stage, stage_of};
use super::{HOST, NAME, certified};

const LISTEN: &str = "--web-listen=127.0.0.1:0";

/// Has a site of a lookup checked, and returns the address of what comes of it.
async fn begin(session: &Session, lookup: &str, place: usize) -> Reply {
    let lookup = lookup.strip_prefix(&session.path).unwrap();
    session.post(&format!("{lookup}/check"), &format!("site={place}")).await
}

/// The same, and waits for it.
async fn check(session: &Session, lookup: &str) -> Reply {
    let reply = begin(session, lookup, 0).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let path = header(&reply, "location").unwrap().to_owned();
    assert!(!path.contains("marker"), "{path}");
    let reply = until("the site is checked", async || {
        let reply = session.get(&path).await;
        header(&reply, "refresh").is_none().then_some(reply)
    })
    .await;
    assert_only_ours(&reply.body);
    let (_, rest) = reply.body.split_once("<title>").unwrap();
    let (title, _) = rest.split_once("</title>").unwrap();
    assert!(title.starts_with("Isonym: ") && !title.contains("marker"), "{title}");
    reply
}

/// Looks the name up, and returns where it is shown.
async fn look(session: &Session) -> String {
    let path = session.look(NAME).await;
    let found = until("the name is found", async || {
        let reply = session.get(&path).await;
        header(&reply, "refresh").is_none().then_some(reply)
    })
    .await;
    assert!(found.body.contains("Check the certificate of "), "{found:?}");
    assert!(found.body.contains(HOST), "{found:?}");
    path
}

/// Over how many connections the name was asked for.
fn connections(stage: &Stage) -> usize {
    let scripthash = name_id(NAME).scripthash().to_string();
    let connections = stage.ledger.connections().into_iter();
    let asked = connections.filter(|it| it.requests.iter().any(|request| request.line.contains(&scripthash)));
    asked.count()
}

#[tokio::test]
async fn a_site_is_connected_to_when_that_is_asked_for_on_a_circuit_of_its_own() {
    let signer = Signer::new(Algorithm::P256);
    let site = certified(&signer).await;
    let stage = stage(&site, &signer, SETTLED).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let [first, second] = [Session::begin(&daemon).await, Session::begin(&daemon).await];
    let lookup = look(&first).await;
    first.get(&lookup).await;
    first.get(&first.path).await;
    let is_sites = |target: &Target| *target == Target::Address(site.address.ip().to_string());
    assert!(!stage.ledger.proxied().iter().any(|it| is_sites(&it.target)));
    assert_eq!(site.visits(), []);
    let verdict = check(&first, &lookup).await;
    assert_eq!(verdict.status, 200, "{verdict:?}");
    assert!(verdict.body.contains("Authenticated: it is who"), "{verdict:?}");
    assert!(
        verdict.body.contains("TLSA 2 1 0") && verdict.body.contains(HOST),
        "{verdict:?}"
    );
    assert_apart(&stage, &site, 1).await;
    // The name is that of the session's identity, and of no other.
    assert_eq!(connections(&stage), 1);
    let start = first.get(&first.path).await;
    assert!(start.body.contains(": authenticated"), "{start:?}");
    let lookup = look(&second).await;
    assert_eq!(connections(&stage), 2);
    for visits in 2..4 {
        check(&second, &lookup).await;
        assert_apart(&stage, &site, visits).await;
    }
    assert_eq!(connections(&stage), 2);
    // What one session has checked the other sees nothing of.
    let start = first.get(&first.path).await;
    assert_eq!(start.body.matches(": authenticated").count(), 1, "{start:?}");
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn who_is_somebody_else_or_not_there_is_said_to_be() {
    let [leaf, other] = [(); 2].map(|()| self_signed(Algorithm::P256.key(), &site(&[HOST])));
    let published = |holder: &Holder| entry(3, 1, 1, &holder.spki());
    for (served, is_there, record, words, status) in [
        (
            Site::start(&[&other]).await,
            true,
            published(&leaf),
            "Send it nothing secret",
            200,
        ),
        (
            Site::with(Manner::Hangs).await,
            true,
            published(&leaf),
            "closed the connection",
            503,
        ),
        (
            Site::with(Manner::Says(b"<script>alert(1)</script>\r\n".to_vec())).await,
            true,
            published(&leaf),
            "no server of TLS",
            503,
        ),
        (
            Site::start(&[&leaf]).await,
            false,
            published(&leaf),
            "Check it again in a while",
            503,
        ),
    ] {
        let stage = stage_of(&served, &served.value(slice::from_ref(&record)), SETTLED, is_there).await;
        let program = Program::new();
        let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
        let session = Session::begin(&daemon).await;
        let lookup = look(&session).await;
        let verdict = check(&session, &lookup).await;
        assert_eq!(verdict.status, status, "{verdict:?}");
        assert!(verdict.body.contains(words), "{words} is not in {verdict:?}");
        assert!(!verdict.body.contains("Authenticated:"), "{verdict:?}");
        daemon.stop(Stop::Terminate, &stage.ledger).await;
    }
}

#[tokio::test]
async fn sites_are_checked_two_at_a_time_by_each_session_and_never_for_others() {
    let leaf = self_signed(Algorithm::P256.key(), &site(&[HOST]));
    let silent = Site::with(Manner::Stalls).await;
    let value = silent.value(&[entry(3, 1, 1, &leaf.spki())]);
    let stage = stage_of(&silent, &value, SETTLED, true).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let [first, second] = [Session::begin(&daemon).await, Session::begin(&daemon).await];
    let lookup = look(&first).await;
    let mut waiting = String::new();
    for _ in 0..2 {
        let begun = begin(&first, &lookup, 0).await;
        assert_eq!(begun.status, 303, "{begun:?}");
        header(&begun, "location").unwrap().clone_into(&mut waiting);
    }
    let busy = begin(&first, &lookup, 0).await;
    assert!(
        busy.status == 429 && busy.body.contains("wait until one of them"),
        "{busy:?}"
    );
    let waits = first.get(&waiting).await;
    assert_eq!(header(&waits, "refresh"), Some("2"), "{waits:?}");
    assert!(
        waits.body.contains("Checking ") && waits.body.contains(HOST),
        "{waits:?}"
    );
    assert_only_ours(&waits.body);
    // Another session feels nothing of that.
    let others = look(&second).await;
    assert_eq!(begin(&second, &others, 0).await.status, 303);
    // A form names a place in the list, and no host; it is that of this session and of its own pages.
    assert_eq!(begin(&first, &lookup, 1).await.status, 404);
    assert_eq!(begin(&first, &waiting, 0).await.status, 404);
    assert_eq!(begin(&first, &format!("{}look/99", first.path), 0).await.status, 404);
    let part = format!("{}/check", lookup.strip_prefix(&first.path).unwrap());
    for form in ["", "site=", "site=127.0.0.1:22", "host=127.0.0.1:22", "site=-1"] {
        assert_eq!(first.post(&part, form).await.status, 400, "{form}");
    }
    let large = first.post(&part, &format!("site=0&x={}", "x".repeat(5000))).await;
    assert_eq!(large.status, 413);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let line = format!("POST {lookup}/check");
    let own = format!("Cookie: {}\r\n", first.cookie);
    let origin = format!("Origin: http://{}\r\n", first.address);
    for (headers, status) in [
        (format!("{own}{form}"), 403),
        (format!("{own}{form}Origin: null\r\n"), 403),
        (format!("{own}{form}Origin: http://evil.example\r\n"), 403),
        (format!("{own}{origin}Content-Type: text/plain\r\n"), 400),
        (format!("Cookie: {}\r\n{form}{origin}", second.cookie), 403),
        (format!("{form}{origin}"), 403),
    ] {
        let reply = ask(first.address, &line, &headers, "site=0").await;
        assert_eq!(reply.status, status, "{headers}: {reply:?}");
    }
    assert_eq!(first.get(&format!("{lookup}/check")).await.status, 405);
    // With the identity all that is under way for it ends.
    assert_eq!(silent.visits(), []);
    assert_eq!(first.post("new", "").await.status, 303);
    assert_eq!(silent.visits_of(2).await, [Visit::Refused, Visit::Refused]);
    assert_eq!(silent.visits().len(), 2);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}
