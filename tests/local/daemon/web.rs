//! The daemon's page on the wire: who may see it, what it shows, and that its sessions have nothing to do with each other.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use isonym::time::Timestamp;
use isonym_sim::{AddressKind, Fault, Release, World};
use isonym_testkit::harness::{Daemon, Reply, Stop, end_of, honest, send, until};
use isonym_testkit::page::{Session, ask, assert_only_ours, header, page_of};
use isonym_testkit::program::Program;
use isonym_testkit::running::signal;
use isonym_testkit::stage::{NAME, Stage, VALUE, name_id, world};

const LISTEN: &str = "--web-listen=127.0.0.1:0";

/// Texts that do harm wherever they are taken for anything else.
const HOSTILE: [&str; 6] = [
    "<script>document.title='harm'</script>",
    "\"><img src=http://evil.example/x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</bdo></section><h2>Proved</h2>",
    "</style></title><meta http-equiv=refresh content=0;url=http://evil.example/>",
    "\u{202e}&lt;\u{200b}\u{7}",
];

/// Asserts what every reply has.
fn assert_guarded(reply: &Reply) {
    let policy = header(reply, "content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "deny"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(header(reply, name), Some(value), "{reply:?}");
    }
    assert_only_ours(&reply.body);
}

#[tokio::test]
async fn a_name_is_looked_up_and_shown_and_stands_in_no_history() {
    let (stage, _) = honest(world(), 2).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let session = Session::begin(&daemon).await;
    let start = session.get(&session.path).await;
    assert_eq!(start.status, 200, "{start:?}");
    assert_guarded(&start);
    assert!(
        start.body.contains("up to date") && start.body.contains("<label for=\"name\">"),
        "{start:?}"
    );
    let path = session.look(NAME).await;
    assert!(!path.contains("marker"), "{path}");
    let found = session.found(NAME).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert_guarded(&found);
    assert!(found.body.contains(VALUE) && found.body.contains(NAME), "{found:?}");
    let (_, rest) = found.body.split_once("<title>").unwrap();
    let (title, _) = rest.split_once("</title>").unwrap();
    assert!(title.starts_with("Isonym") && !title.contains("marker"), "{title}");
    // It is there still when it is come back to.
    let start = session.get(&session.path).await;
    assert!(start.body.contains(NAME) && start.body.contains("proved"), "{start:?}");
    let (_, token) = page_of(&daemon);
    let folder = daemon.folder.clone();
    assert!(daemon.log().contains(&token));
    daemon.stop(Stop::Terminate, &stage.ledger).await;
    assert!(!folder.join(".web-address").exists());
}

#[tokio::test]
async fn what_is_hardly_meant_is_asked_of_nobody() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let session = Session::begin(&daemon).await;
    let before = stage.met_by_lookups(0);
    for (typed, meant) in [
        ("marker-of-the-name", Some("d/marker-of-the-name")),
        ("D/marker-of-the-name", Some("d/marker-of-the-name")),
        ("example.com", None),
        ("", None),
    ] {
        let told = session.found(typed).await;
        assert_eq!(told.status, 200, "{told:?}");
        assert!(told.body.contains("was not looked up"), "{told:?}");
        let offered = meant.is_some_and(|meant| told.body.contains(&format!("value=\"{meant}\"")));
        assert_eq!(offered, meant.is_some(), "{told:?}");
    }
    for typed in HOSTILE {
        assert_guarded(&session.found(&format!("{typed}.com")).await);
    }
    assert_eq!(stage.asked(0, NAME), 0);
    // By its domain it is known as well.
    let found = session.found("marker-of-the-name.bit").await;
    assert!(found.body.contains(VALUE), "{found:?}");
    assert!(stage.met_by_lookups(0) > before);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn nobody_else_sees_it_and_no_page_sends_its_forms() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[LISTEN]).await;
    let (page, token) = page_of(&daemon);
    let session = Session::begin(&daemon).await;
    let other = Session::begin(&daemon).await;
    assert_ne!((&session.path, &session.cookie), (&other.path, &other.cookie));
    let get = |path: &str| format!("GET {path}");
    let (own, start) = (&session.cookie, get(&session.path));
    let cookie = |value: &str| format!("Cookie: {value}\r\n");
    for (line, headers, status) in [
        (get("/"), String::new(), 403),
        (get("/?token="), String::new(), 403),
        (get(&format!("/?token={}", &token[1..])), String::new(), 403),
        (get(&format!("/?token={token}0")), String::new(), 403),
        (get(&format!("/x?token={token}")), String::new(), 404),
        (format!("POST /?token={token}"), String::new(), 405),
        (start.clone(), String::new(), 403),
        (start.clone(), cookie(&other.cookie), 403),
        (start.clone(), cookie(&own.replace("isonym=", "isonym=0")), 403),
        (get(&other.path), cookie(own), 403),
        (start.clone(), cookie(&format!("a=b; isonym=planted; {own}")), 200),
        (start.clone(), cookie(own), 200),
        (get(&format!("{}look", session.path)), cookie(own), 405),
        (get(&format!("{}new", session.path)), cookie(own), 405),
        (get(&format!("{}look/1", session.path)), cookie(own), 404),
        (format!("PUT {}", session.path), cookie(own), 405),
        (get("/favicon.ico"), cookie(own), 404),
    ] {
        let reply = ask(page, &line, &headers, "").await;
        assert_eq!(reply.status, status, "{line} {headers}: {reply:?}");
        assert_guarded(&reply);
    }
    // A name that a web site makes lead here, and a host named twice.
    for hosts in ["rebound.example", "rebound.example:80", "127.0.0.1.evil.example"] {
        let request = format!(
            "{start} HTTP/1.1\r\nHost: {hosts}\r\nConnection: close\r\n{}\r\n",
            cookie(own)
        );
        assert_eq!(send(page, request).await.status, 403);
        let request = format!("GET /?token={token} HTTP/1.1\r\nHost: {hosts}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(page, request).await.status, 403);
    }
    let twice = format!(
        "{start} HTTP/1.1\r\nHost: {page}\r\nHost: {page}\r\nConnection: close\r\n{}\r\n",
        cookie(own)
    );
    assert_eq!(send(page, twice).await.status, 403);
    // Forms of others, by a browser that has the cookie.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let post = format!("POST {}look", session.path);
    for (origin, status) in [
        (String::new(), 403),
        ("Origin: null\r\n".to_owned(), 403),
        ("Origin: http://evil.example\r\n".to_owned(), 403),
        (format!("Origin: http://localhost:{}\r\n", page.port()), 403),
        (format!("Origin: https://{page}\r\n"), 403),
        (format!("Origin: http://{page}\r\n"), 303),
    ] {
        let headers = format!("{}{form}{origin}", cookie(own));
        let reply = ask(page, &post, &headers, "name=d/x").await;
        assert_eq!(reply.status, status, "{origin}: {reply:?}");
        assert_guarded(&reply);
    }
    let plain = format!("{}Content-Type: text/plain\r\nOrigin: http://{page}\r\n", cookie(own));
    assert_eq!(ask(page, &post, &plain, "name=d/x").await.status, 400);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_the_silent_keep_nobody_out() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[LISTEN]).await;
    let session = Session::begin(&daemon).await;
    let large = session.post("look", &format!("name={}", "x".repeat(5000))).await;
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(session.post("look", "nothing=x").await.status, 400);
    let long = session.found(&format!("d/{}", "y".repeat(1200))).await;
    assert!(long.body.contains("names have at most"), "{long:?}");
    let heads = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(32 << 10));
    let told = send(session.address, heads).await;
    assert!([0, 431].contains(&told.status), "{told:?}");
    let silent: Vec<_> = std::iter::repeat_with(|| std::net::TcpStream::connect(session.address).unwrap())
        .take(80)
        .collect();
    let start = session.get(&session.path).await;
    assert_eq!(start.status, 200, "{start:?}");
    drop(silent);
    // Sessions are bounded: the one that was not used for longest is over.
    let old = Session::begin(&daemon).await;
    let mut all = BTreeSet::new();
    for _ in 0..32 {
        assert_eq!(session.get(&session.path).await.status, 200);
        let new = Session::begin(&daemon).await;
        assert!(all.insert((new.path, new.cookie)));
    }
    assert_eq!(old.get(&old.path).await.status, 403);
    assert_eq!(session.get(&session.path).await.status, 200);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// Sends bytes, says that these were all once something comes back, and returns all that does.
async fn all_of(address: SocketAddr, bytes: String) -> String {
    let sent = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Who is refused early may be cut off while the rest is sent, or behind the reply.
        let _ = stream.write_all(bytes.as_bytes());
        let mut first = [0; 1024];
        let length = stream.read(&mut first).unwrap_or_default();
        let _ = stream.shutdown(Shutdown::Write);
        let mut reply = first[..length].to_vec();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8(reply).unwrap()
    });
    sent.await.unwrap()
}

/// What a web site has a browser send, it may have chosen to look like further requests.
#[tokio::test]
async fn what_is_in_a_body_is_no_request() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[LISTEN]).await;
    let (page, token) = page_of(&daemon);
    let session = Session::begin(&daemon).await;
    let own = format!("Host: {page}\r\nCookie: {}\r\n", session.cookie);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let inner = format!("GET {} HTTP/1.1\r\n{own}\r\n", session.path);
    let enters = format!("GET /?token={token} HTTP/1.1\r\nHost: {page}\r\n\r\n");
    let look = format!("POST {}look HTTP/1.1\r\n{own}", session.path);
    let renew = format!("POST {}new HTTP/1.1\r\n{own}", session.path);
    let length = format!("Content-Length: {}\r\n", inner.len());
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    for (request, status) in [
        // Refused before the body is read.
        (
            format!(
                "POST / HTTP/1.1\r\nHost: {page}\r\nContent-Length: {}\r\n\r\n{enters}",
                enters.len()
            ),
            "405",
        ),
        (format!("{look}{length}\r\n{inner}"), "403"),
        (
            format!("{look}{form}Origin: http://evil.example\r\n{length}\r\n{inner}"),
            "403",
        ),
        (
            format!("{look}Origin: http://{page}\r\nContent-Type: text/plain\r\n{length}\r\n{inner}"),
            "400",
        ),
        (format!("{renew}Origin: null\r\n{form}{length}\r\n{inner}"), "403"),
        (format!("{look}Transfer-Encoding: chunked\r\n\r\n{chunk}"), "403"),
        (
            format!("GET {} HTTP/1.1\r\n{own}{length}\r\n{inner}", session.path),
            "200",
        ),
        // Where it ends is said twice, or so that two might understand it otherwise.
        (format!("{look}{length}Content-Length: 0\r\n\r\n{inner}"), "400"),
        (
            format!("{look}Content-Length: 0, {}\r\n\r\n{inner}", inner.len()),
            "400",
        ),
        (format!("{look}Content-Length: +{}\r\n\r\n{inner}", inner.len()), "400"),
        (format!("{look}Transfer-Encoding: xchunked\r\n\r\n{chunk}"), "400"),
        (
            format!("{look}Transfer-Encoding: chunked, identity\r\n\r\n{chunk}"),
            "400",
        ),
        (format!("{look}Content-Length : 0\r\n\r\n{inner}"), "400"),
        (format!("{look}X: a\r\n Content-Length: 0\r\n\r\n{inner}"), "400"),
    ] {
        let replies = all_of(page, request.clone()).await;
        let count = replies.matches("HTTP/1.1 ").count();
        assert!(
            count == 1 && replies.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}\n-----\n{replies}"
        );
        assert!(!replies.contains("set-cookie"), "{replies}");
    }
    assert_eq!(session.get(&session.path).await.status, 200);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// They have no session, or are no browser's; who has one is served meanwhile.
#[tokio::test]
async fn strangers_take_no_room_by_headers_and_bodies_without_end() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let (page, _) = page_of(&daemon);
    let session = Session::begin(&daemon).await;
    let many = "X: y\r\n".repeat(3000);
    let cookies = format!("Cookie: {}\r\n", "isonym=0; ".repeat(1500));
    for (headers, status) in [(&many, 431), (&cookies, 403)] {
        let told = send(
            page,
            format!(
                "GET {} HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n{headers}\r\n",
                session.path
            ),
        );
        let told = told.await;
        assert!([0, status].contains(&told.status), "{told:?}");
    }
    // What is sent slowly is not waited for, unless it is a form of a session's own.
    let foreign = Session {
        cookie: "isonym=0".to_owned(),
        ..session.clone()
    };
    let slow: Vec<_> = [&foreign; 64]
        .into_iter()
        .map(|session| {
            let mut stream = std::net::TcpStream::connect(page).unwrap();
            let head = format!(
                "POST {}look HTTP/1.1\r\nHost: {page}\r\nCookie: {}\r\nOrigin: http://{page}\r\nContent-Type: \
                 application/x-www-form-urlencoded\r\nContent-Length: 4000\r\n\r\nname=",
                session.path, session.cookie
            );
            let _ = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    assert_eq!(session.get(&session.path).await.status, 200);
    let found = session.found(NAME).await;
    assert_eq!(found.status, 200, "{found:?}");
    drop(slow);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

/// The credentials of the connections that asked for a name.
fn circuits(stage: &Stage, name: &str) -> BTreeSet<String> {
    let scripthash = name_id(name).scripthash().to_string();
    let circuits = stage.ledger.circuits().into_iter();
    let asked = circuits.filter(|(connection, _)| {
        let mut requests = connection.requests.iter();
        requests.any(|request| request.line.contains(&scripthash))
    });
    asked.map(|(_, way)| way.unwrap().credentials.unwrap().user).collect()
}

#[tokio::test]
async fn each_session_is_an_identity_of_its_own() {
    const OTHER: &str = "d/marker-of-the-other";
    let mut world = World::new(2, Timestamp(1_700_000_000));
    let names = [NAME, OTHER].map(|name| (name, VALUE, AddressKind::P2pkh));
    world.register_all(&names).unwrap();
    world.mine(12);
    let (stage, _) = honest(world, 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let [first, second] = [Session::begin(&daemon).await, Session::begin(&daemon).await];
    for session in [&first, &second] {
        for name in [NAME, OTHER] {
            assert!(session.found(name).await.body.contains(VALUE));
        }
    }
    // A session's lookups are one identity's, two sessions' never.
    let both = circuits(&stage, NAME);
    assert_eq!(both.len(), 2);
    assert_eq!(circuits(&stage, OTHER), both);
    // Whoever calls without an ID, or under one of their own, is another one.
    daemon.value("").await.unwrap();
    daemon.value("marker-of-the-id").await.unwrap();
    assert_eq!(circuits(&stage, NAME).len(), 4);
    // A new identity: the browser is at another address, and the old one is gone with all that it showed.
    let shown = first.look(NAME).await;
    let renewed = Session::of(first.address, &first.post("new", "").await);
    assert_ne!(renewed.path, first.path);
    assert_eq!(first.get(&first.path).await.status, 403);
    assert_eq!(first.get(&shown).await.status, 403);
    let start = renewed.get(&renewed.path).await;
    assert!(start.status == 200 && !start.body.contains("marker"), "{start:?}");
    assert!(renewed.found(NAME).await.body.contains(VALUE));
    assert_eq!(circuits(&stage, NAME).len(), 5);
    // So it is for all where all identities are forgotten.
    let renew = signal("-USR1", daemon.pid());
    assert_eq!(end_of(renew).await.status, Some(0));
    until("the sessions are over", async || {
        (second.get(&second.path).await.status == 403).then_some(())
    })
    .await;
    let [second, renewed] = [Session::begin(&daemon).await, Session::begin(&daemon).await];
    // Nobody sees another one's names.
    for session in [&second, &renewed] {
        let path = session.look("d/marker-of-the-absent").await;
        let elsewhere = Session::begin(&daemon).await;
        let number = path.rsplit('/').next().unwrap();
        let guessed = elsewhere.get(&format!("{}look/{number}", elsewhere.path)).await;
        assert_eq!(guessed.status, 404, "{guessed:?}");
    }
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn hostile_names_and_values_are_shown_and_do_nothing() {
    let mut world = World::new(3, Timestamp(1_700_000_000));
    let hostile = HOSTILE.into_iter().enumerate();
    let mut names: Vec<(String, Vec<u8>, AddressKind)> = hostile
        .map(|(number, text)| (format!("x/{number}{text}"), text.into(), AddressKind::P2pkh))
        .collect();
    let bytes = vec![0xff, 0xfe, b'<', 0];
    names.push(("d/marker-of-the-bytes".to_owned(), bytes, AddressKind::P2pkh));
    world.register_all(&names).unwrap();
    world.mine(12);
    let (stage, _) = honest(world, 1).await;
    let program = Program::new();
    let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
    let session = Session::begin(&daemon).await;
    for (name, _, _) in &names {
        let found = session.found(name).await;
        assert_eq!(found.status, 200, "{name}: {found:?}");
        assert!(found.body.contains("Proved: "), "{name}: {found:?}");
        assert_guarded(&found);
        assert!(!found.body.contains(['\u{202e}', '\u{200b}', '\u{7}']), "{found:?}");
    }
    let bytes = session.found("d/marker-of-the-bytes").await;
    assert!(bytes.body.contains("0xfffe3c00"), "{bytes:?}");
    assert_guarded(&session.get(&session.path).await);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_proof_that_does_not_hold_is_shown_as_refused() {
    for fault in [Fault::ForgedMerkleBranch, Fault::ForgedValue] {
        let stage = Stage::open(world(), Release::default(), &[Some(fault)]).await;
        let program = Program::new();
        let daemon = Daemon::ready(&program, &stage, &[LISTEN]).await;
        let session = Session::begin(&daemon).await;
        let refused = session.found(NAME).await;
        assert!(refused.body.contains("class=\"verdict refused\""), "{refused:?}");
        assert!(refused.body.contains("Refused: no answer holds"), "{refused:?}");
        assert!(
            !refused.body.contains(VALUE) && !refused.body.contains("Proved: "),
            "{refused:?}"
        );
        assert_guarded(&refused);
        let start = session.get(&session.path).await;
        assert!(start.body.contains(": refused"), "{start:?}");
        daemon.stop(Stop::Terminate, &stage.ledger).await;
    }
}

#[tokio::test]
async fn while_there_are_no_headers_it_says_so_and_waits() {
    let program = Program::new();
    let way = ["--proxy=socks5://127.0.0.1:1", "--server=electrum.example:50002:s"];
    let way: Vec<String> = way.iter().map(|it| (*it).to_owned()).collect();
    let daemon = Daemon::start_on(&program, &way, &[LISTEN]).await;
    let session = Session::begin(&daemon).await;
    let start = session.get(&session.path).await;
    assert!(start.body.contains("no name can be looked up"), "{start:?}");
    until("the reason is told", async || {
        let start = session.get(&session.path).await;
        start.body.contains("proxy").then_some(())
    })
    .await;
    let path = session.look(NAME).await;
    let told = session.get(&path).await;
    assert!(told.status == 200 || told.status == 503, "{told:?}");
    assert_guarded(&told);
}

#[tokio::test]
async fn it_is_off_unless_it_is_asked_for() {
    let (stage, _) = honest(world(), 1).await;
    let program = Program::new();
    let daemon = Daemon::start(&program, &stage, &[]).await;
    assert!(!daemon.folder.join(".web-address").exists());
    assert!(!daemon.log().contains("token"), "{}", daemon.log());
    let taken: SocketAddr = daemon.address;
    let listen = format!("--web-listen={taken}");
    let mut command = program.on_regtest();
    command.args(["daemon", "--rpc-listen=none", &listen]);
    let end = end_of(command).await;
    end.assert_failed(&["cannot listen on", "--web-listen"]);
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}
