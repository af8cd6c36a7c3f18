//! A daemon's page as a browser without scripts uses it: it follows redirections, gives cookies back to the paths that they are
//! for, and loads anew what says so.

use std::fs;
use std::net::SocketAddr;

use crate::harness::{Daemon, Reply, send, until};

/// A session at a daemon's page.
#[derive(Clone, Debug)]
pub struct Session {
    pub address: SocketAddr,
    /// What the session's paths begin with.
    pub path: String,
    pub cookie: String,
}

/// Where a daemon's page is, and its token.
pub fn page_of(daemon: &Daemon) -> (SocketAddr, String) {
    let address = fs::read_to_string(daemon.folder.join(".web-address")).unwrap();
    let rest = address.strip_prefix("http://").unwrap();
    let (host, token) = rest.split_once("/?token=").unwrap();
    (host.parse().unwrap(), token.to_owned())
}

/// Asks for something, with these lines of headers beside those that name the host.
pub async fn ask(address: SocketAddr, line: &str, headers: &str, body: &str) -> Reply {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}{length}\r\n{body}");
    send(address, request).await
}

/// Returns a header's value.
pub fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let lines = reply.head.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    values.next()
}

/// Asserts that all markup is of kinds that we write, and leads nowhere but to us.
#[track_caller]
pub fn assert_only_ours(page: &str) {
    const TAGS: &str = " a bdo body button code dd div dl dt footer form h1 h2 h3 head header html i input label li main meta \
        nav ol p progress section span strong style title ul ";
    const ATTRIBUTES: &str = " action aria-describedby aria-hidden aria-label aria-labelledby autocapitalize autocomplete \
        charset class content dir for href id lang max method name required role spellcheck tabindex translate type value ";
    for piece in page
        .split('<')
        .skip(1)
        .filter(|piece| !piece.starts_with("!DOCTYPE html>"))
    {
        let (tag, _) = piece.split_once('>').unwrap();
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let is_ours = |words: &str, word: &str| words.contains(&format!(" {word} "));
        assert!(is_ours(TAGS, name.trim_start_matches('/')), "<{tag}>");
        while !rest.is_empty() {
            let (attribute, behind) = rest.split_once("=\"").unwrap();
            let (value, behind) = behind.split_once('"').unwrap();
            assert!(is_ours(ATTRIBUTES, attribute), "<{tag}>");
            if ["href", "action"].contains(&attribute) {
                let is_here = value.is_empty() || value.starts_with('#') || value.starts_with("/s/");
                assert!(is_here, "<{tag}>");
            }
            rest = behind.trim_start();
        }
    }
}

impl Session {
    /// Begins one by the address that the daemon prints.
    pub async fn begin(daemon: &Daemon) -> Self {
        let (address, token) = page_of(daemon);
        Self::of(address, &ask(address, &format!("GET /?token={token}"), "", "").await)
    }

    /// Takes the session that a reply begins.
    pub fn of(address: SocketAddr, reply: &Reply) -> Self {
        assert_eq!(reply.status, 303, "{reply:?}");
        let path = header(reply, "location").unwrap().to_owned();
        let cookie = header(reply, "set-cookie").unwrap();
        assert!(
            cookie.ends_with(&format!("; path={path}; httponly; samesite=strict")),
            "{cookie}"
        );
        let (cookie, _) = cookie.split_once(';').unwrap();
        Self {
            address,
            path,
            cookie: cookie.to_owned(),
        }
    }

    /// Loads a page of the session.
    pub async fn get(&self, path: &str) -> Reply {
        let cookie = format!("Cookie: {}\r\n", self.cookie);
        ask(self.address, &format!("GET {path}"), &cookie, "").await
    }

    /// Sends a form of the session's pages.
    pub async fn post(&self, part: &str, body: &str) -> Reply {
        let headers = format!(
            "Cookie: {}\r\nOrigin: http://{}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
            self.cookie, self.address
        );
        ask(self.address, &format!("POST {}{part}", self.path), &headers, body).await
    }

    /// Types a name, and returns the path of what is shown then.
    pub async fn look(&self, typed: &str) -> String {
        let bytes = typed.bytes().map(|byte| format!("%{byte:02X}"));
        let reply = self.post("look", &format!("name={}", bytes.collect::<String>())).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        header(&reply, "location").unwrap().to_owned()
    }

    /// Types a name, and waits until it is there.
    pub async fn found(&self, typed: &str) -> Reply {
        let path = self.look(typed).await;
        until("the name is found", async || {
            let reply = self.get(&path).await;
            header(&reply, "refresh").is_none().then_some(reply)
        })
        .await
    }
}
