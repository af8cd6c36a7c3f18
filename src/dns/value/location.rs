//! Locations: the text of RFC 1876 section 3 to the record data of section 2.

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::NULL;

use super::form::texts;
use super::{Json, Reason, Report};
use crate::dns::presentation::LOC;

/// The equator and the prime meridian, in thousandths of a second of arc.
pub(in crate::dns) const ZERO_ANGLE: u32 = 1 << 31;

/// How far below the reference spheroid altitudes count from, in centimetres.
pub(in crate::dns) const ALTITUDE_BASE: i64 = 10_000_000;

/// Reads `loc`: LOC records.
pub(in crate::dns) fn loc(json: &Json, report: &mut Report<'_>) -> Vec<RData> {
    texts(json, report, |text| {
        let location = Location::parse(text).ok_or(Reason::Location)?;
        Ok(RData::Unknown {
            code: LOC,
            rdata: NULL::with(location.to_rdata()),
        })
    })
}

/// A place with its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Location {
    /// Size, horizontal and vertical precision: each a digit in the high half, a power of ten in the low half, in
    /// centimetres.
    precisions: [u8; 3],
    /// Thousandths of a second of arc, from [`ZERO_ANGLE`] to the north.
    latitude: u32,
    /// The same to the east.
    longitude: u32,
    /// Centimetres above [`ALTITUDE_BASE`].
    altitude: u32,
}

impl Location {
    /// Parses `d1 [m1 [s1]] N|S d2 [m2 [s2]] E|W alt[m] [size[m] [hp[m] [vp[m]]]]`.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let latitude = angle(&mut words, 90, ["N", "S"])?;
        let longitude = angle(&mut words, 180, ["E", "W"])?;
        let altitude = altitude(words.next()?)?;
        // A metre, ten kilometres, ten metres. Source: section 3.
        let mut precisions = [0x12, 0x16, 0x13];
        for precision in &mut precisions {
            if let Some(word) = words.next() {
                *precision = self::precision(word)?;
            }
        }
        let location = Self {
            precisions,
            latitude,
            longitude,
            altitude,
        };
        words.next().is_none().then_some(location)
    }

    fn to_rdata(self) -> Vec<u8> {
        let mut rdata = vec![0];
        rdata.extend(self.precisions);
        for number in [self.latitude, self.longitude, self.altitude] {
            rdata.extend(number.to_be_bytes());
        }
        rdata
    }
}

/// Parses degrees, minutes and seconds up to the direction.
fn angle<'a>(words: &mut impl Iterator<Item = &'a str>, max: u32, directions: [&str; 2]) -> Option<u32> {
    let degrees: u32 = fixed(words.next()?, 0)?.try_into().ok()?;
    let mut thousandths = degrees.checked_mul(3_600_000)?;
    for (unit, decimals) in [(60_000, 0), (1, 3), (0, 0)] {
        let word = words.next()?;
        let sign = directions.iter().position(|direction| *direction == word);
        if let Some(sign) = sign {
            let in_range = thousandths <= max * 3_600_000;
            let sum = if sign == 0 {
                ZERO_ANGLE.checked_add(thousandths)
            } else {
                ZERO_ANGLE.checked_sub(thousandths)
            };
            return sum.filter(|_| in_range);
        }
        let part: u32 = fixed(word, decimals)?.try_into().ok()?;
        // Minutes and seconds alike: less than sixty.
        if unit == 0 || part >= 60 * 10_u32.pow(decimals) {
            return None;
        }
        thousandths = thousandths.checked_add(part.checked_mul(unit)?)?;
    }
    None
}

/// Parses metres, of either sign, to centimetres above the base.
fn altitude(word: &str) -> Option<u32> {
    let word = word.strip_suffix('m').unwrap_or(word);
    let centimetres = match word.strip_prefix('-') {
        Some(word) => -i64::try_from(fixed(word, 2)?).ok()?,
        None => i64::try_from(fixed(word, 2)?).ok()?,
    };
    u32::try_from(ALTITUDE_BASE.checked_add(centimetres)?).ok()
}

/// Parses metres to a digit and a power of ten of centimetres, rounded down. At most 90 000 000 m.
fn precision(word: &str) -> Option<u8> {
    let mut digit = fixed(word.strip_suffix('m').unwrap_or(word), 2)?;
    let mut power = 0;
    while digit > 9 {
        digit /= 10;
        power += 1;
    }
    (power <= 9).then_some(u8::try_from(digit).ok()? << 4 | power)
}

/// Parses an unsigned decimal number with at most so many digits after the point, in units of the last of them.
fn fixed(word: &str, decimals: u32) -> Option<u64> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let dangling = word.ends_with('.') || whole.is_empty();
    let width = usize::try_from(decimals).ok()?;
    if dangling || !digits(whole) || !digits(fraction) || fraction.len() > width {
        return None;
    }
    format!("{whole}{fraction:0<width$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dns::presentation::data_text;
    use crate::name::Encoding;

    fn hex(text: &str) -> Option<String> {
        let rdata = Location::parse(text)?.to_rdata();
        Some(Encoding::Hex.encode(&rdata).unwrap())
    }

    /// The examples of RFC 1876 section 4 and of IFA-0001, by the arithmetic of section 2.
    #[test]
    fn examples_are_read() {
        for (text, expected) in [
            ("42 21 54 N 71 06 18 W -24m 30m", "0033161389172dd070be15f000988d20"),
            (
                "42 21 43.952 N 71 5 6.344 W -24m 1m 200m",
                "001224138917069070bf2dd800988d20",
            ),
            ("52 14 05 N 00 08 50 E 10m", "001216138b3556c88008165000989a68"),
            ("32 7 19 S 116 2 25 E 10m", "00121613791b7d2898e6486800989a68"),
            (
                "42 21 28.764 N 71 00 51.617 W -44m 2000m",
                "002516138916cb3c70c310df00988550",
            ),
            (
                "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m",
                "000016138b3cf018810cbce0009895b8",
            ),
        ] {
            let found = hex(text).unwrap();
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_of_a_location_reads_as_the_same(
            precisions in prop::array::uniform3((1_u8..10, 0_u8..10)),
            latitude in ZERO_ANGLE - 324_000_000..=ZERO_ANGLE + 324_000_000,
            longitude in ZERO_ANGLE - 648_000_000..=ZERO_ANGLE + 648_000_000,
            altitude: u32,
        ) {
            let precisions = precisions.map(|(digit, power)| digit << 4 | power);
            let location = Location { precisions, latitude, longitude, altitude };
            let text = data_text(&RData::Unknown { code: LOC, rdata: NULL::with(location.to_rdata()) });
            prop_assert_eq!(Location::parse(&text), Some(location), "{}", text);
        }
    }

    #[test]
    fn limits_are_those_of_the_format() {
        for text in [
            "90 N 180 E 0",
            "90 0 0.000 S 180 0 0.000 W -100000.00m",
            "0 N 0 E 42849672.95m 90000000.00m 90000000m 0",
            "0 59 59.999 N 0 0 0 W 0.5",
        ] {
            assert!(hex(text).is_some(), "{text}");
        }
        assert_eq!(hex("0 N 0 E 42849672.95m").unwrap()[24..], *"ffffffff");
        assert_eq!(hex("0 S 0 W -100000m").unwrap()[8..], *"800000008000000000000000");
        for text in [
            "",
            "10 Downing Street",
            "91 N 0 E 0m",
            "90 0 0.001 N 0 E 0m",
            "0 N 180 0 0.001 W 0m",
            "0 60 N 0 E 0m",
            "0 0 60 N 0 E 0m",
            "0 0 0 0 N 0 E 0m",
            "0 0 0.0001 N 0 E 0m",
            "0.5 N 0 E 0m",
            "0 E 0 N 0m",
            "0 N 0 E",
            "0 N 0 E 0.001m",
            "0 N 0 E -100000.01m",
            "0 N 0 E 42849672.96m",
            "0 N 0 E 0m 100000000m",
            "0 N 0 E 0m 1m 1m 1m 1m",
            "+1 N 0 E 0m",
            "1. N 0 E 0m",
            "99999999999999999999 N 0 E 0m",
            "0 N 0 E 99999999999999999999m",
        ] {
            assert_eq!(hex(text), None, "{text}");
        }
    }
}
