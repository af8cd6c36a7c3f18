//! The two forms of items: texts, and rows of fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Json, Reason, Report};

/// Says whether an item says something, be it malformed: null and the empty list say that there is nothing.
pub(in crate::dns) fn is_stated(json: &Json) -> bool {
    match json {
        Json::Null => false,
        Json::List(members) => !members.is_empty(),
        _ => true,
    }
}

/// Reads a string, or a list of strings; members that `read` refuses are left out.
pub(super) fn texts<T>(json: &Json, report: &mut Report<'_>, read: impl Fn(&str) -> Result<T, Reason>) -> Vec<T> {
    match json {
        Json::Null => Vec::new(),
        Json::Text(text) => read(text).map_err(|reason| report.item(reason)).into_iter().collect(),
        Json::List(members) => {
            let read = |json: &Json| match json {
                Json::Text(text) => read(text),
                _ => Err(Reason::Form { expected: "a string" }),
            };
            each(members, report, read)
        }
        _ => {
            let expected = "a string or a list of strings";
            report.item(Reason::Form { expected });
            Vec::new()
        }
    }
}

/// Reads a list of lists of at least `N` fields; those beyond are ignored, rows that `read` refuses are left out.
pub(super) fn rows<T, const N: usize>(
    json: &Json,
    report: &mut Report<'_>,
    read: impl Fn(&[Json; N]) -> Result<T, Reason>,
) -> Vec<T> {
    match json {
        Json::Null => Vec::new(),
        Json::List(members) => each(members, report, |json| row(json).and_then(&read)),
        _ => {
            let expected = "a list of lists";
            report.item(Reason::Form { expected });
            Vec::new()
        }
    }
}

fn row<const N: usize>(json: &Json) -> Result<&[Json; N], Reason> {
    let fields = match json {
        Json::List(fields) => fields.first_chunk::<N>(),
        _ => None,
    };
    let expected = match N {
        2 => "a list of at least two fields",
        3 => "a list of at least three fields",
        _ => "a list of at least four fields",
    };
    fields.ok_or(Reason::Form { expected })
}

/// Reads each member of a list and reports those that `read` refuses.
pub(super) fn each<T>(members: &[Json], report: &mut Report<'_>, read: impl Fn(&Json) -> Result<T, Reason>) -> Vec<T> {
    let mut found = Vec::new();
    for (index, json) in members.iter().enumerate() {
        match read(json) {
            Ok(item) => found.push(item),
            Err(reason) => report.member(index, reason),
        }
    }
    found
}

/// Reads a number that fits the field, its fraction cut off.
pub(in crate::dns) fn number<T: TryFrom<u32> + Bounded>(json: &Json) -> Result<T, Reason> {
    let Json::Number(number) = json else {
        return Err(Reason::Form { expected: "a number" });
    };
    let whole = number.trunc();
    if !(0.0..=f64::from(T::MAX)).contains(&whole) {
        return Err(Reason::Number { max: T::MAX });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and within the field's range"
    )]
    let whole = whole as u32;
    T::try_from(whole).map_err(|_| Reason::Number { max: T::MAX })
}

/// A field's type, with its greatest number.
pub(in crate::dns) trait Bounded {
    /// The greatest number.
    const MAX: u32;
}

impl Bounded for u8 {
    const MAX: u32 = u8::MAX as u32;
}

impl Bounded for u16 {
    const MAX: u32 = u16::MAX as u32;
}

impl Bounded for u32 {
    const MAX: u32 = u32::MAX;
}

/// Reads the bytes of a base64 string: standard alphabet, padded, canonical (RFC 4648 sections 3.5 and 4).
pub(in crate::dns) fn base64(json: &Json) -> Result<Vec<u8>, Reason> {
    STANDARD.decode(text(json)?).map_err(|_| Reason::Base64)
}

/// Returns the text of a string.
pub(super) fn text(json: &Json) -> Result<&str, Reason> {
    match json {
        Json::Text(text) => Ok(text),
        _ => Err(Reason::Form { expected: "a string" }),
    }
}
