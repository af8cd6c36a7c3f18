//! A user and a password, as HTTP Basic authentication and the cookie file have them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The user of the cookie file. Source: Namecoin Core `rpc/request.cpp`, `COOKIEAUTH_USER`.
pub const COOKIE_USER: &str = "__cookie__";

/// A user and a password. `Debug` hides both.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Makes credentials; `None` when the user holds a colon, at which both are split.
    pub fn new(user: &str, password: &str) -> Option<Self> {
        (!user.contains(':')).then(|| Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Splits `USER:PASSWORD` at the first colon, as a cookie file holds it; `None` without one.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':')?;
        Self::new(user, password)
    }

    /// Returns `USER:PASSWORD`.
    pub(crate) fn to_line(&self) -> String {
        format!("{}:{}", self.user, self.password)
    }

    /// Returns the value of the `Authorization` header.
    pub fn to_header(&self) -> String {
        format!("Basic {}", STANDARD.encode(self.to_line()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}
