//! A stand-in for Tor's SOCKS port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A connection that came, and what was said on it up to the request's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub from: IpAddr,
    pub bytes: Vec<u8>,
    pub command: u8,
    /// As it was written, without brackets.
    pub host: String,
    pub port: u16,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
}

#[derive(Default)]
struct Desk {
    asked: Vec<Asked>,
    /// What hosts are answered with, where it is not success.
    codes: BTreeMap<String, u8>,
}

/// It listens until it is dropped, and then sees to it that no name of ours came.
///
/// Who asks for port 80 is connected to a web server, who asks for port 7 to an echo that greets first.
pub struct Tor {
    pub address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    task: JoinHandle<()>,
}

impl Tor {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Mutex::new(Desk::default()));
        let shared = Arc::clone(&desk);
        let task = tokio::spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((stream, from)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let desk = Arc::clone(&shared);
                streams.spawn(async move { serve(stream, from.ip(), &desk).await });
            }
        });
        Self { address, desk, task }
    }

    pub fn refuse(&self, host: &str, code: u8) {
        self.desk.lock().unwrap().codes.insert(host.to_owned(), code);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.desk.lock().unwrap().asked.clone()
    }

    /// The only one that came since the last call.
    #[track_caller]
    pub fn one(&self) -> Asked {
        let mut asked = std::mem::take(&mut self.desk.lock().unwrap().asked);
        assert_eq!(asked.len(), 1, "{asked:?}");
        let one = asked.remove(0);
        assert_no_name_of_ours(&one);
        one
    }

    #[track_caller]
    pub fn assert_unasked(&self) {
        assert_eq!(self.asked(), []);
    }
}

fn assert_no_name_of_ours(asked: &Asked) {
    let host = asked.host.to_lowercase();
    let labels: Vec<_> = host.trim_end_matches('.').rsplit('.').collect();
    let ours = matches!(labels[..], ["bit", ..] | ["onion", "bit", ..]);
    assert!(!ours, "{host} came to Tor");
}

impl Drop for Tor {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.asked().iter().for_each(assert_no_name_of_ours);
        }
    }
}

/// Reads bytes and keeps them.
async fn take(stream: &mut TcpStream, count: usize, seen: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await?;
    seen.extend(&bytes);
    Ok(bytes)
}

async fn take_text(stream: &mut TcpStream, seen: &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        match take(stream, 1, seen).await?[0] {
            0 => return Ok(text),
            byte => text.push(byte),
        }
    }
}

async fn socks4(stream: &mut TcpStream, from: IpAddr, mut seen: Vec<u8>) -> std::io::Result<Asked> {
    let head = take(stream, 7, &mut seen).await?;
    let user = take_text(stream, &mut seen).await?;
    let host = match head[3..] {
        [0, 0, 0, last] if last != 0 => String::from_utf8(take_text(stream, &mut seen).await?).unwrap(),
        [a, b, c, d] => IpAddr::from([a, b, c, d]).to_string(),
        _ => unreachable!(),
    };
    Ok(Asked {
        from,
        bytes: seen,
        command: head[0],
        host,
        port: u16::from_be_bytes([head[1], head[2]]),
        user: Some(user).filter(|user| !user.is_empty()),
        password: None,
    })
}

async fn socks5(stream: &mut TcpStream, from: IpAddr, mut seen: Vec<u8>) -> std::io::Result<Asked> {
    let count = take(stream, 1, &mut seen).await?[0];
    let methods = take(stream, count.into(), &mut seen).await?;
    let (mut user, mut password) = (None, None);
    if methods.contains(&2) {
        stream.write_all(&[5, 2]).await?;
        let length = take(stream, 2, &mut seen).await?[1];
        user = Some(take(stream, length.into(), &mut seen).await?);
        let length = take(stream, 1, &mut seen).await?[0];
        password = Some(take(stream, length.into(), &mut seen).await?);
        stream.write_all(&[1, 0]).await?;
    } else {
        stream.write_all(&[5, 0]).await?;
    }
    let head = take(stream, 4, &mut seen).await?;
    let host = match head[3] {
        1 => {
            let bytes: [u8; 4] = take(stream, 4, &mut seen).await?.try_into().unwrap();
            IpAddr::from(bytes).to_string()
        }
        4 => {
            let bytes: [u8; 16] = take(stream, 16, &mut seen).await?.try_into().unwrap();
            IpAddr::from(bytes).to_string()
        }
        _ => {
            let length = take(stream, 1, &mut seen).await?[0];
            String::from_utf8(take(stream, length.into(), &mut seen).await?).unwrap()
        }
    };
    let port = take(stream, 2, &mut seen).await?;
    Ok(Asked {
        from,
        bytes: seen,
        command: head[1],
        host,
        port: u16::from_be_bytes([port[0], port[1]]),
        user,
        password,
    })
}

async fn serve(mut stream: TcpStream, from: IpAddr, desk: &Mutex<Desk>) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let version = take(&mut stream, 1, &mut seen).await?[0];
    let asked = match version {
        4 => socks4(&mut stream, from, seen).await?,
        _ => socks5(&mut stream, from, seen).await?,
    };
    let code = {
        let mut desk = desk.lock().unwrap();
        desk.asked.push(asked.clone());
        desk.codes.get(&asked.host).copied().unwrap_or(0)
    };
    let answer: &[u8] = match asked.command {
        0xf0 => &[1, 192, 0, 2, 99],
        0xf1 => b"\x03\x0bexample.org",
        _ => &[1, 0, 0, 0, 0],
    };
    let mut reply = match (version, code) {
        (4, 0) => vec![0, 0x5a, 0, 0, 0, 0, 0, 0],
        (4, _) => vec![0, 0x5b, 0, 0, 0, 0, 0, 0],
        (_, code) => [&[5, code, 0][..], answer, &[0, 0]].concat(),
    };
    if code != 0 || asked.command != 1 {
        return stream.write_all(&reply).await;
    }
    if asked.port == 7 {
        reply.extend(b"hello");
    }
    stream.write_all(&reply).await?;
    if asked.port == 7 {
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await?;
        // Behind the other side's end.
        write.write_all(b"bye").await?;
        return write.shutdown().await;
    }
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        take(&mut stream, 1, &mut request).await?;
    }
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n";
    stream.write_all(page).await?;
    stream.shutdown().await
}
