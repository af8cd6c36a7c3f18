//! The plugin as callers of proposal 279 meet it: the real program, on standard input and output.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use isonym_testkit::backend::{Backend, Call, Says};
use isonym_testkit::program::Program;
use isonym_testkit::running::signal;

const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(100);

/// Has names be looked up for longer than a test waits.
const PATIENT: [&str; 2] = ["--name-patience", "300"];

/// How long a reply may take to come where none should.
const A_MOMENT: Duration = Duration::from_millis(300);

/// A running plugin; killed when dropped.
struct Plugin {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    stderr: Option<thread::JoinHandle<String>>,
    program: Program,
}

impl Plugin {
    async fn start(backend: &Backend, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut plugin = Self::of(&backend.url(), arguments, environment);
        assert_eq!(plugin.hear().await, "INIT 1 0");
        plugin
    }

    fn of(url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--rpc-url", url]);
        Self::run(&arguments, environment)
    }

    /// Starts one that asks the daemon of a data folder where there is none.
    fn without_backend() -> Self {
        Self::run(&PATIENT, &[])
    }

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let program = Program::new();
        let mut command: Command = program.on_regtest();
        command.args(["prop279", "-vv"]).args(arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (lines, heard) = mpsc::unbounded_channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.split(b'\n') {
                let _ = lines.send(String::from_utf8(line.unwrap()).unwrap());
            }
        });
        let stderr = child.stderr.take().unwrap();
        Self {
            input: child.stdin.take(),
            child,
            lines: heard,
            stderr: Some(thread::spawn(move || std::io::read_to_string(stderr).unwrap())),
            program,
        }
    }

    fn say(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    async fn hear(&mut self) -> String {
        timeout(PATIENCE, self.lines.recv())
            .await
            .unwrap()
            .expect("it says no more")
    }

    async fn hears_nothing(&mut self) {
        let line = timeout(A_MOMENT, self.lines.recv()).await;
        assert!(line.is_err(), "{line:?}");
    }

    /// Hears so many replies to queries, whatever their order.
    async fn hear_replies(&mut self, count: usize) -> BTreeMap<i64, String> {
        let mut replies = BTreeMap::new();
        for _ in 0..count {
            let line = self.hear().await;
            let (query, rest) = line.strip_prefix("RESOLVED ").unwrap().split_once(' ').unwrap();
            assert_eq!(
                replies.insert(query.parse().unwrap(), rest.to_owned()),
                None,
                "twice: {line}"
            );
        }
        replies
    }

    /// Waits for its end; asserts that it told nothing of anybody.
    async fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it does not end"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let log = self.stderr.take().unwrap().join().unwrap();
        assert!(!log.contains("panicked") && !log.contains("marker"), "{log}");
        assert_eq!(self.lines.recv().await, None, "it says more than was heard");
        status.code()
    }

    fn signal(&self) {
        let status = signal("-TERM", self.child.id()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn names() -> Backend {
    let backend = Backend::start().await;
    for (name, value) in [
        ("a", json!({ "ip": "1.2.3.4" })),
        ("six", json!({ "ip6": "::1" })),
        ("alias", json!({ "alias": "www.example.com." })),
        ("both", json!({ "ip": "1.2.3.4", "map": { "_tor": { "txt": ONION } } })),
        ("other", json!({ "alias": "both.bit." })),
        ("moved", json!({ "translate": "other.example." })),
        ("ns", json!({ "ns": "ns.example.com." })),
        ("empty", json!({})),
        ("loop", json!({ "alias": "loop-back.bit." })),
        ("loop-back", json!({ "alias": "loop.bit." })),
        (
            "forged",
            json!({ "map": { "_tor": { "txt": format!("x.onion\nRESOLVED 99 0 {ONION}") } } }),
        ),
        (
            "spaced",
            json!({ "map": { "_tor": { "txt": format!("sp ace.{ONION}") } } }),
        ),
    ] {
        backend.say(&format!("d/{name}"), Says::value(&value));
    }
    backend.say("d/unreadable", Says::value("{"));
    backend.say("d/gone", Says::Expired("{\"ip\":\"1.2.3.4\"}".to_owned()));
    backend
}

/// The rows of ncprop279, but for what is mended here: aliases within .bit are followed, and a value's forged lines go
/// nowhere.
#[tokio::test]
async fn a_dialogue_is_as_recorded() {
    let backend = names().await;
    let mut plugin = Plugin::start(&backend, &[], &[]).await;
    let rows = [
        ("a.bit", "0 1.2.3.4"),
        ("six.bit", "0 ::1"),
        ("alias.bit", "0 www.example.com"),
        ("both.bit", &format!("0 {ONION}")),
        ("a.bit.onion", "3 \"a.bit.onion has nothing to connect to\""),
        ("both.bit.onion", &format!("0 {ONION}")),
        ("other.bit", &format!("0 {ONION}")),
        ("www.moved.bit", "0 www.other.example"),
        ("ns.bit", "3 \"ns.bit has nothing to connect to\""),
        ("empty.bit", "3 \"empty.bit has nothing to connect to\""),
        ("absent.bit", "3 \"absent.bit is not registered\""),
        ("gone.bit", "3 \"gone.bit is not registered\""),
        ("unreadable.bit", "3 \"unreadable.bit has a value that cannot be used\""),
        ("loop.bit", "3 \"loop.bit has a value that cannot be used\""),
        ("under_score.bit", "3 \"under_score.bit is no valid domain name\""),
        ("bit", "3 \"bit is no valid domain name\""),
        ("a..bit", "3 \"The name is no valid domain name\""),
        ("example.com", "2 \"example.com is not a Namecoin domain\""),
        ("foo.onion", "2 \"foo.onion is not a Namecoin domain\""),
        ("A.Bit.", "0 1.2.3.4"),
        ("forged.bit", "3 \"forged.bit has nothing to connect to\""),
        ("spaced.bit", "3 \"spaced.bit has nothing to connect to\""),
    ];
    for (number, (name, _)) in rows.iter().enumerate() {
        plugin.say(&format!("RESOLVE {number} {name} marker-of-the-id more words\n"));
    }
    let replies = plugin.hear_replies(rows.len()).await;
    for (number, (name, expected)) in rows.iter().enumerate() {
        assert_eq!(replies[&i64::try_from(number).unwrap()], *expected, "{name}");
    }
    drop(plugin.input.take());
    assert_eq!(plugin.end().await, Some(0));
    assert!(
        backend
            .calls()
            .iter()
            .all(|call| call.id.as_deref() == Some("marker-of-the-id"))
    );
}

#[tokio::test]
async fn that_no_daemon_is_there_is_told_once() {
    let program = Program::new();
    let mut command = program.on_regtest();
    command.arg("prop279").stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = "RESOLVE 1 a.bit x\nRESOLVE 2 b.bit x\nRESOLVE 3 c.bit y\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let ended = timeout(PATIENCE, ended).await.unwrap().unwrap();
    let (said, log) = (
        String::from_utf8(ended.stdout).unwrap(),
        String::from_utf8(ended.stderr).unwrap(),
    );
    assert_eq!(said.matches(" 1 \"Server failure\"").count(), 3, "{said}");
    assert_eq!(
        (log.lines().count(), log.matches("no daemon runs on").count()),
        (1, 1),
        "{log}"
    );
}

/// What a value draws on is bounded, and beyond the bounds it stays as it is: it is no use to try again.
#[tokio::test]
async fn values_that_draw_on_too_many_names_are_answered_at_once() {
    let backend = Backend::start().await;
    let imports = |of: &str, count: usize| (0..count).map(|at| format!("dd/{of}-{at}")).collect::<Vec<_>>();
    for of in ["wide", "a", "b", "c", "d", "deep"] {
        for name in imports(of, 70) {
            backend.say(&name, Says::value(&json!({ "map": { "x": { "ip": "192.0.2.9" } } })));
        }
    }
    backend.say(
        "d/wide",
        Says::value(&json!({ "import": imports("wide", 70), "ip": "192.0.2.1" })),
    );
    let next = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")];
    for (of, next) in next {
        let value = json!({ "import": imports(of, 30), "alias": format!("{next}.bit.") });
        backend.say(&format!("d/{of}"), Says::value(&value));
    }
    backend.say("d/e", Says::value(&json!({ "ip": "192.0.2.1" })));
    for at in 0..69 {
        let value = json!({ "import": format!("dd/deep-{}", at + 1) });
        backend.say(&format!("dd/deep-{at}"), Says::value(&value));
    }
    backend.say("d/deep", Says::value(&json!({ "import": "dd/deep-0" })));
    let broad: serde_json::Map<_, _> = imports("wide", 70)
        .into_iter()
        .enumerate()
        .map(|(at, name)| (format!("m{at}"), json!({ "import": name })))
        .collect();
    backend.say("d/maps", Says::value(&json!({ "map": broad })));
    let mut plugin = Plugin::start(&backend, &PATIENT, &[]).await;
    let rows = [
        ("wide.bit", "0 192.0.2.1"),
        ("a.bit", "3 \"a.bit has a value that cannot be used\""),
        ("deep.bit", "3 \"deep.bit has nothing to connect to\""),
        // It is longer than a value can be, so that the backend makes no sense.
        ("m3.maps.bit", "3 \"m3.maps.bit has a value that cannot be used\""),
    ];
    for (number, (name, _)) in rows.iter().enumerate() {
        plugin.say(&format!("RESOLVE {number} {name} x\n"));
    }
    let replies = plugin.hear_replies(rows.len()).await;
    for (number, (name, expected)) in rows.iter().enumerate() {
        assert_eq!(replies[&i64::try_from(number).unwrap()], *expected, "{name}");
    }
}

#[tokio::test]
async fn lines_that_make_no_sense_are_answered_where_they_have_a_number() {
    let backend = names().await;
    let mut plugin = Plugin::start(&backend, &[], &[]).await;
    plugin.say("\n   \nRESOLVE\nRESOLVE x a.bit\nHELLO 1 2\nRESOLVED 3 0 a\nresolve 3 a.bit\n");
    plugin.hears_nothing().await;
    plugin.say("RESOLVE 1\n");
    assert_eq!(plugin.hear().await, "RESOLVED 1 3 \"The name is no valid domain name\"");
    plugin.say(&format!("RESOLVE 2 a.bit {}\n", "i".repeat(1025)));
    assert_eq!(plugin.hear().await, "RESOLVED 2 3 \"The name is no valid domain name\"");
    plugin.say(&format!("RESOLVE 3 {}\n", "a".repeat(1 << 20)));
    assert_eq!(plugin.hear().await, "RESOLVED 3 3 \"The name is no valid domain name\"");
    plugin.say("RESOLVE 4 a.bit\r\n");
    assert_eq!(
        plugin.hear().await,
        "RESOLVED 4 3 \"The name is no valid domain name\"",
        "lines end in LF everywhere"
    );
    plugin.say("  RESOLVE\t-5   a.bit \n");
    assert_eq!(plugin.hear().await, "RESOLVED -5 0 1.2.3.4");
    drop(plugin.input.take());
    assert_eq!(plugin.end().await, Some(0));
}

/// ncprop279 answers one line after the other, and cancels nothing.
#[tokio::test]
async fn a_slow_name_keeps_nobody_waiting_and_can_be_given_up() {
    let backend = names().await;
    backend.say("d/slow", Says::value(&json!({ "ip": "192.0.2.1" })).held());
    let mut plugin = Plugin::start(&backend, &[], &[]).await;
    plugin.say("RESOLVE 1 slow.bit x\nRESOLVE 2 slow.bit y\nRESOLVE 3 a.bit x\n");
    assert_eq!(plugin.hear().await, "RESOLVED 3 0 1.2.3.4");
    plugin.say("CANCEL 1\n");
    assert_eq!(plugin.hear().await, "CANCELED 1");
    backend.release();
    assert_eq!(plugin.hear().await, "RESOLVED 2 0 192.0.2.1");
    plugin.hears_nothing().await;
    plugin.say("CANCEL 2\nCANCEL 77\n");
    assert_eq!(plugin.hear().await, "CANCELED 2");
    assert_eq!(plugin.hear().await, "CANCELED 77");
    drop(plugin.input.take());
    assert_eq!(plugin.end().await, Some(0));
}

#[tokio::test]
async fn each_isolation_id_is_looked_up_for_itself_and_retries_share_a_lookup() {
    let backend = names().await;
    backend.say("d/slow", Says::value(&json!({ "ip": "192.0.2.1" })).held());
    let mut plugin = Plugin::start(&backend, &[], &[]).await;
    plugin.say("RESOLVE 1 slow.bit x\nCANCEL 1\nRESOLVE 2 slow.bit x\nRESOLVE 3 slow.bit y\nRESOLVE 4 slow.bit\n");
    assert_eq!(plugin.hear().await, "CANCELED 1");
    plugin.hears_nothing().await;
    backend.release();
    assert_eq!(plugin.hear_replies(3).await.len(), 3);
    let mut calls = backend.calls();
    calls.sort();
    let call = |id: Option<&str>| Call {
        name: "d/slow".to_owned(),
        id: id.map(str::to_owned),
    };
    assert_eq!(calls, [call(None), call(Some("x")), call(Some("y"))]);
}

#[tokio::test]
async fn what_takes_too_long_is_a_time_out_and_what_fails_is_tried_again() {
    let backend = names().await;
    backend.say("d/slow", Says::value(&json!({})).held());
    backend.say("d/later", Says::Code(-28));
    let mut plugin = Plugin::start(&backend, &["--name-patience", "4"], &[]).await;
    plugin.say("RESOLVE 1 slow.bit\n");
    assert_eq!(plugin.hear().await, "RESOLVED 1 4 \"Timeout\"");
    plugin.say("RESOLVE 2 later.bit\n");
    plugin.hears_nothing().await;
    backend.say("d/later", Says::value(&json!({ "ip": "192.0.2.1" })));
    assert_eq!(plugin.hear().await, "RESOLVED 2 0 192.0.2.1");
}

#[tokio::test]
async fn onion_services_alone_where_that_is_wanted() {
    let backend = names().await;
    for (arguments, environment) in [
        (&["--onion-only"][..], &[][..]),
        (
            &[],
            &[
                ("TOR_NS_PLUGIN_OPTIONS", "onlyonion=1"),
                ("TOR_NS_PROTO_VERSION", "x,1"),
            ],
        ),
    ] {
        let mut plugin = Plugin::start(&backend, arguments, environment).await;
        plugin.say("RESOLVE 1 a.bit\n");
        assert_eq!(plugin.hear().await, "RESOLVED 1 3 \"a.bit has nothing to connect to\"");
        plugin.say("RESOLVE 2 both.bit\n");
        assert_eq!(plugin.hear().await, format!("RESOLVED 2 0 {ONION}"));
    }
}

#[tokio::test]
async fn it_says_so_where_it_can_not_start() {
    let backend = names().await;
    for environment in [
        ("TOR_NS_PROTO_VERSION", "2,3"),
        ("TOR_NS_PLUGIN_OPTIONS", "onlyonion"),
        ("TOR_NS_PLUGIN_OPTIONS", "shoes=2"),
    ] {
        let mut plugin = Plugin::of(&backend.url(), &[], &[environment]);
        let line = plugin.hear().await;
        assert!(line.starts_with("INIT 1 1 \"") && line.ends_with('"'), "{line}");
        assert_eq!(plugin.end().await, Some(1));
    }
}

/// StemNS starts a plugin once, and never again.
#[tokio::test]
async fn it_starts_without_its_backend_and_answers_once_that_is_there() {
    let nowhere = Backend::nowhere().await;
    let mut plugin = Plugin::of(&format!("http://{nowhere}"), &PATIENT, &[]);
    assert_eq!(plugin.hear().await, "INIT 1 0");
    // It is waited for as long as a daemon takes to start anew, and no longer.
    plugin.say("RESOLVE 1 a.bit\n");
    assert_eq!(plugin.hear().await, "RESOLVED 1 1 \"Server failure\"");
    let backend = Backend::start_at(nowhere).await;
    backend.say("d/b", Says::value(&json!({ "ip": "1.2.3.4" })));
    // Another name, since a failure is remembered for a moment.
    plugin.say("RESOLVE 2 b.bit\n");
    assert_eq!(plugin.hear().await, "RESOLVED 2 0 1.2.3.4");
    drop(plugin.input.take());
    assert_eq!(plugin.end().await, Some(0));
}

#[tokio::test]
async fn it_finds_a_daemon_that_starts_later_and_one_that_takes_its_place() {
    let mut plugin = Plugin::without_backend();
    assert_eq!(plugin.hear().await, "INIT 1 0");
    plugin.say("RESOLVE 0 a.bit\n");
    assert_eq!(plugin.hear().await, "RESOLVED 0 1 \"Server failure\"");
    let folder = plugin.program.folder();
    std::fs::create_dir_all(&folder).unwrap();
    for number in 1..3 {
        let backend = Backend::start().await;
        let address = format!("192.0.2.{number}");
        backend.say(&format!("d/a{number}"), Says::value(&json!({ "ip": address })));
        std::fs::write(folder.join(".cookie"), "__cookie__:secret").unwrap();
        std::fs::write(folder.join(".rpc-address"), backend.address.to_string()).unwrap();
        plugin.say(&format!("RESOLVE {number} a{number}.bit\n"));
        assert_eq!(plugin.hear().await, format!("RESOLVED {number} 0 {address}"));
    }
    drop(plugin.input.take());
    assert_eq!(plugin.end().await, Some(0));
}

#[tokio::test]
async fn it_ends_with_its_input_once_all_is_answered_and_at_once_on_a_signal() {
    let backend = names().await;
    backend.say("d/slow", Says::value(&json!({ "ip": "192.0.2.1" })).held());
    let mut plugin = Plugin::start(&backend, &[], &[]).await;
    plugin.say("RESOLVE 1 slow.bit\n");
    plugin.hears_nothing().await;
    plugin.signal();
    assert_eq!(plugin.end().await, Some(0));
    let mut plugin = Plugin::start(&backend, &[], &[]).await;
    plugin.say("RESOLVE 1 slow.bit\n");
    drop(plugin.input.take());
    plugin.hears_nothing().await;
    backend.release();
    assert_eq!(plugin.hear().await, "RESOLVED 1 0 192.0.2.1");
    assert_eq!(plugin.end().await, Some(0));
}
