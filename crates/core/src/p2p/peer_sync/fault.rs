//! What no honest peer does.
//!
//! Nodes are few, old and behind slow circuits, and mostly honest: what an ordinary fault could have brought about costs a peer
//! its slice or its connection at most.
//!
//! | what a peer does | honest causes | what is done |
//! |---|---|---|
//! | a wrong header or block | none | closed, and never dialed again |
//! | what is no message, or of another network | another program, a wrong address | closed, left for a day |
//! | no blocks, no witnesses, an old protocol, ourselves | another program | closed, left for a day |
//! | no greeting, no answer, no pong in time | it is busy, a dead circuit | closed, dialed again after ever longer pauses |
//! | headers that don't link, a few times | it is behind, or on another chain | the same |
//! | blocks that nobody asked for, a few times | none that is known | the same |
//! | next to nothing for a minute | a slow circuit | others are asked for its blocks; it is asked for none for some minutes |
//! | none of the blocks that it was asked for in five minutes, or far too much of something else | the same | closed, dialed again after ever longer pauses |
//! | the end at the first old block, twice | `-maxuploadtarget` | it is asked for new ones only, for ever longer times; it makes room for others |
//! | it has not a block | it is pruned, or on another chain | others are asked; after a few it is asked for none |
//! | a chain behind ours for half an hour | it starts up | closed, dialed again after ever longer pauses |
//! | a header that is ahead of our clock | one of the clocks is wrong | the header is taken later |
//! | another kind of message, or one out of place | later protocols | nothing |

use crate::chain::{BlockError, HeaderError, Height};
use crate::p2p::codec::CodecError;

/// What a peer did for which it is left; a slow one, or one that lags behind, does none of it.
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
