//! A `name_show` over JSON-RPC: Isonym's, Namecoin Core's or Electrum-NMC's.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::answer::{Answer, NameResult, Stated};
use crate::isolation::IsolationId;
use crate::jsonrpc::{Client, ClientError, code};
use crate::name::NameId;
use crate::node::Clock;
use crate::time::Moment;

/// How long nothing more is said of it when the other side can't be asked.
const SILENCE: Duration = Duration::from_secs(60);

/// How a server is found.
type Find = Box<dyn Fn() -> Result<Client, ClientError> + Send + Sync>;

/// Which server is asked for names.
pub struct Backend(Whom);

enum Whom {
    /// The one of this client.
    Named(Client),
    /// The one that is there at the time of a question.
    Found {
        find: Find,
        /// The client of the latest question: it keeps connections open.
        latest: Mutex<Option<Client>>,
        /// Whether the user knows that it is not there: that is told once, until it was there again.
        absence_told: AtomicBool,
    },
}

impl Backend {
    /// Has the server be found anew for each question, since it may come and go, and be somewhere else then.
    pub fn found_by(find: impl Fn() -> Result<Client, ClientError> + Send + Sync + 'static) -> Self {
        Self(Whom::Found {
            find: Box::new(find),
            latest: Mutex::new(None),
            absence_told: AtomicBool::new(false),
        })
    }

    /// Takes down that the user was told that nobody is there.
    pub fn note_absence_told(&self) {
        self.replace_told(true);
    }

    /// Takes down whether the user knows that nobody is there; says whether that was known before.
    fn replace_told(&self, is_told: bool) -> bool {
        match &self.0 {
            Whom::Named(_) => false,
            Whom::Found { absence_told, .. } => absence_told.swap(is_told, Ordering::Relaxed),
        }
    }

    fn client(&self) -> Result<Client, ClientError> {
        match &self.0 {
            Whom::Named(client) => Ok(client.clone()),
            Whom::Found { find, latest, .. } => {
                let found = find()?;
                let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = latest.take().filter(|kept| kept.address() == found.address());
                Ok(latest.insert(kept.unwrap_or(found)).clone())
            }
        }
    }
}

impl From<Client> for Backend {
    fn from(client: Client) -> Self {
        Self(Whom::Named(client))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend(..)")
    }
}

/// A server that is asked for names.
#[derive(Debug)]
pub(super) struct Remote {
    backend: Backend,
    /// How many servers it is to ask where a question says nothing of it.
    pub(super) quorum: u8,
    clock: Clock,
    /// When it was last said that it can't be asked.
    said: Mutex<Option<Moment>>,
    /// Since when questions have found nobody there.
    nobody_since: Mutex<Option<Moment>>,
}

impl Remote {
    pub(super) fn new(backend: Backend, quorum: u8) -> Self {
        Self {
            backend,
            quorum,
            clock: Clock::start(),
            said: Mutex::new(None),
            nobody_since: Mutex::new(None),
        }
    }

    pub(super) async fn look_up(&self, name: &NameId, id: Option<&IsolationId>, quorum: u8) -> NameResult {
        let shown = match self.backend.client() {
            Ok(client) => client.name_show(name, id, quorum).await.inspect_err(|error| {
                self.complain(Some(client.address()), error);
            }),
            Err(error) => {
                self.complain(None, &error);
                Err(error)
            }
        };
        self.note(shown.as_ref().is_err_and(ClientError::is_nobody_there));
        let stated = match shown {
            // Core shows expired names too.
            Ok(record) if record.expired => Stated::Expired,
            Ok(record) => Stated::Value {
                value: record.value,
                expires_in: record.expires_in,
            },
            Err(error) if error.is_absent_name() => Stated::Absent,
            Err(error) => return Err(error.into()),
        };
        Ok(Answer::Stated(stated))
    }

    /// Has the other side forget an identity, by the method `isolation_forget` where it has it.
    pub(super) async fn forget(&self, id: &IsolationId) {
        // Who has no such method forgets IDs by itself, after they were not used for a while.
        let forgotten = match self.backend.client() {
            Ok(client) => client.isolation_forget(id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = forgotten {
            tracing::debug!("an isolation ID is left to be forgotten later: {error}");
        }
    }

    /// Says for how long questions have found nobody there, of which there was none that found somebody since.
    pub(super) fn nobody_for(&self) -> Option<Duration> {
        let since = *self.nobody_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| self.clock.now().steady.since(since))
    }

    fn note(&self, is_nobody_there: bool) {
        if !is_nobody_there {
            self.backend.replace_told(false);
        }
        let now = self.clock.now().steady;
        let mut since = self.nobody_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = is_nobody_there.then(|| since.unwrap_or(now));
    }

    /// Tells the user what to mend, now and then: who asks for names is told no more than that there is no answer.
    fn complain(&self, address: Option<&str>, error: &ClientError) {
        let Some(text) = complaint(error) else { return };
        if matches!(error, ClientError::NoDaemon { .. }) && self.backend.replace_told(true) {
            return;
        }
        let place = address.map(|address| format!(" at {address}")).unwrap_or_default();
        let now = self.clock.now().steady;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| now.since(said) >= SILENCE) {
            *said = Some(now);
            tracing::warn!("names cannot be looked up{place}: {text}");
        }
    }
}

/// Says what is to be mended; `None` where it passes by itself. What the other side says is left out: it may have names in
/// it.
fn complaint(error: &ClientError) -> Option<String> {
    let text = match error {
        ClientError::Timeout(_) => return None,
        ClientError::Rpc(error) => match error.code {
            code::METHOD_NOT_FOUND => "it has no method name_show: it is no Namecoin node, or one without names",
            code::MISC => "it does not take the arguments of name_show; an old one takes no isolation ID",
            code::INTERNAL => "it failed by itself; its own log may say why",
            _ => return None,
        },
        ClientError::Refused { status: 401 } => "it refused the user name and password (HTTP status 401)",
        ClientError::Refused { .. } => "it does not serve this machine's address (HTTP status 403, rpcallowip)",
        ClientError::Status { status: 404 } => "nothing of JSON-RPC is at this path (HTTP status 404)",
        error => return Some(error.to_string()),
    };
    Some(text.to_owned())
}
