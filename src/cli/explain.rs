//! Why a name's answer is true, as a text: `name_show --explain`.

use std::fmt::{self, Write as _};

use isonym::dns::zones::Zones;
use isonym::name::NameId;
use isonym::name::encoding::visible;
use isonym::node::{AuxPowEvidence, Explanation, Operation, Said, Term, Verdict, WorkEvidence};
use isonym::time::Timestamp;

use super::resolve::{GivenRecords, given_records};

/// Writes an explanation for people.
pub(super) fn explanation_text(explanation: &Explanation, zones: &Zones) -> String {
    let mut text = String::new();
    // Nothing can fail where a text is written to.
    let _ = write_explanation(&mut text, explanation, zones);
    text.truncate(text.trim_end().len());
    text
}

fn write_explanation(text: &mut String, it: &Explanation, zones: &Zones) -> fmt::Result {
    let name = visible(&it.name.0);
    writeln!(text, "{name}, {}: {}", it.network, verdict_line(it))?;
    if let Some(newest) = it.operations.first() {
        let value = visible(&newest.value.0);
        if it.verdict == Verdict::Found {
            writeln!(text, "\nValue\n  {value}")?;
            write_records(text, it, zones)?;
        } else {
            writeln!(text, "\nValue of the newest operation, which does not hold\n  {value}")?;
        }
        writeln!(text, "\nOperations that were verified, newest first")?;
        for operation in &it.operations {
            write_operation(text, operation)?;
        }
        writeln!(text, "  {}", it.reached_line())?;
        write_place(text, newest)?;
    }
    if let Some(work) = &it.work {
        write_work(text, work)?;
    }
    writeln!(text, "\nServers that were asked")?;
    for account in &it.servers {
        let server = account.server.as_deref().unwrap_or("(no connection)");
        writeln!(text, "  {}  {}", visible(server.as_bytes()), said_line(&account.said))?;
    }
    let tip = &it.tip;
    writeln!(
        text,
        "\nNewest header\n  block {} of {}, {}",
        tip.height,
        Timestamp(tip.time),
        tip.hash
    )?;
    if !it.caveats.is_empty() {
        writeln!(text, "\nWhat nobody proved")?;
        for caveat in &it.caveats {
            writeln!(text, "  {caveat}")?;
        }
    }
    Ok(())
}

/// Says what a lookup came to.
pub(super) fn verdict_line(it: &Explanation) -> String {
    match &it.verdict {
        Verdict::Found => {
            let left = it.term.map_or(0, |term| term.expires_in);
            format!("proved; expires in {}", Term::blocks(left))
        }
        Verdict::Expired => {
            let over = it.term.map_or(0, |term| term.expires_in.saturating_neg());
            format!("EXPIRED, {} ago: whoever held it does not any more", Term::blocks(over))
        }
        Verdict::SemiExpired => {
            let left = it.term.map_or(0, |term| term.expires_in);
            format!(
                "SEMI-EXPIRED: it expires in {}, was not renewed in time, and is not served",
                Term::blocks(left)
            )
        }
        Verdict::Unconfirmed { got, expected } => {
            format!("UNCONFIRMED: its registration has {got} of {expected} confirmations; try again later")
        }
        Verdict::PurportedlyExpired { height } => {
            format!("NO VALUE, servers say: last updated at block {height}, long ago")
        }
        Verdict::PurportedlyAbsent => "NO VALUE, servers say: it never existed".to_owned(),
        Verdict::ProvedAbsent { from } => {
            format!("NO VALUE, proved: it never existed or has expired, since no block from {from} on has it")
        }
        Verdict::Refused { reason } => {
            format!("REFUSED, no value is shown: {}", visible(reason.as_bytes()))
        }
    }
}

fn write_records(text: &mut String, it: &Explanation, zones: &Zones) -> fmt::Result {
    let given = it
        .value()
        .zip(NameId::new(&it.name.0))
        .and_then(|(value, name)| given_records(&name, value, zones));
    let Some(GivenRecords {
        records,
        problems,
        needs,
    }) = given
    else {
        return Ok(());
    };
    writeln!(text, "\nDNS records that the value gives")?;
    for line in records.iter().chain(&problems) {
        writeln!(text, "  {}", visible(line.as_bytes()))?;
    }
    for name in &needs {
        writeln!(
            text,
            "  what it imports from {} is not looked up here; `isonym resolve` does",
            visible(name.as_bytes())
        )?;
    }
    if records.is_empty() && problems.is_empty() && needs.is_empty() {
        writeln!(text, "  none")?;
    }
    Ok(())
}

fn write_operation(text: &mut String, it: &Operation) -> fmt::Result {
    let (kind, block) = (if it.registers { "registration" } else { "update" }, &it.block);
    writeln!(
        text,
        "  {kind} in block {} of {}, {} confirmations",
        block.height,
        Timestamp(block.time),
        block.confirmations
    )?;
    writeln!(text, "    transaction {}, output {}", it.txid, it.vout)?;
    writeln!(text, "    held by {} from here on", visible(it.address.as_bytes()))?;
    writeln!(text, "    value {}", visible(&it.value.0))
}

fn write_place(text: &mut String, it: &Operation) -> fmt::Result {
    let block = &it.block;
    writeln!(text, "\nThe newest operation's block")?;
    writeln!(
        text,
        "  block {} of {}, {}",
        block.height,
        Timestamp(block.time),
        block.hash
    )?;
    writeln!(text, "  merkle root {}", block.merkle_root)?;
    match it.merkle.len() {
        0 => writeln!(text, "  the transaction is the block's only one"),
        length => {
            writeln!(
                text,
                "  transaction {} of the block, counted from 0, by a merkle branch of {length}",
                it.position
            )?;
            it.merkle.iter().try_for_each(|hash| writeln!(text, "    {hash}"))
        }
    }
}

fn write_work(text: &mut String, it: &WorkEvidence) -> fmt::Result {
    writeln!(text, "\nWork")?;
    match &it.auxpow {
        AuxPowEvidence::OwnWork => writeln!(text, "  done at the block itself, which is not merge-mined")?,
        AuxPowEvidence::Parent {
            hash,
            time,
            coinbase,
            coinbase_branch,
            chain_branch,
            chain_index,
        } => {
            writeln!(text, "  done at its parent block {hash} of {}", Timestamp(*time))?;
            writeln!(text, "  whose coinbase {coinbase} commits to it")?;
            let length = chain_branch.len();
            writeln!(
                text,
                "  as leaf {chain_index} of a tree of 2^{length}, by a branch of {length}"
            )?;
            chain_branch.iter().try_for_each(|hash| writeln!(text, "    {hash}"))?;
            let length = coinbase_branch.len();
            writeln!(text, "  the coinbase is in the parent by a branch of {length}")?;
            coinbase_branch
                .iter()
                .try_for_each(|hash| writeln!(text, "    {hash}"))?;
        }
        AuxPowEvidence::NotShown { reason } => {
            writeln!(text, "  where it was done is not shown: {}", visible(reason.as_bytes()))?;
        }
    }
    writeln!(text, "  {} hashes for this block", WorkEvidence::power(it.own))?;
    match it.above {
        Some(above) => writeln!(text, "  {} hashes for the blocks above it", WorkEvidence::power(above)),
        None => writeln!(
            text,
            "  that of the blocks above it is not known so far below the trust anchor"
        ),
    }
}

/// Says what a server said.
pub(super) fn said_line(said: &Said) -> String {
    match said {
        Said::Proved { height } => format!("proved the operation in block {height}"),
        Said::Denied => "knows no value".to_owned(),
        Said::Refused { reason } => format!("REFUSED: {}", visible(reason.as_bytes())),
        Said::Failed { reason } => format!("gave no answer: {}", visible(reason.as_bytes())),
        Said::NotWaitedFor => "was not waited for".to_owned(),
    }
}
