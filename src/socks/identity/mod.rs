//! Who asks: an isolation ID for each caller that Tor would tell from others, and the credentials by which Tor is to tell
//! callers apart that it cannot see.

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

use super::request::{MAX_CREDENTIAL, ProxyCredentials, ProxyProtocol, ProxyRequest};
use crate::isolation::IsolationId;
use crate::naming::name::folded;

/// Something that tells callers apart. Callers of different listeners are always told apart, as in Tor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IsolateBy {
    /// User name and password, or user ID.
    Auth,
    /// The caller's IP address.
    Address,
    /// The caller's port, so that each connection is told apart.
    Port,
    /// The host that is asked for.
    Destination,
}

/// A word that names nothing that tells callers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("callers are told apart by auth, address, port or destination")]
pub struct UnknownIsolateBy;

impl FromStr for IsolateBy {
    type Err = UnknownIsolateBy;

    fn from_str(word: &str) -> Result<Self, UnknownIsolateBy> {
        match word {
            "auth" => Ok(Self::Auth),
            "address" => Ok(Self::Address),
            "port" => Ok(Self::Port),
            "destination" => Ok(Self::Destination),
            _ => Err(UnknownIsolateBy),
        }
    }
}

/// All that tells callers apart, as Tor's isolation flags do for a port. The default is Tor's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationFlags(pub BTreeSet<IsolateBy>);

impl Default for IsolationFlags {
    fn default() -> Self {
        Self(BTreeSet::from([IsolateBy::Auth, IsolateBy::Address]))
    }
}

/// One connection of a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SocksCaller {
    /// The address on which its connection was accepted.
    pub listener: SocketAddr,
    /// The address that it connected from.
    pub address: IpAddr,
    /// Its number, which no other connection to this process has.
    pub connection: u64,
}

impl fmt::Debug for SocksCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocksCaller(..)")
    }
}

/// How many IDs are remembered, so that they can be forgotten everywhere when callers are given new ones.
const REMEMBERED: usize = 1024;

/// The beginning of all IDs that are made here.
const PREFIX: &str = "socks-";

/// User names that begin so mean something else to Tor. Source: Tor, proposal 351.
const RESERVED: &[u8] = b"<torS0X>";

/// The time in which equal callers are given equal IDs. Renewing it gives all of them new ones.
pub struct IdentityEpoch(Mutex<State>);

struct State {
    key: [u8; 32],
    recent: LruCache<IsolationId, ()>,
}

impl IdentityEpoch {
    /// Begins an epoch with a key that is random, secret, and used for nothing else.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Mutex::new(State { key, recent: recent() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next epoch with another key. Returns the IDs that nobody will have any more, as far as they are
    /// remembered: the last 1024.
    pub fn renew(&self, key: [u8; 32]) -> Vec<IsolationId> {
        let mut state = self.state();
        state.key = key;
        let old = mem::replace(&mut state.recent, recent());
        old.into_iter().map(|(id, ())| id).collect()
    }

    /// Returns the isolation ID of a request: equal for those that Tor would put on one circuit, and without a trace of
    /// who asks. `None` if there can be none.
    pub fn id(&self, flags: &IsolationFlags, caller: &SocksCaller, request: &ProxyRequest) -> Option<IsolationId> {
        let mut state = self.state();
        let hash = Fields::of_caller(&state.key, b"id", flags, caller, request);
        let id = IsolationId::new(format!("{PREFIX}{}", hash.hex()).as_bytes())?;
        state.recent.put(id.clone(), ());
        Some(id)
    }

    /// Returns what the embedded Tor keeps streams apart by: equal for those that have one ID, and not to be had from that;
    /// another one whenever all identities were forgotten, of which `renewals` is the number.
    pub fn circuit_key(
        &self,
        flags: &IsolationFlags,
        caller: &SocksCaller,
        request: &ProxyRequest,
        renewals: u64,
    ) -> [u8; 32] {
        let mut hash = Fields::of_caller(&self.state().key, b"circuit", flags, caller, request);
        hash.add(&renewals.to_be_bytes());
        hash.bytes()
    }

    /// Returns the credentials to ask Tor with for a caller.
    ///
    /// Tor takes all that comes from here for one client of this machine. For programs of this machine that is as it would
    /// be without us. Others would be taken for one, so they are called by what they call themselves and their address,
    /// hashed. The same is done with what SOCKS5 has no room for, or Tor would misread: an HTTP client's headers can be long.
    pub fn credentials(&self, caller: &SocksCaller, request: &ProxyRequest) -> Option<ProxyCredentials> {
        let address = caller.address.to_canonical();
        let key = self.state().key;
        let hashed = |purpose| {
            let mut hash = Fields::new(&key, purpose);
            hash.add(address.to_string().as_bytes());
            hash.add_credentials(request.credentials.as_ref());
            let name = hash.hex().into_bytes();
            ProxyCredentials {
                user: name.clone(),
                password: name,
            }
        };
        if !address.is_loopback() {
            return Some(hashed(b"stranger"));
        }
        let said = request.credentials.as_ref()?;
        let long = said.user.len() > MAX_CREDENTIAL || said.password.len() > MAX_CREDENTIAL;
        if request.protocol == ProxyProtocol::Http && (long || said.user.starts_with(RESERVED)) {
            return Some(hashed(b"header"));
        }
        Some(said.clone())
    }
}

fn recent() -> LruCache<IsolationId, ()> {
    LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN))
}

impl fmt::Debug for IdentityEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityEpoch(..)")
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

    /// Begins with all that tells a caller from others.
    fn of_caller(
        key: &[u8; 32],
        purpose: &[u8],
        flags: &IsolationFlags,
        caller: &SocksCaller,
        request: &ProxyRequest,
    ) -> Self {
        let mut hash = Self::new(key, purpose);
        hash.add(caller.listener.to_string().as_bytes());
        for by in &flags.0 {
            hash.add(&[*by as u8]);
            match by {
                IsolateBy::Auth => hash.add_credentials(request.credentials.as_ref()),
                IsolateBy::Address => hash.add(caller.address.to_canonical().to_string().as_bytes()),
                IsolateBy::Port => hash.add(&caller.connection.to_be_bytes()),
                IsolateBy::Destination => hash.add(folded(&request.host.to_string()).as_bytes()),
            }
        }
        hash
    }

    fn add(&mut self, field: &[u8]) {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        self.0.input(&length.to_be_bytes());
        self.0.input(field);
    }

    /// Who says nothing is who says two empty words, as for Tor.
    fn add_credentials(&mut self, credentials: Option<&ProxyCredentials>) {
        self.add(credentials.map_or(&[], |said| &said.user));
        self.add(credentials.map_or(&[], |said| &said.password));
    }

    fn bytes(self) -> [u8; 32] {
        Hmac::<sha256::Hash>::from_engine(self.0).to_byte_array()
    }

    fn hex(self) -> String {
        Hmac::<sha256::Hash>::from_engine(self.0).to_string()
    }
}

#[cfg(test)]
mod tests;
