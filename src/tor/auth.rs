//! How to log in at a control port.
//!
//! Source: Tor, control-spec, PROTOCOLINFO, AUTHENTICATE and AUTHCHALLENGE.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use super::event::parse_fields;
use super::reply::ControlMessage;

/// Length of a cookie, of a nonce and of their hashes, in bytes.
pub const SECRET_LEN: usize = 32;

/// What the user knows for logging in. `Debug` hides the password.
#[derive(Clone, Default)]
pub struct ControlLogin {
    /// The cookie file, in place of the one that Tor names.
    pub cookie: Option<PathBuf>,
    /// The password.
    pub password: Option<Zeroizing<String>>,
    /// Whether nothing is sent but the proof that the cookie is known, to who proves that as well: so who merely listens
    /// where a Tor might learns nothing.
    pub proves_only: bool,
}

impl fmt::Debug for ControlLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlLogin")
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}

/// Why it is not possible to log in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// What answers is no Tor, or one of another version.
    #[error("the reply to PROTOCOLINFO cannot be read")]
    Protocol,
    /// Tor wants a password, and none was given.
    #[error("Tor wants a password on its control port (or CookieAuthentication 1 in torrc)")]
    PasswordWanted,
    /// Tor takes no method of logging in that is known here.
    #[error("Tor takes none of cookie, password and nothing on its control port; set CookieAuthentication 1 in torrc")]
    NoMethod,
    /// Tor is of a version that does not tell when a stream waits.
    #[error("Tor {version} is too old: its streams can be taken care of from version 0.4.5 on")]
    TooOld {
        /// The version, as Tor says it.
        version: String,
    },
    /// The cookie has another length than Tor's.
    #[error("the control port's cookie has {got} bytes, and not {SECRET_LEN}")]
    CookieLength {
        /// How long it is.
        got: usize,
    },
    /// What answers does not know the cookie that it asks for.
    #[error("what answers on the control port does not know Tor's cookie: it is not the Tor that wrote it")]
    NotTor,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// Tor asks for nothing.
    Nothing,
    /// Both sides prove that they know the cookie in this file, and neither sends it.
    SafeCookie(PathBuf),
    /// The cookie in this file is sent, as versions before 0.2.3 want it.
    Cookie(PathBuf),
    /// The password is sent.
    Password,
}

/// Chooses how to log in by the reply to PROTOCOLINFO. What the user gave is preferred.
///
/// # Errors
///
/// [`AuthError`]
pub fn choose_method(reply: &ControlMessage, login: &ControlLogin) -> Result<LoginMethod, AuthError> {
    let text = reply.value("AUTH ").ok_or(AuthError::Protocol)?;
    let offered = parse_fields(text).ok_or(AuthError::Protocol)?;
    let methods = offered.get("METHODS").ok_or(AuthError::Protocol)?;
    let has = |wanted: &str| {
        methods
            .split(|byte| *byte == b',')
            .any(|method| method == wanted.as_bytes())
    };
    // A path is bytes, whatever encoding they are in.
    let named = offered.get("COOKIEFILE").map(OsStr::from_bytes);
    let cookie = login.cookie.clone().or(named.map(PathBuf::from));
    match (&login.password, cookie) {
        (Some(_), _) if login.cookie.is_none() && has("HASHEDPASSWORD") => Ok(LoginMethod::Password),
        (_, _) if has("NULL") => Ok(LoginMethod::Nothing),
        (_, Some(cookie)) if has("SAFECOOKIE") => Ok(LoginMethod::SafeCookie(cookie)),
        (_, Some(cookie)) if has("COOKIE") && !login.proves_only => Ok(LoginMethod::Cookie(cookie)),
        _ if has("HASHEDPASSWORD") => Err(AuthError::PasswordWanted),
        _ => Err(AuthError::NoMethod),
    }
}

/// A version of Tor that may put streams to an onion service on one circuit which it was told to keep apart, where the
/// first one is closed before the circuit is there. Source: Tor, its change log of 0.4.9.13, TROVE-2026-053.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "Tor {version} may put streams to one onion service on one circuit that it is told to keep apart (TROVE-2026-053): \
     update it to 0.4.9.13 or later"
)]
pub struct LeakyTor {
    /// The version, as Tor says it.
    version: String,
}

/// Says by the reply to PROTOCOLINFO whether Tor is of such a version. One that does not say its version is taken to be new.
pub fn leaky(reply: &ControlMessage) -> Option<LeakyTor> {
    const FIRST_MENDED: [u32; 4] = [0, 4, 9, 13];
    let version = version(reply);
    // The last number may have `-alpha` behind it, or a revision.
    let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    let numbers: Option<Vec<u32>> = version.split('.').take(FIRST_MENDED.len()).map(number).collect();
    let is_leaky = numbers.is_some_and(|numbers| numbers.len() == FIRST_MENDED.len() && *numbers < FIRST_MENDED[..]);
    is_leaky.then_some(LeakyTor { version })
}

/// Returns the version that Tor says it is of, or nothing.
fn version(reply: &ControlMessage) -> String {
    let fields = reply.value("VERSION ").and_then(parse_fields);
    let version = fields.as_ref().and_then(|fields| fields.get("Tor"));
    version
        .map(|version| String::from_utf8_lossy(version).into_owned())
        .unwrap_or_default()
}

/// Checks by the reply to PROTOCOLINFO that Tor is new enough to tell when a stream waits. One that does not say its
/// version is taken to be new.
///
/// # Errors
///
/// [`AuthError::TooOld`]
pub fn check_version(reply: &ControlMessage) -> Result<(), AuthError> {
    /// The first that has the status `CONTROLLER_WAIT`. Source: Tor, its change log.
    const FIRST: [u32; 3] = [0, 4, 5];
    let version = version(reply);
    let mut numbers = version.split('.').map(str::parse);
    match [numbers.next(), numbers.next(), numbers.next()] {
        [Some(Ok(first)), Some(Ok(second)), Some(Ok(third))] if [first, second, third] < FIRST => {
            Err(AuthError::TooOld { version })
        }
        _ => Ok(()),
    }
}

/// Returns the command that logs in with a secret: a cookie, or the answer to a challenge.
///
/// # Errors
///
/// [`AuthError::CookieLength`]
pub fn authenticate(secret: &[u8]) -> Result<String, AuthError> {
    match secret.len() {
        SECRET_LEN => Ok(format!("AUTHENTICATE {}", secret.to_lower_hex_string())),
        got => Err(AuthError::CookieLength { got }),
    }
}

/// Returns the command that logs in with a password.
pub fn authenticate_with_password(password: &str) -> String {
    // As hex nothing in it can end the line or the string.
    format!("AUTHENTICATE {}", password.as_bytes().to_lower_hex_string())
}

/// Returns the command that challenges Tor to prove that it knows the cookie.
pub fn challenge(nonce: &[u8; SECRET_LEN]) -> String {
    format!("AUTHCHALLENGE SAFECOOKIE {}", nonce.to_lower_hex_string())
}

/// Checks Tor's proof that it knows the cookie, and returns ours.
///
/// # Errors
///
/// [`AuthError::NotTor`] when it does not know the cookie, and must not learn it.
pub fn answer_challenge(
    reply: &ControlMessage,
    cookie: &[u8],
    nonce: &[u8; SECRET_LEN],
) -> Result<[u8; SECRET_LEN], AuthError> {
    if cookie.len() != SECRET_LEN {
        return Err(AuthError::CookieLength { got: cookie.len() });
    }
    let text = reply.value("AUTHCHALLENGE ").ok_or(AuthError::Protocol)?;
    let given = parse_fields(text).ok_or(AuthError::Protocol)?;
    let bytes = |name: &str| {
        let text = std::str::from_utf8(given.get(name)?).ok()?;
        <[u8; SECRET_LEN]>::from_hex(text).ok()
    };
    let (Some(proof), Some(theirs)) = (bytes("SERVERHASH"), bytes("SERVERNONCE")) else {
        return Err(AuthError::Protocol);
    };
    let expected = prove(
        "Tor safe cookie authentication server-to-controller hash",
        cookie,
        nonce,
        &theirs,
    );
    if !bool::from(expected.ct_eq(&proof)) {
        return Err(AuthError::NotTor);
    }
    let key = "Tor safe cookie authentication controller-to-server hash";
    Ok(prove(key, cookie, nonce, &theirs))
}

fn prove(key: &str, cookie: &[u8], ours: &[u8; SECRET_LEN], theirs: &[u8; SECRET_LEN]) -> [u8; SECRET_LEN] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key.as_bytes());
    engine.input(cookie);
    engine.input(ours);
    engine.input(theirs);
    Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::super::reply::ReplyLine;
    use super::*;

    fn message(lines: &[&str]) -> ControlMessage {
        let line = |text: &&str| ReplyLine {
            text: (*text).to_owned(),
            data: Vec::new(),
        };
        ControlMessage {
            code: 250,
            lines: lines.iter().map(line).collect(),
        }
    }

    fn offers(auth: &str) -> ControlMessage {
        message(&[
            "PROTOCOLINFO 1",
            &format!("AUTH {auth}"),
            "VERSION Tor=\"0.4.9.11\"",
            "OK",
        ])
    }

    #[test]
    fn ways_are_chosen() {
        let nothing = ControlLogin::default();
        let password = ControlLogin {
            password: Some("p".to_owned().into()),
            ..ControlLogin::default()
        };
        let proof = ControlLogin {
            proves_only: true,
            ..ControlLogin::default()
        };
        let file = ControlLogin {
            cookie: Some("/mine".into()),
            ..password.clone()
        };
        let tor = r#"METHODS=COOKIE,SAFECOOKIE,HASHEDPASSWORD COOKIEFILE="/a \"b\"""#;
        for (offer, login, expected) in [
            ("METHODS=NULL", &nothing, Ok(LoginMethod::Nothing)),
            (tor, &nothing, Ok(LoginMethod::SafeCookie("/a \"b\"".into()))),
            (tor, &password, Ok(LoginMethod::Password)),
            (tor, &file, Ok(LoginMethod::SafeCookie("/mine".into()))),
            (
                "METHODS=COOKIE COOKIEFILE=\"/a\"",
                &nothing,
                Ok(LoginMethod::Cookie("/a".into())),
            ),
            (
                r#"METHODS=COOKIE,SAFECOOKIE COOKIEFILE="/a\377\303""#,
                &nothing,
                Ok(LoginMethod::SafeCookie(OsStr::from_bytes(b"/a\xff\xc3").into())),
            ),
            (tor, &proof, Ok(LoginMethod::SafeCookie("/a \"b\"".into()))),
            ("METHODS=COOKIE COOKIEFILE=\"/a\"", &proof, Err(AuthError::NoMethod)),
            ("METHODS=HASHEDPASSWORD", &nothing, Err(AuthError::PasswordWanted)),
            ("METHODS=SAFECOOKIE", &nothing, Err(AuthError::NoMethod)),
            ("METHODS=NULL", &password, Ok(LoginMethod::Nothing)),
            ("METHODS=MAGIC", &password, Err(AuthError::NoMethod)),
            ("COOKIEFILE=\"/a", &nothing, Err(AuthError::Protocol)),
        ] {
            assert_eq!(choose_method(&offers(offer), login), expected, "{offer}");
        }
        assert_eq!(choose_method(&message(&["OK"]), &nothing), Err(AuthError::Protocol));
    }

    #[test]
    fn old_tors_are_refused() {
        for version in ["0.4.4.9", "0.3.5.18 (git-1)", "0.4.4.0-alpha"] {
            let reply = message(&["PROTOCOLINFO 1", &format!("VERSION Tor=\"{version}\""), "OK"]);
            let version = version.to_owned();
            assert_eq!(check_version(&reply), Err(AuthError::TooOld { version }));
        }
        for version in ["0.4.5.1-alpha", "0.4.9.11", "0.5.0.1", "1.0.0", "", "new"] {
            let reply = message(&["PROTOCOLINFO 1", &format!("VERSION Tor=\"{version}\""), "OK"]);
            assert_eq!(check_version(&reply), Ok(()), "{version}");
        }
        assert_eq!(check_version(&message(&["OK"])), Ok(()));
    }

    #[test]
    fn tors_that_may_join_streams_to_an_onion_service_are_known() {
        let of = |version: &str| {
            leaky(&message(&[
                "PROTOCOLINFO 1",
                &format!("VERSION Tor=\"{version}\""),
                "OK",
            ]))
        };
        for version in [
            "0.4.9.12",
            "0.4.9.11 (git-1)",
            "0.4.8.19",
            "0.4.5.1-alpha",
            "0.4.9.9-rc",
        ] {
            assert!(of(version).unwrap().to_string().contains(&format!("Tor {version} may")));
        }
        for version in [
            "0.4.9.13",
            "0.4.9.13-dev (git-1)",
            "0.4.10.1-alpha",
            "0.5.0.0",
            "1.0.0.0",
            "",
            "new",
            "0.4.9",
        ] {
            assert_eq!(of(version), None, "{version}");
        }
        assert_eq!(leaky(&message(&["OK"])), None);
    }

    #[test]
    fn both_prove_that_they_know_the_cookie() {
        let (cookie, ours, theirs) = ([1; SECRET_LEN], [2; SECRET_LEN], [3; SECRET_LEN]);
        let proof = prove(
            "Tor safe cookie authentication server-to-controller hash",
            &cookie,
            &ours,
            &theirs,
        );
        let reply = |proof: &[u8]| {
            let (proof, nonce) = (proof.to_lower_hex_string(), theirs.to_lower_hex_string());
            message(&[&format!("AUTHCHALLENGE SERVERHASH={proof} SERVERNONCE={nonce}")])
        };
        let mine = answer_challenge(&reply(&proof), &cookie, &ours).unwrap();
        assert_ne!(mine, proof);
        assert_eq!(
            answer_challenge(&reply(&[4; SECRET_LEN]), &cookie, &ours),
            Err(AuthError::NotTor)
        );
        assert_eq!(
            answer_challenge(&reply(&proof), &[5; SECRET_LEN], &ours),
            Err(AuthError::NotTor)
        );
        assert_eq!(
            answer_challenge(&reply(&proof[1..]), &cookie, &ours),
            Err(AuthError::Protocol)
        );
        assert_eq!(
            answer_challenge(&reply(&proof), b"short", &ours),
            Err(AuthError::CookieLength { got: 5 })
        );
    }

    #[test]
    fn no_password_can_end_the_command() {
        assert_eq!(
            authenticate_with_password("a\"\r\nQUIT"),
            "AUTHENTICATE 61220d0a51554954"
        );
    }
}
