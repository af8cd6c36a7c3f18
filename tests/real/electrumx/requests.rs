//! The requests on a stream as its server reads them.

use isonym_sim::tape::{Order, Side, Stream};
use serde_json::Value;

/// What follows every flight, whatever was asked.
const COMPANION: (&str, &str) = ("blockchain.block.headers", "[0,8]");

/// One request line. Together with the id it is all that the line has: other bytes are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) params: String,
}

impl Asked {
    fn parse(line: &str) -> Option<(u64, Self)> {
        let rest = line.strip_prefix(r#"{"jsonrpc":"2.0","id":"#)?;
        let (id, rest) = rest.split_once(r#","method":""#)?;
        let (method, rest) = rest.split_once(r#"","params":"#)?;
        let asked = Self {
            method: method.to_owned(),
            params: rest.strip_suffix('}')?.to_owned(),
        };
        let id: u64 = id.parse().ok()?;
        (asked.line(id) == line).then_some((id, asked))
    }

    fn line(&self, id: u64) -> String {
        let Self { method, params } = self;
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
    }

    pub(crate) fn is_companion(&self) -> bool {
        (self.method.as_str(), self.params.as_str()) == COMPANION
    }

    /// Returns the scripthash or transaction that the request names first.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.params.split('"').find(|word| word.len() == 64)
    }
}

/// The id of a stream's first sign of life.
const FIRST_SIGN_OF_LIFE: u64 = 1 << 32;

/// Requests that went out together, the companion behind them left out.
pub(crate) type Flight = Vec<Asked>;

/// All that was asked on one stream.
pub(crate) struct Requests {
    /// Every line but signs of life, in order: line `n` has the id `n`.
    pub(crate) all: Vec<Asked>,
    /// The bytes of the lines.
    pub(crate) bytes: Vec<u8>,
    /// The first flight, if it went out.
    pub(crate) greeting: Option<Flight>,
    /// The flights after the greeting.
    pub(crate) flights: Vec<Flight>,
}

impl Requests {
    /// Reads a stream over plain TCP.
    ///
    /// # Panics
    /// When a line is not written as all others are, when ids don't count from 0 on, or when a flight has no companion.
    pub(crate) fn of(stream: &Stream) -> Self {
        let mut bytes = stream.sent_by(Side::Client);
        // A stream that was closed may end within a line or a flight.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        let text = std::str::from_utf8(&bytes).unwrap();
        let mut all = Vec::new();
        let (mut next, mut next_sign) = (0, FIRST_SIGN_OF_LIFE);
        for line in text.lines() {
            let (id, asked) = Asked::parse(line).unwrap_or_else(|| panic!("written in another way: {line}"));
            if id >= FIRST_SIGN_OF_LIFE {
                assert_eq!(id, next_sign, "signs of life are counted apart: {line}");
                assert!(asked.method == "server.ping" || asked.is_companion(), "{line}");
                next_sign += 1;
            } else {
                assert_eq!(id, next, "ids count from 0 on every stream: {line}");
                next += 1;
                all.push(asked);
            }
        }
        let is_sign = |line: &&[u8]| {
            let text = std::str::from_utf8(line).ok().map(str::trim_end);
            text.and_then(Asked::parse)
                .is_some_and(|(id, _)| id >= FIRST_SIGN_OF_LIFE)
        };
        let kept = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !is_sign(line));
        let bytes = kept.flatten().copied().collect();
        let mut flights = Vec::new();
        for together in all.split_inclusive(Asked::is_companion) {
            match together {
                // One that went out alone, since a reply let its companion wait.
                [companion] if companion.is_companion() => {}
                [flight @ .., companion] if companion.is_companion() => flights.push(flight.to_vec()),
                _ => assert!(stream.ended.is_some(), "a flight without a companion: {together:?}"),
            }
        }
        let lookups = flights.split_off(flights.len().min(1));
        Self {
            greeting: flights.pop(),
            flights: lookups,
            all,
            bytes,
        }
    }

    pub(crate) fn asks(&self, method: &str) -> bool {
        self.all.iter().any(|asked| asked.method == method)
    }

    /// Says whether the stream is one of header sync: lookups have no other word in common with it.
    pub(crate) fn is_sync(&self) -> bool {
        self.asks("blockchain.headers.subscribe")
    }

    /// Returns the bytes of the greeting and of the first flight behind it, signs of life left out, if nothing else came
    /// between: no further companion.
    pub(crate) fn first_bytes(&self) -> Option<&[u8]> {
        let first = self.flights.first()?;
        let mut lines = self.all.iter();
        for flight in self.greeting.iter().chain([first]) {
            let undisturbed = flight.iter().all(|asked| lines.next() == Some(asked));
            lines.next().filter(|line| undisturbed && line.is_companion())?;
        }
        let count = self.all.len() - lines.len();
        let mut ends = (1..).zip(&self.bytes).filter(|(_, byte)| **byte == b'\n');
        self.bytes.get(..ends.nth(count - 1)?.0)
    }
}

/// Says whether a flight asks for a name as it is asked for where it is not known yet what the server can do.
pub(crate) fn asks_both_ways(flight: &Flight) -> bool {
    let methods = flight.iter().map(|asked| asked.method.as_str());
    methods.eq(["blockchain.name.get_value_proof", "blockchain.scripthash.get_history"])
}

/// Returns when the first request of a flight was on its way.
pub(crate) fn went_out(stream: &Stream, flight: &Flight) -> Order {
    let Asked { method, params } = &flight[0];
    let wanted = format!(r#","method":"{method}","params":{params}}}"#);
    let mut sent = Vec::new();
    let mut pieces = stream.pieces.iter().filter(|piece| piece.from == Side::Client);
    let last = pieces.find(|piece| {
        sent.extend_from_slice(&piece.bytes);
        String::from_utf8_lossy(&sent).contains(&wanted)
    });
    last.unwrap().taken
}

/// Says whether the client had the reply to its first request for a method at a place in the order.
pub(crate) fn had_reply(stream: &Stream, method: &str, by: Order) -> bool {
    let requests = Requests::of(stream);
    let Some(id) = requests.all.iter().position(|asked| asked.method == method) else {
        return false;
    };
    let replies = given(stream, by);
    let mut replies = replies.split_inclusive(|byte| *byte == b'\n');
    replies.any(|line| serde_json::from_slice::<Value>(line).is_ok_and(|reply| reply["id"] == id))
}

/// Returns all that the client had of the server at a place in the order.
pub(crate) fn given(stream: &Stream, by: Order) -> Vec<u8> {
    let given = stream.pieces.iter().filter(|piece| {
        let given = piece.given.is_some_and(|given| given < by);
        given && piece.from == Side::Server
    });
    given.flat_map(|piece| piece.bytes.iter().copied()).collect()
}

#[test]
fn requests_are_told_apart_by_their_bytes() {
    let (id, asked) = Asked::parse(r#"{"jsonrpc":"2.0","id":7,"method":"a.b","params":["x",1]}"#).unwrap();
    assert_eq!(
        (id, asked.method.as_str(), asked.params.as_str()),
        (7, "a.b", r#"["x",1]"#)
    );
    for other in [
        r#"{"jsonrpc":"2.0","id":07,"method":"a.b","params":[]}"#,
        r#"{"jsonrpc":"2.0", "id":7,"method":"a.b","params":[]}"#,
        r#"{"id":7,"jsonrpc":"2.0","method":"a.b","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"a.b","params":[]} "#,
    ] {
        assert!(Asked::parse(other).is_none(), "{other}");
    }
}
