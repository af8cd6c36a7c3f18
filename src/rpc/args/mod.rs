//! The arguments of name lookups: Namecoin Core's style and Electrum-NMC's, told apart by names and JSON types.
//!
//! | call | style |
//! | --- | --- |
//! | `["d/x"]`, `["d/x", {…}]`, `{"name": …, "options": {…}}` | Core |
//! | `["d/x", "ascii", "hex", "stream"]`, `{"identifier": …, "stream_id": …}` | Electrum |
//!
//! `isolation_id` is our own name for the stream isolation ID, in either style. Options that nobody knows are an error,
//! unlike in Core: a misspelt `streamID` that is ignored would join lookups that must stay apart.

use std::time::Duration;

use crate::isolation::IsolationId;
use crate::name::encoding::quoted;
use crate::name::lookup::MAX_QUORUM;
use crate::name::{Encoding, NameId};
use crate::service::Question;

use super::help;
use super::json::Json;
use super::params::{Wanted, positional};
use super::request::Params;
use super::result::{Encodings, Style};
use crate::jsonrpc::{RpcError, code};

/// What holds where a call in Core's style says nothing. In Electrum's style encodings are ASCII then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults {
    /// As Core's `-nameencoding` and `-valueencoding`.
    pub encodings: Encodings,
    /// As Core's `-allowexpired`.
    pub allow_expired: bool,
}

/// A name lookup as it was called.
#[derive(Clone, Debug)]
pub struct NameArgs {
    /// What to ask the node.
    pub question: Question,
    /// How to write the result.
    pub encodings: Encodings,
    /// How to shape the result.
    pub style: Style,
    /// Whether an error is to say in words why the name has no value, in place of the style's own text.
    pub explain: bool,
}

/// The places of Electrum's arguments. Source: Electrum-NMC `commands.py`, `name_show`.
const ELECTRUM: [&str; 7] = [
    "identifier",
    "name_encoding",
    "value_encoding",
    "stream_id",
    "verify_sig",
    "options",
    "wallet",
];

/// The places of Core's arguments. Source: Namecoin Core `rpc/names.cpp`, `name_show`.
const CORE: [&str; 2] = ["name", "options"];

/// Our name for the isolation ID beside the arguments of either style.
const ISOLATION_ID: &str = "isolation_id";

/// What a lookup's method knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Show,
    History,
    Proof,
}

/// Reads the arguments of `name_show`.
///
/// # Errors
///
/// Core's errors where Core has them; -8 for unknown options and for two different isolation IDs. In Electrum's style
/// encodings that are unknown or not kept to have code 1.
pub fn name_show(params: Params, defaults: Defaults) -> Result<NameArgs, RpcError> {
    let (params, ids) = take_isolation_id(params)?;
    let electrum = match &params {
        Params::Named(members) => members
            .iter()
            .any(|(key, _)| ELECTRUM.contains(&key.as_str()) && key != "options"),
        Params::Positional(_) => false,
    };
    let places: &[&str] = if electrum { &ELECTRUM } else { &CORE };
    let items = positional(params, places)?;
    // Core has two arguments at most, the second an object.
    let electrum = electrum
        || match items.get(1) {
            Some(Json::String(_)) => true,
            Some(Json::Null) => items.len() > CORE.len(),
            _ => false,
        };
    if electrum {
        electrum_style(items, ids)
    } else {
        core_style(items, ids, defaults, Method::Show)
    }
}

/// Reads the arguments of `name_history`, which are Core's alone.
///
/// # Errors
///
/// As [`name_show`].
pub fn name_history(params: Params, defaults: Defaults) -> Result<NameArgs, RpcError> {
    let (params, ids) = take_isolation_id(params)?;
    core_style(positional(params, &CORE)?, ids, defaults, Method::History)
}

/// Reads the arguments of `name_proof`, which are Core's alone.
///
/// # Errors
///
/// As [`name_show`].
pub fn name_proof(params: Params, defaults: Defaults) -> Result<NameArgs, RpcError> {
    let (params, ids) = take_isolation_id(params)?;
    core_style(positional(params, &CORE)?, ids, defaults, Method::Proof)
}

fn core_style(items: Vec<Json>, ids: Ids, defaults: Defaults, method: Method) -> Result<NameArgs, RpcError> {
    let help = match method {
        Method::Show => help::NAME_SHOW,
        Method::History => help::NAME_HISTORY,
        Method::Proof => help::NAME_PROOF,
    };
    let wanted = [
        Wanted::required("name", "string"),
        Wanted::optional("options", "object"),
    ];
    let mut items = super::params::check(items, &wanted, help)?.into_iter();
    let name = items.next();
    let options = match items.next() {
        None => Options::new(ids),
        // Optional places may hold null, but Core's lookups read their options as an object without asking.
        Some(Json::Object(members)) => Options::read(members, ids, method)?,
        Some(other) => {
            let message = format!(
                "JSON value of type {} is not of expected type object",
                other.type_word()
            );
            return Err(RpcError::new(code::TYPE, message));
        }
    };
    // As in Core, an unknown word means the default.
    let encoding = |word: &Option<String>, default| word.as_ref().and_then(|word| word.parse().ok()).unwrap_or(default);
    let encodings = Encodings {
        name: encoding(&options.name_encoding, defaults.encodings.name),
        value: encoding(&options.value_encoding, defaults.encodings.value),
    };
    let Some(Json::String(name)) = name else {
        return Err(RpcError::new(code::MISC, help));
    };
    let bytes = encodings
        .name
        .decode(&name)
        .map_err(|error| RpcError::encoding(error.0))?;
    options.check_by_hash()?;
    let never = |name| RpcError::new(code::NAME, format!("name never existed: {name}"));
    Ok(NameArgs {
        question: Question {
            // No name is that long, so none with these bytes was ever registered.
            name: NameId::new(&bytes).ok_or_else(|| never(quoted(&bytes)))?,
            allow_expired: options.allow_expired.unwrap_or(defaults.allow_expired),
            quorum: options.quorum,
            max_age: options.max_age,
            isolation_id: options.ids.into_id()?,
        },
        encodings,
        style: Style::Core,
        explain: options.explain.unwrap_or(false),
    })
}

fn electrum_style(items: Vec<Json>, mut ids: Ids) -> Result<NameArgs, RpcError> {
    if items.len() > ELECTRUM.len() {
        return Err(RpcError::new(code::MISC, help::NAME_SHOW));
    }
    let mut places = items.into_iter().chain(std::iter::repeat(Json::Null));
    let mut next = || places.next().unwrap_or(Json::Null);
    let Some(name) = string("identifier", next())? else {
        return Err(RpcError::field_type("identifier", "null", "string"));
    };
    let name_encoding = string("name_encoding", next())?;
    let value_encoding = string("value_encoding", next())?;
    ids.add("stream_id", next())?;
    // Whatever it says, the owners' signatures are verified.
    boolean("verify_sig", next())?;
    let options = match next() {
        Json::Null => Options::new(ids),
        Json::Object(members) => Options::read(members, ids, Method::Show)?,
        other => return Err(RpcError::field_type("options", other.type_word(), "object")),
    };
    // There is no wallet, so it does not matter which.
    string("wallet", next())?;
    let encoding = |word: Option<String>| {
        word.map_or(Ok(Encoding::default()), |word| {
            word.parse::<Encoding>()
                .map_err(|error| RpcError::new(code::ELECTRUM, error.to_string()))
        })
    };
    let encodings = Encodings {
        name: encoding(options.name_encoding.clone().or(name_encoding))?,
        value: encoding(options.value_encoding.clone().or(value_encoding))?,
    };
    let refused = |error: RpcError| RpcError::new(code::ELECTRUM, error.message);
    let bytes = encodings
        .name
        .decode(&name)
        .map_err(|error| refused(RpcError::encoding(error.0)))?;
    options.check_by_hash().map_err(refused)?;
    Ok(NameArgs {
        question: Question {
            name: NameId::new(&bytes).ok_or_else(|| RpcError::new(code::NAME, "Name purportedly never existed"))?,
            allow_expired: options.allow_expired.unwrap_or(false),
            quorum: options.quorum,
            max_age: options.max_age,
            isolation_id: options.ids.into_id()?,
        },
        encodings,
        style: Style::Electrum,
        explain: options.explain.unwrap_or(false),
    })
}

/// The members of an options object.
#[derive(Default)]
struct Options {
    name_encoding: Option<String>,
    value_encoding: Option<String>,
    by_hash: Option<String>,
    allow_expired: Option<bool>,
    quorum: Option<u8>,
    max_age: Option<Duration>,
    explain: Option<bool>,
    ids: Ids,
}

impl Options {
    fn new(ids: Ids) -> Self {
        Self { ids, ..Self::default() }
    }

    fn read(members: Vec<(String, Json)>, ids: Ids, method: Method) -> Result<Self, RpcError> {
        let mut options = Self::new(ids);
        for (key, value) in members {
            match key.as_str() {
                "streamID" | "stream_id" | "isolationID" | ISOLATION_ID => options.ids.add(&key, value)?,
                "nameEncoding" => once(&mut options.name_encoding, &key, string(&key, value)?)?,
                "valueEncoding" if method != Method::Proof => {
                    once(&mut options.value_encoding, &key, string(&key, value)?)?;
                }
                "byHash" => once(&mut options.by_hash, &key, string(&key, value)?)?,
                "allowExpired" if method == Method::Show => {
                    once(&mut options.allow_expired, &key, boolean(&key, value)?)?;
                }
                "quorum" if method != Method::History => once(&mut options.quorum, &key, quorum(&key, value)?)?,
                "maxAge" | "max_age" if method == Method::Show => {
                    once(&mut options.max_age, &key, seconds(&key, value)?)?;
                }
                "explain" if method != Method::Proof => once(&mut options.explain, &key, boolean(&key, value)?)?,
                _ => return Err(RpcError::new(code::PARAMETER, format!("Unknown option {key}"))),
            }
        }
        Ok(options)
    }

    /// Refuses all but the name itself: Electrum servers have no index by SHA-256d of names.
    fn check_by_hash(&self) -> Result<(), RpcError> {
        match self.by_hash.as_deref() {
            None | Some("direct") => Ok(()),
            Some(_) => Err(RpcError::new(code::MISC, "-namehashindex is not enabled")),
        }
    }
}

/// The members of an options object of what lists names. Numbers are read where Core reads them.
#[derive(Default)]
pub(super) struct ScanOptions {
    name_encoding: Option<String>,
    value_encoding: Option<String>,
    pub(super) min_conf: Option<Json>,
    pub(super) max_conf: Option<Json>,
    pub(super) prefix: Option<String>,
    pub(super) regexp: Option<String>,
}

impl ScanOptions {
    /// Reads them; `is_scan` has those of `name_scan` that pick names. The isolation ID is checked, and means nothing else.
    pub(super) fn read(members: Vec<(String, Json)>, mut ids: Ids, is_scan: bool) -> Result<Self, RpcError> {
        let mut options = Self::default();
        for (key, value) in members {
            match key.as_str() {
                "streamID" | "stream_id" | "isolationID" | ISOLATION_ID => ids.add(&key, value)?,
                "nameEncoding" => once(&mut options.name_encoding, &key, string(&key, value)?)?,
                "valueEncoding" => once(&mut options.value_encoding, &key, string(&key, value)?)?,
                "minConf" if is_scan => once(&mut options.min_conf, &key, number(&key, value)?)?,
                "maxConf" if is_scan => once(&mut options.max_conf, &key, number(&key, value)?)?,
                "prefix" if is_scan => once(&mut options.prefix, &key, string(&key, value)?)?,
                "regexp" if is_scan => once(&mut options.regexp, &key, string(&key, value)?)?,
                _ => return Err(RpcError::new(code::PARAMETER, format!("Unknown option {key}"))),
            }
        }
        ids.into_id()?;
        Ok(options)
    }

    /// Returns how names and values are written. As in Core, an unknown word means the default.
    pub(super) fn encodings(&self, defaults: Defaults) -> Encodings {
        let encoding =
            |word: &Option<String>, default| word.as_ref().and_then(|word| word.parse().ok()).unwrap_or(default);
        Encodings {
            name: encoding(&self.name_encoding, defaults.encodings.name),
            value: encoding(&self.value_encoding, defaults.encodings.value),
        }
    }
}

fn number(field: &str, value: Json) -> Result<Option<Json>, RpcError> {
    match value {
        Json::Null => Ok(None),
        Json::Number(_) => Ok(Some(value)),
        other => Err(RpcError::field_type(field, other.type_word(), "number")),
    }
}

fn once<T>(place: &mut Option<T>, key: &str, value: Option<T>) -> Result<(), RpcError> {
    if place.is_some() && value.is_some() {
        return Err(RpcError::new(
            code::PARAMETER,
            format!("Option {key} specified multiple times"),
        ));
    }
    if value.is_some() {
        *place = value;
    }
    Ok(())
}

fn string(field: &str, value: Json) -> Result<Option<String>, RpcError> {
    match value {
        Json::Null => Ok(None),
        Json::String(text) => Ok(Some(text)),
        other => Err(RpcError::field_type(field, other.type_word(), "string")),
    }
}

fn quorum(field: &str, value: Json) -> Result<Option<u8>, RpcError> {
    let number = match value {
        Json::Null => return Ok(None),
        Json::Number(number) => number,
        other => return Err(RpcError::field_type(field, other.type_word(), "number")),
    };
    let quorum = number.as_u64().and_then(|number| u8::try_from(number).ok());
    match quorum.filter(|quorum| (1..=MAX_QUORUM).contains(quorum)) {
        Some(quorum) => Ok(Some(quorum)),
        None => Err(RpcError::new(
            code::PARAMETER,
            format!("{field} must be a number from 1 to {MAX_QUORUM}"),
        )),
    }
}

fn seconds(field: &str, value: Json) -> Result<Option<Duration>, RpcError> {
    let number = match value {
        Json::Null => return Ok(None),
        Json::Number(number) => number,
        other => return Err(RpcError::field_type(field, other.type_word(), "number")),
    };
    match number.as_u64() {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(RpcError::new(
            code::PARAMETER,
            format!("{field} must be a whole number of seconds, 0 or more"),
        )),
    }
}

fn boolean(field: &str, value: Json) -> Result<Option<bool>, RpcError> {
    match value {
        Json::Null => Ok(None),
        Json::Bool(value) => Ok(Some(value)),
        other => Err(RpcError::field_type(field, other.type_word(), "bool")),
    }
}

/// The isolation ID, by whatever names it is given.
#[derive(Default)]
pub(super) struct Ids(Option<String>);

impl Ids {
    fn add(&mut self, field: &str, value: Json) -> Result<(), RpcError> {
        match (string(field, value)?, &self.0) {
            (Some(new), Some(old)) if new != *old => Err(RpcError::new(
                code::PARAMETER,
                "two different stream isolation IDs in one call",
            )),
            (Some(new), _) => {
                self.0 = Some(new);
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// Returns the ID; none when it was not given or empty, which is the shared default identity.
    fn into_id(self) -> Result<Option<IsolationId>, RpcError> {
        let Some(text) = self.0.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        IsolationId::new(text.as_bytes()).map(Some).ok_or_else(|| {
            let message = format!(
                "the stream isolation ID has {} bytes; at most {} are allowed",
                text.len(),
                IsolationId::MAX_LEN
            );
            RpcError::new(code::PARAMETER, message)
        })
    }
}

/// Takes our own name of the isolation ID out of named parameters.
pub(super) fn take_isolation_id(params: Params) -> Result<(Params, Ids), RpcError> {
    let mut ids = Ids::default();
    let Params::Named(members) = params else {
        return Ok((params, ids));
    };
    let mut rest = Vec::with_capacity(members.len());
    for (key, value) in members {
        if key == ISOLATION_ID {
            ids.add(&key, value)?;
        } else {
            rest.push((key, value));
        }
    }
    Ok((Params::Named(rest), ids))
}

/// Reads the argument of `isolation_forget`; `None` means all IDs, the empty one the shared default identity.
///
/// # Errors
///
/// -3 for another type than a string, -8 for an ID that is too long.
pub fn isolation_forget(params: Params) -> Result<Option<IsolationId>, RpcError> {
    let (params, mut ids) = take_isolation_id(params)?;
    let mut items = positional(params, &["stream_id"])?.into_iter();
    ids.add("stream_id", items.next().unwrap_or(Json::Null))?;
    if items.next().is_some() {
        return Err(RpcError::new(code::MISC, help::ISOLATION_FORGET));
    }
    match &ids.0 {
        Some(text) if text.is_empty() => Ok(Some(IsolationId::default())),
        _ => ids.into_id(),
    }
}

#[cfg(test)]
mod tests;
