//! Slow, obvious versions of what the chain code does, for tests to compare with. They share no code with it.

use std::collections::BTreeMap;

use super::params::Retargeting;
use super::{Height, Params, PureHeader};

/// A number in base 256, lowest digit first.
pub(crate) type Number = [u8; 64];

pub(crate) fn multiply(number: &Number, by: u64) -> Number {
    let mut product = [0; 64];
    let mut carry = 0;
    for (digit, value) in product.iter_mut().zip(number) {
        let sum = u64::from(*value) * by + carry;
        *digit = (sum % 256) as u8;
        carry = sum / 256;
    }
    assert_eq!(carry, 0);
    product
}

pub(crate) fn divide(number: &Number, by: u64) -> Number {
    let mut quotient = [0; 64];
    let mut rest = 0;
    for at in (0..64).rev() {
        rest = rest * 256 + u64::from(number[at]);
        quotient[at] = (rest / by) as u8;
        rest %= by;
    }
    quotient
}

pub(crate) fn add(left: &Number, right: &Number) -> Number {
    let mut sum = [0; 64];
    let mut carry = 0;
    for at in 0..64 {
        let digit = u16::from(left[at]) + u16::from(right[at]) + carry;
        sum[at] = (digit % 256) as u8;
        carry = digit / 256;
    }
    sum
}

pub(crate) fn is_above(left: &Number, right: &Number) -> bool {
    left.iter().rev().gt(right.iter().rev())
}

/// Returns the target of bits, `None` when they are negative, zero or too great for 256 bits.
pub(crate) fn target(bits: u32) -> Option<Number> {
    let size = (bits >> 24) as usize;
    let mantissa = (bits & 0x7f_ffff).to_le_bytes();
    let mut number = [0; 64];
    for (at, digit) in mantissa.iter().enumerate().take(3) {
        match (at + size).checked_sub(3) {
            None => {}
            Some(place) if place < 64 => number[place] = *digit,
            Some(_) if *digit == 0 => {}
            Some(_) => return None,
        }
    }
    let fits = number[32..].iter().all(|digit| *digit == 0);
    (number != [0; 64] && fits && bits & 0x80_0000 == 0).then_some(number)
}

/// Returns the bits of a target, rounded down.
pub(crate) fn compact(number: &Number) -> u32 {
    let mut size = 64 - number.iter().rev().take_while(|digit| **digit == 0).count();
    if size > 0 && number[size - 1] >= 0x80 {
        size += 1;
    }
    let digit = |back: usize| size.checked_sub(back).map_or(0, |at| u32::from(number[at]));
    (size as u32) << 24 | digit(1) << 16 | digit(2) << 8 | digit(3)
}

/// Returns 2^256 / (target + 1), one bit at a time.
pub(crate) fn work(target: &Number) -> Number {
    let mut one = [0; 64];
    one[0] = 1;
    let divisor = add(target, &one);
    let (mut quotient, mut rest) = ([0; 64], one);
    for _ in 0..=256 {
        quotient = multiply(&quotient, 2);
        if !is_above(&divisor, &rest) {
            quotient = add(&quotient, &one);
            rest = subtract(&rest, &divisor);
        }
        rest = multiply(&rest, 2);
    }
    quotient
}

fn subtract(left: &Number, right: &Number) -> Number {
    let mut difference = [0; 64];
    let mut borrow = 0;
    for at in 0..64 {
        let digit = i16::from(left[at]) - i16::from(right[at]) - borrow;
        borrow = i16::from(digit < 0);
        difference[at] = (digit + 256 * borrow) as u8;
    }
    difference
}

pub(crate) fn retarget(old: u32, span: i64, limit: &Number) -> u32 {
    let span = span.clamp(302_400, 4_838_400) as u64;
    let new = divide(&multiply(&target(old).unwrap(), span), 1_209_600);
    compact(if is_above(&new, limit) { limit } else { &new })
}

/// Returns the bits that a header of this time needs on top of a whole chain, genesis first.
pub(crate) fn required_bits(chain: &[PureHeader], time: u32, params: &Params) -> u32 {
    let bits = |header: &PureHeader| header.bits().to_consensus();
    let mut limit = [0; 64];
    limit[..32].copy_from_slice(&params.pow_limit.target().to_le_bytes());
    let (height, parent) = (chain.len(), chain.last().unwrap());
    match params.retargeting {
        Retargeting::Never => bits(parent),
        _ if height % 2016 == 0 => {
            let warped = height - 1 < params.auxpow_start as usize || height == 2016;
            let first = &chain[height - 1 - if warped { 2015 } else { 2016 }];
            let span = i64::from(parent.time()) - i64::from(first.time());
            retarget(bits(parent), span, &limit)
        }
        Retargeting::MinimumDifficultyAfter(since) if time > since => {
            if time < parent.time() || time > parent.time() + 1200 {
                return compact(&limit);
            }
            let mut at = height - 1;
            while at % 2016 != 0 && bits(&chain[at]) == compact(&limit) {
                at -= 1;
            }
            bits(&chain[at])
        }
        _ => bits(parent),
    }
}

/// A header tree that copies the whole chain to ask anything.
#[derive(Clone, Debug)]
pub(crate) struct ModelTree {
    /// Header and total work by hash.
    known: BTreeMap<[u8; 32], (PureHeader, Number)>,
    pub(crate) tip: [u8; 32],
}

impl ModelTree {
    pub(crate) fn new(params: &Params) -> Self {
        let tip = hash(&params.genesis);
        let genesis_work = work(&target(params.genesis.bits().to_consensus()).unwrap());
        let known = BTreeMap::from([(tip, (params.genesis, genesis_work))]);
        Self { known, tip }
    }

    /// Returns the chain that ends with a hash, genesis first.
    pub(crate) fn chain(&self, end: [u8; 32]) -> Vec<PureHeader> {
        let mut chain = Vec::new();
        let mut at = end;
        while let Some((header, _)) = self.known.get(&at) {
            chain.push(*header);
            at = header.as_bytes()[4..36].try_into().unwrap();
        }
        chain.reverse();
        chain
    }

    pub(crate) fn tip_work(&self) -> Number {
        self.known[&self.tip].1
    }

    /// Returns the height of the last header that two chains share.
    pub(crate) fn fork(&self, one: [u8; 32], other: [u8; 32]) -> Height {
        let shared = self
            .chain(one)
            .iter()
            .zip(self.chain(other))
            .take_while(|(left, right)| **left == *right)
            .count();
        shared as Height - 1
    }

    /// Puts a header on top of its parent and says whether it is the new tip.
    pub(crate) fn accept(&mut self, header: PureHeader) -> bool {
        let prev: [u8; 32] = header.as_bytes()[4..36].try_into().unwrap();
        let work = work(&target(header.bits().to_consensus()).unwrap());
        let total = add(&self.known[&prev].1, &work);
        let hash = hash(&header);
        self.known.insert(hash, (header, total));
        let better = is_above(&total, &self.tip_work());
        if better {
            self.tip = hash;
        }
        better
    }
}

pub(crate) fn hash(header: &PureHeader) -> [u8; 32] {
    *AsRef::<[u8; 32]>::as_ref(&header.hash())
}
