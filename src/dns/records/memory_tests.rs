//! A cache of results that tests fill by hand.

use std::sync::Arc;

use bitcoin::pow::Work;
use hickory_proto::rr::Name;

use super::{LookedUp, find};
use crate::chain::Tip;
use crate::dns::engine::{ExtendedError, Found};
use crate::dns::lookup_result::LookupResult;
use crate::isolation::BlindedId;
use crate::name::lookup::LookupError;
use crate::name::policy::NameStatus;
use crate::name::proof::ProvenName;
use crate::name::{NameId, NameValue, Outcome};
use crate::node::{NameRequest, NodeError, Proved};
use crate::service::{
    Answer, Begun, CacheSettings, CacheTime, CacheView, Caller, NameResult, ResultCache, ServiceError, Stated,
};
use crate::time::Timestamp;

/// How many servers answer, in tests.
const QUORUM: u8 = 1;

pub(crate) struct Memory(pub(crate) ResultCache);

impl Memory {
    pub(crate) fn new(settings: CacheSettings) -> Self {
        Self(ResultCache::new(settings))
    }

    /// Has a lookup begin and come to this.
    pub(crate) fn store(&mut self, id: BlindedId, name: &NameId, known: &LookupResult, at: CacheTime) {
        let request = NameRequest {
            name: name.clone(),
            allow_expired: false,
            quorum: QUORUM,
        };
        let result = result(known, at);
        assert_eq!(LookupResult::of(&result), *known);
        let Begun::New { number, .. } = self.0.begin(id, &request, 1, at.now) else {
            panic!("it is in flight");
        };
        self.0
            .end(id, request, number, Some(Caller::Dns.into()), &result, at.now, 1.0);
    }

    pub(crate) fn view(&mut self, id: BlindedId, at: CacheTime) -> CacheView<'_> {
        CacheView::new(&mut self.0, id, QUORUM, at)
    }

    pub(crate) fn find(
        &mut self,
        id: BlindedId,
        name: &NameId,
        apex: &Name,
        looked_up: &LookedUp,
        at: CacheTime,
    ) -> Found {
        find(&mut self.view(id, at), name, apex, looked_up)
    }
}

/// Returns a result that DNS reads as this one. Values are proved where the time tells of a block.
fn result(known: &LookupResult, at: CacheTime) -> NameResult {
    match known {
        LookupResult::Value(value) => Ok(value_of(value, at)),
        LookupResult::Absent(None) => Ok(Answer::Stated(Stated::Absent)),
        LookupResult::Absent(Some(ExtendedError::Expired)) => Ok(Answer::Stated(Stated::Expired)),
        LookupResult::Absent(Some(note)) => panic!("no absence is {note:?}"),
        LookupResult::Failed(note) => Err(error(*note)),
    }
}

fn value_of(value: &NameValue, at: CacheTime) -> Answer {
    let Some(hash) = at.tip else {
        return Answer::Stated(Stated::Value {
            value: value.clone(),
            expires_in: None,
        });
    };
    let status = NameStatus {
        name: ProvenName::assumed(90, None).unwrap().with_value(value.clone()),
        confirmations: 11,
        expires_in: 35_990,
        semi_expires_in: 31_000,
    };
    let tip = Tip {
        height: 100,
        hash,
        chainwork: Work::from_be_bytes([0; 32]),
        time: Timestamp(0),
    };
    Answer::Proved(Arc::new(Proved {
        outcome: Outcome::Found(status),
        tip,
        unproved: 0,
        read_from: None,
        block: None,
    }))
}

fn error(note: ExtendedError) -> ServiceError {
    let no_answer = |lied_to| LookupError::NoAnswer {
        reasons: Vec::new(),
        lied_to,
    };
    let lookup = match note {
        ExtendedError::Timeout => no_answer(false),
        ExtendedError::Lied => no_answer(true),
        ExtendedError::NoProxy => LookupError::Unreachable { reasons: Vec::new() },
        ExtendedError::Busy => return ServiceError::Busy { limit: 1 },
        ExtendedError::NoBackend => return ServiceError::Stopped,
        note => panic!("no failure is {note:?}"),
    };
    ServiceError::Node(NodeError::Lookup(lookup))
}
