//! Progress on standard error: a bar on a terminal, plain lines otherwise.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use isonym::chain::sync::Progress;
use isonym::net::TorStanding;

use super::eprint_line;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(10);

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
    /// When the first line is due in any case, then the next one; and whether one was written.
    Lines {
        due: Instant,
        has_begun: bool,
    },
    Quiet,
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
            Display::Lines {
                due: Instant::now() + LINE_EVERY,
                has_begun: false,
            }
        };
        let alone_since = None;
        Self { display, alone_since }
    }

    /// To be told each second or so, also while nothing changes; `trouble` is why it does not get on, if so, and `tor` how far
    /// the embedded Tor is.
    pub(crate) fn show(&mut self, progress: Progress, trouble: Option<String>, tor: Option<&TorStanding>) {
        let now = Instant::now();
        // Nothing can be connected before it is ready.
        let begins = tor.filter(|tor| !tor.ready).map(|tor| format!("Tor is {tor}"));
        let is_alone = progress.connections == 0 && begins.is_none();
        self.alone_since = is_alone.then(|| self.alone_since.unwrap_or(now));
        let unconnected = || self.alone_since.and_then(|since| unconnected(now - since));
        let alone = trouble.or(begins).or_else(unconnected);
        match &mut self.display {
            // There is nothing to be fetched, as far as is known.
            Display::Bar(_) if progress.left == 0 && progress.done >= progress.total && alone.is_none() => {}
            Display::Bar(bar) => {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                bar.set_message(alone.unwrap_or_else(|| how_far(progress)));
            }
            Display::Lines { due, has_begun } => {
                let is_long = progress.connections > 0 && progress.total >= LONG;
                let is_wanting = progress.left > 0 || progress.done < progress.total || progress.connections == 0;
                if !is_wanting {
                    return;
                }
                if now >= *due || is_long && !*has_begun {
                    (*due, *has_begun) = (now + LINE_EVERY, true);
                    let text = alone.unwrap_or_else(|| how_far(progress));
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
    fn who_has_no_circuit_for_long_is_told() {
        assert_eq!(unconnected(Duration::from_secs(9)), None);
        assert!(unconnected(Duration::from_secs(10)).unwrap().contains("for 10 s"));
    }
}
