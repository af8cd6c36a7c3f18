//! What the engine answers, before it becomes a message.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The response code.
    pub code: ResponseCode,
    /// Whether we are the authority for it: no referral, no refusal, no failure.
    pub authoritative: bool,
    /// Records that answer.
    pub answers: Vec<Record>,
    /// The SOA of a negative answer; the NS and DS of a referral.
    pub authorities: Vec<Record>,
    /// Glue of a referral.
    pub additionals: Vec<Record>,
    /// Why it is as it is, for whoever understands extended errors.
    pub note: Option<ExtendedError>,
    /// The apex of the zone that answers, which signs; `None` where none does.
    pub zone: Option<Name>,
    /// What does not exist, to be proved where the zone is signed.
    pub denial: Option<Denial>,
    /// For how many seconds at most the records may be kept by whoever asked.
    pub life: u32,
}

impl Reply {
    /// Makes an empty reply that no zone stands behind.
    pub fn bare(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            note: None,
            zone: None,
            denial: None,
            life: u32::MAX,
        }
    }

    /// Returns the records that say something of the name: a referral's, where it is one.
    pub fn shown(&self) -> Vec<Record> {
        let is_referral = !self.authoritative && self.code == ResponseCode::NoError;
        if is_referral {
            [self.authorities.as_slice(), &self.additionals].concat()
        } else {
            self.answers.clone()
        }
    }

    /// Makes an empty reply with a reason.
    pub fn noted(code: ResponseCode, note: ExtendedError) -> Self {
        Self {
            note: Some(note),
            ..Self::bare(code)
        }
    }
}

/// What a reply denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The name does not exist.
    Name(Name),
    /// The name has records of these types, but not of the one that is asked for.
    Type(Name, Vec<RecordType>),
    /// The name is a zone cut without DS.
    Ds(Name),
}

/// An extended error.
///
/// Source: RFC 8914 and IANA's registry of its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtendedError {
    /// The name once had a value.
    Expired,
    /// The name's registration or renewal is too young, or too near its end, to be served.
    NotFinal,
    /// The value is no JSON.
    Unreadable,
    /// The name is delegated to no usable nameserver.
    Lame,
    /// Headers are not up to date.
    NotSynchronised,
    /// The proxy can't be reached, or through it no server.
    NoProxy,
    /// The `name_show` backend can't be reached, or is at odds with us.
    NoBackend,
    /// The `name_show` backend refuses us.
    BackendRefused,
    /// What is taken for the `name_show` backend is none.
    BackendUnfit,
    /// The `name_show` backend does not take our arguments.
    BackendArguments,
    /// The `name_show` backend failed by itself.
    BackendFailed,
    /// What the `name_show` backend says of the name is nothing that can be said of one, such as a value that is too long.
    BackendNonsense,
    /// There was no answer in time.
    Timeout,
    /// Servers answered with what they can't prove.
    Lied,
    /// So many lookups go on that this one was not begun.
    Busy,
    /// The name's value draws on the values of more names than are looked up for one question.
    Sprawling,
    /// The isolation ID is too long.
    IdTooLong,
    /// The name is in no zone of ours.
    NotOurs,
}

impl ExtendedError {
    /// Returns the code and a text that names nobody's name.
    pub const fn code_and_text(self) -> (u16, &'static str) {
        match self {
            Self::Expired => (0, "the name has expired"),
            Self::NotFinal => (0, "the name is not final yet, or about to expire"),
            Self::Unreadable => (24, "the name's value is no JSON"),
            Self::Lame => (24, "the name is delegated, but to no usable nameserver"),
            Self::NotSynchronised => (14, "not synchronised: headers are being fetched"),
            Self::NoProxy => (23, "no server can be reached; is Tor running?"),
            Self::NoBackend => (23, "the name_show backend gives no answer"),
            Self::BackendRefused => (23, "the name_show backend refuses this server's credentials or address"),
            Self::BackendUnfit => (23, "the backend has no name_show: it is no Namecoin node"),
            Self::BackendArguments => (
                23,
                "the name_show backend does not take the arguments, such as isolation IDs",
            ),
            Self::BackendFailed => (23, "the name_show backend failed by itself"),
            Self::BackendNonsense => (23, "what the name_show backend says of the name makes no sense"),
            Self::Timeout => (22, "no server answered in time"),
            Self::Lied => (22, "servers gave answers that they can't prove"),
            Self::Busy => (0, "too many lookups at once; try again"),
            Self::Sprawling => (24, "the name's value draws on too many other names"),
            Self::IdTooLong => (0, "the isolation ID is longer than 1024 bytes"),
            Self::NotOurs => (20, "not a zone of this server"),
        }
    }
}
