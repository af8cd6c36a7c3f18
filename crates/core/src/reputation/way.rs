//! What header sync knows of the way to a server, and of how the server gives headers: how much to ask for at a time.
//!
//! It is learnt on header sync's own connections and for them alone. It is kept over restarts, since on a slow way to
//! learn it anew costs as much as the headers do.

/// The least that a server is asked for at a time, in bytes on the wire: eight truncated headers and their frame.
pub const LEAST_REPLY: u32 = 2048;

/// From so many bytes on, a bound on replies bounds nothing.
const UNBOUNDED: u32 = 4 << 20;

/// What is known of the way to a server, and of how it gives headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerWay {
    /// Bytes a second that the last connection brought, if that is known.
    pub rate: Option<u32>,
    /// The longest reply to be asked for, in bytes on the wire, since connections ended within longer ones.
    pub longest: Option<u32>,
    /// Whether it cuts headers wrongly, so that it is to be asked for full ones.
    pub cuts_wrongly: bool,
    /// Whether it pads its replies to a power of two.
    pub pads: bool,
}

impl ServerWay {
    /// Takes down that a connection ended, after so many bytes in all, while a reply of so many was awaited: shorter ones
    /// have a chance to come whole.
    pub fn on_cut(&mut self, received: u64, awaited: u32) {
        let quarter = u32::try_from(received / 4).unwrap_or(UNBOUNDED);
        let half = awaited.min(self.longest.unwrap_or(UNBOUNDED)) / 2;
        self.longest = Some(half.min(quarter).max(LEAST_REPLY));
    }

    /// Takes down that a reply of so many bytes was too long for the time that was given to it.
    pub fn on_stall(&mut self, awaited: u32) {
        let half = awaited.min(self.longest.unwrap_or(UNBOUNDED)) / 2;
        self.longest = Some(half.max(LEAST_REPLY));
    }

    /// Takes down that a reply came whole, which was about as long as may be.
    pub fn on_reply(&mut self, bytes: u32) {
        if let Some(longest) = self.longest
            && bytes >= longest / 2
        {
            let more = longest.saturating_add(longest / 4);
            self.longest = (more < UNBOUNDED).then_some(more);
        }
    }

    /// Forgets what another release of its software may do otherwise.
    pub fn on_other_release(&mut self) {
        (self.cuts_wrongly, self.pads) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_halved_at_a_loss_and_grow_by_a_quarter() {
        let mut way = ServerWay::default();
        way.on_stall(80_000);
        assert_eq!(way.longest, Some(40_000));
        way.on_reply(1000);
        assert_eq!(way.longest, Some(40_000), "a short one shows nothing");
        way.on_reply(39_000);
        assert_eq!(way.longest, Some(50_000));
        while way.longest.is_some() {
            way.on_reply(u32::MAX);
        }
    }

    #[test]
    fn a_connection_that_was_cut_is_asked_for_a_quarter_of_what_it_brought() {
        let mut way = ServerWay::default();
        way.on_cut(200_000, 300_000);
        assert_eq!(way.longest, Some(50_000));
        for _ in 0..20 {
            way.on_cut(3, 50_000);
        }
        assert_eq!(way.longest, Some(LEAST_REPLY), "something is always asked for");
    }

    #[test]
    fn another_release_is_learnt_anew_and_the_way_to_it_is_the_same() {
        let mut way = ServerWay {
            rate: Some(7),
            longest: Some(9000),
            cuts_wrongly: true,
            pads: true,
        };
        way.on_other_release();
        let rest = ServerWay {
            rate: Some(7),
            longest: Some(9000),
            ..ServerWay::default()
        };
        assert_eq!(way, rest);
    }
}
