//! Servers, proxies and certificates that are not what they should be.

use std::net::TcpListener;

use isonym_sim::Transport;
use isonym_sim::proxy::{Mode, Refusal};

use super::{closed_port, world};
use isonym_testkit::program::{End, Program, Stage};

fn sync(program: &Program, arguments: &[&str]) -> End {
    End::of(program.on_regtest().arg("sync"), arguments)
}

#[test]
fn an_unknown_server() {
    let program = Program::new();
    // The name is reserved (RFC 6761): no resolver knows it.
    sync(&program, &["--direct", "--server=nowhere.invalid:50001:t"])
        .assert_failed(&["nowhere.invalid:50001:t", "unknown or unreachable"]);
}

#[test]
fn a_server_that_the_proxy_does_not_know() {
    let program = Program::new();
    let stage = Stage::new(world(), Transport::Tcp, Mode::Open);
    sync(&program, &[&stage.proxy(), "--server=nowhere.sim:50001:t"])
        .assert_failed(&["nowhere.sim:50001:t", "unknown or unreachable"]);
}

#[test]
fn a_closed_port() {
    let program = Program::new();
    let server = format!("--server={}:t", closed_port());
    sync(&program, &["--direct", &server]).assert_failed(&["refuses connections on this port"]);
}

#[test]
fn a_proxy_that_refuses() {
    let program = Program::new();
    for (refusal, words) in [
        (Refusal::GeneralFailure, "proxy could not connect: general failure"),
        (Refusal::NotAllowed, "not allowed by its rules"),
        (Refusal::ConnectionRefused, "refuses connections on this port"),
    ] {
        let stage = Stage::new(world(), Transport::Tcp, Mode::Refusing(refusal));
        sync(&program, &[&stage.proxy(), "--server=server.sim:50001:t"]).assert_failed(&["server.sim:50001:t", words]);
    }
    let stage = Stage::new(world(), Transport::Tcp, Mode::RejectingCredentials);
    sync(&program, &[&stage.proxy(), "--server=server.sim:50001:t"]).assert_failed(&["refuses made-up credentials"]);
}

#[test]
fn a_proxy_that_does_not_isolate() {
    let program = Program::new();
    let stage = Stage::new(world(), Transport::Tcp, Mode::WithoutAuthentication);
    sync(&program, &[&stage.proxy(), "--server=server.sim:50001:t"]).assert_failed(&[
        "does not isolate streams",
        "Tor",
        "--direct",
    ]);
}

#[test]
fn no_proxy() {
    let program = Program::new();
    let proxy = format!("--proxy=socks5://{}", closed_port());
    sync(&program, &[&proxy, "--server=server.sim:50001:t"]).assert_failed(&[
        "no proxy at",
        "start Tor",
        "--proxy",
        "--direct",
    ]);
}

#[test]
fn what_listens_at_the_proxy_is_no_proxy() {
    let program = Program::new();
    let stage = Stage::new(world(), Transport::Tcp, Mode::Open);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("--proxy=socks5://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        use std::io::{Read, Write};
        while let Ok((mut stream, _)) = listener.accept() {
            let mut greeting = [0; 4];
            if stream.read(&mut greeting).unwrap_or(0) == 1 {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    sync(&program, &[&proxy, &stage.server('t')]).assert_failed(&["proxy does not speak SOCKS5"]);
    let address = proxy.rsplit("//").next().unwrap();
    let _ = std::io::Write::write_all(&mut std::net::TcpStream::connect(address).unwrap(), b"x");
    answering.join().unwrap();
}

#[test]
fn tls_to_a_plain_port() {
    let program = Program::new();
    let stage = Stage::honest(world());
    sync(&program, &["--direct", &stage.server('s')]).assert_failed(&["TLS", "HOST:PORT:t"]);
}

#[test]
fn plain_to_a_tls_port() {
    let program = Program::new();
    let stage = Stage::new(world(), Transport::Tls, Mode::Open);
    sync(&program, &["--direct", &stage.server('t')]).assert_failed(&[&stage.server.to_string(), "HOST:PORT:s"]);
}

#[test]
fn a_changed_certificate() {
    let program = Program::new();
    let server = "--server=server.sim:50002:s";
    let first = Stage::new(world(), Transport::Tls, Mode::Open);
    sync(&program, &[&first.proxy(), server]).assert_succeeded();
    // The same again, so that it is not the second visit as such.
    sync(&program, &[&first.proxy(), server]).assert_succeeded();
    let pinned = std::fs::read_to_string(program.known_servers()).unwrap();
    assert!(pinned.contains("server.sim:50002:s "), "{pinned}");

    let second = Stage::new(world(), Transport::Tls, Mode::Open);
    let file = program.known_servers();
    let words = ["another certificate than before", file.to_str().unwrap()];
    sync(&program, &[&second.proxy(), server]).assert_failed(&words);
    let lookup = ["name_show", "d/here", &second.proxy(), server];
    End::of(&mut program.on_regtest(), lookup).assert_failed(&words);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), pinned);

    std::fs::remove_file(&file).unwrap();
    sync(&program, &[&second.proxy(), server]).assert_succeeded();
}

#[test]
fn a_server_of_another_network() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let arguments = ["--direct", "--network=mainnet", &stage.server('t'), "sync"];
    let data = program.home().join("data");
    End::of(program.bare().arg("--datadir").arg(data), arguments).assert_failed(&["genesis"]);
}

#[test]
fn one_good_server_among_bad_ones_is_enough() {
    let program = Program::new();
    let stage = Stage::honest(world());
    let closed = format!("--server={}:t", closed_port());
    let end = sync(&program, &["--direct", &closed, &stage.server('t')]);
    end.assert_succeeded();
    let status = End::of(&mut program.direct(), ["status"]);
    assert!(status.out.contains("refuses connections"), "{status:?}");
    assert!(status.out.contains(": ok, claims height"), "{status:?}");
}

#[test]
fn how_the_first_sync_went_is_known_afterwards() {
    let stage = Stage::honest(world());
    let program = Program::new();
    sync(&program, &["--direct", &stage.server('t')]).assert_succeeded();
    let status = End::of(&mut program.direct(), ["status", "--json"]).json();
    let server = &status["servers"][0];
    assert_eq!(
        (&server["result"], &server["headers"]),
        (&"ok".into(), &world().chain().height().into())
    );
}
