//! What a plugin says, judged.

use super::{Effect, Host, MAX_MEANINGLESS, PAUSE, Phase, Step};
use crate::naming::target::Failure;
use crate::prop279::line::{QueryId, Said, Status};
use crate::prop279::splitter::Line;
use crate::time::Moment;

impl Host {
    pub(super) fn on_line(&mut self, now: Moment, line: &Line, effects: &mut Vec<Effect>) {
        let meant = match self.phase {
            // Of a plugin that has been ended.
            Phase::Down { .. } => return,
            Phase::Starting { .. } => match Said::read(line) {
                Said::Ready => {
                    self.phase = Phase::Ready { since: now };
                    true
                }
                Said::Unready => {
                    effects.push(Effect::Kill);
                    return self.on_end(now, effects);
                }
                _ => false,
            },
            Phase::Ready { .. } => self.on_reply(now, Said::read(line), effects),
        };
        self.meaningless = if meant { 0 } else { self.meaningless.saturating_add(1) };
        if self.meaningless > MAX_MEANINGLESS {
            effects.push(Effect::Kill);
            self.on_end(now, effects);
        }
    }

    /// Takes a reply, and says whether it made sense.
    fn on_reply(&mut self, now: Moment, said: Said, effects: &mut Vec<Effect>) -> bool {
        let (query, result) = match said {
            Said::Ready | Said::Unready | Said::Ignored => return false,
            Said::Canceled(_) => return self.is_owed(),
            Said::Resolved(query, result) => (query, Ok(result)),
            // It would be no better the next time.
            Said::Malformed(query) => (query, Err(Failure::Broken)),
            Said::Failed(query, status) => match status {
                Status::Generic | Status::Timeout => return self.ask_again(now, query),
                Status::NotHandled => (query, Err(Failure::NotHandled)),
                Status::NotRegistered => (query, Err(Failure::NotRegistered)),
                Status::Success | Status::Unknown => (query, Err(Failure::Broken)),
            },
        };
        if !self.is_asked(query) {
            return self.is_owed();
        }
        self.answer(query, result, effects);
        true
    }

    /// Has a query asked again after a pause, by itself: no other waits for it.
    fn ask_again(&mut self, now: Moment, query: QueryId) -> bool {
        match self.queries.get_mut(&query) {
            Some(asked) if asked.step == Step::Asked => {
                asked.step = Step::Due(now + PAUSE);
                true
            }
            _ => self.is_owed(),
        }
    }

    fn is_asked(&self, query: QueryId) -> bool {
        self.queries.get(&query).is_some_and(|asked| asked.step == Step::Asked)
    }

    /// Says whether a line may belong to a query that was cancelled.
    fn is_owed(&mut self) -> bool {
        let owed = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        owed
    }
}
