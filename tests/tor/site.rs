//! A web site that says which one it is.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// It is there until this is dropped.
pub struct Site {
    pub address: SocketAddr,
    /// All that it says.
    pub text: String,
    serving: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Site {
    pub async fn start(name: &str) -> Self {
        Self::of(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), name)
    }

    /// Serves what comes here.
    pub fn of(listener: TcpListener, name: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let text = format!("this is the {name} site");
        let page = text.clone();
        let site = Router::new().fallback(async || page);
        let serving = tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });
        Self { address, text, serving }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}
