//! Progress on standard error: a bar on a terminal, plain lines otherwise.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use isonym::chain::sync::Progress;

use super::eprint_line;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How long there is trouble before it is told: a command that fails by it at once says it anyhow.
const TROUBLE_AFTER: Duration = Duration::from_secs(2);

/// How often a line says again what keeps a sync from getting on.
const TROUBLE_EVERY: Duration = Duration::from_secs(60);

/// So many headers take long enough for a first line at once.
const LONG: u64 = 2016;

/// Whoever has no connection for so long is told.
const WORTH_TELLING: Duration = Duration::from_secs(10);

/// Shows how far a sync is.
pub(crate) struct Meter {
    display: Display,
    /// Since when there is no connection.
    alone_since: Option<Instant>,
}

enum Display {
    Bar(ProgressBar),
    Lines(Lines),
    Quiet,
}

/// Which lines are written.
struct Lines {
    /// When the first line is due in any case, then the next one.
    due: Instant,
    /// Whether one was written.
    has_begun: bool,
    /// Since when there is trouble.
    trouble_since: Option<Instant>,
    /// The trouble that was told last, and when.
    told: Option<(String, Instant)>,
}

impl Lines {
    fn new(now: Instant) -> Self {
        Self {
            due: now + LINE_EVERY,
            has_begun: false,
            trouble_since: None,
            told: None,
        }
    }

    /// Returns the line that is due: trouble that is another one than before, progress now and then.
    fn line(
        &mut self,
        now: Instant,
        progress: Progress,
        trouble: Option<String>,
        alone: Option<String>,
    ) -> Option<String> {
        let is_wanting = progress.left > 0 || progress.done < progress.total || progress.connections == 0;
        if !is_wanting {
            return None;
        }
        if trouble.is_none() {
            self.trouble_since = None;
        }
        if let Some(trouble) = trouble {
            let since = *self.trouble_since.get_or_insert(now);
            if now - since < TROUBLE_AFTER {
                return None;
            }
            let is_known = |(told, at): &(String, Instant)| *told == trouble && now - *at < TROUBLE_EVERY;
            if self.told.as_ref().is_some_and(is_known) {
                return None;
            }
            self.told = Some((trouble.clone(), now));
            (self.due, self.has_begun) = (now + LINE_EVERY, true);
            return Some(trouble);
        }
        let is_long = progress.connections > 0 && progress.total >= LONG;
        if now < self.due && (self.has_begun || !is_long) {
            return None;
        }
        (self.due, self.has_begun) = (now + LINE_EVERY, true);
        Some(alone.unwrap_or_else(|| how_far(progress)))
    }
}

/// Says how far a sync is, as `3.1 of 9.1 MB, 14 kB/s over 4 circuits, about 7 min`.
pub(crate) fn how_far(progress: Progress) -> String {
    let circuits = match progress.connections {
        0 => return "connecting".to_owned(),
        1 => "1 circuit".to_owned(),
        more => format!("{more} circuits"),
    };
    let amount = amount(progress.received, progress.received.saturating_add(progress.left));
    if progress.rate == 0 {
        return format!("{amount}, over {circuits}");
    }
    let time = progress.seconds_left().map(time).unwrap_or_default();
    format!("{amount}, {} over {circuits}{time}", rate(progress.rate))
}

/// Says for how long there has been no connection, once that is worth telling.
pub(crate) fn unconnected(alone: Duration) -> Option<String> {
    let seconds = alone.as_secs();
    (alone >= WORTH_TELLING).then(|| format!("no circuit to a server yet: none was built for {seconds} s"))
}

fn amount(done: u64, total: u64) -> String {
    const KILOBYTE: u64 = 1000;
    const TENTH_OF_MEGABYTE: u64 = 100_000;
    if total < 10 * TENTH_OF_MEGABYTE {
        return format!("{} of {} kB", done / KILOBYTE, total.div_ceil(KILOBYTE));
    }
    let (done, total) = (done / TENTH_OF_MEGABYTE, total.div_ceil(TENTH_OF_MEGABYTE));
    format!("{}.{} of {}.{} MB", done / 10, done % 10, total / 10, total % 10)
}

fn rate(bytes_a_second: u64) -> String {
    match bytes_a_second {
        0..1000 => format!("{bytes_a_second} B/s"),
        1000..10_000 => format!("{}.{} kB/s", bytes_a_second / 1000, bytes_a_second % 1000 / 100),
        _ => format!("{} kB/s", nearest(bytes_a_second, 1000)),
    }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..90 => format!(", about {} s", seconds.max(1)),
        90..5400 => format!(", about {} min", nearest(seconds, 60)),
        5400..36_000 => {
            let tenths = nearest(seconds, 360);
            format!(", about {}.{} h", tenths / 10, tenths % 10)
        }
        _ => format!(", about {} h", nearest(seconds, 3600)),
    }
}

/// Returns how many units it is, rounded.
fn nearest(amount: u64, unit: u64) -> u64 {
    amount.saturating_add(unit / 2) / unit
}

impl Meter {
    pub(crate) fn new(quiet: bool) -> Self {
        let display = if quiet {
            Display::Quiet
        } else if stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            let template = "{msg} {wide_bar} {human_pos}/{human_len} headers";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            Display::Bar(bar)
        } else {
            Display::Lines(Lines::new(Instant::now()))
        };
        Self {
            display,
            alone_since: None,
        }
    }

    /// To be told each second or so, also while nothing changes; `trouble` is why it does not get on, or a Tor that is on its
    /// way, if so.
    pub(crate) fn show(&mut self, progress: Progress, trouble: Option<String>) {
        let now = Instant::now();
        self.alone_since = (progress.connections == 0).then(|| self.alone_since.unwrap_or(now));
        let alone = self.alone_since.and_then(|since| unconnected(now - since));
        match &mut self.display {
            Display::Bar(bar) => {
                let text = trouble.or(alone);
                // There is nothing to be fetched, as far as is known.
                if text.is_none() && progress.left == 0 && progress.done >= progress.total {
                    return;
                }
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                bar.set_message(text.unwrap_or_else(|| how_far(progress)));
            }
            Display::Lines(lines) => {
                if let Some(text) = lines.line(now, progress, trouble, alone) {
                    eprint_line(format_args!("headers: {text}"));
                }
            }
            Display::Quiet => {}
        }
    }

    pub(crate) fn finish(self) {
        if let Display::Bar(bar) = self.display {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_much_is_left_and_how_fast_it_comes() {
        let told = |received, left, rate, connections| {
            how_far(Progress {
                done: 1,
                total: 2,
                connections,
                rate,
                received,
                left,
            })
        };
        assert_eq!(
            told(3_140_000, 5_940_000, 14_000, 4),
            "3.1 of 9.1 MB, 14 kB/s over 4 circuits, about 7 min"
        );
        assert_eq!(
            told(0, 40_000, 20_000, 1),
            "0 of 40 kB, 20 kB/s over 1 circuit, about 2 s"
        );
        assert_eq!(
            told(0, 40_000, 0, 2),
            "0 of 40 kB, over 2 circuits",
            "nobody knows how fast"
        );
        assert_eq!(
            told(0, 90_000_000, 5_000, 1),
            "0.0 of 90.0 MB, 5.0 kB/s over 1 circuit, about 5.0 h"
        );
        assert_eq!(told(9_000, 0, 5_000, 1), "9 of 9 kB, 5.0 kB/s over 1 circuit");
        assert_eq!(told(9_000, 70_000, 5_000, 0), "connecting");
        assert_eq!(
            told(0, 90_000, 450, 1),
            "0 of 90 kB, 450 B/s over 1 circuit, about 3 min"
        );
        assert_eq!(
            told(0, 72_000_000, 10_000, 1),
            "0.0 of 72.0 MB, 10 kB/s over 1 circuit, about 2.0 h"
        );
    }

    #[test]
    fn trouble_that_lasts_is_told_and_not_twice() {
        let start = Instant::now();
        let mut lines = Lines::new(start);
        let stuck = Progress::default();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut told =
            |seconds, trouble: Option<&str>| lines.line(at(seconds), stuck, trouble.map(str::to_owned), None);
        assert_eq!(told(1, None), None);
        assert_eq!(told(2, Some("Tor is at 5 %")), None);
        assert_eq!(told(3, Some("Tor is at 5 %")), None);
        assert_eq!(told(4, Some("Tor is at 5 %")).as_deref(), Some("Tor is at 5 %"));
        for second in 5..64 {
            assert_eq!(told(second, Some("Tor is at 5 %")), None, "{second}");
        }
        assert_eq!(told(64, Some("Tor is at 5 %")).as_deref(), Some("Tor is at 5 %"));
        assert_eq!(told(65, Some("Tor is at 10 %")).as_deref(), Some("Tor is at 10 %"));
        assert_eq!(told(66, None), None);
        assert_eq!(told(75, None).as_deref(), Some("connecting"));
    }

    #[test]
    fn who_has_no_circuit_for_long_is_told() {
        assert_eq!(unconnected(Duration::from_secs(9)), None);
        assert!(unconnected(Duration::from_secs(10)).unwrap().contains("for 10 s"));
    }
}
