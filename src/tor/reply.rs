//! Tor's messages over its control port, decoded from bytes.
//!
//! Source: Tor, control-spec, "Replies from Tor to the controller".

use thiserror::Error;

use crate::line::LineBuffer;

/// Longest line in bytes. Tor's own are far shorter: a name and credentials of 255 bytes each, escaped.
pub const MAX_LINE: usize = 1 << 16;

/// Longest message in bytes: the status of tens of thousands of streams.
pub const MAX_MESSAGE: usize = 1 << 23;

/// The code of messages that reply to no command.
const EVENT: u16 = 650;

/// One line of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyLine {
    /// The text behind the code.
    pub text: String,
    /// The lines of data below it.
    pub data: Vec<String>,
}

/// A whole message, of one line or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMessage {
    /// The code of its last line.
    pub code: u16,
    /// Its lines, of which there is at least one.
    pub lines: Vec<ReplyLine>,
}

impl ControlMessage {
    /// Says whether it is an event, which replies to no command.
    pub fn is_event(&self) -> bool {
        self.code == EVENT
    }

    /// Says whether the command that it replies to was carried out.
    pub fn is_ok(&self) -> bool {
        self.code == 250
    }

    /// Returns the text of the first line.
    pub fn text(&self) -> &str {
        self.lines.first().map_or("", |line| &line.text)
    }

    /// Returns what the first line that begins so has behind that.
    pub fn value(&self, beginning: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.text.strip_prefix(beginning))
    }
}

/// Why bytes are not Tor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlReplyError {
    /// A line does not begin with a code.
    #[error("what answers on the control port does not speak Tor's control protocol")]
    NoCode,
    /// A line is too long.
    #[error("a line on the control port has more than {MAX_LINE} bytes")]
    LongLine,
    /// A message is too long.
    #[error("a message on the control port has more than {MAX_MESSAGE} bytes")]
    LongMessage,
}

/// Puts messages together from bytes as they arrive.
#[derive(Debug)]
pub struct ControlDecoder {
    buffer: LineBuffer,
    /// Whether a line goes on that is too long already.
    is_too_long: bool,
    /// The lines of a message that is not complete.
    lines: Vec<ReplyLine>,
    /// How many bytes these lines take.
    size: usize,
    /// Whether the next line is data of the last one.
    in_data: bool,
}

impl Default for ControlDecoder {
    fn default() -> Self {
        Self {
            buffer: LineBuffer::new(MAX_LINE),
            is_too_long: false,
            lines: Vec::new(),
            size: 0,
            in_data: false,
        }
    }
}

impl ControlDecoder {
    /// Takes bytes. All messages are to be taken out before the next ones.
    pub fn push(&mut self, bytes: &[u8]) {
        // What ends before it is decoded still.
        self.is_too_long |= self.buffer.extend(bytes).is_err();
    }

    /// Returns the next whole message.
    ///
    /// # Errors
    ///
    /// [`ControlReplyError`], after which nothing can be decoded.
    pub fn message(&mut self) -> Result<Option<ControlMessage>, ControlReplyError> {
        while let Some(line) = self.line()? {
            self.size += line.len() + size_of::<ReplyLine>();
            if self.size > MAX_MESSAGE {
                return Err(ControlReplyError::LongMessage);
            }
            if let Some(message) = self.take(&line)? {
                self.size = 0;
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, ControlReplyError> {
        let line = self.buffer.next_line().map_err(|_| ControlReplyError::LongLine)?;
        match line {
            Some(line) => Ok(Some(String::from_utf8_lossy(line).into_owned())),
            None if self.is_too_long => Err(ControlReplyError::LongLine),
            None => Ok(None),
        }
    }

    fn take(&mut self, line: &str) -> Result<Option<ControlMessage>, ControlReplyError> {
        if self.in_data {
            if line == "." {
                self.in_data = false;
            } else if let Some(last) = self.lines.last_mut() {
                // A leading dot of the data itself is doubled.
                last.data.push(line.strip_prefix('.').unwrap_or(line).to_owned());
            }
            return Ok(None);
        }
        let code = line
            .get(..3)
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let code = code
            .and_then(|code| code.parse().ok())
            .ok_or(ControlReplyError::NoCode)?;
        let (separator, text) = match line.get(3..).map(|rest| rest.split_at_checked(1)) {
            Some(Some((separator, text))) => (separator, text.to_owned()),
            _ => return Err(ControlReplyError::NoCode),
        };
        let text = ReplyLine { text, data: Vec::new() };
        self.lines.push(text);
        match separator {
            "-" => Ok(None),
            "+" => {
                self.in_data = true;
                Ok(None)
            }
            " " => Ok(Some(ControlMessage {
                code,
                lines: std::mem::take(&mut self.lines),
            })),
            _ => Err(ControlReplyError::NoCode),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str) -> Result<Vec<ControlMessage>, ControlReplyError> {
        let mut decoder = ControlDecoder::default();
        decoder.push(text.as_bytes());
        let mut messages = Vec::new();
        while let Some(message) = decoder.message()? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn messages_of_all_shapes_are_read() {
        let text = "250 OK\r\n\
                    250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n\
                    250+stream-status=\r\n1 NEW 0 a:1\r\n..x\r\n.\r\n250 OK\r\n\
                    650-CONF_CHANGED\r\n650-A=1\r\n650 OK\r\n\
                    552 Unknown stream \"1\"\r\n";
        let messages = decode(text).unwrap();
        let codes: Vec<u16> = messages.iter().map(|message| message.code).collect();
        assert_eq!(codes, [250, 250, 250, 650, 552]);
        assert_eq!(messages[1].value("AUTH METHODS="), Some("NULL"));
        assert_eq!(messages[2].lines[0].data, ["1 NEW 0 a:1", ".x"]);
        assert!(messages[3].is_event() && !messages[3].is_ok());
        assert_eq!(messages[4].text(), "Unknown stream \"1\"");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "25 OK\r\n",
            "250\r\n",
            "250=OK\r\n",
            "２50 OK\r\n",
            "+50 OK\r\n",
        ] {
            assert_eq!(decode(text), Err(ControlReplyError::NoCode), "{text:?}");
        }
        let long = "2".repeat(MAX_LINE + 1);
        assert_eq!(decode(&long), Err(ControlReplyError::LongLine));
        assert_eq!(decode(&format!("{long}\n")), Err(ControlReplyError::LongLine));
        let endless = format!("250+a\r\n{}", "a\r\n".repeat(MAX_MESSAGE / 20));
        assert_eq!(decode(&endless), Err(ControlReplyError::LongMessage));
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_messages(
            lines in prop::collection::vec("(250|650|551)[ +-][ -~]{0,20}|\\.|[ -~]{0,9}", 0..20),
            cut in 1_usize..9,
        ) {
            let text = lines.join("\r\n") + "\r\n";
            let mut decoder = ControlDecoder::default();
            let mut messages = Vec::new();
            let mut read = || -> Result<(), ControlReplyError> {
                for piece in text.as_bytes().chunks(cut) {
                    decoder.push(piece);
                    while let Some(message) = decoder.message()? {
                        messages.push(message);
                    }
                }
                Ok(())
            };
            let read = read();
            match decode(&text) {
                Ok(whole) => prop_assert_eq!((read, messages), (Ok(()), whole)),
                Err(error) => prop_assert_eq!(read, Err(error)),
            }
        }

        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = ControlDecoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.message() {}
        }
    }
}
