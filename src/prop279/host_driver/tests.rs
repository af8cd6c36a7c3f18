//! Plugins that are real programs: scripts of the shell.

use std::fs;

use tempfile::TempDir;
use tokio::time::timeout;

use super::super::line::{OutgoingQuery, QueryId};
use super::*;

/// A plugin that does as names say.
const SCRIPT: &str = r#"
    echo started >> "$TOR_NS_STATE_LOCATION/log"
    echo "INIT 1 0"
    while read -r verb query name id; do
        case "$verb $name" in
            "RESOLVE slow.bit") ;;
            "RESOLVE dead.bit") exit 1 ;;
            "RESOLVE env.bit") echo "RESOLVED $query 0 $TOR_NS_PROTO_VERSION.options$TOR_NS_PLUGIN_OPTIONS" ;;
            "RESOLVE none.bit") echo "RESOLVED $query 3 \"$name is not registered\"" ;;
            RESOLVE*) echo "RESOLVED $query 0 $name.${id:-nobody}" ;;
            CANCEL*) echo "CANCELED $query"; echo cancelled >> "$TOR_NS_STATE_LOCATION/log" ;;
        esac
    done
    echo ended >> "$TOR_NS_STATE_LOCATION/log"
"#;

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn scripted() -> (PluginHost, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (
        PluginHost::new("bit", shell(SCRIPT), Some(folder.path().to_owned())),
        folder,
    )
}

fn log(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

fn id(text: &str) -> IsolationId {
    IsolationId::new(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_plugin_is_started_asked_and_ended() {
    let (host, folder) = scripted();
    for (name, who) in [
        ("", None),
        ("a b", None),
        ("a.bit\nCANCEL 1", None),
        ("a.bit", Some(id("a\nb"))),
    ] {
        assert_eq!(
            host.resolve(name, who.as_ref()).await,
            Err(Failure::Invalid),
            "{name:?}"
        );
    }
    assert_eq!(log(&folder), "", "nobody has asked for anything yet");
    assert_eq!(host.resolve("a.bit", Some(&id("me"))).await.unwrap(), "a.bit.me");
    assert_eq!(host.resolve("a.bit", None).await.unwrap(), "a.bit.nobody");
    assert_eq!(host.resolve("a.bit", Some(&id(""))).await.unwrap(), "a.bit.nobody");
    assert_eq!(host.resolve("env.bit", None).await.unwrap(), "1.options");
    assert_eq!(host.resolve("none.bit", None).await, Err(Failure::NotRegistered));
    host.close().await;
    assert_eq!(log(&folder), "started\nended\n");
}

#[tokio::test]
async fn a_query_that_nobody_waits_for_is_cancelled() {
    let (host, folder) = scripted();
    tokio::select! {
        _ = host.resolve("slow.bit", None) => panic!("it is never answered"),
        other = host.resolve("a.bit", None) => assert!(other.is_ok()),
    }
    // The plugin reads one line after the other.
    assert!(host.resolve("b.bit", None).await.is_ok());
    assert_eq!(log(&folder), "started\ncancelled\n");
}

#[tokio::test]
async fn a_plugin_that_dies_is_started_again() {
    let (host, folder) = scripted();
    let host = std::sync::Arc::new(host);
    let fatal = tokio::spawn({
        let host = std::sync::Arc::clone(&host);
        async move { host.resolve("dead.bit", None).await }
    });
    // It is asked of the second one, too.
    assert_eq!(fatal.await.unwrap(), Err(Failure::Unavailable));
    assert_eq!(host.resolve("a.bit", None).await.unwrap(), "a.bit.nobody");
    assert_eq!(log(&folder), "started\n".repeat(3));
}

#[tokio::test]
async fn a_plugin_that_cannot_be_started_fails() {
    for argv in [
        Vec::new(),
        vec!["/nowhere/to/be/found".to_owned()],
        shell("exit 1"),
        shell("echo 'INIT 1 1 \"no\"'; exec sleep 1000"),
    ] {
        let host = PluginHost::new("bit", argv, None);
        assert_eq!(host.resolve("a.bit", None).await, Err(Failure::Unavailable));
        host.close().await;
    }
}

#[tokio::test]
async fn a_plugin_that_floods_is_ended() {
    let host = PluginHost::new("bit", shell("echo INIT 1 0; exec yes"), None);
    assert_eq!(host.resolve("a.bit", None).await, Err(Failure::Unavailable));
    let endless = "echo INIT 1 0; exec tr '\\0' a < /dev/zero";
    let host = PluginHost::new("bit", shell(endless), None);
    assert_eq!(host.resolve("a.bit", None).await, Err(Failure::Unavailable));
}

#[tokio::test]
async fn a_plugin_that_neither_reads_nor_ends_blocks_nobody() {
    let host = PluginHost::new("bit", shell("echo INIT 1 0; exec sleep 1000"), None);
    let name = "a".repeat(Word::MAX_LEN);
    for _ in 0..200 {
        let asked = timeout(Duration::from_millis(1), host.resolve(&name, None)).await;
        assert!(asked.is_err(), "nobody could have answered");
    }
    host.close().await;
}

#[tokio::test]
async fn what_waits_for_a_plugin_to_read_is_bounded() {
    let mut child = Child::start(&shell("exec sleep 1000"), None).unwrap();
    let long = Word::new(&"a".repeat(Word::MAX_LEN)).unwrap();
    let request = OutgoingQuery::Resolve {
        query: QueryId(1),
        name: long.clone(),
        id: Some(long),
    };
    let written = (0..10_000).take_while(|_| child.write(&request)).count();
    assert!((1_000..3_000).contains(&written), "{written}");
}
