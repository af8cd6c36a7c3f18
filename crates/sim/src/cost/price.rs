//! The price list: what a request costs beside its bytes.

use serde_json::Value;

use super::Cost;
use crate::arguments::{Arguments, RpcError};

/// What an error costs, beside what the request itself does.
pub(crate) const ERROR: Cost = Cost::units(100);

/// What a line that is no JSON costs.
pub(crate) const BAD_JSON: Cost = Cost::units(1100);

/// What it takes to get a transaction and its place in a block: those of blocks with few transactions.
const TRANSACTION: Cost = Cost::units(1);
const MERKLE: Cost = Cost::thousandths(250);

/// Returns the price of a request and of the error that it may have met. Histories are priced as if nobody had asked
/// for them since the last block.
pub(crate) fn price(method: &str, arguments: &Arguments<'_>, answer: Result<&Value, &RpcError>) -> Cost {
    let Ok(answer) = answer else { return ERROR };
    let proved = |index| matches!(arguments.natural_or_zero(index, "cp_height"), Ok(1..));
    match method {
        "server.ping" => Cost::thousandths(100),
        "server.features" => Cost::thousandths(200),
        "server.version" => Cost::thousandths(500),
        "blockchain.headers.subscribe" => Cost::thousandths(250),
        "blockchain.block.header" => Cost::thousandths(if proved(1) { 1250 } else { 250 }),
        "blockchain.block.headers" => {
            // By what was asked, however few came.
            let count = arguments.natural(1, "count").unwrap_or(0);
            let proof = proved(2) && answer.get("root").is_some();
            Cost::thousandths(count.saturating_mul(20)) + Cost::units(u64::from(proof))
        }
        "blockchain.scripthash.get_history" => history(answer),
        "blockchain.transaction.get" => TRANSACTION,
        "blockchain.transaction.get_merkle" => MERKLE,
        "blockchain.name.get_value_proof" => {
            let links = answer.as_object().and_then(|reply| reply.values().next());
            let links = links.unwrap_or(&Value::Null);
            let header = |link: &Value| Cost::thousandths(if link.get("header").is_some() { 1250 } else { 0 });
            let each = |link: &Value| TRANSACTION + MERKLE + header(link);
            history(links) + links.as_array().into_iter().flatten().map(each).sum()
        }
        _ => Cost::ZERO,
    }
}

fn history(entries: &Value) -> Cost {
    let count = entries.as_array().map_or(0, Vec::len);
    Cost::thousandths(450 + u64::try_from(count).unwrap_or(u64::MAX))
}
