//! The page of a daemon: how names arrive by a browser, and how what was found out of them is shown with its proof.
//!
//! What is asked for is decided by [`request`], who asks by [`sessions`], what is shown by [`page`], [`proof`] and [`site`]; nothing in them
//! touches the world. [`server`] carries it out.

pub mod asked;
mod finder;
pub mod html;
pub mod page;
pub mod proof;
pub mod request;
pub mod server;
pub mod sessions;
pub mod site;

#[cfg(test)]
mod tests;
