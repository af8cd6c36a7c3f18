//! The page of a name that was looked up.

use std::sync::Arc;

use super::html::Html;
use super::page::{Reply, frame, shown_bytes, terms};
use crate::name::{NameId, Outcome};
use crate::node::Proved;
use crate::rpc::explanation;

/// What a lookup came to.
#[derive(Debug)]
pub struct Found {
    /// The name.
    pub name: NameId,
    /// What was proved of it, or why nothing was.
    pub result: Result<Arc<Proved>, String>,
}

/// Says in a word or two what a lookup came to.
pub fn came_to(found: &Found) -> &'static str {
    match found.result.as_ref().map(|proved| &proved.outcome) {
        Ok(Outcome::Found(_)) => "proved",
        Ok(_) => "no value",
        Err(_) => "refused",
    }
}

/// Shows what a lookup came to.
pub fn page(session: &str, found: &Found) -> Reply {
    let mut main = Html::element("h2", shown_bytes(found.name.as_bytes()));
    match &found.result {
        Ok(proved) => match &proved.outcome {
            Outcome::Found(status) => main.push(terms([
                ("Value", shown_bytes(status.name.value().as_bytes())),
                ("Set in block", Html::of(status.name.height())),
            ])),
            outcome => main.push(Html::element("p", explanation(outcome, &found.name))),
        },
        Err(reason) => main.push(Html::element("p", &**reason)),
    }
    Reply::page(200, frame("Isonym: result", Some(session), main))
}
