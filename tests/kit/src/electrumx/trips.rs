//! Round trips, counted on a tape.

use isonym_sim::tape::{Order, Side, Stream};

/// Counts the round trips that the client waited for: the longest chain of requests that went out only when something
/// was there that a server had said to the one before, up to what was there when the lookup had its answer.
///
/// Pieces may cross: a reply follows from those requests only that had come before it left.
pub fn trips(streams: &[Stream], from: Order, by: Order) -> usize {
    enum Step {
        /// A request to the proxy.
        Asked,
        /// Its answer.
        Opened,
        Taken(usize),
        Given(usize),
    }
    let mut steps = Vec::new();
    for (at, stream) in streams.iter().enumerate() {
        steps.push((stream.asked, at, Step::Asked));
        steps.extend(stream.opened.map(|opened| (opened, at, Step::Opened)));
        for (piece, it) in stream.pieces.iter().enumerate() {
            steps.push((it.taken, at, Step::Taken(piece)));
            steps.extend(it.given.map(|given| (given, at, Step::Given(piece))));
        }
    }
    steps.retain(|(order, ..)| (from..by).contains(order));
    steps.sort_by_key(|(order, ..)| *order);
    // What the client knows, what the far end of each stream knows, what is under way: how many trips each has taken.
    let mut client = 0;
    let mut servers = vec![0; streams.len()];
    let mut pieces: Vec<Vec<usize>> = streams.iter().map(|stream| vec![0; stream.pieces.len()]).collect();
    for (_, at, step) in steps {
        match step {
            Step::Asked => servers[at] = client + 1,
            Step::Opened => client = client.max(servers[at]),
            Step::Taken(piece) => {
                pieces[at][piece] = match streams[at].pieces[piece].from {
                    Side::Client => client + 1,
                    Side::Server => servers[at],
                }
            }
            Step::Given(piece) => {
                let known = match streams[at].pieces[piece].from {
                    Side::Client => &mut servers[at],
                    Side::Server => &mut client,
                };
                *known = (*known).max(pieces[at][piece]);
            }
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use isonym::time::Moment;
    use isonym_sim::Tape;
    use isonym_sim::ledger::{Proxied, Target, Traffic};

    use super::*;

    #[test]
    fn trips_are_what_is_waited_for_and_not_what_is_sent() {
        let tape = Tape::new();
        let from = tape.mark();
        let track = tape.begin(Proxied {
            at: Moment(0),
            credentials: None,
            target: Target::Name("x".to_owned()),
            port: 1,
            onward: None,
            traffic: Traffic::default(),
        });
        let counted = |due| assert_eq!(tape.read(|streams| trips(streams, from, Order(u64::MAX))), due);
        let piece = |side| track.taken(side, Moment(0), b"x");
        track.opened();
        counted(1);
        let two_questions = [piece(Side::Client), piece(Side::Client)];
        for question in two_questions {
            track.given(question);
        }
        let answers = [piece(Side::Server), piece(Side::Server)];
        track.given(answers[0]);
        let after_the_first = piece(Side::Client);
        track.given(answers[1]);
        counted(2);
        // What left the server before the third question came is no answer to it.
        let crossing = piece(Side::Server);
        track.given(after_the_first);
        track.given(crossing);
        counted(2);
        track.given(piece(Side::Server));
        counted(3);
    }
}
