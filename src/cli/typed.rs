//! Names as people type them: taken from an argument or standard input, and held against what they may have meant.
//!
//! A name that is not what its user meant is answered with absence, after a server was told it. So it is said before.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use data_encoding::HEXLOWER;
use hickory_proto::rr::Name;

use isonym::dns::zones::Zones;
use isonym::name::{Encoding, NameId};
use isonym::naming::typed::{Meant, domain_name, host, meant_name, name_of};
use isonym::rpc::MAX_BODY;

/// What stands for a name that is to be read from standard input.
const STANDARD_INPUT: &str = "-";

/// Most bytes of a line of standard input: a name of most bytes in hexadecimal digits, and what ends the line.
const MOST_OF_LINE: u64 = 2 * NameId::MAX_LEN as u64 + 2;

/// Most bytes of all arguments that standard input may hold: as many as a daemon takes in one call.
const MOST_OF_ARGUMENTS: u64 = MAX_BODY as u64;

/// Returns what the user gave for a name, which for `-` is the first line of standard input: other users of the machine
/// see arguments.
pub(super) fn given(argument: &str) -> Result<String> {
    if argument != STANDARD_INPUT {
        return Ok(argument.to_owned());
    }
    let text = standard_input(MOST_OF_LINE)?;
    let mut lines = text.lines();
    let line = lines.next().context("standard input has no name: it is empty")?;
    ensure!(
        lines.all(str::is_empty),
        "standard input has more than a name on one line"
    );
    Ok(line.to_owned())
}

/// Returns the lines of standard input, which are arguments that no other user sees.
pub(super) fn lines() -> Result<Vec<String>> {
    Ok(standard_input(MOST_OF_ARGUMENTS)?.lines().map(str::to_owned).collect())
}

/// Reads standard input; one byte more than there may be, to see that there are too many.
fn standard_input(most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let mut from = std::io::stdin().lock().take(most.saturating_add(1));
    from.read_to_end(&mut bytes).context("cannot read standard input")?;
    ensure!(
        u64::try_from(bytes.len()).is_ok_and(|count| count <= most),
        "standard input has more than {most} bytes"
    );
    String::from_utf8(bytes).context("standard input is not UTF-8")
}

/// Returns the bytes of a name that is to be looked up as it stands.
pub(super) fn name(text: &str, encoding: Encoding, zones: &Zones) -> Result<NameId> {
    let meant = match encoding {
        Encoding::Ascii | Encoding::Utf8 => meant_name(text, zones).as_ref().map(advice),
        Encoding::Hex => None,
    };
    let bytes = match (encoding.decode(text), &meant) {
        (Ok(bytes), _) => bytes,
        (Err(error), Some(meant)) => bail!("the name can't be looked up: {error}; {meant}"),
        (Err(error), None) => return Err(error).context("the name can't be looked up"),
    };
    let name = NameId::new(&bytes).with_context(|| {
        format!(
            "the name has {} bytes; names have at most {}",
            bytes.len(),
            NameId::MAX_LEN
        )
    })?;
    if let Some(meant) = meant {
        let hex = HEXLOWER.encode(&bytes);
        bail!("`{text}` was not looked up: {meant}. If it is the name itself: --name-encoding hex {hex}");
    }
    Ok(name)
}

/// Says what was meant, and what a command does for it.
fn advice(meant: &Meant) -> String {
    match meant {
        Meant::Domain { domain, .. } => format!("{meant}, and `isonym resolve {domain}` prints its records"),
        _ => meant.to_string(),
    }
}

/// Reads the name of a domain that is to be resolved.
pub(super) fn domain(text: &str, zones: &Zones) -> Result<Name> {
    let name = domain_name(text).filter(|name| zones.find(&name.to_lowercase()).is_some());
    if let Some(name) = name {
        return Ok(name);
    }
    let bare = host(text);
    let is_ours = |text: &str| domain_name(text).is_some_and(|name| zones.find(&name.to_lowercase()).is_some());
    if is_ours(bare) {
        bail!("`{text}` is no domain name; the one in it is `{bare}`");
    }
    match bare.split_once('/') {
        Some((namespace, label)) if namespace.eq_ignore_ascii_case("d") && name_of(label).is_some() => bail!(
            "`{text}` is the name that holds a domain, which is `{label}.bit`; `isonym name_show` shows the name's value"
        ),
        Some((host, _)) if is_ours(host) => bail!("`{text}` is no domain name; the one in it is `{host}`"),
        Some((namespace, _)) if !namespace.contains('.') => {
            bail!("`{text}` is no domain; `isonym name_show {text}` shows its value")
        }
        _ => {}
    }
    if name_of(bare).is_some() {
        bail!("`{text}` cannot be resolved (REFUSED): it is in no zone; the domain is `{bare}.bit`");
    }
    if domain_name(text).is_none() {
        bail!("`{text}` is no domain name");
    }
    bail!("`{text}` cannot be resolved (REFUSED): it is in no zone that is resolved here, such as .bit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        name(text, Encoding::Utf8, &Zones::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_was_meant_by_a_name_is_said() {
        for (typed, meant) in [
            ("alice.bit", "`d/alice`"),
            ("alice.bit.", "`d/alice`"),
            ("www.Alice.BIT", "`d/alice`"),
            ("http://alice.bit/", "`d/alice`"),
            ("https://alice.bit:8443", "`d/alice`"),
            ("B\u{fc}cher.bit", "`d/xn--bcher-kva`"),
            ("alice", "`d/alice`"),
            ("alice", "`id/alice`"),
            ("Alice", "`d/alice`"),
            ("d/Alice", "`d/alice`"),
            ("D/alice", "`d/alice`"),
            ("ID/alice", "`id/alice`"),
            ("d/alice.bit", "`d/alice`"),
            ("d/b\u{fc}cher", "`d/xn--bcher-kva`"),
            ("alice bob", "`d/`"),
            ("example.com", "`d/`"),
        ] {
            let told = refused(typed);
            assert!(told.contains(meant) && told.contains(typed), "{told}");
        }
        let ascii = name("d/b\u{fc}cher", Encoding::Ascii, &Zones::default()).unwrap_err();
        assert!(ascii.to_string().contains("`d/xn--bcher-kva`"), "{ascii}");
    }

    #[test]
    fn what_may_be_meant_is_left_alone() {
        for text in [
            "d/alice",
            "id/Alice",
            "dd/Whatever it is",
            "p/a/b",
            "d/www.alice",
            "d/a_b",
            "d/",
            "",
            "u/http://x",
        ] {
            let name = name(text, Encoding::Utf8, &Zones::default()).unwrap();
            assert_eq!(name.as_bytes(), text.as_bytes());
        }
        let hex = name("616c6963652e626974", Encoding::Hex, &Zones::default()).unwrap();
        assert_eq!(hex.as_bytes(), b"alice.bit");
    }

    #[test]
    fn what_was_meant_by_a_domain_is_said() {
        for (typed, meant) in [
            ("d/alice", "`alice.bit`"),
            ("D/Alice", "`Alice.bit`"),
            ("alice", "`alice.bit`"),
            ("http://alice.bit/x", "`alice.bit`"),
            ("alice.bit/x", "`alice.bit`"),
            ("id/alice", "isonym name_show id/alice"),
            ("example.com", "no zone"),
            ("..", "no domain name"),
        ] {
            let told = domain(typed, &Zones::default()).unwrap_err().to_string();
            assert!(told.contains(meant) && told.contains(typed), "{told}");
        }
        for (typed, taken) in [
            ("Alice.bit", "Alice.bit."),
            ("B\u{fc}cher.bit", "xn--bcher-kva.bit."),
            ("_http._tcp.alice.bit.", "_http._tcp.alice.bit."),
            ("bit", "bit."),
        ] {
            assert_eq!(domain(typed, &Zones::default()).unwrap().to_ascii(), taken);
        }
    }
}
