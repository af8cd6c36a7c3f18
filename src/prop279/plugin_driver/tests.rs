//! The plugin on streams, whose other end is the test.

use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

type Lookup = Pin<Box<dyn Future<Output = Result<Target, Failure>> + Send>>;

/// Counts the lookups that have been dropped before they ended.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Caller {
    to: Option<DuplexStream>,
    from: Lines<BufReader<DuplexStream>>,
    stop: Option<oneshot::Sender<()>>,
    plugin: JoinHandle<io::Result<()>>,
    dropped: Arc<AtomicUsize>,
}

impl Caller {
    /// Starts a plugin that knows what to do with some names.
    fn start(room: usize) -> Self {
        let (to, input) = duplex(room);
        let (output, from) = duplex(room);
        let (stop, stopped) = oneshot::channel();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&dropped);
        let resolve = move |name: String, id: Option<IsolationId>| -> Lookup {
            let guard = Guard(Arc::clone(&counter));
            Box::pin(async move {
                match name.as_str() {
                    "slow.bit" => pending::<()>().await,
                    "panic.bit" => panic!("it was asked for"),
                    _ => {}
                }
                std::mem::forget(guard);
                let id = id.map(|id| String::from_utf8(id.as_bytes().to_vec()).unwrap());
                match name.strip_suffix(".bit") {
                    Some(rest) => Ok(Target::Host(format!("{rest}.{}", id.unwrap_or("nobody".to_owned())))),
                    None => Err(Failure::NotHandled),
                }
            })
        };
        let stop_at = async move { drop(stopped.await) };
        Self {
            to: Some(to),
            from: BufReader::new(from).lines(),
            stop: Some(stop),
            plugin: tokio::spawn(run(input, output, resolve, stop_at)),
            dropped,
        }
    }

    async fn ask(&mut self, text: &str) {
        self.to.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Option<String> {
        self.from.next_line().await.unwrap()
    }

    async fn ended(self) -> io::Result<()> {
        self.plugin.await.unwrap()
    }
}

#[tokio::test]
async fn queries_are_answered_until_the_input_ends() {
    let mut caller = Caller::start(1 << 10);
    assert_eq!(caller.hear().await.unwrap(), "INIT 1 0");
    caller.ask("RESOLVE 1 slow.bit\nRESOLVE 2 a.bit me\nRESOL").await;
    assert_eq!(caller.hear().await.unwrap(), "RESOLVED 2 0 a.me");
    caller.ask("VE 3 a.bit\n").await;
    assert_eq!(caller.hear().await.unwrap(), "RESOLVED 3 0 a.nobody");
    caller.ask("CANCEL 1\nRESOLVE 4 a.example\n").await;
    assert_eq!(caller.hear().await.unwrap(), "CANCELED 1");
    let refused = "RESOLVED 4 2 \"a.example is not a Namecoin domain\"";
    assert_eq!(caller.hear().await.unwrap(), refused);
    caller.ask("RESOLVE 5 b.bit\nRESOLVE 6 cut").await;
    caller.to = None;
    assert_eq!(caller.hear().await.unwrap(), "RESOLVED 5 0 b.nobody");
    assert_eq!(caller.hear().await, None);
    assert_eq!(caller.dropped.load(Ordering::SeqCst), 1);
    caller.ended().await.unwrap();
}

#[tokio::test]
async fn a_lookup_that_panics_is_answered() {
    let mut caller = Caller::start(1 << 10);
    caller.ask("RESOLVE 1 panic.bit\n").await;
    caller.hear().await;
    assert_eq!(caller.hear().await.unwrap(), "RESOLVED 1 1 \"Server failure\"");
    caller.to = None;
    caller.ended().await.unwrap();
}

#[tokio::test]
async fn it_stops_at_once() {
    let mut caller = Caller::start(1 << 10);
    caller.hear().await;
    caller.ask("RESOLVE 1 slow.bit\nRESOLVE 2 a.bit\n").await;
    caller.hear().await;
    caller.stop = None;
    assert_eq!(caller.hear().await, None);
    caller.ended().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_not_read_from() {
    let mut caller = Caller::start(64);
    let mut to = caller.to.take().unwrap();
    let flood = tokio::spawn(async move {
        let mut asked = 0;
        while to.write_all(b"RESOLVE 1 a.bit\nCANCEL 1\n").await.is_ok() {
            asked += 1;
        }
        asked
    });
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!flood.is_finished() && !caller.plugin.is_finished());
    caller.stop = None;
    let asked = flood.await.unwrap();
    // A chunk that was read at once, one that is held, and what fits into the streams.
    assert!(asked < 3 * CHUNK / 16, "{asked}");
    caller.ended().await.unwrap();
}

#[tokio::test]
async fn a_caller_that_ends_the_input_and_does_not_read_ends_it() {
    let mut caller = Caller::start(4);
    caller.to = None;
    let Caller { from, plugin, stop, .. } = caller;
    assert_eq!(plugin.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop((from, stop));
}

#[tokio::test]
async fn a_caller_that_has_gone_ends_it() {
    let mut caller = Caller::start(1 << 10);
    caller.hear().await;
    let Caller {
        mut to,
        from,
        plugin,
        stop,
        ..
    } = caller;
    drop(from);
    to.as_mut().unwrap().write_all(b"RESOLVE 1 a.bit\n").await.unwrap();
    let error = plugin.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    drop(stop);
}

#[tokio::test]
async fn a_failed_start_is_said() {
    let mut output = Vec::new();
    fail(&mut output, "no \"common\"\nversion").await.unwrap();
    assert_eq!(output, b"INIT 1 1 \"no commonversion\"\n");
    let nobody = run(&b""[..], Vec::new(), |_, _| ready(Err(Failure::Invalid)), pending()).await;
    nobody.unwrap();
}
