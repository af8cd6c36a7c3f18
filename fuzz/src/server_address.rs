//! Addresses of servers as others write them: whatever is taken is written back and taken again. Certificates of servers: a key
//! that is found in one is a part of it.

use isonym::net::ServerAddr;
use isonym::net::certificate::PublicKey;

use crate::input;

/// Checks what comes of such an input.
pub fn run(bytes: &[u8]) {
    let Some((der, text)) = input::<(&[u8], &str)>(bytes) else { return };
    if let Ok(address) = text.parse::<ServerAddr>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Some(PublicKey { info, algorithm, key }) = PublicKey::of_certificate(der) {
        assert!(info.len() < der.len() && algorithm.len() + key.len() < info.len());
        assert!(info.ends_with(key));
    }
}
