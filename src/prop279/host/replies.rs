//! What the lines of a plugin change.

use super::{HostEffect, HostMachine, MAX_MEANINGLESS, Noise, PAUSE, Phase, QueryPhase};
use crate::naming::target::Failure;
use crate::prop279::line::{PluginReply, QueryId, ReplyStatus};
use crate::prop279::line_decoder::PluginLine;
use crate::time::Moment;

impl HostMachine {
    pub(super) fn on_line(&mut self, now: Moment, line: &PluginLine, effects: &mut Vec<HostEffect>) {
        let reply = PluginReply::parse(line);
        let made_sense = match &mut self.phase {
            // It comes from a process that has been ended.
            Phase::Down { .. } => return,
            Phase::Starting { noise, .. } => match reply {
                PluginReply::Ready => {
                    let noise = std::mem::take(noise);
                    self.phase = Phase::Ready { since: now, noise };
                    true
                }
                PluginReply::Unready => return self.kill(now, effects),
                _ => false,
            },
            Phase::Ready { .. } => self.on_reply(now, reply, effects),
        };
        let Some(noise) = self.noise() else { return };
        noise.meaningless = if made_sense {
            0
        } else {
            noise.meaningless.saturating_add(1)
        };
        if !made_sense && !std::mem::replace(&mut noise.is_told, true) {
            effects.push(HostEffect::Complain);
        }
        if noise.meaningless > MAX_MEANINGLESS {
            self.kill(now, effects);
        }
    }

    fn kill(&mut self, now: Moment, effects: &mut Vec<HostEffect>) {
        effects.push(HostEffect::Kill);
        self.on_exit(now, effects);
    }

    fn noise(&mut self) -> Option<&mut Noise> {
        match &mut self.phase {
            Phase::Down { .. } => None,
            Phase::Starting { noise, .. } | Phase::Ready { noise, .. } => Some(noise),
        }
    }

    /// Takes a reply, and says whether it made sense.
    fn on_reply(&mut self, now: Moment, reply: PluginReply, effects: &mut Vec<HostEffect>) -> bool {
        let (query, result) = match reply {
            PluginReply::Ready | PluginReply::Unready | PluginReply::Ignored => return false,
            PluginReply::Canceled(_) => return self.is_owed(),
            PluginReply::Resolved(query, result) => (query, Ok(result)),
            // It would be no better the next time.
            PluginReply::Malformed(query) => (query, Err(Failure::Broken)),
            PluginReply::Failed(query, status) => match status {
                ReplyStatus::Generic | ReplyStatus::Timeout => return self.ask_again(now, query),
                ReplyStatus::NotHandled => (query, Err(Failure::NotHandled)),
                ReplyStatus::NotRegistered => (query, Err(Failure::NotRegistered)),
                ReplyStatus::Success | ReplyStatus::Unknown => (query, Err(Failure::Broken)),
            },
        };
        if !self.is_asked(query) {
            return self.is_owed();
        }
        self.answer(query, result, effects);
        true
    }

    /// Makes a query due again after a pause of its own, which holds up no other query.
    fn ask_again(&mut self, now: Moment, query: QueryId) -> bool {
        match self.queries.get_mut(&query) {
            Some(query) if query.phase == QueryPhase::Asked => {
                query.phase = QueryPhase::Due(now + PAUSE);
                true
            }
            _ => self.is_owed(),
        }
    }

    fn is_asked(&self, query: QueryId) -> bool {
        let query = self.queries.get(&query);
        query.is_some_and(|query| query.phase == QueryPhase::Asked)
    }

    /// Says whether a line may belong to a query that was cancelled.
    fn is_owed(&mut self) -> bool {
        let Some(noise) = self.noise() else { return false };
        let owed = noise.owed > 0;
        noise.owed = noise.owed.saturating_sub(1);
        owed
    }
}
