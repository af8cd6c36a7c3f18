//! A backend that is down, slow or at odds with us, and a server that makes the best of it.

use isonym_testkit::backend::{Backend, Call, Says};
use isonym_testkit::dns::server::Dns;
use isonym_testkit::dns::wire::{Datagrams, Line, edns_query, query, query_as, tcp, udp};
use isonym_testkit::harness::until;

const IP: &str = r#"{"ip":"192.0.2.1"}"#;
const NAME: &str = "marker-of-the-name.bit";
const ANSWER: [&str; 1] = ["marker-of-the-name.bit. A 192.0.2.1"];

fn failed(reply: &isonym_testkit::dns::wire::Reply) -> (String, Option<u16>) {
    assert!(!reply.message.metadata.authoritative, "{reply:?}");
    assert_eq!(reply.message.answers.len() + reply.message.authorities.len(), 0);
    (reply.code(), reply.extended_error())
}

/// Asks until the answer is there.
async fn recovers(dns: &Dns) {
    until("it recovers", async || {
        let reply = udp(dns.address, &edns_query(NAME, "A")).await;
        (reply.code() == "NOERROR").then(|| assert_eq!(reply.answers(), ANSWER))
    })
    .await;
}

#[tokio::test]
async fn down_and_up_again() {
    let address = Backend::nowhere().await;
    let dns = Dns::start_before(&format!("http://{address}"), &[]).await;
    let reply = udp(dns.address, &edns_query(NAME, "A")).await;
    assert_eq!(failed(&reply), ("SERVFAIL".to_owned(), Some(23)));
    let backend = Backend::start_at(address).await;
    backend.say("d/marker-of-the-name", Says::value(IP));
    recovers(&dns).await;
    drop(backend);
    // What is known stays known meanwhile.
    assert_eq!(tcp(dns.address, &query(NAME, "A")).await.answers(), ANSWER);
    let other = udp(dns.address, &edns_query("marker-of-the-other.bit", "A")).await;
    assert_eq!(failed(&other), ("SERVFAIL".to_owned(), Some(23)));
    dns.stop().await;
}

#[tokio::test]
async fn slower_than_whoever_asks_can_wait() {
    let backend = Backend::start().await;
    backend.say("d/marker-of-the-name", Says::value(IP).held());
    let dns = Dns::start(&backend, &["--dns-patience=1"]).await;
    for _ in 0..2 {
        let reply = udp(dns.address, &edns_query(NAME, "A")).await;
        assert_eq!(failed(&reply), ("SERVFAIL".to_owned(), Some(22)));
    }
    let over_tcp = tcp(dns.address, &query(NAME, "A")).await;
    assert_eq!(failed(&over_tcp), ("SERVFAIL".to_owned(), None));
    backend.release();
    recovers(&dns).await;
    // The first lookup went on all the while, and its result was kept.
    assert_eq!(backend.count(), 1);
    dns.stop().await;
}

#[tokio::test]
async fn garbage_is_a_failure_and_soon_forgotten() {
    let ours = "marker-of-the-name".as_bytes();
    let shown = |name: &str, value: &str| {
        format!(
            r#"{{"result":{{"name":"{name}","name_encoding":"hex","value":"{value}","value_encoding":"hex","expired":false}},"error":null}}"#
        )
    };
    let name = bitcoin::hex::DisplayHex::to_lower_hex_string(&[b"d/", ours].concat()[..]);
    let other = r#"{"result":{"name":"d/other","value":"{}","expired":false},"error":null}"#;
    let garbage = [
        (401, String::new()),
        (403, "<html>".to_owned()),
        (404, "not here".to_owned()),
        (500, String::new()),
        (200, String::new()),
        (200, "null".to_owned()),
        (200, "[]".to_owned()),
        (200, r#"{"result":null,"error":null}"#.to_owned()),
        (200, r#"{"result":"marker-of-the-value","error":null}"#.to_owned()),
        (200, r#"{"result":{"name":"marker-of-the-name"}}"#.to_owned()),
        (200, r#"{"error":{"code":"x","message":5}}"#.to_owned()),
        (200, "[".repeat(100_000)),
        (200, "x".repeat(1_000_000)),
        (200, shown("642f6f74686572", "7b7d")),
        (200, other.to_owned()),
        (200, shown(&name, "7b7")),
        (200, shown(&name, "zz")),
        (200, shown(&name, &"20".repeat(100_000))),
    ];
    let backend = Backend::start().await;
    let dns = Dns::start(&backend, &[]).await;
    for (number, (status, body)) in garbage.iter().enumerate() {
        let id = format!("marker-of-the-id-{number}");
        backend.say_to(&id, "d/marker-of-the-name", Says::Raw(*status, body.clone()));
        let reply = udp(dns.address, &query_as(&id, NAME, "A")).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(failed(&reply), ("SERVFAIL".to_owned(), Some(23)), "{status} {shown}");
    }
    assert_eq!(backend.count(), garbage.len());
    // A storm of questions is no storm of calls, and ends with the trouble.
    backend.say("d/marker-of-the-name", Says::Raw(200, "garbage".to_owned()));
    let before = backend.count();
    let client = Datagrams::open(dns.address).await;
    for _ in 0..200 {
        assert_eq!(client.ask(&query(NAME, "A")).await.code(), "SERVFAIL");
    }
    let calls = backend.count() - before;
    assert!(calls < 20, "{calls} calls for 200 questions");
    backend.say("d/marker-of-the-name", Says::value(IP));
    recovers(&dns).await;
    dns.stop().await;
}

/// Who runs the server is told what to mend, and who asks, what it was.
#[tokio::test]
async fn what_is_to_be_mended_is_said() {
    let error =
        |code: i32| format!(r#"{{"result":null,"error":{{"code":{code},"message":"marker-of-the-name"}},"id":1}}"#);
    for (status, body, logged, told) in [
        (404, error(-32601), "no method name_show", "no name_show"),
        (500, error(-1), "an old one takes no isolation ID", "arguments"),
        (500, error(-32603), "its own log may say why", "failed by itself"),
        (401, String::new(), "user name and password", "credentials"),
        (403, String::new(), "rpcallowip", "address"),
        (404, String::new(), "at this path", "no name_show"),
    ] {
        let backend = Backend::start().await;
        let dns = Dns::start(&backend, &[]).await;
        backend.say("d/marker-of-the-name", Says::Raw(status, body));
        let reply = udp(dns.address, &edns_query(NAME, "A")).await;
        assert_eq!(failed(&reply), ("SERVFAIL".to_owned(), Some(23)), "{status}");
        assert!(reply.extended_text().unwrap().contains(told), "{status} {reply:?}");
        until("it is logged", async || dns.log().contains(logged).then_some(())).await;
        assert!(dns.log().contains(&backend.url()), "and where: {}", dns.log());
        dns.stop().await;
    }
}

/// A value that the backend can't write as it is by default is asked for in hex.
#[tokio::test]
async fn a_value_that_is_no_ascii() {
    let backend = Backend::start().await;
    backend.say("d/marker-of-the-name", Says::value(r#"{"txt":"ä"}"#));
    let dns = Dns::start(&backend, &[]).await;
    let reply = udp(dns.address, &query(NAME, "TXT")).await;
    assert_eq!(reply.answers(), [r#"marker-of-the-name.bit. TXT "\195\164""#]);
    assert_eq!(backend.count(), 2);
    dns.stop().await;
}

/// Servers close connections that nobody uses, also at the moment at which they are used again.
#[tokio::test]
async fn a_connection_that_was_closed_meanwhile() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut connections = 0_u32;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections += 1;
            let mut request = vec![0; 4096];
            // One is served; the next gets nothing but the end.
            for is_first in [true, false] {
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let Some(name) = text.split("d/marker-of-the-").nth(1).filter(|_| is_first) else {
                    break;
                };
                let name = name.split('"').next().unwrap();
                let body = format!(
                    r#"{{"result":{{"name":"d/marker-of-the-{name}","value":"{{\"ip\":\"192.0.2.1\"}}","expired":false}},"error":null}}"#
                );
                let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
            if connections == 4 {
                return;
            }
        }
    });
    let dns = Dns::start_before(&url, &[]).await;
    for number in 0..4 {
        let reply = udp(dns.address, &query(&format!("marker-of-the-{number}.bit"), "A")).await;
        assert_eq!(reply.code(), "NOERROR", "{number}: {}", dns.log());
    }
    served.abort();
    dns.stop().await;
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_make_one_call() {
    let backend = Backend::start().await;
    backend.say("d/marker-of-the-name", Says::value(IP).held());
    let dns = Dns::start(&backend, &[]).await;
    let clients: Vec<_> = futures_util::future::join_all((0..40).map(|_| Datagrams::open(dns.address))).await;
    let mut lines: Vec<_> = futures_util::future::join_all((0..10).map(|_| Line::open(dns.address))).await;
    let asked = query(NAME, "A");
    for client in &clients {
        client.send(&asked.to_vec().unwrap()).await;
    }
    for line in &mut lines {
        line.send(&asked).await;
        // What comes after it on the same connection is answered: it was read.
        let apex = query("bit", "NS");
        line.send(&apex).await;
        assert_eq!(line.receive().await.message.metadata.id, apex.metadata.id);
    }
    // Datagrams are read in their order.
    udp(dns.address, &query("bit", "NS")).await;
    until("it is asked", async || (backend.count() > 0).then_some(())).await;
    backend.release();
    for client in &clients {
        assert_eq!(
            isonym_testkit::dns::wire::Reply::read(&client.receive().await).answers(),
            ANSWER
        );
    }
    for line in &mut lines {
        assert_eq!(line.receive().await.answers(), ANSWER);
    }
    assert_eq!(backend.count(), 1);
    dns.stop().await;
}

#[tokio::test]
async fn who_wants_too_much_at_once_gets_less_and_others_all() {
    /// Lookups at once of one identity.
    const MOST: usize = 256;
    let backend = Backend::start().await;
    backend.say_of_others(Says::Code(-4).held());
    backend.say_to("marker-of-the-id-2", "d/marker-of-the-name", Says::value(IP));
    let dns = Dns::start(&backend, &[]).await;
    let greedy = Datagrams::open(dns.address).await;
    for number in 0..MOST + 10 {
        let query = query_as("marker-of-the-id-1", &format!("n{number}.bit"), "A");
        greedy.send(&query.to_vec().unwrap()).await;
        // All at once would be more than the system keeps for a socket whose reader is busy: some would be lost.
        if number < MOST && number % 32 == 31 {
            until("these are asked", async || {
                (backend.count() == number + 1).then_some(())
            })
            .await;
        }
    }
    for _ in 0..10 {
        let reply = isonym_testkit::dns::wire::Reply::read(&greedy.receive().await);
        assert_eq!(failed(&reply), ("SERVFAIL".to_owned(), Some(0)));
    }
    let other = udp(dns.address, &query_as("marker-of-the-id-2", NAME, "A")).await;
    assert_eq!(other.answers(), ANSWER);
    until("all are asked", async || (backend.count() == MOST + 1).then_some(())).await;
    backend.release();
    for _ in 0..MOST {
        let reply = isonym_testkit::dns::wire::Reply::read(&greedy.receive().await);
        assert_eq!(reply.code(), "NXDOMAIN");
    }
    dns.stop().await;
}

#[tokio::test]
async fn it_ends_while_clients_wait() {
    let backend = Backend::start().await;
    backend.say_of_others(Says::value(IP).held());
    let dns = Dns::start(&backend, &[]).await;
    let client = Datagrams::open(dns.address).await;
    client.send(&query(NAME, "A").to_vec().unwrap()).await;
    let mut line = Line::open(dns.address).await;
    line.send(&query("marker-of-the-other.bit", "A")).await;
    until("both are asked", async || (backend.count() == 2).then_some(())).await;
    dns.stop().await;
    line.end().await;
}

#[tokio::test]
async fn logins_and_ways_to_ask() {
    use base64::Engine as _;
    let basic = |text: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        format!("Basic {text}")
    };
    let folder = tempfile::tempdir().unwrap();
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "__cookie__:marker-of-the-cookie").unwrap();
    let cookie = format!("--rpc-cookie={}", cookie.display());
    let user = ["--rpc-user=u", "--rpc-password=marker-of-the-password"];
    let electrum = [&user[..], &["--rpc-style=electrum"]].concat();
    for (arguments, login) in [
        (&[][..], None),
        (&user[..], Some(basic("u:marker-of-the-password"))),
        (&[cookie.as_str()], Some(basic("__cookie__:marker-of-the-cookie"))),
        (&electrum, Some(basic("u:marker-of-the-password"))),
    ] {
        let backend = Backend::start().await;
        backend.say("d/marker-of-the-name", Says::value(IP));
        let dns = Dns::start(&backend, arguments).await;
        let reply = udp(dns.address, &query_as("marker-of-the-id", NAME, "A")).await;
        assert_eq!(reply.answers(), ANSWER, "{arguments:?}");
        assert_eq!(backend.logins(), login.into_iter().collect());
        let call = Call {
            name: "d/marker-of-the-name".to_owned(),
            id: Some("marker-of-the-id".to_owned()),
        };
        assert_eq!(backend.calls(), [call], "{arguments:?}");
        dns.stop().await;
    }
}
