//! Trust anchors: a new one from the own chain, and what servers say of one.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde_json::json;

use isonym::chain::{Anchor, Height};
use isonym::node::AnchorExportError;

use super::args::AnchorCommand;
use super::eprint_line;
use super::session::{Session, ask};
use super::show::print;
use crate::config::Settings;

/// Servers that must agree where as many can be reached.
const ENOUGH: usize = 2;

/// Runs one of the commands on anchors.
pub(super) async fn run(settings: &Settings, command: &AnchorCommand, quiet: bool) -> Result<ExitCode> {
    match command {
        AnchorCommand::Export { depth } => export(settings, *depth, quiet).await,
        AnchorCommand::Check { candidate } => {
            let anchor = match candidate {
                Some(text) if text.contains(':') => text.parse().with_context(|| format!("anchor {text}"))?,
                Some(path) => read(Path::new(path)).with_context(|| format!("in the anchor file {path}"))?,
                None => settings.anchor,
            };
            check(settings, &anchor, quiet).await
        }
    }
}

fn read(path: &Path) -> Result<Anchor> {
    let mut text = String::new();
    let most = u64::try_from(Anchor::MAX_TOML_LEN)?;
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    Ok(Anchor::parse_toml(&text)?)
}

async fn export(settings: &Settings, depth: Height, quiet: bool) -> Result<ExitCode> {
    let text = match Session::open(settings, quiet).await? {
        Session::Own(node) => node.export_anchor(depth).map_err(|error| {
            let advice = match error {
                AnchorExportError::NoHeaders => "; run `isonym sync --verification full` first",
                AnchorExportError::Unproved { .. } => {
                    "; run `isonym sync --verification full` with an empty --datadir DIR, or let a daemon prove the rest, \
                     and export from there"
                }
                AnchorExportError::TooDeep { .. } => "; give a smaller --depth",
                _ => "",
            };
            anyhow!("{error}{advice}")
        })?,
        Session::Daemon(client) => ask::<String>(&client, "anchor_export", &json!([depth])).await??,
    };
    print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// What one server says of a block.
struct Opinion {
    server: String,
    hash: Result<String, String>,
}

async fn opinions(settings: &Settings, height: Height, quiet: bool) -> Result<Vec<Opinion>> {
    match Session::open(settings, quiet).await? {
        Session::Own(mut node) => {
            ensure!(
                !node.servers().is_empty(),
                "no server is known for {}; name one with --server HOST:PORT",
                settings.network
            );
            let opinions = node.ask_all(height).await;
            let shown = opinions.into_iter().map(|opinion| Opinion {
                server: opinion.server.to_string(),
                hash: opinion
                    .hash
                    .map(|hash| hash.to_string())
                    .map_err(|error| error.to_string()),
            });
            Ok(shown.collect())
        }
        Session::Daemon(client) => {
            #[derive(Deserialize)]
            struct Member {
                server: String,
                hash: Option<String>,
                error: Option<String>,
            }
            let members: Vec<Member> = ask(&client, "anchor_check", &json!([height])).await??;
            let opinions = members.into_iter().map(|member| Opinion {
                server: member.server,
                hash: member.hash.ok_or(member.error.unwrap_or_default()),
            });
            Ok(opinions.collect())
        }
    }
}

async fn check(settings: &Settings, anchor: &Anchor, quiet: bool) -> Result<ExitCode> {
    let opinions = opinions(settings, anchor.height, quiet).await?;
    let ours = anchor.hash.to_string();
    let mut lines = vec![format!("anchor  {} {ours}", anchor.height)];
    let (mut agree, mut differ) = (0, 0);
    for opinion in &opinions {
        let says = match &opinion.hash {
            Ok(hash) if *hash == ours => {
                agree += 1;
                "has this block".to_owned()
            }
            Ok(hash) => {
                differ += 1;
                format!("has another block: {hash}")
            }
            Err(reason) => format!("did not tell: {reason}"),
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
    eprint_line(format_args!("{verdict}"));
    Ok(ExitCode::FAILURE)
}
