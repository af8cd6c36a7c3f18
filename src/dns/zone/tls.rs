//! TLSA records (RFC 6698) from `tls` items.

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::TLSA;
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};

use crate::dns::value::{Json, Reason, Report, base64, each, number};

/// Reads `tls`: entries of usage, selector, matching type, data, or objects with such a list as `dane`.
pub(super) fn tls(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    let Json::List(members) = json else {
        let expected = "a list of lists and objects";
        report.item(Reason::Form { expected });
        return Vec::new();
    };
    each(members, report, |member| match member {
        Json::Object(_) => dane(member.member("dane").unwrap_or(&Json::Null)),
        _ => dane(member),
    })
}

fn dane(json: &Json) -> Result<RData, Reason> {
    let fields = match json {
        Json::List(fields) => fields.as_slice(),
        _ => &[],
    };
    let [usage, selector, matching, data, ..] = fields else {
        let expected = "a list of at least four fields, or an object with such a list";
        return Err(Reason::Form { expected });
    };
    Ok(RData::TLSA(TLSA::new(
        CertUsage::from(number::<u8>(usage)?),
        Selector::from(number::<u8>(selector)?),
        Matching::from(number::<u8>(matching)?),
        base64(data)?,
    )))
}
