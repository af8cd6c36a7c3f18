//! What no honest peer does.

use crate::chain::{BlockError, HeaderError, Height};
use crate::p2p::codec::CodecError;

/// What a peer did that no honest one does; a slow one, or one that lags behind, does none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// It sent what is no message.
    #[error(transparent)]
    Garbled(CodecError),
    /// It sent a header that can't be read.
    #[error("it sent a header that can't be read")]
    Undecodable,
    /// It sent a header that breaks a rule.
    #[error("it sent a wrong header: {0}")]
    Header(HeaderError),
    /// It sent a block that is not what its header says.
    #[error("it sent a wrong block at height {height}: {error}")]
    Block {
        /// The block's height.
        height: Height,
        /// What is wrong.
        error: BlockError,
    },
}
