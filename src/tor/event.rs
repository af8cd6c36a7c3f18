//! Tor's events about streams, read from text.
//!
//! Source: Tor, control-spec, "Stream status changed".

use std::collections::BTreeMap;
use std::fmt;

/// Most fields of one event that are kept.
const MAX_FIELDS: usize = 64;

/// Longest identifier of a stream, in bytes. Source: control-spec, "General-use tokens".
const MAX_ID: usize = 16;

/// The identifier that Tor has given a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Box<str>);

impl StreamId {
    /// Parses an identifier; `None` when it is none, so that it must stand in no command.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=MAX_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        fits.then(|| Self(text.into()))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What has become of a stream, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// An application has asked for a connection.
    New,
    /// An application has asked for an address.
    NewResolve,
    /// The stream waits for a controller to attach it.
    ControllerWait,
    /// Its target has changed, by our command or another cause.
    Remap,
    /// The stream was sent on its way, or is in a state that is not known here.
    Sent,
    /// The stream came back, to wait again, or has ended.
    Gone,
}

/// The fields of an event: names, and values without quotes and escapes. `Debug` hides the values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EventFields(BTreeMap<Box<str>, Vec<u8>>);

impl EventFields {
    /// Returns a field's value.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Sets a field that has no value yet.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.0.entry(name.into()).or_insert_with(|| value.to_owned());
    }

    /// Returns all fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, value.as_slice()))
    }
}

impl fmt::Debug for EventFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// An event about a stream. `Debug` hides where it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamEvent {
    /// Which stream.
    pub id: StreamId,
    /// What has become of it.
    pub status: StreamStatus,
    /// The host that it is for, without the brackets of IPv6.
    pub host: String,
    /// The port.
    pub port: String,
    /// All other fields.
    pub fields: EventFields,
}

impl fmt::Debug for StreamEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = (&self.id, self.status, &self.fields);
        f.debug_tuple("StreamEvent").field(&fields).finish()
    }
}

impl StreamEvent {
    /// Parses what stands behind `STREAM ` in an event, or a line of `stream-status`; `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(5, ' ');
        let id = StreamId::parse(words.next()?)?;
        let status = match words.next()? {
            "NEW" => StreamStatus::New,
            "NEWRESOLVE" => StreamStatus::NewResolve,
            "CONTROLLER_WAIT" => StreamStatus::ControllerWait,
            "REMAP" => StreamStatus::Remap,
            "DETACHED" | "FAILED" | "CLOSED" => StreamStatus::Gone,
            _ => StreamStatus::Sent,
        };
        let _circuit = words.next()?;
        // An IPv6 address has colons of its own, and not always brackets.
        let (host, port) = words.next()?.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        Some(Self {
            id,
            status,
            host: bare.unwrap_or(host).to_owned(),
            port: port.to_owned(),
            fields: parse_fields(words.next().unwrap_or_default()).unwrap_or_default(),
        })
    }
}

/// Parses fields, `KEY=value` or `KEY="value"`; `None` when a quoted string has no end, or there are too many.
pub fn parse_fields(text: &str) -> Option<EventFields> {
    let mut fields = EventFields::default();
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.trim_start_matches(' ');
        let end = rest.find([' ', '=']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(end)?;
        let Some(value) = behind.strip_prefix('=') else {
            // A word without a value, which a later version may have.
            rest = behind;
            continue;
        };
        let value = if let Some(quoted) = value.strip_prefix('"') {
            let (value, behind) = unquote(quoted)?;
            rest = behind;
            value
        } else {
            let end = value.find(' ').unwrap_or(value.len());
            let (value, behind) = value.split_at_checked(end)?;
            rest = behind;
            value.as_bytes().to_vec()
        };
        if fields.0.len() == MAX_FIELDS {
            return None;
        }
        fields.add(name, &value);
    }
    Some(fields)
}

/// Parses a quoted string, with the escapes of C, from behind its first quote. Returns it and what stands behind it.
fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        let (plain, behind) = rest.split_at_checked(at)?;
        value.extend_from_slice(plain.as_bytes());
        if let Some(behind) = behind.strip_prefix('"') {
            return Some((value, behind));
        }
        let behind = behind.strip_prefix('\\')?;
        let digits = behind
            .bytes()
            .take(3)
            .take_while(|byte| matches!(byte, b'0'..=b'7'))
            .count();
        if digits > 0 {
            let (number, behind) = behind.split_at_checked(digits)?;
            value.push(u8::from_str_radix(number, 8).ok()?);
            rest = behind;
            continue;
        }
        let escaped = behind.chars().next()?;
        match escaped {
            'n' => value.push(b'\n'),
            'r' => value.push(b'\r'),
            't' => value.push(b'\t'),
            other => value.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = behind.get(escaped.len_utf8()..)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_stream_is_read() {
        let event = StreamEvent::parse(
            "57 NEW 0 foo.bit:80 SOURCE_ADDR=127.0.0.1:52000 PURPOSE=USER SOCKS_USERNAME=\"alice\" \
             SOCKS_PASSWORD=\"a \\\"b\\\\c\\n\\001\\303\\251\" NYM_EPOCH=0 SESSION_GROUP=-4 \
             ISO_FIELDS=SOCKS_USERNAME,SOCKS_PASSWORD,CLIENTADDR,SESSION_GROUP,NYM_EPOCH",
        );
        let event = event.unwrap();
        assert_eq!((event.id.to_string().as_str(), event.status), ("57", StreamStatus::New));
        assert_eq!((event.host.as_str(), event.port.as_str()), ("foo.bit", "80"));
        assert_eq!(event.fields.get("SOCKS_USERNAME"), Some(&b"alice"[..]));
        assert_eq!(event.fields.get("SOCKS_PASSWORD"), Some(&b"a \"b\\c\n\x01\xc3\xa9"[..]));
        assert_eq!(event.fields.get("SESSION_GROUP"), Some(&b"-4"[..]));
        assert_eq!(event.fields.get("CLIENT_PROTOCOL"), None);
    }

    #[test]
    fn targets_are_split_at_the_last_colon() {
        for (target, host, port) in [
            ("[::1]:80", "::1", "80"),
            ("::1:80", "::1", "80"),
            ("a.bit.:0", "a.bit.", "0"),
            (":1", "", "1"),
        ] {
            let event = StreamEvent::parse(&format!("1 CONTROLLER_WAIT 0 {target}")).unwrap();
            assert_eq!((event.host.as_str(), event.port.as_str()), (host, port));
        }
    }

    #[test]
    fn what_is_unknown_is_borne() {
        let event = StreamEvent::parse("a1 DAYDREAMING 7 x:1 REASON= UNKNOWN_99 NEW=\"\" END").unwrap();
        assert_eq!(event.status, StreamStatus::Sent);
        assert_eq!(event.fields.get("REASON"), Some(&b""[..]));
        assert_eq!(event.fields.get("NEW"), Some(&b""[..]));
        // What can't be read is not guessed at: the stream is then one of its own.
        let event = StreamEvent::parse("1 NEW 0 x:1 NYM_EPOCH=1 SOCKS_USERNAME=\"a").unwrap();
        assert_eq!(event.fields, EventFields::default());
    }

    #[test]
    fn what_is_no_stream_event_is_none() {
        for text in [
            "",
            "1",
            "1 NEW",
            "1 NEW 0",
            "1 NEW 0 host",
            "1\t NEW 0 a:1",
            "1; NEW 0 a:1",
            "12345678901234567 NEW 0 a:1",
        ] {
            assert_eq!(StreamEvent::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn quoted_strings_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40), key in "[A-Z_]{1,9}") {
            let escaped: String = bytes.iter().map(|byte| match byte {
                b'"' => "\\\"".to_owned(),
                b'\\' => "\\\\".to_owned(),
                0x20..=0x7e => char::from(*byte).to_string(),
                other => format!("\\{other:03o}"),
            }).collect();
            let read = parse_fields(&format!("A=1 {key}=\"{escaped}\" Z=2")).unwrap();
            let expected: &[u8] = if key == "A" { b"1" } else { &bytes };
            prop_assert_eq!(read.get(&key), Some(expected));
        }

        #[test]
        fn any_text_is_borne(text in "[A-Z\"\\\\= 0-9a-zé.]{0,80}") {
            let _ = StreamEvent::parse(&format!("1 NEW 0 a:1 {text}"));
        }
    }
}
