//! Records as text, as zone files have them (RFC 1035 section 5.1).

use std::fmt::Write as _;

use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinEncodable as _};

use super::value::{ALTITUDE_BASE, ZERO_ANGLE};

/// The type of a location (RFC 1876), which our DNS library has no name for.
pub const LOC: RecordType = RecordType::Unknown(29);

/// Writes a type: its name, else as RFC 3597 section 5 has it.
pub fn type_text(kind: RecordType) -> String {
    match kind {
        LOC => "LOC".to_owned(),
        RecordType::Unknown(number) => format!("TYPE{number}"),
        kind => kind.to_string(),
    }
}

/// Reads a type: its name in any case, or `TYPE` and its number.
pub fn parse_type(text: &str) -> Option<RecordType> {
    let text = text.to_ascii_uppercase();
    match text.as_str() {
        "LOC" => Some(LOC),
        // Our DNS library writes their names, but does not read them.
        "IXFR" => Some(RecordType::IXFR),
        "OPT" => Some(RecordType::OPT),
        text => match text.strip_prefix("TYPE") {
            Some(number) => number.parse::<u16>().ok().map(RecordType::from),
            None => text.parse().ok(),
        },
    }
}

/// Writes a record's data.
pub fn data_text(data: &RData) -> String {
    match data {
        RData::TXT(text) => {
            let strings: Vec<String> = text.txt_data.iter().map(|string| quoted(string)).collect();
            strings.join(" ")
        }
        RData::TLSA(tlsa) => {
            let numbers = [tlsa.cert_usage.into(), tlsa.selector.into(), u8::from(tlsa.matching)];
            let [usage, selector, matching] = numbers;
            format!("{usage} {selector} {matching} {}", hex(&tlsa.cert_data))
        }
        RData::SSHFP(key) => {
            let [algorithm, kind] = [u8::from(key.algorithm), key.fingerprint_type.into()];
            format!("{algorithm} {kind} {}", hex(&key.fingerprint))
        }
        RData::DNSSEC(DNSSECRData::DS(ds)) => {
            let [algorithm, kind] = [u8::from(ds.algorithm()), ds.digest_type().into()];
            format!("{} {algorithm} {kind} {}", ds.key_tag(), hex(ds.digest()))
        }
        RData::Unknown { code, rdata } if *code == RecordType::DNAME => {
            Name::from_bytes(&rdata.anything).map_or_else(|_| generic(&rdata.anything), |name| name.to_ascii())
        }
        RData::Unknown { code: LOC, rdata } => location(&rdata.anything).unwrap_or_else(|| generic(&rdata.anything)),
        RData::Unknown { rdata, .. } => generic(&rdata.anything),
        RData::A(_)
        | RData::AAAA(_)
        | RData::CNAME(_)
        | RData::MX(_)
        | RData::NS(_)
        | RData::SOA(_)
        | RData::SRV(_) => data.to_string(),
        data => data
            .to_bytes()
            .map_or_else(|_| data.to_string(), |bytes| generic(&bytes)),
    }
}

/// Writes data of any type as RFC 3597 section 5 has it.
fn generic(bytes: &[u8]) -> String {
    format!("\\# {} {}", bytes.len(), hex(bytes)).trim_end().to_owned()
}

/// Writes a location (RFC 1876 section 3); `None` when it has another version, or is malformed.
fn location(rdata: &[u8]) -> Option<String> {
    let [0, size, horizontal, vertical, rest @ ..] = rdata else {
        return None;
    };
    let (numbers, []) = rest.as_chunks::<4>() else {
        return None;
    };
    let [latitude, longitude, altitude] = *numbers else {
        return None;
    };
    let number = |bytes: [u8; 4]| i64::from(u32::from_be_bytes(bytes));
    let angle = |bytes: [u8; 4], directions: [&str; 2]| {
        let thousandths = number(bytes) - i64::from(ZERO_ANGLE);
        let [positive, negative] = directions;
        let direction = if thousandths < 0 { negative } else { positive };
        let size = thousandths.unsigned_abs();
        let (degrees, minutes) = (size / 3_600_000, size / 60_000 % 60);
        let (seconds, fraction) = (size / 1000 % 60, size % 1000);
        format!("{degrees} {minutes} {seconds}.{fraction:03} {direction}")
    };
    let precision = |byte: u8| {
        let centimetres = u64::from(byte >> 4) * 10_u64.pow(u32::from(byte & 0xf));
        match (centimetres / 100, centimetres % 100) {
            (metres, 0) if metres > 0 => format!("{metres}m"),
            (metres, rest) => format!("{metres}.{rest:02}m"),
        }
    };
    let height = number(altitude) - ALTITUDE_BASE;
    let sign = if height < 0 { "-" } else { "" };
    let height = height.unsigned_abs();
    Some(format!(
        "{} {} {sign}{}.{:02}m {} {} {}",
        angle(latitude, ["N", "S"]),
        angle(longitude, ["E", "W"]),
        height / 100,
        height % 100,
        precision(*size),
        precision(*horizontal),
        precision(*vertical),
    ))
}

fn hex(bytes: &[u8]) -> String {
    bitcoin::hex::DisplayHex::to_lower_hex_string(bytes)
}

fn quoted(string: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in string {
        // Writing to a string can't fail.
        let _ = match byte {
            b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)),
            0x20..=0x7e => write!(text, "{}", char::from(*byte)),
            _ => write!(text, "\\{byte:03}"),
        };
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{NULL, TXT};

    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        let named = [
            (1, "A"),
            (2, "NS"),
            (5, "CNAME"),
            (6, "SOA"),
            (15, "MX"),
            (16, "TXT"),
            (28, "AAAA"),
            (29, "LOC"),
            (33, "SRV"),
            (39, "DNAME"),
            (43, "DS"),
            (44, "SSHFP"),
            (48, "DNSKEY"),
            (52, "TLSA"),
            (255, "ANY"),
            (65280, "TYPE65280"),
        ];
        for (number, text) in named {
            assert_eq!(type_text(RecordType::from(number)), text);
            assert_eq!(parse_type(text), Some(RecordType::from(number)), "{text}");
        }
        assert_eq!(parse_type("aaaa"), Some(RecordType::AAAA));
        assert_eq!(parse_type("type65535"), Some(RecordType::from(65535)));
        for text in ["", "TYPE", "TYPE65536", "NOSUCH"] {
            assert_eq!(parse_type(text), None, "{text}");
        }
    }

    /// The text that dig writes for the example of IFA-0001.
    #[test]
    fn locations_are_written_as_dig_does() {
        let text_of = |bytes: &[u8]| {
            let rdata = NULL::with(bytes.to_vec());
            data_text(&RData::Unknown { code: LOC, rdata })
        };
        let place = [
            0, 0, 0x16, 0x13, 0x8b, 0x3c, 0xf0, 0x18, 0x81, 0x0c, 0xbc, 0xe0, 0, 0x98, 0x95, 0xb8,
        ];
        let text = "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m";
        assert_eq!(text_of(&place), text);
        for malformed in [&place[..15], &[1; 16], &[0]] {
            assert!(text_of(malformed).starts_with(r"\#"), "{malformed:?}");
        }
        // Every byte of it may be anything.
        assert!(text_of(&[[0; 4], [255; 4], [255; 4], [0; 4]].concat()).ends_with('m'));
    }

    #[test]
    fn bytes_in_texts_can_do_no_harm() {
        let text = TXT::from_bytes(vec![b"a\"b\\c", b"\x07\xff\n", b""]);
        assert_eq!(data_text(&RData::TXT(text)), r#""a\"b\\c" "\007\255\010" """#);
        let unknown = |bytes: &[u8]| {
            let mut rdata = NULL::new();
            rdata.anything = bytes.to_vec();
            let code = RecordType::from(65280);
            data_text(&RData::Unknown { code, rdata })
        };
        assert_eq!(unknown(&[1, 0xab]), r"\# 2 01ab");
    }
}
