//! DNSSEC keys: new ones, and what a validator is to know of them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bitcoin::hex::DisplayHex as _;
use hickory_proto::rr::Name;
use isonym::dns::dnssec::{KeyAlgorithm, Keys, folder};
use isonym::node::Clock;

use super::args::DnssecCommand;
use super::eprint_line;
use super::show::print;

/// Runs one of the commands on keys.
pub(super) fn run(command: &DnssecCommand, quiet: bool) -> Result<ExitCode> {
    match command {
        DnssecCommand::Keygen { zone, algorithm, dir } => keygen(zone, algorithm, dir, quiet),
        DnssecCommand::Ds { zone, dir } => ds(zone, dir),
    }
}

fn zone_name(text: &str) -> Result<Name> {
    let mut zone = Name::from_ascii(text).with_context(|| format!("{text:?} is no zone"))?;
    zone.set_fqdn(true);
    Ok(zone)
}

fn keygen(zone: &str, algorithm: &str, dir: &Path, quiet: bool) -> Result<ExitCode> {
    let algorithm: KeyAlgorithm = algorithm.parse()?;
    let keys = Keys::generate(&zone_name(zone)?, algorithm)?;
    let files = folder::write(dir, &keys, Clock::start().now().wall)?;
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    print(&names.join("\n"))?;
    if !quiet {
        eprint_line(format_args!(
            "validators trust these keys once they know what this prints: isonym dnssec ds --zone {} {}",
            keys.zone(),
            dir.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn ds(zone: &str, dir: &Path) -> Result<ExitCode> {
    let keys = folder::read(dir, &zone_name(zone)?)?;
    print(&ds_text(&keys)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the DS record as a line of a zone file, and as comments how validators take it.
fn ds_text(keys: &Keys) -> Result<String> {
    let (ds, zone) = (keys.ds()?, keys.zone().to_ascii());
    let (tag, algorithm, digest_type) = (ds.key_tag(), u8::from(ds.algorithm()), u8::from(ds.digest_type()));
    let digest = ds.digest().to_upper_hex_string();
    Ok(format!(
        "\
{zone} IN DS {tag} {algorithm} {digest_type} {digest}
;
; unbound, under server: in place of domain-insecure
;   trust-anchor: \"{zone} IN DS {tag} {algorithm} {digest_type} {digest}\"
;
; delv -a FILE +root={zone} -p PORT @ADDRESS NAME, with this FILE
;   trust-anchors {{ \"{zone}\" static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};
;
; BIND takes the same trust-anchors statement in named.conf"
    ))
}
