//! `isonym resolve`, and what `isonym dns` says when it can't begin.

use isonym::time::Timestamp;
use isonym_sim::{AddressKind, World};
use serde_json::json;

use isonym_testkit::backend::{Backend, Call, Says};
use isonym_testkit::dns::server::{Dns, listens};
use isonym_testkit::dns::wire::assert_lives;
use isonym_testkit::harness::{Daemon, Stop, end_of, honest, until, way};
use isonym_testkit::program::{End, Program};
use isonym_testkit::running::{Running, eventually};

const VALUE: &str = r#"{"ip":["192.0.2.1","broken"],"txt":"a b","import":"dd/marker-of-the-import","map":{"www":{"alias":"@"},"_tcp":{"map":{"_http":{"srv":[[1,2,80,"www.@"]]}}}}}"#;
const IMPORTED: &str = r#"{"ip6":"2001:db8::1"}"#;
const NAME: &str = "d/marker-of-the-name";
const IMPORT: &str = "dd/marker-of-the-import";
const DOMAIN: &str = "marker-of-the-name.bit";

const ALL: &str = "\
marker-of-the-name.bit. 600 IN A 192.0.2.1
marker-of-the-name.bit. 600 IN TXT \"a b\"
marker-of-the-name.bit. 600 IN AAAA 2001:db8::1
_http._tcp.marker-of-the-name.bit. 600 IN SRV 1 2 80 www.marker-of-the-name.bit.
www.marker-of-the-name.bit. 600 IN CNAME marker-of-the-name.bit.
";

async fn backend() -> Backend {
    let backend = Backend::start().await;
    backend.say(NAME, Says::value(VALUE));
    backend.say(IMPORT, Says::value(IMPORTED));
    backend.say("d/empty", Says::value("{}"));
    backend.say("d/old", Says::Expired(VALUE.to_owned()));
    backend.say("d/unread", Says::value("no JSON"));
    backend.say("d/broken", Says::Code(-28));
    backend
}

/// Resolves by this way to the backend.
async fn resolve(program: &Program, way: &[String], arguments: &[&str]) -> End {
    let mut command = program.on_regtest();
    command.args(way).arg("resolve").args(arguments);
    end_of(command).await
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// What holds wherever values come from.
async fn assert_resolves(program: &Program, way: &[String], more: &[&str]) {
    let ask = async |arguments: &[&str]| resolve(program, way, &[arguments, more].concat()).await;
    let end = ask(&[DOMAIN]).await;
    end.assert_succeeded();
    assert_eq!(sorted(&end.out), sorted(ALL));
    for (arguments, expected) in [
        (&[DOMAIN, "A"][..], "marker-of-the-name.bit. 600 IN A 192.0.2.1\n"),
        (
            &["MARKER-of-the-name.BIT.", "aaaa"],
            "MARKER-of-the-name.BIT. 600 IN AAAA 2001:db8::1\n",
        ),
        (
            &["www.marker-of-the-name.bit", "TYPE1"],
            "www.marker-of-the-name.bit. 600 IN CNAME marker-of-the-name.bit.\n",
        ),
        (
            &["_tcp.marker-of-the-name.bit"],
            "_http._tcp.marker-of-the-name.bit. 600 IN SRV 1 2 80 www.marker-of-the-name.bit.\n",
        ),
    ] {
        let end = ask(arguments).await;
        end.assert_succeeded();
        assert_eq!(end.out, expected, "{arguments:?}");
    }
    let explained = ask(&[DOMAIN, "A", "--explain"]).await;
    explained.assert_succeeded();
    let lines: Vec<&str> = explained.out.lines().collect();
    assert_eq!(lines[0], "marker-of-the-name.bit. 600 IN A 192.0.2.1");
    assert!(lines.len() == 2 && lines[1].starts_with("; ip[1]: "), "{explained:?}");

    let shown = ask(&[DOMAIN, "TXT", "--json", "--explain"]).await;
    shown.assert_succeeded();
    let mut shown = shown.json();
    let reason = shown["problems"][0]["reason"].take();
    assert!(reason.as_str().is_some_and(|reason| !reason.is_empty()));
    let record =
        json!({ "name": "marker-of-the-name.bit.", "ttl": 600, "class": "IN", "type": "TXT", "data": "\"a b\"" });
    let expected = json!({
        "name": "marker-of-the-name.bit.", "status": "NOERROR", "note": null, "records": [record],
        "problems": [{ "path": "ip[1]", "reason": null }],
    });
    assert_eq!(shown, expected);

    for arguments in [
        &[DOMAIN, "MX"][..],
        &["nosuch.marker-of-the-name.bit"],
        &["marker-of-the-nothing.bit"],
    ] {
        let end = ask(arguments).await;
        assert_eq!((end.status, end.out.as_str()), (Some(2), ""), "{arguments:?}: {end:?}");
        assert!(end.err.contains(arguments[0]), "{end:?}");
    }
    for (arguments, words) in [
        (&["example.com"][..], &["REFUSED"][..]),
        (&[DOMAIN, "NOSUCH"], &["NOSUCH", "record type"]),
        (&["a..b"], &["a..b", "domain name"]),
    ] {
        ask(arguments).await.assert_failed(words);
    }
}

#[tokio::test]
async fn before_a_stand_in() {
    let backend = backend().await;
    let program = Program::new();
    let url = backend.url();
    assert_resolves(&program, &[], &["--rpc-url", &url]).await;
    let ask = async |arguments: &[&str]| resolve(&program, &[], &[arguments, &["--rpc-url", &url]].concat()).await;
    for (name, status, word) in [
        ("empty.bit", Some(2), "no such record"),
        ("old.bit", Some(2), "expired"),
        ("unread.bit", Some(1), "JSON"),
        ("broken.bit", Some(1), "synchronised"),
    ] {
        let end = ask(&[name]).await;
        assert_eq!((end.status, end.out.as_str()), (status, ""), "{end:?}");
        assert!(end.err.contains(word), "{end:?}");
    }
    let end = ask(&["nosuch.bit", "--json"]).await;
    assert_eq!((end.status, &end.json()["status"]), (Some(2), &json!("NXDOMAIN")));

    let before = backend.count();
    ask(&[DOMAIN, "--isolation-id=me"]).await.assert_succeeded();
    let call = |name: &str| Call {
        name: name.to_owned(),
        id: Some("me".to_owned()),
    };
    assert_eq!(backend.calls()[before..], [call(NAME), call(IMPORT)]);
    let long = format!("--isolation-id={}", "x".repeat(1025));
    ask(&[DOMAIN, &long]).await.assert_failed(&["--isolation-id", "1025"]);

    let nowhere = format!("http://{}", Backend::nowhere().await);
    let end = resolve(&program, &[], &[DOMAIN, "--rpc-url", &nowhere]).await;
    end.assert_failed(&["SERVFAIL", "backend"]);
    let end = resolve(&program, &[], &[DOMAIN, "--rpc-url=https://x"]).await;
    end.assert_failed(&["https://x"]);
}

/// A value that is not published yet: its records, without anything being asked.
#[tokio::test]
async fn a_value_before_it_is_published() {
    let program = Program::new();
    let backend = backend().await;
    let url = backend.url();
    let ask = async |arguments: &[&str]| resolve(&program, &[], &[arguments, &["--rpc-url", &url]].concat()).await;
    let value =
        r#"{"ns":"ns1.example.com","ip":"192.0.2.1","loc":"52 22 23 N 4 53 32 E -2m","map":{"www":"192.0.2.2"}}"#;
    let end = ask(&["--value", value, "new.bit"]).await;
    end.assert_succeeded();
    assert_eq!(
        end.out,
        "new.bit. 600 IN NS ns1.example.com.new.bit.\n\
         ; hidden by `ns`: www.new.bit. 600 IN A 192.0.2.2\n\
         ; ns: without a final dot this is `ns1.example.com.new.bit.`\n\
         ; ip: not served: hidden by `ns`\n\
         ; loc: not served: hidden by `ns`\n\
         ; ns: hides the map beside it: names below are not served from here, but for addresses as glue\n"
    );
    let shown = ask(&["--value", value, "new.bit", "--json"]).await.json();
    let hidden: Vec<_> = shown["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["hiddenBy"])
        .collect();
    assert_eq!(hidden, [&json!(null), &json!("ns")]);

    std::fs::create_dir_all(program.folder()).unwrap();
    let file = program.folder().join("value.json");
    std::fs::write(&file, "{\"loc\":\"52 22 23 N 4 53 32 E -2m\"}\n").unwrap();
    let from = format!("@{}", file.display());
    let end = ask(&["--value", &from, "new.bit", "LOC"]).await;
    assert_eq!(
        end.out,
        "new.bit. 600 IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m\n"
    );
    assert_eq!(backend.count(), 0, "nothing was asked");

    // What it imports is.
    let importing = format!(r#"{{"import":"{IMPORT}"}}"#);
    let end = ask(&["--value", &importing, DOMAIN]).await;
    end.assert_succeeded();
    assert_eq!(end.out, "marker-of-the-name.bit. 600 IN AAAA 2001:db8::1\n");
    assert_eq!(backend.count(), 1, "but not the name itself");

    for (arguments, words) in [
        (&["--value", "{", "new.bit"][..], &["new.bit", "JSON"][..]),
        (&["--value", "@/no/such/file", "new.bit"], &["/no/such/file"]),
        (&["--value", "{}", "example.com"], &["example.com", ".bit"]),
    ] {
        ask(arguments).await.assert_failed(words);
    }
    let long = format!(r#"{{"txt":"{}"}}"#, "x".repeat(1100));
    ask(&["--value", &long, "new.bit"]).await.assert_failed(&["1023"]);
    let unrelayed = format!(r#"{{"txt":"{}"}}"#, "x".repeat(600));
    let end = ask(&["--value", &unrelayed, "new.bit"]).await;
    end.assert_succeeded();
    assert!(end.err.contains("520"), "{end:?}");
}

#[tokio::test]
async fn by_itself_and_with_a_daemon() {
    let mut world = World::new(1, Timestamp(1_700_000_000));
    world.mine(110);
    world
        .register_all(&[
            (NAME, VALUE, AddressKind::P2wpkh),
            (IMPORT, IMPORTED, AddressKind::P2wpkh),
        ])
        .unwrap();
    world.mine(20);
    let (stage, _) = honest(world, 1).await;
    let program = Program::new();
    let way = way(&stage);
    assert_resolves(&program, &way, &[]).await;
    let daemon = Daemon::ready(&program, &stage, &[]).await;
    assert_resolves(&program, &way, &[]).await;

    // And a DNS server beside it finds it by itself.
    let mut command = program.on_regtest();
    command.args(["resolve", DOMAIN, "A"]);
    end_of(command).await.assert_succeeded();
    daemon.stop(Stop::Terminate, &stage.ledger).await;
}

#[tokio::test]
async fn a_server_that_has_nobody_to_ask_yet_says_so_and_serves() {
    let program = Program::new();
    let mut command = program.on_regtest();
    command.args(["dns", "--listen=127.0.0.1:0"]);
    let mut server = Running::start(command, &program.home().join("log"));
    let words = [
        "no daemon runs",
        "isonym daemon",
        "--dns-listen",
        "--rpc-url",
        "listening on",
    ];
    eventually("it says what to do, and listens", async || {
        words.iter().all(|word| server.log().contains(word))
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let backend = backend().await;
    let dns = Dns::start(&backend, &[]).await;
    let program = Program::new();
    let address = dns.address.to_string();
    let mut second = program.on_regtest();
    second.args(["dns", "--listen", &address, "--rpc-url", &backend.url()]);
    end_of(second)
        .await
        .assert_failed(&["cannot listen on", &address, "another program", "--dns-listen"]);
    let (stage, _) = honest(World::new(1, Timestamp(1_700_000_000)), 1).await;
    let mut daemon = program.on_regtest();
    daemon.args(way(&stage));
    daemon.args(["daemon", "--rpc-listen=127.0.0.1:0", "--dns-listen", &address]);
    end_of(daemon)
        .await
        .assert_failed(&["cannot listen on", &address, "--dns-listen"]);
    for file in [".cookie", ".rpc-address"] {
        assert!(!program.folder().join(file).exists());
    }
    dns.stop().await;
}

#[tokio::test]
async fn several_places_to_listen_at() {
    let backend = backend().await;
    let dns = Dns::start(&backend, &["--listen=127.0.0.2:0,127.0.0.3:0"]).await;
    let log = until("all are open", async || {
        let log = dns.log();
        (log.matches(" for DNS").count() == 3).then_some(log)
    })
    .await;
    for line in log.lines().filter(|line| line.ends_with(" for DNS")) {
        assert_lives(listens(line).unwrap()).await;
    }
    dns.stop().await;
}

#[tokio::test]
async fn help_has_examples() {
    for command in ["dns", "resolve", "daemon"] {
        let end = End::of(&mut Program::new().bare(), [command, "--help"]);
        end.assert_succeeded();
        assert!(end.out.contains("Examples:\n  isonym "), "{command}: {}", end.out);
    }
    for (arguments, words) in [
        (&["dns", "--dns-patience=0"][..], &["--dns-patience"][..]),
        (&["dns", "--suffix=."], &["--dns-suffix", "root"]),
        (&["dns", "--rpc-url=nowhere"], &["nowhere"]),
        (
            &[
                "dns",
                "--dnssec=/nonexistent",
                "--listen=127.0.0.1:0",
                "--rpc-url=http://127.0.0.1:1",
            ],
            &["--dnssec"],
        ),
        (
            &["daemon", "--dnssec=/nonexistent", "--rpc-listen=127.0.0.1:0"],
            &["--dnssec", "--dns-listen"],
        ),
    ] {
        let mut command = Program::new().on_regtest();
        End::of(&mut command, arguments).assert_failed(words);
    }
}
