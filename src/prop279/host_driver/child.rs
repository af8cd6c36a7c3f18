//! The plugin's process.

use std::future::pending;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{self, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::prop279::environment::{OPTIONS, STATE, VERSIONS};
use crate::prop279::line::{OutgoingQuery, VERSION};
use crate::prop279::line_decoder::{LineDecoder, PluginLine};
use crate::prop279::write_buffer::WriteBuffer;

/// How many bytes are read at a time.
const CHUNK: usize = 8 << 10;

/// Most bytes that the plugin has not read: room for as many queries as there may be, with long names and IDs.
const MAX_WAITING: usize = 4 << 20;

/// How long a plugin may take to end when its input is closed.
const EXIT_PATIENCE: Duration = Duration::from_secs(2);

/// A plugin that runs. Dropping it kills it.
pub(super) struct Child {
    process: process::Child,
    input: ChildStdin,
    output: ChildStdout,
    decoder: LineDecoder,
    out: WriteBuffer,
    chunk: Vec<u8>,
}

impl Child {
    /// Starts a program with its arguments. What it writes on standard error goes where ours does.
    pub(super) fn start(argv: &[String], state_dir: Option<&Path>) -> io::Result<Self> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env(VERSIONS, VERSION)
            .env(OPTIONS, "")
            // Ours, where this program is a plugin itself.
            .env_remove(STATE)
            .envs(state_dir.map(|folder| (STATE, folder)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let input = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            process,
            input,
            output,
            decoder: LineDecoder::default(),
            out: WriteBuffer::default(),
            chunk: vec![0; CHUNK],
        })
    }

    /// Has a request written when the plugin reads it; `false` when too much waits already.
    pub(super) fn write(&mut self, request: &OutgoingQuery) -> bool {
        self.out.push(request);
        self.out.waiting() <= MAX_WAITING
    }

    /// Writes what waits, and returns the next lines that the plugin writes. It can be dropped at any time.
    async fn next_lines(&mut self) -> io::Result<Vec<PluginLine>> {
        loop {
            tokio::select! {
                written = self.out.write_to(&mut self.input), if !self.out.is_done() => written?,
                read = self.output.read(&mut self.chunk) => {
                    let bytes = self.chunk.get(..read?).unwrap_or_default();
                    if bytes.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    return Ok(self.decoder.decode(bytes));
                }
            }
        }
    }

    /// Closes the plugin's input and output, and kills it when it has not ended soon after.
    pub(super) async fn end(self) {
        let Self {
            mut process,
            input,
            output,
            ..
        } = self;
        drop((input, output));
        let _ = timeout(EXIT_PATIENCE, process.wait()).await;
    }
}

/// Returns the next lines of a plugin; without one it waits for ever.
pub(super) async fn next_lines(child: &mut Option<Child>) -> io::Result<Vec<PluginLine>> {
    match child {
        Some(child) => child.next_lines().await,
        None => pending().await,
    }
}
