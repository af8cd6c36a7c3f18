//! OpenSSL's server.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use isonym_fixtures::certificates::Holder;
use isonym_testkit::loopback::own_address;
use tempfile::TempDir;

/// It serves until it is dropped.
pub struct OpenSsl {
    pub address: SocketAddr,
    child: Child,
    _home: TempDir,
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OpenSsl {
    /// Shows a certificate and one behind it, in a version of TLS.
    pub fn start(leaf: &Holder, above: &Holder, version: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("leaf.pem"), leaf.certificate.pem()).unwrap();
        std::fs::write(path("above.pem"), above.certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), leaf.key.serialize_pem()).unwrap();
        let mut child = Command::new("openssl")
            .args(["s_server", "-www", version, "-accept"])
            .arg(format!("{}:0", own_address()))
            .arg("-cert")
            .arg(path("leaf.pem"))
            .arg("-cert_chain")
            .arg(path("above.pem"))
            .arg("-key")
            .arg(path("key.pem"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|_| panic!("there is no openssl: tests/install installs it"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It tells its port in place of the one that it was to choose.
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok());
        Self {
            address: address.expect("it listens"),
            child,
            _home: home,
        }
    }
}
