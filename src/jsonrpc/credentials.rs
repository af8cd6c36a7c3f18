//! A user and a password, as HTTP Basic authentication and the cookie file have them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The user of the cookie file. Source: Namecoin Core `rpc/request.cpp`, `COOKIEAUTH_USER`.
pub const COOKIE_USER: &str = "__cookie__";

/// A user and a password, which is wiped from memory in the end. `Debug` hides both.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Makes credentials; `None` when the user holds a colon, at which both are split.
    pub fn new(user: &str, password: &str) -> Option<Self> {
        (!user.contains(':')).then(|| Self {
            user: user.to_owned(),
            password: password.to_owned().into(),
        })
    }

    /// Splits `USER:PASSWORD` at the first colon, as a cookie file holds it; `None` without one.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        Self::new(user, password)
    }

    /// Returns `USER:PASSWORD`.
    pub(crate) fn to_line(&self) -> Zeroizing<String> {
        format!("{}:{}", self.user, *self.password).into()
    }

    /// Returns the value of the `Authorization` header.
    pub fn to_header(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(self.to_line().as_bytes()));
        format!("Basic {}", *encoded).into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_wiped() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let credentials = Credentials::new("me", "mine").unwrap();
        is_wiped(&credentials.password);
        is_wiped(&credentials.to_line());
        is_wiped(&credentials.to_header());
        assert_eq!(credentials.to_header().as_str(), "Basic bWU6bWluZQ==");
    }
}
