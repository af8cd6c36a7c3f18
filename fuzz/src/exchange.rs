//! Any bytes in any pieces: the lines of a connection are answers, word of a tip, or its end.

use std::time::Duration;

use isonym::electrum::exchange::COMPANIONS_PER_FLIGHT;
use isonym::electrum::{ElectrumRequest, Exchange, ExchangeEffect, ExchangeEvent};
use isonym::line::LineBuffer;
use isonym::name::ScriptHash;
use isonym::time::Moment;

use crate::input;

const LONGEST: usize = 4096;
const CALLS: usize = 3;

fn ends(effects: &[ExchangeEffect]) -> bool {
    effects.iter().any(|effect| matches!(effect, ExchangeEffect::Leave(_)))
}

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some(chunks) = input::<Vec<&[u8]>>(bytes) else { return };
    let mut exchange = Exchange::new();
    let mut lines = LineBuffer::new(LONGEST);
    let mut now = Moment(0);
    let requests = vec![
        ElectrumRequest::History(ScriptHash([0x11; 32])),
        ElectrumRequest::SubscribeHeaders,
        ElectrumRequest::Ping,
    ];
    for _ in 0..CALLS {
        let (requests, timeout) = (requests.clone(), Duration::from_secs(1));
        let effects = exchange.on_event(now, ExchangeEvent::Send { requests, timeout });
        assert!(matches!(effects.first(), Some(ExchangeEffect::Sent(_))));
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
            let effects = exchange.on_event(now, ExchangeEvent::Line(line));
            if ends(&effects) {
                return;
            }
            let answer = |effect: &&ExchangeEffect| matches!(effect, ExchangeEffect::Answer { .. });
            answers += effects.iter().filter(answer).count();
        }
        now = now + Duration::from_millis(7);
        let effects = exchange.on_event(now, ExchangeEvent::Tick);
        if ends(&effects) {
            return;
        }
        let write = |effect: &&ExchangeEffect| matches!(effect, ExchangeEffect::Write(_));
        writes += effects.iter().filter(write).count();
        assert!(answers <= CALLS * requests.len());
        assert!(writes < COMPANIONS_PER_FLIGHT.into());
    }
}
