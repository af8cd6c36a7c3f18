//! The arguments of methods that list names.
//!
//! Source: Namecoin Core `rpc/names.cpp`, `name_scan`; that of version 0.19 for `name_filter`, which later ones don't have.

use regex::bytes::{Regex, RegexBuilder};

use super::args::{Defaults, Ids, ScanOptions, take_isolation_id};
use super::help;
use super::json::Json;
use super::params::{Wanted, check, integer, positional};
use super::request::Params;
use super::result::Encodings;
use crate::chain::Height;
use crate::jsonrpc::{RpcError, code};
use crate::name::{Encoding, NameId};
use crate::node::NamesWanted;

/// Most names that one call lists.
pub(super) const MOST_NAMES: usize = 10_000;

/// Most bytes of a list, as JSON: it fits into what clients read and batches have room for.
pub(super) const MOST_BYTES: usize = 12 << 20;

/// How many names are written before others have their turn.
pub(super) const AT_A_TIME: usize = 256;

/// How many names `name_scan` lists where it is not said.
const DEFAULT_COUNT: i32 = 500;

/// The age in blocks that `name_filter` looks back where it is not said.
const DEFAULT_MAX_AGE: i32 = 36_000;

/// Longest regular expression, in bytes.
const LONGEST_PATTERN: usize = 500;

/// Most bytes that a regular expression takes once it is compiled, and as much while it is searched for. The time for a byte of a name
/// grows with the former in the worst case.
const PATTERN_SIZE: usize = 128 << 10;
const SEARCH_SIZE: usize = 1 << 20;

/// A list of names as it was asked for.
pub struct ScanArgs {
    /// Which names.
    pub wanted: NamesWanted,
    /// How to write them.
    pub encodings: Encodings,
    /// Whether the caller said how many.
    pub is_bounded: bool,
}

/// Says that there are more names than one call lists.
pub(super) fn too_many() -> RpcError {
    let message = format!("more than {MOST_NAMES} names match: say with from and nb which of them are wanted");
    RpcError::new(code::PARAMETER, message)
}

/// Says that names are too long for one reply.
pub(super) fn too_long() -> RpcError {
    RpcError::new(
        code::PARAMETER,
        "the names do not fit into one reply: ask for fewer at once",
    )
}

/// Reads the arguments of `name_scan`.
///
/// # Errors
///
/// Core's; -8 for a count above `MOST_NAMES`, and for unknown options.
pub fn name_scan(params: Params, defaults: Defaults) -> Result<ScanArgs, RpcError> {
    let (params, ids) = take_isolation_id(params)?;
    let wanted = [
        Wanted::optional("start", "string"),
        Wanted::optional("count", "number"),
        Wanted::optional("options", "object"),
    ];
    let [start, count, options] = take(params, wanted, help::NAME_SCAN)?;
    let options = options_of(options, ids, true)?;
    let encodings = options.encodings(defaults);
    let start = match start {
        Some(Json::String(start)) => decode(&start, encodings.name)?,
        _ => Vec::new(),
    };
    let count = whole(count.as_ref())?.unwrap_or(DEFAULT_COUNT);
    let min_conf = whole(options.min_conf.as_ref())?.unwrap_or(1);
    if min_conf < 1 {
        return Err(refused("minConf must be >= 1"));
    }
    let max_conf = whole(options.max_conf.as_ref())?;
    if max_conf.is_some_and(|most| most < 0) {
        return Err(refused("maxConf must not be negative"));
    }
    let prefix = options.prefix.as_deref().unwrap_or_default();
    let prefix = decode(prefix, encodings.name)?;
    let regexp = options.regexp.as_deref().map(compile).transpose()?;
    let count = usize::try_from(count).unwrap_or_default();
    if count > MOST_NAMES {
        let message = format!("count must not be above {MOST_NAMES}: ask for the next names from the last one on");
        return Err(refused(message));
    }
    let (min_conf, max_conf) = (i64::from(min_conf), max_conf.map(i64::from));
    let filter = move |name: &NameId, height: Height, tip: Height| {
        let confirmations = i64::from(tip) - i64::from(height) + 1;
        confirmations >= min_conf
            && max_conf.is_none_or(|most| confirmations <= most)
            && name.as_bytes().starts_with(&prefix)
            && regexp.as_ref().is_none_or(|regexp| is_match(regexp, name))
    };
    // No name is longer than those that there can be, and longer ones come last.
    let (start, most) = NameId::new(&start).map_or_else(|| (NameId::default(), 0), |start| (start, count));
    Ok(ScanArgs {
        wanted: NamesWanted {
            start,
            filter: Box::new(filter),
            skip: 0,
            most,
            are_counted: false,
        },
        encodings,
        is_bounded: true,
    })
}

/// Reads the arguments of `name_filter`.
///
/// # Errors
///
/// Core's; -8 for more names than `MOST_NAMES`, and for unknown options.
pub fn name_filter(params: Params, defaults: Defaults) -> Result<ScanArgs, RpcError> {
    let (params, ids) = take_isolation_id(params)?;
    let wanted = [
        Wanted::optional("regexp", "string"),
        Wanted::optional("maxage", "number"),
        Wanted::optional("from", "number"),
        Wanted::optional("nb", "number"),
        Wanted::optional("stat", "string"),
        Wanted::optional("options", "object"),
    ];
    let [regexp, max_age, from, number, stat, options] = take(params, wanted, help::NAME_FILTER)?;
    let options = options_of(options, ids, false)?;
    let regexp = match regexp {
        Some(Json::String(pattern)) => Some(compile(&pattern)?),
        _ => None,
    };
    let max_age = natural("maxage", max_age.as_ref(), DEFAULT_MAX_AGE)?;
    let skip = natural("from", from.as_ref(), 0)?;
    let number = natural("nb", number.as_ref(), 0)?;
    let are_counted = match stat {
        None | Some(Json::Null) => false,
        Some(Json::String(word)) if word == "stat" => true,
        Some(_) => return Err(refused("fifth argument must be the literal string 'stat'")),
    };
    let most = match number {
        0 if are_counted => usize::MAX,
        0 => MOST_NAMES + 1,
        number if number > MOST_NAMES && !are_counted => {
            return Err(refused(format!("'nb' should not be above {MOST_NAMES}")));
        }
        number => number,
    };
    let filter = move |name: &NameId, height: Height, tip: Height| {
        let age = usize::try_from(tip.saturating_sub(height)).unwrap_or(usize::MAX);
        (max_age == 0 || age < max_age) && regexp.as_ref().is_none_or(|regexp| is_match(regexp, name))
    };
    Ok(ScanArgs {
        wanted: NamesWanted {
            start: NameId::default(),
            filter: Box::new(filter),
            skip,
            most,
            are_counted,
        },
        encodings: options.encodings(defaults),
        is_bounded: number != 0,
    })
}

fn refused(message: impl Into<String>) -> RpcError {
    RpcError::new(code::PARAMETER, message)
}

/// Takes parameters; those left out are none.
fn take<const N: usize>(params: Params, wanted: [Wanted; N], help: &str) -> Result<[Option<Json>; N], RpcError> {
    let items = check(positional(params, &wanted.map(Wanted::name))?, &wanted, help)?;
    let mut items = items.into_iter();
    Ok([(); N].map(|()| items.next()))
}

fn options_of(options: Option<Json>, ids: Ids, is_scan: bool) -> Result<ScanOptions, RpcError> {
    match options {
        None => ScanOptions::read(Vec::new(), ids, is_scan),
        Some(Json::Object(members)) => ScanOptions::read(members, ids, is_scan),
        // Optional places may hold null, but Core reads options as an object without asking.
        Some(other) => {
            let got = other.type_word();
            let message = format!("JSON value of type {got} is not of expected type object");
            Err(RpcError::new(code::TYPE, message))
        }
    }
}

fn decode(text: &str, encoding: Encoding) -> Result<Vec<u8>, RpcError> {
    encoding.decode(text).map_err(|error| RpcError::encoding(error.0))
}

fn whole(value: Option<&Json>) -> Result<Option<i32>, RpcError> {
    match value {
        Some(Json::Number(number)) => integer(number).map(Some),
        _ => Ok(None),
    }
}

fn natural(name: &str, value: Option<&Json>, default: i32) -> Result<usize, RpcError> {
    let number = whole(value)?.unwrap_or(default);
    usize::try_from(number).map_err(|_| refused(format!("'{name}' should be non-negative")))
}

/// Compiles a regular expression to what Boost.Xpressive takes it for, which Core uses: bytes, of which `.` is any, and `^` and `$`
/// stand at line ends as well. Source: Boost.Xpressive, `regex_constants`, `single_line` and `not_dot_newline`.
fn compile(pattern: &str) -> Result<Regex, RpcError> {
    if pattern.len() > LONGEST_PATTERN {
        return Err(refused(format!(
            "regexp must not have more than {LONGEST_PATTERN} bytes"
        )));
    }
    let mut builder = RegexBuilder::new(pattern);
    builder
        .unicode(false)
        .dot_matches_new_line(true)
        .multi_line(true)
        .nest_limit(32)
        .size_limit(PATTERN_SIZE)
        .dfa_size_limit(SEARCH_SIZE);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => refused("regexp takes too much memory"),
        // Core's code for what its library throws.
        error => RpcError::new(code::MISC, format!("regexp can't be used: {error}")),
    })
}

fn is_match(regexp: &Regex, name: &NameId) -> bool {
    let name = name.as_bytes();
    std::str::from_utf8(name).is_ok() && regexp.is_match(name)
}

#[cfg(test)]
mod tests;
