//! Trust anchors: a new one from the own chain, and what servers say of one.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use isonym::chain::Anchor;

use super::args::AnchorCommand;
use super::say;
use super::show::{open, print};
use crate::config::Settings;

/// Servers that must agree where as many can be reached.
const ENOUGH: usize = 2;

/// Runs one of the commands on anchors.
pub(super) async fn run(settings: &Settings, command: &AnchorCommand) -> Result<ExitCode> {
    match command {
        AnchorCommand::Export { depth } => export(settings, *depth),
        AnchorCommand::Check { candidate } => {
            let anchor = match candidate {
                Some(text) if text.contains(':') => text.parse().with_context(|| format!("anchor {text}"))?,
                Some(path) => read(Path::new(path)).with_context(|| format!("in the anchor file {path}"))?,
                None => settings.anchor,
            };
            check(settings, &anchor).await
        }
    }
}

fn read(path: &Path) -> Result<Anchor> {
    let mut text = String::new();
    let most = u64::try_from(Anchor::MAX_TOML_LEN)?;
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    Ok(Anchor::parse_toml(&text)?)
}

fn export(settings: &Settings, depth: u32) -> Result<ExitCode> {
    let node = open(settings)?;
    let tree = node.tree();
    let tip = tree.tip();
    ensure!(
        tree.lowest().is_some() && tip.height > tree.anchor().height,
        "no headers above the anchor are known; run `isonym sync --verification full` first"
    );
    // Others will take on trust what this writes: a sample is enough for oneself only.
    ensure!(
        tree.unproved() == 0,
        "{} headers were taken on the strength of a sample; run `isonym sync --verification full` with an empty \
         --datadir DIR, or let a daemon prove the rest, and export from there",
        tree.unproved()
    );
    let height = tip
        .height
        .checked_sub(depth)
        .filter(|height| *height > tree.anchor().height);
    let Some(height) = height else {
        bail!(
            "a block {depth} deep is not above the anchor at height {}; give a smaller --depth",
            tree.anchor().height
        );
    };
    let hash = tree.hash_at(height).context("the chain has a hole")?;
    let known = tree.anchor().chainwork.is_some();
    let anchor = Anchor {
        height,
        hash,
        chainwork: tree.chainwork_at(height).filter(|_| known),
    };
    let source = format!(
        "isonym {}, every header verified from block {} on, when the tip was at {}",
        env!("CARGO_PKG_VERSION"),
        tree.anchor().height,
        tip.height
    );
    print(anchor.to_toml(&source)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

async fn check(settings: &Settings, anchor: &Anchor) -> Result<ExitCode> {
    let mut node = open(settings)?;
    ensure!(
        !node.servers().is_empty(),
        "no server is known for {}; name one with --server HOST:PORT",
        settings.network
    );
    let opinions = node.ask_all(anchor.height).await;
    let mut lines = vec![format!("anchor  {} {}", anchor.height, anchor.hash)];
    let (mut agree, mut differ) = (0, 0);
    for opinion in &opinions {
        let says = match &opinion.hash {
            Ok(hash) if *hash == anchor.hash => {
                agree += 1;
                "has this block".to_owned()
            }
            Ok(hash) => {
                differ += 1;
                format!("has another block: {hash}")
            }
            Err(error) => format!("did not tell: {error}"),
        };
        lines.push(format!("server  {}: {says}", opinion.server));
    }
    print(&lines.join("\n"))?;
    let enough = agree >= ENOUGH.min(opinions.len());
    if differ == 0 && enough {
        return Ok(ExitCode::SUCCESS);
    }
    let verdict = match (agree, differ) {
        (_, 1..) => "servers have another block there: do not trust this anchor before you know why",
        _ => "too few servers told which block they have; try again, or name others with --server HOST:PORT",
    };
    say(format_args!("{verdict}"));
    Ok(ExitCode::FAILURE)
}
