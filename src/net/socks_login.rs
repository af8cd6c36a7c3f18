//! Makes sure that a SOCKS5 proxy takes the user name and password that keep streams apart.
//!
//! Both SOCKS libraries that are used here, tokio-socks for streams to servers and tor-socksproto for streams of
//! applications, offer a proxy to go without credentials beside logging in, and do so without a word when it chooses that.
//! Tor would then put the stream on one circuit with others. Source of the messages: RFC 1928, section 3.

/// The message that offers user name and password alone, for who can choose what is offered.
pub(crate) const OFFER_LOGIN: [u8; 3] = [5, 1, 2];

/// The byte by which a proxy chooses to go without credentials.
const NO_AUTHENTICATION: u8 = 0;

/// The proxy chose to go without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("proxy chose no authentication")]
pub(crate) struct LoginSkipped;

/// Watches what a proxy sends for its choice of a method, which is the second byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoginGuard {
    /// How many bytes have arrived, as far as it matters.
    arrived: u8,
}

impl LoginGuard {
    /// Takes note of bytes as they arrive, before the SOCKS library is given them.
    ///
    /// # Errors
    ///
    /// [`LoginSkipped`], after which nothing must be sent to the proxy.
    pub(crate) fn on_received(&mut self, bytes: &[u8]) -> Result<(), LoginSkipped> {
        for byte in bytes.iter().take(2) {
            if self.arrived == 1 && *byte == NO_AUTHENTICATION {
                return Err(LoginSkipped);
            }
            self.arrived = self.arrived.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_the_second_byte_however_it_arrives() {
        let watch = |pieces: &[&[u8]]| {
            let mut guard = LoginGuard::default();
            pieces.iter().try_for_each(|piece| guard.on_received(piece))
        };
        assert_eq!(watch(&[&[5, 0]]), Err(LoginSkipped));
        assert_eq!(watch(&[&[5], &[], &[0]]), Err(LoginSkipped));
        assert_eq!(watch(&[&[5, 0, 1, 1]]), Err(LoginSkipped));
        assert_eq!(watch(&[&[5, 2, 0, 0], &[0, 0]]), Ok(()));
        assert_eq!(watch(&[&[5], &[2], &[0], &[0]]), Ok(()));
        assert_eq!(watch(&[&[0], &[255]]), Ok(()));
        assert_eq!(watch(&[&[2; 1000], &[0]]), Ok(()));
    }
}
