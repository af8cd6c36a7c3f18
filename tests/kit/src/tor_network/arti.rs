//! An Arti that others use as a proxy: a program of its own, as the C Tor is.

use std::fs;
use std::path::Path;

use super::process::{Process, free_port, make_folder, run};

/// An Arti that listens for SOCKS.
pub struct Arti {
    pub socks: u16,
    _process: Process,
}

impl Arti {
    /// Says whether there is an Arti on this machine.
    pub fn is_there() -> bool {
        run("arti", &["--version"], b"").is_ok()
    }

    /// Starts one in this folder, which finds its network by these settings.
    pub fn start(folder: &Path, network: &str) -> Result<Self, String> {
        let socks = free_port();
        let settings = format!(
            "{network}
[application]
allow_running_as_root = true
[proxy]
socks_listen = \"127.0.0.1:{socks}\"
[storage]
cache_dir = \"{folder}/cache\"
state_dir = \"{folder}/state\"
",
            folder = folder.display(),
        );
        let file = folder.join("arti.toml");
        let write = || {
            make_folder(folder)?;
            fs::write(&file, settings)
        };
        write().map_err(|error| format!("can't start arti: {error}"))?;
        let process = Process::keep(folder, "arti", &["--config", &file.display().to_string(), "proxy"])?;
        Ok(Self {
            socks,
            _process: process,
        })
    }

    /// Returns its address, as an argument of the program.
    pub fn proxy(&self) -> String {
        format!("--proxy=socks5://127.0.0.1:{}", self.socks)
    }
}
