//! `.bit` over DNS: from values to records, from a query to its answer.

pub mod value;
pub mod zone;
pub mod dnssec;
