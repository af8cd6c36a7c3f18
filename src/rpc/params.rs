//! Parameters by position or by name, brought into one form and checked.
//!
//! Source: Namecoin Core `rpc/server.cpp`, `transformNamedArguments`, and `rpc/util.cpp`, `RPCHelpMan::HandleRequest`.

use serde_json::{Map, Value};

use super::json::Json;
use super::request::Params;
use crate::jsonrpc::{RpcError, code};

/// The name under which named parameters may bring leading positional ones.
const ARGS: &str = "args";

/// Brings parameters into the order of `places`. Holes are null; trailing ones are left out.
///
/// # Errors
///
/// -8 for a name that is unknown or given twice.
pub(super) fn positional(params: Params, places: &[&str]) -> Result<Vec<Json>, RpcError> {
    let members = match params {
        Params::Positional(items) => return Ok(items),
        Params::Named(members) => members,
    };
    let refused = |message: String| Err(RpcError::new(code::PARAMETER, message));
    let mut leading = None;
    let mut named: Vec<Option<Json>> = vec![None; places.len()];
    for (key, value) in members {
        let place = places.iter().position(|place| *place == key);
        let target = match place.and_then(|place| named.get_mut(place)) {
            Some(target) => target,
            None if key == ARGS && matches!(value, Json::Array(_)) => &mut leading,
            None => return refused(format!("Unknown named parameter {key}")),
        };
        if target.replace(value).is_some() {
            return refused(format!("Parameter {key} specified multiple times"));
        }
    }
    let mut items = match leading {
        Some(Json::Array(items)) => items,
        _ => Vec::new(),
    };
    let mut holes = 0;
    for (place, (value, name)) in named.into_iter().zip(places).enumerate() {
        match value {
            Some(_) if place < items.len() => {
                let message = format!("Parameter {name} specified twice both as positional and named argument");
                return refused(message);
            }
            Some(value) => {
                items.extend(std::iter::repeat_n(Json::Null, std::mem::take(&mut holes)));
                items.push(value);
            }
            None if place >= items.len() + holes => holes += 1,
            None => {}
        }
    }
    Ok(items)
}

/// What a place must hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    name: &'static str,
    type_word: &'static str,
    required: bool,
}

impl Wanted {
    pub(super) const fn required(name: &'static str, type_word: &'static str) -> Self {
        Self {
            name,
            type_word,
            required: true,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        self.name
    }

    pub(super) const fn optional(name: &'static str, type_word: &'static str) -> Self {
        Self {
            name,
            type_word,
            required: false,
        }
    }
}

/// Reads a whole number of 32 bits. Source: univalue, `getInt`.
///
/// # Errors
///
/// -1 for any other.
pub(super) fn integer(number: &serde_json::Number) -> Result<i32, RpcError> {
    let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
    number.ok_or_else(|| RpcError::new(code::MISC, "JSON integer out of range"))
}

/// Checks number and types of parameters. Null may stand for one that is optional.
///
/// # Errors
///
/// -1 with `help` for too few or too many, -3 with the list of those that have the wrong type.
pub(super) fn check(items: Vec<Json>, wanted: &[Wanted], help: &str) -> Result<Vec<Json>, RpcError> {
    let least = wanted.iter().filter(|wanted| wanted.required).count();
    if !(least..=wanted.len()).contains(&items.len()) {
        return Err(RpcError::new(code::MISC, help));
    }
    let mut wrong = Map::new();
    for (at, (item, wanted)) in items.iter().zip(wanted).enumerate() {
        let got = item.type_word();
        if got != wanted.type_word && (wanted.required || got != "null") {
            let place = format!("Position {} ({})", at + 1, wanted.name);
            let text = format!("JSON value of type {got} is not of expected type {}", wanted.type_word);
            wrong.insert(place, Value::String(text));
        }
    }
    if wrong.is_empty() {
        return Ok(items);
    }
    // Core indents by four.
    let lines: Vec<_> = wrong
        .iter()
        .map(|(place, text)| format!("    \"{place}\": {text}"))
        .collect();
    let message = format!("Wrong type passed:\n{{\n{}\n}}", lines.join(",\n"));
    Err(RpcError::new(code::TYPE, message))
}
