//! Sockets that a service manager opened for us, in place of ports that we open ourselves.
//!
//! Source: systemd, `sd_listen_fds(3)` and `FileDescriptorName=` in `systemd.socket(5)`.

use std::env;

use anyhow::{Context, Result, bail, ensure};
use isonym::dns::server::Socket;
use listenfd::ListenFd;
use tokio::net::TcpListener;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Rpc,
    Dns,
    Socks,
}

impl Front {
    /// All of them, each with the name by which a socket is for it.
    const ALL: [(&'static str, Self); 3] = [("rpc", Self::Rpc), ("dns", Self::Dns), ("socks", Self::Socks)];
}

/// Sockets that were handed over. Where there is one for a front, that listens there and nowhere else.
#[derive(Debug, Default)]
pub(super) struct Handed {
    pub(super) rpc: Option<TcpListener>,
    pub(super) dns: Vec<Socket>,
    pub(super) socks: Vec<TcpListener>,
}

impl Handed {
    /// Takes those that are there, for a command with this front alone, or one for which each socket has to be named.
    /// It changes the environment, so that it is to be called before there are other threads.
    pub(super) fn take(only: Option<Front>) -> Result<Self> {
        let mut handed = Self::default();
        // What has no process is not for us: it was left in the environment by somebody else.
        if env::var_os("LISTEN_PID").is_none() {
            return Ok(handed);
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut sockets = ListenFd::from_env();
        for at in 0..sockets.len() {
            let name = names.get(at).copied().unwrap_or_default();
            handed
                .add(&mut sockets, at, name, only)
                .with_context(|| format!("cannot use socket {name:?} of the service manager (number {at})"))?;
        }
        Ok(handed)
    }

    fn add(&mut self, sockets: &mut ListenFd, at: usize, name: &str, only: Option<Front>) -> Result<()> {
        let named = Front::ALL.into_iter().find(|(word, _)| *word == name);
        let front = match (named, only) {
            (Some((_, front)), None) => front,
            (Some((_, front)), Some(only)) => {
                ensure!(front == only, "this command does not serve that");
                front
            }
            (None, Some(only)) => only,
            (None, None) => bail!("name it rpc, dns or socks, by FileDescriptorName= in its unit"),
        };
        if front == Front::Dns
            && let Ok(Some(udp)) = sockets.take_udp_socket(at)
        {
            self.dns.push(Socket::of_udp(udp)?);
            return Ok(());
        }
        let listener = sockets.take_tcp_listener(at)?.context("it was taken already")?;
        if front == Front::Dns {
            self.dns.push(Socket::of_tcp(listener)?);
            return Ok(());
        }
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        if front == Front::Socks {
            self.socks.push(listener);
            return Ok(());
        }
        ensure!(self.rpc.is_none(), "one is there for rpc already");
        self.rpc = Some(listener);
        Ok(())
    }
}
