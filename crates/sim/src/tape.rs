//! The tape: every byte that a proxy carried, and in which order.
//!
//! What is taken from one side is given to the other, perhaps later. Both get a number from one count over all streams,
//! so a tape tells not only what was said, but also what can have been the answer to what.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::Proxied;
use isonym_core::time::Moment;

/// A place in the order of everything on a tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(pub u64);

/// The two ends of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who asked the proxy for the stream.
    Client,
    /// Who it leads to.
    Server,
}

/// Bytes that were read from one side in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Who sent them.
    pub from: Side,
    /// When they came.
    pub at: Moment,
    /// When they came, in the order of the tape.
    pub taken: Order,
    /// When the other side got them; `None` while they are held back, or when it had gone.
    pub given: Option<Order>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One stream through the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// How it was asked for.
    pub way: Proxied,
    /// When it was asked for.
    pub asked: Order,
    /// When the client learnt that it is open.
    pub opened: Option<Order>,
    /// What went over it, in the order in which it was taken.
    pub pieces: Vec<Piece>,
    /// When the client closed its end, or the stream broke.
    pub ended: Option<Order>,
    /// The same by the clock.
    pub ended_at: Option<Moment>,
}

impl Stream {
    /// Returns all that one side sent.
    pub fn sent_by(&self, side: Side) -> Vec<u8> {
        let pieces = self.pieces.iter().filter(|piece| piece.from == side);
        pieces.flat_map(|piece| piece.bytes.iter().copied()).collect()
    }
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    streams: Vec<Stream>,
}

impl Entries {
    fn number(&mut self) -> Order {
        self.next += 1;
        Order(self.next)
    }
}

/// A record of streams; clones write into the same one.
#[derive(Clone, Debug, Default)]
pub struct Tape(Arc<Mutex<Entries>>);

impl Tape {
    /// Starts an empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place in the order: behind everything so far, before everything to come.
    pub fn mark(&self) -> Order {
        self.entries().number()
    }

    /// Looks at all streams, in the order in which they were asked for. The tape stands still meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&[Stream]) -> T) -> T {
        look(&self.entries().streams)
    }

    /// Begins a stream.
    pub fn begin(&self, way: Proxied) -> Track {
        let mut entries = self.entries();
        let asked = entries.number();
        entries.streams.push(Stream {
            way,
            asked,
            opened: None,
            pieces: Vec::new(),
            ended: None,
            ended_at: None,
        });
        Track {
            tape: self.clone(),
            stream: entries.streams.len() - 1,
        }
    }
}

/// Writes one stream down.
#[derive(Clone, Debug)]
pub struct Track {
    tape: Tape,
    stream: usize,
}

impl Track {
    fn write<T: Default>(&self, change: impl FnOnce(&mut Stream, Order) -> T) -> T {
        let mut entries = self.tape.entries();
        let order = entries.number();
        let stream = entries.streams.get_mut(self.stream);
        stream.map(|stream| change(stream, order)).unwrap_or_default()
    }

    /// Notes that the client learns that the stream is open.
    pub fn opened(&self) {
        self.write(|stream, order| stream.opened = Some(order));
    }

    /// Takes bytes down and returns the number of the piece within its stream.
    pub fn taken(&self, from: Side, at: Moment, bytes: &[u8]) -> usize {
        self.write(|stream, order| {
            stream.pieces.push(Piece {
                from,
                at,
                taken: order,
                given: None,
                bytes: bytes.to_vec(),
            });
            stream.pieces.len() - 1
        })
    }

    /// Notes that the other side gets a piece.
    pub fn given(&self, piece: usize) {
        self.write(|stream, order| {
            if let Some(piece) = stream.pieces.get_mut(piece) {
                piece.given = Some(order);
            }
        });
    }

    /// Notes that the client closed its end or that the stream broke; the first time counts.
    pub fn ended(&self, at: Moment) {
        self.write(|stream, order| {
            stream.ended = stream.ended.or(Some(order));
            stream.ended_at = stream.ended_at.or(Some(at));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Target;

    fn way(host: &str) -> Proxied {
        Proxied {
            at: Moment(0),
            credentials: None,
            target: Target::Name(host.to_owned()),
            port: 1,
            onward: None,
            traffic: crate::ledger::Traffic::default(),
        }
    }

    #[test]
    fn one_count_runs_over_all_streams_and_both_ends_of_a_piece() {
        let tape = Tape::new();
        let (first, second) = (tape.begin(way("a")), tape.begin(way("b")));
        first.opened();
        let question = first.taken(Side::Client, Moment(5), b"ask");
        let other = second.taken(Side::Server, Moment(6), b"x");
        let mark = tape.mark();
        first.given(question);
        let answer = first.taken(Side::Server, Moment(7), b"answer");
        first.given(answer);
        first.ended(Moment(8));
        first.ended(Moment(9));
        second.given(other + 1);
        tape.read(|streams| {
            let [first, second] = streams else {
                panic!("{streams:?}")
            };
            assert_eq!(first.way.target, Target::Name("a".to_owned()));
            let [question, answer] = &first.pieces[..] else {
                panic!("{first:?}")
            };
            let orders = [
                Some(first.asked),
                Some(second.asked),
                first.opened,
                Some(question.taken),
                Some(second.pieces[0].taken),
                Some(mark),
                question.given,
                Some(answer.taken),
                answer.given,
                first.ended,
            ];
            assert!(orders.iter().all(Option::is_some) && orders.is_sorted(), "{orders:?}");
            assert_eq!((first.ended_at, second.ended_at), (Some(Moment(8)), None));
            assert_eq!(second.pieces[0].given, None);
            assert_eq!(first.sent_by(Side::Client), b"ask");
            assert_eq!(first.sent_by(Side::Server), b"answer");
        });
    }
}
