//! Who asks: an isolation ID for each caller that Tor would tell from others, and what Tor is told of callers that it
//! cannot see.

use std::collections::BTreeSet;
use std::fmt;
use std::mem;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use lru::LruCache;

use super::request::{Credentials, MAX_CREDENTIAL, Protocol, Request};
use crate::isolation::IsolationId;
use crate::naming::name::folded;

/// What tells callers apart. Callers of different listeners are always apart, as in Tor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// User name and password, or user ID.
    Auth,
    /// The caller's IP address.
    Address,
    /// The caller's port: each connection is apart.
    Port,
    /// The host that is asked for.
    Destination,
}

/// The word is none of those that tell callers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("callers are told apart by auth, address, port or destination")]
pub struct UnknownBy;

impl FromStr for By {
    type Err = UnknownBy;

    fn from_str(word: &str) -> Result<Self, UnknownBy> {
        match word {
            "auth" => Ok(Self::Auth),
            "address" => Ok(Self::Address),
            "port" => Ok(Self::Port),
            "destination" => Ok(Self::Destination),
            _ => Err(UnknownBy),
        }
    }
}

/// By how much callers are told apart. The default is Tor's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolate(pub BTreeSet<By>);

impl Default for Isolate {
    fn default() -> Self {
        Self(BTreeSet::from([By::Auth, By::Address]))
    }
}

/// One connection of a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Where it was accepted.
    pub listener: SocketAddr,
    /// Where it came from.
    pub address: IpAddr,
    /// Its number, which no other connection to this process has.
    pub connection: u64,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller(..)")
    }
}

/// IDs that are remembered, to be forgotten everywhere when all are made anew.
const REMEMBERED: usize = 1024;

/// What the IDs of a process begin with.
const PREFIX: &str = "socks-";

/// User names that begin so mean something else to Tor. Source: Tor, proposal 351.
const RESERVED: &[u8] = b"<torS0X>";

/// The time in which equal callers are given equal IDs. It is shared; renewing it gives all of them new ones.
pub struct Epoch(Mutex<State>);

struct State {
    key: [u8; 32],
    recent: LruCache<IsolationId, ()>,
}

impl Epoch {
    /// Begins one, with a key that nobody else knows and that is used for nothing else.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Mutex::new(State { key, recent: recent() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew, with another key. Returns the IDs that nobody will have any more, as far as they are remembered: the
    /// last 1024.
    pub fn renew(&self, key: [u8; 32]) -> Vec<IsolationId> {
        let mut state = self.state();
        state.key = key;
        let old = mem::replace(&mut state.recent, recent());
        old.into_iter().map(|(id, ())| id).collect()
    }

    /// Returns the isolation ID of a request: equal for those that Tor would put on one circuit, and without a trace of
    /// who asks. `None` if there can be none.
    pub fn id(&self, isolate: &Isolate, caller: &Caller, request: &Request) -> Option<IsolationId> {
        let mut state = self.state();
        let mut hash = Fields::new(&state.key, b"id");
        hash.add(caller.listener.to_string().as_bytes());
        for by in &isolate.0 {
            hash.add(&[*by as u8]);
            match by {
                By::Auth => hash.add_credentials(request.credentials.as_ref()),
                By::Address => hash.add(caller.address.to_canonical().to_string().as_bytes()),
                By::Port => hash.add(&caller.connection.to_be_bytes()),
                By::Destination => hash.add(folded(&request.host.to_string()).as_bytes()),
            }
        }
        let id = IsolationId::new(format!("{PREFIX}{}", hash.hex()).as_bytes())?;
        state.recent.put(id.clone(), ());
        Some(id)
    }

    /// Returns what a caller is to be called when Tor is asked.
    ///
    /// Tor takes all that comes from here for one client of this machine. For programs of this machine that is as it would
    /// be without us. Others would be taken for one, so they are called by what they call themselves and their address,
    /// hashed. The same is done with what SOCKS5 has no room for, or Tor would misread: an HTTP client's headers can be long.
    pub fn credentials(&self, caller: &Caller, request: &Request) -> Option<Credentials> {
        let address = caller.address.to_canonical();
        let key = self.state().key;
        let hashed = |purpose| {
            let mut hash = Fields::new(&key, purpose);
            hash.add(address.to_string().as_bytes());
            hash.add_credentials(request.credentials.as_ref());
            let name = hash.hex().into_bytes();
            Credentials {
                user: name.clone(),
                password: name,
            }
        };
        if !address.is_loopback() {
            return Some(hashed(b"stranger"));
        }
        let said = request.credentials.as_ref()?;
        let long = said.user.len() > MAX_CREDENTIAL || said.password.len() > MAX_CREDENTIAL;
        if request.protocol == Protocol::Http && (long || said.user.starts_with(RESERVED)) {
            return Some(hashed(b"header"));
        }
        Some(said.clone())
    }
}

fn recent() -> LruCache<IsolationId, ()> {
    LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN))
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epoch(..)")
    }
}

/// A keyed hash of fields, each with its length, so that no two lists of them are one text.
struct Fields(HmacEngine<sha256::Hash>);

impl Fields {
    fn new(key: &[u8; 32], purpose: &[u8]) -> Self {
        let mut fields = Self(HmacEngine::new(key));
        fields.add(purpose);
        fields
    }

    fn add(&mut self, field: &[u8]) {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        self.0.input(&length.to_be_bytes());
        self.0.input(field);
    }

    /// Who says nothing is who says two empty words, as for Tor.
    fn add_credentials(&mut self, credentials: Option<&Credentials>) {
        self.add(credentials.map_or(&[], |said| &said.user));
        self.add(credentials.map_or(&[], |said| &said.password));
    }

    fn hex(self) -> String {
        Hmac::<sha256::Hash>::from_engine(self.0).to_string()
    }
}

#[cfg(test)]
mod tests;
