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

/// Watches what a proxy sends for the code of its reply, since tokio-socks tells no code that it does not know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplyWatch {
    arrived: usize,
    code: Option<u8>,
}

impl ReplyWatch {
    /// Where the code is: the choice of logging in, and the answer to the login, are two bytes each before the reply, of
    /// which it is the second.
    const AT: usize = 5;

    /// Takes note of bytes as they arrive.
    pub(crate) fn on_received(&mut self, bytes: &[u8]) {
        let at = Self::AT.checked_sub(self.arrived);
        self.code = self.code.or(at.and_then(|at| bytes.get(at)).copied());
        self.arrived = self.arrived.saturating_add(bytes.len());
    }

    /// Returns the code, if it has arrived.
    pub(crate) fn code(self) -> Option<u8> {
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_however_it_arrives() {
        let whole = [5, 2, 1, 0, 5, 0xf3, 0, 1, 0, 0, 0, 0, 0, 0];
        for size in 1..=whole.len() {
            let mut watch = ReplyWatch::default();
            for piece in whole.chunks(size) {
                watch.on_received(piece);
            }
            assert_eq!(watch.code(), Some(0xf3), "{size}");
        }
        let mut watch = ReplyWatch::default();
        watch.on_received(&whole[..5]);
        assert_eq!(watch.code(), None);
    }

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
