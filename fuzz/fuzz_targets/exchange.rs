//! Any bytes in any pieces: the lines of a connection are answers, word of a tip, or its end.

#![no_main]

use std::time::Duration;

use isonym::electrum::exchange::{COMPANIONS_PER_FLIGHT, Effect};
use isonym::electrum::{Exchange, LineBuffer, Request};
use isonym::name::ScriptHash;
use isonym::time::Moment;
use libfuzzer_sys::fuzz_target;

const LONGEST: usize = 4096;
const CALLS: usize = 3;

fuzz_target!(|chunks: Vec<&[u8]>| {
    let mut exchange = Exchange::new();
    let mut lines = LineBuffer::new(LONGEST);
    let mut now = Moment(0);
    let requests = vec![
        Request::History(ScriptHash([0x11; 32])),
        Request::SubscribeHeaders,
        Request::Ping,
    ];
    for _ in 0..CALLS {
        exchange
            .send(now, requests.clone(), Duration::from_secs(1))
            .expect("few requests");
    }
    let (mut answers, mut writes) = (0, 0);
    for chunk in chunks {
        if lines.extend(chunk).is_err() {
            return;
        }
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(_) => return,
            };
            assert!(line.len() <= LONGEST);
            let Ok(effects) = exchange.on_line(now, line) else {
                return;
            };
            answers += effects
                .iter()
                .filter(|effect| matches!(effect, Effect::Answer { .. }))
                .count();
        }
        now = now + Duration::from_millis(7);
        let Ok(effects) = exchange.on_time(now) else { return };
        writes += effects.len();
        assert!(answers <= CALLS * requests.len());
        assert!(writes < COMPANIONS_PER_FLIGHT.into());
    }
});
