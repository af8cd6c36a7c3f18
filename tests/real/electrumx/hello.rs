//! The hellos of a TLS handshake, which anybody on the way can read. Sources: RFC 8446, 4.1 and 5.1; RFC 6066, 3.

use std::collections::BTreeMap;

// Numbers of extensions.
pub(crate) const SESSION_TICKET: u16 = 35;
pub(crate) const PRE_SHARED_KEY: u16 = 41;
pub(crate) const EARLY_DATA: u16 = 42;
pub(crate) const KEY_SHARE: u16 = 51;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// A client's or a server's hello, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) record_version: u16,
    pub(crate) version: u16,
    pub(crate) random: Vec<u8>,
    pub(crate) session_id: Vec<u8>,
    /// The suites offered, or the one taken, and how to compress.
    pub(crate) suites: Vec<u8>,
    /// Contents by number: their order is left to chance.
    pub(crate) extensions: BTreeMap<u16, Vec<u8>>,
    /// Bytes of the whole record.
    pub(crate) length: usize,
}

impl Hello {
    /// Reads the hello that a client's bytes begin with.
    pub(crate) fn of_client(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, CLIENT_HELLO, |hello| {
            let mut suites = hello.vector(2)?.to_vec();
            suites.extend(hello.vector(1)?);
            Some(suites)
        })
    }

    /// Reads the hello that a server's bytes begin with.
    pub(crate) fn of_server(bytes: &[u8]) -> Option<Self> {
        Self::read(bytes, SERVER_HELLO, |hello| Some(hello.take(3)?.to_vec()))
    }

    fn read(bytes: &[u8], kind: u8, suites: impl FnOnce(&mut Reader<'_>) -> Option<Vec<u8>>) -> Option<Self> {
        let mut record = Reader(bytes);
        (record.number(1)? == usize::from(HANDSHAKE)).then_some(())?;
        let record_version = record.two_bytes()?;
        let body = record.vector(2)?;
        let length = bytes.len() - record.0.len();
        let mut message = Reader(body);
        (message.number(1)? == usize::from(kind)).then_some(())?;
        let mut hello = Reader(message.vector(3)?);
        message.0.is_empty().then_some(())?;
        let version = hello.two_bytes()?;
        let random = hello.take(32)?.to_vec();
        let session_id = hello.vector(1)?.to_vec();
        let suites = suites(&mut hello)?;
        let mut rest = Reader(hello.vector(2)?);
        hello.0.is_empty().then_some(())?;
        let mut extensions = BTreeMap::new();
        while !rest.0.is_empty() {
            let number = rest.two_bytes()?;
            let twice = extensions.insert(number, rest.vector(2)?.to_vec());
            twice.is_none().then_some(())?;
        }
        Some(Self {
            record_version,
            version,
            random,
            session_id,
            suites,
            extensions,
            length,
        })
    }

    /// Takes out what has to be new each time: random bytes, session ID, and the keys of a client's shares.
    pub(crate) fn take_fresh(&mut self) -> Option<Vec<Vec<u8>>> {
        let share = self.extensions.get_mut(&KEY_SHARE)?;
        let mut list = Reader(share);
        let mut list = Reader(list.vector(2)?);
        let (mut keys, mut groups) = (Vec::new(), Vec::new());
        while !list.0.is_empty() {
            groups.extend(list.take(2)?);
            let key = list.vector(2)?;
            groups.extend(key.len().to_be_bytes());
            keys.push(key.to_vec());
        }
        *share = groups;
        keys.extend([std::mem::take(&mut self.random), std::mem::take(&mut self.session_id)]);
        Some(keys)
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(
            self.take(bytes)?
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    }

    fn two_bytes(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    fn vector(&mut self, length_bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(length_bytes)?;
        self.take(length)
    }
}
