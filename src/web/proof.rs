//! The page of a name that was looked up: what it is worth, and each step by which that is proved.
//!
//! Whatever strangers had a hand in, which is nearly all, is shown by [`Html::text`]. What is refused is said to be, in words and
//! by its frame, not by colour alone.

use super::html::{Html, is_plain};
use super::page::{Reply, check_form, frame, ready_form, sentence, shown, shown_bytes, terms, verdict};
use crate::naming::site::Site;
use crate::node::{AuxPowEvidence, Explanation, Operation, Said, ServerAccount, Term, Verdict, WorkEvidence};
use crate::time::Timestamp;

/// Most sites of a name that are offered to be checked.
pub const MAX_SITES: usize = 8;

/// What a lookup came to.
#[derive(Debug)]
pub struct Found {
    /// The name.
    pub name: Vec<u8>,
    /// What was found out; else why nothing could be.
    pub explained: Result<Explanation, String>,
    /// What the value gives, where the name holds a domain and has a value.
    pub records: Option<Records>,
}

/// The records that a value gives.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The domain at which they are, and below which.
    pub domain: String,
    /// Each as a line of a zone file.
    pub lines: Vec<String>,
    /// Those of them that say which keys its sites show, for HTTPS.
    pub keys: Vec<String>,
    /// The sites that these are about, as far as they can be checked: [`MAX_SITES`] at most.
    pub sites: Vec<Site>,
    /// What of the value gives none, and why.
    pub problems: Vec<String>,
}

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is proved.
    Proved,
    /// It is proved that there is none, or servers say so.
    Absent,
    /// What was given does not hold.
    Refused,
    /// It could not be asked for.
    Failed,
}

fn standing(found: &Found) -> Standing {
    match found.explained.as_ref().map(|it| &it.verdict) {
        Ok(Verdict::Found) => Standing::Proved,
        Ok(Verdict::Refused { .. }) => Standing::Refused,
        Ok(_) => Standing::Absent,
        Err(_) => Standing::Failed,
    }
}

/// Says in a word or two what a lookup came to.
pub fn came_to(found: &Found) -> &'static str {
    match standing(found) {
        Standing::Proved => "proved",
        Standing::Absent => "no value",
        Standing::Refused => "refused",
        Standing::Failed => "not looked up",
    }
}

/// Shows what the lookup with this number, of what was typed, came to.
pub fn page(session: &str, number: u64, typed: &str, found: &Found) -> Reply {
    let (title, status) = match standing(found) {
        Standing::Proved => ("Isonym: proved", 200),
        Standing::Absent => ("Isonym: no value", 200),
        Standing::Refused => ("Isonym: refused", 200),
        Standing::Failed => ("Isonym: not looked up", 503),
    };
    let mut main = Html::element("h2", shown_bytes(&found.name));
    match &found.explained {
        Ok(explanation) => main.push(explained(
            explanation,
            found.records.as_ref().map(|it| records_of(session, number, it)),
        )),
        Err(reason) => main.push(verdict(
            "failed",
            "\u{2717}",
            "Not looked up",
            reason
                .lines()
                .map(|line| Html::element("p", sentence(line.trim())))
                .collect(),
        )),
    }
    // Else it would come back as something else.
    if [Standing::Refused, Standing::Failed].contains(&standing(found)) && typed.chars().all(is_plain) {
        main.push(ready_form(session, typed, "Look it up again"));
    }
    Reply::page(status, frame(title, Some(session), main))
}

/// A part of the page, with its heading and what leads to it.
struct Part {
    id: &'static str,
    heading: &'static str,
    content: Html,
}

fn explained(it: &Explanation, records: Option<Html>) -> Html {
    let mut parts = Vec::new();
    let mut add = |id, heading, content| parts.push(Part { id, heading, content });
    if let Some(newest) = it.operations.first() {
        let heading = match it.verdict {
            Verdict::Found => "Value",
            Verdict::SemiExpired | Verdict::Unconfirmed { .. } => "Value that is not served",
            _ => "Value that it had",
        };
        add("value", heading, value(&newest.value.0));
        if let Some(records) = records {
            add("records", "DNS records", records);
        }
        add("updates", "Updates, newest first", operations(it));
        add("block", "Place in its block", place(newest));
        if let Some(work) = &it.work {
            add("work", "Work", work_of(newest, work));
        }
    }
    add("servers", "Servers that were asked", servers(&it.servers));
    add("unproved", "What nobody proved", caveats(it));
    let mut all = verdict_of(it);
    let links = parts.iter().map(|part| {
        let link = Html::with("a", &[("href", &format!("#{}", part.id))], part.heading);
        Html::element("li", link)
    });
    let links = Html::element("ul", links.collect::<Html>());
    all.push(Html::with("nav", &[("aria-label", "On this page")], links));
    for Part { id, heading, content } in parts {
        let heading = Html::with("h2", &[("id", id)], heading);
        all.push(Html::with("section", &[("aria-labelledby", id)], [heading, content]));
    }
    all
}

fn verdict_of(it: &Explanation) -> Html {
    let (left, over) = it
        .term
        .map_or((0, 0), |term| (term.expires_in, term.expires_in.saturating_neg()));
    let (class, sign, heading, said) = match &it.verdict {
        Verdict::Found => (
            "proved",
            "\u{2713}",
            "Proved: this is its value",
            format!("It expires in {}.", Term::blocks(left)),
        ),
        Verdict::Expired => (
            "absent",
            "\u{2717}",
            "No value: it has expired",
            format!("It did {} ago. Whoever held it does not any more.", Term::blocks(over)),
        ),
        Verdict::SemiExpired => (
            "absent",
            "\u{2717}",
            "No value: it is about to expire",
            format!(
                "It expires in {}, and should have been renewed: what is below is not served.",
                Term::blocks(left)
            ),
        ),
        Verdict::Unconfirmed { got, expected } => (
            "absent",
            "\u{2717}",
            "No value yet: its registration is too young",
            format!("It has {got} of {expected} confirmations. What is below is not served yet."),
        ),
        Verdict::PurportedlyExpired { height } => (
            "absent",
            "?",
            "No value, servers say",
            format!("They say that it was last updated in block {height}, long ago. That is not proved."),
        ),
        Verdict::PurportedlyAbsent => (
            "absent",
            "?",
            "No value, servers say",
            "They say that it never existed. That can't be proved.".to_owned(),
        ),
        Verdict::ProvedAbsent { from } => (
            "absent",
            "\u{2717}",
            "No value",
            format!(
                "It never existed, or has expired: no block since block {from} has it, and all of them were read. That is proved."
            ),
        ),
        Verdict::Refused { reason } => (
            "refused",
            "\u{2717}",
            "Refused: no answer holds",
            format!("{} Nothing that servers said is shown as its value.", sentence(reason)),
        ),
    };
    verdict(class, sign, heading, Html::element("p", said))
}

fn value(bytes: &[u8]) -> Html {
    let mut all = Html::with("div", &[("class", "value")], shown_bytes(bytes));
    let (length, kind) = (
        bytes.len(),
        if std::str::from_utf8(bytes).is_ok() {
            ""
        } else {
            ", which are no text"
        },
    );
    let note = format!(
        "{length} bytes{kind}. Characters that would not be seen, or would move others, are shown by their numbers."
    );
    all.push(Html::with("p", &[("class", "quiet")], note));
    all
}

fn records_of(session: &str, number: u64, records: &Records) -> Html {
    let mut all = Html::element(
        "p",
        [Html::text("At "), shown(&records.domain), Html::text(" and below it.")],
    );
    let list = |lines: &[String]| {
        let items = lines.iter().map(|line| Html::element("li", shown(line)));
        Html::element("ul", items.collect::<Html>())
    };
    if records.lines.is_empty() {
        all.push(Html::element("p", "There are none."));
    } else {
        all.push(list(&records.lines));
    }
    if !records.keys.is_empty() {
        all.push(Html::element("h3", "Keys that its sites show (TLSA)"));
        all.push(list(&records.keys));
        all.push(checks(session, number, &records.sites));
    }
    if !records.problems.is_empty() {
        all.push(Html::element("h3", "What gives none"));
        all.push(list(&records.problems));
    }
    all
}

/// Offers to check sites. None is connected to before that is asked for.
fn checks(session: &str, number: u64, sites: &[Site]) -> Html {
    if sites.is_empty() {
        let note = "They are about no site that could be checked here: `isonym tls verify` judges one by these.";
        return Html::with("p", &[("class", "quiet")], note);
    }
    let note = "A check connects to the site, by a connection of its own, and asks it for nothing. The site sees that somebody looks \
         at its certificate. Nothing is connected to before you press a button.";
    let buttons = sites.iter().enumerate().map(|(place, site)| {
        let words = format!("Check the certificate of {site}");
        check_form(session, number, place, &words)
    });
    [Html::with("p", &[("class", "quiet screen")], note)]
        .into_iter()
        .chain(buttons)
        .collect()
}

fn operations(it: &Explanation) -> Html {
    let items = it.operations.iter().map(|operation| {
        let kind = if operation.registers { "Registration" } else { "Update" };
        let block = &operation.block;
        let heading = format!("{kind} in block {}", block.height);
        let rows = [
            ("Time", Html::of(Timestamp(block.time))),
            ("Confirmations", Html::of(block.confirmations)),
            ("Transaction", code(&operation.txid)),
            ("Output", Html::of(operation.vout)),
            ("Held from here on by", shown(&operation.address)),
            ("Value", shown_bytes(&operation.value.0)),
        ];
        Html::element("li", [Html::element("h3", heading), terms(rows)])
    });
    let mut all = Html::element("ol", items.collect::<Html>());
    all.push(Html::element("p", it.reached_line()));
    all
}

fn place(newest: &Operation) -> Html {
    let block = &newest.block;
    let mut all = terms([
        ("Transaction", code(&newest.txid)),
        (
            "Place",
            Html::of(format_args!("{} of the block, counted from 0", newest.position)),
        ),
        ("Merkle root", code(&block.merkle_root)),
        ("Block", Html::of(block.height)),
        ("Hash", code(&block.hash)),
        ("Time", Html::of(Timestamp(block.time))),
        ("Confirmations", Html::of(block.confirmations)),
    ]);
    all.push(Html::element("h3", "Merkle branch"));
    all.push(branch(
        &newest.merkle,
        newest.position.into(),
        "The transaction is the only one of its block.",
    ));
    all
}

/// Shows a branch from a leaf to a root: what it is hashed with at each step, and on which side that is.
fn branch(hashes: &[String], mut index: u64, without: &'static str) -> Html {
    if hashes.is_empty() {
        return Html::element("p", without);
    }
    let steps = "What each step comes to is hashed with the next of these, which is on this side of it.";
    let items = hashes.iter().map(|hash| {
        let side = if index & 1 == 0 { "right" } else { "left" };
        index >>= 1;
        Html::element("li", [Html::of(format_args!("{side}: ")), code(hash)])
    });
    let items = Html::element("ol", items.collect::<Html>());
    [Html::with("p", &[("class", "quiet")], steps), items].into()
}

fn work_of(newest: &Operation, work: &WorkEvidence) -> Html {
    let above = match work.above {
        Some(above) => format!("{} hashes, on average", WorkEvidence::power(above)),
        None => "not known so far below the trusted block".to_owned(),
    };
    let mut all = terms([
        ("Of the blocks above", Html::text(&above)),
        (
            "Of its own block",
            Html::of(format_args!("{} hashes, on average", WorkEvidence::power(work.own))),
        ),
    ]);
    all.push(Html::element("h3", "Where its block's work was done"));
    match &work.auxpow {
        AuxPowEvidence::OwnWork => all.push(Html::element("p", "At the block itself, which is not merge-mined.")),
        AuxPowEvidence::NotShown { reason } => {
            all.push(Html::element("p", format!("It is not shown: {}", sentence(reason))));
        }
        AuxPowEvidence::Parent {
            hash,
            time,
            coinbase,
            coinbase_branch,
            chain_branch,
            chain_index,
        } => {
            all.push(Html::element(
                "p",
                "At a block of another chain, its parent, whose coinbase transaction commits to this block (AuxPoW). It was checked.",
            ));
            all.push(terms([
                ("Our block", code(&newest.block.hash)),
                ("Its place in the tree of chains", Html::of(chain_index)),
                ("Coinbase", code(coinbase)),
                ("Parent block", code(hash)),
                ("Its time", Html::of(Timestamp(*time))),
            ]));
            all.push(Html::element("h3", "From our block to the root in the coinbase"));
            let index = u64::try_from(*chain_index).unwrap_or(0);
            all.push(branch(chain_branch, index, "Our block's hash is that root."));
            all.push(Html::element(
                "h3",
                "From the coinbase to the parent block's merkle root",
            ));
            all.push(branch(
                coinbase_branch,
                0,
                "The coinbase is the only transaction of the parent block.",
            ));
        }
    }
    all
}

fn servers(accounts: &[ServerAccount]) -> Html {
    if accounts.is_empty() {
        return Html::element("p", "None.");
    }
    let items = accounts.iter().map(|account| {
        let server = match &account.server {
            Some(server) => shown(server),
            None => Html::text("No connection"),
        };
        let said = match &account.said {
            Said::Proved { height } => Html::of(format_args!(": proved the update in block {height}")),
            Said::Denied => Html::text(": knows no value"),
            Said::Refused { reason } => Html::from([
                Html::text(": "),
                Html::element("strong", [Html::fixed("\u{2717} "), Html::text("REFUSED")]),
                Html::of(format_args!(": {}", sentence(reason))),
            ]),
            Said::Failed { reason } => Html::of(format_args!(": gave no answer: {}", sentence(reason))),
            Said::NotWaitedFor => Html::text(": was not waited for"),
        };
        Html::element("li", [server, said])
    });
    Html::element("ol", items.collect::<Html>())
}

fn caveats(it: &Explanation) -> Html {
    let tip = &it.tip;
    let mut all = Html::element(
        "p",
        format!("Ages are counted from block {} of {}.", tip.height, Timestamp(tip.time)),
    );
    let given = format!(
        "That the chain up to block {} is Namecoin's is given, and not proved.",
        it.anchor_height
    );
    let items = it.caveats.iter().map(ToString::to_string).chain([given]);
    let items = items.map(|caveat| Html::element("li", caveat));
    all.push(Html::element("ul", items.collect::<Html>()));
    all
}

fn code(text: &str) -> Html {
    Html::element("code", text)
}
