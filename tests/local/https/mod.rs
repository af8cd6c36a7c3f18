//! `isonym tls`: sites that are who their names say, and others; what can be pinned of them; and which way it all goes.

mod isolation;
mod page;
mod pin;
mod verify;

use isonym_fixtures::certificates::Signer;
use isonym_testkit::backend::{Backend, Says};
use isonym_testkit::harness::end_of;
use isonym_testkit::https::Site;
use isonym_testkit::program::{End, Program};
use serde_json::Value;

/// The name that is asked for, its domain and a host of it.
const NAME: &str = "d/marker-of-the-name";
const HOST: &str = "marker-of-the-name.bit";

/// A site, and a server that says of its name what a test wants.
struct Scene {
    program: Program,
    backend: Backend,
    site: Site,
}

impl Scene {
    async fn of(site: Site, records: &[Value]) -> Self {
        let backend = Backend::start().await;
        backend.say(NAME, Says::value(&site.value(records)));
        Self {
            program: Program::new(),
            backend,
            site,
        }
    }

    /// Runs `isonym tls` for the host at the port of the site.
    async fn run(&self, words: &[&str]) -> End {
        self.run_for(HOST, words).await
    }

    async fn run_for(&self, host: &str, words: &[&str]) -> End {
        let mut command = self.program.direct();
        let url = format!("--rpc-url=http://{}", self.backend.address);
        let site = format!("{host}:{}", self.site.address.port());
        command.arg("tls").args(words).args([site, url]);
        end_of(command).await
    }
}

/// A site whose certificate its owner's authority signed.
async fn certified(signer: &Signer) -> Site {
    Site::start(&[&signer.site(&[HOST]), &signer.holder]).await
}
