//! The semaphore that a connection's requests pass: so many run at once, the others wait in line.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Admitted, Refusal};
use isonym_core::time::Moment;

#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// How many should run at once. None: the next one is refused.
    target: u32,
    /// How many do run at once. A lower target takes effect as requests leave, a higher one as the next one enters.
    places: u32,
    free: u32,
    waiting: VecDeque<Request>,
    running: Vec<(Moment, Request)>,
    refused: VecDeque<Request>,
}

#[derive(Clone, Debug)]
struct Request {
    line: Vec<u8>,
    expires: Moment,
}

impl Request {
    fn admitted(self, refusal: Option<Refusal>) -> Admitted {
        Admitted {
            line: self.line,
            refusal,
        }
    }
}

impl Gate {
    pub(super) fn new(places: u32) -> Self {
        Self {
            target: places,
            places,
            free: places,
            waiting: VecDeque::new(),
            running: Vec::new(),
            refused: VecDeque::new(),
        }
    }

    pub(super) fn set_target(&mut self, target: u32) {
        self.target = target;
    }

    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() + self.running.len() + self.refused.len()
    }

    pub(super) fn push(&mut self, line: Vec<u8>, now: Moment, expires: Moment, wait: Duration) {
        self.waiting.push_back(Request { line, expires });
        self.let_in(now, wait);
    }

    fn let_in(&mut self, now: Moment, wait: Duration) {
        while self.free > 0
            && let Some(request) = self.waiting.pop_front()
        {
            self.free -= 1;
            if self.target == 0 {
                self.refused.push_back(request);
                continue;
            }
            self.free += self.target.saturating_sub(self.places);
            self.places = self.places.max(self.target);
            self.running.push((now + wait, request));
        }
    }

    /// Frees the place of a request that was handled.
    pub(super) fn leave(&mut self, now: Moment, wait: Duration) {
        if self.places > self.target {
            self.places -= 1;
        } else {
            self.free += 1;
        }
        self.let_in(now, wait);
    }

    pub(super) fn next(&self) -> Option<Moment> {
        if !self.refused.is_empty() {
            return Some(Moment::default());
        }
        let running = self.running.iter().map(|(due, request)| *due.min(&request.expires));
        running.chain(self.waiting.front().map(|request| request.expires)).min()
    }

    pub(super) fn take(&mut self, now: Moment, wait: Duration) -> Option<Admitted> {
        if let Some(request) = self.refused.pop_front() {
            return Some(request.admitted(Some(Refusal::Debt)));
        }
        if self.waiting.front().is_some_and(|request| request.expires <= now) {
            let request = self.waiting.pop_front()?;
            return Some(request.admitted(Some(Refusal::Busy)));
        }
        let moments = self.running.iter().map(|(due, request)| *due.min(&request.expires));
        let (at, moment) = moments.enumerate().min_by_key(|(_, moment)| *moment)?;
        if moment > now {
            return None;
        }
        let (due, request) = self.running.remove(at);
        if due > request.expires {
            self.leave(now, wait);
            return Some(request.admitted(Some(Refusal::Busy)));
        }
        Some(request.admitted(None))
    }
}
