//! Placeholder
use crate::node::Handle;
use std::convert::Infallible;
pub(in crate::node) async fn keep_names(_node: Handle) -> Infallible {
    std::future::pending().await
}
