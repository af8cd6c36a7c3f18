//! What a name's value says: JSON read within bounds, and its items as record data.
//!
//! Source: the proposals IFA-0001 (domain names) and IFA-0002 (items outside DNS), and ncdns, where they differ
//! the one that harms no owner. A malformed item or list member is dropped alone, wherever it stands.

pub mod bounds;
mod error;
mod form;
mod import;
mod item;
mod json;
mod layer;
mod location;
mod problem;
mod target;

pub use error::{Reason, ValueError};
pub(super) use form::{base64, is_stated, number};
pub(super) use import::{Import, imports};
pub(super) use item::{Key, digest_of, ds, ds_of_no_key, ip, ip6, onions, sshfp, txt};
pub(super) use json::Json;
pub(super) use layer::{Layer, is_map_label, layers};
pub(super) use location::{ALTITUDE_BASE, ZERO_ANGLE, loc};
pub use problem::Problem;
pub(super) use problem::{Problems, Report, below};
pub(super) use target::{Place, is_target, mx, ns, srv, target, without_dot};
