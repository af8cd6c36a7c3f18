//! What a browser asks for, and who is kept out before anything is looked at.
//!
//! Names come in the body of a POST, which is answered with the address of a page that has a number in the place of the
//! name. So no name is in a browser's history or address bar, in what it suggests there, or in what it tells of itself to
//! others; and that page can be loaded anew, left and come back to without a question.

/// Most bytes of a form: a name of most bytes, each written with three.
pub const MAX_FORM: usize = 4 << 10;

/// Most sites that are checked at once for a session. All sessions have so many each, so that none feels what another does, and
/// together they have no more than there are sessions.
pub const MAX_CHECKS: usize = 2;

/// The name of our cookie.
pub const COOKIE: &str = "isonym";

/// What paths of sessions begin with.
const SESSION: &str = "/s/";

/// How a form is written.
const FORM: &str = "application/x-www-form-urlencoded";

/// A request's method, as far as there is a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET or HEAD: nothing is changed but that a session begins.
    Get,
    /// POST.
    Post,
    /// Any other.
    Other,
}

/// All of a request but its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub verb: Verb,
    /// The path.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// Whom it is for, by all that it says, and by what it says first; `None` where that is not us or said twice.
    pub host: Option<&'a str>,
    /// Which page it comes from, as far as the browser says so.
    pub origin: Option<&'a str>,
    /// How its body is written.
    pub content_type: Option<&'a str>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A session, by the token; none where there is none.
    Enter(Option<&'a str>),
    /// Something of the session with this path.
    Session(&'a str, Part),
}

/// What is asked for of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The form, and how the daemon stands.
    Start,
    /// A lookup of what the form has.
    Look,
    /// The lookup with this number.
    Found(u64),
    /// A check of a site that the lookup with this number has.
    Check(u64),
    /// Another identity.
    Renew,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is for another host, or for several.
    #[error("this page is not there under that name: a web site may have made its own name lead here")]
    Host,
    /// Another page sends it.
    #[error("another web page sends this form, and may not")]
    Origin,
    /// There is nothing there.
    #[error("there is no such page")]
    NotFound,
    /// It is there for another method.
    #[error("that can't be done with this page")]
    Method,
    /// The form is written otherwise than by a browser for our page.
    #[error("that is no form of this page")]
    Form,
    /// The form has too many bytes.
    #[error("no name has so many bytes")]
    TooLarge,
    /// The form does not come.
    #[error("the form did not come in time")]
    TooSlow,
    /// The token is another daemon's, or nobody's.
    #[error("the token in this address is not that of the daemon that runs: each start makes another one")]
    Token,
    /// The address has no token.
    #[error(
        "this page opens by the address that the daemon prints at its start, which has a token and stands in .web-address in the \
         data folder"
    )]
    NoToken,
    /// The session is over, or is that of another browser.
    #[error("this identity is over, or was another browser's: open the address that has the token for a new one")]
    NoSession,
    /// The lookup has no such site.
    #[error("this lookup has no such site")]
    NoSite,
    /// So many sites are being checked already.
    #[error("{MAX_CHECKS} sites are being checked for this identity already: wait until one of them is done")]
    Busy,
    /// The lookup is not there any more.
    #[error("this lookup is not there any more: the page keeps the newest ones alone")]
    NoLookup,
}

impl Refused {
    /// Returns the status of HTTP.
    pub fn status(self) -> u16 {
        match self {
            Self::Host | Self::Origin | Self::Token | Self::NoToken | Self::NoSession => 403,
            Self::NotFound | Self::NoLookup | Self::NoSite => 404,
            Self::Method => 405,
            Self::TooSlow => 408,
            Self::TooLarge => 413,
            Self::Busy => 429,
            Self::Form => 400,
        }
    }
}

impl<'a> Head<'a> {
    /// Says what is asked for.
    ///
    /// # Errors
    ///
    /// [`Refused::Host`], [`Refused::Origin`], [`Refused::NotFound`], [`Refused::Method`] or [`Refused::Form`].
    pub fn route(&self) -> Result<Route<'a>, Refused> {
        let host = self.host.ok_or(Refused::Host)?;
        let route = match self.path.strip_prefix(SESSION).and_then(|rest| rest.split_once('/')) {
            Some((session, part)) => Route::Session(session, Part::parse(part).ok_or(Refused::NotFound)?),
            None if self.path == "/" => Route::Enter(self.query.and_then(|query| query.strip_prefix("token="))),
            None => return Err(Refused::NotFound),
        };
        let verb = match route {
            Route::Session(_, Part::Look | Part::Check(_) | Part::Renew) => Verb::Post,
            _ => Verb::Get,
        };
        if self.verb != verb {
            return Err(Refused::Method);
        }
        // Browsers say with each POST where it comes from.
        if verb == Verb::Post {
            let is_ours = |origin: &str| origin.strip_prefix("http://") == Some(host);
            if !self.origin.is_some_and(is_ours) {
                return Err(Refused::Origin);
            }
            if self.content_type != Some(FORM) {
                return Err(Refused::Form);
            }
        }
        Ok(route)
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Start),
            "look" => Some(Self::Look),
            "new" => Some(Self::Renew),
            text => {
                let number = text.strip_prefix("look/")?;
                match number.strip_suffix("/check") {
                    Some(number) => Some(Self::Check(number.parse().ok()?)),
                    None => Some(Self::Found(number.parse().ok()?)),
                }
            }
        }
    }
}

/// Returns the path of a session, or of a lookup of it.
pub fn path(session: &str, lookup: Option<u64>) -> String {
    match lookup {
        None => format!("{SESSION}{session}/"),
        Some(number) => format!("{SESSION}{session}/look/{number}"),
    }
}

/// Returns what a header of cookies holds for us: several, where somebody else at this host has planted one.
pub fn cookies(header: &str) -> impl Iterator<Item = &str> + Clone {
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Reads the name in a form, as it was typed but for blanks around it.
///
/// # Errors
///
/// [`Refused::Form`] where it has none.
pub fn typed(form: &[u8]) -> Result<String, Refused> {
    let mut fields = form_urlencoded::parse(form);
    let (_, value) = fields.find(|(field, _)| field == "name").ok_or(Refused::Form)?;
    Ok(value.trim().to_owned())
}

/// Reads which of a lookup's sites a form is about.
///
/// # Errors
///
/// [`Refused::Form`] where it does not say.
pub fn chosen(form: &[u8]) -> Result<usize, Refused> {
    let mut fields = form_urlencoded::parse(form);
    let (_, value) = fields.find(|(field, _)| field == "site").ok_or(Refused::Form)?;
    value.parse().map_err(|_| Refused::Form)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GET: Head<'_> = Head {
        verb: Verb::Get,
        path: "/",
        query: None,
        host: Some("127.0.0.1:8337"),
        origin: None,
        content_type: None,
    };

    const POST: Head<'_> = Head {
        verb: Verb::Post,
        path: "/s/1f/look",
        origin: Some("http://127.0.0.1:8337"),
        content_type: Some(FORM),
        ..GET
    };

    #[test]
    fn what_is_asked_for() {
        for (path, query, route) in [
            ("/", None, Route::Enter(None)),
            ("/", Some("token=1f"), Route::Enter(Some("1f"))),
            ("/", Some("other=1f"), Route::Enter(None)),
            ("/s/1f/", None, Route::Session("1f", Part::Start)),
            ("/s/1f/look/12", Some("x"), Route::Session("1f", Part::Found(12))),
        ] {
            assert_eq!(Head { path, query, ..GET }.route(), Ok(route));
        }
        assert_eq!(POST.route(), Ok(Route::Session("1f", Part::Look)));
        let renew = Head {
            path: "/s/1f/new",
            ..POST
        };
        assert_eq!(renew.route(), Ok(Route::Session("1f", Part::Renew)));
        let check = Head {
            path: "/s/1f/look/12/check",
            ..POST
        };
        assert_eq!(check.route(), Ok(Route::Session("1f", Part::Check(12))));
        for path in [
            "",
            "//",
            "/s/1f/look//check",
            "/s/1f/look/x/check",
            "/s/1f/look/1/check/",
            "/s/1f/check",
            "/s/",
            "/s/1f",
            "/s/1f/x",
            "/s/1f/look/",
            "/s/1f/look/-1",
            "/s/1f/look/x",
            "/favicon.ico",
            "*",
        ] {
            assert_eq!(Head { path, ..GET }.route(), Err(Refused::NotFound), "{path}");
        }
    }

    #[test]
    fn nothing_is_changed_by_other_pages_or_by_loading_a_page() {
        for path in ["/s/1f/look", "/s/1f/look/1/check", "/s/1f/new"] {
            let get = Head {
                verb: Verb::Get,
                path,
                ..POST
            };
            assert_eq!(get.route(), Err(Refused::Method));
            let of_others = Head {
                origin: Some("http://evil.example"),
                path,
                ..POST
            };
            assert_eq!(of_others.route(), Err(Refused::Origin));
        }
        assert_eq!(Head { path: "/", ..POST }.route(), Err(Refused::Method));
        let other = Head {
            verb: Verb::Other,
            ..GET
        };
        assert_eq!(other.route(), Err(Refused::Method));
        for origin in [
            None,
            Some("null"),
            Some("http://127.0.0.1:8338"),
            Some("http://127.0.0.1"),
            Some("https://127.0.0.1:8337"),
            Some("http://localhost:8337"),
            Some("http://evil.example"),
            Some("http://127.0.0.1:8337.evil.example"),
            Some(""),
        ] {
            assert_eq!(Head { origin, ..POST }.route(), Err(Refused::Origin), "{origin:?}");
        }
        for content_type in [None, Some("text/plain"), Some("multipart/form-data; boundary=x")] {
            assert_eq!(Head { content_type, ..POST }.route(), Err(Refused::Form));
        }
        for head in [GET, POST] {
            assert_eq!(Head { host: None, ..head }.route(), Err(Refused::Host));
        }
    }

    #[test]
    fn cookies_that_are_ours() {
        let all = |header| cookies(header).collect::<Vec<_>>();
        assert_eq!(all("isonym=1; other=2; isonym=3"), ["1", "3"]);
        assert_eq!(all("isonym=1"), ["1"]);
        assert_eq!(all(""), [""; 0]);
        assert_eq!(all("xisonym=1; isonymx=2; isonym"), [""; 0]);
    }

    #[test]
    fn forms() {
        assert_eq!(typed(b"name=d%2Fexample").as_deref(), Ok("d/example"));
        assert_eq!(typed(b"a=b&name=+b%C3%BCcher.bit%0A").as_deref(), Ok("b\u{fc}cher.bit"));
        assert_eq!(typed(b"name=").as_deref(), Ok(""));
        assert_eq!(typed(b""), Err(Refused::Form));
        assert_eq!(typed(b"nam=x"), Err(Refused::Form));
        assert_eq!(chosen(b"site=3"), Ok(3));
        for form in [
            &b""[..],
            b"site=",
            b"site=-1",
            b"site=x",
            b"name=3",
            b"site=99999999999999999999999",
        ] {
            assert_eq!(chosen(form), Err(Refused::Form));
        }
    }

    proptest! {
        #[test]
        fn what_is_typed_comes_through(text in any::<String>()) {
            let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("name", &text).finish();
            prop_assert_eq!(typed(form.as_bytes()).unwrap(), text.trim());
        }

        #[test]
        fn nothing_makes_it_fail(path in any::<String>(), query in any::<Option<String>>(), form in any::<Vec<u8>>()) {
            let _ = Head { path: &path, query: query.as_deref(), ..GET }.route();
            let _ = typed(&form);
            let _ = chosen(&form);
            let _ = cookies(&path).count();
        }
    }
}
