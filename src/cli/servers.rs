//! The servers that are known, and what the user says of those that were learned of.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;

use isonym::jsonrpc::client::without_login;
use isonym::net::ServerAddr;
use isonym::node::{ListedServer, ServerClass, ServerUse};

use super::args::{ServersArgs, ServersCommand};
use super::session::{Session, ask};
use super::show::{print, print_json};
use crate::config::Settings;

/// Runs `isonym servers`.
pub(super) async fn run(settings: &Settings, args: &ServersArgs, quiet: bool) -> Result<ExitCode> {
    let session = Session::open(settings, quiet).await?;
    match &args.command {
        None => {
            let servers: Vec<ListedServer> = match session {
                Session::Own(node) => node.server_list(),
                Session::Daemon(client) => ask(&client, "server_list", &json!([])).await??,
            };
            if args.json {
                print_json(&servers)?;
            } else {
                print(&servers.iter().map(line).collect::<Vec<_>>().join("\n"))?;
            }
        }
        Some(ServersCommand::Accept { address: text }) => {
            let address = address(text)?;
            match session {
                Session::Own(mut node) => node.accept_server(&address)?,
                Session::Daemon(client) => ask(&client, "server_accept", &json!([address.to_string()])).await??,
            }
        }
        Some(ServersCommand::Forget { address: text }) => {
            let address = address(text)?;
            match session {
                Session::Own(mut node) => node.forget_server(&address)?,
                Session::Daemon(client) => ask(&client, "server_forget", &json!([address.to_string()])).await??,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn address(text: &str) -> Result<ServerAddr> {
    text.parse().with_context(|| format!("`{}`", without_login(text)))
}

fn line(server: &ListedServer) -> String {
    let class = match server.class {
        ServerClass::Configured => "configured",
        ServerClass::Shipped => "shipped",
        ServerClass::Accepted => "accepted",
        ServerClass::Corroborated => "corroborated",
        ServerClass::Suggested => "suggested",
    };
    let used = match server.used_for {
        ServerUse::All => "used",
        ServerUse::HeaderSync => "used by header sync alone",
        ServerUse::Unchecked => "not used before it was checked",
        ServerUse::None => "never dialed",
    };
    let health = server.good_days.map_or(String::new(), |days| {
        let last = server.last_good_days_ago.map(|ago| format!(", last {ago} days ago"));
        format!(", good on {days} days{}", last.unwrap_or_default())
    });
    format!("{class:<13} {}  {used}{health}", server.address)
}
