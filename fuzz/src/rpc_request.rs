//! Any body is parsed as requests or refused, and the arguments of its lookups are read or refused.

use isonym::rpc::{Body, Defaults, MAX_BATCH, Member, isolation_forget, name_history, name_proof, name_show};

/// Checks what comes of such an input.
pub fn run(body: &[u8]) {
    let requests = match Body::parse(body) {
        Body::Single(request) => vec![request],
        Body::Batch(members) => members.into_iter().map(Member::into_request).collect(),
        Body::Refused(_) => Vec::new(),
    };
    assert!(requests.len() <= MAX_BATCH);
    for request in requests {
        assert!(request.envelope.id.is_none_or(|id| !id.contains('\n')));
        if let Ok(call) = request.call {
            let _ = name_show(call.params.clone(), Defaults::default());
            let _ = name_history(call.params.clone(), Defaults::default());
            let _ = name_proof(call.params.clone(), Defaults::default());
            let _ = isolation_forget(call.params);
        }
    }
}
