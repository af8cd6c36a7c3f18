//! Which headers must show their AuxPoW: a secret random sample, dense towards the tip, and all of the last ones.
//!
//! A chain of headers cut to 80 bytes (the *skeleton*) shows links, bits, times and versions. Most of the cost is
//! AuxPoW, some 1.3 kB a block. A forger can't have it for many blocks, so a few hundred of them, drawn once the
//! skeleton is fixed, show him up. The idea is `FlyClient`'s (Bünz, Kiffer, Luu, Zamani 2020, [eprint 2019/226]);
//! its commitments to earlier headers are not needed, as the whole skeleton is here.
//!
//! # The bound
//!
//! Blocks lie on an axis by the work that their bits claim: 0 is the end of the last header that is trusted already,
//! 1 the tip. The last share δ of the axis, the tail, is always checked. Below it each draw takes the point
//! `x = 1 − δ^u`, u uniform in [0, 1), which has the density `1 / ((1 − x) ln(1/δ))`, and demands the block at x.
//!
//! A forged block is one without valid AuxPoW (one that needs none shows its work in its 80 bytes). One is enough to
//! make everything above it the forger's own: AuxPoW commits to a block's hash and that to its parent, so no honest
//! miner's work can be moved onto his chain; and a parent block commits to one Namecoin block only. Let his chain
//! leave the honest one at the point a, and let the real blocks above a be the share c of the work that it claims
//! there, at most. Then:
//!
//! 1. Forged blocks cover `(1 − c)(1 − a)` of the axis at least, all of it above a.
//! 2. The density rises towards the tip, so he does best to forge directly above a and to end with all that is real:
//!    to forge `[a, 1 − c(1 − a)]`. Real blocks in between only move forged ones to where draws are denser.
//! 3. If that reaches into the tail, he is caught for sure. Otherwise a draw hits a forged block with a chance of
//!    `ln((1 − a) / (c (1 − a))) / ln(1/δ) = ln(1/c) / ln(1/δ)`, whatever a is.
//! 4. Draws are independent: m of them let him through with a probability of `(1 − ln(1/c) / ln(1/δ))^m` at most.
//!    This is `2^-λ` or less, by the choice of m.
//!
//! A tail there must be: the density has no finite integral up to 1, so some of it has to be cut off at the end, and
//! what is cut off has to be checked otherwise. A longer tail costs blocks, a shorter one draws. [`Plan`] takes the
//! tail with the fewest distinct headers on average, of [`Assurance::least_tail`] blocks at least; it begins with a
//! whole block, so blocks make the bound no weaker than the axis has it.
//!
//! # What is assumed
//!
//! * **The skeleton obeys the difficulty rules**, so the axis is what they allow and not what a server likes.
//! * **The sample is drawn with fresh, secret randomness, after the skeleton is fixed.**
//! * **c is a share of what is claimed.** A chain has to claim more work than the honest one to displace it, so c =
//!   1/2 stands for half of the *honest* miners' hash rate, a third of all. Who checks every header withstands up to
//!   all of the honest hash rate: this is the price of a sample.
//! * **Luck counts as work.** Blocks found are what the axis shows, not hashes tried, and few blocks deviate far
//!   from their mean. The shortest way past the sample is to fork just so deep that the real blocks fill the tail.
//!   With a third of the honest hash rate, to find 72 blocks before the honest miners find 144 (c = 1/2, a tail of
//!   72) has a probability of `2^-8.2`, with a quarter `2^-18.6`. With c = 3/4 and a tail of 288 it is `2^-77.9` for
//!   a third. The bound does not speak of that: a longer tail and a greater c are what helps.
//!
//! # What is not covered
//!
//! * A chain whose real share above its fork point is more than c, by hash rate or by luck.
//! * Servers that all hide the honest chain: c is then a share of whatever they show. Only the age of the tip and
//!   the rate of work tell.
//! * Networks where work costs nothing (regtest) or may drop to next to nothing (testnet).
//!
//! # Duties of the caller
//!
//! * **Every skeleton gets a draw of its own**, over all its blocks above its fork point from what is verified.
//! * **A server that leaves out a part of the sample failed**, as one that sends a wrong AuxPoW does. To draw again
//!   for the same skeleton is one more try.
//! * **All draws are counted**, whoever they were for, and the n-th one is made with [`Assurance::after`].
//!
//! # Tries
//!
//! Who refuses a part of a sample, lowers its claim and comes back has one more try. With λ bits for each, q tries get
//! through with a probability of up to `q 2^-λ` (the union bound): a try every four seconds is `2^23` of them in a year,
//! and 80 bits for each leave 57 for the year. So tries are paid for. The n-th draw has to hold with
//! `λ + 1 + 2 log2(n)` bits, and all draws that there ever are, together, let a forger through with a probability of
//!
//! ```text
//! Σ 2^-(λ + 1 + 2 log2 n) = 2^-(λ + 1) Σ 1/n² = 2^-λ π²/12 < 2^-λ
//! ```
//!
//! at most, **however many there are**, by however many servers. It costs honest servers one bit at the first draw and
//! little at later ones: after a million draws the sample is half as long again, so that nobody can make it a burden.
//!
//! The count lives as long as the process, since a server can't have that begin anew. Each start adds `2^-λ`. The default
//! λ is 90: a thousand starts in a year leave 80 bits for the year.
//! * **Answers come within minutes, or not at all.** AuxPoW can be mined for a block that is fixed already, so who
//!   knows the sample need work on nothing else. With half of the honest hash rate, a forger of the 72 blocks below
//!   a tail of 72 is held back by some 65 of the 80 bits after ten minutes, 43 after an hour, 10 after six hours;
//!   less where blocks are easier than today's. The time counts from the first request that gives a part of the
//!   sample away.
//!
//! # What it costs
//!
//! For λ = 80, c = 1/2, a tail of 72 blocks or more, and blocks of equal work:
//!
//! | blocks | draws | tail | headers demanded on average |
//! | ---: | ---: | ---: | ---: |
//! | 500 | 126 | 72 | 177 |
//! | 2,016 | 238 | 72 | 281 |
//! | 10,000 | 367 | 72 | 407 |
//! | 37,000 | 470 | 73 | 510 |
//! | 100,000 | 551 | 72 | 589 |
//! | 300,000 | 639 | 72 | 676 |
//!
//! The default is c = 3/4, λ = 90 and a tail of 288. The first draw for 37,000 blocks has 91 bits: 1,033 draws,
//! and 1,252 headers on average.
//!
//! [eprint 2019/226]: https://eprint.iacr.org/2019/226

mod axis;
mod bound;
mod plan;
#[cfg(test)]
mod tests;

pub use plan::Plan;

/// How sure a sample has to be, and against whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assurance {
    security_bits: u16,
    adversary: f64,
    least_tail: usize,
}

/// Why an assurance can't be given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AssuranceError {
    /// The security is no bit, or more bits than anything else here has.
    #[error("expected 1 to {max} bits of security, got {got}", max = Assurance::MAX_SECURITY_BITS)]
    SecurityBits {
        /// The bits.
        got: u16,
    },
    /// The adversary's share is no number between 0 and 1: one with nothing can't be told from one who is not there,
    /// and one who did all the work forged nothing.
    #[error("expected an adversary's share of work between 0 and 1, got {got}")]
    Adversary {
        /// The share.
        got: f64,
    },
    /// No block would be checked for sure.
    #[error("expected a tail of one block at least")]
    NoTail,
}

impl Assurance {
    /// Most bits of security: those of a block hash.
    pub const MAX_SECURITY_BITS: u16 = 256;

    /// Makes an assurance: a forger who did no more than the share `adversary` of the work that his chain claims
    /// above any fork point gets through with a probability of `2^-security_bits` at most, and the last `least_tail`
    /// blocks are always checked.
    ///
    /// # Errors
    ///
    /// One variant of [`AssuranceError`] for each argument out of its bounds.
    pub fn new(security_bits: u16, adversary: f64, least_tail: usize) -> Result<Self, AssuranceError> {
        if !(1..=Self::MAX_SECURITY_BITS).contains(&security_bits) {
            return Err(AssuranceError::SecurityBits { got: security_bits });
        }
        // Written so that a NaN is refused too.
        if !(adversary > 0.0 && adversary < 1.0) {
            return Err(AssuranceError::Adversary { got: adversary });
        }
        if least_tail == 0 {
            return Err(AssuranceError::NoTail);
        }
        Ok(Self {
            security_bits,
            adversary,
            least_tail,
        })
    }

    /// Returns what the next draw has to hold when so many were made before it: then all draws together, however many
    /// there are, keep this assurance. That takes `1 + 2 log2(n)` more bits for the n-th draw, rounded up.
    #[must_use]
    pub fn after(&self, draws: u64) -> Self {
        // 2 log2(n), rounded up, is log2(n²), rounded up.
        let number = u128::from(draws).saturating_add(1);
        let square = number.saturating_mul(number);
        let doubled = u128::BITS - square.saturating_sub(1).leading_zeros();
        let bits = u32::from(self.security_bits).saturating_add(1).saturating_add(doubled);
        let most = Self::MAX_SECURITY_BITS;
        Self {
            security_bits: u16::try_from(bits).unwrap_or(most).min(most),
            ..*self
        }
    }

    /// Returns λ: a forger gets through with a probability of `2^-λ` at most.
    pub fn security_bits(&self) -> u16 {
        self.security_bits
    }

    /// Returns c: the share of the claimed work that a forger may have done.
    pub fn adversary(&self) -> f64 {
        self.adversary
    }

    /// Returns how many of the last blocks are always checked, at least.
    pub fn least_tail(&self) -> usize {
        self.least_tail
    }
}

impl Default for Assurance {
    /// 90 bits for all draws of a process, so that a thousand of those leave 80, against three quarters of the honest hash
    /// rate; the last two days are always checked. Less would do but
    /// for luck: who has a third of the honest hash rate finds 72 blocks before the honest miners find 144 once in some
    /// 300 tries, and 288 before they find 384 once in some `2^78`.
    fn default() -> Self {
        Self {
            security_bits: 90,
            adversary: 0.75,
            least_tail: 288,
        }
    }
}
