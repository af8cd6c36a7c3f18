//! Circuits in memory: each has a delay of its own, and the operator listens at its far end.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep_until};

use super::record::{Recorder, Side};
use isonym::time::random_pause;

/// Bytes that are read at a time.
const PIECE: usize = 16 << 10;

/// After so long without a request ElectrumX ends a connection.
const IDLE: Duration = Duration::from_secs(600);

/// How long things take on one circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    /// One way.
    delay: Duration,
    /// Bytes a second each way, where that matters.
    rate: Option<u32>,
    /// Bytes each way after which it is dead.
    budget: Option<usize>,
    rng: StdRng,
}

impl Circuit {
    /// Draws a circuit: most round trips lie between 0.2 and 1 second.
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        // The sum of twelve is as good as normal.
        let normal: f64 = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        Self {
            delay: Duration::from_secs_f64(0.2 * (0.4 * normal).exp()),
            rate: None,
            budget: None,
            rng: StdRng::seed_from_u64(rng.random()),
        }
    }

    /// Has it carry no more than so many bytes a second.
    pub(super) fn with_rate(self, rate: u32) -> Self {
        let rate = Some(rate);
        Self { rate, ..self }
    }

    /// Has it die after so many bytes.
    pub(super) fn with_budget(self, budget: usize) -> Self {
        let budget = Some(budget);
        Self { budget, ..self }
    }

    /// Makes it slower by a factor.
    pub(super) fn slowed(self, factor: u32) -> Self {
        Self {
            delay: self.delay * factor,
            ..self
        }
    }

    /// How long it takes to build the circuit and to have the stream opened.
    pub(super) fn opening(&mut self) -> Duration {
        self.delay * 2 + random_pause(Duration::from_millis(500), &mut self.rng)
    }

    fn way(&mut self) -> Self {
        Self {
            delay: self.delay,
            rate: self.rate,
            budget: self.budget,
            rng: StdRng::seed_from_u64(self.rng.random()),
        }
    }

    /// How long so many bytes take to get through, one after the other.
    fn transmission(&self, bytes: usize) -> Duration {
        let rate = self.rate.map_or(f64::INFINITY, f64::from);
        #[expect(clippy::cast_precision_loss, reason = "a piece is small")]
        Duration::from_secs_f64(bytes as f64 / rate)
    }

    /// Takes so many bytes off what it may carry; says whether it is still alive.
    fn spend(&mut self, bytes: usize) -> bool {
        let Some(budget) = &mut self.budget else { return true };
        *budget = budget.saturating_sub(bytes);
        *budget > 0
    }

    fn passing(&mut self) -> Duration {
        self.delay + random_pause(Duration::from_millis(15), &mut self.rng)
    }
}

/// The operator's ear on one connection.
pub(super) struct Ear {
    pub(super) recorder: Recorder,
    pub(super) connection: usize,
    pub(super) begun: Instant,
}

impl Ear {
    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Takes down the lines that end in `bytes`; `line` keeps the beginning of the next one.
    fn hear(&self, from: Side, line: &mut Vec<u8>, mut bytes: &[u8]) {
        while bytes.read_until(b'\n', line).is_ok_and(|read| read > 0) && line.ends_with(b"\n") {
            self.recorder.line(self.connection, self.now(), from, line);
            line.clear();
        }
    }

    /// What comes first counts.
    pub(super) fn close(&self, by: Side) {
        self.recorder.close(self.connection, self.now(), by);
    }
}

/// Carries bytes both ways until both sides are through.
pub(super) async fn carry(client: DuplexStream, server: DuplexStream, mut circuit: Circuit, ear: &Ear) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    let (up, down) = (circuit.way(), circuit.way());
    // Whichever way fails ends both: the other side is gone.
    let _ = tokio::try_join!(
        carry_one_way(from_client, to_server, up, ear, Side::Client),
        carry_one_way(from_server, to_client, down, ear, Side::Server),
    );
}

async fn carry_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut circuit: Circuit,
    ear: &Ear,
    side: Side,
) -> io::Result<()> {
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut last, mut heard) = (Instant::now(), Instant::now());
    let (mut open, mut line, mut buffer) = (true, Vec::new(), vec![0; PIECE]);
    loop {
        let next = under_way.front().map(|(arrival, _)| *arrival);
        tokio::select! {
            read = from.read(&mut buffer), if open => {
                let piece = buffer[..read?].to_vec();
                open = !piece.is_empty();
                if side == Side::Server {
                    ear.hear(side, &mut line, &piece);
                    if !open {
                        ear.close(side);
                    }
                }
                if !circuit.spend(piece.len()) {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                last = last.max(Instant::now() + circuit.passing()) + circuit.transmission(piece.len());
                under_way.push_back((last, piece));
            }
            () = sleep_until(next.unwrap_or(last)), if next.is_some() => {
                let (_, piece) = under_way.pop_front().unwrap();
                heard = Instant::now();
                if side == Side::Client {
                    ear.hear(side, &mut line, &piece);
                }
                if piece.is_empty() {
                    if side == Side::Client {
                        ear.close(side);
                    }
                    return to.shutdown().await;
                }
                // Whom nothing reaches has closed, whether or not the last words came through.
                to.write_all(&piece).await.inspect_err(|_| ear.close(side.other()))?;
            }
            () = sleep_until(heard + IDLE), if side == Side::Client => {
                ear.close(Side::Server);
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}
