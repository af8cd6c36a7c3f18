//! The service over a server that answers when it is told to.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::*;
use crate::jsonrpc::Client;
use crate::jsonrpc::client::{ClientSettings, Dialect, Login};
use crate::jsonrpc::code;

/// What the server was asked, and what it is to answer: calls beyond that wait.
#[derive(Clone)]
struct Script {
    asked: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<VecDeque<Value>>>,
    ready: Arc<Semaphore>,
}

impl Script {
    /// Starts a server, and a service that asks it.
    async fn start() -> (Self, NameService) {
        Self::start_for_quorum(1).await
    }

    async fn start_for_quorum(quorum: u8) -> (Self, NameService) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let settings = ClientSettings {
            url: format!("http://{}", listener.local_addr().unwrap()),
            login: Login::None,
            dialect: Dialect::Core,
            timeout: Duration::from_secs(60),
        };
        let script = Self {
            asked: Arc::default(),
            answers: Arc::default(),
            ready: Arc::new(Semaphore::new(0)),
        };
        let server = script.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        let service = NameService::remote(Client::new(settings).unwrap(), CacheSettings::default(), quorum);
        (script, service)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8(bytes.clone()).unwrap();
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(call) = serde_json::from_str::<Value>(body)
            {
                bytes.clear();
                self.asked.lock().unwrap().push(call);
                self.ready.acquire().await.unwrap().forget();
                let answer = self.answers.lock().unwrap().pop_front().unwrap().to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                stream.write_all((head + &answer).as_bytes()).await.unwrap();
            }
            if stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                continue;
            }
            return;
        }
    }

    fn answer(&self, answers: impl IntoIterator<Item = Value>) {
        for answer in answers {
            self.answers.lock().unwrap().push_back(answer);
            self.ready.add_permits(1);
        }
    }

    /// Waits until the server was asked so often, and returns the parameters of each call; it is not asked more often.
    async fn asked(&self, times: usize) -> Vec<Value> {
        while self.asked.lock().unwrap().len() < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asked = self.asked.lock().unwrap().clone();
        assert_eq!(asked.len(), times);
        asked.iter().map(|call| call["params"].clone()).collect()
    }
}

fn absent() -> Value {
    json!({ "error": { "code": code::NAME, "message": "there is none" } })
}

fn warming_up() -> Value {
    json!({ "error": { "code": code::WARMUP, "message": "later" } })
}

fn name(text: &str) -> NameId {
    NameId::new(text.as_bytes()).unwrap()
}

fn id(text: &str) -> IsolationId {
    IsolationId::new(text.as_bytes()).unwrap()
}

fn question(who: &str, text: &str) -> Question {
    Question {
        name: name(text),
        isolation_id: Some(id(who)),
        allow_expired: false,
        quorum: None,
        max_age: None,
    }
}

fn is_absent(result: &NameResult) -> bool {
    matches!(result, Ok(Answer::Stated(Stated::Absent)))
}

fn is_known(service: &NameService, who: &str, text: &str) -> bool {
    let who = service.identity(Some(&id(who)));
    service.with_known(&who, |known| known.find(&name(text)).is_some())
}

#[tokio::test]
async fn equal_questions_of_one_identity_are_one_lookup() {
    let (script, service) = Script::start().await;
    let begin = |who: &str, text: &str| service.begin(&service.identity(Some(&id(who))), &name(text)).unwrap();
    let pending = [
        begin("a", "d/x"),
        begin("a", "d/x"),
        begin("b", "d/x"),
        begin("a", "d/y"),
    ];
    script.asked(3).await;
    script.answer([absent(), absent(), absent()]);
    for pending in pending {
        assert!(is_absent(&wait(pending).await));
    }
    assert!(is_absent(&wait(begin("a", "d/x")).await));
    assert!(is_absent(&service.name_show(&question("b", "d/x")).await));
    script.asked(3).await;
    assert!(is_known(&service, "a", "d/y"));
    assert!(!is_known(&service, "b", "d/y"));
}

#[tokio::test]
async fn a_lookup_goes_on_when_who_began_it_leaves() {
    let (script, service) = Script::start().await;
    let wanted = question("a", "d/x");
    let leaving = tokio::time::timeout(Duration::from_millis(5), service.name_show(&wanted));
    assert!(leaving.await.is_err());
    let who = service.identity(Some(&id("a")));
    let pending = service.begin(&who, &name("d/x")).unwrap();
    script.answer([absent()]);
    assert!(is_absent(&wait(pending).await));
    script.asked(1).await;
}

#[tokio::test]
async fn a_front_that_has_too_much_in_work_is_refused_and_no_other() {
    let (script, service) = Script::start().await;
    let limits = |lookups, lookups_of_one| CallerLimits {
        lookups,
        lookups_of_one,
        lookups_of_client: lookups,
    };
    let dns = service.for_caller(Caller::Dns, limits(2, 1));
    let begin =
        |service: &NameService, who: &str, text: &str| service.begin(&service.identity(Some(&id(who))), &name(text));
    let first = begin(&dns, "a", "d/x").unwrap();
    let of_one = begin(&dns, "a", "d/y").unwrap_err();
    assert!(matches!(of_one, ServiceError::Busy { limit: 1 }));
    let second = begin(&dns, "b", "d/y").unwrap();
    let of_all = begin(&dns, "c", "d/y").unwrap_err();
    assert!(matches!(of_all, ServiceError::Busy { limit: 2 }));
    assert!(begin(&dns, "b", "d/y").is_ok(), "to wait for the same takes no place");
    let rpc = service.for_caller(Caller::Rpc, limits(1, 1));
    let other = begin(&rpc, "c", "d/y").unwrap();
    script.answer([absent(), absent(), absent()]);
    for pending in [first, second, other] {
        assert!(is_absent(&wait(pending).await));
    }
    assert!(!is_known(&dns, "c", "d/x"));
    let later = begin(&dns, "c", "d/x").unwrap();
    script.answer([absent()]);
    assert!(is_absent(&wait(later).await));
}

#[tokio::test]
async fn one_client_of_a_front_leaves_the_others_their_share() {
    let (script, service) = Script::start().await;
    let limits = CallerLimits {
        lookups: 8,
        lookups_of_one: 8,
        lookups_of_client: 2,
    };
    let dns = service.for_caller(Caller::Dns, limits);
    let begin = |client: u64, who: &str| {
        let who = dns.identity(Some(&id(who))).of_client(client);
        dns.begin(&who, &name("d/x"))
    };
    let mut waiting = vec![begin(1, "a").unwrap(), begin(1, "b").unwrap()];
    for who in 0..100 {
        let refused = begin(1, &format!("flood {who}")).unwrap_err();
        assert!(matches!(refused, ServiceError::Busy { limit: 2 }));
    }
    waiting.push(begin(2, "c").unwrap());
    script.answer([absent(), absent(), absent()]);
    for pending in waiting {
        assert!(is_absent(&wait(pending).await));
    }
    // What came to an end makes room.
    let later = begin(1, "d").unwrap();
    script.answer([absent()]);
    assert!(is_absent(&wait(later).await));
}

#[tokio::test]
async fn a_failure_is_an_answer_for_those_who_take_it_for_one() {
    let (script, service) = Script::start().await;
    script.answer([warming_up(), absent()]);
    let who = service.identity(Some(&id("a")));
    for _ in 0..2 {
        let failed = wait(service.begin(&who, &name("d/x")).unwrap()).await;
        assert!(matches!(failed, Err(ServiceError::Client(error)) if !error.is_absent_name()));
    }
    script.asked(1).await;
    assert!(is_absent(&service.name_show(&question("a", "d/x")).await));
    assert!(is_absent(&wait(service.begin(&who, &name("d/x")).unwrap()).await));
    script.asked(2).await;
}

#[tokio::test]
async fn the_server_is_told_the_id_and_nothing_for_the_default_identity() {
    let (script, service) = Script::start().await;
    script.answer([absent(), absent()]);
    for isolation_id in [Some(id("a")), None, Some(id(""))] {
        let question = Question {
            isolation_id,
            ..question("", "d/x")
        };
        assert!(is_absent(&service.name_show(&question).await));
    }
    let asked = script.asked(2).await;
    let ids: Vec<Option<&str>> = asked.iter().map(|params| params[1]["streamID"].as_str()).collect();
    assert_eq!(ids, [Some("a"), None]);
}

#[tokio::test]
async fn what_is_forgotten_here_is_forgotten_there() {
    let (script, service) = Script::start().await;
    let forgotten = || json!({ "result": null });
    script.answer([absent(), absent(), forgotten(), forgotten(), absent(), absent()]);
    for who in ["a", "b"] {
        assert!(is_absent(&service.name_show(&question(who, "d/x")).await));
    }
    let before = service.validity();
    service.forget(Some(&id("a"))).await;
    assert_ne!(service.validity(), before);
    assert_eq!(script.asked(3).await[2], json!(["a"]));
    assert!(!is_known(&service, "a", "d/x"));
    assert!(is_known(&service, "b", "d/x"));
    service.forget(None).await;
    assert!(!is_known(&service, "b", "d/x"));
    // There the default identity is forgotten, and no ID from before is heard of again.
    assert_eq!(script.asked(4).await[3], json!([""]));
    for who in ["a", "b"] {
        assert!(is_absent(&service.name_show(&question(who, "d/x")).await));
    }
    let asked = script.asked(6).await;
    let id_of = |at: usize| asked[at][1]["streamID"].as_str().unwrap().to_owned();
    let (before, after) = ([id_of(0), id_of(1)], [id_of(4), id_of(5)]);
    assert_eq!(before, ["a", "b"]);
    assert!(
        after.iter().all(|id| id.starts_with("renewed-")) && after[0] != after[1],
        "{after:?}"
    );
}

#[tokio::test]
async fn nothing_is_remembered_for_an_identity_of_one_question() {
    let (script, service) = Script::start().await;
    script.answer([absent()]);
    let who = service.identity(Some(&id("a"))).for_one_question();
    assert!(is_absent(&wait(service.begin(&who, &name("d/x")).unwrap()).await));
    service.end_question(&who);
    assert!(!is_known(&service, "a", "d/x"));
    assert_eq!(service.cache().size(), (0, 0));
}

#[tokio::test]
async fn a_server_behind_json_rpc_is_not_asked_for_histories() {
    let (script, service) = Script::start().await;
    let refused = service.name_history(&question("a", "d/x")).await;
    assert!(matches!(refused, Err(ServiceError::NothingProved)));
    script.asked(0).await;
}

#[tokio::test]
async fn the_greater_quorum_is_asked_for() {
    let (script, service) = Script::start_for_quorum(2).await;
    script.answer([absent(), absent()]);
    for quorum in [Some(1), Some(3), None] {
        let question = Question {
            quorum,
            ..question("a", "d/x")
        };
        assert!(is_absent(&service.name_show(&question).await));
    }
    // The last one is the first one again.
    let asked = script.asked(2).await;
    let quorums: Vec<Option<u64>> = asked.iter().map(|params| params[1]["quorum"].as_u64()).collect();
    assert_eq!(quorums, [Some(2), Some(3)]);
}
