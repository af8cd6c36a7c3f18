//! SOCKS5 byte by byte, and a page by HTTP behind it: what a proxy says, unadorned.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const CONNECT: u8 = 1;
pub const RESOLVE: u8 = 0xf0;

/// The reply of a proxy that could do what it was asked.
pub const GRANTED: u8 = 0;

/// What Tor says of a name that can't be resolved.
pub const UNREACHABLE: u8 = 4;

/// A connection to a proxy, which has replied.
pub struct Raw {
    pub reply: u8,
    /// The address in the reply.
    pub address: Option<IpAddr>,
    stream: TcpStream,
}

/// Who asks.
pub type Credentials<'a> = Option<(&'a str, &'a str)>;

impl Raw {
    /// Asks a proxy and waits for its reply; an error when it closes without one.
    pub async fn ask(proxy: u16, who: Credentials<'_>, command: u8, host: &str, port: u16) -> io::Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy)).await?;
        stream.set_nodelay(true)?;
        let method = if who.is_some() { 2 } else { 0 };
        stream.write_all(&[5, 1, method]).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        assert_eq!(chosen, [5, method]);
        if let Some((user, password)) = who {
            let login = [&[1][..], &counted(user), &counted(password)].concat();
            stream.write_all(&login).await?;
            let mut taken = [0; 2];
            stream.read_exact(&mut taken).await?;
            assert_eq!(taken, [1, 0]);
        }
        let request = [&[5, command, 0, 3][..], &counted(host), &port.to_be_bytes()].concat();
        stream.write_all(&request).await?;
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let address: Option<IpAddr> = match head[3] {
            1 => Some(Ipv4Addr::from_bits(stream.read_u32().await?).into()),
            4 => Some(Ipv6Addr::from_bits(stream.read_u128().await?).into()),
            _ => {
                let length = stream.read_u8().await?;
                stream.read_exact(&mut vec![0; length.into()]).await?;
                None
            }
        };
        stream.read_u16().await?;
        Ok(Self {
            reply: head[1],
            address,
            stream,
        })
    }

    /// Fetches a page; returns all that comes.
    pub async fn page(mut self) -> io::Result<String> {
        self.stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        self.stream.read_to_string(&mut page).await?;
        Ok(page)
    }
}

/// Fetches a page by a proxy; returns all that comes.
pub async fn fetch(proxy: u16, who: Credentials<'_>, host: &str, port: u16) -> io::Result<String> {
    let raw = Raw::ask(proxy, who, CONNECT, host, port).await?;
    match raw.reply {
        GRANTED => raw.page().await,
        reply => Err(io::Error::other(format!("reply {reply}"))),
    }
}

fn counted(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    [&[length], text.as_bytes()].concat()
}
