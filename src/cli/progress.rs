//! Progress on standard error: a bar on a terminal, plain lines otherwise.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use isonym::chain::sync::Progress;

use super::eprint_line;

/// Percents between two plain lines.
const STEP: u64 = 10;

/// Fewer headers than this are there before anybody wants to read of progress.
const WORTH_TELLING: u64 = 2016;

/// Shows how far a sync is.
pub(crate) enum Meter {
    Bar(ProgressBar),
    Lines { told: Option<u64> },
    Quiet,
}

/// Says how fast the connections are that are named behind it.
fn pace(bytes_per_second: u64) -> String {
    match bytes_per_second.div_ceil(1000) {
        0 => "over ".to_owned(),
        kilobytes => format!("{kilobytes} kB/s over "),
    }
}

impl Meter {
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !stderr().is_terminal() {
            return Self::Lines { told: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let template = "{msg} {wide_bar} {human_pos}/{human_len} headers, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        let Progress {
            done,
            total,
            connections,
            rate,
        } = progress;
        let pace = pace(rate);
        match self {
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(match connections {
                    0 => "connecting".to_owned(),
                    1 => format!("{pace}1 connection"),
                    connections => format!("{pace}{connections} connections"),
                });
            }
            Self::Lines { told } => {
                let step = done.saturating_mul(100).checked_div(total).unwrap_or(0) / STEP;
                if total >= WORTH_TELLING && connections > 0 && told.is_none_or(|told| told < step) {
                    eprint_line(format_args!(
                        "headers: {done} of {total}, {pace}{connections} connections"
                    ));
                    *told = Some(step);
                }
            }
            Self::Quiet => {}
        }
    }

    pub(crate) fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
