//! There is never no server: the only one is asked again, whatever it was found to be, and it is told what is wrong with it.

use isonym_sim::{Fault, Release, SharedWorld};
use isonym_testkit::harness::{Daemon, id, until};
use isonym_testkit::program::Program;
use isonym_testkit::stage::{Stage, VALUE, world};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A stage whose first server has a fault and whose second one is honest, and a daemon that knows the first alone.
async fn before_one_with(fault: Fault, program: &Program) -> (Stage, Daemon) {
    let world = SharedWorld::new(world());
    let hosts = [Some(fault), None].map(|fault| (world.clone(), Release::default(), fault));
    let stage = Stage::with_worlds(hosts.into()).await;
    let way = [
        format!("--proxy=socks5://{}", stage.proxy.addr),
        format!("--server={}:50001:t", stage.hosts[0].name),
    ];
    let daemon = Daemon::start_on(program, &way, &["--pool=none"]).await;
    (stage, daemon)
}

/// From now on the daemon's server is an honest one.
fn mend(stage: &Stage) {
    stage.proxy.route(&stage.hosts[0].name, stage.hosts[1].addr);
}

async fn warnings(daemon: &Daemon) -> Vec<String> {
    let mut info = daemon.call("getnetworkinfo", json!([])).await.unwrap();
    serde_json::from_value(info["warnings"].take()).unwrap()
}

#[tokio::test]
async fn an_only_server_that_is_of_no_use_is_named_with_its_reason_and_used_once_it_is_of_use() {
    for fault in [Fault::WrongNetwork, Fault::TruncatedHeaders, Fault::GarbageJson] {
        let program = Program::new();
        let (stage, daemon) = before_one_with(fault.clone(), &program).await;
        let server = &stage.hosts[0].name;
        let warned = until("it is told", async || {
            let mut warnings = warnings(&daemon).await.into_iter();
            warnings.find(|warning| warning.contains(server))
        })
        .await;
        assert!(warned.len() > server.len() + 40, "{fault:?}: no reason in {warned:?}");
        assert!(daemon.value(&id(1)).await.is_err());
        mend(&stage);
        daemon.synced().await;
        assert_eq!(daemon.value(&id(2)).await.as_deref(), Ok(VALUE), "{fault:?}");
        until("nothing is wrong any more", async || {
            warnings(&daemon).await.is_empty().then_some(())
        })
        .await;
        let status = daemon.call("status", json!([])).await.unwrap();
        assert_eq!(status["servers"][0]["state"], Value::from("good"), "{status}");
    }
}

#[tokio::test]
async fn an_only_server_that_lied_to_many_is_asked_all_the_same() {
    const MANY: usize = 6;
    let program = Program::new();
    let (stage, daemon) = before_one_with(Fault::ForgedMerkleBranch, &program).await;
    daemon.synced().await;
    let daemon = std::sync::Arc::new(daemon);
    let lookups: JoinSet<_> = (0..MANY)
        .map(|at| {
            let daemon = std::sync::Arc::clone(&daemon);
            async move { daemon.value(&id(at)).await }
        })
        .collect();
    for answer in lookups.join_all().await {
        assert!(answer.is_err(), "{answer:?}");
    }
    mend(&stage);
    // Those that it lied to, and others.
    for at in 0..2 * MANY {
        assert_eq!(daemon.value(&id(at)).await.as_deref(), Ok(VALUE), "{at}");
    }
}
