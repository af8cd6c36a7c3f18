//! Bytes that wait to be written.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Bytes that wait to be written to a reader that may not take them at once.
#[derive(Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    /// How many of `bytes` have been written.
    written: usize,
    /// Whether all that was written has been flushed.
    flushed: bool,
}

impl WriteBuffer {
    pub(super) fn push(&mut self, line: &impl ToString) {
        self.bytes.drain(..self.written);
        self.written = 0;
        self.bytes.extend_from_slice(line.to_string().as_bytes());
        self.flushed = false;
    }

    pub(super) fn is_done(&self) -> bool {
        self.flushed || self.bytes.is_empty()
    }

    /// Returns how many bytes have not been written.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.written)
    }

    /// Writes and flushes what is left. May be dropped at any await and called again.
    pub(super) async fn write_to(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match writer.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => self.written = self.written.saturating_add(n),
            }
        }
        writer.flush().await?;
        self.bytes.clear();
        self.written = 0;
        self.flushed = true;
        Ok(())
    }
}
