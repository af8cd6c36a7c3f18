//! The daemon's page: where it listens, and the address that opens it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use isonym::dns::engine;
use isonym::node::Handle;
use isonym::service::NameService;
use isonym::web::server::Web;
use isonym::web::sessions::Secret;

use super::daemon::{callable, write_anew};
use super::eprint_line;

/// The file in the data folder that has the address of the page, with its token.
const ADDRESS_FILE: &str = ".web-address";

/// A page that has its port, but serves nobody yet.
pub(super) struct WebServer {
    listener: TcpListener,
    token: Secret,
    /// Where its address stands for its user.
    file: Option<AddressFile>,
}

impl WebServer {
    /// Opens the port; `None` when there is nowhere to listen.
    pub(super) async fn open(listen: Option<SocketAddr>) -> Result<Option<Self>> {
        let Some(listen) = listen else { return Ok(None) };
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "cannot listen on {listen}: another program may use the port; choose one with --web-listen ADDR:PORT"
            )
        })?;
        Ok(Some(Self {
            listener,
            token: Secret::new(rand::random()),
            file: None,
        }))
    }

    /// Says where it is, here and in the data folder.
    pub(super) fn announce(server: Option<Self>, folder: &Path, quiet: bool) -> Result<Option<Self>> {
        let path = folder.join(ADDRESS_FILE);
        let Some(mut server) = server else {
            // One that was killed may have left it, and it leads nowhere.
            let _ = fs::remove_file(path);
            return Ok(None);
        };
        let listens = server.listener.local_addr()?;
        if !listens.ip().is_loopback() {
            tracing::warn!("the page is shown on {listens}, beyond this machine, without encryption");
        }
        let address = format!("http://{}/?token={}", callable(listens), server.token.digits());
        match write_anew(&path, &address) {
            Ok(()) => server.file = Some(AddressFile(path)),
            Err(error) => {
                tracing::warn!(
                    "the address of the page cannot be written to {}: {error}",
                    path.display()
                );
                // Better none than half of one.
                let _ = fs::remove_file(path);
            }
        }
        if !quiet {
            eprint_line(format_args!("the page with proofs opens by {address}"));
        }
        Ok(Some(server))
    }

    /// Serves whoever asks; never returns.
    pub(super) async fn serve(self, names: &NameService, node: Handle, engine: engine::Settings) {
        let _there_meanwhile = self.file;
        Web::new(names, node, engine, self.token).serve(self.listener).await;
    }
}

/// A file that is gone when it is dropped.
struct AddressFile(PathBuf);

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}
