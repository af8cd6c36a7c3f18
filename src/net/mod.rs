//! How connections are made and kept apart.
//!
//! [`address`], [`onion`], [`servers`], [`pins`], [`proxy`], [`certificate`], [`dial_error`] and [`tor_standing`] are plain values;
//! [`dialer`], [`tls`], [`connection`] and, in builds that have it, `embedded_tor` are the edge where sockets are, and [`accept`]
//! where others' come in. `socks_login` is what both SOCKS clients of this crate need so that no stream goes out without its
//! credentials.

pub mod accept;
pub mod address;
pub mod certificate;
pub mod connection;
pub mod dial_error;
pub mod dialer;
pub(crate) mod discovery;
#[cfg(feature = "embedded-tor")]
pub mod embedded_tor;
pub mod onion;
pub(crate) mod operators;
pub mod pins;
pub mod pool;
pub mod proxy;
pub mod servers;
pub(crate) mod socks_login;
pub mod tls;
pub mod tor_standing;

pub use address::{Host, PeerAddr, ServerAddr, Transport};
pub use connection::{Answers, Connection, ConnectionError, ConnectionLimits, Purpose};
pub use dial_error::DialError;
pub use dialer::Dialer;
pub(crate) use discovery::is_public;
#[cfg(feature = "embedded-tor")]
pub use embedded_tor::{EmbeddedTor, EmbeddedTorSettings};
pub use pins::{Fingerprint, Identity, Pin, Pins};
pub use proxy::Proxy;
pub use servers::{pins as shipped_pins, servers as shipped_servers};
pub use tor_standing::TorStanding;
