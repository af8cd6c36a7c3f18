//! The way between a client and a server as queues in virtual time: what is sent arrives later, at a rate, in order.

use std::time::Duration;

/// A way there and back, such as a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// How long a byte takes there, and one back.
    pub round_trip: Duration,
    /// How many bytes a second go through, each way for itself, at least one.
    pub bytes_per_second: u64,
}

impl Link {
    /// Returns one of its two directions, with nothing on the way.
    pub fn direction(self) -> Direction {
        Direction {
            link: self,
            free: Duration::ZERO,
        }
    }

    /// Returns how long so many bytes take to go through, one after the other.
    fn passing(&self, bytes: usize) -> Duration {
        let nanoseconds = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000);
        let nanoseconds = nanoseconds / u128::from(self.bytes_per_second.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// One direction of a link. Times are since any one beginning.
#[derive(Clone, Debug)]
pub struct Direction {
    link: Link,
    /// When the last byte that was sent will have gone through.
    free: Duration,
}

impl Direction {
    /// Sends so many bytes and returns when the last of them arrives. They go through behind those that were sent
    /// before, and travel while later ones go through: requests in a row share one round trip.
    pub fn send(&mut self, now: Duration, bytes: usize) -> Duration {
        self.free = now.max(self.free).saturating_add(self.link.passing(bytes));
        self.free.saturating_add(self.link.round_trip / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link {
        round_trip: Duration::from_millis(300),
        bytes_per_second: 500_000,
    };

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_message_takes_its_size_and_half_a_round_trip() {
        let mut direction = LINK.direction();
        assert_eq!(direction.send(milliseconds(1000), 0), milliseconds(1150));
        assert_eq!(direction.send(milliseconds(1000), 50_000), milliseconds(1250));
    }

    #[test]
    fn messages_in_a_row_share_the_delay_and_queue_for_the_rate() {
        let mut direction = LINK.direction();
        let arrivals: Vec<_> = (0..4).map(|_| direction.send(Duration::ZERO, 50_000)).collect();
        assert_eq!(arrivals, [250, 350, 450, 550].map(milliseconds));
        // The queue is empty by then: no rate is saved up, none is owed.
        assert_eq!(direction.send(milliseconds(5000), 50_000), milliseconds(5250));
    }

    #[test]
    fn the_directions_are_free_of_each_other() {
        let (mut up, mut down) = (LINK.direction(), LINK.direction());
        down.send(Duration::ZERO, 10_000_000);
        let request = up.send(Duration::ZERO, 0);
        assert_eq!(request, milliseconds(150));
    }

    #[test]
    fn pieces_take_as_long_as_the_whole() {
        let (mut pieces, mut whole) = (LINK.direction(), LINK.direction());
        let last = (0..1000).map(|_| pieces.send(Duration::ZERO, 1500)).last();
        assert_eq!(last, Some(whole.send(Duration::ZERO, 1_500_000)));
    }
}
