//! Any events in any order, with headers good and bad: the header sync machine stays bounded and its work never falls.

use crate::Bytes;
use std::sync::LazyLock;
use std::time::Duration;

use bitcoin::BlockHash;
use bitcoin::hashes::{Hash, sha256d};
use isonym::chain::sampling::Assurance;
use isonym::chain::sync::{
    ClaimedTip, HeaderRequest, HeaderSync, HeaderSyncEffect, HeaderSyncEvent, HeaderSyncLimits, LinkError,
    LinkErrorKind, RequestId, Verification,
};
use isonym::chain::{Anchor, HeaderTree, Height, Network, PureHeader};
use isonym::isolation::ConnId;
use isonym::reputation::{ServerIndex, SyncReputation};
use isonym::time::{Moment, Now, Timestamp};

const SERVERS: usize = 4;
const TIP: u8 = 40;
const MOST_EVENTS: usize = 400;
const WALL: Timestamp = Timestamp(1_296_800_000);

const LIMITS: HeaderSyncLimits = HeaderSyncLimits {
    verification: Verification::Full,
    skeleton_from: 6,
    skeleton_chunk: 8,
    sample_batch: 3,
    background_mean: Duration::from_millis(300),
    background_batch: 2,
    budget: 60.0,
    rate_limit_pause: Duration::from_millis(200),
    connections: 3,
    full_chunk: 4,
    truncated_chunk: 8,
    in_flight: 2,
    window: 4,
    request_timeout: Duration::from_millis(900),
    steal_after: Duration::from_millis(200),
    second_server_grace: Duration::from_millis(100),
    stall_grace: Duration::from_millis(400),
    dials: 3,
    redial_pause: Duration::from_millis(50),
};

const NATIVE: u32 = 0x0001_0004;
const FLAGGED: u32 = 0x0001_0104;

/// Three branches, the second one from height 20 and the third one from height 30; a fourth one claims AuxPoW, which it
/// can't show.
static CHAINS: LazyLock<[Vec<[u8; 80]>; 4]> = LazyLock::new(|| {
    let genesis = *Network::Regtest.params().genesis.as_bytes();
    let first = mined(vec![genesis], TIP, 1, NATIVE);
    let second = mined(first[..=20].to_vec(), TIP - 18, 2, NATIVE);
    let third = mined(first[..=30].to_vec(), 3, 3, NATIVE);
    let fourth = mined(first[..=16].to_vec(), TIP, 4, FLAGGED);
    [first, second, third, fourth]
});

fn mined(mut chain: Vec<[u8; 80]>, count: u8, salt: u8, version: u32) -> Vec<[u8; 80]> {
    for _ in 0..count {
        let mut header = [0; 80];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&hash(&chain[chain.len() - 1]).to_byte_array());
        header[36] = salt;
        let time = 1_296_688_602 + 600 * chain.len() as u32;
        header[68..72].copy_from_slice(&time.to_le_bytes());
        header[72..76].copy_from_slice(&0x207f_ffff_u32.to_le_bytes());
        while hash(&header).to_byte_array()[31] > 0x7e {
            header[76] += 1;
        }
        chain.push(header);
    }
    chain
}

fn hash(header: &[u8; 80]) -> BlockHash {
    BlockHash::from_raw_hash(sha256d::Hash::hash(header))
}

#[derive(Default)]
struct Seen {
    conns: Vec<(ConnId, usize)>,
    /// Those that are open and have not answered the greeting.
    greeting: Vec<(ConnId, usize)>,
    requests: Vec<(ConnId, RequestId, HeaderRequest)>,
    dials: Vec<usize>,
}

fn tip(bytes: &mut Bytes<'_>) -> Option<ClaimedTip> {
    let chain = &CHAINS[usize::from(bytes.next()?) % CHAINS.len()];
    let (at, more) = (usize::from(bytes.next()?), bytes.next()?);
    let at = at.min(chain.len() - 1);
    let mut height = at as Height;
    let mut hash = hash(&chain[at]);
    match more {
        0 => height = Height::MAX,
        1..16 => height += Height::from(more),
        16..32 => hash = BlockHash::all_zeros(),
        _ => {}
    }
    Some(ClaimedTip { height, hash })
}

fn headers(bytes: &mut Bytes<'_>, conn: ConnId, request: RequestId, asked: HeaderRequest) -> Option<HeaderSyncEvent> {
    let heights: Vec<Height> = match &asked {
        HeaderRequest::Full { start, count } | HeaderRequest::Truncated { start, count, .. } => {
            (*start..*start + *count).collect()
        }
        HeaderRequest::Scattered(heights) => heights.clone(),
    };
    let count = heights.len() as Height;
    let (which, bend) = (bytes.next()?, bytes.next()?);
    let chain = &CHAINS[usize::from(which) % CHAINS.len()];
    let headers = heights.iter().filter_map(|height| chain.get(*height as usize));
    let mut told = headers.clone().count() as Height;
    let mut served: Vec<u8> = headers.flatten().copied().collect();
    match bend {
        0..16 => served.push(bend),
        16..32 => served.truncate(served.len().saturating_sub(usize::from(bend))),
        32..48 => told = told.wrapping_add(Height::from(bend)).wrapping_sub(40),
        48..64 => {
            let at = usize::from(bytes.next()?);
            if let Some(byte) = served.get_mut(at) {
                *byte ^= bend;
            }
        }
        64..72 => told = count,
        _ => {}
    }
    if matches!(asked, HeaderRequest::Scattered(_)) && bend != 255 {
        let headers = served.chunks(80).map(<[u8]>::to_vec).collect();
        return Some(HeaderSyncEvent::Scattered { conn, request, headers });
    }
    Some(HeaderSyncEvent::Headers {
        conn,
        request,
        count: told,
        bytes: served,
    })
}

fn event(bytes: &mut Bytes<'_>, seen: &mut Seen) -> Option<HeaderSyncEvent> {
    let kind = bytes.next()? % 16;
    let pick = usize::from(bytes.next()?);
    let stranger = ConnId(u64::MAX);
    let conn = seen
        .conns
        .get(pick % seen.conns.len().max(1))
        .map_or(stranger, |(conn, _)| *conn);
    let asked = if seen.requests.is_empty() {
        (
            stranger,
            RequestId(pick as u64),
            HeaderRequest::Full { start: 1, count: 3 },
        )
    } else {
        seen.requests.remove(pick % seen.requests.len())
    };
    let error = |kind| LinkError::new(kind, "");
    Some(match kind {
        0..3 => {
            let greeted = if kind > 0 { seen.greeting.pop() } else { None };
            let (conn, server) = greeted.unwrap_or_else(|| {
                let server = if seen.dials.is_empty() {
                    pick % (SERVERS + 1)
                } else {
                    seen.dials.remove(0)
                };
                let conn = ConnId(1 + seen.conns.len() as u64);
                seen.conns.push((conn, server));
                (conn, server)
            });
            let server = ServerIndex(server);
            if kind == 0 {
                seen.greeting.push((conn, server.0));
                HeaderSyncEvent::Opened { server, conn }
            } else {
                let tip = tip(bytes)?;
                HeaderSyncEvent::Connected { server, conn, tip }
            }
        }
        3 => {
            let server = if seen.dials.is_empty() {
                pick
            } else {
                seen.dials.remove(0)
            };
            HeaderSyncEvent::DialFailed {
                server: ServerIndex(server),
                error: error(if pick > 200 {
                    LinkErrorKind::Permanent
                } else {
                    LinkErrorKind::Transient
                }),
            }
        }
        4 => HeaderSyncEvent::TipClaimed { conn, tip: tip(bytes)? },
        5 => HeaderSyncEvent::WronglyCut {
            conn: asked.0,
            request: asked.1,
        },
        6 => HeaderSyncEvent::Refused {
            conn: asked.0,
            request: asked.1,
            error: error(if pick > 200 {
                LinkErrorKind::RateLimited
            } else {
                LinkErrorKind::Transient
            }),
        },
        7 if pick > 128 => HeaderSyncEvent::Closed {
            conn,
            error: error(if pick > 250 {
                LinkErrorKind::Permanent
            } else {
                LinkErrorKind::Transient
            }),
        },
        7 | 8 => HeaderSyncEvent::Tick,
        9 => headers(bytes, conn, asked.1, asked.2)?,
        _ => headers(bytes, asked.0, asked.1, asked.2)?,
    })
}

/// Checks what comes of such an input.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let anchor = [0_u8, 15, 35][usize::from(bytes.next().unwrap_or(0)) % 3];
    let hash_there = hash(&CHAINS[0][usize::from(anchor)]);
    let anchor = Anchor {
        height: anchor.into(),
        hash: hash_there,
        chainwork: None,
    };
    let mut tree = HeaderTree::new(Network::Regtest.params(), anchor);
    let choice = bytes.next().unwrap_or(0);
    let limits = HeaderSyncLimits {
        verification: match choice % 3 {
            0 => Verification::Full,
            1 => Verification::Sampled(Assurance::new(2, 0.5, 2).unwrap()),
            _ => Verification::Sampled(Assurance::default()),
        },
        ..LIMITS
    };
    let mut sync = HeaderSync::new(SERVERS, limits, [choice; 32]);
    let mut reputation = SyncReputation::new(SERVERS);
    let mut now = Now {
        wall: WALL,
        steady: Moment(0),
    };
    let mut seen = Seen::default();
    let mut stored: Vec<PureHeader> = Vec::new();
    let mut next = Some(HeaderSyncEvent::Tick);
    for _ in 0..MOST_EVENTS {
        let Some(event) = next.take() else { return };
        let (before, lowest) = (tree.tip(), tree.lowest());
        let effects = sync.on_event(&mut tree, &mut reputation, now, event);
        let after = tree.tip();
        assert!(after.chainwork >= before.chainwork);
        // The machine takes as many connections as it is told of; each gets so many questions, or is closed.
        let most = 8 + 2 * LIMITS.window + SERVERS + (LIMITS.in_flight + 1) * seen.conns.len();
        assert!(effects.len() <= most, "{} of {most}", effects.len());
        let stores = |effect: &HeaderSyncEffect| {
            matches!(
                effect,
                HeaderSyncEffect::StoreForward { .. } | HeaderSyncEffect::StoreProved { .. }
            )
        };
        assert!(after.hash == before.hash || effects.iter().any(stores));
        for effect in effects {
            match effect {
                HeaderSyncEffect::Dial(server) => seen.dials.push(server.0),
                HeaderSyncEffect::Send { conn, id, request } => {
                    match &request {
                        HeaderRequest::Full { start, count } | HeaderRequest::Truncated { start, count, .. } => {
                            assert!(
                                *count > 0 && *count <= LIMITS.truncated_chunk && start.checked_add(*count).is_some()
                            );
                            assert!(matches!(request, HeaderRequest::Truncated { .. }) || *count <= LIMITS.full_chunk);
                        }
                        HeaderRequest::Scattered(heights) => {
                            assert!(!heights.is_empty() && heights.len() <= LIMITS.sample_batch);
                            assert!(heights.is_sorted());
                        }
                    }
                    seen.requests.push((conn, id, request));
                }
                HeaderSyncEffect::StoreForward { from } => assert!(from > anchor.height),
                HeaderSyncEffect::StoreProved { heights } => {
                    for height in heights {
                        let in_skeleton = tree.skeleton().and_then(|skeleton| skeleton.is_proved(height));
                        assert_eq!(tree.is_proved(height).or(in_skeleton), Some(true));
                    }
                }
                HeaderSyncEffect::StoreBackward { from } => assert!(lowest.is_none_or(|lowest| from < lowest)),
                HeaderSyncEffect::WakeAt(at) => assert!(at > now.steady),
                HeaderSyncEffect::Close(_) | HeaderSyncEffect::Synced | HeaderSyncEffect::Exhausted => {}
            }
        }
        stored.clear();
        stored.extend(tree.best_chain(0).map(|(_, header)| header));
        for pair in stored.windows(2) {
            assert_eq!(pair[1].prev(), pair[0].hash());
        }
        let Some(pause) = bytes.next() else { return };
        now.steady = now.steady + Duration::from_millis(u64::from(pause));
        next = self::event(&mut bytes, &mut seen);
    }
}
