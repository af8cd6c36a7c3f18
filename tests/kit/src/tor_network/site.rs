//! A web site that says which one it is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is at which path.
type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// It is there until this is dropped.
pub struct Site {
    pub address: SocketAddr,
    /// All that it says.
    pub text: String,
    files: Files,
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
        let files = Files::default();
        let (page, all) = (text.clone(), Arc::clone(&files));
        let site = Router::new().fallback(async move |uri: Uri| {
            let files = all.lock().unwrap();
            match files.get(uri.path()) {
                Some(file) => Html(file.clone()).into_response(),
                None if files.is_empty() => page.into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });
        Self {
            address,
            text,
            files,
            serving,
        }
    }

    /// Has a file at a path; from then on there is nothing at others.
    pub fn publish(&self, path: &str, file: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), file);
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}
