//! The edge: what a server and one client say to each other.

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::Instant;

use super::cost::{Accounts, Admitted, Refusal};
use super::host::{SharedWorld, now, origin};
use super::ledger::{Cut, Ledger};
use super::server::{HOLD_BELOW, MAX_LINE, Output, Then, turned_down};
use super::{Fault, Server, Session, SimChain};
use isonym_core::isolation::ConnId;
use isonym_core::time::Moment;

/// Where a server serves one client: what every connection of it needs.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) name: String,
    pub(super) server: Arc<Mutex<Server>>,
    pub(super) world: SharedWorld,
    pub(super) ledger: Ledger,
    /// Of a server that keeps any.
    pub(super) accounts: Option<Arc<Mutex<Accounts>>>,
}

impl Desk {
    /// Opens a desk of a server, which needs no socket.
    pub fn new(name: &str, server: Server, world: SharedWorld, ledger: Ledger) -> Self {
        let accounts = server.limits().map(|limits| Accounts::new(*limits, now()));
        Self {
            name: name.to_owned(),
            server: Arc::new(Mutex::new(server)),
            world,
            ledger,
            accounts: accounts.map(|accounts| Arc::new(Mutex::new(accounts))),
        }
    }

    /// Serves a client over any stream until one side has had enough. `port` stands for the client in the ledger.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite, port: u16) {
        let conn = self.ledger.record_connection(&self.name, port, now());
        // However a client goes, the server takes no harm: what it did is in the ledger.
        let _ = converse(stream, conn, self).await;
        self.ledger.record_end(conn);
    }

    /// Changes what the server does wrong from the next request on, at this desk and its clones.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_fault(fault);
    }

    fn with_server(&self, act: impl FnOnce(&mut Server, &SimChain) -> Output) -> Output {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        self.world.read(|chain| act(&mut server, chain))
    }

    /// Deals with the request whose time has come, if one's has.
    fn serve_next(&self, account: &Account, session: &mut Session) -> Output {
        let Some(Admitted { line, refusal }) = account.books().take(account.conn, now()) else {
            return Output::default();
        };
        if let Some(refusal) = refusal {
            if refusal == Refusal::Debt {
                self.ledger.record_cut(account.conn, Cut::Debt);
            }
            let output = turned_down(&line, refusal);
            account.books().charge(account.conn, now(), output.cost);
            return output;
        }
        let output = self.with_server(|server, chain| server.on_line(session, chain, &line));
        account.books().handled(account.conn, now(), output.cost);
        output
    }
}

/// Serves one connection until one side has had enough.
pub(super) async fn converse(stream: impl AsyncRead + AsyncWrite, conn: ConnId, desk: &Desk) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    tokio::pin!(writer);
    let mut reader = BufReader::new(reader);
    let mut changes = desk.world.changes.subscribe();
    let mut session = Session::default();
    let mut line = Vec::new();
    let mut waiting = Waiting::default();
    let account = desk.accounts.as_ref().map(|books| Account::open(books, conn));
    loop {
        let room = u64::try_from(MAX_LINE.saturating_sub(line.len())).unwrap_or(0);
        let mut limited = (&mut reader).take(room);
        let due = account.as_ref().and_then(Account::due);
        let mut output = tokio::select! {
            // Cancelled, it leaves what it has read in `line`.
            read = limited.read_until(b'\n', &mut line), if account.as_ref().is_none_or(Account::has_room) => {
                if read? == 0 || line.pop_if(|last| *last == b'\n').is_none() {
                    return Ok(());
                }
                desk.ledger.record_request(conn, &line, now());
                if let Some(account) = &account {
                    account.receive(mem::take(&mut line));
                    // What came in one go begins to wait together.
                    while let Some(line) = next_buffered(&mut reader) {
                        desk.ledger.record_request(conn, &line, now());
                        account.receive(line);
                    }
                    continue;
                }
                let output = desk.with_server(|server, chain| server.on_line(&mut session, chain, &line));
                line.clear();
                output
            }
            known = changes.changed() => {
                if known.is_err() {
                    return Ok(());
                }
                desk.with_server(|server, chain| server.on_block(&mut session, chain))
            }
            Some(account) = wait_for(account.as_ref(), due) => desk.serve_next(account, &mut session),
            () = tokio::time::sleep_until(waiting.until), if !waiting.lines.is_empty() => Output::default(),
        };
        if let Some(account) = &account {
            account.sent(&output);
        }
        if waiting.holds(&mut output) {
            continue;
        }
        let sent = send(&mut writer, output);
        let sent = match account.as_ref().and_then(Account::patience) {
            None => sent.await,
            Some(until) => {
                let Ok(sent) = tokio::time::timeout_at(until, sent).await else {
                    desk.ledger.record_cut(conn, Cut::Stall);
                    return Ok(());
                };
                sent
            }
        };
        if !sent? {
            return Ok(());
        }
        waiting.until = Instant::now();
    }
}

/// Takes a whole line out of what was read already, without its newline.
fn next_buffered(reader: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Vec<u8>> {
    let end = reader.buffer().iter().position(|byte| *byte == b'\n')?;
    let line = reader.buffer().get(..end)?.to_vec();
    AsyncBufReadExt::consume(reader, end + 1);
    Some(line)
}

/// Waits until the time of a request has come; for ever when none waits.
async fn wait_for(account: Option<&Account>, due: Option<Instant>) -> Option<&Account> {
    tokio::time::sleep_until(due?).await;
    account
}

/// One connection's account in the books of its server; closed when this is dropped.
struct Account {
    books: Arc<Mutex<Accounts>>,
    conn: ConnId,
}

impl Account {
    fn open(books: &Arc<Mutex<Accounts>>, conn: ConnId) -> Self {
        let account = Self {
            books: Arc::clone(books),
            conn,
        };
        account.books().open(conn, now());
        account
    }

    fn books(&self) -> MutexGuard<'_, Accounts> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.books().has_room(self.conn)
    }

    fn receive(&self, line: Vec<u8>) {
        self.books().receive(self.conn, now(), line);
    }

    fn sent(&self, output: &Output) {
        let bytes = output.lines.iter().map(Vec::len).sum();
        self.books().sent(self.conn, now(), bytes);
    }

    fn due(&self) -> Option<Instant> {
        Some(instant(self.books().next(self.conn)?))
    }

    /// Returns until when the client must have read a reply that another one waits behind.
    fn patience(&self) -> Option<Instant> {
        let books = self.books();
        let due = books.next(self.conn)?;
        Some(instant(due.max(now())) + books.limits().send_timeout)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.books().close(self.conn, now());
    }
}

fn instant(moment: Moment) -> Instant {
    origin() + moment.since(Moment::default())
}
/// Replies that are held back.
struct Waiting {
    lines: Vec<Vec<u8>>,
    /// When they must go; while there are none, when something was last sent.
    until: Instant,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            until: Instant::now(),
        }
    }
}

impl Waiting {
    /// Keeps the lines of `output` if they are to be held back and not too many wait, else puts those that waited in
    /// front of them.
    fn holds(&mut self, output: &mut Output) -> bool {
        if self.lines.is_empty() {
            self.until += output.hold;
        }
        self.lines.append(&mut output.lines);
        let bytes: usize = self.lines.iter().map(Vec::len).sum();
        let held = Instant::now() < self.until && bytes < HOLD_BELOW && output.then == Then::GoOn;
        if !held {
            output.lines = mem::take(&mut self.lines);
        }
        held
    }
}

/// Does what the server wants done; says whether the connection goes on.
async fn send(writer: &mut (impl AsyncWrite + Unpin), output: Output) -> io::Result<bool> {
    if !output.delay.is_zero() {
        tokio::time::sleep(output.delay).await;
    }
    for line in output.lines {
        writer.write_all(&[line.as_slice(), b"\n"].concat()).await?;
    }
    writer.flush().await?;
    match output.then {
        Then::GoOn => Ok(true),
        Then::Close => {
            writer.shutdown().await?;
            Ok(false)
        }
        Then::Forever(bytes) => loop {
            writer.write_all(&bytes).await?;
            tokio::task::yield_now().await;
        },
    }
}
